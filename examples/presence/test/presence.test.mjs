import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import test, {beforeEach, describe} from 'node:test';
import {Presence, Roster} from '../presence.js';
import {Connection, MemoryStorage, entry} from './connection.mjs';

const REGISTER = '/app/presence';
let connection, presence, events;

/** Connects; the one before is lost. */
function connect(headers = {}) {
  presence.disconnected();
  connection = new Connection();
  presence.connected(connection, {session: 'me', ...headers});
}

/** Writes down what a roster tells. */
function listen(roster) {
  const heard = [];
  roster.addEventListener('sync', ({detail}) => heard.push(['sync', ids(detail.joined), ids(detail.left)]));
  for (const type of ['joined', 'updated', 'unreachable', 'returned', 'left']) {
    roster.addEventListener(type, ({detail}) => {
      assert.equal(detail.change.type, type);
      heard.push([type, detail.session, detail.previous, detail.userSessions]);
    });
  }
  return heard;
}

beforeEach(() => {
  presence = new Presence({storage: new MemoryStorage()});
  events = listen(presence);
  connect();
});

const ids = sessions => sessions.map(session => session.sessionId).join();
const here = (roster = presence) => ids([...roster.sessions.values()]);
const types = () => events.map(([type]) => type);
const publish = body => connection.publish(REGISTER, body);
const roster = (sessions, rest) => publish({stream: 'a', seq: 10, sessions: sessions.map(id => entry(id)), ...rest});
const change = (seq, type, sessionId, rest) => ({stream: 'a', seq, type, ...entry(sessionId), ...rest});

