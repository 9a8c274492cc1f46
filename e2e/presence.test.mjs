// A session's life as pages see it that keep their rosters with examples/presence/presence.js and @stomp/stompjs: lost and
// returned, loaded again, duplicated, stopped for too long; users with several tabs; rooms; reloads and restarts.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join as joinPath } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { Presence } from '../examples/presence/presence.js';
import { Browser } from './lib/browser.mjs';
import { Cable } from './lib/cable.mjs';
import { Caddy, caddyCommand, repository } from './lib/caddy.mjs';
import { Observer } from './lib/observer.mjs';
import { pagesSite, writePages } from './lib/pages.mjs';
import { signal } from './lib/process.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually, observeFor } from './lib/wait.mjs';
import { keep } from './pages/roster.mjs';

const { Client } = createRequire(import.meta.url)('@stomp/stompjs');
Object.assign(globalThis, { WebSocket });

const GRACE = 5000;
const PASSWORD = 'open sesame';

let caddy;
let pages;
let browser;
let parts;
const undo = [];

before(async () => {
  pages = writePages({ 'favicon.ico': '', 'presence.js': readFileSync(joinPath(repository, 'examples/presence/presence.js'), 'utf8') });
  const { stdout } = await caddyCommand(['hash-password', '--plaintext', PASSWORD]);
  parts = {
    sites: (port) => `http://localhost:${port} {
	stomp /ws {
		heart_beat 1s 1s
		presence {
			room /topic/rooms/*
			grace ${GRACE}ms connection-lost heart-beat-timeout closed
		}
	}
	stomp /told {
		heart_beat 1s 1s
		presence {
			room /topic/rooms/*
			grace ${GRACE}ms
			announce_unreachable
		}
	}
	@private path /private/*
	basic_auth @private {
		mina ${stdout.trim()}
		jon ${stdout.trim()}
	}
	stomp /private/ws {
		user {http.auth.user.id}
	}
	handle_path /private/* {
		${pagesSite(pages)}
	}
	${pagesSite(pages)}
}`,
  };
  caddy = await Caddy.start(parts);
  browser = await Browser.launch();
});

afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

after(async () => {
  await browser?.remove();
  await caddy?.remove();
  pages?.remove();
});

/** A cable to the server, whose pages are at cable.origin. */
async function cable() {
  const made = await Cable.to(caddy.port);
  undo.push(() => made.remove());
  made.origin = `http://localhost:${made.port}`;
  return made;
}

/** A tab of a browser that is connected and has its rosters. */
async function tab({ origin = caddy.origin, context, in: one = browser, prefix = '', ...query }) {
  const own = context ?? (await one.person());
  if (!context) undo.push(() => own.close().catch(() => {}));
  const page = await one.open(`${origin}${prefix}/roster.html?${new URLSearchParams(query)}`, { context: own });
  await live(page);
  return page;
}

const live = (page) => page.waitForFunction(() => window.roster?.live());
const sessionOf = (page) => page.evaluate(() => window.roster.presence.sessionId);
const sessionsOf = (page) => page.evaluate(() => window.roster.sessions);

/** The same in node. */
function nodeClient({ path = '/ws', port = caddy.port, ...options }) {
  const kept = keep({ Client, Presence, brokerURL: `ws://localhost:${port}${path}`, ...options });
  undo.push(() => kept.client.deactivate());
  return kept;
}

async function watch(path, options) {
  const observer = await Observer.watch(caddy.url(path), options);
  undo.push(() => observer.end());
  return observer;
}

const typesOf = (observer, session) => observer.of(session).map(({ type }) => type);

