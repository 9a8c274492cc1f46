// Receives the webhooks of the stomp directive, and knows from them alone who is present. Node 20, no dependencies.
//
//   WEBHOOK_SECRET=whsec_... node receiver.mjs
//
// WEBHOOK_SECRET  secrets, separated by spaces: while one is being replaced, the old and the new
// JOURNAL         the file that stands for your database; default: presence.journal
// PORT            of 127.0.0.1; default: 9000

import { createHmac, timingSafeEqual } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

/** Above the largest batch that is sent: what is refused as too large becomes a dead letter. */
const bodyLimit = 4 * 1024 * 1024;
/** Seconds that a request may be old, or the clocks apart. */
const tolerance = 5 * 60;
/** How many sessions are remembered that have left, so that nothing late brings them back. */
const remembered = 100_000;

/** The keys in secrets, whsec_ and base64 each, separated by spaces. */
export function keysOf(secrets) {
  const keys = secrets.split(' ').filter(Boolean).map((secret) => Buffer.from(secret.replace(/^whsec_/, ''), 'base64'));
  if (keys.length === 0 || keys.some((key) => key.length < 16)) throw new Error('a secret is whsec_ and the base64 of 16 bytes or more');
  return keys;
}

/** Throws unless the body (a Buffer) was signed with one of the keys, and lately (https://www.standardwebhooks.com). */
export function verify(headers, body, keys, now = Date.now() / 1000) {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headers;
  if (!id || !signatures || !/^\d+$/.test(timestamp)) throw new Error('not signed');
  if (Math.abs(now - Number(timestamp)) > tolerance) throw new Error('signed too long ago, or in the future');
  const given = signatures.split(' ').filter((signature) => signature.startsWith('v1,'));
  for (const key of keys) {
    const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
    for (const signature of given) {
      const mac = Buffer.from(signature.slice('v1,'.length), 'base64');
      if (mac.length === expected.length && timingSafeEqual(mac, expected)) return;
    }
  }
  throw new Error('signed with another secret');
}

/**
 * Who is present. The file is where your application has its database: take() is one transaction there, which changes
 * the rows and is committed before the request is answered with 2xx.
 */
export class Presence {
  #there = new Map(); // key of session and room -> the event that was applied last
  #left = new Map(); // of who has left -> the position of the event that said so
  #streams = new Map(); // broker -> its streams, the last one is counted now
  #file;
  #size = 0;

  constructor(path) {
    const journal = existsSync(path) ? readFileSync(path, 'utf8') : '';
    // what comes after the last line break was being written when the process was killed: it is sent again
    for (const line of journal.slice(0, journal.lastIndexOf('\n') + 1).split('\n')) if (line) this.#load(JSON.parse(line));
    const state = { there: [...this.#there], left: [...this.#left], streams: [...this.#streams] };
    this.#file = openSync(`${path}.new`, 'w');
    this.#append(state);
    renameSync(`${path}.new`, path);
  }

  #load(line) {
    if (Array.isArray(line)) return line.forEach((event) => this.#apply(event));
    this.#there = new Map(line.there);
    this.#left = new Map(line.left);
    this.#streams = new Map(line.streams);
  }

  /** Returns when the line is on the disk; if that fails the file is as before. */
  #append(value) {
    try {
      const line = Buffer.from(JSON.stringify(value) + '\n');
      for (let at = 0; at < line.length; ) at += writeSync(this.#file, line, at, line.length - at, this.#size + at);
      fsyncSync(this.#file);
      this.#size += line.length;
    } catch (error) {
      ftruncateSync(this.#file, this.#size);
      throw error;
    }
  }

  /** Takes a batch. An error means that nothing was taken: answer 500, and it is sent again. */
  take(events) {
    const news = events.filter((event) => this.#isNew(event));
    if (news.length === 0) return;
    this.#append(news);
    for (const event of news) this.#apply(event);
  }

  /** What was applied already, or is older than what was, changes nothing: a repetition, or a dead letter sent late. */
  #isNew(event) {
    const streams = this.#streams.get(event.broker) ?? [];
    if (streams.slice(0, -1).includes(event.stream)) return false;
    if (streams.at(-1) !== event.stream) return true;
    const last = this.#there.get(key(event));
    return position(event) > (last ? position(last) : this.#left.get(key(event)) ?? 0);
  }

  #apply(event) {
    if (!this.#isNew(event)) return;
    const streams = this.#streams.get(event.broker) ?? [];
    if (streams.at(-1) !== event.stream) {
      // the server has forgotten everything, because it keeps no store: whoever was there has gone with it
      for (const [each, { broker }] of this.#there) if (broker === event.broker) this.#there.delete(each);
      this.#streams.set(event.broker, [...streams, event.stream].slice(-100));
    }
    if (event.seq === undefined) return; // of a session that was not announced, or nothing that changes who is there
    switch (event.type) {
      case 'joined':
      case 'updated':
      case 'unreachable': // it may come back: keep its seat meanwhile
      case 'returned':
        this.#there.set(key(event), event);
        this.#left.delete(key(event));
        break;
      case 'left':
        this.#there.delete(key(event));
        this.#left.set(key(event), position(event));
        if (this.#left.size > remembered) this.#left.delete(this.#left.keys().next().value);
        break;
      default: // what there may be one day
    }
  }

  /** The sessions that are there; those of a room have a room. */
  list() {
    return [...this.#there.values()].map(({ broker, sessionId, user, clientData, room, connectedAt, type }) => {
      return { broker, sessionId, user, clientData, room, connectedAt, unreachable: type === 'unreachable' || undefined };
    });
  }

  close() {
    closeSync(this.#file);
  }
}

const key = (event) => `${event.stream} ${event.sessionId} ${event.room ?? ''}`;
/** The id of an event is <stream>-<position>, and positions go up. */
const position = (event) => Number(event.id.slice(event.stream.length + 1));

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    if ((size += chunk.length) <= bodyLimit) chunks.push(chunk);
    else chunks.length = 0; // and on, as who is cut off sees no answer
  }
  if (size > bodyLimit) throw new Refused(413, 'too large');
  return Buffer.concat(chunks);
}

/** A server for POST /hooks, and for GET /present, which is not for everybody. check(headers, body) throws if it is not signed. */
export function receiver({ presence, check }) {
  const receive = async (request) => {
    const body = await bodyOf(request); // as it came: what was parsed and written anew has another signature
    try {
      check(request.headers, body);
    } catch (error) {
      throw new Refused(401, error.message);
    }
    const events = JSON.parse(body);
    presence.take(events);
  };
  return createServer(async (request, response) => {
    try {
      if (request.method === 'POST' && request.url === '/hooks') {
        await receive(request);
        response.writeHead(204).end();
      } else if (request.method === 'GET' && request.url === '/present') {
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(presence.list()));
      } else {
        throw new Refused(404, 'not found');
      }
    } catch (error) {
      if (request.errored) return; // cut off, and nobody hears an answer: it is sent again
      if (!error.status) console.error(error);
      response.writeHead(error.status ?? 500, { connection: 'close' }).end(`${error.status ? error.message : 'try again'}\n`);
    }
  });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const keys = keysOf(process.env.WEBHOOK_SECRET ?? '');
  const presence = new Presence(process.env.JOURNAL ?? 'presence.journal');
  const server = receiver({ presence, check: (headers, body) => verify(headers, body, keys) });
  server.listen(Number(process.env.PORT ?? 9000), '127.0.0.1', () => console.log('listening'));
}
