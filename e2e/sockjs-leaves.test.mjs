// Presence over polling: every way to go away, over every transport, is noticed soon, with its reason, exactly once.

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { Agent } from './lib/agent.mjs';
import { BlindClient, blindTransports } from './lib/blind-client.mjs';
import { Browser } from './lib/browser.mjs';
import { Caddy } from './lib/caddy.mjs';
import { record, saveLatencies, transportTable } from './lib/latency.mjs';
import { Observer } from './lib/observer.mjs';
import { pagesSite, writePages } from './lib/pages.mjs';
import { SockJSClient, transportsInNode } from './lib/sockjs-client.mjs';
import { now, observeFor } from './lib/wait.mjs';

const bound = 6000;
const script = fileURLToPath(new URL('lib/sockjs-agent-process.mjs', import.meta.url));

let pages;
let caddy;
let observer;
const keys = new Set(); // session segments of URLs, which on HTTP transports nobody may learn
const expected = [];

before(async () => {
  pages = writePages({ 'favicon.ico': '' });
  caddy = await Caddy.start({
    global: `stomp {
		broker leaves {
			presence {
				register /ws
				announce /topic/presence
			}
		}
	}`,
    sites: (port) => `http://localhost:${port} {
	log
	encode gzip
	stomp /ws {
		broker leaves
	}
	stomp /default {
		broker leaves
		sockjs
	}
	stomp /beat {
		broker leaves
		heart_beat 1s 1s
		sockjs
	}
	stomp /blind {
		broker leaves
		origins *
		sockjs {
			transports htmlfile jsonp
		}
	}
	stomp /blind-beat {
		broker leaves
		origins *
		heart_beat 1s 1s
		sockjs {
			transports htmlfile jsonp
		}
	}
	${pagesSite(pages)}
}`,
  });
  observer = await Observer.watch(caddy.url('/ws'));
});

after(async () => {
  await caddy?.remove();
  pages?.remove();
  const rows = saveLatencies();
  if (rows.length > 0) console.log(`\n${transportTable(rows)}\n`);
});

/** Waits for the one `left` of a session, checks it and adds its latency to the table. */
async function leaves(transport, way, session, from, { reason, codes, clean }) {
  const left = await observer.waitFor('left', session, { timeout: 40_000 });
  const latency = left.receivedAt - from;
  record(`SockJS ${transport}: ${way}`, left.reason, latency);
  expected.push({ session, reason });
  assert.equal(left.reason, reason, `${transport}: ${way} (code ${left.code}, after ${latency} ms)`);
  assert.equal(left.clean, clean, `${transport}: ${way} (code ${left.code})`);
  assert.ok(codes.includes(left.code), `code ${left.code}`);
  assert.ok(latency < bound, `${transport}, ${way}: noticed after ${latency} ms`);
}

function remember(transport, { session, key }) {
  if (transport === 'websocket') return;
  assert.notEqual(session, key);
  keys.add(key);
}

for (const [transport, name] of Object.entries({ ...transportsInNode, ...blindTransports })) {
  const socket = transport === 'websocket';
  const blind = transport in blindTransports;
  const [plain, beating] = blind ? ['/blind', '/blind-beat'] : ['/default', '/beat'];
  const lost = { reason: 'connection-lost', codes: [1006], clean: false };

  async function agent(endpoint, options) {
    const process = Agent.start({ script });
    const client = await process.call('connect', `${caddy.origin}${endpoint}`, transport, options);
    assert.equal(client.transport, transport);
    remember(transport, client);
    await process.call('register', { over: transport });
    await observer.waitFor('joined', client.session, { timeout: 10_000 });
    return { process, session: client.session };
  }

  async function client() {
    const one = blind ? await BlindClient.connect(`${caddy.origin}${plain}`, transport, () => {}) : await SockJSClient.connect(`${caddy.origin}${plain}`, transport);
    assert.equal(one.transport, transport);
    remember(transport, one);
    await one.register({ over: transport });
    await observer.waitFor('joined', one.session, { timeout: 10_000 });
    return one;
  }

  test(`${transport}: DISCONNECT`, { timeout: 180_000 }, async () => {
    for (let i = 0; i < 5; i++) {
      const one = await client();
      const from = now();
      const ended = one.disconnect();
      await leaves(name, '`DISCONNECT`', one.session, from, { reason: 'disconnect', codes: [1000], clean: true });
      await ended;
    }
  });

  test(`${transport}: socket.close()`, { timeout: 180_000 }, async () => {
    for (let i = 0; i < 5; i++) {
      const one = await client();
      if (transport === 'xhr-polling' || transport === 'jsonp') await one.polling();
      const from = now();
      one.close();
      // Over HTTP, sockjs-client says nothing: it aborts its request.
      await leaves(name, '`socket.close()`', one.session, from, socket ? { reason: 'closed', codes: [1000, 1005], clean: true } : lost);
    }
  });

  if (transport === 'jsonp') {
    test(`${transport}: socket.close() between two polls`, { timeout: 180_000 }, async () => {
      for (let i = 0; i < 3; i++) {
        let closed;
        const at = new Promise((resolve) => (closed = resolve));
        const one = await BlindClient.connect(`${caddy.origin}${plain}`, transport, () => {
          one.close();
          closed(now());
        });
        remember(transport, one);
        await one.register({ over: transport });
        await observer.waitFor('joined', one.session, { timeout: 10_000 });
        await one.subscribe('/topic/close');
        one.frame('SEND', { destination: '/topic/close' }, 'now');
        await leaves(name, '`socket.close()` between two polls', one.session, await at, lost);
      }
    });
  }

  if (transport === 'xhr-polling') {
    test(`${transport}: socket.close() between two polls`, { timeout: 180_000 }, async () => {
      for (let i = 0; i < 3; i++) {
        const one = await client(); // the answer to its last request has just come, in a poll that is over
        await one.subscribe('/topic/close', () => {});
        const message = new Promise((resolve) => {
          one.socket.addEventListener('message', () => {
            one.close();
            resolve(now());
          });
        });
        one.publish('/topic/close', 'now');
        await leaves(name, '`socket.close()` between two polls', one.session, await message, lost);
      }
    });
  }

  test(`${transport}: client process killed`, { timeout: 180_000 }, async () => {
    for (let i = 0; i < 3; i++) {
      const { process, session } = await agent(plain);
      const from = now();
      await process.kill();
      await leaves(name, 'client process `kill -9`', session, from, lost);
    }
  });

  test(`${transport}: client process stopped, heart-beats of 1 s`, { timeout: 180_000 }, async () => {
    for (let i = 0; i < 3; i++) {
      const { process, session } = await agent(beating, { beat: 1000 });
      const from = now();
      process.stop();
      try {
        await leaves(name, 'client stopped (`SIGSTOP`), heart-beats `1000,1000`', session, from, { reason: 'heart-beat-timeout', codes: [1013], clean: false });
      } finally {
        await process.kill();
      }
    }
  });
}

