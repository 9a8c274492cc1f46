// The demo, as somebody sees it who has just cloned the repository: Caddyfile.example and the page it serves.

import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Browser } from './lib/browser.mjs';
import { Caddy, repository } from './lib/caddy.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { observeFor } from './lib/wait.mjs';

const url = 'http://localhost:8080';
const output = fileURLToPath(new URL('output/', import.meta.url));

let caddy;
let browser;
const pages = [];

before(async () => {
  caddy = await Caddy.startFile(joinPath(repository, 'Caddyfile.example'));
  browser = await Browser.launch();
});

after(async () => {
  await browser?.remove();
  await caddy?.remove();
});

/** Somebody at a machine of their own opens the page; with a name, they type it. */
async function visitor(name, options = {}) {
  const { viewport, ...profile } = options;
  const context = await browser.person({ colorScheme: 'light', ...profile });
  const page = await browser.open(url, { context, viewport });
  pages.push(page);
  await connected(page);
  if (name) await take(page, name);
  return page;
}

async function take(page, name) {
  await page.fill('#name', name);
  await page.press('#name', 'Enter');
  await here(page, name);
}

const connected = (page) => page.waitForSelector('#status[data-state=connected]', { timeout: 40_000 });
const here = (page, name) => page.locator('#roster li[data-session]', { hasText: name }).first().waitFor();
const gone = (page, name) => page.locator('#roster li[data-session]', { hasText: name }).first().waitFor({ state: 'detached' });
const news = (page, name, type, reason) =>
  page.locator(`#feed li[data-type=${type}]${reason ? `[data-reason=${reason}]` : ''}`, { hasText: name }).first().waitFor();
const count = (page, number) => page.waitForFunction((n) => document.querySelector('#count').textContent === String(n), number);
const said = (page, text) => page.locator('#chat-log li', { hasText: text }).first().waitFor();

async function say(page, text) {
  await page.fill('#chat-input', text);
  await page.press('#chat-input', 'Enter');
}

/** Says goodbye to all, so that the next test starts with nobody here: who only closes the page is waited for. */
async function everybodyLeaves() {
  for (const page of pages.splice(0)) {
    if (!page.isClosed() && page.url().startsWith(url)) {
      if (await page.locator('#status[data-state=connected]').count()) await page.click('#connection');
      await page.waitForSelector('#status[data-state=closed]');
    }
    await page.context().close();
  }
}

const room = (page, name) => page.locator('#rooms li', { hasText: name });
const inRoom = (page, name, who) => room(page, name).locator('.name', { hasText: who }).waitFor();
const outOfRoom = (page, name, who) => room(page, name).locator('.name', { hasText: who }).waitFor({ state: 'detached' });
const toggle = (page, name) => room(page, name).getByRole('button').click();
const session = (page) => page.locator('#roster li[data-me]').getAttribute('data-session');
const told = (page, type, name) => page.locator(`#feed li[data-type=${type}]`, { hasText: name }).count();

test('two tabs: names, roster, chat, a new name, and one of them goes away', { timeout: 90_000 }, async () => {
  const mina = await visitor('Mina');
  await count(mina, 1);
  const jon = await visitor('Jon');
  for (const page of [mina, jon]) {
    await here(page, 'Mina');
    await here(page, 'Jon');
    await count(page, 2);
  }
  await news(mina, 'Jon', 'joined');

  await say(jon, 'Is anybody here?');
  for (const page of [mina, jon]) await said(page, 'Is anybody here?');
  await say(mina, 'I am <b>here</b>');
  for (const page of [mina, jon]) await said(page, 'I am <b>here</b>');

  await take(jon, 'Jonathan');
  await here(mina, 'Jonathan');
  await news(mina, 'Jonathan', 'updated');
  await count(mina, 2);

  await jon.close();
  await news(mina, 'Jonathan', 'unreachable', 'closed');
  await mina.locator('#roster li[data-unreachable]', { hasText: 'Jonathan' }).waitFor();
  await news(mina, 'Jonathan', 'left', 'closed');
  await gone(mina, 'Jonathan');
  await count(mina, 1);
  assert.equal(await mina.locator('#feed li[data-type=left]').count(), 1, 'told once');
  assert.deepEqual(mina.said.filter((line) => /^(error|warning)/.test(line)), []);
  await everybodyLeaves();
});

test('two tabs of the same browser are two people', { timeout: 60_000 }, async () => {
  const first = await visitor('Ada');
  const second = await browser.open(url, { context: first.context() });
  await connected(second);
  await take(second, 'Grace');
  for (const page of [first, second]) {
    await here(page, 'Ada');
    await here(page, 'Grace');
    await count(page, 2);
  }
  await second.goto('about:blank');
  await news(first, 'Grace', 'left', 'closed');
  await everybodyLeaves();
});

