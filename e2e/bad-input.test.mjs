// Bad input gets a clear error in its own protocol, its connection is closed with the right code, and nobody else is disturbed.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Caddy } from './lib/caddy.mjs';
import { Observer, join } from './lib/observer.mjs';
import { RawWebSocket } from './lib/raw-websocket.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { encodeFrame } from './lib/stomp-frame.mjs';

let caddy;
let bystander;
let observer;

before(async () => {
  caddy = await Caddy.start({
    global: `stomp {
		broker chat {
			presence {
				register /ws
				announce /topic/presence
			}
		}
	}`,
    sites: (port) => `http://localhost:${port} {
	stomp /connection {
		broker chat
		sockjs
		limits {
			frame_size 16KiB
			header_line 512
			headers 16
			client_data 1KiB
			subscriptions 5
			sessions 50
		}
	}
	stomp /listed {
		broker chat
		sockjs
		origins https://good.example https://*.better.example
	}
	stomp /anyone {
		broker chat
		sockjs
		origins *
	}
	stomp /few {
		broker chat
		limits {
			sessions 2
		}
	}
}`,
  });
  observer = await Observer.watch(caddy.url('/connection/websocket'));
  bystander = await join(caddy.url('/connection/websocket'), 'bystander', observer);
  await bystander.subscribe('/topic/quiet');
});

after(() => caddy?.remove());

let rounds = 0;

afterEach(async () => {
  const text = `round ${++rounds}`;
  bystander.send('/topic/quiet', text);
  await bystander.message('/topic/quiet', (frame) => frame.body === text);
  await observer.marker();
  assert.ok(bystander.open && observer.client.open);
  assert.deepEqual(observer.of(bystander.session, 'left'), [], 'others are not disturbed');
  assert.deepEqual(caddy.complaints(), []);
});

/** Sends something bad and checks the ERROR, the close code and the one announcement. */
async function refused(act, { names, code, reason, announced = true, connected = true, url = '/connection/websocket', ...options }) {
  const client = await StompClient.open(caddy.url(url), options);
  if (connected) {
    await client.connect();
    if (announced) {
      await client.register('/ws', 'offender');
      await observer.waitFor('joined', client.session);
    }
  }
  await act(client);
  const error = await client.error();
  assert.match(`${error.headers.message} ${error.body}`, names, 'ERROR names the problem');
  assert.doesNotMatch(`${error.headers.message} ${error.body}`, /Go (value|struct)|0x|runtime error/, 'ERROR speaks to the client, not of our code');
  const close = await client.close();
  assert.equal(close.code, code, `close code (${close.reason}) after ${JSON.stringify(error.headers)}`);
  assert.equal(client.frames.filter((frame) => frame.command === 'ERROR').length, 1);
  if (connected && announced) {
    const left = await observer.waitFor('left', client.session);
    assert.deepEqual([left.reason, left.code, left.clean], [reason, code, false]);
    await observer.marker();
    assert.equal(observer.of(client.session, 'left').length, 1);
  }
  return error;
}

const malformed = { code: 1002, reason: 'protocol-error' };
const policy = { code: 1008, reason: 'policy' };

