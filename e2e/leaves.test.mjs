// Every way to go away is noticed and announced once, with the right reason.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Agent } from './lib/agent.mjs';
import { Browser } from './lib/browser.mjs';
import { Caddy } from './lib/caddy.mjs';
import { DevTools } from './lib/devtools.mjs';
import { latencyTable, record, saveLatencies } from './lib/latency.mjs';
import { Observer, join } from './lib/observer.mjs';
import { pagesSite, writePages } from './lib/pages.mjs';
import { RawWebSocket } from './lib/raw-websocket.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually, now, observeFor } from './lib/wait.mjs';

// Heart-beats of 1 s: noticed within 2 x 1 s + 1 s. The rest is the machine's: two cores, shared.
const beatBound = 3000;
const slack = 700;

const global = `stomp {
		broker leaves {
			presence {
				register /ws
				announce /topic/presence
			}
			drain 3s
		}
	}`;

const endpoint = (path, options = '') => `stomp ${path} {
		broker leaves
		${options}
	}`;

let pages;
const sites = (port, { removable = true } = {}) => `http://localhost:${port} {
	${endpoint('/beat', 'heart_beat 1s 1s')}
	${endpoint('/silent', 'ping_timeout 3s')}
	${endpoint('/default')}
	${endpoint('/sockjs', 'sockjs')}
	${endpoint('/slow', 'limits {\n pending 256KiB\n }')}
	${endpoint('/hasty', 'limits {\n connect_timeout 1s\n }')}
	${removable ? endpoint('/removable') : ''}
	${pagesSite(pages)}
}`;

let caddy;
let observer;
let unread; // what became of the client that negotiated 0,0 with default settings
const unannounced = []; // reasons of the ends of sessions that nobody was told about, as they never said who they were
const expected = []; // every end that this file causes: {session, reason, code, clean, announced}

before(async () => {
  pages = writePages();
  caddy = await Caddy.start({ global, sites: (port) => sites(port) });
  observer = await Observer.watch(caddy.url('/default'));
  unread = silentByDefault();
  unread.catch(() => {});
});

after(async () => {
  await observer?.client.ws.terminate();
  await caddy?.remove();
  pages?.remove();
  console.log(`\n${latencyTable(saveLatencies())}\n`);
});

/** Waits for the one `left` of a session, checks it, and adds its latency to the table. */
async function leaves(way, session, { from, reason, code, clean, timeout = 10_000 }) {
  const left = await observer.waitFor('left', session, { timeout });
  const latency = left.receivedAt - from;
  assert.deepEqual({ reason: left.reason, code: left.code, clean: left.clean }, { reason, code, clean }, way);
  assert.ok(left.connectedFor >= 0 && left.connectedFor < 120, `connectedFor ${left.connectedFor}`);
  assert.ok(Date.parse(left.at) >= Date.parse(left.connectedAt), `${left.connectedAt} until ${left.at}`);
  record(way, reason, latency);
  expected.push({ session, reason, code, clean });
  return { left, latency };
}

/** A way of going away, several times. */
function way(name, { repetitions = 5, timeout = 30_000, ...expectation }, once) {
  test(name, { timeout: timeout * repetitions }, async () => {
    for (let i = 0; i < repetitions; i++) {
      const { session, from } = await once(i);
      const { latency } = await leaves(name, session, { ...expectation, from });
      if (expectation.atMost) assert.ok(latency <= expectation.atMost + slack, `${name}: noticed after ${latency} ms`);
      if (expectation.atLeast) assert.ok(latency >= expectation.atLeast, `${name}: given up after only ${latency} ms`);
    }
  });
}

const soon = { atMost: 1000 };

way('DISCONNECT with receipt', { reason: 'disconnect', code: 1000, clean: true, ...soon }, async () => {
  const client = await join(caddy.url('/default'), { name: 'polite' }, observer);
  const from = now();
  const receipt = await client.request('DISCONNECT');
  const close = await client.close();
  assert.equal(close.code, 1000, 'close after DISCONNECT');
  assert.ok(receipt.at <= close.at, 'RECEIPT comes before the close');
  assert.deepEqual(client.frames.filter((frame) => frame.command === 'ERROR'), []);
  return { session: client.session, from };
});

way('DISCONNECT without receipt', { reason: 'disconnect', code: 1000, clean: true, ...soon }, async () => {
  const client = await join(caddy.url('/default'), 'plain string', observer);
  const from = now();
  client.frame('DISCONNECT');
  assert.equal((await client.close()).code, 1000);
  return { session: client.session, from };
});

