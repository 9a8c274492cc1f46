// STOMP over htmlfile and jsonp in node, where sockjs-client does not have them; with requests that a reset connection does not end.

import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { send } from './http.mjs';
import { decodeFrames, encodeFrame } from './stomp-frame.mjs';
import { Mailbox, within } from './wait.mjs';

const wasReset = (error) => error.code === 'ECONNRESET';

export class BlindClient {
  frames = new Mailbox();
  closed = [];
  #next = 0;
  #sending = Promise.resolve();

  constructor(url, transport) {
    this.url = `${url}/000/${randomBytes(8).toString('hex')}`;
    this.transport = transport;
  }

  /** onMessage gets the frames MESSAGE, all other ones are kept. */
  static async connect(url, transport, onMessage) {
    const client = new BlindClient(url, transport);
    client.onMessage = onMessage;
    const open = new Promise((resolve) => (client.opened = resolve));
    client.#receive();
    await within(`o over ${transport}`, 20_000, open);
    client.frame('CONNECT', { 'accept-version': '1.2', host: 'localhost', 'heart-beat': '0,0' });
    const { headers } = await client.frames.waitFor('CONNECTED', (frame) => frame.command === 'CONNECTED', { timeout: 20_000 });
    client.session = headers.session;
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
      const asked = request(`${this.url}/${this.transport}?c=callback`, { agent: false, headers: { connection: 'close' } }, (response) => {
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
      });
      asked.on('error', reject);
      asked.end();
    });
  }

  #take(frame) {
    if (frame === 'o') this.opened();
    else if (frame[0] === 'c') this.closed.push(frame);
    else if (frame[0] === 'a') {
      for (const message of JSON.parse(frame.slice(1))) {
        for (const decoded of decodeFrames(message)) {
          if (decoded.command === 'MESSAGE') this.onMessage(decoded);
          else this.frames.push(decoded);
        }
      }
    }
  }

  /** One request at a time, in order. */
  frame(command, headers, body) {
    const payload = JSON.stringify([encodeFrame(command, headers, body)]);
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

  disconnect() {
    return this.request('DISCONNECT', {});
  }
}
