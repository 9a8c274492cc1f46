import assert from 'node:assert/strict';
import test, {beforeEach, mock} from 'node:test';
import {encodeFrame} from '../frame.js';
import {Presence} from '../presence.js';
import {StompClient} from '../stomp.js';
import {FakeSocket} from './socket.mjs';

const REGISTER = '/app/presence';
let client, presence, events;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({apis: ['setTimeout', 'setInterval', 'Date']});
  FakeSocket.all = [];
  client = new StompClient('ws://localhost/ws', {WebSocket: FakeSocket, window: {}});
  presence = new Presence(client);
  events = [];
  presence.addEventListener('sync', ({detail}) => events.push(['sync', ids(detail.joined), ids(detail.left)]));
  presence.addEventListener('change', ({detail}) => events.push([detail.change.type, detail.session, detail.previous]));
  client.open();
  FakeSocket.last.accept();
});

const ids = sessions => sessions.map(session => session.sessionId).join();
const here = () => ids([...presence.sessions.values()]);
const entry = (sessionId, name = sessionId) => ({sessionId, clientData: {name}, connectedAt: '2026-11-22T10:00:00.000Z'});
const publish = body => FakeSocket.last.publish(REGISTER, body);
const roster = (sessions, rest) => publish({stream: 'a', seq: 10, sessions: sessions.map(id => entry(id)), ...rest});
const change = (seq, type, sessionId, rest) => ({stream: 'a', seq, type, ...entry(sessionId), ...rest});
const subscribes = () => FakeSocket.last.frames.filter(frame => frame.command === 'SUBSCRIBE').length;

test('a roster in pages becomes known at once', () => {
  roster(['x', 'y'], {more: true});
  assert.equal(here(), '');
  roster(['me'], {more: false, unknown: 1});
  assert.equal(here(), 'x,y,me');
  assert.equal(presence.me.clientData.name, 'me');
  assert.deepEqual(events, [['sync', 'x,y,me', '']]);
});

