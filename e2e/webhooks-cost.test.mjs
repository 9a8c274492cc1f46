// What a receiver that hangs costs the clients, and the server.
//
// Two brokers of one Caddy, of which one has such a webhook, take turns in short cells, in blocks of A B B A: whatever drifts
// meanwhile, the machine or the memory of the processes, is in both alike. A block gives one ratio, and the blocks a median with
// its 95 % interval. HOOK_BLOCKS (6) says how many: few show that nobody waits, 100 what it costs.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Caddy } from './lib/caddy.mjs';
import { Crowd } from './lib/crowd.mjs';
import { secret } from './lib/hooked.mjs';
import { median } from './lib/median.mjs';
import { WebhookSink } from './lib/webhook-sink.mjs';

const blocks = Number(process.env.HOOK_BLOCKS ?? 6);
const members = 300;
const messages = 400;
const fanOutEvery = 5; // blocks, as it takes longer and is steadier
const cpuEvery = 10; // blocks are taken together, as the clock of CPU time is coarse
// Whoever waited for the receiver would wait for 30 s: few blocks, on a machine that does something else, show no less than this.
const most = blocks < 100 ? 8 : 1.05;

const site = (name) => `stomp /${name} {
		broker ${name}
		ping_timeout 5m
	}`;

let sink;
let caddy;
let crowd;

before(async () => {
  sink = await WebhookSink.start({ secret, behaviour: 'hanging' });
  crowd = Crowd.start();
  caddy = await Caddy.start({
    debug: false,
    global: `stomp {
		broker without
		broker hanging {
			webhook ${sink.url} {
				secret ${secret}
				timeout 30s
			}
		}
	}`,
    sites: (port) => `http://localhost:${port} {
	${site('without')}
	${site('hanging')}
}`,
  });
});

after(async () => {
  await crowd?.kill();
  await caddy?.remove();
  await sink?.remove();
});

/** CPU time that Caddy has used, in ms; its clock ticks 100 times a second. */
function cpu() {
  const fields = readFileSync(`/proc/${caddy.pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Everybody comes, a hundred at a time, and goes; perhaps everybody is sent messages between. In ms. */
async function measure(broker, withFanOut) {
  const began = cpu();
  const from = performance.now();
  await crowd.connect(caddy.url(`/${broker}`), members);
  const connect = performance.now() - from;
  const fanOut = withFanOut ? await crowd.call('fanOut', '/topic/all', messages) : 0;
  await crowd.call('leave');
  return { connect, fanOut, cpu: cpu() - began };
}

const sum = (all) => all.reduce((a, b) => a + b, 0);

/** The sums of so many at a time. */
const sums = (all, size) => Array.from({ length: Math.ceil(all.length / size) }, (_, i) => sum(all.slice(i * size, (i + 1) * size)));

test('medians and their intervals', () => {
  const upTo = (n) => Array.from({ length: n }, (_, i) => n - i);
  assert.deepEqual(median(upTo(5)), { median: 3, low: 1, high: 5 });
  assert.deepEqual(median(upTo(10)), { median: 5.5, low: 2, high: 9 });
  assert.deepEqual(median(upTo(50)), { median: 25.5, low: 18, high: 33 });
});

test(`connecting and fan-out beside a receiver that hangs, ${blocks} blocks`, { timeout: 120_000 + blocks * 20_000 }, async (t) => {
  for (let i = 0; i < 2; i++) for (const broker of ['without', 'hanging']) await measure(broker, true); // warms up
  const of = { without: [], hanging: [] }; // of each block, what its two cells took
  for (let block = 0; block < blocks; block++) {
    const cells = { without: [], hanging: [] };
    const [a, b] = block % 2 ? ['hanging', 'without'] : ['without', 'hanging'];
    for (const broker of [a, b, b, a]) cells[broker].push(await measure(broker, block % fanOutEvery === 0));
    for (const [broker, [one, two]] of Object.entries(cells)) of[broker].push({ connect: one.connect + two.connect, fanOut: one.fanOut + two.fanOut, cpu: one.cpu + two.cpu });
  }
  const wrong = [];
  for (const [what, size] of [['connect', 1], ['fanOut', 1], ['cpu', cpuEvery]]) {
    const [hanging, without] = [of.hanging, of.without].map((all) => sums(all.filter((block, i) => what !== 'fanOut' || i % fanOutEvery === 0).map((block) => block[what]), size));
    const { median: middle, low, high } = median(hanging.map((ms, i) => ms / without[i]));
    const figures = `${what}: hanging / without ${middle.toFixed(3)}, ${low.toFixed(3)} to ${high.toFixed(3)}, of the sums ${(sum(hanging) / sum(without)).toFixed(3)}; ${hanging.length} ratios, without ${Math.round(median(without).median)} ms in each`;
    t.diagnostic(figures);
    if (!(low <= most)) wrong.push(figures);
  }
  assert.ok(sink.requests.entries.length > 0, 'the receiver hangs');
  assert.deepEqual(sink.taken, []);
  assert.deepEqual(wrong, []);
  assert.deepEqual(caddy.complaints(), []);
});