describe('malformed frames', () => {
  const cases = {
    'an unknown command': ['HELLO\n\n\0', /HELLO/],
    'a header without a colon': ['SEND\ndestination\n\n\0', /destination|header|colon/],
    'an undefined escape': ['SEND\ndestination:/topic/\\t\n\nx\0', /escape/],
    'a body that is longer than content-length': ['SEND\ndestination:/topic/x\ncontent-length:2\n\nlong\0', /content-length|NUL|body/],
    'a content-length that is no number': ['SEND\ndestination:/topic/x\ncontent-length:many\n\nx\0', /content-length/],
    'a negative content-length': ['SEND\ndestination:/topic/x\ncontent-length:-1\n\nx\0', /content-length/],
    'SEND without destination': ['SEND\n\nx\0', /destination/],
    'SUBSCRIBE without id': ['SUBSCRIBE\ndestination:/topic/x\n\n\0', /id/],
    'SUBSCRIBE without destination': ['SUBSCRIBE\nid:1\n\n\0', /destination/],
    'a second CONNECT': ['CONNECT\naccept-version:1.2\nhost:localhost\n\n\0', /CONNECT/],
    'a frame that only servers send': ['MESSAGE\ndestination:/topic/x\n\nx\0', /MESSAGE/],
    'not STOMP at all': ['{"type":"hello"}', /.+/],
  };
  for (const [what, [text, names]] of Object.entries(cases)) {
    test(what, { timeout: 20_000 }, () =>
      refused(
        async (client) => {
          client.raw(text);
          // Text that is the beginning of a frame only ends when something follows it.
          if (!text.endsWith('\0')) client.raw('\n\0');
        },
        { names, ...malformed },
      ));
  }

  test('the first frame is not CONNECT', { timeout: 20_000 }, () =>
    refused((client) => client.frame('SEND', { destination: '/topic/x' }, 'x'), { names: /CONNECT/, code: 1002, connected: false }));

  test('no version in common', { timeout: 20_000 }, async () => {
    const error = await refused((client) => client.frame('CONNECT', { 'accept-version': '3.0', host: 'localhost' }), {
      names: /version/i,
      code: 1002,
      connected: false,
    });
    assert.match(error.headers.version, /1\.2/, 'the supported versions are told');
  });

  test('a heart-beat header that is none', { timeout: 20_000 }, () =>
    refused((client) => client.frame('CONNECT', { 'accept-version': '1.2', host: 'localhost', 'heart-beat': 'often' }), {
      names: /heart-beat/,
      code: 1002,
      connected: false,
    }));

  test('an error says which receipt it is about', { timeout: 20_000 }, async () => {
    const error = await refused((client) => client.raw('SEND\nreceipt:r77\n\nx\0'), { names: /destination/, ...malformed });
    assert.equal(error.headers['receipt-id'], 'r77');
  });
});

describe('WebSocket frames that are not allowed', () => {
  async function closedWith(code, act) {
    const raw = await RawWebSocket.open(caddy.port, '/connection/websocket');
    await raw.connect();
    act(raw);
    const close = await raw.message('close', (message) => message.type === 'close');
    assert.equal(close.code, code);
    raw.end();
  }
  test('without a mask', { timeout: 20_000 }, () => closedWith(1002, (raw) => raw.send('\n', { mask: null })));
  test('with reserved bits', { timeout: 20_000 }, () => closedWith(1002, (raw) => raw.send('\n', { rsv: 0x40 })));
  test('with an unknown opcode', { timeout: 20_000 }, () => closedWith(1002, (raw) => raw.send('\n', { opcode: 3 })));
  test('a close code that nobody may send', { timeout: 20_000 }, () => closedWith(1002, (raw) => raw.send(Buffer.from([1005 >> 8, 1005 & 255]), { opcode: 8 })));
  test('binary messages and split messages are fine', { timeout: 20_000 }, async () => {
    const raw = await RawWebSocket.open(caddy.port, '/connection/websocket');
    await raw.connect();
    raw.send(encodeFrame('SEND', { destination: '/topic/x', receipt: 'binary' }, 'x'), { opcode: 2 });
    const text = encodeFrame('SEND', { destination: '/topic/x', receipt: 'split' }, 'x');
    raw.send(text.slice(0, 9), { fin: false });
    raw.send('still here?', { opcode: 9 });
    raw.send(text.slice(9), { opcode: 0 });
    for (const receipt of ['binary', 'split']) await raw.message(receipt, (message) => message.text.includes(`receipt-id:${receipt}`));
    await raw.message('pong', (message) => message.type === 'pong' && message.text === 'still here?');
    raw.end();
  });
});

