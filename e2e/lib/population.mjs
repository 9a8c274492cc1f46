// People who come, say who they are, change their minds, enter rooms, leave in every way, lose their server and come back
// or not; and the truth about them: what the server has promised, and what it may say.

import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { StompClient } from './stomp-client.mjs';
import { eventually, now } from './wait.mjs';

/** One session as its client knows it. */
class Session {
  data = []; // client data that the server may have; the first is what it must have at least
  connections = []; // {boot, at, sure}: sure if the server must know of it after a crash
  rooms = new Set();
  unsure = new Set(); // rooms that it has left, which a crash may bring back
  promised = false; // the server has given a receipt for who it is: it must be told of its end
  uncertain = false; // a crash may have lost what it said last
  spent = 0; // CONNECTs with its token whose answer a crash has cut off: the token may be used up
  forgotten = false; // it came back and was not known
  end; // {how, at, boot}: what the client did last
  returns = []; // {from, to, promised}: when it became the same session again

  constructor(id, user) {
    Object.assign(this, { id, user });
  }

  get known() {
    return this.data.length > 0 || this.user !== '';
  }

  /** How the roster shows it, once all is told: with one of several client data after a crash. */
  get entry() {
    const data = this.uncertain ? this.data : this.data.slice(-1);
    return { sessionId: this.id, user: this.user, clientData: data.length ? data : [null] };
  }
}

/** What a client may do, and how often. */
const acts = { update: 40, patch: 10, enter: 14, exit: 8, disconnect: 7, reset: 7, close: 4, takeover: 3, wait: 7 };

export class Population {
  sessions = [];
  counts = { sessions: 0, resumed: 0, spent: 0, forgotten: 0, tookOver: 0, refused: 0 };
  wrong = [];
  boot = 0;
  losses = []; // {boot, id, error}: connections that ended although their clients did not want it
  kills = []; // by boot: {from, to}, wall clock; absent where nothing was killed
  #people = [];
  #busy = 0;
  #paused = false;
  #goOn = [];
  #names = 0;
  #stopped = false;

  /**
   * url: of the endpoint, whose user is {query.user}; register: the register destination; rooms: their destinations
   * grace: how long the server waits for a client that comes back after a restart, in ms
   */
  constructor({ url, register, rooms, random, size, grace }) {
    Object.assign(this, { url, register, rooms, random, grace });
    this.#people = Array.from({ length: size }, () => ({}));
  }

  start() {
    this.#busy = this.#people.length;
    this.running = this.#people.map((person) => this.#live(person));
    for (const life of this.running) life.catch((error) => (this.failed ??= error));
  }

  /** Waits until everybody is connected, or has nothing to do, and nothing is under way. */
  async pause() {
    this.#paused = true;
    await eventually('nothing is under way', () => this.#check() || this.#busy === 0, { timeout: 30_000 });
    this.#check();
  }

  #check() {
    if (this.failed) throw this.failed;
  }

  goOn() {
    this.#paused = false;
    for (const go of this.#goOn.splice(0)) go();
  }

  async stop() {
    this.#stopped = true;
    this.goOn();
    await Promise.all(this.running);
    for (const { client } of this.#people) client?.ws.terminate();
  }

  /** Those who are there now, in a room or at all, as the roster must show them. */
  present(room = '') {
    const here = this.#people.filter(({ client, session }) => client?.open && session.known && (!room || session.rooms.has(room)));
    return here.map(({ session }) => session.entry);
  }

  get connected() {
    return this.#people.filter(({ client }) => client?.open).length;
  }

  async #gate() {
    if (!this.#paused) return;
    this.#busy--;
    await new Promise((go) => this.#goOn.push(go));
    this.#busy++;
  }

  async #live(person) {
    while (!this.#stopped) {
      await this.#gate();
      try {
        if (!person.client) await this.#arrive(person);
        await delay(this.random.between(5, 150));
        if (!person.client.open) throw new Gone();
        await this.#gate();
        await this.#act(person);
      } catch (error) {
        if (!gone(error)) throw error;
        await this.#lost(person, error);
      }
    }
    this.#busy--;
  }

  #newData() {
    const padding = this.random.chance(0.1) ? { about: 'x'.repeat(Math.floor(this.random.between(1, 3000))) } : {};
    return { name: `person ${++this.#names}`, ...padding };
  }

  /** A new session: its client data in CONNECT, by SEND, or none at all. */
  async #arrive(person) {
    person.user = this.random.chance(0.5) ? `user ${Math.floor(this.random.between(0, 8))}` : '';
    const how = this.random.weighted({ connect: 45, send: 40, none: 15 });
    const data = how === 'connect' ? this.#newData() : undefined;
    await this.#connect(person, { data });
    if (how === 'send') await this.#register(person, this.#newData());
    if (this.random.chance(0.6)) await this.#enter(person);
  }

