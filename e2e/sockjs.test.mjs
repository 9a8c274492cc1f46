// SockJS over every transport that there is, with Caddy's own middleware in front: `encode gzip` and access logs.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { BlindClient } from './lib/blind-client.mjs';
import { Browser } from './lib/browser.mjs';
import { Caddy } from './lib/caddy.mjs';
import { send } from './lib/http.mjs';
import { Numbers, numbered } from './lib/numbers.mjs';
import { Observer } from './lib/observer.mjs';
import { pagesSite, writePages } from './lib/pages.mjs';
import { freePort } from './lib/ports.mjs';
import { SockJSClient, retryResets, transportsInNode } from './lib/sockjs-client.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually, within } from './lib/wait.mjs';

const messages = 2000;
const everything = 'transports websocket xhr_streaming xhr eventsource htmlfile jsonp';

// What sockjs-client 1.6 has, where Chromium lets it, and with which of the endpoints below.
const inChromium = {
  websocket: {},
  'xhr-streaming': {},
  'xdr-streaming': { never: true },
  eventsource: {},
  'iframe-eventsource': {},
  htmlfile: { blind: true, sameOriginOnly: true },
  'iframe-htmlfile': { blind: true },
  'xhr-polling': {},
  'xdr-polling': { never: true },
  'iframe-xhr-polling': {},
  'jsonp-polling': { blind: true },
};

let pages;
before(() => {
  pages = writePages({ 'favicon.ico': '' });
});
after(() => pages?.remove());

/** Two sites: pages come from the first, endpoints from both; the second one's hostname is another, too. */
const configuration = (other, { version = 0, drain = '3s' } = {}) => ({
  global: `stomp {
		broker everybody {
			presence {
				register /ws
				announce /topic/presence
			}
			drain ${drain}
		}
	}`,
  sites: (port) => `http://localhost:${port} {
	log
	encode gzip
	header X-Version ${version}
	stomp /ws {
		broker everybody
	}
	stomp /connection {
		broker everybody
		sockjs {
			client_library_url http://localhost:${port}/sockjs.js
		}
	}
	stomp /everything {
		broker everybody
		origins *
		sockjs {
			${everything}
			client_library_url http://localhost:${port}/sockjs.js
		}
	}
	respond /version "${version}"
	${pagesSite(pages)}
}
http://127.0.0.1:${other} {
	log
	encode gzip
	stomp /listed {
		broker everybody
		origins http://localhost:${port}
		sockjs {
			client_library_url http://127.0.0.1:${other}/sockjs.js
		}
	}
	stomp /everything {
		broker everybody
		origins *
		sockjs {
			${everything}
			client_library_url http://127.0.0.1:${other}/sockjs.js
		}
	}
	stomp /refusing {
		broker everybody
		sockjs {
			client_library_url http://127.0.0.1:${other}/sockjs.js
		}
	}
	${pagesSite(pages)}
}`,
});

let caddy;
let other;
let observer;
let peer;

const start = async (options) => {
  const port = await freePort();
  return { caddy: await Caddy.start({ debug: false, ...configuration(port, options) }), other: port };
};

before(async () => {
  ({ caddy, other } = await start());
  observer = await Observer.watch(caddy.url('/ws'));
  peer = await StompClient.connect(caddy.url('/ws'));
});
after(async () => {
  await caddy?.remove();
});

let topics = 0;

/** The peer's side of a conversation: what it hears on `up`, what it says on `down`. */
async function conversation() {
  const n = ++topics;
  const talk = { up: `/topic/up/${n}`, down: `/topic/down/${n}`, heard: new Numbers(), said: 0 };
  const previous = peer.tap;
  peer.tap = (frame) => {
    if (frame.headers.destination !== talk.up) return previous(frame);
    talk.heard.take(frame.body);
    return true;
  };
  await peer.subscribe(talk.up);
  talk.say = async (count) => {
    while (count > 0) {
      const some = Math.min(count, 200);
      for (let i = 0; i < some; i++) peer.send(talk.down, numbered(talk.said++));
      await peer.request('SEND', { destination: '/topic/pace' }, '', { timeout: 30_000 });
      count -= some;
    }
  };
  return talk;
}

