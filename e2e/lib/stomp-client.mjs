// A STOMP client that does only what it is told, so that a test can misbehave with it.

import WebSocket from 'ws';
import { decodeFrames, encodeFrame } from './stomp-frame.mjs';
import { Mailbox, now, within } from './wait.mjs';

let receipts = 0;
let subscriptions = 0;

export class StompClient {
  frames = new Mailbox();
  pings = new Mailbox();
  beats = new Mailbox();
  session;

  /** Sees every frame first; a frame for which it returns true is not kept. */
  tap = () => false;

  /**
   * Opens the WebSocket, and does not CONNECT yet.
   *
   * protocols: WebSocket subprotocols to ask for
   * sockjs: speak the framing of SockJS's websocket transport
   * Everything else goes to ws, such as origin, headers, rejectUnauthorized, autoPong.
   */
  static async open(url, { protocols = ['v12.stomp'], sockjs = false, timeout = 10_000, ...options } = {}) {
    const client = new StompClient();
    client.sockjs = sockjs;
    const ws = new WebSocket(url, sockjs ? [] : protocols, { perMessageDeflate: false, ...options });
    client.ws = ws;
    client.closed = new Promise((resolve) => {
      ws.on('close', (code, reason) => {
        clearInterval(client.beating);
        resolve({ code, reason: reason.toString(), at: now() });
      });
    });
    ws.on('message', (data) => client.#receive(data.toString()));
    ws.on('ping', () => client.pings.push({ at: now() }));
    const open = new Promise((resolve, reject) => {
      ws.on('error', reject);
      ws.on('open', resolve);
      ws.on('unexpected-response', async (_request, response) => {
        let text = '';
        for await (const chunk of response) text += chunk;
        reject(Object.assign(new Error(`${response.statusCode}: ${text}`), { status: response.statusCode, text, headers: response.headers }));
      });
    });
    await within(`opening ${url}`, timeout, open).catch((error) => {
      ws.on('error', () => {});
      ws.terminate();
      throw error;
    });
    return client;
  }

  /** Opens the WebSocket and connects; the options' connect holds headers of the CONNECT frame. */
  static async connect(url, { connect = {}, beat = true, ...options } = {}) {
    const client = await StompClient.open(url, options);
    await client.connect(connect, { beat });
    return client;
  }

  #receive(text) {
    const at = now();
    if (this.sockjs) {
      if (text[0] === 'a') for (const message of JSON.parse(text.slice(1))) this.#take(message, at);
      return;
    }
    this.#take(text, at);
  }

  #take(text, at) {
    if (/^[\r\n]+$/.test(text)) return this.beats.push({ at });
    for (const decoded of decodeFrames(text)) {
      const frame = { ...decoded, at };
      if (!this.tap(frame)) this.frames.push(frame);
    }
  }

  /** Text as one WebSocket message, whatever it is. */
  raw(text) {
    return new Promise((resolve) => this.ws.send(this.sockjs ? JSON.stringify([text]) : text, resolve));
  }

  frame(command, headers, body) {
    return this.raw(encodeFrame(command, headers, body));
  }

  /** Sends CONNECT and waits for CONNECTED; an ERROR is thrown with the frame in it. */
  async connect(headers = {}, { beat = true, command = 'CONNECT' } = {}) {
    this.frame(command, { 'accept-version': '1.0,1.1,1.2', host: 'localhost', 'heart-beat': '0,0', ...headers });
    const answer = await this.next('CONNECTED or ERROR', (frame) => ['CONNECTED', 'ERROR'].includes(frame.command));
    if (answer.command === 'ERROR') {
      throw Object.assign(new Error(`ERROR ${JSON.stringify(answer.headers)} ${answer.body}`), { frame: answer });
    }
    this.connected = answer.headers;
    this.session = answer.headers.session;
    const [mine] = (headers['heart-beat'] ?? '0,0').split(',').map(Number);
    const [, wanted] = (answer.headers['heart-beat'] ?? '0,0').split(',').map(Number);
    if (beat && mine && wanted) this.beating = setInterval(() => this.raw('\n'), Math.max(mine, wanted) * 0.8);
    return answer.headers;
  }

  /** The first frame that matches, or an error that says that the connection closed instead. */
  async next(what, predicate, { timeout = 10_000, from } = {}) {
    const arrived = this.frames.waitFor(what, predicate, { timeout, from });
    arrived.catch(() => {});
    const closed = this.closed.then((close) => {
      const seen = this.frames.entries.slice(from ?? 0).find(predicate);
      if (seen) return seen;
      throw new Error(`closed (${close.code} ${close.reason}) while waiting for ${what}`);
    });
    closed.catch(() => {});
    return Promise.race([arrived, closed]);
  }

  /** Sends a frame with a receipt header and waits for its RECEIPT. */
  async request(command, headers = {}, body = '', options) {
    const receipt = `r-${++receipts}`;
    this.frame(command, { ...headers, receipt }, body);
    const answer = await this.next(
      `RECEIPT of ${command} ${headers.destination ?? ''}`,
      (frame) => frame.headers['receipt-id'] === receipt || frame.command === 'ERROR',
      options,
    );
    if (answer.command === 'ERROR') {
      throw Object.assign(new Error(`ERROR ${JSON.stringify(answer.headers)} ${answer.body}`), { frame: answer });
    }
    return answer;
  }

  /** Subscribes, waits for the RECEIPT, and returns the subscription's id. */
  async subscribe(destination, headers = {}) {
    const id = headers.id ?? `s-${++subscriptions}`;
    await this.request('SUBSCRIBE', { ...headers, id, destination });
    return id;
  }

  send(destination, body, headers = {}) {
    return this.frame('SEND', { destination, ...headers }, body);
  }

  /** Says who this client is, with a SEND to the register destination. */
  register(destination, clientData, extra = {}) {
    return this.request('SEND', { destination }, JSON.stringify({ clientData, ...extra }));
  }

  message(destination, predicate = () => true, options) {
    return this.next(
      `MESSAGE of ${destination}`,
      (frame) => frame.command === 'MESSAGE' && frame.headers.destination === destination && predicate(frame),
      options,
    );
  }

  messages(destination) {
    return this.frames.filter((frame) => frame.command === 'MESSAGE' && frame.headers.destination === destination);
  }

  error(options) {
    return this.next('ERROR', (frame) => frame.command === 'ERROR', options);
  }

  /** How the server closed the connection. */
  close(timeout = 5000) {
    return within('close of the connection', timeout, this.closed);
  }

  /** The polite end. */
  async disconnect() {
    await this.request('DISCONNECT');
    await this.close();
  }

  /** A TCP reset: SO_LINGER 0 and close. */
  reset() {
    clearInterval(this.beating);
    this.ws._socket.resetAndDestroy();
  }

  /** A FIN without a WebSocket close frame. */
  cut() {
    clearInterval(this.beating);
    this.ws._socket.end();
    this.ws._socket.destroy();
  }

  get open() {
    return this.ws.readyState === WebSocket.OPEN;
  }
}
