// Compares what an application was told by webhooks with what happened.

import { canonical, differences } from './witness.mjs';

const positionOf = ({ id, stream }) => Number(id.slice(stream.length + 1));

/** Each event once, in the order of its first arrival; what must not be is said to complain. */
function deduplicated(deliveries, complain) {
  const [known, batches, events] = [new Map(), new Map(), []];
  for (const { webhookId, events: batch } of deliveries) {
    const ids = batch.map(({ id }) => id).join(' ');
    if (batch.length === 0) complain(`${webhookId} is empty`);
    if ((batches.get(webhookId) ?? ids) !== ids) complain(`two requests are ${webhookId}: ${batches.get(webhookId)} and ${ids}`);
    batches.set(webhookId, ids);
    let last = 0;
    for (const event of batch) {
      const position = positionOf(event);
      if (!event.id.startsWith(`${event.stream}-`) || !(position > last)) complain(`${event.id} after ${last} in ${webhookId}, of stream ${event.stream}`);
      last = position;
      const text = canonical(event);
      if ((known.get(event.id) ?? text) !== text) complain(`two events are ${event.id}: ${known.get(event.id)} and ${text}`);
      if (!known.has(event.id)) events.push({ ...event, position });
      known.set(event.id, text);
    }
  }
  return events;
}

/** What happens to a session, or to one in a room, in its order. */
class Life {
  position = 0;

  take(event, complain) {
    const { type, position } = event;
    if (position <= this.position) complain(`${type} of ${event.sessionId}: ${event.id} after ${this.position}`);
    this.position = position;
    if (event.seq === undefined) return; // it was not announced, or nothing changes who is there
    const there = this.there ?? false;
    if (there === (type === 'joined')) complain(`${type} of ${event.sessionId} ${event.room ?? ''} (${event.id}), who is ${there ? '' : 'not '}there`);
    this.there = type !== 'left';
  }
}

/**
 * Checks what was delivered; changes: what peers were told, as far as somebody was there to hear it
 *
 * Returns {wrong, events}.
 */
export function judgeDeliveries(deliveries, changes) {
  const wrong = [];
  const complain = (what) => wrong.push(what);
  const events = deduplicated(deliveries, complain);
  const [lives, bySeq, last] = [new Map(), new Map(), new Map()];
  for (const event of events) {
    const key = `${event.sessionId} ${event.room ?? ''}`;
    if (!lives.has(key)) lives.set(key, new Life());
    lives.get(key).take(event, complain);
    if (event.position <= (last.get(event.sessionId) ?? 0)) complain(`${event.id} of ${event.sessionId} after ${last.get(event.sessionId)}`);
    last.set(event.sessionId, event.position);
    if (event.seq === undefined) continue;
    if (bySeq.has(event.seq)) complain(`two events have the seq ${event.seq}: ${bySeq.get(event.seq).id} and ${event.id}`);
    bySeq.set(event.seq, event);
  }
  // a crash has them jump by 2^32; what was told last before it is among the changes
  let before = 0;
  for (const seq of [...bySeq.keys()].sort((a, b) => a - b)) {
    if (seq !== before + 1 && seq <= before + 2 ** 31) complain(`after seq ${before} comes ${seq}`);
    before = seq;
  }
  const told = (change) => change && canonical([change.stream, change.type, change.sessionId, change.room ?? '', change.reason ?? '', change.user ?? '']);
  for (const change of changes) {
    if (told(change) !== told(bySeq.get(change.seq))) complain(`peers were told ${told(change)} as ${change.seq}, the application ${told(bySeq.get(change.seq))}`);
  }
  return { wrong, events };
}

/** What is missing, too much and different in the application's table; expected: (room) => sessions as they must be */
export function tableDifferences(table, rooms, expected) {
  const found = table.filter((row) => row.room && !rooms.includes(row.room)).map((row) => `no room is ${row.room}`);
  for (const room of ['', ...rooms]) {
    const rows = table.filter((row) => (row.room ?? '') === room).map((row) => [row.sessionId, { ...row, state: row.unreachable && 'unreachable' }]);
    if (new Map(rows).size < rows.length) found.push(`somebody is in the table of ${room} twice`);
    found.push(...differences(`table ${room}`, new Map(rows), expected(room)));
  }
  return found;
}
