// The clients of the field, unmodified: sockjs-client with @stomp/stompjs or webstomp-client, used as pages that exist use them.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { Browser } from './lib/browser.mjs';
import { Caddy } from './lib/caddy.mjs';
import { Observer } from './lib/observer.mjs';
import { pagesSite, writePages } from './lib/pages.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { within } from './lib/wait.mjs';

const require = createRequire(import.meta.url);
globalThis.WebSocket ??= require('ws'); // webstomp-client takes it from there; SockJS has its own

const clientData = 'any JSON value, often a plain string';

// Where pages register, and where they hear of others.
const destinations = [
  { endpoint: '/connection', register: '/ws', announce: '/topic/presence' },
  { endpoint: '/slashed', register: '/ws/', announce: '/presence/' },
  { endpoint: '/deep/er', register: '/anything/at/all', announce: '/elsewhere' },
];

// They differ in how a body is sent: send(destination, headers, body) or send(destination, body, headers).
const libraries = {
  '@stomp/stompjs': { bundle: 'stomp.umd.js', global: 'StompJs.Stomp', inNode: () => require('@stomp/stompjs').Stomp, headersFirst: true },
  'webstomp-client': { bundle: 'webstomp.js', global: 'webstomp', inNode: () => require('webstomp-client'), headersFirst: false },
};

const inOrder = (headersFirst, headers, body) => (headersFirst ? [headers, body] : [body, headers]);

/** The page, word for word; around it only what lets a test look in. */
const page = ({ bundle, global, headersFirst }, { endpoint, register, announce }) => `<!doctype html>
<meta charset="utf-8">
<title>A page that exists</title>
<script src="sockjs.js"></script>
<script src="${bundle}"></script>
<script>
  const Stomp = ${global};
  window.announcements = [];

  const socket = new SockJS('${endpoint}');
  const stompClient = Stomp.over(socket);
  stompClient.connect({}, () => {
    stompClient.subscribe('${announce}', m => { window.announcements.push(...JSON.parse(m.body)); });
    const sessionId = socket._transport.url.split('/').slice(-2)[0];   // ws://host/connection/039/{sessionId}/websocket
    stompClient.send('${register}', ${inOrder(headersFirst, '{}', `JSON.stringify({sessionId, clientData: '${clientData}'})`).join(', ')});
    window.sessionId = sessionId;
    window.transport = socket.transport;
  });
</script>
`;

const pageName = (library, { endpoint }) => `${library}${endpoint}`.replace(/\W+/g, '-') + '.html';

let caddy;
let pages;

before(async () => {
  const extra = { 'favicon.ico': '' };
  for (const [name, library] of Object.entries(libraries)) {
    for (const each of destinations) extra[pageName(name, each)] = page(library, each);
  }
  pages = writePages(extra);
  caddy = await Caddy.start({
    sites: (port) => `http://localhost:${port} {
	${destinations
    .map(
      ({ endpoint, register, announce }) => `stomp ${endpoint} {
		sockjs
		presence {
			register ${register}
			announce ${announce}
		}
	}`,
    )
    .join('\n\t')}
	${pagesSite(pages)}
}`,
  });
});

after(async () => {
  await caddy?.remove();
  pages?.remove();
});

