// What a receiver that hangs costs the clients, and the server.
//
// Two brokers of one Caddy, of which one has such a webhook, take turns in short cells, in blocks of A B B A: whatever drifts
// meanwhile, the machine or the memory of the processes, is in both alike. A block gives one ratio, and the blocks a median with
// its 95 % interval. HOOK_BLOCKS (6) says how many: few show that nobody waits, fifty what it costs.

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
const rounds = 4; // of them in a cell
const messages = 400;
// Whoever waited for the receiver would wait for 30 s. Few blocks on a machine that does something else show no less than this.
const most = blocks < 30 ? 2 : 1.05;

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

/** A few times everybody comes, a hundred at a time, and goes; the last time everybody is sent messages between. In ms. */
async function measure(broker) {
  let [connect, fanOut] = [0, 0];
  const began = cpu();
  for (let round = 1; round <= rounds; round++) {
    const from = performance.now();
    await crowd.connect(caddy.url(`/${broker}`), members);
    connect += performance.now() - from;
    if (round === rounds) fanOut = await crowd.call('fanOut', '/topic/all', messages);
    await crowd.call('leave');
  }
  return { connect, fanOut, 'CPU time of Caddy': cpu() - began };
}

const sum = (all) => all.reduce((a, b) => a + b, 0);

test('medians and their intervals', () => {
  const upTo = (n) => Array.from({ length: n }, (_, i) => n - i);
  assert.deepEqual(median(upTo(5)), { median: 3, low: 1, high: 5 });
  assert.deepEqual(median(upTo(10)), { median: 5.5, low: 2, high: 9 });
  assert.deepEqual(median(upTo(50)), { median: 25.5, low: 18, high: 33 });
});

test(`connecting and fan-out beside a receiver that hangs, ${blocks} blocks`, { timeout: 60_000 + blocks * 60_000 }, async (t) => {
  for (let i = 0; i < 2; i++) for (const broker of ['without', 'hanging']) await measure(broker); // warms up
  const found = { without: [], hanging: [] }; // of each block, what its two cells took
  for (let block = 0; block < blocks; block++) {
    const cells = { without: [], hanging: [] };
    const [a, b] = block % 2 ? ['hanging', 'without'] : ['without', 'hanging'];
    for (const broker of [a, b, b, a]) cells[broker].push(await measure(broker));
    for (const broker of Object.keys(found)) {
      found[broker].push(Object.fromEntries(Object.keys(cells[broker][0]).map((what) => [what, sum(cells[broker].map((cell) => cell[what]))])));
    }
  }
  const ratios = {};
  for (const what of Object.keys(found.without[0])) {
    const of = (broker) => found[broker].map((block) => block[what]);
    ratios[what] = { ...median(of('hanging').map((ms, i) => ms / of('without')[i])), all: sum(of('hanging')) / sum(of('without')) };
    const { low, high, all } = ratios[what];
    t.diagnostic(`${what}: hanging / without ${ratios[what].median.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)}), of the sums ${all.toFixed(3)}; without ${Math.round(median(of('without')).median)} ms a block`);
  }
  assert.ok(sink.requests.entries.length > 0, 'the receiver hangs');
  assert.deepEqual(sink.taken, []);
  for (const [what, { low }] of Object.entries(ratios)) assert.ok(low <= most, `${what}: hanging / without is ${low.toFixed(3)} at least`);
  assert.deepEqual(caddy.complaints(), []);
});
