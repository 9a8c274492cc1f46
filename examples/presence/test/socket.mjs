/** A WebSocket without a network, whose other end is the test. */

import {FrameDecoder, encodeFrame} from '../frame.js';

export class FakeSocket {
  /** All that were made, the newest last. @type {FakeSocket[]} */
  static all = [];
  /** What the client sent, without heart-beats. @type {import('../frame.js').Frame[]} */
  frames = [];
  beats = 0;
  closed = false;
  #decoder = new FrameDecoder();

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }

  static get last() {
    return FakeSocket.all.at(-1);
  }

  send(data) {
    if (this.closed) throw new Error('sent after close');
    if (data === '\n') this.beats++;
    this.frames.push(...this.#decoder.push(data));
  }

  close() {
    this.closed = true;
  }

  /** The server accepts the connection and answers the CONNECT. */
  accept(headers = {}) {
    this.onopen();
    this.deliver(encodeFrame('CONNECTED', {version: '1.2', session: 'me', ...headers}));
  }

  deliver(data) {
    this.onmessage?.({data});
  }

  /** Delivers a MESSAGE to the newest subscription to that destination. */
  publish(destination, body) {
    const subscribes = this.frames.filter(({command}) => command === 'SUBSCRIBE');
    const subscription = subscribes.findLast(({headers}) => headers.destination === destination).headers.id;
    this.deliver(encodeFrame('MESSAGE', {destination, subscription, 'message-id': 1}, JSON.stringify(body)));
  }

  /** The connection ends. */
  end(code = 1006, reason = '') {
    this.onclose?.({code, reason});
  }

  /** The commands that the client sent. */
  get commands() {
    return this.frames.map(frame => frame.command);
  }
}
