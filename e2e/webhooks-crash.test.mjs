// kill -9 of the application and of Caddy, at any moment, under load: the application's table, which it has from webhooks
// alone, is the roster in the end; it was told of everything, and of each session in order.
//
// HOOK_KILLS (6) says how often each is killed, CRASH_SEED makes it happen again as it did.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Caddy } from './lib/caddy.mjs';
import { secret } from './lib/hooked.mjs';
import { Population } from './lib/population.mjs';
import { Random } from './lib/random.mjs';
import { judge } from './lib/verdict.mjs';
import { eventually } from './lib/wait.mjs';
import { WebhookApplication, judged } from './lib/webhook-application.mjs';
import { judgeDeliveries, tableDifferences } from './lib/webhook-verdict.mjs';
import { Witness } from './lib/witness.mjs';

const kills = Number(process.env.HOOK_KILLS ?? 6);
const people = 60;
const within = 1200; // ms, in which people come back, or do not
const recoveryGrace = 6000; // which they can keep on a machine that has much else to do
const rooms = ['/topic/rooms/hall', '/topic/rooms/attic'];

/** With a grace, who loses the connection is unreachable for a while, which is announced. */
const configuration = ({ application, grace }) => ({
  global: `stomp {
		broker chat {
			store file {$CRASH_STORE}
			presence {
				register /ws
				announce /topic/presence
				room /topic/rooms/*
				recovery_grace ${recoveryGrace}ms
				${grace ? 'grace 400ms\n announce_unreachable' : ''}
			}
			webhook ${application.url} {
				events connected joined updated unreachable returned left subscribed unsubscribed
				secret {env.HOOK_SECRET}
				timeout 2s
			}
		}
	}`,
  sites: (port) => `http://localhost:${port} {
	stomp /connection {
		broker chat
		user {query.user}
		ping_timeout 5m
		limits {
			sessions_per_user 1000
			sessions_per_address 1000
			frames_per_second 100000
		}
	}
}`,
});

function count(delivered, events) {
  const types = {};
  for (const { type } of events) types[type] = (types[type] ?? 0) + 1;
  return { delivered: delivered.length, events: events.length, types };
}

describe(`kill -9 of the application and of Caddy, ${kills} times each`, () => {
  const random = Random.seeded('CRASH_SEED');
  let application;
  let caddy;
  let population;
  let witness;
  before(async () => {
    application = await WebhookApplication.start(judged, { secret });
    caddy = await Caddy.start({
      ...configuration({ application, grace: random.chance(0.5) }),
      env: { CRASH_STORE: 'presence.db', HOOK_SECRET: secret },
    });
    const url = caddy.url('/connection');
    population = new Population({ url, register: '/ws', rooms, random, size: people, grace: within });
    witness = new Witness(url, { register: '/ws', rooms });
    await witness.connect();
  });
  after(async () => {
    await caddy?.remove();
    await application?.remove();
  });

  const phases = { load: 0, start: 0, recovery: 0, applicationUp: 0, applicationStart: 0, sleeps: 0 };

  /** Kills Caddy so often, also while it starts and while its sessions come back; it runs afterwards. */
  async function killCaddy(times) {
    for (let done = 0; done < times; ) {
      await delay(random.between(100, 800));
      let phase = 'load';
      let watching;
      do {
        const from = Date.now();
        await caddy.kill();
        population.killed(from, Date.now());
        phases[phase]++;
        const boot = ++done;
        await watching;
        watching = witness.connect({ timeout: 30_000, wanted: () => done === boot });
        phase = done < times ? random.weighted({ none: 7, start: 2, recovery: 1 }) : 'none';
        const starting = caddy.again();
        if (phase === 'none') await Promise.all([starting, watching]);
        else {
          starting.catch(() => {});
          await delay(phase === 'start' ? random.between(0, 300) : random.between(300, within));
        }
      } while (phase !== 'none');
    }
  }

  /** Kills the application so often, also while it starts, and has it sleep now and then; it runs afterwards. */
  async function killApplication(times) {
    for (let done = 0; done < times; ) {
      await delay(random.between(50, 700));
      if (random.chance(0.2)) {
        // the same request comes several times then, and all are read at once
        phases.sleeps++;
        await application.sleep(random.between(2100, 3000));
        await delay(random.between(0, 100));
      }
      phases.applicationUp++;
      await application.kill();
      done++;
      await delay(random.between(0, 500));
      while (done < times && random.chance(0.2)) {
        application.launch();
        await delay(random.between(0, 200));
        phases.applicationStart++;
        await application.kill();
        done++;
      }
      await application.again();
    }
  }

  /** The table is the roster, the roster is the truth, and so is what the application was told until now. */
  async function check() {
    await population.pause();
    // who has left a room just before a crash may be in it again, for 5 s
    await witness.agrees((room) => population.present(room), { timeout: 15_000 });
    let found;
    let figures;
    const right = async () => {
      found = tableDifferences(await application.present(), rooms, (room) => population.present(room));
      if (found.length > 0) return false;
      const deliveries = application.deliveries();
      const { wrong, events } = judgeDeliveries(deliveries, witness.changes);
      const unannounced = events.filter(({ type, seq }) => type === 'left' && seq === undefined);
      const verdict = judge({
        population,
        witness: { changes: events.filter(({ seq }) => seq !== undefined), watches: [] },
        events: unannounced.map(({ sessionId, reason }) => ({ session_id: sessionId, seq: 0, reason })),
      });
      found = [...wrong, ...verdict.wrong];
      figures = { requests: deliveries.length, ...count(deliveries.flatMap((delivery) => delivery.events), events), ...verdict.figures };
      return found.length === 0;
    };
    await eventually('the table is the roster', right, { timeout: 120_000, every: 500 }).catch((error) => {
      throw new Error(`${error.message}\n${found.slice(0, 20).join('\n')}`);
    });
    assert.deepEqual([...witness.wrong, ...population.wrong, ...application.complaints], []);
    return figures;
  }

  test('0 missing, 0 in the wrong order, and the table is the roster', { timeout: 180_000 + kills * 40_000 }, async (t) => {
    population.start();
    let [checks, figures] = [0, {}];
    for (let done = 0; done < kills; ) {
      const times = Math.min(3, kills - done);
      await Promise.all([killCaddy(times), killApplication(times)]);
      done += times;
      await delay(recoveryGrace + 100);
      figures = await check();
      checks++;
      population.goOn();
    }
    await population.stop();
    t.diagnostic(JSON.stringify({ seed: random.seed, kills, phases, checks, ...population.counts, ...figures }));
    const complaints = caddy.complaints().filter((entry) => !/listening|address already in use/.test(JSON.stringify(entry)));
    assert.deepEqual(complaints, []);
    assert.ok(!caddy.log.entries.some((entry) => JSON.stringify(entry).includes(secret.slice('whsec_'.length))), 'the secret is not in the log');
  });
});
