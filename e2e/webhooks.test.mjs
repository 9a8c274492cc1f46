// Webhooks: what is sent, signed by whom, and what becomes of receivers that misbehave.
//
// HOOK_OUTAGE (0) says for how many seconds at least they misbehave.

import assert from 'node:assert/strict';
import { createServer, request as httpRequest } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { come, comeAndGo, configuration, leftOf, newSecret, plain, secret, startCaddy, webhookOf } from './lib/hooked.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually, observeFor } from './lib/wait.mjs';
import { WebhookSink, misbehaviours } from './lib/webhook-sink.mjs';

const outage = Number(process.env.HOOK_OUTAGE ?? 0) * 1000;

describe('what is sent', () => {
  let caddy;
  let all; // every kind of event
  let some; // of those that are asked for
  before(async () => {
    all = await WebhookSink.start({ secret });
    some = await WebhookSink.start({ secret });
    caddy = await startCaddy([
      [all.url, 'events connected joined updated unreachable returned left subscribed unsubscribed\n header X-Application "the first"'],
      [some.url, 'events left'],
    ]);
  });
  after(async () => {
    await caddy?.remove();
    for (const sink of [all, some]) await sink?.remove();
  });

  test('every key of every event, oldest first; attributes that peers do not see, too', { timeout: 120_000 }, async () => {
    const before = Date.now();
    const other = await come(caddy, 'Mina in another tab', { user: 'mina' });
    const client = await come(caddy, 'Mina', { user: 'mina' });
    const id = client.session;
    await client.subscribe('/topic/rooms/hall', { id: 'hall' });
    await client.subscribe('/topic/news', { id: 'news' });
    await client.request('UNSUBSCRIBE', { id: 'news' });
    await client.register('/ws', { name: 'Mina', mood: 'fine' });
    await all.has('updated', (events) => events.some((event) => event.type === 'updated' && event.sessionId === id && !event.room));
    client.ws.close(4004);
    await all.has('left', leftOf(id));
    const events = all.events.filter((event) => event.sessionId === id && !event.room);
    assert.deepEqual(events.map(({ type, destination }) => [type, destination].filter(Boolean).join(' ')), [
      'connected',
      'joined',
      'subscribed /topic/rooms/hall',
      'subscribed /topic/news',
      'unsubscribed /topic/news',
      'updated',
      'left',
    ]);
    for (const event of events) {
      assert.match(event.id, new RegExp(`^${event.stream}-\\d+$`));
      const { broker, endpoint, transport, user, attributes, epoch } = event;
      assert.deepEqual({ broker, user, attributes, epoch }, { broker: 'chat', user: 'mina', attributes: { team: 'red', ip: '127.0.0.1' }, epoch: 1 });
      assert.equal(transport, 'websocket');
      assert.match(endpoint, /connection/);
      assert.match(event.remoteAddr, /^127\.0\.0\.1/);
      for (const at of [event.at, event.connectedAt]) assert.ok(Date.parse(at) >= before - 1000 && Date.parse(at) <= Date.now() + 1000, at);
    }
    const of = (type) => events.find((event) => event.type === type);
    assert.deepEqual(of('joined').clientData, { name: 'Mina' });
    assert.deepEqual(of('updated').clientData, { name: 'Mina', mood: 'fine' });
    const { reason, code, clean, connectedFor, userSessions, clientData } = of('left');
    assert.deepEqual({ reason, code, clean, userSessions, clientData }, { reason: 'closed', code: 4004, clean: true, userSessions: 1, clientData: { name: 'Mina', mood: 'fine' } });
    assert.ok(connectedFor >= 0 && connectedFor < 120);
    assert.equal(of('joined').userSessions, 2);
    for (const type of ['joined', 'updated', 'left']) assert.ok(of(type).seq > 0, type);
    for (const type of ['connected', 'subscribed', 'unsubscribed']) assert.ok(!('seq' in of(type)), type);
    const room = all.events.filter((event) => event.room === '/topic/rooms/hall');
    assert.deepEqual(room.map(({ type, sessionId, reason = '' }) => [type, sessionId, reason]).filter(([type]) => type !== 'updated'), [['joined', id, ''], ['left', id, 'closed']]);
    await some.has('left', leftOf(id));
    assert.deepEqual([...new Set(some.events.map((event) => event.type))], ['left']);
    await other.disconnect();
    await all.has('left', leftOf(other.session));
    assert.equal(all.events.find((event) => event.type === 'left' && event.sessionId === other.session).userSessions, 0);
    for (const { headers } of all.requests.entries) assert.equal(headers['x-application'], 'the first');
    for (const sink of [all, some]) assert.deepEqual(sink.wrong, []);
  });

  test('who was never announced', { timeout: 60_000 }, async () => {
    const client = await StompClient.connect(caddy.url('/connection'));
    await client.disconnect();
    await all.has('left', leftOf(client.session));
    const events = all.events.filter((event) => event.sessionId === client.session);
    assert.deepEqual(events.map(({ type, seq }) => [type, seq]), [['connected', undefined], ['left', undefined]]);
  });

  test('the numbers are those of the announcements', { timeout: 60_000 }, async () => {
    const observer = await StompClient.connect(caddy.url('/connection'));
    await observer.subscribe('/topic/presence');
    const session = await comeAndGo(caddy, 'somebody');
    const change = (type) => observer.message('/topic/presence', (frame) => JSON.parse(frame.body).some((each) => each.type === type && each.sessionId === session));
    await all.has('left', leftOf(session));
    for (const type of ['joined', 'left']) {
      const told = JSON.parse((await change(type)).body).find((each) => each.type === type);
      const { stream, seq, at } = all.events.find((event) => event.type === type && event.sessionId === session);
      assert.deepEqual({ stream, seq, at }, { stream: told.stream, seq: told.seq, at: told.at });
    }
    await observer.disconnect();
  });

  test('no secret is in the log, in metrics, or on the admin endpoint', { timeout: 60_000 }, async () => {
    const key = secret.slice('whsec_'.length);
    const texts = [JSON.stringify(caddy.log.entries), (await caddy.metrics()).text];
    for (const path of ['/stomp/brokers', '/stomp/brokers/chat', '/stomp/brokers/chat/webhooks', '/config/']) texts.push((await caddy.api(path)).text);
    for (const text of texts) assert.ok(!text.includes(key), text.slice(0, 300));
    assert.deepEqual(caddy.complaints(), []);
  });
});