describe('limits', () => {
  test('frame_size', { timeout: 20_000 }, () =>
    refused((client) => client.send('/topic/x', 'x'.repeat(20_000)), { names: /frame_size/, code: 1009, reason: 'policy' }));
  test('frame_size, far beyond', { timeout: 20_000 }, () =>
    refused((client) => client.send('/topic/x', 'x'.repeat(2_000_000)), { names: /frame_size/, code: 1009, reason: 'policy' }));
  test('frame_size counts inflated bytes', { timeout: 20_000 }, () =>
    refused((client) => client.send('/topic/x', 'x'.repeat(1_000_000)), { names: /frame_size/, code: 1009, reason: 'policy', perMessageDeflate: true }));
  test('frame_size, of a content-length that promises more', { timeout: 20_000 }, () =>
    refused((client) => client.raw('SEND\ndestination:/topic/x\ncontent-length:99999999999999999999\n\nx\0'), { names: /frame_size/, code: 1009, reason: 'policy' }));
  test('header_line', { timeout: 20_000 }, () =>
    refused((client) => client.send('/topic/x', '', { long: 'x'.repeat(600) }), { names: /header_line/, ...policy }));
  test('headers', { timeout: 20_000 }, () =>
    refused((client) => client.send('/topic/x', '', Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`h${i}`, i]))), { names: /headers/, ...policy }));
  test('subscriptions', { timeout: 20_000 }, () =>
    refused(
      async (client) => {
        for (let i = 0; i < 6; i++) client.frame('SUBSCRIBE', { id: i, destination: `/topic/${i}` });
      },
      { names: /subscriptions/, ...policy },
    ));
  test('client_data, in a SEND', { timeout: 20_000 }, () =>
    refused((client) => client.send('/ws', JSON.stringify({ clientData: 'x'.repeat(1100) })), { names: /client.?data/i, ...policy }));
  test('client_data, in CONNECT', { timeout: 20_000 }, () =>
    refused((client) => client.frame('CONNECT', { 'accept-version': '1.2', host: 'localhost', 'client-data': JSON.stringify('x'.repeat(1100)) }), {
      names: /client.?data/i,
      code: 1008,
      connected: false,
    }));
  test('client data in CONNECT may be longer than other headers', { timeout: 20_000 }, async () => {
    const client = await StompClient.connect(caddy.url('/connection/websocket'), { connect: { 'client-data': JSON.stringify('x'.repeat(900)) } });
    const joined = await observer.waitFor('joined', client.session);
    assert.equal(joined.clientData, 'x'.repeat(900));
    await client.disconnect();
  });
  test('sessions', { timeout: 20_000 }, async () => {
    const clients = [await StompClient.connect(caddy.url('/few')), await StompClient.connect(caddy.url('/few'))];
    await assert.rejects(StompClient.connect(caddy.url('/few')), (error) => {
      assert.ok(error.status === 503 || /sessions/.test(error.frame?.headers.message), error.message);
      return true;
    });
    for (const client of clients) assert.ok(client.open);
    await clients[0].disconnect();
    const again = await StompClient.connect(caddy.url('/few'));
    for (const client of [clients[1], again]) await client.disconnect();
  });
});

