// Many at once: a mass disconnect and a mass arrival stay bounded, cut nobody, and leave everybody with the right picture.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Caddy } from './lib/caddy.mjs';
import { Crowd } from './lib/crowd.mjs';
import { Picture } from './lib/observer.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually, now } from './lib/wait.mjs';

const survivors = 2000;
const victims = 1000;
const newcomers = 2000;
const mebibyte = 1024 * 1024;
// Measured without the storm it is some 100 MiB; copies for each session would be above 1 GiB.
const memoryLimit = 500 * mebibyte;

let caddy;
let staying;
let going;
let arriving;
let sessions;

before(async () => {
  caddy = await Caddy.start({
    debug: false,
    global: `stomp {
		broker storm {
			presence {
				register /ws
				announce /topic/presence
			}
		}
	}`,
    sites: (port) => `http://localhost:${port} {
	stomp /connection {
		broker storm
	}
}`,
  });
  [staying, going, arriving] = [Crowd.start(), Crowd.start(), Crowd.start()];
});

after(async () => {
  for (const crowd of [staying, going, arriving]) await crowd?.kill();
  await caddy?.remove();
});

const memory = () => `${Math.round(caddy.memory('VmRSS') / mebibyte)} MiB, at most ${Math.round(caddy.memory('VmHWM') / mebibyte)} MiB`;

test(`${survivors + victims} clients are there, and each knows it`, { timeout: 120_000 }, async () => {
  sessions = await staying.connect(caddy.url('/connection'), survivors);
  await going.connect(caddy.url('/connection'), victims);
  await staying.call('subscribe', '/ws');
  const seen = await staying.call('pictures', survivors + victims, 60_000);
  assert.deepEqual(seen.broken, []);
  assert.ok(seen.inTime, JSON.stringify(seen.sizes));
  const goroutines = await caddy.goroutines();
  assert.ok(goroutines < (survivors + victims) * 1.1, `${goroutines} goroutines: an idle session has one, which reads`);
  console.log(`roster of ${survivors + victims} for ${survivors}: ${Math.round(seen.bytes / mebibyte)} MiB sent; caddy holds ${memory()}`);
});

test(`${victims} vanish at once: every survivor's picture is right, and nobody is cut`, { timeout: 120_000 }, async () => {
  await staying.call('forgetBytes');
  const from = now();
  await going.kill();
  const seen = await staying.call('pictures', survivors, 60_000);
  const took = now() - from;
  assert.deepEqual(seen.broken, [], 'nobody is cut');
  assert.ok(seen.inTime, JSON.stringify(seen.sizes));
  assert.ok(seen.same);
  assert.deepEqual(seen.sessions.toSorted(), sessions.toSorted(), 'those who are here');
  console.log(
    `${victims} of ${survivors + victims} gone: all know after ${Math.round(took)} ms; ${Math.round(seen.bytes / mebibyte)} MiB sent, ${seen.resets} resets; caddy holds ${memory()}`,
  );
  // One MESSAGE for each change and reader would be about 1 GiB with its headers and its frame.
  assert.ok(seen.bytes < victims * survivors * 600, `${seen.bytes} bytes`);
  const scrape = await caddy.metrics();
  assert.equal(scrape.sum('caddy_stomp_sessions'), survivors);
  assert.equal(scrape.sum('caddy_stomp_session_ends_total'), victims);
  assert.equal(scrape.sum('caddy_stomp_session_ends_total', { reason: 'slow-consumer' }), 0);
  assert.ok(caddy.memory('VmHWM') < memoryLimit, memory());
});

test(`${newcomers} newcomers ask for the roster at once: nobody is cut, memory is bounded`, { timeout: 120_000 }, async () => {
  await arriving.connect(caddy.url('/connection'), newcomers, { announced: false });
  const from = now();
  await arriving.call('subscribe', '/ws');
  const seen = await arriving.call('pictures', survivors, 60_000);
  const took = now() - from;
  assert.deepEqual(seen.broken, [], 'nobody is cut');
  assert.ok(seen.inTime, JSON.stringify(seen.sizes));
  assert.ok(seen.same);
  assert.deepEqual(seen.sessions.toSorted(), sessions.toSorted());
  console.log(`roster of ${survivors} for ${newcomers} at once: ${Math.round(took)} ms, ${Math.round(seen.bytes / mebibyte)} MiB sent; caddy holds ${memory()}`);
  assert.ok(caddy.memory('VmHWM') < memoryLimit, memory());
  const scrape = await caddy.metrics();
  assert.equal(scrape.sum('caddy_stomp_session_ends_total'), victims, 'nobody else left');
  assert.deepEqual(caddy.complaints(), []);
});

test('when they are gone, nothing is left of them', { timeout: 60_000 }, async () => {
  await staying.kill();
  await arriving.kill();
  await caddy.metricIs('caddy_stomp_sessions', {}, 0, { timeout: 20_000 });
  await caddy.metricIs('caddy_stomp_subscriptions', {}, 0);
  await eventually('no goroutines of sessions', async () => (await caddy.goroutines()) < 60, { timeout: 10_000, every: 100 });
});

test('a reader that sleeps through a flood of announcements is told to ask again, and is not cut', { timeout: 60_000 }, async () => {
  const reader = await StompClient.connect(caddy.url('/connection'));
  const picture = new Picture();
  let resets = 0;
  reader.tap = (frame) => {
    if (frame.command !== 'MESSAGE') return false;
    if (picture.apply(JSON.parse(frame.body))) {
      resets++;
      reader.frame('UNSUBSCRIBE', { id: 'presence' });
      reader.frame('SUBSCRIBE', { id: 'presence', destination: '/ws' });
    }
    return true;
  };
  await reader.subscribe('/ws', { id: 'presence' });
  const talkative = await StompClient.connect(caddy.url('/connection'));
  await talkative.register('/ws', 'first');
  await eventually('picture', () => picture.sessions.get(talkative.session)?.clientData === 'first');

  reader.ws.pause();
  // who come and go, since one session is announced as updated once a second at most
  for (let i = 0; i < 80; i++) {
    const crowd = await Promise.all(Array.from({ length: 100 }, () => StompClient.connect(caddy.url('/connection'))));
    await Promise.all(crowd.map((client) => client.register('/ws', { padding: 'x'.repeat(3500) })));
    await Promise.all(crowd.map((client) => client.disconnect()));
  }
  await talkative.register('/ws', 'last');
  reader.ws.resume();
  await eventually('the right picture again', () => picture.sessions.get(talkative.session)?.clientData === 'last', { timeout: 20_000 });
  assert.ok(reader.open, 'announcements alone never make a slow consumer');
  assert.ok(resets >= 1, 'it could not have been told all of 28 MB');
  assert.deepEqual([...picture.sessions.keys()], [talkative.session]);
  assert.deepEqual(caddy.complaints(), []);
  for (const client of [reader, talkative]) await client.disconnect();
});
