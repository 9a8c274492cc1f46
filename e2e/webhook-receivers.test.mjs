// The receivers that docs/webhooks.md shows: what they take, what they refuse, and that they know who is present.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Webhook } from 'standardwebhooks';
import { Caddy, caddyCommand, scratchHome } from './lib/caddy.mjs';
import { newSecret } from './lib/hooked.mjs';
import { send } from './lib/http.mjs';
import { Population } from './lib/population.mjs';
import { runOrThrow } from './lib/process.mjs';
import { Random } from './lib/random.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually, observeFor } from './lib/wait.mjs';
import { WebhookApplication, node } from './lib/webhook-application.mjs';
import { tableDifferences } from './lib/webhook-verdict.mjs';
import { Witness } from './lib/witness.mjs';

const [secret, former, foreign] = [newSecret(), newSecret(), newSecret()];
const rooms = ['/topic/rooms/hall', '/topic/rooms/attic'];
const event = (changes) => ({ id: 's-1', stream: 's', seq: 1, broker: 'chat', type: 'joined', sessionId: 'a', clientData: { name: 'A' }, ...changes });

/** POSTs what was signed at a time with a secret, and perhaps changed on its way; resolves to the status. */
async function post(url, events, { at = Date.now(), with: signedWith = secret, change = (request) => request } = {}) {
  const body = typeof events === 'string' ? events : JSON.stringify(events);
  const headers = {
    'content-type': 'application/json',
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(Math.floor(at / 1000)),
    'webhook-signature': new Webhook(signedWith).sign('msg_1', new Date(at), body),
  };
  const request = change({ method: 'POST', headers, body });
  const { status } = await send(String(url), request);
  return status;
}

const without = (name) => (request) => {
  const { [name]: _, ...headers } = request.headers;
  return { ...request, headers };
};
const withHeader = (name, value) => (request) => ({ ...request, headers: { ...request.headers, [name]: value } });
const minutes = (count) => Date.now() + count * 60_000;

const requests = {
  'signed with another secret': { with: foreign, status: 401 },
  'no signature': { change: without('webhook-signature'), status: 401 },
  'no id': { change: without('webhook-id'), status: 401 },
  'no time': { change: without('webhook-timestamp'), status: 401 },
  'a time that is none': { change: withHeader('webhook-timestamp', 'now'), status: 401 },
  'an empty signature': { change: withHeader('webhook-signature', 'v1,'), status: 401 },
  'another id': { change: withHeader('webhook-id', 'msg_2'), status: 401 },
  'another body': { change: (request) => ({ ...request, body: request.body.replace('"A"', '"B"') }), status: 401 },
  'recorded 6 minutes ago': { at: minutes(-6), status: 401 },
  'from the future': { at: minutes(6), status: 401 },
  'too large': { change: (request) => ({ ...request, body: ' '.repeat(4 * 1024 * 1024 + 65536) }), status: 413 },
  'another path': { path: '/', status: 404 },
  'as it should be': { status: 204 },
  'as it should be, again': { status: 204 },
  'with the former secret': { with: former, status: 204 },
  '4 minutes on its way': { at: minutes(-4), status: 204 },
  'with two signatures': { change: (request) => withHeader('webhook-signature', `v1,AAAA ${request.headers['webhook-signature']}`)(request), status: 204 },
};

let home;
let commands;

before(async () => {
  home = mkdtempSync(join(tmpdir(), 'caddy-e2e-'));
  const go = join(home, 'receiver');
  await runOrThrow('go', ['build', '-o', go, '.'], { cwd: fileURLToPath(new URL('../examples/webhook-receiver', import.meta.url)), timeout: 300_000 });
  commands = { node, go: [go] };
});

after(() => home && rmSync(home, { recursive: true, force: true }));

for (const language of ['node', 'go']) {
  test(`${language}: takes what is signed, and nothing else`, { timeout: 60_000 }, async (t) => {
    const application = await WebhookApplication.start(commands[language], { secret: `${secret} ${former}` });
    t.after(() => application.remove());
    for (const [name, { status, path = '/hooks', ...options }] of Object.entries(requests)) {
      assert.equal(await post(new URL(path, application.url), [event()], options), status, name);
      if (status !== 204) assert.deepEqual(await application.present(), [], name);
    }
    const there = [{ broker: 'chat', sessionId: 'a', clientData: { name: 'A' } }];
    assert.deepEqual(await application.present(), there);
    assert.equal(await post(application.url, [event({ id: 's-3', type: 'left', seq: 3 }), event({ id: 's-4', sessionId: 'b' })]), 204);
    assert.equal(await post(application.url, [event({ id: 's-2', type: 'updated', seq: 2 })]), 204, 'a dead letter, late');
    const afterwards = [{ ...there[0], sessionId: 'b' }];
    assert.deepEqual(await application.present(), afterwards, 'brings nobody back');
    await application.kill();
    await application.again();
    assert.deepEqual(await application.present(), afterwards);
    assert.equal(await post(application.url, 'no JSON'), 500);
    assert.equal(await post(application.url, [event({ id: 'other-1', stream: 'other', sessionId: 'c' })]), 204);
    assert.deepEqual(await application.present(), [{ ...there[0], sessionId: 'c' }], 'who was there before the server forgot has gone');
  });
}

