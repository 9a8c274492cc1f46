// A small web application: it signs people in by a cookie, and issues tokens whose keys it publishes, well or badly.

import { createSign, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { freePort } from './ports.mjs';

const base64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** How the application answers for its keys; the names are those that misbehave() takes. */
const answers = {
  well: (app, response) => response.end(JSON.stringify({ keys: app.published() })),
  slow: (app, response) => setTimeout(() => answers.well(app, response), 1000).unref(),
  hanging: () => {},
  garbage: (app, response) => response.end('<html>\0 this is no JSON'),
  redirecting: (app, response) => response.writeHead(302, { location: '/keys-elsewhere' }).end(),
  failing: (app, response) => response.writeHead(500).end('{"keys":[]}'),
  huge: (app, response) => {
    response.write('{"padding":"');
    const more = () => {
      while (!response.destroyed && response.write('x'.repeat(65536)));
    };
    response.on('drain', more);
    more();
  },
};

export const misbehaviours = Object.keys(answers).filter((name) => name !== 'well');

export class Application {
  /** What nobody else may read. */
  secrets = new Set();
  asked = 0;
  elsewhere = 0;
  #keys = [];
  #sessions = new Map();
  #behaviour = 'well';

  static async start() {
    const app = new Application();
    app.port = await freePort();
    app.rotate();
    await app.up();
    return app;
  }

  up() {
    this.server = createServer((request, response) => this.#serve(request, response));
    return new Promise((resolve, reject) => this.server.once('error', reject).listen(this.port, '127.0.0.1', resolve));
  }

  /** Nobody listens any more, and what was under way is cut. */
  down() {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    return closed;
  }

  misbehave(name) {
    this.#behaviour = name;
  }

  behave() {
    this.#behaviour = 'well';
  }

  /** A new key; of the old ones none is published any more, or the last is. */
  rotate({ keep = 0 } = {}) {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = { kid: `key-${randomBytes(4).toString('hex')}`, publicKey, privateKey };
    this.#keys = [key, ...this.#keys.slice(0, keep)];
    return key;
  }

  published() {
    return this.#keys.map(({ kid, publicKey }) => ({ ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' }));
  }

  token(claims, key = this.#keys[0]) {
    const body = { iss: 'https://app.example', aud: 'chat', exp: Math.floor(Date.now() / 1000) + 600, ...claims };
    const signed = `${base64({ alg: 'RS256', typ: 'JWT', kid: key.kid })}.${base64(body)}`;
    const signature = createSign('RSA-SHA256').update(signed).sign(key.privateKey).toString('base64url');
    this.secrets.add(base64(body)).add(signature);
    return `${signed}.${signature}`;
  }

  #serve(request, response) {
    const { pathname, searchParams } = new URL(request.url, 'http://app');
    if (pathname === '/keys') {
      this.asked++;
      return answers[this.#behaviour](this, response);
    }
    if (pathname === '/keys-elsewhere') {
      this.elsewhere++;
      return answers.well(this, response);
    }
    if (pathname === '/login' && request.method === 'POST') {
      const id = randomBytes(16).toString('hex');
      this.secrets.add(id);
      this.#sessions.set(id, searchParams.get('user'));
      return response.writeHead(204, { 'set-cookie': `sid=${id}; HttpOnly; Path=/` }).end();
    }
    if (pathname === '/auth') {
      const user = this.#sessions.get(/(?:^|; )sid=([0-9a-f]+)/.exec(request.headers.cookie ?? '')?.[1]);
      return user ? response.writeHead(200, { 'x-user': user }).end() : response.writeHead(401).end('sign in first');
    }
    response.end('hello');
  }
}