test('a page that is loaded again is who it was, also in its rooms', { timeout: 60_000 }, async () => {
  const mina = await visitor('Mina');
  const jon = await visitor('Jon');
  await toggle(jon, 'Kitchen');
  await inRoom(mina, 'Kitchen', 'Jon');
  const before = await session(jon);
  for (let n = 1; n <= 3; n++) {
    await jon.reload();
    await connected(jon);
    await jon.locator('#feed li[data-type=sync][data-resumed]').waitFor();
    assert.equal(await session(jon), before);
    await mina.waitForFunction((n) => document.querySelectorAll('#feed li[data-type=returned]').length === n, n);
  }
  await observeFor(6000); // longer than the grace, and than a room waits to be gone into again
  await inRoom(mina, 'Kitchen', 'Jon');
  assert.equal(await told(mina, 'left', 'Jon'), 0);
  assert.equal(await told(mina, 'joined', 'Jon'), 1);
  assert.equal(await told(mina, 'room', 'Jon went into the Kitchen'), 1);
  assert.equal(await told(mina, 'room', 'Jon left'), 0);
  await everybodyLeaves();
});

test('rooms: in, out, and gone from all of them with the page', { timeout: 60_000 }, async () => {
  const mina = await visitor('Mina');
  const jon = await visitor('Jon');
  for (const name of ['Kitchen', 'Library']) {
    await toggle(jon, name);
    await inRoom(mina, name, 'Jon');
    await inRoom(jon, name, 'Jon');
  }
  await toggle(mina, 'Kitchen');
  await inRoom(jon, 'Kitchen', 'Mina');
  assert.equal(await room(mina, 'Kitchen').getByRole('button').getAttribute('aria-pressed'), 'true');
  assert.equal(await room(mina, 'Library').getByRole('button').getAttribute('aria-pressed'), 'false');
  await toggle(mina, 'Kitchen');
  await outOfRoom(jon, 'Kitchen', 'Mina');
  assert.equal(await told(jon, 'room', 'Mina left the Kitchen'), 1);
  await jon.click('#connection');
  for (const name of ['Kitchen', 'Library']) await outOfRoom(mina, name, 'Jon');
  await news(mina, 'Jon', 'left', 'disconnect');
  assert.equal(await told(mina, 'left', 'Jon'), 1);
  assert.equal(await told(mina, 'room', 'Jon left'), 0, 'it is told as one leave');
  await everybodyLeaves();
});

test('a duplicated tab and the one that it was made from are two sessions, and stay so', { timeout: 60_000 }, async () => {
  const mina = await visitor('Mina');
  const first = await visitor('Ada');
  const before = await session(first);
  // what a browser does that duplicates a tab: the new one begins with a copy of the storage
  const copy = await first.evaluate(() => ({ ...sessionStorage }));
  assert.ok(copy['resume-token'], 'there is a token to copy');
  const second = await first.context().newPage();
  await second.addInitScript((items) => {
    if (!sessionStorage.length) Object.assign(sessionStorage, items);
  }, copy);
  await second.goto(url);
  await connected(second);
  await mina.waitForFunction(() => document.querySelector('#count').textContent === '3');
  await connected(first);
  await count(first, 3);
  await count(second, 3);
  assert.equal(await session(second), before, 'the second one has used the token');
  assert.notEqual(await session(first), before);
  const news = () => mina.locator('#feed li').count();
  const quiet = await news();
  await observeFor(6000);
  assert.equal(await news(), quiet, 'nothing goes to and fro');
  assert.equal(await told(mina, 'left', 'Ada'), 0);
  assert.equal(await told(mina, 'joined', 'Ada'), 2);
  assert.equal(await told(mina, 'returned', 'Ada'), 1);
  for (const page of [first, second]) { // and both may be loaded again
    const id = await session(page);
    await page.reload();
    await connected(page);
    await page.locator('#feed li[data-type=sync][data-resumed]').waitFor();
    assert.equal(await session(page), id);
  }
  await everybodyLeaves();
});

