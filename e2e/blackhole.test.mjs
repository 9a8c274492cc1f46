// A pulled cable: packets vanish in both directions, and no side says a word.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Agent } from './lib/agent.mjs';
import { Caddy } from './lib/caddy.mjs';
import { record, saveLatencies } from './lib/latency.mjs';
import { Network } from './lib/netns.mjs';
import { eventually, now } from './lib/wait.mjs';

const slack = 700;

let network;
let caddy;
let observer; // on the server's machine
let port;

before(async () => {
  network = await Network.create();
  caddy = await Caddy.start({
    prefix: network.inside(network.server),
    global: `stomp {
		broker wire {
			presence {
				register /ws
				announce /topic/presence
			}
		}
	}`,
    sites: (free) => {
      port = free;
      const endpoint = (path, options) => `stomp ${path} {\nbroker wire\n${options}\n}`;
      return `http://:${free} {
	bind 127.0.0.1 ${network.server.address}
	${endpoint('/beat', 'heart_beat 1s 1s')}
	${endpoint('/silent', 'ping_timeout 3s')}
}`;
    },
  });
  observer = Agent.start({ prefix: network.inside(network.server) });
  await observer.call('connect', `ws://127.0.0.1:${port}/silent`);
  await observer.call('subscribe', '/topic/presence');
});

after(async () => {
  await observer?.kill();
  await caddy?.remove();
  await network?.remove();
  saveLatencies();
});

/** The announcements of a type about a session that the observer has seen. */
function announced(type, session) {
  return observer.events.entries
    .filter((entry) => entry.event === 'frame' && entry.headers.destination === '/topic/presence')
    .flatMap((entry) => JSON.parse(entry.body).map((change) => ({ ...change, receivedAt: entry.at })))
    .filter((change) => change.type === type && change.sessionId === session);
}

const timerOf = (line) => line?.match(/timer:\((\w+),/)?.[1];
const sendQueueOf = (line) => Number(line.trim().split(/\s+/)[2]);

async function pulledCable({ way, path, heartBeat, busy, bound, kernel }) {
  const client = Agent.start({ prefix: network.inside(network.client) });
  try {
    const { session } = await client.call('connect', `ws://${network.server.address}:${port}${path}`, { connect: { 'heart-beat': heartBeat } });
    await client.call('register', '/ws', { far: 'away' });
    await client.call('subscribe', '/topic/news');
    await eventually('joined', () => announced('joined', session)[0]);
    const ours = async () => (await network.serverSockets(port)).filter((line) => line.startsWith('ESTAB'));

    await eventually('a TCP keepalive timer on the idle socket', async () => {
      const [idle] = await ours();
      return timerOf(idle) === 'keepalive';
    });

    await network.pull();
    const from = now();
    if (busy) {
      await observer.call('send', '/topic/news', 'you will not read this');
      await eventually('data in flight that nobody acknowledges', async () => {
        const [line] = await ours();
        return line && sendQueueOf(line) > 0 && timerOf(line) === 'on';
      }, { timeout: 2000 });
    }
    const left = await eventually(`left of ${session}`, () => announced('left', session)[0], { timeout: 40_000 });
    const latency = left.receivedAt - from;
    assert.match(left.reason, /^(heart-beat-timeout|connection-lost)$/);
    assert.equal(left.clean, false);
    record(way, left.reason, latency);
    assert.ok(latency <= bound + slack, `${way}: noticed after ${latency} ms`);
    // Nor does the kernel keep it: without TCP_USER_TIMEOUT an orphan retransmits for a quarter of an hour.
    if (kernel) {
      await eventually('the socket is gone from the kernel', async () => (await network.serverSockets(port)).length === 0, { timeout: kernel, every: 200 });
    }
    assert.equal(announced('left', session).length, 1);
  } finally {
    await network.plugIn();
    await client.kill();
  }
}

const cases = [
  { way: 'cable pulled while idle, heart-beats `1000,1000`', path: '/beat', heartBeat: '1000,1000', busy: false, bound: 3000 },
  { way: 'cable pulled with data in flight, heart-beats `1000,1000`', path: '/beat', heartBeat: '1000,1000', busy: true, bound: 3000, kernel: 35_000 },
  { way: 'cable pulled while idle, heart-beats `0,0`, `ping_timeout 3s`', path: '/silent', heartBeat: '0,0', busy: false, bound: 3000, kernel: 5000 },
  { way: 'cable pulled with data in flight, heart-beats `0,0`, `ping_timeout 3s`', path: '/silent', heartBeat: '0,0', busy: true, bound: 3000, kernel: 5000 },
];

for (const each of cases) {
  test(each.way, { timeout: 120_000 }, async () => {
    // TCP_USER_TIMEOUT is the endpoint's ping_timeout: 30 s by default, which is waited for once.
    for (let i = 0; i < 3; i++) await pulledCable({ ...each, kernel: i === 2 ? each.kernel : 0 });
  });
}

test('nothing else was noticed', { timeout: 30_000 }, async () => {
  const ends = caddy.events('stomp_disconnected');
  assert.equal(ends.length, cases.length * 3, 'one event for each');
  assert.deepEqual(caddy.complaints(), []);
});
