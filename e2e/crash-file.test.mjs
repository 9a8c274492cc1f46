// A file that is damaged, not ours or not to be written, and a full disk: Caddy starts and serves, says so, and loses nothing.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Caddy, binary, repository } from './lib/caddy.mjs';
import { arrive, comeBack, keeping, sees, watch } from './lib/keeping.mjs';
import { run, runOrThrow } from './lib/process.mjs';
import { Random } from './lib/random.mjs';
import { eventually } from './lib/wait.mjs';

const random = Random.seeded('CRASH_SEED');

/** A file system of its own in a directory, which is made. Needs root. */
async function mount(path, size) {
  mkdirSync(path);
  await runOrThrow('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]);
}

/** Caddy with a store in a directory below its own, which has kept four sessions when it is killed. */
async function killed(t, { prepare = () => {}, file = 'state/presence.db' } = {}) {
  const caddy = await Caddy.start(keeping({ chat: '' }));
  const state = join(caddy.home.path, 'state');
  t.after(async () => {
    await caddy.kill();
    await run('umount', ['--quiet', state]);
    await caddy.remove();
  });
  await prepare(state);
  await caddy.reloadCommand(keeping({ chat: file }));
  const clients = await arrive(caddy.url('/chat'), 4);
  await caddy.kill();
  return { caddy, clients, path: join(caddy.home.path, file) };
}

/** What it said that an operator would be woken by, since it was started last. */
const errors = (caddy) => caddy.log.entries.slice(caddy.startedAt).filter((entry) => entry.level === 'error');

/** The file is not ours: it says so, and does nothing to it. */
function leftAlone(caddy, path, content) {
  const [error, ...more] = errors(caddy);
  assert.match(JSON.stringify(error), /in memory only.*not a presence store/);
  assert.deepEqual(more, []);
  assert.ok(content.equals(readFileSync(path)), 'as it was found');
  assert.deepEqual(readdirSync(join(path, '..')), ['presence.db']);
}

/** It serves, and presence works. */
async function works(caddy) {
  const clients = await arrive(caddy.url('/chat'), 3, { name: 'new' });
  await clients[0].register('/ws', (clients[0].data = { name: 'registered' }));
  const witness = await watch(caddy.url('/chat'));
  await sees(witness, clients);
  clients[1].reset();
  await sees(witness, [clients[0], clients[2]]);
  assert.equal((await caddy.api('/config/')).status, 200);
}

const damages = {
  'cut to half': (path) => truncateSync(path, statSync(path).size / 2),
  'cut to 100 bytes': (path) => truncateSync(path, 100),
  'random bytes in it': (path) => {
    const content = readFileSync(path);
    for (let i = 0; i < 1000; i++) content[Math.floor(random.between(8192, content.length))] ^= Math.floor(random.between(1, 256)); // the headers stay
    writeFileSync(path, content);
  },
  'one byte of a record changed': (path) => {
    const content = readFileSync(path);
    for (let at = content.indexOf('"name":"client'); at >= 0; at = content.indexOf('"name":"client', at + 1)) content[at + 8] ^= 1;
    writeFileSync(path, content);
  },
};

describe('a damaged file', () => {
  for (const [what, damage] of Object.entries(damages))
    test(`${what}: kept aside, and a new one begun`, { timeout: 30_000 }, async (t) => {
      const { caddy, path } = await killed(t);
      damage(path);
      const before = readFileSync(path);
      await caddy.again();
      await works(caddy);
      const [error, ...more] = errors(caddy);
      if (what === 'random bytes in it' && /not a presence store/.test(JSON.stringify(error))) {
        t.diagnostic('the damage has hit what says whose file it is'); // then it is somebody else's, and stays
        leftAlone(caddy, path, before);
        return;
      }
      assert.match(JSON.stringify(error), /damaged.*kept aside as .*presence\.db\.damaged-/);
      assert.deepEqual(more, []);
      const aside = readdirSync(join(path, '..')).filter((name) => name.includes('.damaged-'));
      assert.equal(aside.length, 1);
      assert.ok(before.equals(readFileSync(join(path, '..', aside[0]))), 'as it was found');
      // the new one is good
      const clients = await arrive(caddy.url('/chat'), 2, { there: await present(caddy) });
      await caddy.kill();
      await caddy.again();
      for (const client of clients) await comeBack(caddy.url('/chat'), client);
      assert.deepEqual(errors(caddy), []);
    });
});

/** Those who are there, as clients. */
async function present(caddy) {
  const witness = await watch(caddy.url('/chat'));
  return [...witness.views.get('roster ').sessions.values()].map(({ sessionId, clientData }) => ({ session: sessionId, data: clientData }));
}

describe('a file that is not to be written', () => {
  for (const [what, content] of Object.entries({ 'a text': 'shopping list: milk, eggs\n'.repeat(1000), 'a SQLite database': `SQLite format 3\0${'\0'.repeat(8176)}` }))
    test(`${what}: left as it is, and presence in memory`, { timeout: 30_000 }, async (t) => {
      const { caddy, path } = await killed(t);
      writeFileSync(path, content);
      await caddy.again();
      await works(caddy);
      leftAlone(caddy, path, Buffer.from(content, 'latin1'));
    });

  test('read-only: left as it is, and found again when it is not', { timeout: 30_000 }, async (t) => {
    const { caddy, clients, path } = await killed(t, { prepare: (state) => mount(state, '8m') });
    await runOrThrow('mount', ['-o', 'remount,ro', join(path, '..')]);
    const before = readFileSync(path);
    await caddy.again();
    await works(caddy);
    const [error, ...more] = errors(caddy);
    assert.match(JSON.stringify(error), /in memory only.*must be writable.*read-only file system/);
    assert.deepEqual(more, []);
    await caddy.kill();
    assert.ok(before.equals(readFileSync(path)));
    await runOrThrow('mount', ['-o', 'remount,rw', join(path, '..')]);
    await caddy.again();
    const back = await Promise.all(clients.map((client) => comeBack(caddy.url('/chat'), client)));
    await sees(await watch(caddy.url('/chat')), back);
    assert.deepEqual(errors(caddy), []);
  });
});

test('a full disk: presence goes on in memory, and all is kept when there is room again', { timeout: 60_000 }, async (t) => {
  const { caddy } = await killed(t, { prepare: (state) => mount(state, '1m') });
  const url = caddy.url('/chat');
  await caddy.again();
  await eventually('the roster is empty', async () => (await present(caddy)).length === 0, { timeout: 8000, every: 300 });
  const clients = await arrive(url, 400);
  for (const client of clients) client.data = { ...client.data, about: 'x'.repeat(3000) };
  await Promise.all(clients.map((client) => client.register('/ws', client.data)));
  await sees(await watch(url), clients);
  const [error] = errors(caddy);
  assert.match(JSON.stringify(error), /of no use; presence goes on in memory.*no space left on device/);

  await runOrThrow('mount', ['-o', 'remount,size=64m', join(caddy.home.path, 'state')]);
  await caddy.log.waitFor('the store is written again', (entry) => entry.msg === 'the presence store is written again', { from: caddy.startedAt, timeout: 12_000 });
  const late = await arrive(url, 1, { name: 'late', there: clients });
  const witness = await watch(url);
  await caddy.kill();
  await caddy.again();
  const all = [...clients, ...late];
  const back = await Promise.all(all.slice(0, 50).map((client) => comeBack(url, client)));
  await witness.connect();
  assert.equal(witness.views.get('roster ').sessions.size, all.length);
  await sees(witness, back, { timeout: 8000 });
  assert.deepEqual(errors(caddy), []);
});

test('full when it starts: presence in memory', { timeout: 30_000 }, async (t) => {
  const { caddy, path } = await killed(t, { prepare: (state) => mount(state, '1m') });
  rmSync(path);
  await run('dd', ['if=/dev/zero', `of=${join(path, '..', 'ballast')}`, 'bs=4k']); // until it is full
  await caddy.again();
  await works(caddy);
  const [error, ...more] = errors(caddy);
  assert.match(JSON.stringify(error), /in memory only.*no space left on device/);
  assert.deepEqual(more, []);
});

test('a file costs at most three connects in ten', { timeout: 120_000 }, async (t) => {
  const bench = join(repository, 'e2e', '.bin', 'bench');
  await runOrThrow('go', ['build', '-o', bench, './bench'], { cwd: repository });
  const args = ['connects', '-sessions', '5000', '-rounds', '3', '-ratio', '0.7'];
  const { stdout } = await runOrThrow(bench, args, { env: { ...process.env, CADDY_BIN: binary }, timeout: 100_000 });
  for (const line of stdout.trim().split('\n')) t.diagnostic(line);
});