for (const [path, announced] of [
  ['/ws', ['joined', 'returned']],
  ['/told', ['joined', 'unreachable', 'returned']],
]) {
  test(`a tab that is offline for less than the grace: ${announced.join(', ')}`, { timeout: 60_000 }, async () => {
    const observer = await watch(path);
    const wire = await cable();
    const page = await tab({ origin: wire.origin, path, name: 'Mina', rooms: '/topic/rooms/a' });
    const session = await sessionOf(page);
    const peer = nodeClient({ path, rooms: ['/topic/rooms/a'] });
    await eventually('the peer has its rosters', peer.live);
    wire.cut();
    if (announced.includes('unreachable')) {
      const { reason } = await observer.waitFor('unreachable', session);
      assert.equal(reason, 'connection-lost');
      await eventually('the room shows it', () => peer.rosters['/topic/rooms/a'].sessions.get(session)?.unreachable);
    }
    await page.waitForFunction(() => !window.roster.live());
    await observeFor(1000);
    wire.mend();
    await observer.waitFor('returned', session);
    await live(page);
    assert.deepEqual(await sessionsOf(page), [session, session]);
    await observeFor(GRACE + 1000); // the end of the grace, and of what a room waits, must not come
    assert.deepEqual(typesOf(observer, session), announced);
    assert.deepEqual([...new Set(peer.told.filter(({ sessionId }) => sessionId === session).map(({ type }) => type))], announced.slice(1));
    assert.equal(peer.rosters['/topic/rooms/a'].sessions.get(session).unreachable, false);
    assert.deepEqual(await page.evaluate(() => window.roster.errors), []);
  });
}

test('DevTools\' offline: the heart-beats stop, and the tab returns with the network', { timeout: 60_000 }, async () => {
  const observer = await watch('/told');
  const page = await tab({ path: '/told', name: 'Mina' });
  const session = await sessionOf(page);
  await page.context().setOffline(true); // which keeps an open WebSocket open, and lets nothing out of it
  const { reason } = await observer.waitFor('unreachable', session, { timeout: 10_000 });
  assert.equal(reason, 'heart-beat-timeout');
  await page.context().setOffline(false);
  await observer.waitFor('returned', session);
  await live(page);
  assert.equal(await sessionOf(page), session);
  await observeFor(GRACE + 1000);
  assert.deepEqual(typesOf(observer, session), ['joined', 'unreachable', 'returned']);
});

test('F5, five times: returned and nothing else', { timeout: 60_000 }, async () => {
  const observer = await watch('/ws');
  const page = await tab({ name: 'Mina', rooms: '/topic/rooms/a' });
  const session = await sessionOf(page);
  const peer = nodeClient({ rooms: ['/topic/rooms/a'] });
  await eventually('the peer has its rosters', peer.live);
  for (let n = 1; n <= 5; n++) {
    await page.reload();
    await live(page);
    assert.equal(await sessionOf(page), session);
    assert.equal(await page.evaluate(() => window.roster.presence.resumed), true);
  }
  await observeFor(GRACE + 1500);
  assert.deepEqual(typesOf(observer, session), ['joined', ...Array(5).fill('returned')]);
  assert.deepEqual(new Set(peer.told.map(({ type }) => type)), new Set(['returned']), 'also in the room');
  assert.ok(peer.rosters['/topic/rooms/a'].sessions.has(session));
  assert.equal(observer.changes.entries.length, 6, 'nobody else was announced');
});

test('a tab that is closed leaves when the grace is over, once', { timeout: 60_000 }, async () => {
  const observer = await watch('/ws');
  const page = await tab({ name: 'Mina' });
  const session = await sessionOf(page);
  const begin = performance.now();
  await page.close();
  const { reason, clean } = await observer.waitFor('left', session, { timeout: GRACE + 5000 });
  const took = performance.now() - begin;
  assert.ok(took > GRACE - 500 && took < GRACE + 3000, `after ${took} ms`);
  assert.deepEqual([reason, clean], ['closed', true]);
  assert.deepEqual(typesOf(observer, session), ['joined', 'left']);
});

test('a browser that is stopped for longer than the grace has left, and comes back as a new session', { timeout: 120_000 }, async () => {
  const observer = await watch('/told');
  const stopped = await Browser.launch();
  undo.push(() => stopped.remove());
  const page = await tab({ in: stopped, context: stopped.context, path: '/told', name: 'Mina' });
  const session = await sessionOf(page);
  stopped.stop();
  const unreachable = await observer.waitFor('unreachable', session, { timeout: 15_000 });
  assert.equal(unreachable.reason, 'heart-beat-timeout');
  const left = await observer.waitFor('left', session, { timeout: GRACE + 10_000 });
  assert.equal(left.reason, 'heart-beat-timeout');
  assert.equal(left.clean, false);
  for (const pid of stopped.stopped) signal(pid, 'SIGCONT');
  await page.waitForFunction((old) => window.roster.live() && window.roster.presence.sessionId !== old, session, { timeout: 30_000 });
  const fresh = await sessionOf(page);
  await observer.waitFor('joined', fresh);
  assert.deepEqual(typesOf(observer, session), ['joined', 'unreachable', 'left']);
  assert.deepEqual(typesOf(observer, fresh), ['joined']);
  assert.equal(await page.evaluate(() => window.roster.presence.resumed), false);
});

