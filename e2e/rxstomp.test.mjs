// @stomp/rx-stomp: observables instead of callbacks, and remote procedure calls by reply-to.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RxStomp, RxStompRPC, RxStompState } from '@stomp/rx-stomp';
import { filter, firstValueFrom, map, take, timeout, toArray } from 'rxjs';
import WebSocket from 'ws';
import { Caddy } from './lib/caddy.mjs';
import { Observer } from './lib/observer.mjs';
import { eventually, within } from './lib/wait.mjs';

globalThis.WebSocket ??= WebSocket;

const patience = 40_000;
const caddyfile = { sites: (port) => `http://localhost:${port} {\n\tstomp /stomp {\n\t\tuser {query.user}\n\t}\n}` };
const clients = new Set();

let caddy;
before(async () => {
  caddy = await Caddy.start(caddyfile);
});
after(async () => {
  for (const client of clients) await within('deactivate', 5000, client.deactivate({ force: true })).catch(() => {});
  await caddy?.remove();
});

const soon = (observable) => firstValueFrom(observable.pipe(timeout(patience)));
const bodies = (observable, count) => soon(observable.pipe(map(({ body }) => body), take(count), toArray()));

/** Not active yet. */
function create({ user = '', ...options } = {}) {
  const client = new RxStomp();
  client.configure({ brokerURL: caddy.url(`/stomp?user=${user}`), reconnectDelay: 0, heartbeatIncoming: 0, heartbeatOutgoing: 0, ...options });
  client.errors = [];
  client.stompErrors$.subscribe((frame) => client.errors.push(frame.headers.message));
  clients.add(client);
  return client;
}

async function connect(options) {
  const client = create(options);
  client.activate();
  await soon(client.connected$);
  return client;
}

async function end(...each) {
  for (const client of each) {
    await within('deactivate', patience, client.deactivate());
    clients.delete(client);
    assert.deepEqual(client.errors, []);
  }
}

/** Everything that was sent before has taken effect when it resolves. */
async function behind(client) {
  const receipt = `receipt-${Math.random()}`;
  const answered = client.asyncReceipt(receipt);
  client.publish({ destination: '/topic/behind', headers: { receipt } });
  return within('RECEIPT', patience, answered);
}

/** Subscribes and waits until that has taken effect; resolves to what comes, from then on. */
async function watch(client, destination, headers = {}) {
  const messages = [];
  const subscription = client.watch({ destination, subHeaders: headers }).subscribe((message) => messages.push(message));
  await behind(client);
  return { messages, subscription, have: (count) => eventually(`${count} messages of ${destination}`, () => messages.length >= count, { timeout: patience }) };
}

/** Answers what comes to destination, with answer's bodies. */
async function serve(client, destination, answer) {
  const subscription = client.watch(destination).subscribe(({ body, headers }) => {
    for (const each of [answer(body)].flat()) {
      client.publish({ destination: headers['reply-to'], body: each, headers: { 'correlation-id': headers['correlation-id'] } });
    }
  });
  await behind(client);
  return subscription;
}

test('watch and publish, also before there is a connection', { timeout: 90_000 }, async () => {
  const client = create();
  const got = bodies(client.watch('/topic/early'), 3);
  for (const body of ['1', '2', 'drei ☕']) client.publish({ destination: '/topic/early', body });
  assert.equal(client.connected(), false);
  client.activate();
  assert.deepEqual(await got, ['1', '2', 'drei ☕']);
  assert.equal(client.connected(), true);
  const binary = soon(client.watch('/topic/binary'));
  client.publish({ destination: '/topic/binary', binaryBody: Uint8Array.of(0, 255, 0) });
  assert.deepEqual([...(await binary).binaryBody], [0, 255, 0]);
  const headers = await soon(client.serverHeaders$);
  assert.equal(headers.version, '1.2');
  assert.ok(headers.session);
  await end(client);
});

test('unsubscribing unsubscribes', { timeout: 90_000 }, async () => {
  const client = await connect();
  const unhandled = [];
  client.unhandledMessage$.subscribe((message) => unhandled.push(message.body));
  const [goes, stays] = [await watch(client, '/topic/both'), await watch(client, '/topic/both')];
  client.publish({ destination: '/topic/both', body: '1' });
  await behind(client);
  goes.subscription.unsubscribe();
  client.publish({ destination: '/topic/both', body: '2' });
  await stays.have(2);
  await behind(client);
  assert.deepEqual([goes.messages.length, stays.messages.length, unhandled], [1, 2, []]);
  await end(client);
});

test('acknowledgements, NACK and transactions', { timeout: 90_000 }, async () => {
  const [client, heir] = [await connect(), await connect()];
  const work = await watch(client, '/queue/work', { ack: 'client-individual' });
  const transaction = client.stompClient.begin();
  for (const body of ['1', '2', '3']) client.publish({ destination: '/queue/work', body, headers: { transaction: transaction.id } });
  await behind(client);
  assert.equal(work.messages.length, 0, 'before COMMIT');
  transaction.commit();
  await work.have(3);
  work.messages[1].nack();
  await work.have(4);
  assert.deepEqual([work.messages[3].body, work.messages[3].headers.redelivered], ['2', 'true']);
  work.messages[0].ack();
  work.messages[3].ack();
  await behind(client);
  await end(client);
  const left = await watch(heir, '/queue/work');
  heir.publish({ destination: '/queue/work', body: 'end' });
  await left.have(2);
  assert.deepEqual(left.messages.map(({ body }) => body), ['3', 'end']);
  await end(heir);
});