describe('a roster', () => {
  test('in pages becomes known at once', () => {
    roster(['x', 'y'], {more: true});
    assert.equal(here(), '');
    assert.equal(presence.live, false);
    roster(['me'], {more: false, unknown: 1});
    assert.equal(here(), 'x,y,me');
    assert.equal(presence.live, true);
    assert.equal(presence.me.clientData.name, 'me');
    assert.deepEqual(events, [['sync', 'x,y,me', '']]);
  });

  test('says who is unreachable', () => {
    publish({stream: 'a', seq: 1, sessions: [entry('x', {state: 'unreachable'}), entry('y')]});
    assert.deepEqual([...presence.sessions.values()].map(session => session.unreachable), [true, false]);
  });

  test('changes in order', () => {
    roster(['x']);
    events.length = 0;
    publish([change(11, 'joined', 'y'), change(12, 'updated', 'x', {clientData: 'new'})]);
    publish([change(13, 'unreachable', 'y', {reason: 'connection-lost'})]);
    assert.equal(presence.sessions.get('y').unreachable, true);
    publish([change(14, 'returned', 'y')]);
    assert.equal(presence.sessions.get('y').unreachable, false);
    publish([change(15, 'left', 'y', {reason: 'closed', connectedFor: 3})]);
    assert.equal(here(), 'x');
    assert.deepEqual(types(), ['joined', 'updated', 'unreachable', 'returned', 'left']);
    assert.equal(events[1][1].clientData, 'new');
    assert.deepEqual(events[1][2].clientData, {name: 'x'});
  });

  test('client data that is false, null or empty is client data', () => {
    roster(['x']);
    for (const [i, clientData] of [false, null, '', 0].entries()) {
      publish([change(11 + i, 'updated', 'x', {clientData})]);
      assert.strictEqual(presence.sessions.get('x').clientData, clientData);
    }
  });

  test('what it has already is ignored, and what came before', () => {
    roster(['x']);
    publish([change(10, 'left', 'x'), change(9, 'joined', 'y'), change(11, 'joined', 'z'), change(11, 'left', 'z')]);
    assert.equal(here(), 'x,z');
  });

  test('changes between two pages wait for the last', () => {
    roster(['x'], {more: true});
    publish([change(9, 'left', 'x'), change(11, 'left', 'x')]);
    roster(['y']);
    assert.equal(here(), 'y');
    assert.deepEqual(types(), ['sync', 'left']);
  });

  test('changes before any roster are ignored, also after a reconnect', () => {
    publish([change(11, 'joined', 'x')]);
    roster(['y']);
    assert.equal(here(), 'y');
    connect();
    publish([change(11, 'joined', 'x')]);
    assert.equal(here(), 'y');
  });

  test('a compact change keeps what is known', () => {
    roster(['x']);
    publish([{seq: 11, type: 'unreachable', sessionId: 'x', reason: 'connection-lost'}]);
    assert.deepEqual(presence.sessions.get('x'), {...entry('x'), unreachable: true});
    publish([{seq: 12, type: 'left', sessionId: 'x', reason: 'closed'}]);
    publish([{seq: 13, type: 'joined', sessionId: 'y', user: 'mina'}]);
    assert.deepEqual(presence.sessions.get('y'), {sessionId: 'y', unreachable: false, user: 'mina'});
    assert.deepEqual(events.at(-2)[1].clientData, {name: 'x'});
  });

  test('unknown types and bodies are ignored', () => {
    roster(['x']);
    publish([change(11, 'danced', 'x'), change(12, 'joined', 'y')]);
    publish({hello: 1});
    publish(null);
    assert.equal(here(), 'x,y');
  });

  for (const [name, cause] of [
    ['reset', {type: 'reset', seq: 20}],
    ['another stream', change(3, 'joined', 'q', {stream: 'b'})],
  ]) {
    test(`${name} asks again`, () => {
      roster(['x', 'y']);
      const old = connection.newest(REGISTER);
      publish([change(11, 'joined', 'z'), cause, change(21, 'left', 'x')]);
      assert.deepEqual(connection.log.slice(-2), [`unsubscribe ${REGISTER}`, `subscribe ${REGISTER}`]);
      assert.equal(here(), 'x,y,z', 'what is known stays until the new roster is there');
      assert.equal(presence.live, false);
      old.callback({body: JSON.stringify([change(22, 'left', 'y')])});
      assert.equal(here(), 'x,y,z', 'nothing more from the old subscription');
      roster(['y', 'new'], {stream: 'b', seq: 2});
      publish([change(3, 'joined', 'q', {stream: 'b'})]);
      assert.equal(here(), 'y,new,q');
      assert.deepEqual(events.find(([type, joined]) => type === 'sync' && joined === 'new'), ['sync', 'new', 'x,z']);
      assert.equal(connection.subscribed(REGISTER), 2);
    });
  }

  test('a reset in the middle of a roster asks again', () => {
    roster(['x'], {more: true});
    publish([{type: 'reset', seq: 20}]);
    roster(['y'], {seq: 21});
    assert.equal(here(), 'y');
    assert.equal(connection.subscribed(REGISTER), 2);
  });

  test('after a reconnect, also in the middle of a roster', () => {
    roster(['x', 'y']);
    connect();
    roster(['ghost'], {seq: 12, more: true});
    connect({session: 'me2'});
    assert.equal(here(), 'x,y');
    roster(['y'], {stream: 'c', seq: 1, more: true});
    roster(['me2'], {stream: 'c', seq: 1});
    assert.equal(here(), 'y,me2');
    assert.equal(presence.me.sessionId, 'me2');
    assert.deepEqual(events.at(-1), ['sync', 'me2', 'x']);
    publish([change(2, 'left', 'y', {stream: 'c'})]);
    assert.equal(here(), 'me2');
  });

  test('half a roster is not completed by one of the same seq on the next connection', () => {
    roster(['ghost'], {more: true});
    connect();
    roster(['x']);
    assert.equal(here(), 'x');
  });

  test('after a short loss an older roster is no news, and what was missed is told once', () => {
    roster(['x', 'y']);
    publish([change(11, 'left', 'x'), change(12, 'joined', 'z')]);
    connect();
    events.length = 0;
    roster(['x', 'y']);
    assert.equal(here(), 'y,z', 'x does not come back to life');
    publish([change(11, 'left', 'x'), change(12, 'joined', 'z'), change(13, 'left', 'y')]);
    assert.equal(here(), 'z');
    assert.deepEqual(events.map(([type, ...rest]) => (type === 'sync' ? [type, ...rest] : type)), [['sync', '', ''], 'left']);
  });

  test('after a reset an older roster is no news either, and nothing is told twice', () => {
    roster(['x', 'y']);
    publish([change(11, 'left', 'x'), {type: 'reset', seq: 13}]);
    events.length = 0;
    roster(['x', 'y']);
    publish([change(11, 'left', 'x'), change(12, 'left', 'y'), change(13, 'joined', 'z')]);
    assert.equal(here(), 'z');
    assert.deepEqual(types(), ['sync', 'left', 'joined']);
  });

  test('a new stream counts from its own beginning', () => {
    roster(['x'], {seq: 50});
    publish([change(51, 'joined', 'y')]);
    connect();
    roster(['x'], {stream: 'b', seq: 1});
    events.length = 0;
    publish([change(2, 'left', 'x', {stream: 'b'})]);
    assert.deepEqual(types(), ['left']);
  });

  test('a lost connection keeps what is known, and says that it may be old', () => {
    roster(['x']);
    presence.disconnected();
    assert.equal(here(), 'x');
    assert.equal(presence.live, false);
  });

  test('disconnected does not mind a client that throws, nor being called twice', () => {
    connection.broken = true;
    presence.disconnected();
    presence.disconnected();
    connect();
    roster(['x']);
    assert.equal(here(), 'x');
  });

  test('connected without disconnected before does not unsubscribe on the new connection', () => {
    const next = new Connection();
    presence.connected(next, {session: 'me'});
    assert.deepEqual(next.log, [`subscribe ${REGISTER}`]);
    publish({stream: 'a', seq: 1, sessions: [entry('old')]});
    assert.equal(here(), '', 'nothing from the old connection');
  });

  test('a listener that goes away in the middle hears nothing more', () => {
    roster(['x'], {more: true});
    publish([change(11, 'joined', 'y')]);
    presence.addEventListener('sync', () => presence.disconnected());
    roster([]);
    assert.deepEqual(types(), ['sync']);
  });
});