test('two tabs of one user are one person, until the last is closed', { timeout: 60_000 }, async () => {
  const authorization = `Basic ${Buffer.from(`jon:${PASSWORD}`).toString('base64')}`;
  const observer = await watch('/private/ws', { headers: { authorization } });
  const context = await browser.person({ httpCredentials: { username: 'mina', password: PASSWORD, origin: caddy.origin, send: 'always' } });
  undo.push(() => context.close());
  const one = await tab({ context, prefix: '/private', path: '/private/ws', name: 'Mina' });
  const two = await tab({ context, prefix: '/private', path: '/private/ws', name: 'Mina' });
  const [first, second] = [await sessionOf(one), await sessionOf(two)];
  assert.notEqual(first, second);
  for (const [session, userSessions] of [[first, 1], [second, 2]]) {
    const joined = await observer.waitFor('joined', session);
    assert.deepEqual([joined.user, joined.userSessions], ['mina', userSessions]);
  }
  await one.waitForFunction(() => window.roster.presence.people.length === 2);
  const people = await one.evaluate(() => window.roster.presence.people.map(({ id, sessions }) => [id, sessions.length]));
  assert.deepEqual(people.sort(), [['jon', 1], ['mina', 2]]);
  await two.close();
  assert.equal((await observer.waitFor('left', second)).userSessions, 1);
  await one.waitForFunction(() => window.roster.told.some(({ type, userSessions }) => type === 'left' && userSessions === 1));
  await one.close();
  assert.equal((await observer.waitFor('left', first)).userSessions, 0);
});

test('a tab in two rooms that is closed leaves both, each told once', { timeout: 60_000 }, async () => {
  const rooms = ['/topic/rooms/a', '/topic/rooms/b'];
  const peer = nodeClient({ path: '/told', rooms, clientData: { name: 'Peer' } });
  // whoever the test before has killed may be waited for still
  await eventually('the peer is alone', () => peer.live() && peer.presence.sessions.size === 1, { timeout: GRACE + 10_000 });
  const page = await tab({ path: '/told', name: 'Mina', rooms: rooms.join() });
  const session = await sessionOf(page);
  const of = (room, type) => peer.told.filter((change) => change.room === room && change.sessionId === session && change.type === type);
  for (const room of ['', ...rooms]) await eventually(`joined ${room}`, () => of(room, 'joined').length === 1);
  await page.close();
  for (const room of ['', ...rooms]) await eventually(`left ${room}`, () => of(room, 'left').length > 0);
  await observeFor(500);
  for (const room of ['', ...rooms]) {
    assert.deepEqual(of(room, 'left').map(({ reason }) => reason), ['closed'], room);
    assert.equal(of(room, 'joined').length, 1, room);
    assert.deepEqual([...peer.rosters[room].sessions.keys()], [peer.presence.sessionId], room);
  }
});

test('a room that is left by unsubscribing is left alone', { timeout: 60_000 }, async () => {
  const peer = nodeClient({ path: '/told', rooms: ['/topic/rooms/a', '/topic/rooms/b'] });
  const other = nodeClient({ path: '/told', rooms: ['/topic/rooms/a', '/topic/rooms/b'], clientData: 'other' });
  await eventually('rosters', () => peer.live() && other.live());
  const id = other.presence.sessionId;
  await eventually('in both rooms', () => ['', '/topic/rooms/a', '/topic/rooms/b'].every((room) => peer.rosters[room].sessions.has(id)));
  other.rosters['/topic/rooms/a'].leave();
  await eventually('out of one', () => !peer.rosters['/topic/rooms/a'].sessions.has(id));
  assert.deepEqual(peer.told.filter(({ type }) => type === 'left'), [
    { room: '/topic/rooms/a', type: 'left', sessionId: id, reason: 'unsubscribed', userSessions: undefined },
  ]);
  assert.ok(peer.rosters['/topic/rooms/b'].sessions.has(id));
  assert.ok(peer.rosters[''].sessions.has(id));
  await eventually('it watches on, from outside', () => !other.rosters['/topic/rooms/a'].sessions.has(id));
});

