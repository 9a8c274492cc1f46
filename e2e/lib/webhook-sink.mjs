// A receiver of webhooks that takes what it gets, well or badly.

import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';
import { freePort } from './ports.mjs';
import { Mailbox, eventually, now } from './wait.mjs';

const chunk = 'x'.repeat(65536);

/** Writes until the other side has enough. */
function flood(stream, text) {
  const more = () => {
    while (!stream.destroyed && stream.write(text));
  };
  stream.on('drain', more);
  stream.on('error', () => {});
  more();
}

/**
 * How it answers; the names are those that misbehave() takes. One that returns true has taken the events all the same.
 */
const answers = {
  well: (response) => {
    response.writeHead(204).end();
    return true;
  },
  hanging: () => {},
  'hanging in its answer': (response) => {
    response.writeHead(500, { 'content-length': 1000 }).write('x');
  },
  resetting: (response) => {
    response.socket.resetAndDestroy();
  },
  failing: (response) => {
    response.writeHead(500).end('{"error":"try again"}');
  },
  garbage: (response) => {
    response.socket.end('\0\x01 this is not HTTP \xff\r\n\r\n');
  },
  'huge, and failing': (response) => {
    flood(response.writeHead(500), chunk);
  },
  'huge, and well': (response) => {
    flood(response.writeHead(200), chunk);
    return true;
  },
  'with a huge head': (response) => {
    response.socket.write('HTTP/1.1 200 OK\r\n');
    flood(response.socket, `x-padding: ${chunk}\r\n`);
  },
  dripping: (response) => {
    const { socket } = response;
    socket.write('HTTP/1.1 200 O');
    const drip = setInterval(() => socket.write('K'), 50);
    socket.on('error', () => {}).on('close', () => clearInterval(drip));
  },
  redirecting: (response) => {
    response.writeHead(302, { location: '/elsewhere' }).end();
  },
  'asking for time': (response, { retryAfter }) => {
    response.writeHead(429, { 'retry-after': String(retryAfter) }).end();
  },
  refusing: (response) => {
    response.writeHead(400).end('no');
  },
  picky: (response, { refused }, events) => {
    if (!events.some((event) => refused.has(event.sessionId))) return answers.well(response);
    return void response.writeHead(422).end('not this one');
  },
  gone: (response) => {
    response.writeHead(410).end();
  },
};

export const misbehaviours = Object.keys(answers).filter((name) => !['well', 'asking for time', 'refusing', 'picky', 'gone'].includes(name));

export class WebhookSink {
  /** Each request: {at, id, headers, body, events, behaviour}. */
  requests = new Mailbox();
  /** The events of the requests that were taken, with repetitions. */
  taken = [];
  elsewhere = 0;
  wrong = [];
  retryAfter = 3;
  /** Sessions that a picky one wants to know nothing of. */
  refused = new Set();
  #behaviour = 'well';

  /** secret: what everything must be signed with */
  static async start({ secret, behaviour = 'well', up = true }) {
    const sink = new WebhookSink();
    sink.webhook = new Webhook(secret);
    sink.port = await freePort();
    sink.#behaviour = behaviour;
    if (up) await sink.up();
    return sink;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/hooks`;
  }

  up() {
    this.server = createServer((request, response) => this.#serve(request, response));
    this.server.keepAliveTimeout = 0; // so that none is closed while the next request is on its way
    return new Promise((resolve, reject) => this.server.once('error', reject).listen(this.port, '127.0.0.1', resolve));
  }

  /** Nobody listens any more, and what was under way is cut. */
  down() {
    if (!this.server?.listening) return undefined;
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    return closed;
  }

  misbehave(name) {
    if (!answers[name]) throw new Error(`nobody answers ${name}`);
    this.#behaviour = name;
  }

  /** From now on it is well, and what it has kept waiting is cut. */
  mend() {
    this.#behaviour = 'well';
    this.server.closeAllConnections();
  }

  async #serve(request, response) {
    if (request.url !== '/hooks') {
      this.elsewhere++;
      return response.end();
    }
    let body = '';
    try {
      for await (const text of request.setEncoding('utf8')) body += text;
    } catch {
      return undefined; // cut while it was sent
    }
    const entry = { at: now(), id: request.headers['webhook-id'], headers: request.headers, body, behaviour: this.#behaviour };
    try {
      if (request.method !== 'POST') throw new Error(request.method);
      if (request.headers['content-type'] !== 'application/json') throw new Error(`content-type ${request.headers['content-type']}`);
      entry.events = this.webhook.verify(body, request.headers);
      if (!Array.isArray(entry.events)) throw new Error(`no array: ${body}`);
    } catch (error) {
      this.wrong.push(error.message);
      this.requests.push(entry);
      return response.writeHead(401).end();
    }
    if (answers[entry.behaviour](response, this, entry.events)) this.taken.push(...entry.events);
    this.requests.push(entry);
    return undefined;
  }

  /** What was taken, each once. */
  get events() {
    return [...new Map(this.taken.map((event) => [event.id, event])).values()];
  }

  /** Waits until the events that were taken satisfy the predicate. */
  async has(what, predicate, options) {
    await eventually(`${what} at ${this.url}`, () => predicate(this.events), { timeout: 60_000, ...options }).catch((error) => {
      throw new Error(`${error.message}; ${this.requests.entries.length} requests, taken: ${this.events.map(({ type, sessionId }) => `${type} ${sessionId}`).join(', ').slice(-2000)}`);
    });
    return this.events;
  }

  remove() {
    return this.down();
  }
}
