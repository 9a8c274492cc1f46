// webstomp-client, in node and in Chromium, over a WebSocket and over SockJS: everything it can ask for.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { Browser } from './lib/browser.mjs';
import { Caddy } from './lib/caddy.mjs';
import { Observer } from './lib/observer.mjs';
import { pagesSite, writePages } from './lib/pages.mjs';
import { heartBeats, session } from './pages/webstomp-session.mjs';

const require = createRequire(import.meta.url);
globalThis.WebSocket ??= require('ws');
const webstomp = require('webstomp-client');
const SockJS = require('sockjs-client');

const variants = [
  ['WebSocket', { version: '1.2' }],
  ['WebSocket', { version: '1.1' }],
  ['WebSocket', { version: '1.0' }],
  ['WebSocket', { version: '1.2', binary: true }],
  ['SockJS', { version: '1.2' }],
];

const inNode = { WebSocket: (url) => (options) => webstomp.client(url, options), SockJS: (url) => (options) => webstomp.over(new SockJS(url), options) };

let caddy;
let pages;
let observer;

before(async () => {
  pages = writePages({ 'favicon.ico': '' });
  caddy = await Caddy.start({
    sites: (port) => `http://localhost:${port} {
	stomp /stomp {
		sockjs
	}
	stomp /brisk {
		heart_beat 1s 1s
	}
	${pagesSite(pages)}
}`,
  });
  observer = await Observer.watch(caddy.url('/stomp'));
});

after(async () => {
  await caddy?.remove();
  pages?.remove();
});

const urlOf = (transport) => (transport === 'SockJS' ? `${caddy.origin}/stomp` : caddy.url('/stomp'));

/** Each of its sessions is seen to end once, by its DISCONNECT. */
async function ended(sessions) {
  for (const id of sessions) {
    const left = await observer.waitFor('left', id, { timeout: 20_000 });
    assert.equal(left.reason, 'disconnect');
  }
  await observer.marker();
  for (const id of sessions) assert.equal(observer.of(id, 'left').length, 1);
}

function everything(perform, beat) {
  for (const [transport, options] of variants) {
    test(`STOMP ${options.version} over ${transport}${options.binary ? ', binary' : ''}`, { timeout: 120_000 }, async () => {
      await ended(await perform(transport, urlOf(transport), options));
    });
  }

  test('heart-beats of 1 s', { timeout: 90_000 }, () => beat('WebSocket', caddy.url('/brisk')));
}

describe('in node', () => {
  everything(
    (transport, url, options) => session(inNode[transport](url), options),
    (transport, url) => heartBeats(inNode[transport](url)),
  );
});

describe('in Chromium', () => {
  let browser;
  let page;
  before(async () => {
    browser = await Browser.launch();
    page = await browser.open(`${caddy.origin}/webstomp.html`);
    await page.waitForFunction(() => window.session);
  });
  after(() => browser?.remove());

  everything(
    (...args) => page.evaluate((all) => window.session(...all), args),
    (...args) => page.evaluate((all) => window.heartBeats(...all), args),
  );
});

test('nothing of this was an accident to the server', async () => {
  await observer.end();
  assert.deepEqual(caddy.complaints(), []);
});