test('changes in order', () => {
  roster(['x']);
  events = [];
  publish([change(11, 'joined', 'y'), change(12, 'updated', 'x', {clientData: 'new'})]);
  publish([change(13, 'unreachable', 'y', {reason: 'connection-lost'})]);
  assert.equal(presence.sessions.get('y').unreachable, true);
  publish([change(14, 'returned', 'y')]);
  assert.equal(presence.sessions.get('y').unreachable, false);
  publish([change(15, 'left', 'y', {reason: 'closed', connectedFor: 3})]);
  assert.equal(here(), 'x');
  assert.deepEqual(events.map(([type]) => type), ['joined', 'updated', 'unreachable', 'returned', 'left']);
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

test('what the roster has already is ignored, and what came before', () => {
  roster(['x']);
  publish([change(10, 'left', 'x'), change(9, 'joined', 'y'), change(11, 'joined', 'z'), change(11, 'left', 'z')]);
  assert.equal(here(), 'x,z');
});

test('changes between two pages wait for the last', () => {
  roster(['x'], {more: true});
  publish([change(9, 'left', 'x'), change(11, 'left', 'x')]);
  roster(['y']);
  assert.equal(here(), 'y');
  assert.deepEqual(events.map(([type]) => type), ['sync', 'left']);
});

test('changes before any roster are ignored', () => {
  publish([change(11, 'joined', 'x')]);
  roster(['y']);
  assert.equal(here(), 'y');
});

test('a compact change keeps what is known', () => {
  roster(['x']);
  publish([{seq: 11, type: 'updated', sessionId: 'x'}]);
  assert.deepEqual(presence.sessions.get('x').clientData, {name: 'x'});
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
  assert.equal(client.state, 'connected');
});

for (const [name, cause] of [
  ['reset', {type: 'reset', seq: 20}],
  ['another stream', change(3, 'joined', 'q', {stream: 'b'})],
]) {
  test(`${name} asks again`, () => {
    roster(['x', 'y']);
    const old = FakeSocket.last.frames.at(-1).headers.id;
    publish([change(11, 'joined', 'z'), cause, change(21, 'left', 'x')]);
    assert.deepEqual(FakeSocket.last.commands.slice(-2), ['UNSUBSCRIBE', 'SUBSCRIBE']);
    assert.equal(subscribes(), 2);
    assert.equal(here(), 'x,y,z', 'what is known stays until the new roster is there');
    FakeSocket.last.deliver(encodeFrame('MESSAGE', {subscription: old}, JSON.stringify([change(22, 'left', 'y')])));
    assert.equal(here(), 'x,y,z', 'nothing more from the old subscription');
    roster(['y', 'new'], {stream: 'b', seq: 2});
    publish([change(3, 'joined', 'q', {stream: 'b'})]);
    assert.equal(here(), 'y,new,q');
    assert.deepEqual(events.find(([type, joined]) => type === 'sync' && joined === 'new'), ['sync', 'new', 'x,z']);
    assert.equal(subscribes(), 2);
  });
}

test('after a reconnect, also in the middle of a roster', () => {
  roster(['x', 'y']);
  FakeSocket.last.end();
  client.open();
  FakeSocket.last.accept();
  roster(['ghost'], {seq: 12, more: true});
  FakeSocket.last.end();
  assert.equal(here(), 'x,y');
  client.open();
  FakeSocket.last.accept({session: 'me2'});
  roster(['y'], {stream: 'c', seq: 1, more: true});
  roster(['me2'], {stream: 'c', seq: 1});
  assert.equal(here(), 'y,me2');
  assert.equal(presence.me.sessionId, 'me2');
  assert.deepEqual(events.at(-1), ['sync', 'me2', 'x']);
  publish([change(2, 'left', 'y', {stream: 'c'})]);
  assert.equal(here(), 'me2');
});

test('after a short loss an older roster is no news, and what was missed is told once', () => {
  roster(['x', 'y']);
  publish([change(11, 'left', 'x'), change(12, 'joined', 'z')]);
  FakeSocket.last.end();
  client.open();
  FakeSocket.last.accept();
  events = [];
  roster(['x', 'y']);
  assert.equal(here(), 'y,z', 'x does not come back to life');
  publish([change(11, 'left', 'x'), change(12, 'joined', 'z'), change(13, 'left', 'y')]);
  assert.equal(here(), 'z');
  assert.deepEqual(events.map(([type, ...rest]) => type === 'sync' ? [type, ...rest] : type), [['sync', '', ''], 'left']);
});

test('after a reset an older roster is taken, and nothing is told twice', () => {
  roster(['x', 'y']);
  publish([change(11, 'left', 'x'), {type: 'reset', seq: 13}]);
  events = [];
  roster(['x', 'y']);
  publish([change(11, 'left', 'x'), change(12, 'left', 'y'), change(13, 'joined', 'z')]);
  assert.equal(here(), 'z');
  assert.deepEqual(events.map(([type]) => type), ['sync', 'left', 'joined']);
});

test('a new stream counts from its own beginning', () => {
  roster(['x'], {seq: 50});
  publish([change(51, 'joined', 'y')]);
  FakeSocket.last.end();
  client.open();
  FakeSocket.last.accept();
  roster(['x'], {stream: 'b', seq: 1});
  events = [];
  publish([change(2, 'left', 'x', {stream: 'b'})]);
  assert.deepEqual(events.map(([type]) => type), ['left']);
});

test('update sends to the register destination and waits for the receipt', async () => {
  const done = presence.update({name: 'Zoé'});
  const {command, headers, body} = FakeSocket.last.frames.at(-1);
  assert.equal(command, 'SEND');
  assert.equal(headers.destination, REGISTER);
  assert.equal(headers['content-type'], 'application/json');
  assert.deepEqual(JSON.parse(body), {clientData: {name: 'Zoé'}});
  FakeSocket.last.deliver(encodeFrame('RECEIPT', {'receipt-id': headers.receipt}));
  await done;
});

test('close ends the subscription', () => {
  presence.close();
  assert.equal(FakeSocket.last.commands.at(-1), 'UNSUBSCRIBE');
});
