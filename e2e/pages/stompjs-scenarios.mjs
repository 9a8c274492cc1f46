// What @stomp/stompjs can do, told once: the same scenarios run in node and in the page stompjs.html. Each throws what is wrong.

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

function ok(value, what) {
  if (!value) throw new Error(what);
}

/** What comes, one after the other. */
class Inbox {
  #items = [];
  #waiting = [];

  constructor(what, client) {
    this.what = what;
    this.client = client;
  }

  push(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  }

  next() {
    const arrived = this.#items.length > 0 ? Promise.resolve(this.#items.shift()) : new Promise((resolve) => this.#waiting.push(resolve));
    return within(this.what, Promise.race([arrived, this.client.failed]));
  }

  /** The bodies of the next messages. */
  async bodies(count) {
    const bodies = [];
    while (bodies.length < count) bodies.push((await this.next()).body);
    return bodies;
  }
}

/** The client, not active yet; what goes over its WebSockets is noted by its type. */
function create({ StompJs, WebSocket, url, options = {} }, { path = '/stomp', ...own } = {}) {
  const { versions, ...rest } = { ...options, ...own };
  const wire = { sent: [], received: [], closes: [] };
  const client = new StompJs.Client({ reconnectDelay: 0, heartbeatIncoming: 0, heartbeatOutgoing: 0, ...rest });
  if (versions) client.stompVersions = new StompJs.Versions(versions);
  client.webSocketFactory = () => {
    const socket = new WebSocket(url + path, client.stompVersions.protocolVersions());
    const send = socket.send;
    socket.send = (data) => {
      wire.sent.push({ type: typeof data, length: data.length ?? data.byteLength, data });
      send.call(socket, data);
    };
    socket.addEventListener('message', ({ data }) => wire.received.push({ type: typeof data, data }));
    socket.addEventListener('close', ({ code, wasClean }) => wire.closes.push({ code, wasClean }));
    return socket;
  };
  client.wire = wire;
  client.beats = 0;
  client.onHeartbeatReceived = () => client.beats++;
  return client;
}

/** Activates it; resolves to the headers of CONNECTED. */
async function activate(client) {
  client.failed = new Promise((_, reject) => {
    client.onStompError = (frame) => reject(new Error(`ERROR ${JSON.stringify(frame.headers)} ${frame.body}`));
  });
  client.failed.catch(() => {});
  const connected = new Promise((resolve) => (client.onConnect = resolve));
  client.activate();
  const { headers } = await within('CONNECTED', Promise.race([connected, client.failed]));
  client.session = headers.session;
  return headers;
}

async function connect(env, options) {
  const client = create(env, options);
  client.hello = await activate(client);
  return client;
}

/** Lets act send a frame with a receipt header; resolves to the RECEIPT. */
function receipt(client, what, act) {
  const id = `receipt-${++counter}`;
  const answered = new Promise((resolve) => client.watchForReceipt(id, resolve));
  act({ receipt: id });
  return within(`RECEIPT of ${what}`, Promise.race([answered, client.failed]));
}

async function subscribe(client, destination, headers = {}) {
  const inbox = new Inbox(`MESSAGE of ${destination}`, client);
  await receipt(client, `SUBSCRIBE ${destination}`, (more) => {
    inbox.subscription = client.subscribe(destination, (message) => inbox.push(message), { ...headers, ...more });
  });
  return inbox;
}

const send = (client, destination, body, headers = {}) => receipt(client, `SEND ${destination}`, (more) => client.publish({ destination, body, headers: { ...headers, ...more } }));

async function sendAll(client, destination, bodies) {
  for (const body of bodies) client.publish({ destination, body });
  await send(client, unique('/topic/behind'), '');
}

async function end(...clients) {
  for (const client of clients) {
    const closed = new Promise((resolve) => (client.onDisconnect = resolve));
    client.deactivate();
    await within('RECEIPT of DISCONNECT', Promise.race([closed, client.failed]));
  }
}

const hasMode = (env, mode) => !(env.options?.versions?.[0] === '1.0' && mode === 'client-individual');