test('a duplicated tab takes the session over, and the first becomes a new one, for good', { timeout: 60_000 }, async () => {
  const observer = await watch('/ws');
  const first = await tab({ name: 'Mina' });
  const session = await sessionOf(first);
  const copy = await first.evaluate(() => ({ ...sessionStorage }));
  const second = await first.context().newPage();
  await second.addInitScript((items) => {
    if (!sessionStorage.length) Object.assign(sessionStorage, items);
  }, copy);
  await second.goto(first.url());
  await live(second);
  assert.equal(await sessionOf(second), session);
  await first.waitForFunction((old) => window.roster.live() && window.roster.presence.sessionId !== old, session);
  assert.deepEqual(await first.evaluate(() => window.roster.errors), ['taken over']);
  const fresh = await sessionOf(first);
  await observer.waitFor('joined', fresh);
  await observeFor(GRACE + 1500);
  assert.deepEqual(typesOf(observer, session), ['joined', 'returned']);
  assert.deepEqual(typesOf(observer, fresh), ['joined']);
  assert.equal(observer.changes.entries.length, 3);
  assert.deepEqual([await sessionsOf(first), await sessionsOf(second)], [[session, fresh], [session]]);
});

test('a will is carried out when a session is lost, and not when it returns or says goodbye', { timeout: 60_000 }, async () => {
  const reader = await StompClient.connect(caddy.url('/told'));
  undo.push(() => reader.disconnect());
  await reader.subscribe('/topic/wills');
  const make = async (body) => {
    const wire = await cable();
    const will = { destination: '/topic/wills', body: JSON.stringify(body), contentType: 'application/json' };
    const kept = nodeClient({ path: '/told', port: wire.port, clientData: body, will });
    await eventually('its roster', kept.live);
    return { wire, kept };
  };
  const [polite, back, lost] = [await make('polite'), await make('back'), await make('lost')];
  await polite.kept.client.deactivate();
  back.wire.flicker();
  lost.wire.cut();
  await eventually('it is back', () => back.kept.sessions.length === 2 && back.kept.live());
  const message = await reader.message('/topic/wills', () => true, { timeout: GRACE + 5000 });
  assert.equal(message.body, '"lost"');
  assert.equal(message.headers['content-type'], 'application/json');
  await observeFor(1000);
  assert.equal(reader.messages('/topic/wills').length, 1);
});

describe('the rosters are right through reloads, lost connections and a restart', () => {
  const rooms = ['/topic/rooms/a', '/topic/rooms/b'];
  const places = {
    node: async (wire) => {
      const kept = nodeClient({ port: wire.port, clientData: { name: 'Keeper' }, rooms });
      return { run: (does, ...args) => does(kept, ...args) };
    },
    Chromium: async (wire) => {
      const page = await tab({ origin: wire.origin, name: 'Keeper', rooms: rooms.join() });
      return { run: (does, ...args) => page.evaluate(`(${does})(window.roster, ...${JSON.stringify(args)})`) };
    },
  };
  for (const [place, make] of Object.entries(places)) {
    test(`in ${place}`, { timeout: 120_000 }, async () => {
      const wire = await cable();
      const keeper = await make(wire);
      const seed = Number(process.env.SEED ?? (Date.now() % 1e6));
      let state = seed;
      const below = (n) => (state = (state * 48271 + 11) % 2147483647) % n;
      const crowd = [];
      undo.push(() => crowd.splice(0).forEach(({ ws }) => ws.terminate()));

      // The kernel resets what has not been accepted yet when a reload closes Caddy's old listener (SO_REUSEPORT): once more.
      const come = (options) => StompClient.connect(caddy.url('/ws'), options).catch((error) => {
        if (error.code !== 'ECONNRESET') throw error;
        return StompClient.connect(caddy.url('/ws'), options);
      });
      const happen = async () => {
        const [client] = crowd.splice(below(crowd.length || 1), 1); // nobody else does something with it meanwhile
        const dice = client ? below(10) : 0;
        if (dice < 4) {
          if (client) crowd.push(client);
          const made = await come({ connect: { 'client-data': JSON.stringify({ n: below(1000) }) } });
          await made.subscribe(rooms[below(2)]);
          crowd.push(made);
        } else if (dice < 6) {
          await client.register('/app/presence', { n: below(1000) });
          crowd.push(client);
        } else if (dice < 8) {
          await client.disconnect();
        } else {
          client.reset();
        }
      };
      const agree = async (when) => {
        const truth = nodeClient({ rooms: [] });
        const watched = Object.fromEntries(rooms.map((room) => [room, truth.presence.room(room)]));
        await eventually('the truth', () => truth.live() && Object.values(watched).every((roster) => roster.live));
        Object.assign(truth.rosters, watched);
        for (const room of ['', ...rooms]) {
          let kept;
          await eventually(`SEED=${seed}: the roster of ${room || 'everybody'} after ${when}`, async () => {
            kept = await keeper.run((roster, name) => roster.live() && roster.picture(name), room);
            return kept && JSON.stringify(kept) === JSON.stringify(truth.picture(room));
          }, { timeout: 10_000 }).catch((error) => {
            assert.deepEqual(kept, truth.picture(room), error.message);
          });
          assert.ok(kept.length > 0, 'somebody is there');
        }
        await truth.client.deactivate();
      };

      for (let round = 0; round < 4; round++) {
        for (let n = 0; n < 12; n++) await happen();
        await agree(`changes (${round})`);
        const storm = Promise.all(Array.from({ length: 6 }, happen));
        await caddy.reload({ ...parts, global: `grace_period ${round + 1}s` });
        await storm;
        await agree(`reload ${round}`);
        for (let n = 0; n < 4; n++) await happen();
        wire.cut();
        for (let n = 0; n < 6; n++) await happen();
        wire.mend();
        await agree(`a lost connection (${round})`);
      }
      const sessions = await keeper.run((roster) => roster.sessions);
      assert.equal(new Set(sessions).size, 1, 'it was the same session all the time');
      assert.equal(sessions.length, 5);

      for (const { ws } of crowd.splice(0)) ws.terminate();
      await caddy.end();
      caddy.run(caddy.caddyfile(parts));
      await caddy.serving();
      for (let n = 0; n < 6; n++) await happen();
      await agree('a restart');
      assert.equal(new Set(await keeper.run((roster) => roster.sessions)).size, 2, 'a server that forgets gives a new session');
    });
  }
});

