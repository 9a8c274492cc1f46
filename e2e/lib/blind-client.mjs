// STOMP over htmlfile and jsonp in node, where sockjs-client does not have them; with requests that a reset connection does not end.

import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { send } from './http.mjs';
import { decodeFrames, encodeFrame } from './stomp-frame.mjs';
import { Mailbox, eventually, within } from './wait.mjs';

/** By their names, as transportsInNode has the others. */
export const blindTransports = { htmlfile: 'htmlfile', jsonp: 'jsonp' };

const wasReset = (error) => error.code === 'ECONNRESET';

export class BlindClient {
  frames = new Mailbox();
  closed = [];
  #next = 0;
  #sending = Promise.resolve();

  constructor(url, transport) {
    this.endpoint = url;
    this.key = randomBytes(8).toString('hex');
    this.url = `${url}/000/${this.key}`;
    this.transport = transport;
  }

  /** onMessage gets the frames MESSAGE, all other ones are kept. beat: heart-beats in milliseconds. */
  static async connect(url, transport, onMessage, { beat = 0 } = {}) {
    const client = new BlindClient(url, transport);
    client.onMessage = onMessage;
    const open = new Promise((resolve) => (client.opened = resolve));
    client.#receive();
    await within(`o over ${transport}`, 20_000, open);
    client.frame('CONNECT', { 'accept-version': '1.2', host: 'localhost', 'heart-beat': `${beat},${beat}` });
    const { headers } = await client.frames.waitFor('CONNECTED', (frame) => frame.command === 'CONNECTED', { timeout: 20_000 });
    client.session = headers.session;
    if (beat) client.beating = setInterval(() => client.#send('\n'), beat * 0.8).unref();
    return client;
  }

  /** Receives again and again until the session is over. */
  async #receive() {
    while (this.closed.length === 0) {
      try {
        await this.#once();
      } catch (error) {
        if (!wasReset(error) || error.answered) this.closed.push(String(error));
      }
    }
  }

  #once() {
    return new Promise((resolve, reject) => {
      const asked = (this.asked = request(`${this.url}/${this.transport}?c=callback`, { agent: false, headers: { connection: 'close' } }, (response) => {
        let text = '';
        response.on('error', (error) => reject(Object.assign(error, { answered: true })));
        response.on('end', () => (response.statusCode === 200 ? resolve() : reject(new Error(`${response.statusCode} ${text}`))));
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk;
          const calls = /(?:^|[\n/])(?:callback|p)\(("(?:[^"\\]|\\.)*")\);\r?\n/g;
          let end = 0;
          for (let call; (call = calls.exec(text)); end = calls.lastIndex) this.#take(JSON.parse(call[1]));
          text = text.slice(end);
        });
      }));
      asked.on('error', reject);
      asked.end();
    });
  }

  #take(frame) {
    if (frame === 'o') this.opened();
    else if (frame[0] === 'c') this.closed.push(frame);
    else if (frame[0] === 'a') {
      for (const message of JSON.parse(frame.slice(1))) {
        for (const decoded of decodeFrames(message)) { // none in a heart-beat
          if (decoded.command === 'MESSAGE') this.onMessage(decoded);
          else this.frames.push(decoded);
        }
      }
    }
  }

  frame(command, headers, body) {
    return this.#send(encodeFrame(command, headers, body));
  }

  /** One request at a time, in order. */
  #send(message) {
    const payload = JSON.stringify([message]);
    this.#sending = this.#sending.then(async () => {
      while (this.closed.length === 0) {
        try {
          const { ok, status, text } = await send(`${this.url}/${this.transport === 'jsonp' ? 'jsonp_send' : 'xhr_send'}`, { method: 'POST', body: payload });
          if (!ok) this.closed.push(`${status} ${text}`);
          return;
        } catch (error) {
          if (!wasReset(error)) this.closed.push(String(error));
        }
      }
    });
    return this.#sending;
  }

  async request(command, headers, body) {
    const receipt = `r-${++this.#next}`;
    this.frame(command, { ...headers, receipt }, body);
    await this.frames.waitFor(`RECEIPT of ${command}`, (frame) => frame.headers['receipt-id'] === receipt, { timeout: 20_000 });
  }

  register(clientData) {
    return this.request('SEND', { destination: '/ws' }, JSON.stringify({ clientData }));
  }

  subscribe(destination) {
    return this.request('SUBSCRIBE', { id: destination, destination });
  }

  async disconnect() {
    await this.request('DISCONNECT', {});
    clearInterval(this.beating);
  }

  /** Over jsonp: a poll is open. It was under way before the question, which takes connections of its own. */
  async polling() {
    await eventually('a poll under way', () => !this.asked.res && this.asked.writableFinished);
    for (let i = 0; i < 3; i++) await send(`${this.endpoint}/info`);
  }

  /** What the element of a page does that is left: its request is given up. */
  close() {
    clearInterval(this.beating);
    this.closed.push('given up');
    this.asked.destroy();
  }
}