test('a window of 320 pixels does not scroll sideways', { timeout: 60_000 }, async () => {
  const long = 'Wolfeschlegelsteinhausenbergerdorff';
  const page = await visitor(long, { viewport: { width: 320, height: 640 } });
  await say(page, 'w'.repeat(200));
  await said(page, 'w'.repeat(200));
  const other = await visitor('Brief');
  await news(page, 'Brief', 'joined');
  await other.close();
  await news(page, 'Brief', 'left', 'closed');
  const { scroll, width } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, width: document.documentElement.clientWidth }));
  assert.ok(scroll <= width && width <= 320, `${scroll} px in a window of ${width}`);
  for (const id of ['#name', '#chat-input', '#roster', '#rooms', '#feed']) {
    const box = await page.locator(id).boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 320, `${id} from ${box.x} to ${box.x + box.width}`);
  }
  await everybodyLeaves();
});

test('by keyboard alone', { timeout: 60_000 }, async () => {
  const page = await visitor();
  const focused = () => page.evaluate(() => document.activeElement?.id);
  const tabTo = async (id) => {
    for (let i = 0; i < 25 && (await focused()) !== id; i++) await page.keyboard.press('Tab');
    assert.equal(await focused(), id);
    const visible = await page.evaluate(() => {
      const { outlineStyle, outlineWidth, boxShadow, borderColor } = getComputedStyle(document.activeElement);
      return (outlineStyle !== 'none' && outlineWidth !== '0px') || boxShadow !== 'none' || borderColor;
    });
    assert.ok(visible, `the focus is seen on ${id}`);
  };
  await tabTo('name');
  await page.keyboard.type('Kay');
  await page.keyboard.press('Enter');
  await here(page, 'Kay');
  for (let i = 0; i < 25 && (await page.evaluate(() => document.activeElement?.textContent)) !== 'Library'; i++) await page.keyboard.press('Tab');
  await page.keyboard.press('Space');
  await inRoom(page, 'Library', 'Kay');
  await tabTo('chat-input');
  await page.keyboard.type('no mouse');
  await page.keyboard.press('Enter');
  await said(page, 'no mouse');
  await everybodyLeaves();
});

test('the server restarts, and the page comes back by itself', { timeout: 120_000 }, async () => {
  const mina = await visitor('Mina');
  const jon = await visitor('Jon');
  await here(mina, 'Jon');
  await caddy.end();
  for (const page of [mina, jon]) await page.waitForSelector('#status:not([data-state=connected])');
  await caddy.again();
  for (const page of [mina, jon]) {
    await connected(page);
    await here(page, 'Mina');
    await here(page, 'Jon');
    await count(page, 2);
  }
  await say(mina, 'back again');
  await said(jon, 'back again');
  await everybodyLeaves();
});

test('the picture for the README', { timeout: 90_000 }, async () => {
  const mina = await visitor('Mina');
  const sam = await visitor('Sam');
  const omar = await visitor('Omar', { viewport: { width: 1180, height: 760 } });
  await here(omar, 'Sam');
  const ivo = await StompClient.connect('ws://localhost:8080/ws', { connect: { 'client-data': '{"name":"Ivo"}' } });
  await news(omar, 'Ivo', 'joined');
  await say(mina, 'Morning! Is the deploy through?');
  await said(omar, 'Morning!');
  await say(sam, 'Since ten. Nobody was cut off.');
  await said(omar, 'Since ten');
  ivo.reset();
  await news(omar, 'Ivo', 'left', 'connection-lost');
  const bo = await visitor('Bo');
  await take(bo, 'Bo (phone)');
  await news(omar, 'Bo (phone)', 'updated');
  await visitor('Priya');
  await news(omar, 'Priya', 'joined');
  await say(omar, 'And Ivo is in a tunnel again.');
  await said(omar, 'tunnel');
  await sam.click('#connection');
  await news(omar, 'Sam', 'left', 'disconnect');
  await toggle(mina, 'Kitchen');
  await toggle(omar, 'Kitchen');
  await toggle(bo, 'Garden');
  await inRoom(omar, 'Garden', 'Bo');
  await inRoom(omar, 'Kitchen', 'Mina');
  await mina.reload();
  await news(omar, 'Mina', 'returned');
  await bo.close();
  await news(omar, 'Bo', 'unreachable');
  await count(omar, 4);
  await omar.evaluate(() => document.activeElement?.blur());

  mkdirSync(output, { recursive: true });
  const picture = joinPath(output, 'demo.png');
  await omar.screenshot({ path: picture, animations: 'disabled' });
  const published = joinPath(repository, 'docs', 'demo.png');
  if (process.env.UPDATE_SCREENSHOT || !existsSync(published)) {
    mkdirSync(joinPath(repository, 'docs'), { recursive: true });
    copyFileSync(picture, published);
  }
  await everybodyLeaves();
});

test('no complaints in the log', () => assert.deepEqual(caddy.complaints(), []));