way('`DISCONNECT`, and the socket closed at once', { reason: 'disconnect', code: 1000, clean: true, ...soon }, async () => {
  const client = await join(caddy.url('/default'), 1, observer);
  const from = now();
  client.frame('DISCONNECT', { receipt: 'bye' });
  client.ws.close();
  await client.close();
  return { session: client.session, from };
});

way('`ws.close()`', { reason: 'closed', code: 1005, clean: true, ...soon }, async () => {
  const client = await join(caddy.url('/default'), null, observer);
  const from = now();
  client.ws.close();
  return { session: client.session, from };
});

way('`ws.close(4001)`', { reason: 'closed', code: 4001, clean: true, ...soon }, async () => {
  const client = await join(caddy.url('/default'), [], observer);
  const from = now();
  client.ws.close(4001, 'gone fishing');
  assert.equal((await client.close()).code, 4001);
  return { session: client.session, from };
});

way('TCP connection closed without a word', { reason: 'connection-lost', code: 1006, clean: false, ...soon }, async () => {
  const client = await join(caddy.url('/default'), 'x', observer);
  const from = now();
  client.cut();
  return { session: client.session, from };
});

way('TCP reset', { reason: 'connection-lost', code: 1006, clean: false, ...soon }, async () => {
  const client = await join(caddy.url('/default'), 'x', observer);
  const from = now();
  client.reset();
  return { session: client.session, from };
});

way('client process `kill -9`', { reason: 'connection-lost', code: 1006, clean: false, repetitions: 3, ...soon }, async () => {
  const agent = Agent.start();
  const { session } = await agent.call('connect', caddy.url('/default'));
  await agent.call('register', '/ws', 'victim');
  await observer.waitFor('joined', session);
  const from = now();
  await agent.kill();
  return { session, from };
});

way('protocol error', { reason: 'protocol-error', code: 1002, clean: false, ...soon }, async () => {
  const client = await join(caddy.url('/default'), 'x', observer);
  const from = now();
  client.raw('NONSENSE\n\n\0');
  const error = await client.error();
  assert.match(error.headers.message, /NONSENSE/, 'ERROR names the problem');
  const close = await client.close();
  assert.equal(close.code, 1002);
  assert.ok(error.at <= close.at, 'ERROR comes before the close');
  return { session: client.session, from };
});

test('a client that does not read', { timeout: 60_000 }, async () => {
  const reader = await StompClient.connect(caddy.url('/default'));
  let read = 0;
  reader.tap = (frame) => frame.command === 'MESSAGE' && Boolean(++read);
  await reader.subscribe('/topic/flood');
  const writer = await StompClient.connect(caddy.url('/default'));
  for (let i = 0; i < 2; i++) {
    const raw = await RawWebSocket.open(caddy.port, '/slow');
    const session = await raw.connect();
    raw.stomp('SUBSCRIBE', { id: '1', destination: '/topic/flood', receipt: 'subscribed' });
    raw.stomp('SEND', { destination: '/ws' }, JSON.stringify({ clientData: 'full' }));
    await raw.message('RECEIPT', (message) => message.text.startsWith('RECEIPT'));
    await observer.waitFor('joined', session);
    raw.socket.pause();
    read = 0;
    let sent = 0;
    const from = now();
    // The kernel takes some megabytes for it; the receipts keep the writer at the pace of the server.
    while (observer.of(session, 'left').length === 0 && sent < 1000) {
      await writer.request('SEND', { destination: '/topic/flood' }, 'x'.repeat(60_000));
      sent++;
    }
    await leaves('client that does not read (`pending 256KiB`)', session, { reason: 'slow-consumer', code: 1013, clean: false, from, timeout: 15_000 });
    await reader.request('SEND', { destination: '/topic/none' }, '');
    assert.equal(read, sent, 'the others get every message');
    raw.end();
  }
  for (const client of [reader, writer]) {
    assert.ok(client.open);
    client.frame('DISCONNECT');
    await client.close();
    unannounced.push('disconnect');
  }
});

/** Stops an agent's process, waits for its left, and lets it see what the server had sent meanwhile. */
async function stopAgent(path, connect) {
  const agent = Agent.start();
  const { session } = await agent.call('connect', caddy.url(path), { connect });
  await agent.call('register', '/ws', { stopped: true });
  await observer.waitFor('joined', session);
  agent.stop();
  return { agent, session, from: now() };
}

async function pingedBeforeTheEnd(agent) {
  agent.continue();
  const close = await agent.waitFor('close');
  const pinged = agent.events.entries.findIndex((entry) => entry.event === 'ping');
  const closed = agent.events.entries.indexOf(close);
  assert.ok(pinged >= 0 && pinged < closed, 'a WebSocket ping comes before the close');
  await agent.kill();
}

