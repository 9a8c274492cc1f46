// The real @stomp/stompjs over the real sockjs-client, in node, over one transport.

import { EventEmitter } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import { send } from './http.mjs';
import { Mailbox, eventually, now, within } from './wait.mjs';

const require = createRequire(import.meta.url);
const SockJS = require('sockjs-client');
const { Client } = require('@stomp/stompjs');

// A connection of its own for each request: one that is kept alive may be closed by a reload while it is used, which
// sockjs-client takes for the end.
http.globalAgent = new http.Agent({ keepAlive: false });

/**
 * Asks again when a connection is reset before there was an answer, as browsers and proxies do, and sockjs-client does
 * not. A reload of Caddy resets some connections under load, new ones and kept-alive ones, of a site with nothing but
 * `respond` too. What was answered in part is not asked for again, and a session that a reset has ended stays ended.
 */
export function retryResets() {
  const once = http.request;
  http.request = (options, callback) => {
    if (options.method !== 'POST') return once(options, callback);
    const request = new EventEmitter();
    const body = [];
    let inner;
    let aborted = false;
    const attempt = () => {
      let answered = false;
      inner = once(options, (response) => {
        answered = true;
        callback(response);
      });
      inner.on('error', (error) => {
        if (aborted) return;
        if (!answered && error.code === 'ECONNRESET') setTimeout(() => aborted || attempt(), 20);
        else request.emit('error', error);
      });
      for (const chunk of body) inner.write(chunk);
      inner.end();
    };
    request.write = (chunk) => body.push(chunk);
    request.end = attempt;
    request.abort = () => {
      aborted = true;
      inner.destroy();
    };
    return request;
  };
  return () => (http.request = once);
}

/** What sockjs-client has in node, and what the server calls it. */
export const transportsInNode = { websocket: 'websocket', 'xhr-streaming': 'xhr_streaming', 'xhr-polling': 'xhr', eventsource: 'eventsource' };

let keys = 0;

export class SockJSClient {
  closes = new Mailbox();
  errors = [];
  #receipts = 0;

  /** The session segment of the URL, beat: the client's heart-beats in milliseconds. */
  static async connect(url, transport, options) {
    const { beat = 10_000, headers = {}, key = `key${process.pid}x${Date.now()}x${++keys}`, timeout = 30_000 } = options ?? {};
    const client = new SockJSClient();
    client.key = key;
    const stomp = new Client({
      webSocketFactory: () => {
        client.socket = new SockJS(url, null, { transports: [transport], timeout: 20_000, sessionId: () => key });
        return client.socket;
      },
      connectHeaders: headers,
      reconnectDelay: 0,
      heartbeatIncoming: beat,
      heartbeatOutgoing: beat,
    });
    client.stomp = stomp;
    const connected = new Promise((resolve, reject) => {
      stomp.onConnect = (frame) => resolve(frame.headers);
      stomp.onStompError = (frame) => {
        client.errors.push(frame.headers.message);
        reject(new Error(`ERROR ${frame.headers.message} ${frame.body}`));
      };
      stomp.onWebSocketClose = (event) => {
        client.closes.push({ code: event.code, reason: event.reason, at: now() });
        reject(new Error(`closed: ${event.code} ${event.reason}`));
      };
    });
    stomp.activate();
    client.connected = await within(`CONNECTED over ${transport}`, timeout, connected);
    client.session = client.connected.session;
    client.transport = client.socket.transport;
    return client;
  }

  /** Publishes and waits for the RECEIPT. */
  request(destination, body, timeout = 30_000) {
    const receipt = `receipt-${++this.#receipts}`;
    const answered = new Promise((resolve) => this.stomp.watchForReceipt(receipt, resolve));
    this.stomp.publish({ destination, body, headers: { receipt } });
    return within(`RECEIPT of ${destination}`, timeout, answered);
  }

  register(clientData) {
    return this.request('/ws', JSON.stringify({ clientData }));
  }

  subscribe(destination, onMessage, timeout = 30_000) {
    const receipt = `receipt-${++this.#receipts}`;
    const answered = new Promise((resolve) => this.stomp.watchForReceipt(receipt, resolve));
    this.stomp.subscribe(destination, onMessage, { receipt });
    return within(`RECEIPT of SUBSCRIBE ${destination}`, timeout, answered);
  }

  publish(destination, body) {
    this.stomp.publish({ destination, body });
  }

  get open() {
    return this.closes.entries.length === 0 && this.stomp.connected;
  }

  /** DISCONNECT, its RECEIPT, the end. */
  disconnect() {
    return within('end after DISCONNECT', 30_000, this.stomp.deactivate());
  }

  /**
   * Over a transport that polls: a poll is open. It was under way before the question, which took connections of its own.
   */
  async polling() {
    const poll = () => this.socket._transport?.poll?.poll?.xo?.req;
    await eventually('a poll under way', () => poll() && !poll().res && poll().socket && !poll().socket.connecting && poll().writableFinished);
    for (let i = 0; i < 3; i++) await send(`${this.socket.url}/info`);
  }

  close() {
    this.socket.close();
  }
}
