// A WebSocket over a bare TCP socket: every byte that the server sends is seen, none is answered.

import { createConnection } from 'node:net';
import { randomBytes } from 'node:crypto';
import { encodeFrame } from './stomp-frame.mjs';
import { eventually, now } from './wait.mjs';

const names = { 1: 'text', 2: 'binary', 8: 'close', 9: 'ping', 10: 'pong' };

export class RawWebSocket {
  received = Buffer.alloc(0);

  static async open(port, path, { headers = {}, host = '127.0.0.1', readFromTheStart = true } = {}) {
    const raw = new RawWebSocket();
    raw.socket = createConnection({ port, host });
    raw.socket.on('error', (error) => (raw.error = error));
    raw.closed = new Promise((resolve) => raw.socket.on('close', () => resolve({ at: now() })));
    await new Promise((resolve, reject) => raw.socket.once('connect', resolve).once('error', reject));
    if (readFromTheStart) raw.read();
    const request = {
      Host: `localhost:${port}`,
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
      ...headers,
    };
    raw.socket.write(`GET ${path} HTTP/1.1\r\n${Object.entries(request).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`);
    return raw;
  }

  /** Starts to take what arrives; until then it stays in the kernel. */
  read() {
    this.socket.on('data', (data) => (this.received = Buffer.concat([this.received, data])));
  }

  /** The response head, once it is there. */
  async head() {
    await eventually('a response head', () => this.received.includes('\r\n\r\n'));
    return this.received.subarray(0, this.received.indexOf('\r\n\r\n') + 4).toString('latin1');
  }

  /** The complete WebSocket frames after the response head: {type, text, code, fin, rsv}. */
  get messages() {
    const frames = [];
    let rest = this.received.subarray(this.received.indexOf('\r\n\r\n') + 4);
    while (rest.length >= 2) {
      let length = rest[1] & 0x7f;
      let start = 2;
      if (length === 126 && rest.length >= 4) [length, start] = [rest.readUInt16BE(2), 4];
      else if (length === 127 && rest.length >= 10) [length, start] = [Number(rest.readBigUInt64BE(2)), 10];
      if (rest.length < start + length) break;
      const payload = rest.subarray(start, start + length);
      const type = names[rest[0] & 0x0f] ?? `opcode ${rest[0] & 0x0f}`;
      frames.push({
        type,
        text: payload.toString(),
        code: type === 'close' && length >= 2 ? payload.readUInt16BE(0) : undefined,
        fin: Boolean(rest[0] & 0x80),
        rsv: rest[0] & 0x70,
      });
      rest = rest.subarray(start + length);
    }
    return frames;
  }

  async message(what, predicate, options) {
    return eventually(what, () => this.messages.find(predicate), options);
  }

  /** Sends one WebSocket frame. */
  send(payload, { opcode = 1, fin = true, rsv = 0, mask = randomBytes(4) } = {}) {
    const body = Buffer.from(payload);
    const head = body.length < 126 ? Buffer.from([0, body.length]) : Buffer.alloc(body.length < 65536 ? 4 : 10);
    head[0] = (fin ? 0x80 : 0) | rsv | opcode;
    if (head.length === 4) head.writeUInt16BE(body.length, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(body.length), 2);
    if (head.length > 2) head[1] = head.length === 4 ? 126 : 127;
    if (mask) {
      head[1] |= 0x80;
      for (let i = 0; i < body.length; i++) body[i] ^= mask[i & 3];
    }
    this.socket.write(Buffer.concat([head, mask ?? Buffer.alloc(0), body]));
  }

  stomp(command, headers, body) {
    this.send(encodeFrame(command, headers, body));
  }

  /** CONNECT, and the session id of CONNECTED. */
  async connect(headers = {}) {
    this.stomp('CONNECT', { 'accept-version': '1.2', host: 'localhost', 'heart-beat': '0,0', ...headers });
    const { text } = await this.message('CONNECTED', (message) => message.text.startsWith('CONNECTED'));
    return text.match(/^session:(.*)$/m)[1];
  }

  end() {
    this.socket.destroy();
  }
}
