// The roster equals the truth, whatever happens: random changes, pages, batches, compact entries, resets, lost connections,
// shared rosters that are a little old, and servers that start anew. SEED=... runs one seed again.

import assert from 'node:assert/strict';
import test from 'node:test';
import {Presence} from '../presence.js';
import {Connection, MemoryStorage, entry} from './connection.mjs';

const SEEDS = process.env.SEED ? [Number(process.env.SEED)] : Array.from({length: 400}, (_, i) => i + 1);
const STEPS = 250;
const ROOMS = ['', '/topic/rooms/a', '/topic/rooms/b']; // the first is everybody

/** mulberry32: a number from 0 to 1 for each call, the same ones for the same seed. */
function randomOf(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What the server does for one scope: the truth, every change of it, and those that subscribe. */
class Scope {
  sessions = new Map();
  changes = []; // all of this stream
  snapshot = {seq: 0, sessions: []};
  reader; // {queue} of our one subscriber
}

class Server {
  seq = 0;
  scopes = new Map(ROOMS.map(room => [room, new Scope()]));

  constructor(random, stream) {
    Object.assign(this, {random, stream, seq: Math.floor(random() * 50)});
  }

  below(n) {
    return Math.floor(this.random() * n);
  }

  /** One random thing happens to one session of one scope. */
  happen(room) {
    const scope = this.scopes.get(room), id = `s${this.below(12)}`, session = scope.sessions.get(id);
    const user = ['mina', 'jon', undefined][this.below(3)];
    if (!session) return this.announce(room, 'joined', entry(id, user && {user}));
    const {state, ...reachable} = session;
    const type = state ? ['returned', 'left'][this.below(2)] : ['updated', 'unreachable', 'left', 'returned'][this.below(4)];
    const data = type === 'updated' || type === 'returned' ? {clientData: {name: id, n: this.seq}} : {};
    return this.announce(room, type, {...reachable, ...data, ...(type === 'unreachable' && {state: 'unreachable'})});
  }

  announce(room, type, session) {
    const scope = this.scopes.get(room);
    if (type === 'left') scope.sessions.delete(session.sessionId);
    else scope.sessions.set(session.sessionId, session);
    this.seq += 1 + this.below(3); // other scopes count with the same numbers
    const {state, ...rest} = session;
    const full = {stream: this.stream, seq: this.seq, type, ...(room && {room}), ...rest};
    if (session.user) full.userSessions = [...scope.sessions.values()].filter(({user}) => user === session.user).length;
    scope.changes.push(full);
    scope.reader?.push({change: full});
  }

  /** A roster, maybe an older one that was made for somebody else, and the changes since. */
  subscribe(room) {
    const scope = this.scopes.get(room);
    if (this.random() < 0.5) scope.snapshot = {seq: this.seq, sessions: [...scope.sessions.values()]};
    const {seq, sessions} = scope.snapshot;
    scope.reader = [];
    const pages = [];
    for (let from = 0; from < sessions.length; from += 4) pages.push(sessions.slice(from, from + 4));
    if (pages.length === 0) pages.push([]);
    pages.forEach((page, i) => scope.reader.push({body: {stream: this.stream, seq, more: i < pages.length - 1, sessions: page}}));
    for (const change of scope.changes.filter(change => change.seq > seq)) scope.reader.push({change});
  }

  /** Takes the next MESSAGE for the subscriber out of its queue; undefined if there is none. */
  next(room) {
    const {reader} = this.scopes.get(room);
    if (!reader?.length) return undefined;
    if (reader[0].body) return reader.shift().body;
    if (reader.length > 3 && this.random() < 0.05) { // too far behind
      const {seq} = reader.at(-1).change;
      reader.length = 0;
      return [{stream: this.stream, seq, type: 'reset'}];
    }
    const body = [];
    for (let n = 1 + this.below(6); n > 0 && reader[0]?.change; n--) body.push(this.compact(reader.shift().change));
    return body;
  }

  compact(change) {
    if (!['left', 'unreachable'].includes(change.type) || this.random() < 0.5) return change;
    const {stream, seq, type, room, sessionId, user, reason} = change;
    return {stream, seq, type, room, sessionId, user, reason};
  }
}

/** A connection whose subscriptions are those of a server. */
class Served extends Connection {
  constructor(server) {
    super();
    this.server = server;
  }

  subscribe(destination, callback) {
    const subscription = super.subscribe(destination, callback);
    if (destination.startsWith('/app/presence')) this.server.subscribe(destination.slice('/app/presence'.length));
    return subscription;
  }
}

/** What the rosters should hold, as they show it. */
const shown = ({state, ...session}) => ({...session, unreachable: state === 'unreachable'});
const sorted = sessions => [...sessions].sort((a, b) => (a.sessionId < b.sessionId ? -1 : 1));

function live(seed) {
  const random = randomOf(seed);
  let server = new Server(random, `stream-0`), streams = 1, connection, settled = 0;
  const presence = new Presence({storage: new MemoryStorage()});
  const rosters = new Map(ROOMS.map(room => [room, room ? presence.room(room).join() : presence]));
  const told = new Map(); // room -> stream and seq of the last one that was told
  /** The fold of the events: `sync` for what is, the others for what changes. */
  const folds = new Map(ROOMS.map(room => [room, new Map()]));
  for (const [room, roster] of rosters) {
    const fold = folds.get(room);
    roster.addEventListener('sync', ({detail: {joined, left}}) => {
      for (const session of left) assert.ok(fold.delete(session.sessionId), 'left was there before');
      for (const session of joined) fold.set(session.sessionId, session);
    });
    roster.addEventListener('change', ({detail: {change, session, userSessions}}) => {
      const last = told.get(room);
      assert.ok(!last || last.stream !== change.stream || change.seq > last.seq, 'each change is told once, in order');
      told.set(room, change);
      if (change.userSessions !== undefined) assert.equal(userSessions, change.userSessions, 'tabs of the user');
      if (change.type === 'left') fold.delete(session.sessionId);
      else fold.set(session.sessionId, session);
    });
  }

  const connect = () => {
    if (random() < 0.8) presence.disconnected();
    if (connection) connection.broken = true;
    for (const scope of server.scopes.values()) scope.reader = undefined;
    connection = new Served(server);
    presence.connected(connection, {session: 'me'});
  };
  const deliver = room => {
    const body = server.next(room);
    if (body) connection.publish(`/app/presence${room}`, body);
    return body !== undefined;
  };
  const settle = () => {
    for (const [room, roster] of rosters) {
      while (deliver(room));
      const truth = sorted(server.scopes.get(room).sessions.values()).map(shown);
      assert.equal(roster.live, true);
      assert.deepEqual(sorted(roster.sessions.values()), truth, `roster of ${room || 'everybody'}`);
      assert.deepEqual([...folds.get(room).keys()].sort(), truth.map(({sessionId}) => sessionId), `fold of what was told`);
      assert.equal(roster.people.flatMap(({sessions}) => sessions).length, truth.length);
      settled++;
    }
  };

  connect();
  for (let step = 0; step < STEPS; step++) {
    const room = ROOMS[Math.floor(random() * ROOMS.length)];
    const dice = random();
    if (dice < 0.5) server.happen(room);
    else if (dice < 0.9) deliver(room);
    else if (dice < 0.95) connect();
    else if (dice < 0.96) {
      server = new Server(random, `stream-${streams++}`);
      connect();
    } else settle();
  }
  settle();
  return settled;
}

test(`the rosters equal the truth: ${SEEDS.length} seeds of ${STEPS} steps`, () => {
  let settled = 0;
  for (const seed of SEEDS) {
    try {
      settled += live(seed);
    } catch (error) {
      error.message = `SEED=${seed}: ${error.message}`;
      throw error;
    }
  }
  assert.ok(settled > SEEDS.length * ROOMS.length, 'it was looked at more than once');
});
