// What an operator sees from outside: metrics, events, logs.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Caddy } from './lib/caddy.mjs';
import { Observer, join } from './lib/observer.mjs';
import { freePort } from './lib/ports.mjs';
import { StompClient } from './lib/stomp-client.mjs';

let caddy;
let second; // the second site's port

const parts = (comment) => ({
  global: `stomp {
		broker common {
			presence {
				register /ws
				announce /topic/presence
			}
		}
	}`,
  sites: (port) => `http://localhost:${port} {
	header X-Version ${comment}
	stomp /shared {
		broker common
		user {header.X-User}
		attribute agent {header.User-Agent}
		attribute team blue public
	}
	stomp /private {
		name private
		presence {
			register /ws
			announce /topic/presence
		}
	}
}
http://localhost:${second} {
	stomp /shared {
		broker common
	}
}`,
});

before(async () => {
  second = await freePort();
  caddy = await Caddy.start(parts('first'));
});

after(() => caddy?.remove());

test('metrics of two sites and two brokers, also after reloads', { timeout: 60_000 }, async () => {
  const observer = await Observer.watch(caddy.url('/shared'));
  const here = await join(caddy.url('/shared'), 'here', observer);
  const there = await join(`ws://localhost:${second}/shared`, 'there', observer);
  const alone = await Observer.watch(caddy.url('/private'));

  const check = async (label) => {
    const scrape = await caddy.metrics();
    assert.equal(scrape.sum('caddy_stomp_sessions'), 4, label);
    const byBroker = new Map();
    for (const { labels, value } of scrape.select('caddy_stomp_sessions')) {
      byBroker.set(labels.broker, (byBroker.get(labels.broker) ?? 0) + value);
    }
    assert.equal(byBroker.get('common'), 3, `${label}: ${JSON.stringify([...byBroker])}`);
    assert.equal(byBroker.get('private'), 1, label);
    assert.equal(scrape.sum('caddy_stomp_subscriptions'), 4, label);
    return scrape;
  };

  const first = await check('at first');
  for (const name of [
    'sessions',
    'subscriptions',
    'frames_total',
    'bytes_total',
    'dropped_messages_total',
    'announcements_total',
    'session_ends_total',
    'detection_seconds_bucket',
    'detection_seconds_count',
  ]) {
    assert.ok(first.has(`caddy_stomp_${name}`), `caddy_stomp_${name} in\n${first.text.match(/^caddy_stomp.*$/gm)?.join('\n')}`);
  }

  for (let i = 0; i < 3; i++) await caddy.reload(parts(`reload ${i}`));
  const afterwards = await check('after three reloads');
  for (const name of ['frames_total', 'bytes_total', 'announcements_total']) {
    assert.ok(afterwards.sum(`caddy_stomp_${name}`) >= first.sum(`caddy_stomp_${name}`), `${name} does not start again at nothing`);
  }

  // Counting on: the difference of two scrapes is what happened between them.
  for (let i = 0; i < 10; i++) await alone.client.request('SEND', { destination: '/topic/marker' }, 'x'.repeat(1000));
  const later = await caddy.metrics();
  const growth = (name, direction) => {
    const of = (scrape) => scrape.sum(`caddy_stomp_${name}`, { broker: 'private', direction });
    return of(later) - of(afterwards);
  };
  assert.equal(growth('frames_total', 'in'), 10, '10 SEND');
  assert.equal(growth('frames_total', 'out'), 20, '10 MESSAGE and 10 RECEIPT');
  for (const direction of ['in', 'out']) {
    const bytes = growth('bytes_total', direction);
    assert.ok(bytes > 10_000 && bytes < 13_500, `${bytes} bytes ${direction}`);
  }

  const before = await caddy.metrics();
  await there.disconnect();
  here.reset();
  await observer.waitFor('left', there.session);
  await observer.waitFor('left', here.session);
  await caddy.metricIs('caddy_stomp_sessions', {}, 2);
  const scrape = await caddy.metrics();
  const grew = (name, labels) => scrape.sum(name, labels) - before.sum(name, labels);
  assert.equal(grew('caddy_stomp_session_ends_total', { reason: 'disconnect', broker: 'common' }), 1);
  assert.equal(grew('caddy_stomp_session_ends_total', { reason: 'connection-lost', broker: 'common' }), 1);
  assert.equal(grew('caddy_stomp_session_ends_total'), 2);
  assert.equal(grew('caddy_stomp_detection_seconds_count'), 2);
  assert.ok(grew('caddy_stomp_announcements_total') >= 1);
  for (const each of [observer, alone]) await each.end();
});