/** Those that run with every variant of options. */
export const scenarios = {
  async 'text and binary bodies'(env) {
    const client = await connect(env);
    const destination = unique('/topic/bodies');
    const inbox = await subscribe(client, destination);
    const from = client.wire.received.length;
    const texts = ['', 'plain', 'ümläut ☕ 😀', 'lines\nand\r\nmore\n\n', 'a \0 NUL and \0', '\n'.repeat(100), 'x'.repeat(60_000)];
    for (const text of texts) {
      client.publish({ destination, body: text, headers: { 'content-type': 'text/plain' } });
      const message = await inbox.next();
      equal(message.body, text, 'body');
      equal(message.headers['content-type'], 'text/plain', 'content-type');
      equal(message.headers['content-length'], String(new TextEncoder().encode(text).length), 'content-length');
      equal(message.headers.destination, destination, 'destination');
      equal(message.headers.subscription, inbox.subscription.id, 'subscription');
      ok(message.headers['message-id'], 'message-id is missing');
    }
    equal([...new Set(client.wire.received.slice(from).map(({ type }) => type))], ['string'], 'types of the WebSocket messages with text');
    const before = client.wire.received.length;
    for (const bytes of [[0xff], [0, 1, 2, 0xfe, 0, 0x0a], Array.from({ length: 256 }, (_, i) => i), Array.from({ length: 50_000 }, (_, i) => (i * 7) % 256)]) {
      client.publish({ destination, binaryBody: Uint8Array.from(bytes), headers: { 'content-type': 'application/octet-stream' } });
      const message = await inbox.next();
      equal([...message.binaryBody], bytes, 'binary body');
      equal(message.headers['content-length'], String(bytes.length), 'content-length');
    }
    equal([...new Set(client.wire.received.slice(before).map(({ type }) => type))], ['object'], 'types of the WebSocket messages with bytes');
    if (env.options?.forceBinaryWSFrames) equal(client.wire.sent.filter(({ type }) => type === 'string').length, 0, 'WebSocket messages of text sent');
    await end(client);
  },

  async 'headers'(env) {
    const client = await connect(env);
    const destination = unique('/topic/headers');
    const inbox = await subscribe(client, destination);
    const version = client.connectedVersion;
    // stompjs trims values, does not escape names, escapes values in 1.2 only, and takes an escaped backslash before n for a line end
    const values = { plain: 'value', empty: '', 'ümläut': '☕' };
    if (version === '1.2') Object.assign(values, { colons: 'a:b::', backslash: 'one \\ two \\\\', lines: 'one\ntwo', cr: 'one\r\ntwo' });
    await send(client, destination, 'x', values);
    const { headers } = await inbox.next();
    for (const [name, value] of Object.entries(values)) equal(headers[name], value, `header ${name}`);
    equal([headers.receipt, headers.transaction], [undefined, undefined], 'headers of the sender alone');
    await end(client);
  },

  async 'a mebibyte there and back'(env) {
    const client = await connect(env, { path: '/large' });
    const destination = unique('/topic/large');
    const inbox = await subscribe(client, destination);
    const text = 'ä0123456789abcde'.repeat(65_536).slice(0, 1_000_000);
    const from = client.wire.sent.length;
    client.publish({ destination, body: text });
    ok((await inbox.next()).body === text, 'the text is not the same');
    const { splitLargeFrames, maxWebSocketChunkSize, forceBinaryWSFrames } = client;
    const messages = client.wire.sent.length - from;
    if (splitLargeFrames && !forceBinaryWSFrames) ok(messages > 1_000_000 / maxWebSocketChunkSize, `split into ${messages} messages only`);
    else equal(messages, 1, 'WebSocket messages sent');
    const bytes = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i ^ (i >> 8)) & 0xff);
    client.publish({ destination, binaryBody: bytes });
    const got = (await inbox.next()).binaryBody;
    ok(got.length === bytes.length && got.every((byte, i) => byte === bytes[i]), 'the bytes are not the same');
    await end(client);
  },

  async 'receipts'(env) {
    const client = await connect(env);
    const destination = unique('/queue/receipts');
    equal((await send(client, destination, 'held')).command, 'RECEIPT', 'answer of SEND');
    const inbox = await subscribe(client, destination, { ack: 'client' });
    const message = await inbox.next();
    await receipt(client, 'ACK', (headers) => message.ack(headers));
    await receipt(client, 'UNSUBSCRIBE', (headers) => inbox.subscription.unsubscribe(headers));
    const answers = [];
    const all = Promise.all(
      Array.from({ length: 50 }, (_, i) => send(client, unique('/topic/many'), String(i)).then(({ headers }) => answers.push(headers['receipt-id']))),
    );
    await all;
    equal(new Set(answers).size, 50, 'different receipts');
    equal([...answers].sort((a, b) => a.split('-')[1] - b.split('-')[1]), answers, 'receipts in the order of the frames');
    await end(client);
  },

  async 'transactions: commit'(env) {
    const client = await connect(env);
    const destination = unique('/topic/commit');
    const inbox = await subscribe(client, destination);
    const one = client.begin();
    const other = client.begin('tx-mine');
    await send(client, destination, '1', { transaction: one.id });
    await send(client, destination, 'other', { transaction: other.id });
    await send(client, destination, '2', { transaction: one.id });
    await send(client, destination, 'outside');
    one.commit();
    await send(client, destination, 'between');
    other.commit();
    await send(client, destination, 'end');
    equal(await inbox.bodies(6), ['outside', '1', '2', 'between', 'other', 'end'], 'messages');
    await end(client);
  },

  async 'transactions: abort'(env) {
    const client = await connect(env);
    const destination = unique('/topic/abort');
    const inbox = await subscribe(client, destination);
    const transaction = client.begin();
    await send(client, destination, 'dropped', { transaction: transaction.id });
    transaction.abort();
    const again = client.begin(transaction.id); // the name is free again
    await send(client, destination, 'kept', { transaction: again.id });
    again.commit();
    await send(client, destination, 'end');
    equal(await inbox.bodies(2), ['kept', 'end'], 'messages');
    await end(client);
  },

  async 'transactions: acknowledgements'(env) {
    const [client, heir] = [await connect(env), await connect(env)];
    const destination = unique('/queue/tx');
    await sendAll(client, destination, ['1', '2']);
    const inbox = await subscribe(client, destination, { ack: 'client' });
    const [first, second] = [await inbox.next(), await inbox.next()];
    const committed = client.begin();
    await receipt(client, 'ACK', (headers) => first.ack({ ...headers, transaction: committed.id }));
    const aborted = client.begin();
    await receipt(client, 'ACK', (headers) => second.ack({ ...headers, transaction: aborted.id }));
    committed.commit();
    aborted.abort();
    await end(client);
    const left = await subscribe(heir, destination);
    await send(heir, destination, 'end');
    equal(await left.bodies(2), ['2', 'end'], 'messages that were not acknowledged');
    await end(heir);
  },

  async 'acknowledgement: auto'(env) {
    const [client, heir] = [await connect(env), await connect(env)];
    const destination = unique('/queue/auto');
    await sendAll(client, destination, ['1', '2', '3']);
    const inbox = await subscribe(client, destination);
    equal(await inbox.bodies(3), ['1', '2', '3'], 'messages');
    await end(client);
    const left = await subscribe(heir, destination);
    await send(heir, destination, 'end');
    equal(await left.bodies(1), ['end'], 'messages for the next');
    await end(heir);
  },

  async 'acknowledgement: client, cumulative'(env) {
    const [client, heir] = [await connect(env), await connect(env)];
    const destination = unique('/queue/client');
    await sendAll(client, destination, ['1', '2', '3', '4', '5']);
    const inbox = await subscribe(client, destination, { ack: 'client' });
    const messages = [];
    for (let i = 0; i < 5; i++) messages.push(await inbox.next());
    equal(messages.map(({ headers }) => 'ack' in headers), Array(5).fill(client.connectedVersion === '1.2'), 'ack headers');
    await receipt(client, 'ACK', (headers) => messages[2].ack(headers));
    await end(client);
    const left = await subscribe(heir, destination);
    await send(heir, destination, 'end');
    for (const body of ['4', '5', 'end']) {
      const message = await left.next();
      equal([message.body, message.headers.redelivered], [body, body === 'end' ? undefined : 'true'], 'message for the next');
    }
    await end(heir);
  },

  async 'acknowledgement: client-individual'(env) {
    if (!hasMode(env, 'client-individual')) return;
    const [client, heir] = [await connect(env), await connect(env)];
    const destination = unique('/queue/individual');
    await sendAll(client, destination, ['1', '2', '3', '4', '5']);
    const inbox = await subscribe(client, destination, { ack: 'client-individual' });
    const messages = [];
    for (let i = 0; i < 5; i++) messages.push(await inbox.next());
    for (const i of [3, 1]) await receipt(client, 'ACK', (headers) => messages[i].ack(headers));
    await end(client);
    const left = await subscribe(heir, destination);
    await send(heir, destination, 'end');
    equal(await left.bodies(4), ['1', '3', '5', 'end'], 'messages for the next');
    await end(heir);
  },

  async 'NACK: redelivered'(env) {
    if (!hasMode(env, 'client-individual')) return;
    const client = await connect(env);
    const destination = unique('/queue/nack');
    const inbox = await subscribe(client, destination, { ack: 'client-individual' });
    await send(client, destination, 'again', { kind: 'question' });
    const first = await inbox.next();
    equal(first.headers.redelivered, undefined, 'redelivered the first time');
    await receipt(client, 'NACK', (headers) => first.nack(headers));
    const second = await inbox.next();
    equal([second.body, second.headers.redelivered, second.headers.kind], ['again', 'true', 'question'], 'the second time');
    ok(second.headers['message-id'] !== first.headers['message-id'], 'the message-id is the same');
    await receipt(client, 'ACK', (headers) => second.ack(headers));
    await send(client, destination, 'end');
    equal(await inbox.bodies(1), ['end'], 'messages after');
    await end(client);
  },

  async 'a queue has one consumer for each message'(env) {
    const clients = [await connect(env), await connect(env)];
    const destination = unique('/queue/shared');
    const got = [[], []];
    let arrived;
    const all = new Promise((resolve) => (arrived = resolve));
    for (const [i, client] of clients.entries()) {
      await receipt(client, 'SUBSCRIBE', (headers) =>
        client.subscribe(destination, ({ body }) => got[i].push(Number(body)) && got[0].length + got[1].length === 100 && arrived(), headers),
      );
    }
    await sendAll(clients[0], destination, Array.from({ length: 100 }, (_, i) => String(i)));
    await within('a hundred messages', Promise.race([all, ...clients.map(({ failed }) => failed)]));
    equal(got.map(({ length }) => length), [50, 50], 'messages of each');
    for (const numbers of got) equal([...numbers].sort((a, b) => a - b), numbers, 'order');
    equal(new Set(got.flat()).size, 100, 'different messages');
    await end(...clients);
  },

  async 'wildcards'(env) {
    const client = await connect(env);
    const base = unique('/topic/wild');
    const [one, rest] = [await subscribe(client, `${base}/*/c`), await subscribe(client, `${base}/a/**`)];
    for (const tail of ['/a/c', '/b/c', '/a', '/a/b/c', '/b/b/c', '/a/c/d']) await send(client, base + tail, tail);
    for (const tail of ['/end/c', '/a/end']) await send(client, base + tail, 'end');
    equal(await one.bodies(3), ['/a/c', '/b/c', 'end'], 'messages of *');
    equal(await rest.bodies(5), ['/a/c', '/a', '/a/b/c', '/a/c/d', 'end'], 'messages of **');
    await send(client, `${base}/x/c`, 'x');
    equal((await one.next()).headers.destination, `${base}/x/c`, 'destination of a message of *');
    await end(client);
  },

  async 'user destinations'(env) {
    const [mina, otto] = [unique('mina'), unique('otto')].map((name) => name.replace(/\W/g, '-'));
    const clients = [];
    for (const user of [mina, mina, otto]) clients.push(await connect(env, { path: `/stomp?user=${user}` }));
    equal(clients.map(({ hello }) => hello['user-name']), [mina, mina, otto], 'user-name');
    const inboxes = [];
    for (const client of clients) inboxes.push(await subscribe(client, '/user/queue/mail'));
    const [one, two, three] = inboxes;
    const sender = await connect(env);
    await send(sender, `/user/${mina}/queue/mail`, 'to both');
    await send(sender, `/user/${mina};session=${clients[1].session}/queue/mail`, 'to one');
    await send(sender, `/user/${otto}/queue/mail`, 'to otto');
    await send(sender, `/user/${mina}/queue/mail`, 'end');
    equal(await one.bodies(2), ['to both', 'end'], 'messages of the first session');
    equal(await two.bodies(3), ['to both', 'to one', 'end'], 'messages of the second session');
    const { body, headers } = await three.next();
    equal([body, headers.destination], ['to otto', '/user/queue/mail'], 'message of the other user');
    await end(sender, ...clients);
  },

  async 'replies to a temp-queue'(env) {
    const [client, server] = [await connect(env), await connect(env)];
    const destination = unique('/queue/questions');
    const questions = await subscribe(server, destination);
    const replies = new Inbox('reply', client);
    client.onUnhandledMessage = (message) => replies.push(message);
    for (const n of ['1', '2']) {
      client.publish({ destination, body: n, headers: { 'reply-to': '/temp-queue/answers', 'correlation-id': n } });
      const { headers } = await questions.next();
      ok(!headers['reply-to'].startsWith('/temp-queue/'), 'the name of the temp-queue tells nothing to others');
      server.publish({ destination: headers['reply-to'], body: `answer ${n}`, headers: { 'correlation-id': headers['correlation-id'] } });
      const reply = await replies.next();
      equal([reply.body, reply.headers.subscription, reply.headers['correlation-id']], [`answer ${n}`, '/temp-queue/answers', n], 'reply');
    }
    await end(client, server);
  },

  async 'UNSUBSCRIBE takes effect'(env) {
    const client = await connect(env);
    const destination = unique('/topic/unsubscribe');
    const [goes, stays] = [await subscribe(client, destination), await subscribe(client, destination)];
    let unhandled = 0;
    client.onUnhandledMessage = () => unhandled++;
    await send(client, destination, 'both');
    equal([...(await goes.bodies(1)), ...(await stays.bodies(1))], ['both', 'both'], 'messages');
    await receipt(client, 'UNSUBSCRIBE', (headers) => goes.subscription.unsubscribe(headers));
    await send(client, destination, 'one');
    equal(await stays.bodies(1), ['one'], 'messages after');
    equal(unhandled, 0, 'messages of a subscription that is gone');
    await end(client);
  },

  async 'an ERROR names the frame, then the connection is closed'(env) {
    const client = await connect(env);
    const failed = new Promise((resolve) => (client.onStompError = resolve));
    const closed = new Promise((resolve) => (client.onWebSocketClose = resolve));
    client.publish({ destination: '/nowhere', headers: { receipt: 'the one' } });
    const { headers } = await within('ERROR', failed);
    equal(headers['receipt-id'], 'the one', 'receipt-id');
    ok(headers.message, 'message is missing');
    const { wasClean, code } = await within('close', closed);
    ok(wasClean && code !== 1000, `closed with ${code}, ${wasClean ? '' : 'not '}cleanly`);
    await within('deactivate', client.deactivate());
  },
};