const silence = { reason: 'heart-beat-timeout', code: 1013, clean: false };

test('client stopped, heart-beats of 1 s', { timeout: 60_000 }, async () => {
  for (let i = 0; i < 3; i++) {
    const { agent, session, from } = await stopAgent('/beat', { 'heart-beat': '1000,1000' });
    const { latency } = await leaves('client stopped (`SIGSTOP`), heart-beats `1000,1000`', session, { ...silence, from });
    assert.ok(latency <= beatBound + slack, `noticed after ${latency} ms`);
    assert.ok(latency >= 1000, `given up after only ${latency} ms`);
    await pingedBeforeTheEnd(agent);
  }
});

test('client stopped, heart-beats 0,0 and ping_timeout 3s', { timeout: 60_000 }, async () => {
  for (let i = 0; i < 3; i++) {
    const { agent, session, from } = await stopAgent('/silent', { 'heart-beat': '0,0' });
    const { latency } = await leaves('client stopped (`SIGSTOP`), heart-beats `0,0`, `ping_timeout 3s`', session, { ...silence, from });
    assert.ok(latency <= 3000 + slack, `noticed after ${latency} ms`);
    assert.ok(latency >= 1000, `given up after only ${latency} ms`);
    await pingedBeforeTheEnd(agent);
  }
});

async function silentByDefault() {
  const { agent, session, from } = await stopAgent('/default', { 'heart-beat': '0,0' });
  try {
    return await leaves('client stopped (`SIGSTOP`), heart-beats `0,0`, default settings', session, { ...silence, from, timeout: 40_000 });
  } finally {
    await agent.kill();
  }
}

test('silent client: the ping comes at 1.5 x the interval, and nothing is answered', { timeout: 30_000 }, async () => {
  const raw = await RawWebSocket.open(caddy.port, '/beat');
  const session = await raw.connect({ 'heart-beat': '1000,0' });
  raw.stomp('SEND', { destination: '/ws' }, JSON.stringify({ clientData: 'mute' }));
  const from = now();
  await observer.waitFor('joined', session);
  await raw.message('ping', (message) => message.type === 'ping', { timeout: 4000 });
  const pingedAfter = now() - from;
  assert.ok(pingedAfter >= 1300 && pingedAfter <= 1500 + slack, `pinged after ${pingedAfter} ms of silence`);
  const { latency } = await leaves('client silent, heart-beats `1000,0`', session, { ...silence, from });
  assert.ok(latency >= 2000 && latency <= beatBound + slack, `noticed after ${latency} ms`);
  await raw.message('close', (message) => message.type === 'close');
  const types = raw.messages.map((message) => message.type);
  assert.ok(types.indexOf('ping') < types.indexOf('close'));
  assert.equal(raw.messages.find((message) => message.type === 'close').code, 1013);
  raw.end();
});

test('a client that answers pings but sends no heart-beats stays', { timeout: 30_000 }, async () => {
  const client = await join(caddy.url('/beat'), 'throttled', observer, { connect: { 'heart-beat': '1000,1000' }, beat: false });
  await observeFor(2.5 * beatBound);
  assert.ok(client.open);
  assert.ok(client.pings.entries.length >= 2, 'it was pinged');
  assert.deepEqual(observer.of(client.session, 'left'), []);
  assert.ok(client.beats.entries.length >= 4, 'the server sends its own heart-beats');
  await client.disconnect();
  expected.push({ session: client.session, reason: 'disconnect', code: 1000, clean: true });
});

test('heart-beats keep a client alive that sends nothing else and answers no ping', { timeout: 30_000 }, async () => {
  const client = await join(caddy.url('/beat'), 'steady', observer, { connect: { 'heart-beat': '1000,1000' }, autoPong: false });
  await observeFor(2 * beatBound);
  assert.ok(client.open);
  await client.disconnect();
  expected.push({ session: client.session, reason: 'disconnect', code: 1000, clean: true });
});

test('a socket that never sends CONNECT is closed and never announced', { timeout: 20_000 }, async () => {
  const before = observer.changes.entries.length;
  const from = now();
  const client = await StompClient.open(caddy.url('/hasty'));
  const close = await client.close(5000);
  assert.ok(close.at - from >= 900 && close.at - from <= 1000 + slack, `closed after ${close.at - from} ms`);
  assert.equal(close.code, 1008);
  await observer.marker();
  assert.deepEqual(observer.changes.entries.slice(before), []);
});

// --- the browser ---

