// The planned end with a store and without, and what becomes of the file when the configuration changes.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Caddy } from './lib/caddy.mjs';
import { arrive, comeBack, keeping, lefts, sees, watch } from './lib/keeping.mjs';
import { signal } from './lib/process.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually, now, observeFor, within } from './lib/wait.mjs';

/** Each client was told that the server goes, and when to come back. */
async function wereToldOfTheEnd(clients, code = 1012) {
  for (const client of clients) {
    assert.equal((await client.close(8000)).code, code);
    const [error, ...more] = client.frames.filter((frame) => frame.command === 'ERROR');
    assert.equal(more.length, 0);
    assert.match(error.headers.message, code === 1012 ? /server shutdown/ : /removed/);
    assert.equal(error.headers['retry-after'], code === 1012 ? '1' : undefined);
  }
}

async function stop(caddy, how) {
  const from = now();
  if (how === 'SIGTERM') signal(caddy.pid, 'SIGTERM');
  else await caddy.stopCommand();
  await within('the end of caddy', 15_000, caddy.ended);
  return now() - from;
}

describe('a planned exit with a store', () => {
  test('2,000 clients: not all in the same instant, nobody is announced; some return, the rest have left', { timeout: 90_000 }, async (t) => {
    const recoveryGrace = 4000;
    const caddy = await Caddy.start({ debug: false, ...keeping({ chat: 'presence.db' }, { recoveryGrace }) });
    t.after(() => caddy.remove());
    const url = caddy.url('/chat');
    const clients = await arrive(url, 2000);
    const witness = await watch(url);
    const took = await stop(caddy, 'SIGTERM');
    assert.ok(took <= 3000 + 1000, `caddy took ${took} ms to end`);
    await wereToldOfTheEnd(clients);
    assert.deepEqual(witness.changes.filter(({ type }) => type !== 'joined'), []);

    const ends = (await Promise.all(clients.map((client) => client.closed))).map(({ at }) => at).sort((a, b) => a - b);
    const span = ends.at(-1) - ends[0];
    const most = Math.max(...ends.map((at, i) => ends.findLastIndex((end) => end < at + 100) - i + 1));
    t.diagnostic(`caddy ended in ${Math.round(took)} ms; closes over ${Math.round(span)} ms, at most ${most} in 100 ms`);
    assert.ok(span >= 1000, `all closes came within ${span} ms`);
    assert.ok(most <= clients.length / 4, `${most} closes came within 100 ms`);

    const again = now();
    await caddy.again();
    const [first, ...others] = clients.slice(0, 100);
    const resumed = [await comeBack(url, first)];
    await witness.connect();
    assert.equal(witness.views.get('roster ').sessions.size, clients.length);
    resumed.push(...(await Promise.all(others.map((client) => comeBack(url, client)))));
    await eventually('the others return', () => witness.changes.filter((change) => change.type === 'returned').length === others.length);
    const gone = await lefts(witness, clients.slice(100), { timeout: 15_000 });
    assert.ok(gone.every(({ reason, receivedAt }) => reason === 'server-shutdown' && receivedAt - again >= recoveryGrace));
    await sees(witness, resumed);
    assert.deepEqual(witness.changes.filter((change) => !['joined', 'returned', 'left'].includes(change.type)), []);
    assert.deepEqual(caddy.complaints(), []);
  });

  for (const how of ['SIGTERM', 'caddy stop'])
    test(`${how}, and kill -9 while they come back: when and why they went stays true`, { timeout: 60_000 }, async (t) => {
      const caddy = await Caddy.start(keeping({ chat: 'presence.db' }));
      t.after(() => caddy.remove());
      const url = caddy.url('/chat');
      const clients = await arrive(url, 12);
      await stop(caddy, how);
      const exited = Date.now();
      await wereToldOfTheEnd(clients);
      for (const later of [0, 150, 500]) {
        await delay(700); // so that the time of this crash is another
        caddy.again().catch(() => {});
        await delay(later);
        await caddy.kill();
      }
      await caddy.again();
      const resumed = [await comeBack(url, clients[0])];
      const witness = await watch(url);
      resumed.push(await comeBack(url, clients[1]));
      await eventually('the second returns', () => witness.changes.some((change) => change.type === 'returned' && change.sessionId === clients[1].session));
      const gone = await lefts(witness, clients.slice(2));
      for (const [i, left] of gone.entries()) {
        const client = clients[i + 2];
        assert.deepEqual([left.reason, left.code, left.clean, left.clientData], ['server-shutdown', 1012, false, client.data]);
        const at = Date.parse(left.at);
        assert.ok(at <= exited && Math.abs(at - client.endedAt) < 1000, `left at ${left.at}, its end was ${new Date(client.endedAt).toISOString()}`);
      }
      await sees(witness, resumed);
      await observeFor(300);
      const told = caddy.events('stomp_disconnected').flatMap(({ data }) => (data.seq > 0 ? data.session_id : []));
      assert.deepEqual(told.sort(), gone.map(({ sessionId }) => sessionId).sort(), 'events tell of each once, when it has left');
      assert.deepEqual(caddy.complaints(), []);
    });
});