const beatsIn = ({ wire }) => wire.received.filter(({ data }) => data === '\n').length;
const beatsOut = ({ wire }) => wire.sent.filter(({ data }) => data === '\n').length;

async function until(what, probe) {
  const end = Date.now() + patience;
  while (!probe()) {
    if (Date.now() > end) throw new Error(`not within ${patience} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

let kept;

/** Those that run once in each place. */
export const special = {
  async 'heart-beats of 0, 1 s and 10 s'(env) {
    const settings = [
      // path, incoming, outgoing, whether each is expected
      ['/brisk', 1000, 1000, true, true],
      ['/brisk', 1000, 0, true, false],
      ['/brisk', 0, 1000, false, true],
      ['/brisk', 0, 0, false, false],
      ['/stomp', 10_000, 10_000, true, true],
      ['/stomp', 1000, 10_000, true, true], // the server's offer is the larger one
    ];
    const clients = [];
    for (const [path, heartbeatIncoming, heartbeatOutgoing] of settings) clients.push(await connect(env, { path, heartbeatIncoming, heartbeatOutgoing }));
    let lost = 0;
    for (const client of clients) {
      client.onHeartbeatLost = () => lost++;
      client.onWebSocketClose = () => lost++;
    }
    equal(clients[0].hello['heart-beat'], '1000,1000', 'offer of a server that is configured so');
    equal(clients[4].hello['heart-beat'], '10000,10000', 'offer of a server by default');
    for (const [i, [path, , , incoming, outgoing]] of settings.entries()) {
      const count = path === '/brisk' ? 4 : 1;
      if (incoming) await until(`heart-beats of the server, ${settings[i]}`, () => clients[i].beats >= count);
      if (outgoing) await until(`heart-beats of the client, ${settings[i]}`, () => beatsOut(clients[i]) >= count);
    }
    for (const [i, [, , , incoming, outgoing]] of settings.entries()) {
      if (!incoming) equal(beatsIn(clients[i]), 0, `heart-beats of the server, ${settings[i]}`);
      if (!outgoing) equal(beatsOut(clients[i]), 0, `heart-beats of the client, ${settings[i]}`);
      equal(clients[i].connected, true, `connected, ${settings[i]}`);
    }
    equal(lost, 0, 'connections lost');
    for (const client of clients) client.onWebSocketClose = () => {};
    await end(...clients);
  },

  async 'start of a client that comes back'(env) {
    const client = create(env, { reconnectDelay: 100, connectionTimeout: 5000 });
    kept = { client, sessions: [], destination: unique('/topic/back') };
    await activate(client);
    client.failed = new Promise(() => {});
    kept.sessions.push(client.session);
    const again = (inbox) => client.subscribe(kept.destination, (message) => inbox.push(message));
    client.onConnect = ({ headers }) => {
      kept.sessions.push(headers.session);
      kept.inbox = new Inbox('message after coming back', client);
      again(kept.inbox);
      client.publish({ destination: kept.destination, body: `hello from ${headers.session}` });
    };
    return client.session;
  },

  /** One more session than there were, and it works; resolves to their ids. */
  async 'it came back'(env, { sessions }) {
    await until(`session ${sessions}`, () => kept.sessions.length >= sessions);
    const id = kept.sessions.at(-1);
    equal(await kept.inbox.bodies(1), [`hello from ${id}`], 'messages');
    return [...kept.sessions];
  },

  async 'end of the client that came back'() {
    const { sessions } = kept;
    const count = sessions.length;
    await end(kept.client);
    equal([kept.client.active, kept.client.connected, sessions.length], [false, false, count], 'after deactivate');
  },

  async 'deactivate, politely'(env) {
    const client = await connect(env, { reconnectDelay: 1, connectHeaders: { 'client-data': '"polite"' } });
    let reconnects = 0;
    client.onConnect = () => reconnects++;
    const disconnected = new Promise((resolve) => (client.onDisconnect = resolve));
    await within('deactivate', client.deactivate());
    const { command, headers } = await within('RECEIPT of DISCONNECT', disconnected);
    equal(command, 'RECEIPT', 'answer of DISCONNECT');
    ok(headers['receipt-id'], 'receipt-id is missing');
    await until('close of the WebSocket', () => client.wire.closes.length === 1);
    equal(client.wire.closes, [{ code: client.wire.closes[0].code, wasClean: true }], 'closes');
    equal([client.active, client.connected, reconnects], [false, false, 0], 'active, connected, reconnects');
    const first = client.session;
    client.onConnect = () => {};
    const second = (await activate(client)).session; // and on again
    ok(second && second !== first, `session ${second} after ${first}`);
    await end(client);
    return first;
  },

  async 'deactivate, by force'(env) {
    const client = await connect(env, { reconnectDelay: 1, connectHeaders: { 'client-data': '"forced"' } });
    await within('deactivate', client.deactivate({ force: true }));
    equal(client.active, false, 'active');
    return client.session;
  },

  async 'end of a DISCONNECT is a close with 1000'(env) {
    const client = await connect(env);
    client._stompHandler._closeWebsocket = () => {}; // stompjs closes too; here the server has its turn
    const closed = new Promise((resolve) => (client.onWebSocketClose = resolve));
    client.deactivate();
    const { code, wasClean } = await within('close', closed);
    equal([code, wasClean], [1000, true], 'close');
  },
};

/** Runs one of them in this place. */
export const run = (env, name, ...args) => (scenarios[name] ?? special[name])(env, ...args);