test('detection latency is what passed since the last byte', { timeout: 30_000 }, async () => {
  const before = await caddy.metrics();
  const client = await StompClient.connect(caddy.url('/shared'));
  await client.disconnect();
  const scrape = await caddy.metricIs('caddy_stomp_detection_seconds_count', {}, before.sum('caddy_stomp_detection_seconds_count') + 1);
  const seconds = scrape.sum('caddy_stomp_detection_seconds_sum') - before.sum('caddy_stomp_detection_seconds_sum');
  assert.ok(seconds >= 0 && seconds < 0.5, `${seconds} s for a DISCONNECT`);
});

test('events carry scalars', { timeout: 30_000 }, async () => {
  const client = await StompClient.connect(caddy.url('/shared'), { headers: { 'X-User': 'mina', 'User-Agent': 'e2e' } });
  await client.register('/ws', { name: 'Mina', tags: [1, 2] });
  const connected = (await caddy.waitForEvent('stomp_connected', (data) => data.session_id === client.session)).data;
  assert.equal(connected.user, 'mina');
  client.ws.close(4004, 'bye');
  const { data } = await caddy.waitForEvent('stomp_disconnected', (data) => data.session_id === client.session);
  assert.equal(data.session_id, client.session);
  assert.equal(data.user, 'mina');
  assert.equal(data.reason, 'closed');
  assert.equal(data.code, 4004);
  assert.equal(data.clean, true);
  assert.equal(typeof data.client_data, 'string', 'client data is JSON text');
  assert.deepEqual(JSON.parse(data.client_data), { name: 'Mina', tags: [1, 2] });
  assert.equal(typeof data.seconds_connected, 'number');
  assert.ok(data.seconds_connected >= 0 && data.seconds_connected < 30);
  for (const key of ['session_id', 'user', 'reason', 'client_data', 'code', 'clean', 'seconds_connected']) {
    assert.notEqual(typeof data[key], 'object', `${key} is a scalar`);
  }
});

test('who was never announced still causes events, and no announcement', { timeout: 30_000 }, async () => {
  const observer = await Observer.watch(caddy.url('/shared'));
  const client = await StompClient.connect(caddy.url('/shared'));
  client.reset();
  const { data } = await caddy.waitForEvent('stomp_disconnected', (data) => data.session_id === client.session);
  assert.equal(data.reason, 'connection-lost');
  await observer.marker();
  assert.deepEqual(observer.of(client.session), []);
  await observer.end();
});

test('connections are DEBUG: at the level of production the log says nothing about them', { timeout: 30_000 }, async () => {
  const quiet = await Caddy.start({ debug: false, sites: (port) => `http://localhost:${port} {\n stomp /shared\n }` });
  try {
    const before = quiet.log.entries.length;
    for (let i = 0; i < 5; i++) {
      const client = await StompClient.connect(quiet.url('/shared'));
      if (i % 2) client.reset();
      else await client.disconnect();
    }
    const bad = await StompClient.connect(quiet.url('/shared'));
    bad.raw('NONSENSE\n\n\0');
    await bad.close();
    await quiet.metricIs('caddy_stomp_sessions', {}, 0);
    const said = quiet.log.entries.slice(before).filter((entry) => !/^(admin|tls)/.test(entry.logger)); // Caddy's own doings
    assert.deepEqual(said, []);
  } finally {
    await quiet.remove();
  }
});

test('log entries are structured, with snake_case fields and the session id', { timeout: 30_000 }, async () => {
  const client = await StompClient.connect(caddy.url('/shared'));
  const from = caddy.log.entries.length;
  client.reset();
  await caddy.log.waitFor('a log entry of ours about the session', (entry) => entry.msg !== 'event' && /stomp/.test(entry.logger ?? '') && entry.session_id === client.session && entry.reason === 'connection-lost', { from: Math.max(0, from - 20) });
  for (const entry of caddy.log.filter((entry) => /stomp/.test(entry.logger ?? ''))) {
    for (const key of Object.keys(entry)) assert.match(key, /^[a-z0-9_]+$/, JSON.stringify(entry));
    assert.match(entry.msg, /^[^A-Z]/, `lower case: ${entry.msg}`);
  }
  assert.deepEqual(caddy.complaints(), []);
});
