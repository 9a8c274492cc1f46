// What becomes of the queue of a webhook: when too much waits, when the configuration changes, at the planned end.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { come, comeAndGo, configuration, leftOf, secret, startCaddy, webhookOf, webhooks } from './lib/hooked.mjs';
import { eventually } from './lib/wait.mjs';
import { WebhookSink } from './lib/webhook-sink.mjs';

let caddy;
let sink;
beforeEach(async () => {
  sink = await WebhookSink.start({ secret });
});
afterEach(async () => {
  await caddy?.remove();
  await sink?.remove();
});

/** Events are in the queue when they are in the store. */
const waiting = (count) => eventually(`${count} events wait`, async () => (await webhookOf(caddy, sink)).pending === count, { timeout: 30_000 });

/** Sessions of which the sink has been told nothing. */
async function whileDown(count) {
  await sink.down();
  const sessions = [];
  for (let i = 0; i < count; i++) sessions.push(await comeAndGo(caddy, `while down ${i}`));
  return sessions;
}

test('the oldest are given up when too many wait, counted, and not logged one by one', { timeout: 120_000 }, async () => {
  caddy = await startCaddy([[sink.url, 'pending 20']]);
  const labels = { broker: 'chat', announcer: sink.url };
  sink.misbehave('failing');
  await comeAndGo(caddy, 'the first');
  const under = (await sink.requests.waitFor('a request', () => true, { timeout: 30_000 })).events; // way, and so not given up
  for (let i = 1; i < 30; i++) await comeAndGo(caddy, `guest ${i}`);
  const scrape = await caddy.metricIs('caddy_stomp_webhook_dropped_total', labels, 40, { timeout: 30_000 });
  assert.equal(scrape.sum('caddy_stomp_webhook_pending', labels), 20);
  assert.ok(scrape.sum('caddy_stomp_webhook_oldest_seconds', labels) > 0);
  const givenUp = (entry) => entry.level === 'warn' && /given up/.test(entry.msg);
  await caddy.log.waitFor('a warning', givenUp, { timeout: 30_000 });
  sink.mend();
  await sink.has('what is left', (events) => events.length >= 20);
  const last = Array.from({ length: 20 - under.length }, (_, i) => 60 - 19 + under.length + i);
  assert.deepEqual(sink.events.map(({ seq }) => seq), [...under.map(({ seq }) => seq), ...last]);
  const logged = caddy.log.filter(givenUp);
  assert.ok(logged.length <= 2, `${logged.length} warnings`);
});

for (const store of [true, false]) {
  test(`a reload with the same URL keeps what waits, ${store ? 'with' : 'without'} a store`, { timeout: 120_000 }, async () => {
    caddy = await startCaddy([[sink.url]], { store });
    const sessions = [await comeAndGo(caddy, 'before')];
    await sink.has('the first', leftOf(...sessions));
    sessions.push(...(await whileDown(10)));
    await caddy.reload(configuration([[sink.url, 'timeout 3s\n batch 3']], { store, version: 1 }));
    sessions.push(await comeAndGo(caddy, 'in between'));
    await caddy.reload(configuration([[sink.url]], { store, version: 2 }));
    await sink.up();
    await sink.has('everything', leftOf(...sessions));
    assert.deepEqual(sink.events.map(({ type, sessionId }) => [type, sessionId]), sessions.flatMap((id) => [['joined', id], ['left', id]]));
    assert.deepEqual(sink.events.map(({ seq }) => seq), sink.events.map((_, i) => i + 1));
    assert.deepEqual(caddy.complaints(), []);
  });
}

test('reloads under load: everything, in order', { timeout: 120_000 }, async () => {
  caddy = await startCaddy([[sink.url]]);
  const sessions = [];
  let version = 0;
  const load = async () => {
    while (version < 10) {
      const client = await come(caddy, 'somebody').catch(() => {}); // Caddy drops connections that are being made while it reloads
      if (!client) continue;
      sessions.push(client.session);
      await client.disconnect();
    }
  };
  const loading = Promise.all(Array.from({ length: 10 }, load));
  while (version < 10) {
    const before = sessions.length;
    await eventually('more sessions', () => sessions.length > before + 20, { timeout: 30_000 });
    await caddy.reload(configuration([[sink.url, `timeout ${5 + version}s`]], { version: version++ }));
  }
  await loading;
  await sink.has('everything', leftOf(...sessions));
  for (const id of sessions) assert.deepEqual(sink.events.filter((event) => event.sessionId === id).map(({ type }) => type), ['joined', 'left']);
  assert.deepEqual(sink.events.map(({ seq }) => seq), sink.events.map((_, i) => i + 1));
  assert.deepEqual(sink.wrong, []);
});