describe('receivers that misbehave', () => {
  let caddy;
  let well;
  const bad = new Map();
  before(async () => {
    well = await WebhookSink.start({ secret });
    for (const behaviour of misbehaviours) bad.set(behaviour, await WebhookSink.start({ secret, behaviour }));
    bad.set('down at the start', await WebhookSink.start({ secret, up: false }));
    caddy = await startCaddy([well, ...bad.values()].map((sink) => [sink.url, 'timeout 500ms']));
  });
  after(async () => {
    await caddy?.remove();
    for (const sink of [well, ...bad.values()]) await sink?.remove();
  });

  test('cost clients and other webhooks nothing, and are told everything once they mend', { timeout: 300_000 }, async (t) => {
    const sessions = [];
    const stays = await come(caddy, 'stays');
    const goOn = async (name) => {
      sessions.push(await comeAndGo(caddy, name));
      await stays.register('/ws', { name });
      await well.has(name, leftOf(...sessions));
    };
    for (let i = 0; i < 20; i++) await goOn(`before ${i}`);
    for (const [behaviour, sink] of bad) {
      if (sink.server) await eventually(`two requests to the one that is ${behaviour}`, () => sink.requests.entries.length >= 2, { timeout: 60_000 });
    }
    const until = performance.now() + outage;
    for (let i = 0; i < 20 || performance.now() < until; i++) await goOn(`meanwhile ${i}`);
    assert.equal(bad.get('redirecting').elsewhere, 0, 'redirects are not followed');
    assert.ok(stays.open, 'nobody is cut');
    const memory = caddy.memory('VmHWM') / 1024 / 1024;
    assert.ok(memory < 400, `${memory} MiB`);

    for (const sink of bad.values()) await (sink.server ? sink.mend() : sink.up());
    const from = performance.now();
    sessions.push(await comeAndGo(caddy, 'afterwards'));
    await Promise.all([well, ...bad.values()].map((sink) => sink.has('everything', leftOf(...sessions), { timeout: 180_000 })));
    t.diagnostic(`all told ${Math.round(performance.now() - from)} ms after they have mended, ${Math.round(memory)} MiB`);
    for (const [behaviour, sink] of bad) {
      assert.deepEqual(plain(sink.events), plain(well.events), behaviour);
      assert.deepEqual(sink.wrong, [], behaviour);
      const bodies = new Map();
      for (const { id, body } of sink.requests.entries) {
        assert.equal(bodies.get(id) ?? body, body, `${behaviour}: one webhook-id, two bodies`);
        bodies.set(id, body);
      }
    }
    await stays.disconnect();
    assert.deepEqual(caddy.complaints(), []);
  });
});