async function allHeard(numbers, total, closes = () => []) {
  await eventually(`${total} messages`, () => numbers.next >= total || closes().length > 0, { timeout: 60_000 }).catch((error) => {
    throw new Error(`${error.message}: ${numbers.next} arrived; ${numbers.wrong.join('; ')}`);
  });
  assert.deepEqual(closes(), []);
  assert.deepEqual(numbers.wrong, []);
  assert.equal(numbers.next, total);
}

const complaints = () => caddy.complaints();

describe('sockjs-client in node', () => {
  for (const transport of Object.keys(transportsInNode)) {
    test(`${transport}: ${messages} messages both ways`, { timeout: 120_000 }, async () => {
      const talk = await conversation();
      const client = await SockJSClient.connect(`${caddy.origin}/connection`, transport);
      assert.equal(client.transport, transport);
      await client.register(transport);
      await observer.waitFor('joined', client.session);
      const received = new Numbers();
      await client.subscribe(talk.down, (message) => received.take(message.body));
      const saying = talk.say(messages);
      for (let i = 0; i < messages; i++) client.publish(talk.up, numbered(i));
      await saying;
      await allHeard(received, messages, () => client.closes.entries);
      await allHeard(talk.heard, messages);
      await client.disconnect();
      assert.equal((await observer.waitFor('left', client.session, { timeout: 10_000 })).reason, 'disconnect');
      assert.deepEqual(client.errors, []);
      assert.deepEqual(complaints(), []);
    });
  }
});