test('user destinations and wildcards', { timeout: 90_000 }, async () => {
  const [mina, otto] = [await connect({ user: 'mina' }), await connect({ user: 'otto' })];
  const [own, other] = [await watch(mina, '/user/queue/mail'), await watch(otto, '/user/queue/mail')];
  const all = await watch(otto, '/topic/news/**');
  otto.publish({ destination: '/user/mina/queue/mail', body: 'hello' });
  otto.publish({ destination: '/topic/news/of/today', body: 'news' });
  await own.have(1);
  await all.have(1);
  assert.deepEqual([own.messages[0].body, other.messages.length, all.messages[0].body], ['hello', 0, 'news']);
  await end(mina, otto);
});

test('RPC: each question gets its answer, many at a time', { timeout: 90_000 }, async () => {
  const [server, one, two] = [await connect(), await connect(), await connect()];
  const serving = await serve(server, '/queue/square', (body) => String(body ** 2));
  const unhandled = [one, two].map((client) => {
    const seen = [];
    client.unhandledMessage$.subscribe((message) => seen.push(message));
    return seen;
  });
  const calls = [one, two].flatMap((client, i) => {
    const rpc = new RxStompRPC(client);
    return Array.from({ length: 100 }, async (_, n) => {
      const reply = await soon(rpc.rpc({ destination: '/queue/square', body: String(n + i * 1000) }));
      assert.equal(reply.body, String((n + i * 1000) ** 2));
      assert.equal(reply.headers.subscription, '/temp-queue/rpc-replies');
    });
  });
  await Promise.all(calls);
  assert.deepEqual(unhandled.map(({ length }) => length), [100, 100], 'nobody sees the answers of others');
  serving.unsubscribe();
  await end(server, one, two);
});

test('RPC: a question that was asked before anybody answers, and a queue of another name', { timeout: 90_000 }, async () => {
  const [server, client] = [await connect(), await connect()];
  const rpc = new RxStompRPC(client, { replyQueueName: '/temp-queue/of my own' });
  const answer = soon(rpc.rpc({ destination: '/queue/later', body: 'hello', headers: { 'correlation-id': 'mine' } }));
  await behind(client);
  await serve(server, '/queue/later', (body) => body.toUpperCase());
  const { body, headers } = await answer;
  assert.deepEqual([body, headers['correlation-id'], headers.subscription], ['HELLO', 'mine', '/temp-queue/of my own']);
  await end(server, client);
});

test('RPC: a stream of answers', { timeout: 90_000 }, async () => {
  const [server, client] = [await connect(), await connect()];
  await serve(server, '/queue/count', (body) => Array.from({ length: Number(body) }, (_, i) => String(i)));
  const rpc = new RxStompRPC(client);
  const [some, more] = await Promise.all([3, 50].map((n) => bodies(rpc.stream({ destination: '/queue/count', body: String(n) }), n)));
  assert.deepEqual([some, more], [3, 50].map((n) => Array.from({ length: n }, (_, i) => String(i))));
  await end(server, client);
});

test('RPC: answers to a user destination that was subscribed to', { timeout: 90_000 }, async () => {
  const [server, client] = [await connect(), await connect({ user: 'asker' })];
  const subscribed = '/user/queue/answers';
  const rpc = new RxStompRPC(client, {
    replyQueueName: '/user/asker/queue/answers',
    setupReplyQueue: (_name, rxStomp) => rxStomp.watch(subscribed),
  });
  await serve(server, '/queue/ask', (body) => `${body}!`);
  const reply = await soon(rpc.rpc({ destination: '/queue/ask', body: 'hello' }));
  assert.deepEqual([reply.body, reply.headers.destination], ['hello!', subscribed]);
  await end(server, client);
});

test('the server starts anew: subscriptions and RPC work on', { timeout: 120_000 }, async () => {
  const options = { reconnectDelay: 100 };
  const [server, client] = [await connect(options), await connect(options)];
  const rpc = new RxStompRPC(client);
  await serve(server, '/queue/echo', (body) => body);
  const news = await watch(client, '/topic/news');
  assert.equal((await soon(rpc.rpc({ destination: '/queue/echo', body: 'before' }))).body, 'before');
  const states = [];
  client.connectionState$.subscribe((state) => states.push(RxStompState[state]));
  const lost = [server, client].map((each) => soon(each.connectionState$.pipe(filter((state) => state !== RxStompState.OPEN))));
  await caddy.end();
  await Promise.all(lost);
  for (const each of [server, client]) assert.deepEqual(each.errors.splice(0), ['server shutdown']);
  client.publish({ destination: '/topic/news', body: 'said while nobody listened' }); // held until there is a connection
  caddy.run(caddy.caddyfile(caddyfile));
  await caddy.serving();
  await Promise.all([server, client].map((each) => soon(each.connected$)));
  await news.have(1);
  assert.equal(news.messages[0].body, 'said while nobody listened');
  assert.equal((await soon(rpc.rpc({ destination: '/queue/echo', body: 'after' }))).body, 'after');
  assert.deepEqual([states[0], states.at(-1)], ['OPEN', 'OPEN']);
  await end(server, client);
});

test('deactivate is a DISCONNECT', { timeout: 90_000 }, async () => {
  const observer = await Observer.watch(caddy.url('/stomp'));
  const client = await connect({ connectHeaders: { 'client-data': '"rx"' } });
  const { session } = await soon(client.serverHeaders$);
  await end(client);
  assert.equal((await observer.waitFor('left', session, { timeout: 20_000 })).reason, 'disconnect');
  assert.equal(client.active, false);
  await observer.end();
});

test('nothing of this was an accident to the server', () => {
  assert.deepEqual(caddy.complaints(), []);
});
