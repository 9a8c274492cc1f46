// Compares what was told of a population with the truth about it.

import { canonical } from './witness.mjs';

/** How far `at` may be before the kill: a process says every 2 s that it lives, or more often. */
const aliveWithin = 5000;
/** What the server has not kept when it dies this long after the client's end. */
const unkept = 1500;

const reasonOf = { disconnect: 'disconnect', reset: 'connection-lost', close: 'closed' };

/**
 * Checks what was told of every session.
 *
 * events: Caddy's stomp_disconnected events, {session_id, reason, seq}
 * Returns {wrong, figures}.
 */
export function judge({ population, witness, events }) {
  const { changes } = witness;
  const wrong = [];
  const figures = { lefts: {}, compact: 0, unwitnessed: 0, atBeforeKill: 0 };
  const of = new Map(population.sessions.map((session) => [session.id, { session, joined: [], left: new Map(), returned: [], last: 0 }]));
  for (const change of changes) {
    if (change.room) continue;
    const known = of.get(change.sessionId);
    if (!known) continue; // its CONNECTED was on its way when the server died
    if (known.left.size > 0) wrong.push(`${change.type} of ${change.sessionId} (${change.seq}) after its left`);
    if (change.type === 'left') known.left.set(change.seq, change);
    else if (change.type === 'joined') known.joined.push(change);
    else if (change.type === 'returned') known.returned.push(change);
  }
  for (const event of events) {
    const known = of.get(event.session_id);
    if (!known) continue;
    if (event.seq === 0) known.unannounced = (known.unannounced ?? 0) + 1;
    else {
      const change = known.left.get(event.seq);
      if (change && change.reason !== event.reason) wrong.push(`left ${event.seq}: ${change.reason} and ${event.reason}`);
      if (!change) known.left.set(event.seq, { ...event, sessionId: event.session_id, compact: true });
    }
  }
  for (const { boot, id, error } of population.losses) if (!population.kills[boot]) wrong.push(`${id} lost its connection, and nothing was killed: ${error}`);
  const there = new Set(population.present().map((entry) => entry.sessionId));
  for (const { session, joined, left, returned, unannounced } of of.values()) {
    if (joined.length > 1) wrong.push(`${session.id} joined ${joined.length} times`);
    if (joined.length > 0 && session.forgotten && session.spent === 0) wrong.push(`${session.id} was announced, and not known any more after a crash`);
    if (returned.length > session.returns.length + session.spent) wrong.push(`${session.id} returned ${session.returns.length} times, announced ${returned.length} times`);
    for (const { from, to, promised } of session.returns) {
      const seen = witness.watches.some((watch) => watch.from < from && to < watch.to - 500);
      if (seen && promised && !returned.some((change) => change.receivedAt > from && change.receivedAt < to + 1500)) wrong.push(`${session.id} returned, and nobody was told`);
    }
    const known = session.promised || joined.length > 0 || left.size > 0;
    if (!known) continue;
    if (left.size > 1 || (left.size > 0 && unannounced)) wrong.push(`${session.id} left as ${[...left.keys()]} and ${unannounced ?? 0} times unannounced`);
    if (there.has(session.id)) {
      if (left.size > 0) wrong.push(`${session.id} is there and has left`);
      continue;
    }
    if (left.size === 0) {
      figures.unwitnessed++;
      wrong.push(`nobody was told that ${session.id} has left (${JSON.stringify(session)})`);
      continue;
    }
    const [change] = left.values();
    figures.lefts[change.reason] = (figures.lefts[change.reason] ?? 0) + 1;
    judgeLeft({ session, change, population, wrong, figures });
  }
  return { wrong, figures };
}

function judgeLeft({ session, change, population, wrong, figures }) {
  const { end } = session;
  const kill = end && population.kills[end.boot];
  const mayBeCrash = !end || (kill && kill.from - end.at < unkept);
  const expected = end ? reasonOf[end.how] : 'server-crash';
  const takenOver = change.reason === 'policy' && session.spent;
  if (change.reason !== expected && !(mayBeCrash && change.reason === 'server-crash') && !takenOver) {
    wrong.push(`${session.id} left with ${change.reason} instead of ${expected}, ${JSON.stringify(end)}`);
  }
  if (change.compact || change.at === undefined) return void figures.compact++;
  // client data: what the server had to know at least, or what it was told later
  const says = canonical(change.clientData ?? null);
  const may = session.data.length ? session.data.map(canonical) : ['null'];
  if (!may.includes(says) && !(says === 'null' && !session.promised && session.user)) wrong.push(`${session.id} left as ${says}, not ${may.join(' or ')}`);
  if (change.user !== (session.user || undefined)) wrong.push(`${session.id} left as user ${change.user}, not ${session.user}`);
  if (change.reason !== 'server-crash') return;
  const at = Date.parse(change.at);
  let first = session.connections.findLastIndex((connection) => connection.sure);
  if (first < 0) first = 0;
  const kills = session.connections.slice(first).map(({ boot }) => population.kills[boot]).filter(Boolean);
  if (!kills.some(({ from, to }) => at >= from - aliveWithin && at <= to)) {
    wrong.push(`${session.id} left with server-crash at ${change.at}; it was killed at ${kills.map(({ from }) => new Date(from).toISOString())}`);
  }
  for (const { from } of kills) if (Math.abs(from - at) <= aliveWithin) figures.atBeforeKill = Math.max(figures.atBeforeKill, from - at);
}