describe('users', () => {
  const tab = (sessionId, user, second, rest) => entry(sessionId, {user, connectedAt: `2026-11-22T10:00:0${second}.000Z`, ...rest});

  test('several tabs of one user are one person', () => {
    publish({stream: 'a', seq: 1, sessions: [tab('b', 'mina', 2), tab('c', undefined, 0), tab('a', 'mina', 1), tab('d', undefined, 3)]});
    assert.deepEqual(presence.people.map(({id, user, sessions}) => [id, user, ids(sessions)]),
      [['c', undefined, 'c'], ['mina', 'mina', 'a,b'], ['d', undefined, 'd']]);
    assert.equal(presence.people[1].session.sessionId, 'b', 'the newest is shown');
  });

  test('a user is unreachable when all tabs are, and the one that is reachable is shown', () => {
    publish({stream: 'a', seq: 1, sessions: [tab('a', 'mina', 1), tab('b', 'mina', 2, {state: 'unreachable'})]});
    assert.equal(presence.people[0].unreachable, false);
    assert.equal(presence.people[0].session.sessionId, 'a');
    publish([{seq: 2, type: 'unreachable', sessionId: 'a', user: 'mina'}]);
    assert.equal(presence.people[0].unreachable, true);
    assert.equal(presence.people[0].session.sessionId, 'b');
  });

  test('a user and a session id are never the same person', () => {
    publish({stream: 'a', seq: 1, sessions: [tab('mina', undefined, 1), tab('x', 'mina', 2)]});
    assert.equal(presence.people.length, 2);
  });

  test('userSessions is told also of compact changes, and is 0 when the user is gone', () => {
    publish({stream: 'a', seq: 1, sessions: [tab('a', 'mina', 1), tab('b', 'mina', 2), tab('c', undefined, 1)]});
    events.length = 0;
    publish([{seq: 2, type: 'left', sessionId: 'a', user: 'mina'}, {seq: 3, type: 'left', sessionId: 'b', user: 'mina'},
      {seq: 4, type: 'left', sessionId: 'c'}]);
    assert.deepEqual(events.map(([, , , userSessions]) => userSessions), [1, 0, undefined]);
  });
});