async function openPage(browser, path, file = 'presence.html') {
  const page = await browser.open(`${caddy.origin}/${file}?path=${path}`);
  const session = await page.waitForFunction(() => window.session).then((handle) => handle.jsonValue());
  await observer.waitFor('joined', session);
  return { page, session };
}

test('the browser', { timeout: 240_000 }, async (t) => {
  const browser = await Browser.launch();
  t.after(() => browser.remove());

  await t.test('ws.close() of a page', async () => {
    for (let i = 0; i < 3; i++) {
      const { page, session } = await openPage(browser, '/default');
      const from = now();
      await page.evaluate(() => window.socket.close());
      await leaves('`ws.close()` in Chromium', session, { reason: 'closed', code: 1005, clean: true, from });
      await page.close();
    }
  });

  await t.test('tab closed', async () => {
    for (let i = 0; i < 5; i++) {
      const { page, session } = await openPage(browser, '/default');
      const from = now();
      await page.close();
      const { latency } = await leaves('tab closed (Chromium)', session, { reason: 'closed', code: 1001, clean: true, from });
      assert.ok(latency <= 2000, `noticed after ${latency} ms`);
    }
  });

  for (const [how, path, file, code] of [
    ['SockJS', '/sockjs', 'sockjs.html', 1005],
    ['closes on `pagehide`', '/default&pagehide', 'presence.html', 1000],
  ]) {
    await t.test(`page navigated away: ${how}`, async () => {
      for (let i = 0; i < 5; i++) {
        const { page, session } = await openPage(browser, path, file);
        const from = now();
        await page.goto(`${caddy.origin}/empty.html`);
        const { latency } = await leaves(`page navigated away (Chromium, ${how})`, session, { reason: 'closed', code, clean: true, from });
        assert.ok(latency <= 2000, `noticed after ${latency} ms`);
        await page.close();
      }
    });
  }

  // Chromium keeps a page that was left for up to ten minutes, with its socket, and answers pings for it: for a server
  // that is a hidden tab. Only the page itself can tell, in `pagehide`.
  await t.test('a page in the back/forward cache leaves when it is dropped from there', async () => {
    const { page, session } = await openPage(browser, '/beat');
    await page.goto(`${caddy.origin}/empty.html`);
    await observeFor(beatBound);
    const from = now();
    await page.close();
    if (observer.of(session, 'left').length === 0) {
      await leaves('page dropped from the back/forward cache (Chromium)', session, { reason: 'closed', code: 1001, clean: true, from });
    } else {
      // A Chromium that closes the socket as soon as the page goes into the cache.
      expected.push({ session, reason: 'closed', code: 1001, clean: true });
    }
  });

  await t.test('a page whose main thread is busy stays', async () => {
    const { page, session } = await openPage(browser, '/beat');
    await page.evaluate((milliseconds) => {
      const end = performance.now() + milliseconds;
      while (performance.now() < end);
    }, 2.5 * beatBound);
    assert.deepEqual(observer.of(session, 'left'), []);
    assert.equal(await page.evaluate(() => window.socket.readyState), 1);
    const gap = await page.evaluate(() => window.longestGap());
    assert.ok(gap > 2 * beatBound, `its timers slept for ${gap} ms only: this proves nothing`);
    await page.close();
    await leaves('tab closed (Chromium)', session, { reason: 'closed', code: 1001, clean: true, from: now() });
  });
});

test('a hidden tab whose timers are throttled, and then frozen, stays', { timeout: 120_000 }, async () => {
  const browser = await Browser.launch({ playwright: false });
  try {
    const devtools = await DevTools.connect(browser.devtools);
    const tab = await devtools.openTab(`${caddy.origin}/presence.html?path=/beat`);
    const session = await eventually('session of the page', () => tab.evaluate('window.session'));
    await observer.waitFor('joined', session);

    await devtools.openTab(`${caddy.origin}/empty.html`);
    await eventually('hidden', async () => (await tab.evaluate('document.visibilityState')) === 'hidden');
    await observeFor(1.5 * beatBound);
    assert.ok((await tab.evaluate('window.longestGap()')) > 900, 'its timers are throttled');
    assert.deepEqual(observer.of(session, 'left'), []);

    await tab.minimize();
    await tab.send('Page.setWebLifecycleState', { state: 'frozen' });
    await observeFor(2.5 * beatBound);
    assert.deepEqual(observer.of(session, 'left'), []);

    // Chromium itself closes the sockets of a page that it has frozen when it goes on.
    const from = now();
    await tab.send('Page.setWebLifecycleState', { state: 'active' });
    const gap = await tab.evaluate('window.longestGap()');
    assert.ok(gap > 2 * beatBound, `its timers slept for ${gap} ms only: this proves nothing`);
    await leaves('frozen tab goes on (Chromium)', session, { reason: 'closed', code: 1001, clean: true, from });
  } finally {
    await browser.remove();
  }
});