test('docs/webhooks.md shows nothing else, and its configurations are valid', { timeout: 60_000 }, async () => {
  const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
  const sources = {
    js: read('examples/webhook-receiver/receiver.mjs'),
    go: read('examples/webhook-receiver/receiver.go') + read('examples/webhook-receiver/presence.go'),
  };
  const blocks = { js: 0, go: 0, caddyfile: 0 };
  for (const path of ['docs/webhooks.md', 'examples/webhook-receiver/README.md']) {
    for (const [, language, code] of read(path).matchAll(/^```(\w+)\n(.*?)^```$/gms)) {
      if (!(language in blocks)) continue;
      blocks[language]++;
      if (language !== 'caddyfile') {
        assert.ok(sources[language].includes(code), `${path}:\n${code}`);
        continue;
      }
      const input = code.replaceAll('example.com', 'http://example.com').replaceAll(' ...\n', '\n');
      const home = scratchHome();
      Object.assign(home.env, { WEBHOOK_SECRET: secret, FORMER_WEBHOOK_SECRET: former, HOOK_TOKEN: 'token' });
      writeFileSync(join(home.path, 'Caddyfile'), input);
      const { code: status, stderr } = await caddyCommand(['validate', '--config', 'Caddyfile', '--adapter', 'caddyfile'], { home });
      home.remove();
      assert.equal(status, 0, `${path}:\n${input}\n${stderr}`);
    }
  }
  for (const [language, count] of Object.entries(blocks)) assert.ok(count >= 2, `${count} blocks of ${language}`);
});

const configuration = (applications, { store, presence = '' }) => ({
  global: `stomp {
		broker chat {
			${store}
			presence {
				register /ws
				announce /topic/presence
				${presence}
			}
			${applications.map(({ url }) => `webhook ${url} {\n secret {env.HOOK_SECRET}\n }`).join('\n')}
		}
	}`,
  sites: (port) => `http://localhost:${port} {
	stomp /connection {
		broker chat
		user {query.user}
		ping_timeout 5m
		limits {
			frames_per_second 100000
		}
	}
}`,
});

describe('with the real server', () => {
  let applications;
  let caddy;
  before(async () => {
    applications = await Promise.all(['node', 'go'].map((language) => WebhookApplication.start(commands[language], { secret })));
  });
  after(async () => {
    await caddy?.remove();
    for (const application of applications ?? []) await application.remove();
  });

  test('their tables are the roster, although they and the server were killed', { timeout: 240_000 }, async (t) => {
    const random = Random.seeded('CRASH_SEED');
    const [within, recoveryGrace] = [1200, 6000]; // ms, in which people come back, or do not; and in which they may
    caddy = await Caddy.start({
      ...configuration(applications, { store: 'store file presence.db', presence: `room /topic/rooms/*\n recovery_grace ${recoveryGrace}ms` }),
      env: { HOOK_SECRET: secret },
    });
    const url = caddy.url('/connection');
    const population = new Population({ url, register: '/ws', rooms, random, size: 30, grace: within });
    const witness = new Witness(url, { register: '/ws', rooms });
    population.start();
    for (const killed of [applications[0], caddy, applications[1], caddy]) {
      const sessions = population.counts.sessions;
      await eventually('more sessions', () => population.counts.sessions > sessions + 20, { timeout: 60_000 });
      const from = Date.now();
      await killed.kill();
      if (killed === caddy) population.killed(from, Date.now());
      await killed.again();
    }
    await observeFor(recoveryGrace + 100); // who does not come back now has left
    await witness.connect();
    await population.pause();
    await witness.agrees((room) => population.present(room), { timeout: 20_000 });
    for (const application of applications) {
      let found;
      await eventually('the table is the roster', async () => {
        found = tableDifferences(await application.present(), rooms, (room) => population.present(room));
        return found.length === 0;
      }, { timeout: 120_000, every: 100 }).catch((error) => {
        throw new Error(`${error.message}\n${found.join('\n')}`);
      });
      assert.deepEqual(application.complaints, []);
    }
    t.diagnostic(`${population.counts.sessions} sessions, ${population.present().length} of them present`);
    await population.stop();
    await caddy.remove();
  });

  test('without a store the server forgets, and they notice', { timeout: 60_000 }, async () => {
    caddy = await Caddy.start({ ...configuration(applications, { store: '' }), env: { HOOK_SECRET: secret } });
    const knows = (client) =>
      Promise.all(applications.map((application) => eventually('the table', async () => {
        const present = await application.present();
        return present.length === 1 && present[0].sessionId === client.session;
      }, { timeout: 60_000, every: 100 })));
    const come = () => StompClient.connect(caddy.url('/connection'), { connect: { 'client-data': '"here"' } });
    await knows(await come());
    await caddy.kill();
    await caddy.again();
    const client = await come();
    await knows(client);
    await client.disconnect();
  });
});