describe('a session', () => {
  test('keeps its resume token, and uses the newest', () => {
    assert.deepEqual(presence.connectHeaders(), {});
    connect({'resume-token': 'one'});
    assert.deepEqual(presence.connectHeaders(), {'resume-token': 'one'});
    connect({'resume-token': 'two'});
    assert.equal(presence.resumed, true);
    assert.deepEqual(presence.connectHeaders(), {'resume-token': 'two'});
    connect();
    assert.deepEqual(presence.connectHeaders(), {}, 'a server without resume');
  });

  test('is not resumed when the server gives another id', () => {
    connect({session: 'other'});
    assert.equal(presence.resumed, false);
    assert.equal(presence.sessionId, 'other');
  });

  test('outlives the page in its storage', () => {
    const storage = new MemoryStorage();
    presence = new Presence({storage});
    connect({'resume-token': 'one'});
    presence = new Presence({storage});
    assert.deepEqual(presence.connectHeaders(), {'resume-token': 'one'});
    connect({'resume-token': 'two'});
    assert.equal(presence.resumed, true);
    assert.deepEqual(new Presence({storage, key: 'another endpoint'}).connectHeaders(), {});
    presence.forget();
    assert.deepEqual(presence.connectHeaders(), {});
    assert.deepEqual(new Presence({storage}).connectHeaders(), {});
  });

  test('a duplicated tab: the one that is taken over comes back as a new session, and stays', () => {
    // The server's rule: a token is good for one use, and gives the session to who uses it.
    const sessions = new Map(); // id -> epoch
    const accept = page => {
      const [id, epoch] = (page.connectHeaders()['resume-token'] ?? '').split('.');
      const session = sessions.get(id) === Number(epoch) ? id : `s${sessions.size}`;
      sessions.set(session, (sessions.get(session) ?? 0) + 1);
      page.disconnected();
      page.connected(new Connection(), {session, 'resume-token': `${session}.${sessions.get(session)}`});
    };
    const storage = new MemoryStorage();
    const first = new Presence({storage});
    accept(first);
    const second = new Presence({storage: new MemoryStorage(storage)});
    accept(second);
    assert.equal(second.sessionId, first.sessionId, 'taken over');
    accept(first); // it reconnects, since its connection was ended
    assert.notEqual(first.sessionId, second.sessionId);
    assert.equal(first.resumed, false);
    for (const page of [first, second, first]) {
      accept(page); // whoever comes back from now on is who it was
      assert.equal(page.resumed, true);
    }
    assert.equal(sessions.size, 2);
  });

  for (const [name, storage] of Object.entries({
    'is forbidden': {getItem() { throw new Error(); }, setItem() { throw new Error(); }, removeItem() { throw new Error(); }},
    'holds something else': {getItem: () => '{', setItem() {}, removeItem() {}},
    'holds null': {getItem: () => 'null', setItem() {}, removeItem() {}},
    'is not there': undefined,
  })) {
    test(`a storage that ${name} does not matter while the page lives`, () => {
      presence = new Presence({storage});
      assert.deepEqual(presence.connectHeaders(), {});
      connect({'resume-token': 'one'});
      assert.deepEqual(presence.connectHeaders(), {'resume-token': 'one'});
      presence.forget();
      assert.deepEqual(presence.connectHeaders(), {});
    });
  }

  test('says who it is in CONNECT, and later', () => {
    presence = new Presence({clientData: {name: 'Mina'}});
    assert.deepEqual(presence.connectHeaders(), {'client-data': '{"name":"Mina"}'});
    connect();
    assert.deepEqual(connection.sent, []);
    presence.update({name: 'Zoé'});
    assert.deepEqual(connection.sent,
      [{destination: REGISTER, body: '{"clientData":{"name":"Zoé"}}', headers: {'content-type': 'application/json'}}]);
    assert.deepEqual(presence.clientData, {name: 'Zoé'});
    presence.disconnected();
    presence.update(null);
    assert.deepEqual(presence.connectHeaders(), {'client-data': 'null'});
  });

  test('says it after CONNECT if it is too long for a header', () => {
    const clientData = 'é'.repeat(760); // 1522 bytes
    presence = new Presence({clientData});
    assert.deepEqual(presence.connectHeaders(), {});
    connect();
    assert.deepEqual(connection.sent.map(({body}) => JSON.parse(body)), [{clientData}]);
    presence = new Presence({clientData: clientData.slice(20)});
    assert.deepEqual(Object.keys(presence.connectHeaders()), ['client-data']);
    connect();
    assert.deepEqual(connection.sent, []);
  });

  test('says again what was changed while CONNECT was under way', () => {
    presence = new Presence({clientData: 'old'});
    presence.connectHeaders();
    presence.update('new');
    connect();
    assert.deepEqual(connection.sent.map(({body}) => body), ['{"clientData":"new"}']);
  });

  test('an onlooker says nothing', () => {
    assert.deepEqual(connection.sent, []);
    assert.equal(presence.me, undefined);
  });

  test('speaks through send where there is no publish', () => {
    const sent = [];
    connection.publish = undefined;
    connection.send = (...args) => sent.push(args);
    presence.update(1);
    assert.deepEqual(sent, [[REGISTER, '{"clientData":1}', {'content-type': 'application/json'}]]);
  });

  test('leaves a will', () => {
    presence.will = {destination: '/topic/news', body: '{"gone":1}', contentType: 'application/json', delay: 0};
    assert.deepEqual(presence.connectHeaders(), {
      'will-destination': '/topic/news', 'will-body': '{"gone":1}', 'will-content-type': 'application/json', 'will-delay': '0',
    });
    presence.will = {destination: '/topic/news'};
    assert.deepEqual(presence.connectHeaders(), {'will-destination': '/topic/news'});
  });
});

