import assert from 'node:assert/strict';
import test, {beforeEach, mock} from 'node:test';
import {encodeFrame} from '../frame.js';
import {StompClient} from '../stomp.js';
import {FakeSocket} from './socket.mjs';

let states, page;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({apis: ['setTimeout', 'setInterval', 'Date']});
  FakeSocket.all = [];
  states = [];
  page = Object.assign(new EventTarget(), {document: Object.assign(new EventTarget(), {visibilityState: 'visible'})});
});

const make = options => {
  const defaults = {WebSocket: FakeSocket, window: page, random: () => 1};
  const client = new StompClient('https://example.com/ws', {...defaults, ...options});
  client.addEventListener('state', ({detail}) => states.push(detail));
  return client;
};
const connected = (options, headers) => {
  const client = make(options);
  client.open();
  FakeSocket.last.accept(headers);
  return client;
};
const names = () => states.map(({state}) => state);

test('connects with the headers that it is given', () => {
  const client = make({connectHeaders: () => ({'client-data': '{"name":"Mina"}', 'resume-token': undefined})});
  assert.equal(FakeSocket.all.length, 0, 'not before open()');
  client.open();
  client.open();
  assert.equal(FakeSocket.all.length, 1);
  FakeSocket.last.accept({session: 's1'});
  assert.equal(FakeSocket.last.url, 'wss://example.com/ws');
  assert.deepEqual(FakeSocket.last.protocols, ['v12.stomp']);
  assert.deepEqual({...FakeSocket.last.frames[0].headers},
    {'accept-version': '1.2', host: 'example.com', 'heart-beat': '10000,10000', 'client-data': '{"name":"Mina"}'});
  assert.deepEqual(names(), ['connecting', 'connected']);
  assert.equal(client.session, 's1');
});

test('subscribes when connected, and again after a reconnect', () => {
  const client = make();
  const bodies = [];
  client.subscribe('/topic/a', frame => bodies.push(frame.body), {selector: 'x'});
  const b = client.subscribe('/topic/b', () => bodies.push('b'));
  client.open();
  FakeSocket.last.accept();
  FakeSocket.last.publish('/topic/a', 1);
  b.unsubscribe();
  FakeSocket.last.publish('/topic/b', 2);
  assert.deepEqual(FakeSocket.last.commands, ['CONNECT', 'SUBSCRIBE', 'SUBSCRIBE', 'UNSUBSCRIBE']);
  assert.equal(FakeSocket.last.frames[1].headers.selector, 'x');
  FakeSocket.last.end();
  mock.timers.tick(1000);
  FakeSocket.last.accept();
  FakeSocket.last.publish('/topic/a', 3);
  assert.deepEqual(FakeSocket.last.commands, ['CONNECT', 'SUBSCRIBE']);
  assert.deepEqual(bodies, ['1', '3']);
});

test('a callback that throws does not end the connection', () => {
  const client = connected();
  const log = mock.method(console, 'error', () => {});
  client.subscribe('/topic/a', () => { throw new Error('page'); });
  FakeSocket.last.publish('/topic/a', 1);
  log.mock.restore();
  assert.equal(log.mock.callCount(), 1);
  assert.equal(client.state, 'connected');
});

test('send needs a connection; receipts resolve, ERROR and loss reject', async () => {
  const client = make();
  assert.throws(() => client.send('/a', ''), /not connected/);
  await assert.rejects(client.sendAndConfirm('/a', ''), /not connected/);
  client.open();
  FakeSocket.last.accept();
  client.send('/a', 'text', {'content-type': 'text/plain'});
  assert.equal(FakeSocket.last.frames.at(-1).headers.receipt, undefined);
  const [first, second, third] = ['1', '2', '3'].map(body => client.sendAndConfirm('/a', body));
  const receipts = FakeSocket.last.frames.slice(-3).map(frame => frame.headers.receipt);
  FakeSocket.last.deliver(encodeFrame('RECEIPT', {'receipt-id': receipts[0]}));
  FakeSocket.last.deliver(encodeFrame('ERROR', {message: 'not yours', 'receipt-id': receipts[1]}));
  FakeSocket.last.end(1011);
  await first;
  await assert.rejects(second, /not yours/);
  await assert.rejects(third, /not yours/);
  assert.equal(states.at(-1).cause, 'not yours');
});

test('tells an ERROR', () => {
  const client = make();
  const errors = [];
  client.addEventListener('error', ({detail}) => errors.push(detail.headers.message));
  client.open();
  FakeSocket.last.onopen();
  FakeSocket.last.deliver('ERROR\nmessage:go away\n\n\0');
  assert.deepEqual(errors, ['go away']);
});

test('comes back with growing delays and jitter, up to a limit', () => {
  const random = mock.fn(() => 1);
  const client = make({minDelay: 100, maxDelay: 500, random});
  client.open();
  const delays = [];
  for (let i = 0; i < 5; i++) {
    FakeSocket.last.end();
    delays.push(states.at(-1).retryAt - Date.now());
    mock.timers.tick(delays.at(-1) - 1);
    assert.equal(client.state, 'lost');
    mock.timers.tick(1);
    assert.equal(client.state, 'connecting');
  }
  assert.deepEqual(delays, [100, 200, 400, 500, 500]);
  random.mock.mockImplementation(() => 0);
  FakeSocket.last.end();
  assert.equal(states.at(-1).retryAt - Date.now(), 250);
});

test('only a connection that held starts the delays afresh', () => {
  connected({minDelay: 100});
  for (const [held, expected] of [[0, 100], [4000, 200], [5000, 100]]) {
    mock.timers.tick(held);
    FakeSocket.last.end();
    assert.equal(states.at(-1).retryAt - Date.now(), expected, `after ${held} ms`);
    mock.timers.tick(expected);
    FakeSocket.last.accept();
  }
});