describe('registration', () => {
  const json = /JSON/i;
  test('JSON that is not JSON', { timeout: 20_000 }, () => refused((client) => client.send('/ws', '{"clientData": '), { names: json, ...malformed }));
  test('JSON that is no object', { timeout: 20_000 }, () => refused((client) => client.send('/ws', '[1, 2]'), { names: /object|JSON/i, ...malformed }));
  test('an empty body', { timeout: 20_000 }, () => refused((client) => client.send('/ws', ''), { names: json, ...malformed }));
  test('client-data that is not JSON', { timeout: 20_000 }, () =>
    refused((client) => client.frame('CONNECT', { 'accept-version': '1.2', host: 'localhost', 'client-data': 'Mina' }), {
      names: /JSON/i,
      code: 1002,
      connected: false,
    }));
  test("another session's id", { timeout: 20_000 }, () =>
    refused((client) => client.send('/ws', JSON.stringify({ sessionId: bystander.session, clientData: 'stolen' })), { names: /session/i, ...policy }));
  test("nobody's id", { timeout: 20_000 }, () =>
    refused((client) => client.send('/ws', JSON.stringify({ sessionId: 'no-such-session', clientData: 'x' })), { names: /session/i, ...policy }));
  test('SEND to the announce destination', { timeout: 20_000 }, async () => {
    const before = observer.changes.entries.length;
    await refused((client) => client.send('/topic/presence', JSON.stringify([{ seq: 1e9, type: 'left', sessionId: bystander.session }])), {
      names: /\/topic\/presence/,
      ...policy,
    });
    assert.deepEqual(observer.changes.entries.slice(before).map((change) => change.type), ['joined', 'left'], 'of the offender only');
  });
  test('what was stolen was not changed', { timeout: 20_000 }, async () => {
    const client = await StompClient.connect(caddy.url('/connection/websocket'));
    await client.subscribe('/ws');
    const roster = JSON.parse((await client.message('/ws')).body);
    assert.equal(roster.sessions.find((session) => session.sessionId === bystander.session).clientData, 'bystander');
    await client.disconnect();
  });
});

describe('origins', () => {
  const sockjs = ['/000/e2eorigin/websocket', '/websocket'];

  async function statusOf(path, origin) {
    const headers = origin ? { Origin: origin } : {};
    const raw = await RawWebSocket.open(caddy.port, path, { headers });
    const head = await raw.head();
    raw.end();
    return Number(head.match(/^HTTP\/1\.1 (\d+)/)[1]);
  }
  const info = async (path, origin) => fetch(`${caddy.origin}${path}/info`, { headers: origin ? { Origin: origin } : {} });

  test('same origin by default', { timeout: 20_000 }, async () => {
    for (const path of sockjs.map((rest) => `/connection${rest}`)) {
      assert.equal(await statusOf(path, caddy.origin), 101, `${path} from the same origin`);
      assert.equal(await statusOf(path), 101, `${path} from no browser`);
      for (const evil of ['https://evil.example', `http://localhost:${caddy.port + 1}`, `http://localhost:${caddy.port}.evil.example`, 'null']) {
        assert.equal(await statusOf(path, evil), 403, `${path} from ${evil}`);
      }
    }
    assert.equal((await info('/connection', caddy.origin)).status, 200);
    const refusedInfo = await info('/connection', 'https://evil.example');
    assert.equal(refusedInfo.status, 403);
    assert.equal(refusedInfo.headers.get('access-control-allow-origin'), null);
    assert.match(await refusedInfo.text(), /origin/i);
  });

  test('a list', { timeout: 20_000 }, async () => {
    for (const path of sockjs.map((rest) => `/listed${rest}`)) {
      for (const good of ['https://good.example', 'https://a.better.example']) assert.equal(await statusOf(path, good), 101, `${path} from ${good}`);
      for (const evil of ['https://evil.example', 'http://good.example', 'https://good.example:444', 'https://better.example.evil.example', 'https://agood.example']) {
        assert.equal(await statusOf(path, evil), 403, `${path} from ${evil}`);
      }
    }
    const allowed = await info('/listed', 'https://good.example');
    assert.equal(allowed.status, 200);
    assert.equal(allowed.headers.get('access-control-allow-origin'), 'https://good.example');
    assert.equal((await info('/listed', 'https://evil.example')).status, 403);
  });

  test('* must be written', { timeout: 20_000 }, async () => {
    for (const path of sockjs.map((rest) => `/anyone${rest}`)) assert.equal(await statusOf(path, 'https://evil.example'), 101);
    assert.equal((await info('/anyone', 'https://evil.example')).status, 200);
  });
});

test('nobody but the offenders left, and each once', { timeout: 20_000 }, async () => {
  const lefts = observer.changes.filter((change) => change.type === 'left').map((change) => change.sessionId);
  assert.equal(new Set(lefts).size, lefts.length);
  await caddy.metricIs('caddy_stomp_sessions', {}, 2);
});
