// A session of webstomp-client with all that it can do, told once for node and for the page webstomp.html. Throws what is wrong.

const patience = 40_000;

let counter = 0;
const unique = (prefix) => `${prefix}/${Date.now().toString(36)}${Math.random().toString(36).slice(2)}/${++counter}`;

async function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${patience} ms: ${what}`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function equal(actual, expected, what) {
  const [got, wanted] = [actual, expected].map((value) => JSON.stringify(value) ?? 'undefined');
  if (got !== wanted) throw new Error(`${what}: ${got.slice(0, 500)} instead of ${wanted.slice(0, 500)}`);
}

/**
 * make: (options) => the client, with a socket that is opening
 * Resolves to the ids of the sessions, all of them over.
 */
export async function session(make, { version = '1.2', binary = false } = {}) {
  const sessions = [];

  async function connect({ heartbeat = false } = {}) {
    const client = make({ protocols: [`v${version.replace('.', '')}.stomp`], binary, debug: false, heartbeat });
    const receipts = new Map();
    client.onreceipt = ({ headers }) => receipts.get(headers['receipt-id'])?.();
    const failed = new Promise((_, reject) => (client.fail = reject));
    failed.catch(() => {});
    const hello = await within(
      'CONNECTED',
      new Promise((resolve, reject) => {
        client.connect({ 'client-data': '"webstomp"' }, resolve, (event) => {
          const error = new Error(event.command ? `ERROR ${JSON.stringify(event.headers)} ${event.body}` : `closed with ${event.code}`);
          client.fail(error);
          reject(error);
        });
      }),
    );
    equal(hello.headers.version, version, 'version');
    sessions.push(hello.headers.session);
    client.hello = hello.headers;
    client.orFail = (what, promise) => within(what, Promise.race([promise, failed]));
    client.receipt = (what, act) => {
      const id = `receipt-${++counter}`;
      const answered = new Promise((resolve) => receipts.set(id, resolve));
      act({ receipt: id });
      return client.orFail(`RECEIPT of ${what}`, answered);
    };
    return client;
  }

  async function subscribe(client, destination, headers = {}) {
    const [items, waiting] = [[], []];
    let subscription;
    await client.receipt('SUBSCRIBE', (more) => {
      const put = (message) => (waiting.length > 0 ? waiting.shift()(message) : items.push(message));
      subscription = client.subscribe(destination, put, { id: `sub-${++counter}`, ...headers, ...more });
    });
    const next = () => client.orFail(`MESSAGE of ${destination}`, items.length > 0 ? Promise.resolve(items.shift()) : new Promise((resolve) => waiting.push(resolve)));
    const bodies = async (count) => {
      const got = [];
      while (got.length < count) got.push((await next()).body);
      return got;
    };
    return { subscription, next, bodies };
  }

  const send = (client, destination, body, headers = {}) => client.receipt('SEND', (more) => client.send(destination, body, { ...headers, ...more }));

  async function end(client) {
    await within('disconnect', new Promise((resolve) => client.disconnect(resolve)));
    equal(client.connected, false, 'connected after disconnect');
  }

  const client = await connect();

  // text, larger than what it puts into one WebSocket message too
  const topic = unique('/topic');
  const inbox = await subscribe(client, topic);
  for (const body of ['', 'plain', 'ümläut ☕', 'lines\nand\r\nmore', 'x'.repeat(50_000)]) {
    await send(client, topic, body, { kind: 'test' });
    const message = await inbox.next();
    equal([message.body, message.headers.kind, message.headers.destination], [body, 'test', topic], 'message');
  }
  await client.receipt('UNSUBSCRIBE', (headers) => inbox.subscription.unsubscribe(headers));
  await send(client, topic, 'nobody hears');
  const again = await subscribe(client, topic);
  await send(client, topic, 'heard');
  equal(await again.bodies(1), ['heard'], 'after UNSUBSCRIBE and SUBSCRIBE');

  // transactions
  const transaction = client.begin();
  await send(client, topic, '1', { transaction: transaction.id });
  await send(client, topic, '2', { transaction: transaction.id });
  await send(client, topic, 'outside');
  transaction.commit();
  const aborted = client.begin('mine');
  await send(client, topic, 'dropped', { transaction: aborted.id });
  aborted.abort();
  await send(client, topic, 'end');
  equal(await again.bodies(4), ['outside', '1', '2', 'end'], 'messages around transactions');

  // acknowledgements, by message.ack(), and what is left when the consumer goes
  for (const [mode, acknowledged, left] of [
    ['client', [2], ['4', '5']],
    ['client-individual', [3, 1], ['1', '3', '5']],
    ['auto', [], []],
  ]) {
    if (mode === 'client-individual' && version === '1.0') continue;
    const queue = unique('/queue');
    for (const body of '12345') await send(client, queue, body);
    const consumer = await connect();
    const work = await subscribe(consumer, queue, { ack: mode });
    const messages = [];
    while (messages.length < 5) messages.push(await work.next());
    equal(messages.map(({ body }) => body), [...'12345'], `messages, ${mode}`);
    for (const i of acknowledged) await consumer.receipt('ACK', (headers) => messages[i].ack(headers));
    await end(consumer);
    const heir = await subscribe(client, queue);
    await send(client, queue, 'end');
    equal(await heir.bodies(left.length + 1), [...left, 'end'], `what was not acknowledged, ${mode}`);
  }

  if (version !== '1.0') {
    const queue = unique('/queue');
    const work = await subscribe(client, queue, { ack: 'client-individual' });
    await send(client, queue, 'again');
    const first = await work.next();
    await client.receipt('NACK', (headers) => first.nack(headers));
    const second = await work.next();
    equal([second.body, second.headers.redelivered], ['again', 'true'], 'after NACK');
    await client.receipt('ACK', (headers) => second.ack(headers));
  }

  // a reply without a SUBSCRIBE
  const questions = unique('/queue/questions');
  const asked = await subscribe(client, questions);
  const reply = new Promise((resolve) => (client.onreceive = resolve));
  client.send(questions, 'question', { 'reply-to': '/temp-queue/answers' });
  client.send((await asked.next()).headers['reply-to'], 'answer');
  const answer = await client.orFail('reply', reply);
  equal([answer.body, answer.headers.subscription], ['answer', '/temp-queue/answers'], 'reply');

  await end(client);
  return sessions;
}

/** One session that lives by heart-beats of 1 s; resolves to its id. */
export async function heartBeats(make, { beats = 3 } = {}) {
  const client = make({ protocols: ['v12.stomp'], debug: true, heartbeat: { outgoing: 1000, incoming: 1000 } });
  const count = { PING: 0, PONG: 0 };
  let enough;
  const both = new Promise((resolve) => (enough = resolve));
  client.debug = (text) => {
    const kind = /^(>>> PING|<<< PONG)$/.exec(text)?.[0].slice(4);
    if (kind) count[kind]++;
    if (count.PING >= beats && count.PONG >= beats) enough();
  };
  const lost = new Promise((_, reject) => (client.fail = () => reject(new Error(`lost: ${JSON.stringify(count)}`))));
  lost.catch(() => {});
  const hello = await within('CONNECTED', new Promise((resolve, reject) => client.connect({}, resolve, () => (client.fail(), reject(new Error('no CONNECTED'))))));
  equal(hello.headers['heart-beat'], '1000,1000', 'heart-beat');
  await within('heart-beats', Promise.race([both, lost]));
  equal(client.connected, true, 'connected');
  await new Promise((resolve) => client.disconnect(resolve));
  return hello.headers.session;
}