test('proxies are those of the environment', { timeout: 120_000 }, async (t) => {
  const [behind, near] = [await WebhookSink.start({ secret }), await WebhookSink.start({ secret })];
  const asked = [];
  const proxy = createServer((request, response) => {
    asked.push(request.url);
    const onward = httpRequest(behind.url, { method: request.method, headers: request.headers }, (answer) => answer.pipe(response.writeHead(answer.statusCode)));
    request.pipe(onward.on('error', () => response.destroy()));
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const url = 'http://app.test/hooks'; // nobody knows where that is
  const caddy = await startCaddy([[url], [near.url]], { env: { HTTP_PROXY: `http://127.0.0.1:${proxy.address().port}` } });
  t.after(async () => {
    await caddy.remove();
    proxy.close();
    proxy.closeAllConnections();
    for (const sink of [behind, near]) await sink.remove();
  });
  const session = await comeAndGo(caddy, 'somebody');
  for (const sink of [behind, near]) {
    await sink.has('left', leftOf(session));
    assert.deepEqual(sink.wrong, []);
  }
  assert.deepEqual([...new Set(asked)], [url], 'what is near needs none');
});

describe('secrets', () => {
  test('while one is replaced, both sign; then only the new one does', { timeout: 120_000 }, async (t) => {
    const [former, next] = [newSecret(), newSecret()];
    const old = await WebhookSink.start({ secret: former });
    const updated = await WebhookSink.start({ secret: next });
    const both = `secret ${next} ${former}`;
    const caddy = await startCaddy([[old.url, both], [updated.url, both]]);
    t.after(async () => {
      await caddy.remove();
      for (const sink of [old, updated]) await sink.remove();
    });
    const session = await comeAndGo(caddy, 'somebody');
    for (const sink of [old, updated]) {
      await sink.has('left', leftOf(session));
      assert.deepEqual(sink.wrong, []);
      for (const { headers } of sink.requests.entries) assert.match(headers['webhook-signature'], /^v1,[\w+/]{43}= v1,[\w+/]{43}=$/);
    }
    await caddy.reload(configuration([[old.url, `secret ${next}`], [updated.url, `secret ${next}`]]));
    const after = await comeAndGo(caddy, 'somebody else');
    await updated.has('left', leftOf(after));
    assert.deepEqual(updated.wrong, []);
    await eventually('the former secret is good no more', () => old.wrong.length > 0, { timeout: 30_000 });
    const log = JSON.stringify(caddy.log.entries.filter((entry) => !/^admin/.test(entry.logger ?? '')));
    for (const key of [former, next]) assert.ok(!log.includes(key.slice('whsec_'.length)), 'not in the log');
  });
});

describe('answers', () => {
  let caddy;
  let sink;
  let well;
  before(async () => {
    [sink, well] = [await WebhookSink.start({ secret }), await WebhookSink.start({ secret })];
    caddy = await startCaddy([[sink.url], [well.url]]);
  });
  after(async () => {
    await caddy?.remove();
    for (const each of [sink, well]) await each?.remove();
  });

  const of = (receiver) => webhookOf(caddy, receiver);

  test('Retry-After is respected', { timeout: 60_000 }, async () => {
    sink.misbehave('asking for time');
    const from = sink.requests.entries.length;
    const session = await comeAndGo(caddy, 'somebody');
    const refused = await sink.requests.waitFor('a request', () => true, { from, timeout: 30_000 });
    sink.misbehave('well');
    await sink.has('left', leftOf(session));
    const next = sink.requests.entries[sink.requests.entries.indexOf(refused) + 1];
    assert.equal(next.id, refused.id, 'the same batch');
    assert.ok(next.at - refused.at >= sink.retryAfter * 1000 - 5, `after ${next.at - refused.at} ms`);
  });

  test('what is refused becomes dead letters, the rest is taken, and a retry brings them', { timeout: 120_000 }, async () => {
    sink.misbehave('failing');
    const clients = [];
    for (let i = 0; i < 5; i++) clients.push(await come(caddy, `guest ${i}`));
    for (const client of clients) await client.disconnect();
    const sessions = clients.map((client) => client.session);
    const [refused] = sessions.splice(2, 1);
    await well.has('everything', leftOf(...sessions, refused));
    sink.refused.add(refused);
    sink.misbehave('picky');
    await sink.has('the others', leftOf(...sessions));
    await eventually('two dead letters', async () => (await of(sink)).deadLetters.length === 2, { timeout: 60_000 });
    const { deadLetters } = await of(sink);
    const wanted = well.events.filter((event) => event.sessionId === refused);
    assert.deepEqual(deadLetters.map(({ id, type, status }) => [id, type, status]), wanted.map(({ id, type }) => [id, type, 422]));
    await caddy.log.waitFor('a warning', (entry) => entry.level === 'warn' && /dead letters/.test(entry.msg), { timeout: 30_000 });

    const later = await comeAndGo(caddy, 'later');
    await sink.has('what came later', leftOf(later));
    sink.misbehave('well');
    const answer = await caddy.api('/stomp/brokers/chat/webhooks/retry', { body: '' });
    assert.ok(answer.ok, answer.text);
    await sink.has('the dead letters', leftOf(refused));
    assert.deepEqual(plain(sink.events).toSorted(), plain(well.events.filter(({ id }) => sink.events.some((event) => event.id === id))).toSorted());
    assert.deepEqual((await of(sink)).deadLetters, []);
  });

  test('metrics', { timeout: 60_000 }, async () => {
    const session = await comeAndGo(caddy, 'counted');
    await Promise.all([sink, well].map((each) => each.has('left', leftOf(session))));
    for (const each of [sink, well]) {
      const labels = { broker: 'chat', announcer: each.url };
      const is = (name, value) => caddy.metricIs(`caddy_stomp_webhook_${name}`, labels, value, { timeout: 30_000 });
      await is('pending', 0);
      await is('delivered_total', each.events.length);
      await is('dead_total', each === sink ? 2 : 0);
      await is('dropped_total', 0);
      await is('oldest_seconds', 0);
      const scrape = await is('duration_seconds_count', each.requests.entries.length);
      const retried = scrape.sum('caddy_stomp_webhook_retried_total', labels);
      assert.equal(retried, each.requests.filter(({ behaviour }) => ['asking for time', 'failing'].includes(behaviour)).length);
    }
  });

  test('410: it is left alone until the next configuration, and the others are told', { timeout: 120_000 }, async () => {
    sink.misbehave('gone');
    const first = await comeAndGo(caddy, 'the first');
    const warning = await caddy.log.waitFor('a warning', (entry) => entry.level === 'warn' && /wants no events any more/.test(entry.msg), { timeout: 30_000 });
    assert.ok(warning);
    const requests = sink.requests.entries.length;
    const second = await comeAndGo(caddy, 'the second');
    await well.has('left', leftOf(first, second));
    assert.equal((await of(sink)).state, 'disabled');
    await observeFor(500);
    assert.equal(sink.requests.entries.length, requests, 'nothing more is sent');
    sink.misbehave('well');
    await caddy.reload(configuration([[sink.url], [well.url]], { version: 1 }));
    await sink.has('what has waited', leftOf(first, second));
  });
});