describe('in Chromium', () => {
  let browser;
  before(async () => {
    browser = await Browser.launch();
  });
  after(() => browser?.remove());

  for (const name of Object.keys(libraries)) {
    for (const each of destinations) {
      test(`${name} at ${each.endpoint}, register ${each.register}, announce ${each.announce}`, { timeout: 60_000 }, async () => {
        const observer = await Observer.watch(caddy.url(`${each.endpoint}/websocket`), { announce: each.announce });
        const tabs = [];
        for (let i = 0; i < 2; i++) {
          const tab = await browser.open(`${caddy.origin}/${pageName(name, each)}`);
          const sessionId = await tab.waitForFunction(() => window.sessionId).then((handle) => handle.jsonValue());
          const joined = await observer.waitFor('joined', sessionId);
          assert.equal(joined.clientData, clientData);
          assert.equal(await tab.evaluate(() => window.transport), 'websocket');
          tabs.push({ tab, sessionId });
        }
        const [stays, goes] = tabs;
        await goes.tab.close();
        const left = await observer.waitFor('left', goes.sessionId);
        assert.deepEqual([left.reason, left.clientData, left.clean], ['closed', clientData, true]);
        const seen = await stays.tab
          .waitForFunction((id) => window.announcements.find((change) => change.type === 'left' && change.sessionId === id), goes.sessionId)
          .then((handle) => handle.jsonValue());
        assert.equal(seen.reason, 'closed');
        assert.equal(seen.clientData, clientData);
        assert.deepEqual(stays.tab.said.filter((line) => line.startsWith('error')), []);

        await stays.tab.evaluate(() => new Promise((resolve) => stompClient.disconnect(resolve)));
        assert.equal((await observer.waitFor('left', stays.sessionId)).reason, 'disconnect');
        await stays.tab.close();
        await observer.marker();
        for (const { sessionId } of tabs) assert.equal(observer.of(sessionId, 'left').length, 1);
        await observer.end();
      });
    }
  }
});

describe('in Node', () => {
  for (const [name, library] of Object.entries(libraries)) {
    test(`${name} over sockjs-client`, { timeout: 60_000 }, async () => {
      const [{ endpoint, register, announce }] = destinations;
      const observer = await Observer.watch(caddy.url(`${endpoint}/websocket`), { announce });
      const SockJS = require('sockjs-client');
      const socket = new SockJS(`${caddy.origin}${endpoint}`, null, { transports: ['websocket'] });
      const stompClient = library.inNode().over(socket);
      stompClient.debug = () => {};
      const announcements = [];
      const sessionId = await within(
        'connection',
        10_000,
        new Promise((resolve, reject) => {
          stompClient.connect(
            {},
            () => {
              stompClient.subscribe(announce, (m) => announcements.push(...JSON.parse(m.body)));
              const sessionId = socket._transport.url.split('/').slice(-2)[0];
              stompClient.send(register, ...inOrder(library.headersFirst, {}, JSON.stringify({ sessionId, clientData })));
              resolve(sessionId);
            },
            reject,
          );
        }),
      );
      assert.equal((await observer.waitFor('joined', sessionId)).clientData, clientData);
      socket.close();
      const left = await observer.waitFor('left', sessionId);
      assert.deepEqual([left.reason, left.clean, left.clientData], ['closed', true, clientData]);
      await observer.end();
    });
  }

  for (const path of ['/connection/websocket', '/connection']) {
    test(`@stomp/stompjs over a plain WebSocket at ${path}`, { timeout: 60_000 }, async () => {
      const { Client } = require('@stomp/stompjs');
      const observer = await Observer.watch(caddy.url('/connection/websocket'));
      const client = new Client({ brokerURL: caddy.url(path), reconnectDelay: 0, heartbeatIncoming: 1000, heartbeatOutgoing: 1000 });
      const connected = new Promise((resolve, reject) => Object.assign(client, { onConnect: resolve, onStompError: reject, onWebSocketError: reject }));
      client.activate();
      const { headers } = await within('CONNECTED', 10_000, connected);
      client.publish({ destination: '/ws', body: JSON.stringify({ clientData }) });
      await observer.waitFor('joined', headers.session);
      await client.deactivate();
      assert.equal((await observer.waitFor('left', headers.session)).reason, 'disconnect');
      await observer.end();
    });
  }
});