describe('sockjs-client in Chromium', () => {
  let browser;
  before(async () => {
    browser = await Browser.launch();
  });
  after(() => browser?.remove());

  const openPage = () => browser.open(`${caddy.origin}/sockjs-transport.html`);

  async function worksOver(transport, url) {
    const talk = await conversation();
    const page = await openPage();
    page.setDefaultTimeout(45_000);
    try {
      const { session, transport: used, ...close } = await within(
        `connection over ${transport}`,
        60_000,
        page.evaluate((options) => window.start(options), { url, transport, clientData: transport }),
      );
      assert.equal(used, transport, `${JSON.stringify(close)} ${page.said.join('\n')}`);
      await observer.waitFor('joined', session, { timeout: 20_000 });
      await page.evaluate((destination) => window.listen(0, destination), talk.down);
      const saying = talk.say(messages);
      await page.evaluate(([destination, bodies]) => window.publish(0, destination, bodies), [talk.up, Array.from({ length: messages }, (_, i) => numbered(i))]);
      await saying;
      await allHeard(talk.heard, messages).catch(async (error) => {
        throw new Error(`up: ${error.message}; closes ${JSON.stringify(await page.evaluate(() => window.clients[0].closes))}; ${page.said.slice(0, 5).join('\n')}`);
      });
      await page
        .waitForFunction((count) => window.clients[0].received.length >= count || window.clients[0].closes.length > 0 || window.failed, messages, { polling: 50 })
        .catch(async () => {
          throw new Error(`down: ${await page.evaluate(() => window.clients[0].received.length)} arrived; ${page.said.slice(0, 5).join('\n')}`);
        });
      const state = await page.evaluate(() => ({ received: window.clients[0].received, closes: window.clients[0].closes }));
      assert.deepEqual(state.closes, [], page.said.slice(0, 5).join('\n'));
      assert.deepEqual(page.said.filter((line) => line.startsWith('error: ')).slice(0, 3), [], `${state.received.length} arrived`);
      const received = new Numbers();
      for (const body of state.received) received.take(body);
      assert.deepEqual([received.wrong, received.next], [[], messages]);
      await page.evaluate(() => window.clients[0].stomp.deactivate());
      const left = await observer.waitFor('left', session, { timeout: 15_000 });
      assert.equal(left.reason, 'disconnect');
      assert.deepEqual(page.said.filter((line) => line.startsWith('error: ')), []);
    } finally {
      await page.close();
    }
  }

  /** sockjs-client itself finds that it cannot. */
  async function disabled(transport, url) {
    const page = await openPage();
    const result = await page.evaluate((options) => window.start(options), { url, transport });
    assert.deepEqual(result, { code: 2000, reason: 'All transports failed' });
    await page.close();
  }

  for (const [transport, { never, blind, sameOriginOnly }] of Object.entries(inChromium)) {
    const endpoint = blind ? '/everything' : '/connection';
    test(`same origin: ${transport}${never ? ' is not enabled' : ''}`, { timeout: 150_000 }, () =>
      (never ? disabled : worksOver)(transport, `${caddy.origin}${transport.startsWith('iframe-') ? '/everything' : endpoint}`),
    );
    for (const each of blind || never ? ['/everything'] : ['/listed', '/everything']) {
      test(`another origin: ${transport} at ${each}${never || sameOriginOnly ? ' is not enabled' : ''}`, { timeout: 150_000 }, () =>
        (never || sameOriginOnly ? disabled : worksOver)(transport, `http://127.0.0.1:${other}${each}`),
      );
    }
  }

  test('a refused origin is refused on every transport alike', { timeout: 240_000 }, async () => {
    const url = `http://127.0.0.1:${other}/refusing`;
    for (const [transport, { never, blind, sameOriginOnly }] of Object.entries(inChromium)) {
      if (never || blind || sameOriginOnly) continue;
      const page = await openPage();
      const result = await within(transport, 30_000, page.evaluate((options) => window.start(options), { url, transport, timeout: 1000 }));
      assert.deepEqual(result, { code: 1002, reason: 'Cannot connect to server' }, `${transport}: /info is refused already`);
      // As if it were not: then the transport itself is refused.
      await page.route('**/refusing/info*', (route) =>
        route.fulfill({
          contentType: 'application/json',
          headers: { 'access-control-allow-origin': caddy.origin, 'access-control-allow-credentials': 'true' },
          body: '{"websocket":true,"origins":["*:*"],"cookie_needed":false,"entropy":1}',
        }),
      );
      const deeper = await within(transport, 60_000, page.evaluate((options) => window.start(options), { url, transport, timeout: 1000 }));
      assert.deepEqual(deeper, { code: 2000, reason: 'All transports failed' }, transport);
      await page.close();
    }
  });
});

/** Any request with an Origin; an upgrade that succeeds has status 101. */
function status(path, { method = 'GET', headers = {}, body } = {}) {
  const answered = new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port: other, path, method, headers: { host: `127.0.0.1:${other}`, connection: 'close', ...headers }, agent: false }, (response) => {
      resolve(response.statusCode);
      response.destroy();
    });
    sent.on('upgrade', (response, socket) => {
      resolve(response.statusCode);
      socket.destroy();
    });
    sent.on('error', reject);
    sent.end(body);
  });
  return within(path, 20_000, answered);
}

const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' };