test('a URL that is removed is told what is left', { timeout: 120_000 }, async () => {
  caddy = await startCaddy([[sink.url]], { drain: '60s' });
  sink.misbehave('failing');
  const sessions = [];
  for (let i = 0; i < 5; i++) sessions.push(await comeAndGo(caddy, `meanwhile ${i}`));
  await waiting(2 * sessions.length);
  sink.misbehave('well'); // it waits before it tries again
  await caddy.reload(configuration([], { drain: '60s', version: 1 }));
  await sink.has('what was left', leftOf(...sessions));
  const afterwards = await comeAndGo(caddy, 'afterwards');
  await eventually('it is forgotten', async () => (await webhooks(caddy)).length === 0, { timeout: 60_000 });
  assert.ok(!leftOf(afterwards)(sink.events));
  assert.ok(!caddy.log.entries.some((entry) => /is dropped/.test(entry.msg)));
});

test('within drain; what is dropped then is counted', { timeout: 120_000 }, async () => {
  caddy = await startCaddy([[sink.url]], { drain: '1s' });
  const first = await comeAndGo(caddy, 'somebody');
  await sink.has('the first', leftOf(first));
  sink.misbehave('hanging');
  const sessions = [await comeAndGo(caddy, 'one'), await comeAndGo(caddy, 'two')];
  await waiting(2 * sessions.length);
  await caddy.reload(configuration([], { drain: '1s', version: 1 }));
  const warning = await caddy.log.waitFor('a warning', (entry) => entry.level === 'warn' && /is dropped/.test(entry.msg), { timeout: 30_000 });
  assert.equal(warning.dropped, 2 * sessions.length);
  await caddy.reload(configuration([[sink.url]], { drain: '1s', version: 2 }));
  sink.mend();
  const afterwards = await comeAndGo(caddy, 'afterwards');
  await sink.has('what comes now', leftOf(afterwards));
  for (const id of sessions) assert.ok(!leftOf(id)(sink.events), 'what was dropped does not come again');
});

test('caddy stop with a store: what waits is sent after the start', { timeout: 120_000 }, async () => {
  caddy = await startCaddy([[sink.url]]);
  const sessions = await whileDown(5);
  await caddy.stopCommand();
  await caddy.again();
  await sink.up();
  await sink.has('everything', leftOf(...sessions));
  assert.deepEqual(sink.events.map(({ seq }) => seq), sink.events.map((_, i) => i + 1));
});

test('caddy stop without a store: those who are there have left, which is sent before the end', { timeout: 120_000 }, async () => {
  caddy = await startCaddy([[sink.url]], { store: false, drain: '30s' });
  assert.ok(caddy.log.entries.some((entry) => entry.level === 'info' && /^without a store/.test(entry.msg)), 'it says what that means');
  const clients = [await come(caddy, 'one'), await come(caddy, 'two')];
  for (const client of clients) client.ws.on('close', () => client.ws.terminate());
  await caddy.stopCommand({ timeout: 60_000 });
  const sessions = clients.map((client) => client.session);
  assert.ok(leftOf(...sessions)(sink.events), JSON.stringify(sink.events));
  for (const { reason } of sink.events.filter(({ type }) => type === 'left')) assert.equal(reason, 'server-shutdown');
});

test('dead letters survive kill -9, and are sent again when somebody says so', { timeout: 120_000 }, async () => {
  caddy = await startCaddy([[sink.url]]);
  sink.misbehave('refusing');
  const session = await comeAndGo(caddy, 'refused');
  const letters = async () => (await webhookOf(caddy, sink)).deadLetters.map(({ type, status }) => [type, status]);
  const expected = [['joined', 400], ['left', 400]];
  const both = () => eventually('two dead letters', async () => JSON.stringify(await letters()) === JSON.stringify(expected), { timeout: 30_000 });
  await both();
  await caddy.kill();
  await caddy.again();
  await both();
  sink.misbehave('well');
  const later = await comeAndGo(caddy, 'later');
  await sink.has('what came later', leftOf(later));
  assert.ok(!leftOf(session)(sink.events), 'they wait for the operator');
  const { text } = await caddy.api(`/stomp/brokers/chat/webhooks/retry?id=${encodeURIComponent(sink.url)}`, { body: '' });
  assert.deepEqual(JSON.parse(text), { retried: 2 });
  await sink.has('the dead letters', leftOf(session));
  assert.deepEqual(await letters(), []);
});
