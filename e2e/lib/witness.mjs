// A client that is told who is here, believes nothing, and remembers everything: across crashes of the server, too.

import { StompClient } from './stomp-client.mjs';
import { eventually, now } from './wait.mjs';

/** JSON, whatever the order of the keys. */
export const canonical = (value) =>
  JSON.stringify(value, (_, v) => (v && typeof v === 'object' && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort()) : v));

/** What the roster says of a session, without what only the server can know. */
const shown = (session) => [session.sessionId, session.user ?? '', session.clientData ?? null];

/** Whether that is what an expected session may look like: {sessionId, user, clientData: [one of these]}. */
const matches = (has, expected) =>
  (has.user ?? '') === expected.user && expected.clientData.some((data) => canonical(data) === canonical(has.clientData ?? null));

/** What is missing, too much and different in sessions, a map by their ids, in comparison to those that there should be. */
export function differences(name, sessions, expected) {
  const found = [];
  for (const session of expected) {
    const has = sessions.get(session.sessionId);
    if (!has) found.push(`${name}: missing ${canonical(session)}`);
    else if (!matches(has, session)) found.push(`${name}: wrong ${canonical(shown(has))} for ${canonical(session)}`);
    else if (has.state === 'unreachable') found.push(`${name}: ${session.sessionId} is unreachable`);
  }
  const ids = new Set(expected.map((session) => session.sessionId));
  for (const session of sessions.values()) if (!ids.has(session.sessionId)) found.push(`${name}: nobody is ${canonical(shown(session))}`);
  return found;
}

/** A roster and the changes after it. What does not fit is said to complain. */
class View {
  sessions = new Map();
  complete = false;

  constructor(name, room, complain) {
    Object.assign(this, { name, room, complain });
  }

  apply(body) {
    if (!Array.isArray(body)) return this.#roster(body);
    if (!this.complete) this.complain(`${this.name}: changes before the roster was complete`);
    for (const change of body) this.#fold(change);
  }

  #roster(page) {
    if (this.complete) this.complain(`${this.name}: a second roster`);
    for (const session of page.sessions) {
      if (this.sessions.has(session.sessionId)) this.complain(`${this.name}: ${session.sessionId} is in the roster twice`);
      this.sessions.set(session.sessionId, session);
    }
    this.complete = !page.more;
    this.seq = page.seq;
  }

  #fold(change) {
    const { sessionId: id, type, seq } = change;
    if (type === 'reset') return this.complain(`${this.name}: reset, with so few changes`);
    if (seq <= this.seq) this.complain(`${this.name}: seq ${seq} after ${this.seq}`);
    this.seq = seq;
    if ((change.room ?? '') !== this.room) this.complain(`${this.name}: a change of ${change.room}`);
    const known = this.sessions.get(id);
    if (type === 'joined' ? known : !known) this.complain(`${this.name}: ${type} of ${id} (${seq}), who is ${known ? '' : 'not '}there`);
    if (type === 'left') this.sessions.delete(id);
    else this.sessions.set(id, { ...known, ...change, state: type === 'unreachable' ? type : undefined });
    if (change.user && change.userSessions !== undefined) {
      let count = 0;
      for (const session of this.sessions.values()) if (session.user === change.user) count++;
      if (count !== change.userSessions) this.complain(`${this.name}: ${type} of ${id} (${seq}): ${count} sessions of ${change.user}, told ${change.userSessions}`);
    }
  }

  /** What is missing, too much and different in comparison to the sessions that there should be. */
  differences(expected) {
    return differences(this.name, this.sessions, expected);
  }
}

export class Witness {
  wrong = []; // what must not be
  changes = []; // each once
  watches = []; // {from, to}: when it was connected
  stream;
  #lastSeq = 0; // that was ever seen
  #bySeq = new Map();

  /** register: where the roster is asked for; rooms: of which rooms, too */
  constructor(url, { register, rooms = [] }) {
    Object.assign(this, { url, register, rooms });
  }

  /** Connects, as soon as there is a server, and asks for the rosters. */
  async connect({ timeout = 15_000, wanted = () => true } = {}) {
    const end = now() + timeout;
    for (;;) {
      try {
        return await this.#connect();
      } catch (error) {
        if (!wanted()) return undefined;
        if (now() > end) throw error;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }

  async #connect() {
    const client = await StompClient.connect(this.url);
    const before = this.#lastSeq;
    const views = new Map();
    const complain = (what) => this.wrong.push(what);
    for (const room of ['', ...this.rooms]) views.set(`roster ${room}`, new View(`roster ${room}`, room, complain));
    client.tap = (frame) => {
      const view = frame.command === 'MESSAGE' && views.get(frame.headers.subscription);
      if (!view) return false;
      const body = JSON.parse(frame.body);
      if (!Array.isArray(body)) {
        this.#sameStream(body.stream);
        if (body.seq < before) complain(`the roster's seq went back from ${before} to ${body.seq}`);
        this.#lastSeq = Math.max(this.#lastSeq, body.seq);
      }
      view.apply(body);
      if (Array.isArray(body)) for (const change of body) this.#remember(change);
      return true;
    };
    await Promise.all([...views].map(([id, view]) => client.request('SUBSCRIBE', { id, destination: this.register + view.room })));
    await eventually('rosters', () => !client.open || [...views.values()].every((view) => view.complete));
    if (!client.open) throw new Error('closed while the rosters came');
    const watch = { from: now(), to: Infinity };
    this.watches.push(watch);
    client.closed.then(() => (watch.to = now()));
    this.client = client;
    this.views = views;
    return client;
  }

  #sameStream(stream) {
    this.stream ??= stream;
    if (stream !== this.stream) this.wrong.push(`stream ${stream} instead of ${this.stream}`);
  }

  #remember(change) {
    this.#sameStream(change.stream);
    this.#lastSeq = Math.max(this.#lastSeq, change.seq);
    const known = this.#bySeq.get(change.seq);
    const same = (c) => JSON.stringify([c.type, c.sessionId, c.room, c.reason]);
    if (known && same(known) !== same(change)) this.wrong.push(`two changes are ${change.seq}: ${same(known)} and ${same(change)}`);
    if (known) return;
    this.#bySeq.set(change.seq, change);
    this.changes.push({ ...change, receivedAt: now() });
  }

  /** Waits until this view of things, and that of a client who comes now, are as expected; fails with the differences. */
  async agrees(expected, { timeout = 5000 } = {}) {
    const differences = (views) => [...views.values()].flatMap((view) => view.differences(expected(view.room)));
    const fails = (error, views) => {
      throw new Error(`${error.message}\n${differences(views).join('\n')}`);
    };
    await eventually('the roster with its changes is right', () => differences(this.views).length === 0, { timeout }).catch((error) => fails(error, this.views));
    const newcomer = new Witness(this.url, this);
    await newcomer.connect();
    await eventually('a new roster is right', () => differences(newcomer.views).length === 0, { timeout }).catch((error) => fails(error, newcomer.views));
    this.#sameStream(newcomer.stream);
    this.wrong.push(...newcomer.wrong);
    await newcomer.client.disconnect();
  }
}