describe('session ids of SockJS URLs', () => {
  const sockjs = (server, session, options) => StompClient.connect(caddy.url(`/connection/${server}/${session}/websocket`), { sockjs: true, ...options });

  test('the segment is the session id, and every segment of the URL means "me"', { timeout: 30_000 }, async () => {
    const observer = await Observer.watch(caddy.url('/connection/websocket'));
    for (const [session, said] of [
      ['seg-ment_1', 'seg-ment_1'],
      ['seg-ment_2', '039'],
      ['seg-ment_3', undefined],
    ]) {
      const client = await sockjs('039', session);
      assert.equal(client.session, session);
      await client.request('SEND', { destination: '/ws' }, JSON.stringify({ sessionId: said, clientData: `as ${said}` }));
      const joined = await observer.waitFor('joined', client.session);
      assert.equal(joined.clientData, `as ${said}`);
      await client.disconnect();
      await observer.waitFor('left', client.session);
    }
    await observer.end();
  });

  test('equal to the segment where it may be, minted where not', { timeout: 30_000 }, async () => {
    const first = await sockjs('000', 'abcdefgh');
    assert.equal(first.session, 'abcdefgh');
    const second = await sockjs('000', 'abcdefgh');
    assert.notEqual(second.session, 'abcdefgh', 'somebody alive has it');
    assert.ok(first.open, 'an equal id takes nothing over');
    await first.disconnect();
    const third = await sockjs('000', 'abcdefgh');
    assert.notEqual(third.session, 'abcdefgh', 'somebody had it a moment ago');
    for (const unfit of ['short', 'x'.repeat(65), 'with%20space', 'dotted.dotted']) {
      const client = await sockjs('000', unfit).catch((error) => error);
      if (client instanceof Error) assert.ok(client.status >= 400 && client.status < 500, String(client));
      else {
        assert.notEqual(client.session, decodeURIComponent(unfit));
        assert.match(client.session, /^[A-Za-z0-9_-]{8,64}$/);
        await client.disconnect();
      }
    }
    for (const client of [second, third]) await client.disconnect();
  });

  test('client data may be any JSON value, and is replaced or merged', { timeout: 30_000 }, async () => {
    const observer = await Observer.watch(caddy.url('/connection/websocket'));
    for (const value of ['plain', '', 0, -1.5, true, false, null, [], [1, 'two', { three: 3 }], {}, { 'ümlaut': '☕', deep: { er: [null] } }]) {
      const client = await StompClient.connect(caddy.url('/connection/websocket'));
      await client.register('/ws', value);
      const joined = await observer.waitFor('joined', client.session);
      assert.deepEqual(joined.clientData, value);
      await client.disconnect();
      assert.deepEqual((await observer.waitFor('left', client.session)).clientData, value);
    }
    const client = await StompClient.connect(caddy.url('/connection/websocket'), { connect: { 'client-data': '{"name":"Mina","mood":"fine"}' } });
    await observer.waitFor('joined', client.session);
    await client.request('SEND', { destination: '/ws', 'content-type': 'application/merge-patch+json' }, '{"clientData":{"mood":null,"team":"red"}}');
    const updated = await observer.waitFor('updated', client.session);
    assert.deepEqual(updated.clientData, { name: 'Mina', team: 'red' });
    await client.register('/ws', 'someone else');
    const again = await observer.changes.waitFor('second update', (change) => change.type === 'updated' && change.seq > updated.seq);
    assert.equal(again.clientData, 'someone else');
    await client.disconnect();
    await observer.end();
  });

  test('the roster, and then every change, on one subscription', { timeout: 30_000 }, async () => {
    const first = await StompClient.connect(caddy.url('/connection/websocket'), { connect: { 'client-data': '"first"' } });
    const reader = await StompClient.connect(caddy.url('/connection/websocket'));
    const id = await reader.subscribe('/ws');
    const roster = await reader.next('roster', (frame) => frame.headers.subscription === id);
    const { sessions, seq, stream } = JSON.parse(roster.body);
    assert.deepEqual(sessions.map((session) => [session.sessionId, session.clientData]), [[first.session, 'first']]);
    const second = await StompClient.connect(caddy.url('/connection/websocket'), { connect: { 'client-data': '"second"' } });
    await first.disconnect();
    const changes = [];
    await reader.next('changes', (frame) => {
      if (frame.command === 'MESSAGE' && frame.headers.subscription === id && Array.isArray(JSON.parse(frame.body))) changes.push(...JSON.parse(frame.body));
      return changes.length >= 2;
    });
    assert.deepEqual(changes.map((change) => [change.type, change.sessionId]), [['joined', second.session], ['left', first.session]]);
    assert.deepEqual(changes.map((change) => [change.seq - seq, change.stream]), [[1, stream], [2, stream]], 'nothing missed, nothing twice');
    for (const client of [second, reader]) await client.disconnect();
  });
});