test('page navigated away, without back/forward cache', { timeout: 60_000 }, async () => {
  const browser = await Browser.launch({ flags: ['--disable-back-forward-cache'] });
  try {
    for (let i = 0; i < 5; i++) {
      const { page, session } = await openPage(browser, '/default');
      const from = now();
      await page.goto(`${caddy.origin}/empty.html`);
      const { latency } = await leaves('page navigated away (Chromium without back/forward cache)', session, { reason: 'closed', code: 1001, clean: true, from });
      assert.ok(latency <= 2000, `noticed after ${latency} ms`);
      await page.close();
    }
  } finally {
    await browser.remove();
  }
});

for (const [name, act, outcome] of [
  // The network process of Chromium outlives the browser process for a moment, in which it says goodbye.
  ['browser process `kill -9` (Chromium)', (browser) => browser.kill(), { reason: 'closed', code: 1001, clean: true }],
  ['all processes of the browser `kill -9` (Chromium)', (browser) => browser.crash(), { reason: 'connection-lost', code: 1006, clean: false }],
]) {
  test(name, { timeout: 120_000 }, async () => {
    for (let i = 0; i < 3; i++) {
      const browser = await Browser.launch();
      try {
        const { session } = await openPage(browser, '/default');
        const from = now();
        act(browser);
        const { latency } = await leaves(name, session, { ...outcome, from });
        assert.ok(latency <= 3000, `noticed after ${latency} ms`);
      } finally {
        await browser.remove();
      }
    }
  });
}

test('browser stopped', { timeout: 180_000 }, async () => {
  for (let i = 0; i < 2; i++) {
    const browser = await Browser.launch();
    try {
      const { session } = await openPage(browser, '/beat');
      const from = now();
      browser.stop();
      const { latency } = await leaves('browser stopped (`SIGSTOP`), heart-beats `1000,1000` (Chromium)', session, { ...silence, from });
      assert.ok(latency <= beatBound + slack, `noticed after ${latency} ms`);
    } finally {
      await browser.remove();
    }
  }
});

test('client stopped, heart-beats 0,0 and default settings', { timeout: 60_000 }, async () => {
  const { latency } = await unread;
  assert.ok(latency <= 30_000 + slack, `noticed after ${latency} ms`);
});

test('the endpoint is removed from the configuration', { timeout: 30_000 }, async () => {
  for (let i = 0; i < 3; i++) {
    const clients = [await join(caddy.url('/removable'), 'one', observer), await join(caddy.url('/removable'), 'two', observer)];
    const from = now();
    await caddy.reload({ global, sites: (port) => sites(port, { removable: false }) });
    for (const client of clients) {
      assert.equal((await client.close()).code, 1001);
      await leaves('endpoint removed by a reload', client.session, { reason: 'server-shutdown', code: 1001, clean: false, from });
    }
    assert.ok(observer.client.open, 'the sessions of other endpoints stay');
    await caddy.reload({ global, sites: (port) => sites(port) });
  }
});

test('every end was announced, logged as an event and counted exactly once', { timeout: 30_000 }, async () => {
  await observeFor(1500);
  await observer.marker();
  for (const { session, reason, code, clean } of expected) {
    const all = observer.of(session, 'left');
    assert.equal(all.length, 1, `left of ${session} (${reason}): ${JSON.stringify(all)}`);
    assert.deepEqual([all[0].reason, all[0].code, all[0].clean], [reason, code, clean]);
    const events = caddy.events('stomp_disconnected').filter((entry) => entry.data.session_id === session);
    assert.deepEqual(events.map((entry) => entry.data.reason), [reason], `stomp_disconnected of ${session}`);
  }
  const sessions = new Set(expected.map(({ session }) => session));
  assert.equal(observer.changes.filter((change) => change.type === 'left').length, sessions.size, 'nobody else left');
  const scrape = await caddy.metrics();
  for (const reason of new Set(expected.map((end) => end.reason))) {
    const times = expected.filter((end) => end.reason === reason).length + unannounced.filter((other) => other === reason).length;
    assert.equal(scrape.sum('caddy_stomp_session_ends_total', { reason }), times, `session_ends_total ${reason}`);
  }
  assert.equal(scrape.sum('caddy_stomp_sessions'), 1, 'only the observer is left');
  assert.deepEqual(caddy.complaints(), []);
});