describe('origins', () => {
  const requests = [
    ['/info', {}],
    ['/info', { method: 'OPTIONS' }],
    ['/websocket', { headers: upgrade }],
    ['', { headers: upgrade }],
    ['/000/origin-ws/websocket', { headers: upgrade }],
    ['/000/origin-xs/xhr_streaming', { method: 'POST' }],
    ['/000/origin-xs/xhr_streaming', { method: 'OPTIONS' }],
    ['/000/origin-xp/xhr', { method: 'POST' }],
    ['/000/origin-xp/xhr', { method: 'OPTIONS' }],
    ['/000/origin-xp/xhr_send', { method: 'POST', body: '["x"]' }],
    ['/000/origin-es/eventsource', {}],
  ];
  for (const [path, options] of requests) {
    test(`${options.method ?? 'GET'} ${path || 'the endpoint'}`, { timeout: 60_000 }, async () => {
      let session = 0; // each time another one: a session that is open already would keep a poll waiting
      const from = (origin) =>
        status(`/refusing${path.replace('origin-', `origin-${++session}-`)}`, { ...options, headers: { ...options.headers, ...(origin && { origin }) } });
      for (const origin of [caddy.origin, 'http://evil.example', 'null']) assert.equal(await from(origin), 403, origin);
      const own = await from(`http://127.0.0.1:${other}`);
      assert.notEqual(own, 403, 'its own origin');
      const none = await from(undefined);
      assert.notEqual(none, 403, 'no origin: no browser');
    });
  }

  test('the iframe page is for those who may connect', { timeout: 30_000 }, async () => {
    assert.equal(await status('/refusing/iframe.html'), 404);
    assert.equal(await status('/listed/iframe.html'), 200);
  });

  test('jsonp and htmlfile are off unless listed', { timeout: 30_000 }, async () => {
    for (const path of ['/listed/000/abcdefgh/jsonp?c=x', '/listed/000/abcdefgh/htmlfile?c=x']) assert.equal(await status(path), 404, path);
  });
});