  async #connect(person, { token, data }) {
    const boot = (person.boot = this.boot);
    const client = await StompClient.open(`${this.url}?user=${encodeURIComponent(person.user)}`).catch((error) => {
      this.counts.refused++; // Caddy drops connections that are being made while it reloads, for any handler
      throw Object.assign(error, { refused: true });
    });
    const from = now();
    const wall = Date.now();
    await client.connect({ ...(token && { 'resume-token': token }), ...(data && { 'client-data': JSON.stringify(data) }) }).catch((error) => {
      client.ws.terminate();
      if (token) {
        person.session.spent++;
        person.session.connections.push({ boot, at: wall, sure: false }); // it may have become one
        if (data) person.session.data.push(data);
      }
      throw error;
    });
    const before = token && person.session;
    if (before?.id === client.session) {
      before.returns.push({ from, to: now(), promised: before.promised });
      if (data) before.uncertain = false;
      this.counts.resumed++;
    } else {
      person.session = new Session(client.session, person.user);
      this.sessions.push(person.session);
      this.counts.sessions++;
    }
    if (data) person.session.data.push(data);
    person.session.connections.push({ boot, at: wall, sure: false });
    person.client = client;
    person.token = client.connected['resume-token'];
    assert.ok(person.token, 'CONNECTED has a resume-token');
    client.tap = (frame) => frame.command === 'MESSAGE';
    return person.session === before;
  }

  /** What the session is known to be from now on, whatever happens. */
  #promise(session) {
    session.promised = true;
    session.uncertain = false;
    session.data.splice(0, session.data.length - 1);
    session.connections.at(-1).sure = true;
  }

  async #register({ client, session }, data, headers = {}, sent = data) {
    session.data.push(data);
    await client.request('SEND', { destination: this.register, ...headers }, JSON.stringify({ clientData: sent }));
    this.#promise(session);
  }

  async #enter({ client, session }, room = this.rooms[Math.floor(this.random.between(0, this.rooms.length))]) {
    if (session.rooms.has(room)) return;
    session.rooms.add(room);
    session.unsure.delete(room);
    await client.request('SUBSCRIBE', { id: room, destination: room });
  }

  async #act(person) {
    const { client, session } = person;
    const act = this.random.weighted(acts);
    switch (act) {
      case 'update':
        return this.#register(person, this.#newData());
      case 'patch': {
        if (session.uncertain) return; // nobody knows what will come of it
        const patch = { mood: Math.floor(this.random.between(0, 1000)), name: null };
        const { name: _, ...rest } = session.data.at(-1) ?? {};
        return this.#register(person, { ...rest, mood: patch.mood }, { 'content-type': 'application/merge-patch+json' }, patch);
      }
      case 'enter':
        return this.#enter(person);
      case 'exit': {
        const [room] = session.rooms;
        if (!room) return;
        session.rooms.delete(room);
        session.unsure.add(room);
        return client.request('UNSUBSCRIBE', { id: room });
      }
      case 'takeover':
        return this.#takeOver(person);
      case 'wait':
        return delay(this.random.between(100, 400));
      default:
        // of the connection: the server may be dead already, and this process not know of the connection's end
        session.end = { how: act, at: Date.now(), boot: session.connections.at(-1).boot };
        if (act === 'disconnect') await client.request('DISCONNECT').catch(() => {});
        if (act === 'close') client.ws.close(1000);
        if (act === 'reset') client.reset();
        person.client = person.session = undefined;
    }
  }

  /** A second connection with the token, while the first is open. */
  async #takeOver(person) {
    const { client, session } = person;
    const same = await this.#connect(person, { token: person.token }).catch((error) => {
      if (error.refused && client.open) return undefined; // it stays as it is
      throw error;
    });
    if (same === undefined) return;
    if (!same) this.wrong.push(`${session.id} was not given to the connection that took over`);
    this.counts.tookOver++;
    await client.closed;
    await this.#resubscribe(person);
  }

  async #resubscribe({ client, session }) {
    for (const room of session.rooms) await client.request('SUBSCRIBE', { id: room, destination: room });
  }

  /** The server has gone: come back as the same session, or not. */
  async #lost(person, error) {
    const { session } = person;
    const from = this.boot;
    if (!error.refused) this.losses.push({ boot: person.boot, id: session?.id, error: error.message });
    person.client?.ws.terminate();
    person.client = undefined;
    if (!session || !this.random.chance(0.65)) {
      person.session = undefined;
      return delay(this.random.between(0, this.grace));
    }
    session.uncertain ||= session.data.length > 1 || (session.data.length > 0 && !session.promised);
    await delay(this.random.between(0, this.grace / 2));
    while (!this.#stopped) {
      try {
        const data = this.random.chance(0.2) ? this.#newData() : undefined;
        if (await this.#connect(person, { token: person.token, data })) {
          await this.#resubscribe(person);
          if (session.uncertain && !session.promised) await this.#register(person, this.#newData());
          return;
        }
        if (session.spent > 0) this.counts.spent++;
        else if (session.promised) this.wrong.push(`${session.id}, promised and lost at start ${from}, is ${person.session.id} after start ${this.boot}`);
        else session.forgotten = true;
        this.counts.forgotten += session.forgotten ? 1 : 0;
        return;
      } catch (error) {
        if (!gone(error)) throw error;
        person.client?.ws.terminate();
        person.client = undefined;
        session.uncertain ||= session.data.length > 1 || (session.data.length > 0 && !session.promised);
        await delay(this.random.between(5, 40));
      }
    }
  }

  /** Notes that the process was killed, by the wall clock, and that the next one begins. */
  killed(from, to) {
    this.kills[this.boot] = { from, to };
    this.boot++;
  }
}

class Gone extends Error {
  message = 'closed';
}

/** Whether an error says that there is no server. */
function gone(error) {
  return error instanceof Gone || /^closed \(|ECONNREFUSED|ECONNRESET|EPIPE|socket hang up|^50[23]: /.test(error.message);
}
