// The process of crowd.mjs: many lean clients, each with its own picture of who is here.

import WebSocket from 'ws';
import { answerCalls } from './calls.mjs';
import { Picture } from './observer.mjs';
import { decodeFrames, encodeFrame } from './stomp-frame.mjs';
import { eventually } from './wait.mjs';

const crowd = [];

// Announcements are the same text for many: each text is parsed once.
const parsed = new Map();
function parse(text) {
  let body = parsed.get(text);
  if (body === undefined) {
    if (parsed.size > 2000) parsed.clear();
    parsed.set(text, (body = JSON.parse(text)));
  }
  return body;
}

class Member {
  picture = new Picture();
  resets = 0;
  bytes = 0;
  rosterDone = false;
  closed = null;

  constructor(url, connect) {
    this.ws = new WebSocket(url, ['v12.stomp'], { perMessageDeflate: false });
    this.connected = new Promise((resolve, reject) => {
      this.ws.on('error', reject);
      this.ws.on('open', () => this.ws.send(encodeFrame('CONNECT', { 'accept-version': '1.2', host: 'localhost', 'heart-beat': '0,0', ...connect })));
      this.ws.on('close', (code) => {
        this.closed = code;
        reject(new Error(`closed with ${code}`));
      });
      this.onConnected = resolve;
    });
    this.ws.on('message', (data) => this.#receive(data));
  }

  #receive(data) {
    this.bytes += data.length;
    for (const frame of decodeFrames(data.toString())) {
      if (frame.command === 'CONNECTED') this.onConnected(frame.headers.session);
      else if (frame.command === 'RECEIPT') this.onReceipt?.();
      else if (frame.command === 'ERROR') this.error = frame.headers.message;
      else if (frame.headers.subscription === 'listening') this.onMessage();
      else if (frame.command === 'MESSAGE') {
        const body = parse(frame.body);
        if (!Array.isArray(body) && !body.more) this.rosterDone = true;
        if (this.picture.apply(body)) this.#reset();
      }
    }
  }

  /** The server says that it has left out changes: the roster tells all. */
  #reset() {
    this.resets++;
    this.rosterDone = false;
    this.ws.send(encodeFrame('UNSUBSCRIBE', { id: 'presence' }));
    this.ws.send(encodeFrame('SUBSCRIBE', { id: 'presence', destination: this.destination }));
  }

  subscribe(destination, id = 'presence') {
    if (id === 'presence') this.destination = destination;
    return this.#request('SUBSCRIBE', { id, destination });
  }

  /** Goes, by its own will; resolves when the server knows it. */
  leave() {
    return this.#request('DISCONNECT', {});
  }

  #request(command, headers) {
    return new Promise((resolve) => {
      this.onReceipt = resolve;
      this.ws.send(encodeFrame(command, { ...headers, receipt: command }));
    });
  }
}

const broken = () => crowd.filter((member) => member.closed !== null).map((member) => `${member.closed} ${member.error ?? ''}`);

answerCalls({
  /** At most 100 handshakes at a time; resolves to the session ids. */
  async connect(url, count, { announced = true } = {}) {
    const sessions = [];
    for (let begin = 0; begin < count; begin += 100) {
      const some = Array.from({ length: Math.min(100, count - begin) }, (_, i) => new Member(url, announced ? { 'client-data': JSON.stringify({ name: `member ${begin + i}` }) } : {}));
      crowd.push(...some);
      for (const member of some) sessions.push((member.session = await member.connected));
    }
    return sessions;
  },

  async subscribe(destination) {
    await Promise.all(crowd.map((member) => member.subscribe(destination)));
  },

  async leave() {
    const all = crowd.splice(0);
    await Promise.all(all.map((member) => member.leave()));
    for (const member of all) member.ws.terminate();
  },

  /** The first sends so many messages, which everybody gets; resolves to the milliseconds that it took. */
  async fanOut(destination, messages) {
    await Promise.all(crowd.map((member) => member.subscribe(destination, 'listening')));
    let missing = crowd.length * messages;
    const received = new Promise((resolve) => {
      for (const member of crowd) member.onMessage = () => --missing === 0 && resolve();
    });
    const from = performance.now();
    for (let i = 0; i < messages; i++) crowd[0].ws.send(encodeFrame('SEND', { destination }, `message ${i}`));
    await received;
    return performance.now() - from;
  },

  /** Waits until every picture has as many sessions; says what each of the crowd went through. */
  async pictures(size, timeout) {
    const right = () => crowd.every((member) => member.rosterDone && member.picture.sessions.size === size);
    const inTime = await eventually('right pictures', right, { timeout, every: 100 }).then(() => true, () => false);
    const sizes = {};
    for (const member of crowd) {
      const key = `${member.rosterDone ? '' : 'incomplete '}${member.picture.sessions.size}`;
      sizes[key] = (sizes[key] ?? 0) + 1;
    }
    return {
      inTime,
      sizes,
      broken: broken(),
      resets: crowd.reduce((sum, member) => sum + member.resets, 0),
      bytes: crowd.reduce((sum, member) => sum + member.bytes, 0),
      // Everybody has the same sessions: one is enough to look at in detail.
      sessions: [...crowd[0].picture.sessions.keys()],
      same: crowd.every((member) => {
        for (const id of member.picture.sessions.keys()) if (!crowd[0].picture.sessions.has(id)) return false;
        return member.picture.sessions.size === crowd[0].picture.sessions.size;
      }),
    };
  },

  forgetBytes() {
    for (const member of crowd) member.bytes = 0;
  },
});
