// @stomp/stompjs in node and in Chromium: every option that changes what goes over the wire, and everything it can ask for.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { Browser } from './lib/browser.mjs';
import { Caddy } from './lib/caddy.mjs';
import { Observer } from './lib/observer.mjs';
import { pagesSite, writePages } from './lib/pages.mjs';
import { killTree } from './lib/process.mjs';
import { run, scenarios } from './pages/stompjs-scenarios.mjs';

const require = createRequire(import.meta.url);

const variants = {
  'as it is': {},
  forceBinaryWSFrames: { forceBinaryWSFrames: true },
  splitLargeFrames: { splitLargeFrames: true, maxWebSocketChunkSize: 1000 },
  appendMissingNULLonIncoming: { appendMissingNULLonIncoming: true },
  'STOMP 1.1': { versions: ['1.1'] },
  'STOMP 1.0': { versions: ['1.0'] },
};

let caddy;
let pages;
let caddyfile;

before(async () => {
  pages = writePages({ 'favicon.ico': '' });
  caddyfile = {
    sites: (port) => `http://localhost:${port} {
	stomp /stomp {
		user {query.user}
	}
	stomp /large {
		limits {
			frame_size 2MiB
			pending 8MiB
		}
	}
	stomp /brisk {
		heart_beat 1s 1s
	}
	${pagesSite(pages)}
}`,
  };
  caddy = await Caddy.start(caddyfile);
});

after(async () => {
  await caddy?.remove();
  pages?.remove();
});

/**
 * What is to be seen from anywhere.
 *
 * perform: runs a scenario in one place
 * forced: the reason of a session whose WebSocket was discarded: a browser can only close it, node drops the connection
 */
function everything({ perform, forced }) {
  for (const [variant, options] of Object.entries(variants)) {
    describe(variant, () => {
      for (const name of Object.keys(scenarios)) {
        test(name, { timeout: 90_000 }, () => perform(options, name));
      }
    });
  }

  test('heart-beats of 0, 1 s and 10 s', { timeout: 120_000 }, () => perform({}, 'heart-beats of 0, 1 s and 10 s'));

  test('deactivate', { timeout: 90_000 }, async () => {
    const observer = await Observer.watch(caddy.url('/stomp'));
    for (const [name, reason] of [
      ['deactivate, politely', 'disconnect'],
      ['deactivate, by force', forced],
    ]) {
      const session = await perform({}, name);
      const left = await observer.waitFor('left', session, { timeout: 20_000 });
      assert.equal(left.reason, reason, name);
      assert.equal(observer.of(session, 'left').length, 1);
    }
    await observer.end();
  });

  test('the server closes with 1000 after a DISCONNECT', { timeout: 60_000 }, () => perform({}, 'end of a DISCONNECT is a close with 1000'));

  test('reconnectDelay: it comes back, whether the server was stopped or killed', { timeout: 120_000 }, async () => {
    const first = await perform({}, 'start of a client that comes back');
    await caddy.end();
    await again();
    const two = await perform({}, 'it came back', { sessions: 2 });
    killTree(caddy.pid);
    await caddy.ended;
    await again();
    const three = await perform({}, 'it came back', { sessions: 3 });
    assert.equal(three[0], first);
    assert.deepEqual(three.slice(0, 2), two);
    assert.equal(new Set(three).size, 3, 'every session has an id of its own');
    await perform({}, 'end of the client that came back');
  });
}

/** The same server, started anew. */
function again() {
  caddy.run(caddy.caddyfile(caddyfile));
  return caddy.serving();
}

describe('in node', () => {
  const StompJs = require('@stomp/stompjs');
  const WebSocket = require('ws');
  everything({
    perform: (options, name, ...args) => run({ StompJs, WebSocket, url: caddy.url(), options }, name, ...args),
    forced: 'connection-lost',
  });
});

describe('in Chromium', () => {
  let browser;
  let page;
  before(async () => {
    browser = await Browser.launch();
    page = await browser.open(`${caddy.origin}/stompjs.html`);
    await page.waitForFunction(() => window.run);
  });
  after(() => browser?.remove());

  everything({
    perform: (options, name, ...args) => page.evaluate(([url, ...rest]) => window.run(url, ...rest), [caddy.url(), options, name, args]),
    forced: 'closed',
  });
});

test('nothing of this was an accident to the server', () => {
  assert.deepEqual(caddy.complaints(), []);
});