test('the code of docs/presence.md does what is said of it', { timeout: 60_000 }, async () => {
  const docs = readFileSync(joinPath(repository, 'docs/presence.md'), 'utf8');
  const block = (part) => [...docs.matchAll(/```js\n([^]*?)```/g)].map(([, code]) => code).find((code) => code.includes(part));
  const said = [];
  const code = block("from '@stomp/stompjs'").replace(/^import .*$/gm, '').replace('wss://example.com/ws', caddy.url('/told'));
  const page = new Function('Client', 'Presence', 'console', `${code}; return { client, presence, kitchen };`)(Client, Presence, {
    log: (...words) => said.push(words.join(' ')),
  });
  undo.push(() => page.client.deactivate());
  await eventually('the page is in the kitchen', () => page.kitchen.people.length === 1);

  const tokens = {};
  const own = new Client({ brokerURL: caddy.url('/told'), reconnectDelay: 100 });
  const storage = { setItem: (key, value) => (tokens[key] = value) };
  const { sessions } = new Function('client', 'sessionStorage', `${block('function askAgain')}; return { sessions };`)(own, storage);
  undo.push(() => own.deactivate());
  own.activate();
  await eventually('its roster', () => sessions.size >= 1);
  assert.match(tokens.token, /^[\w-]+\./);

  const jon = await StompClient.connect(caddy.url('/told'), { connect: { 'client-data': '{"name":"Jon"}' } });
  await jon.subscribe('/topic/rooms/kitchen');
  jon.send('/topic/rooms/kitchen', 'tea?');
  await eventually('the message', () => said.includes('tea?'));
  await eventually('both know', () => sessions.get(jon.session)?.clientData.name === 'Jon' && said.includes('in the kitchen: 2'));
  own.forceDisconnect();
  await jon.register('/app/presence', { name: 'Jonathan' });
  await eventually('after a reconnect', () => sessions.get(jon.session)?.clientData.name === 'Jonathan');
  jon.reset();
  await eventually('unreachable', () => sessions.get(jon.session)?.state === 'unreachable');
  await eventually('left', () => !sessions.has(jon.session) && said.includes('Jonathan left: connection-lost'), { timeout: GRACE + 5000 });
  assert.deepEqual([...sessions.keys()].sort(), [...page.presence.sessions.keys()].sort());
});

test('no complaints in the log', () => assert.deepEqual(caddy.complaints(), []));