test('in Chromium', { timeout: 400_000 }, async (t) => {
  const browser = await Browser.launch();
  t.after(() => browser.remove());
  let n = 0;
  for (const [transport, name] of Object.entries(transportsInNode)) {
    const socket = transport === 'websocket';
    const open = async () => {
      const key = `page${process.pid}x${Date.now()}x${++n}`;
      const page = await browser.open(`${caddy.origin}/sockjs-transport.html`);
      const { session, transport: used } = await page.evaluate((options) => window.start(options), { url: `${caddy.origin}/default`, transport, key, clientData: 'a page' });
      assert.equal(used, transport);
      remember(transport, { session, key });
      await observer.waitFor('joined', session, { timeout: 10_000 });
      return { page, session };
    };
    const outcome = socket ? { reason: 'closed', codes: [1000, 1001, 1005], clean: true } : { reason: 'connection-lost', codes: [1006], clean: false };

    await t.test(`${transport}: tab closed`, { timeout: 100_000 }, async () => {
      for (let i = 0; i < 5; i++) {
        const { page, session } = await open();
        const from = now();
        await page.close();
        await leaves(name, 'tab closed (Chromium)', session, from, outcome);
      }
    });

    await t.test(`${transport}: page navigated away`, { timeout: 100_000 }, async () => {
      for (let i = 0; i < 3; i++) {
        const { page, session } = await open();
        const from = now();
        await page.goto(`${caddy.origin}/empty.html`);
        await leaves(name, 'page navigated away (Chromium)', session, from, outcome);
        await page.close();
      }
    });
  }
});

test('every end was announced, logged as an event and counted exactly once', { timeout: 60_000 }, async () => {
  await observeFor(bound); // a second announcement could come with the disconnect delay
  await observer.marker();
  for (const { session, reason } of expected) {
    const all = observer.of(session, 'left');
    assert.deepEqual(all.map((change) => change.reason), [reason], `left of ${session}`);
    const events = caddy.events('stomp_disconnected').filter((entry) => entry.data.session_id === session);
    assert.deepEqual(events.map((entry) => entry.data.reason), [reason], `stomp_disconnected of ${session}`);
  }
  assert.equal(observer.changes.filter((change) => change.type === 'left').length, expected.length, 'nobody else left');
  await caddy.metricIs('caddy_stomp_sessions', {}, 1);
  assert.deepEqual(caddy.complaints(), []);
});

test('the session segment of the URL stays between the client and the server', { timeout: 30_000 }, async () => {
  assert.ok(keys.size > 0);
  const isAccessLog = (entry) => entry.logger?.startsWith('http.log.access');
  const access = caddy.log.filter(isAccessLog).map((entry) => JSON.stringify(entry)).join('\n');
  assert.ok([...keys].some((key) => access.includes(key)), 'access logs have the URLs: the search below would find it');
  const places = {
    announcements: observer.changes.entries.map((change) => JSON.stringify(change)),
    'logs and events': caddy.log.filter((entry) => !isAccessLog(entry)).map((entry) => JSON.stringify(entry)),
    metrics: [(await caddy.metrics()).text],
  };
  for (const [place, texts] of Object.entries(places)) {
    for (const key of keys) assert.deepEqual(texts.filter((text) => text.includes(key)).slice(0, 1), [], place);
  }
});