test('online, and being looked at, end the waiting', () => {
  const client = connected();
  FakeSocket.last.end();
  page.document.visibilityState = 'hidden';
  page.document.dispatchEvent(new Event('visibilitychange'));
  assert.equal(client.state, 'lost');
  page.document.visibilityState = 'visible';
  page.document.dispatchEvent(new Event('visibilitychange'));
  assert.equal(client.state, 'connecting');
  FakeSocket.last.end();
  page.dispatchEvent(new Event('online'));
  assert.equal(client.state, 'connecting');
  mock.timers.tick(9000);
  assert.equal(FakeSocket.all.length, 3, 'the timers of the attempts that were not waited for are gone');
});

test('a machine that slept finds out when it is looked at', () => {
  const client = connected({heartBeat: [0, 10_000]}, {'heart-beat': '10000,0'});
  const slept = FakeSocket.last;
  mock.timers.setTime(Date.now() + 3_600_000);
  page.document.dispatchEvent(new Event('visibilitychange'));
  assert.deepEqual(names(), ['connecting', 'connected', 'lost', 'connecting']);
  assert.ok(slept.closed);
  assert.equal(client.state, 'connecting');
});

test('a page that is left closes its socket, and comes back when it is shown again', () => {
  const client = connected();
  const left = FakeSocket.last;
  const sent = left.frames.length;
  page.dispatchEvent(new Event('pagehide'));
  assert.ok(left.closed);
  assert.equal(left.frames.length, sent, 'no DISCONNECT: a closed tab is `closed`');
  mock.timers.tick(60_000);
  assert.deepEqual(names(), ['connecting', 'connected', 'lost'], 'and does not try again meanwhile');
  page.dispatchEvent(new Event('pageshow'));
  assert.equal(client.state, 'connecting');
});

test('sends heart-beats as agreed, and misses those of the server', () => {
  const client = connected({heartBeat: [4000, 10_000]}, {'heart-beat': '3000,6000'});
  const socket = FakeSocket.last;
  mock.timers.tick(18_000);
  assert.equal(socket.beats, 3, 'every 6 s: the larger of both');
  socket.deliver('\n');
  mock.timers.tick(20_000);
  assert.equal(client.state, 'connected', '2 x 10 s are allowed');
  mock.timers.tick(5000);
  assert.equal(states.at(-1).cause, 'no heart-beat');
  assert.ok(socket.closed);
  assert.equal(socket.onclose, null, 'a late close event says nothing more');
});

test('without heart-beats nothing is sent or missed', () => {
  const client = connected({}, {'heart-beat': '0,0'});
  mock.timers.tick(3_600_000);
  assert.equal(client.state, 'connected');
  assert.equal(FakeSocket.last.beats, 0);
});

test('gives up an attempt that nobody answers', () => {
  const client = make({connectTimeout: 3000});
  client.open();
  FakeSocket.last.onopen();
  mock.timers.tick(3000);
  assert.equal(client.state, 'lost');
  assert.ok(FakeSocket.last.closed);
});

test('ends a connection that talks nonsense', () => {
  const client = connected();
  FakeSocket.last.deliver('MESSAGE\nno colon\n\n\0');
  assert.match(states.at(-1).cause, /not understood: .*colon/);
  assert.equal(client.state, 'lost');
});

test('stays away when the server says so', () => {
  const client = connected();
  FakeSocket.last.end(1008, 'taken over');
  mock.timers.tick(120_000);
  page.dispatchEvent(new Event('online'));
  assert.deepEqual(states.at(-1), {state: 'closed', cause: 'taken over'});
  assert.equal(FakeSocket.all.length, 1);
  client.open();
  assert.equal(FakeSocket.all.length, 2);
});

test('comes back when it was only silent, slow or restarted', () => {
  const client = connected();
  for (const [code, reason, state] of [
    [1013, 'heart-beat timeout', 'lost'], [1013, 'slow consumer', 'lost'], [1012, 'server shutdown', 'lost'],
    [1001, '', 'lost'], [1006, '', 'lost'], [1002, 'protocol error', 'closed'], [1008, '', 'closed'],
  ]) {
    FakeSocket.last.end(code, reason);
    assert.equal(client.state, state, `${code} ${reason}`);
    client.open();
    FakeSocket.last.accept();
  }
});

test('close says goodbye and is final; a signal does the same', () => {
  const controller = new AbortController();
  for (const end of [client => client.close(), () => controller.abort()]) {
    const client = connected({signal: controller.signal});
    end(client);
    assert.equal(FakeSocket.last.commands.at(-1), 'DISCONNECT');
    assert.ok(FakeSocket.last.closed);
    assert.equal(client.state, 'closed');
    assert.equal(client.session, undefined);
    const {length} = FakeSocket.all;
    mock.timers.tick(120_000);
    assert.equal(FakeSocket.all.length, length);
    client.close();
    assert.equal(names().filter(name => name === 'closed').length, 1);
    states = [];
  }
});

test('offers the last CONNECTED after a loss, not after close or a refusal', () => {
  const offered = [];
  const connectHeaders = last => ({seen: offered.push(last?.['resume-token'])});
  const client = connected({connectHeaders}, {'resume-token': 't1'});
  FakeSocket.last.end();
  client.open();
  FakeSocket.last.onopen();
  FakeSocket.last.deliver('ERROR\nmessage:no such token\n\n\0');
  FakeSocket.last.end();
  client.open();
  FakeSocket.last.accept({'resume-token': 't2'});
  client.close();
  client.open();
  FakeSocket.last.accept();
  assert.deepEqual(offered, [undefined, 't1', undefined, undefined]);
});
