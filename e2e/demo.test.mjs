// The demo, as somebody sees it who has just cloned the repository: Caddyfile.example and the page it serves.

import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Browser } from './lib/browser.mjs';
import { Caddy, repository } from './lib/caddy.mjs';
import { StompClient } from './lib/stomp-client.mjs';

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

/** Closes them all, so that the next test starts with nobody here. */
async function everybodyLeaves() {
  for (const page of pages.splice(0)) await page.context().close();
}

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
  for (const id of ['#name', '#chat-input', '#roster', '#feed']) {
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
  await sam.close();
  await news(omar, 'Sam', 'left', 'closed');
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