describe('rooms', () => {
  const ROOM = '/topic/rooms/a', ROSTER = REGISTER + ROOM;

  test('a room has a roster and messages of its own', () => {
    const room = presence.room(ROOM).join();
    assert.deepEqual(connection.log, [`subscribe ${REGISTER}`, `subscribe ${ROSTER}`, `subscribe ${ROOM}`]);
    const heard = listen(room), messages = [];
    room.addEventListener('message', ({detail}) => messages.push(detail.body));
    roster(['x', 'me']);
    connection.publish(ROSTER, {stream: 'a', seq: 10, sessions: [entry('me')]});
    connection.publish(ROSTER, [change(11, 'joined', 'x', {room: ROOM})]);
    connection.publish(ROOM, {text: 'hello'});
    assert.equal(here(room), 'me,x');
    assert.deepEqual(heard.map(([type]) => type), ['sync', 'joined']);
    assert.deepEqual(types(), ['sync'], 'the roster of everybody is not told of it');
    assert.deepEqual(messages, ['{"text":"hello"}']);
    connection.publish(ROSTER, [change(12, 'left', 'x', {room: ROOM, reason: 'unsubscribed'})]);
    assert.equal(here(room), 'me');
    assert.equal(here(), 'x,me');
  });

  test('a reset of one roster does not concern the others', () => {
    const room = presence.room(ROOM).join();
    roster(['x']);
    connection.publish(ROSTER, {stream: 'a', seq: 10, sessions: [entry('x')]});
    connection.publish(ROSTER, [{type: 'reset', seq: 12}]);
    assert.equal(presence.live, true);
    assert.equal(room.live, false);
    assert.equal(connection.subscribed(ROSTER), 2);
    assert.equal(connection.subscribed(ROOM), 1, 'it is in the room all the time');
  });

  test('watched is not joined', () => {
    const room = presence.room(ROOM);
    assert.deepEqual(connection.log, [`subscribe ${REGISTER}`, `subscribe ${ROSTER}`]);
    connection.publish(ROSTER, {stream: 'a', seq: 10, sessions: [entry('x')]});
    assert.equal(here(room), 'x');
    assert.equal(room.joined, false);
  });

  test('rooms are gone into again after a reconnect, before the roster of everybody is asked for', () => {
    presence.room(ROOM).join();
    presence.room('/topic/rooms/b');
    presence.disconnected();
    const late = presence.room('/topic/rooms/c').join();
    connect();
    assert.deepEqual(connection.log.filter(line => !line.includes(REGISTER)), ['subscribe /topic/rooms/a', 'subscribe /topic/rooms/c']);
    assert.equal(connection.subscribed(`${REGISTER}/topic/rooms/b`), 1);
    assert.equal(connection.log.at(-1), `subscribe ${REGISTER}`);
    assert.equal(presence.room('/topic/rooms/c'), late);
  });

  test('left is left: unsubscribed, watched on, and not gone into again', () => {
    const room = presence.room(ROOM).join();
    connection.publish(ROSTER, {stream: 'a', seq: 10, sessions: [entry('me')]});
    room.leave();
    room.leave();
    assert.equal(connection.log.at(-1), `unsubscribe ${ROOM}`);
    connection.publish(ROSTER, [change(11, 'left', 'me', {room: ROOM, reason: 'unsubscribed'})]);
    assert.equal(here(room), '');
    connect();
    assert.deepEqual(connection.log, [`subscribe ${ROSTER}`, `subscribe ${REGISTER}`]);
    room.join();
    assert.equal(connection.subscribed(ROOM), 1);
  });

  test('left while there is no connection', () => {
    const room = presence.room(ROOM).join();
    presence.disconnected();
    room.leave();
    connect();
    assert.equal(connection.subscribed(ROOM), 0);
  });

  test('nothing of the last connection is unsubscribed on the next', () => {
    const room = presence.room(ROOM).join(), old = connection;
    connection = new Connection();
    presence.connected(connection, {session: 'me'});
    room.close();
    assert.deepEqual(old.log.filter(line => line.startsWith('un')), []);
    assert.deepEqual(connection.log.filter(line => line.startsWith('un')), [`unsubscribe ${ROOM}`, `unsubscribe ${ROSTER}`]);
  });

  test('closed is closed, and says nothing more', () => {
    const room = presence.room(ROOM).join();
    const heard = listen(room);
    room.addEventListener('message', () => heard.push(['message']));
    room.close();
    connection.newest(ROSTER).callback({body: JSON.stringify([change(11, 'left', 'x')])});
    connection.newest(ROOM).callback({body: '{}'});
    assert.deepEqual(heard, []);
    connect();
    assert.deepEqual(connection.log, [`subscribe ${REGISTER}`]);
    assert.notEqual(presence.room(ROOM), room);
  });

  test('twice is once', () => {
    const room = presence.room(ROOM).join();
    assert.equal(presence.room(ROOM).join(), room);
    assert.equal(connection.subscribed(ROOM), 1);
  });
});

test('presence.d.ts knows the members that there are', () => {
  const types = readFileSync(new URL('../presence.d.ts', import.meta.url), 'utf8');
  const room = new Presence().room('/r');
  for (const [name, instance, inherited] of [
    ['Roster', new Roster('/x'), EventTarget.prototype], ['Room', room, Roster.prototype], ['Presence', new Presence(), Roster.prototype],
  ]) {
    const prototype = Object.getPrototypeOf(instance);
    const body = types.match(new RegExp(`export class ${name}\\b[^]*?\\n}`))[0];
    const declared = new Set([...body.matchAll(/^ {2}(?:get )?(\w+)[(<:]/gm)].map(([, member]) => member));
    const own = [...Object.getOwnPropertyNames(prototype), ...Object.keys(instance)];
    for (const member of own) {
      assert.ok(declared.has(member) || member in inherited || Object.hasOwn(new Roster('/x'), member), `${name}.${member} is not declared`);
    }
    for (const member of declared) assert.ok(member === 'constructor' || member in instance, `${name} has no ${member}`);
  }
});
