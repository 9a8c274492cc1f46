// kill -9 at any moment, and reloads, under load: what was promised is kept, what was told is true, nobody is told twice.
//
// CRASH_KILLS (12) and CRASH_RELOADS (100) say how often, CRASH_SEED makes it happen again as it did.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Caddy } from './lib/caddy.mjs';
import { Population } from './lib/population.mjs';
import { Random } from './lib/random.mjs';
import { judge } from './lib/verdict.mjs';
import { eventually } from './lib/wait.mjs';
import { Witness } from './lib/witness.mjs';

const kills = Number(process.env.CRASH_KILLS ?? 12);
const reloads = Number(process.env.CRASH_RELOADS ?? 100);
const people = 60;
const recoveryGrace = 1200;
const rooms = ['/topic/rooms/hall', '/topic/rooms/attic'];

function configuration({ grace = '', version = 0 }) {
  return {
    global: `stomp {
		broker chat {
			store file {$CRASH_STORE}
			presence {
				register /ws
				announce /topic/presence
				room /topic/rooms/*
				recovery_grace ${recoveryGrace}ms
				${grace}
			}
			drain ${version % 2 ? '2s' : '3s'}
		}
	}`,
    sites: (port) => `http://localhost:${port} {
	header X-Version ${version}
	stomp /connection {
		broker chat
		user {query.user}
		limits {
			subscriptions ${100 + version}
			sessions_per_user 1000
			sessions_per_address 1000
			frames_per_second 100000
		}
	}
	${version % 2 ? 'stomp /sometimes {\n broker chat\n }' : ''}
}`,
  };
}

/** With a grace, who loses the connection is unreachable for a while, which is announced. */
const graceOf = (random) => (random.chance(0.5) ? 'grace 400ms\n announce_unreachable' : '');

async function begin(random, configured) {
  const caddy = await Caddy.start({ ...configured, env: { CRASH_STORE: 'presence.db' } });
  const url = caddy.url('/connection');
  const population = new Population({ url, register: '/ws', rooms, random, size: people, grace: recoveryGrace });
  const witness = new Witness(url, { register: '/ws', rooms });
  await witness.connect();
  return { caddy, population, witness };
}

/** The roster is the truth: nobody is missing, nobody there twice, nobody different. */
async function check({ population, witness, caddy }) {
  await population.pause();
  // who has left a room just before a crash may be in it again, for 5 s
  await witness.agrees((room) => population.present(room), { timeout: 9000 });
  assert.deepEqual([...witness.wrong, ...population.wrong], []);
  const verdict = () =>
    judge({ population, witness, events: caddy.events('stomp_disconnected').map((entry) => entry.data) });
  await eventually('the events are in the log', () => verdict().wrong.length === 0, { timeout: 2000, every: 200 }).catch(() => {});
  const { wrong, figures } = verdict();
  assert.deepEqual(wrong, []);
  return figures;
}

describe(`kill -9, ${kills} times`, () => {
  const random = Random.seeded('CRASH_SEED');
  let all;
  before(async () => {
    all = await begin(random, configuration({ grace: graceOf(random) }));
  });
  after(() => all?.caddy.remove());

  test('0 missing, 0 duplicate, 0 wrong', { timeout: 60_000 + kills * 10_000 }, async (t) => {
    const { caddy, population, witness } = all;
    population.start();
    const kill = async () => {
      const from = Date.now();
      await caddy.kill();
      population.killed(from, Date.now());
      done++;
    };
    const phases = { load: 0, start: 0, recovery: 0 };
    let [done, checks, figures] = [0, 0, {}];
    while (done < kills) {
      await delay(random.between(150, 900));
      phases.load++;
      await kill();
      // again, while it starts or while its sessions come back
      for (let chance = 0.5; done < kills && random.chance(chance); chance /= 2) {
        const phase = random.chance(0.6) ? 'start' : 'recovery';
        phases[phase]++;
        caddy.again().catch(() => {});
        const boot = done;
        const watching = witness.connect({ wanted: () => done === boot });
        await delay(phase === 'start' ? random.between(0, 300) : random.between(300, recoveryGrace));
        await kill();
        await watching;
      }
      const watching = witness.connect();
      await caddy.again();
      await watching;
      const served = performance.now();
      await delay(recoveryGrace + 100 - (performance.now() - served));
      figures = await check(all);
      checks++;
      population.goOn();
    }
    await population.stop();
    t.diagnostic(JSON.stringify({ seed: random.seed, kills: done, phases, checks, changes: witness.changes.length, ...population.counts, ...figures }));
    const complaints = caddy.complaints().filter((entry) => !/listening|address already in use/.test(JSON.stringify(entry)));
    assert.deepEqual(complaints, []);
  });
});

describe(`${reloads} reloads`, () => {
  const random = Random.seeded('CRASH_SEED');
  let all;
  const grace = graceOf(random);
  before(async () => {
    all = await begin(random, configuration({ grace }));
  });
  after(() => all?.caddy.remove());

  test('0 missing, 0 duplicate, 0 wrong', { timeout: 60_000 + reloads * 3000 }, async (t) => {
    const { caddy, population, witness } = all;
    population.start();
    let figures;
    for (let version = 1; version <= reloads; version++) {
      await delay(random.between(20, 200));
      await caddy.reload(configuration({ grace, version }));
      if (version % 20 === 0 || version === reloads) {
        figures = await check(all);
        population.goOn();
      }
    }
    await population.stop();
    assert.equal(figures.lefts['server-crash'], undefined);
    assert.equal(figures.lefts['server-shutdown'], undefined);
    assert.equal(population.counts.spent + population.counts.forgotten, 0);
    t.diagnostic(JSON.stringify({ seed: random.seed, reloads, changes: witness.changes.length, ...population.counts, ...figures }));
    assert.deepEqual(caddy.complaints(), []);
  });
});
