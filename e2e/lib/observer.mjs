// A peer who watches the announcements, and what it can conclude from them.

import assert from 'node:assert/strict';
import { StompClient } from './stomp-client.mjs';
import { Mailbox } from './wait.mjs';

let markers = 0;

/** The picture that a client has of who is here: the roster, folded with every change after it. */
export class Picture {
  sessions = new Map();
  #more = false; // whether parts of a roster are still to come
  #meanwhile = [];

  /** Applies the body of one MESSAGE; true when the server says that it must be asked for the roster again. */
  apply(content) {
    if (Array.isArray(content)) {
      if (this.#more) this.#meanwhile.push(...content);
      else for (const change of content) this.#fold(change);
      return content.some((change) => change.type === 'reset');
    }
    if (!this.#more) this.sessions.clear();
    for (const session of content.sessions) this.sessions.set(session.sessionId, session);
    this.#more = content.more === true;
    if (!this.#more) for (const change of this.#meanwhile.splice(0)) this.#fold(change);
    return false;
  }

  #fold(change) {
    if (change.type === 'left') this.sessions.delete(change.sessionId);
    else if (change.type === 'joined' || change.type === 'updated') {
      this.sessions.set(change.sessionId, { ...this.sessions.get(change.sessionId), ...change });
    }
  }
}

export class Observer {
  changes = new Mailbox();
  #read = 0;

  /** Connects to url and subscribes to the announcements; the observer itself is not announced. */
  static async watch(url, { announce = '/topic/presence', ...options } = {}) {
    const observer = new Observer();
    observer.announce = announce;
    observer.client = await StompClient.connect(url, options);
    observer.client.tap = (frame) => {
      const announcement = frame.command === 'MESSAGE' && frame.headers.destination === announce;
      if (announcement) observer.#take(frame);
      return announcement;
    };
    await observer.client.subscribe(announce);
    await observer.client.subscribe('/topic/marker');
    return observer;
  }

  #take(frame) {
    const body = JSON.parse(frame.body);
    assert.ok(Array.isArray(body), `an announcement is a JSON array: ${frame.body}`);
    assert.match(frame.headers['content-type'] ?? '', /^application\/json/);
    for (const change of body) {
      assert.ok(change.seq > this.#read, `seq ${change.seq} after ${this.#read}`);
      this.#read = change.seq;
      this.changes.push({ ...change, receivedAt: frame.at });
    }
  }

  waitFor(type, sessionId, options) {
    return this.changes.waitFor(
      `${type} of ${sessionId}`,
      (change) => change.type === type && change.sessionId === sessionId,
      options,
    );
  }

  of(sessionId, type) {
    return this.changes.filter((change) => change.sessionId === sessionId && (!type || change.type === type));
  }

  /** Everything that was published before this call has arrived when it resolves. */
  async marker() {
    const text = `marker ${++markers}`;
    this.client.send('/topic/marker', text);
    await this.client.message('/topic/marker', (frame) => frame.body === text);
  }

  end() {
    return this.client.disconnect();
  }
}

/** A client that is announced: connects, says who it is, and is seen by the observer. */
export async function join(url, clientData, observer, { register = '/ws', ...options } = {}) {
  const client = await StompClient.connect(url, options);
  await client.register(register, clientData);
  if (observer) await observer.waitFor('joined', client.session);
  return client;
}