/** Servers of former configurations that still wait for their connections. */
async function lingering(who = caddy) {
  const { text } = await who.api('/debug/pprof/goroutine?debug=2');
  return (text.match(/net\/http\.\(\*Server\)\.Shutdown\(/g) ?? []).length;
}

describe('reloads', () => {
  const reloads = 10;
  const clientsEach = 10;
  let version = 0;
  let stopRetrying;
  before(() => {
    stopRetrying = retryResets();
  });
  after(() => stopRetrying());

  /** What Caddy answered to SockJS, other than with success, since an entry of its log. */
  const refusals = (from) =>
    caddy.log.entries
      .slice(from)
      .filter((entry) => entry.logger?.startsWith('http.log.access') && entry.status >= 400 && entry.request.uri.startsWith('/connection/'))
      .map((entry) => `${entry.status} ${entry.request.method} ${entry.request.uri.split('/').at(-1)}`);

  async function reloaded() {
    version++;
    await caddy.reload(configuration(other, { version }));
    assert.equal((await send(`${caddy.origin}/version`)).text, String(version));
    await eventually('the old configuration is gone', async () => (await lingering()) === 0, { timeout: 5000, every: 50 });
  }

  for (const transport of Object.keys(transportsInNode).filter((name) => name !== 'websocket')) {
    test(`${transport}: ${reloads} reloads, ${clientsEach} clients`, { timeout: 180_000 }, async () => {
      const talk = await conversation();
      const logged = caddy.log.entries.length;
      const before = observer.changes.filter((change) => change.type === 'left').length;
      const clients = [];
      for (let i = 0; i < clientsEach; i++) {
        const client = await SockJSClient.connect(`${caddy.origin}/connection`, transport);
        await client.register(i);
        const own = await conversation();
        const received = new Numbers();
        await client.subscribe(talk.down, (message) => received.take(message.body));
        clients.push({ client, received, own, sent: 0 });
      }
      let going = true;
      const talking = (async () => {
        while (going) {
          await talk.say(20);
          for (const each of clients) for (let i = 0; i < 5 && each.client.open; i++) each.client.publish(each.own.up, numbered(each.sent++));
        }
      })();
      talking.catch(() => {});
      const closed = () => clients.flatMap(({ client }, i) => client.closes.entries.map(({ code, reason }) => `client ${i}: ${code} ${reason}`));
      try {
        for (let i = 0; i < reloads; i++) {
          const said = talk.said;
          await reloaded();
          await eventually('it goes on', () => talk.said > said + 40, { timeout: 20_000 });
          assert.deepEqual([...closed(), ...refusals(logged)], [], `after ${i + 1} reloads`);
        }
      } finally {
        going = false;
        await talking.catch(() => {});
      }
      await talking;
      for (const { client, received, own, sent } of clients) {
        await allHeard(received, talk.said, () => client.closes.entries);
        await allHeard(own.heard, sent);
        assert.ok(client.open);
      }
      await observer.marker();
      assert.equal(observer.changes.filter((change) => change.type === 'left').length, before, 'nobody left');
      for (const { client } of clients) {
        await client.disconnect();
        assert.equal((await observer.waitFor('left', client.session, { timeout: 15_000 })).reason, 'disconnect');
      }
      assert.deepEqual(complaints(), []);
    });
  }

  for (const transport of ['htmlfile', 'jsonp']) {
    test(`${transport}: ${reloads} reloads, ${clientsEach} clients`, { timeout: 180_000 }, async () => {
      const talk = await conversation();
      const before = observer.changes.filter((change) => change.type === 'left').length;
      const clients = [];
      for (let i = 0; i < clientsEach; i++) {
        const received = new Numbers();
        const client = await BlindClient.connect(`${caddy.origin}/everything`, transport, (frame) => received.take(frame.body));
        await client.register(i);
        await client.subscribe(talk.down);
        clients.push({ client, received, own: await conversation(), sent: 0 });
      }
      const closed = () => clients.flatMap(({ client }) => client.closed);
      for (let i = 0; i < reloads; i++) {
        const saying = talk.say(50);
        for (const each of clients) for (let j = 0; j < 5; j++) each.client.frame('SEND', { destination: each.own.up }, numbered(each.sent++));
        await reloaded();
        await saying;
        await talk.say(10);
        assert.deepEqual(closed(), [], `after ${i + 1} reloads`);
      }
      for (const { received, own, sent } of clients) {
        await allHeard(received, talk.said, closed);
        await allHeard(own.heard, sent, closed);
      }
      await observer.marker();
      assert.equal(observer.changes.filter((change) => change.type === 'left').length, before, 'nobody left');
      for (const { client } of clients) {
        await client.disconnect();
        assert.equal((await observer.waitFor('left', client.session, { timeout: 15_000 })).reason, 'disconnect');
      }
      assert.deepEqual(complaints(), []);
    });
  }
});

describe('the end', () => {
  test('caddy stop ends within the drain time + 1 s with open receivers on every transport', { timeout: 120_000 }, async (t) => {
    const own = await start({ drain: '2s' });
    t.after(() => own.caddy.remove());
    const clients = [];
    for (const transport of Object.keys(transportsInNode)) {
      for (let i = 0; i < 3; i++) clients.push(await SockJSClient.connect(`${own.caddy.origin}/everything`, transport));
    }
    // and receivers of those that are not in node, which never come back
    const open = [];
    for (const transport of ['htmlfile', 'jsonp']) {
      const url = `${own.caddy.origin}/everything/000/stopping${transport}/${transport}?c=callback`;
      if (transport === 'jsonp') await send(url); // the first answer is "o"
      const sent = request(url, { agent: false });
      sent.on('error', () => {});
      sent.end();
      if (transport === 'htmlfile') await within('htmlfile', 10_000, new Promise((resolve) => sent.on('response', (response) => resolve(response.on('error', () => {}).resume()))));
      open.push(sent);
    }
    const took = await own.caddy.stopCommand();
    const ends = [];
    assert.ok(took <= 2000 + 1000, `caddy stop took ${took} ms`);
    for (const client of clients) {
      const { code, reason } = await client.closes.waitFor(`close of ${client.transport}`, () => true, { timeout: 10_000 });
      ends.push(`${client.transport}: ${code} ${reason}; ERROR ${client.errors}`);
    }
    for (const each of open) each.destroy();
    assert.deepEqual(ends.filter((end) => !/: 1012 .*ERROR .*shutdown/.test(end)), [], 'each is told why, and closed with 1012');
    assert.deepEqual(own.caddy.complaints().filter((entry) => !entry.logger?.startsWith('http.log.access')), []);
  });
});
