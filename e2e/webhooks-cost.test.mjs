// What a receiver that hangs costs the clients: nothing that could be seen among the noise.
//
// HOOK_PAIRS (5) says how often Caddy with it and Caddy without webhooks are measured in turn.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Caddy } from './lib/caddy.mjs';
import { Crowd } from './lib/crowd.mjs';
import { secret } from './lib/hooked.mjs';
import { WebhookSink } from './lib/webhook-sink.mjs';

const pairs = Number(process.env.HOOK_PAIRS ?? 5);
const members = 300;
const messages = 300;

const configuration = (webhook) => ({
  debug: false,
  global: `stomp {
		broker chat {
			presence {
				register /ws
				announce /topic/presence
			}
			${webhook}
		}
	}`,
  sites: (port) => `http://localhost:${port} {
	stomp /connection {
		broker chat
		ping_timeout 5m
	}
}`,
});

let sink;
let sides; // Caddy
let crowd; // the same for both

before(async () => {
  sink = await WebhookSink.start({ secret, behaviour: 'hanging' });
  const hanging = `webhook ${sink.url} {
				secret ${secret}
				timeout 30s
			}`;
  crowd = Crowd.start();
  sides = { hanging: await Caddy.start(configuration(hanging)), without: await Caddy.start(configuration('')) };
});

after(async () => {
  await crowd?.kill();
  for (const caddy of Object.values(sides ?? {})) await caddy.remove();
  await sink?.remove();
});

/** CPU time that a process has used, in ms; its clock ticks 100 times a second. */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Everybody comes, a hundred at a time; everybody is sent messages; everybody goes. */
async function measure(caddy) {
  const cpu = cpuOf(caddy.pid);
  const from = performance.now();
  await crowd.connect(caddy.url('/connection'), members);
  const connect = performance.now() - from;
  const fanOut = await crowd.call('fanOut', '/topic/all', messages);
  await crowd.call('leave');
  return { connect, fanOut, cpu: cpuOf(caddy.pid) - cpu };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

test(`connecting and fan-out beside a receiver that hangs, ${pairs} pairs`, { timeout: 60_000 + pairs * 20_000 }, async (t) => {
  for (let i = 0; i < 2; i++) for (const caddy of Object.values(sides)) await measure(caddy); // warms up
  const ratios = { connect: [], fanOut: [], cpu: [] };
  const total = { hanging: 0, without: 0 }; // of CPU time, as single ones are a few ticks only
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 ? ['hanging', 'without'] : ['without', 'hanging'];
    const found = {};
    for (const name of order) {
      found[name] = await measure(sides[name]);
      total[name] += found[name].cpu;
    }
    for (const what of Object.keys(ratios)) ratios[what].push(found.hanging[what] / found.without[what]);
  }
  const figures = Object.fromEntries(Object.entries(ratios).map(([what, values]) => [what, { median: median(values).toFixed(3), all: values.map((value) => value.toFixed(2)) }]));
  t.diagnostic(`hanging / without: ${JSON.stringify(figures)}, all CPU time ${(total.hanging / total.without).toFixed(3)}`);
  assert.ok(sink.requests.entries.length > 0, 'the receiver hangs');
  assert.deepEqual(sink.taken, []);
  for (const what of ['connect', 'fanOut']) {
    // whoever waited for the receiver would wait for 30 s; the rest of this is for a machine that does something else
    assert.ok(median(ratios[what]) < 8, `${what}: ${figures[what].median}`);
  }
  assert.deepEqual(sides.hanging.complaints(), []);
});