test('a planned exit without a store: 1012, and left to events only', { timeout: 30_000 }, async (t) => {
  const caddy = await Caddy.start(keeping({ chat: '' }));
  t.after(() => caddy.remove());
  const clients = await arrive(caddy.url('/chat'), 10);
  assert.equal(clients[0].connected['resume-token'], undefined);
  const witness = await watch(caddy.url('/chat'));
  await stop(caddy, 'SIGTERM');
  await wereToldOfTheEnd(clients);
  assert.deepEqual(witness.changes.filter(({ type }) => type !== 'joined'), []);
  for (const { session } of clients) {
    const events = caddy.events('stomp_disconnected').filter(({ data }) => data.session_id === session);
    assert.deepEqual(events.map(({ data }) => [data.reason, data.code]), [['server-shutdown', 1012]]);
  }
  await caddy.again();
  await sees(await watch(caddy.url('/chat')), []);
});

describe('the file and reloads', () => {
  let caddy;
  beforeEach(async () => {
    caddy = await Caddy.start(keeping({ chat: '' }));
  });
  afterEach(() => caddy?.remove());

  /** Nothing was said of anybody, and all are there. */
  const undisturbed = async (witness, clients) => {
    for (const client of clients) assert.ok(client.open);
    await sees(witness, clients);
    assert.deepEqual(witness.changes.filter((change) => change.type !== 'joined'), []);
  };

  test('switched on, to another file, and off: nobody lost, nobody announced, and a crash finds what was kept', { timeout: 60_000 }, async () => {
    const url = caddy.url('/chat');
    const without = await arrive(url, 5, { name: 'without' });
    let witness = await watch(url);
    await caddy.reloadCommand(keeping({ chat: 'first.db' }));
    await undisturbed(witness, without);
    const withToken = await arrive(url, 5, { name: 'with', there: without });
    await undisturbed(witness, [...without, ...withToken]);

    await caddy.kill();
    await caddy.again();
    let here = [await comeBack(url, withToken[0])];
    witness = await watch(url);
    here.push(...(await Promise.all(withToken.slice(1).map((client) => comeBack(url, client)))));
    for (const [i, left] of (await lefts(witness, without)).entries()) {
      assert.deepEqual([left.reason, left.clientData], ['server-crash', without[i].data]);
    }
    await sees(witness, here);

    witness = await watch(url);
    await caddy.reloadCommand(keeping({ chat: 'second.db' }));
    await undisturbed(witness, here);
    here.push(...(await arrive(url, 3, { name: 'late', there: here })));
    await caddy.kill();
    await caddy.again();
    here = await Promise.all(here.map((client) => comeBack(url, client)));
    await sees(await watch(url), here);

    // the first file knows nothing of those who went on elsewhere
    witness = await watch(url);
    await caddy.reloadCommand(keeping({ chat: 'second.db', other: 'first.db' }));
    await caddy.reloadCommand(keeping({ chat: '' }));
    await undisturbed(witness, here);
    await caddy.kill();
    for (const file of ['first.db', 'second.db']) {
      writeFileSync(caddy.file, caddy.caddyfile(keeping({ chat: file })));
      await caddy.again();
      await sees(await watch(url), []);
      await caddy.kill();
    }
    writeFileSync(caddy.file, caddy.caddyfile(keeping({ chat: '' })));
    await caddy.again();
    assert.deepEqual(caddy.complaints(), []);
  });

  test('a broker that is removed: 1001, and nobody is found when it comes again', { timeout: 30_000 }, async () => {
    await caddy.reloadCommand(keeping({ chat: 'removed.db' }));
    const url = caddy.url('/chat');
    const clients = await arrive(url, 10);
    const witness = await watch(url);
    await caddy.reloadCommand({ sites: (port) => `http://localhost:${port} {\n respond /up "up"\n}` });
    await wereToldOfTheEnd(clients, 1001);
    assert.deepEqual(witness.changes.filter(({ type }) => type !== 'joined'), []);
    await caddy.reloadCommand(keeping({ chat: 'removed.db' }));
    const later = await watch(url);
    await sees(later, []);
    assert.notEqual(later.stream, witness.stream);
    for (const client of clients) await assert.rejects(comeBack(url, client), /came back as/);
    assert.deepEqual(caddy.complaints(), []);
  });

  test('files that change brokers at a reload, and a crash after it', { timeout: 60_000 }, async () => {
    await caddy.reloadCommand(keeping({ chat: 'x.db', forum: 'y.db' }));
    let chat = await arrive(caddy.url('/chat'), 4, { name: 'chat' });
    let forum = await arrive(caddy.url('/forum'), 4, { name: 'forum' });
    for (const stores of [{ chat: 'y.db', forum: 'x.db' }, { chat: 'y.db', forum: 'y.db' }, { chat: 'x.db', forum: 'y.db' }]) {
      const witnesses = [await watch(caddy.url('/chat')), await watch(caddy.url('/forum'))];
      const from = now();
      await caddy.reloadCommand(keeping(stores));
      assert.ok(now() - from < 5000, `the reload took ${now() - from} ms`);
      await undisturbed(witnesses[0], chat);
      await undisturbed(witnesses[1], forum);
      await caddy.kill();
      await caddy.again();
      chat = await Promise.all(chat.map((client) => comeBack(caddy.url('/chat'), client)));
      forum = await Promise.all(forum.map((client) => comeBack(caddy.url('/forum'), client)));
    }
    // one goes, and its file to one that is new
    const witness = await watch(caddy.url('/chat'));
    await caddy.reloadCommand(keeping({ chat: 'x.db', club: 'y.db' }));
    await wereToldOfTheEnd(forum, 1001);
    await undisturbed(witness, chat);
    await sees(await watch(caddy.url('/club')), []);
    assert.deepEqual(caddy.complaints(), []);
  });

  test('a second process with the same file does not start, and the first goes on', { timeout: 30_000 }, async () => {
    await caddy.reloadCommand(keeping({ chat: 'shared.db' }));
    const [client] = await arrive(caddy.url('/chat'), 1);
    const from = now();
    await assert.rejects(Caddy.start(keeping({ chat: join(caddy.home.path, 'shared.db') })), (error) => {
      assert.match(error.message, /"code":1/);
      assert.match(error.message, /the file is in use by another process: stop that process, or give this one another file/);
      return true;
    });
    assert.ok(now() - from < 10_000);
    await client.register('/ws', { name: 'goes on' });
    client.data = { name: 'goes on' };
    await sees(await watch(caddy.url('/chat')), [client]);
    const newcomer = await StompClient.connect(caddy.url('/chat'));
    await newcomer.disconnect();
    assert.deepEqual(caddy.complaints(), []);
  });
});
