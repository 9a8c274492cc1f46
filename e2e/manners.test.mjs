// A good guest in Caddy: its commands, its handler chain, its sites.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect as connectHTTP2, constants } from 'node:http2';
import { join as joinPath } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Caddy, caddyCommand, repository, scratchHome } from './lib/caddy.mjs';
import { Observer, join } from './lib/observer.mjs';
import { freePort } from './lib/ports.mjs';
import { RawWebSocket } from './lib/raw-websocket.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually } from './lib/wait.mjs';

const filesBelow = (path) => readdirSync(path, { recursive: true }).sort();

describe('commands', () => {
  test('list-modules knows the app and the handler', async () => {
    const { stdout, code } = await caddyCommand(['list-modules']);
    assert.equal(code, 0);
    const modules = stdout.split('\n');
    assert.ok(modules.includes('http.handlers.stomp'), stdout);
    assert.ok(modules.includes('stomp'), stdout);
  });

  test('adapt', async () => {
    const { stdout, code, stderr } = await caddyCommand(['adapt', '--adapter', 'caddyfile', '--config', joinPath(repository, 'Caddyfile.example')]);
    assert.equal(code, 0, stderr);
    assert.match(JSON.stringify(JSON.parse(stdout)), /"handler":"stomp"/);
  });

  test('fmt --diff has nothing to say about Caddyfile.example', async () => {
    const { stdout, stderr, code } = await caddyCommand(['fmt', '--diff', joinPath(repository, 'Caddyfile.example')]);
    assert.equal(code, 0, stdout + stderr);
    assert.deepEqual(stdout.split('\n').filter((line) => /^[-+]/.test(line)), []);
  });

  test('an error in the Caddyfile names file, line and what was expected', async () => {
    const home = scratchHome();
    const file = joinPath(home.path, 'Caddyfile');
    writeFileSync(file, 'http://localhost:8080 {\n\tstomp /ws {\n\t\thart_beat 1s 1s\n\t}\n}\n');
    const { code, stderr } = await caddyCommand(['adapt', '--config', file, '--adapter', 'caddyfile'], { home });
    home.remove();
    assert.notEqual(code, 0);
    assert.match(stderr, /hart_beat/);
    assert.match(stderr, /Caddyfile:3/);
  });

  test('validate touches nothing, also beside a live server with the same configuration', { timeout: 60_000 }, async () => {
    const parts = {
      global: 'stomp {\n broker chat {\n presence {\n register /ws\n }\n }\n }',
      sites: (port) => `http://localhost:${port} {\n stomp /connection {\n broker chat\n }\n stomp /other\n }`,
    };
    const caddy = await Caddy.start(parts);
    const home = scratchHome();
    try {
      const observer = await Observer.watch(caddy.url('/connection'));
      const member = await join(caddy.url('/connection'), 'me', observer);
      const scrapeBefore = await caddy.metrics();
      const file = joinPath(home.path, 'Caddyfile');
      writeFileSync(file, caddy.caddyfile(parts));
      for (let i = 0; i < 2; i++) {
        const { code, stdout, stderr } = await caddyCommand(['validate', '--config', file, '--adapter', 'caddyfile'], { home });
        assert.equal(code, 0, stderr);
        assert.match(stdout, /Valid configuration/);
      }
      const touched = filesBelow(home.path).filter((name) => /stomp|\.db/i.test(name));
      assert.deepEqual(touched, [], 'no file of ours');
      await observer.marker();
      assert.ok(observer.client.open && member.open);
      assert.deepEqual(observer.changes.filter((change) => change.type === 'left'), []);
      const scrapeAfter = await caddy.metrics();
      assert.equal(scrapeAfter.sum('caddy_stomp_sessions'), scrapeBefore.sum('caddy_stomp_sessions'));
    } finally {
      await caddy.remove();
      home.remove();
    }
  });

  test('an invalid configuration is told by validate', async () => {
    const home = scratchHome();
    const file = joinPath(home.path, 'Caddyfile');
    writeFileSync(file, 'http://localhost:8080 {\n\tstomp /ws {\n\t\tbroker nobody\n\t}\n}\n');
    const { code, stderr } = await caddyCommand(['validate', '--config', file, '--adapter', 'caddyfile'], { home });
    home.remove();
    assert.notEqual(code, 0);
    assert.match(stderr, /nobody/);
  });
});

describe('the handler chain', () => {
  let caddy;
  let accessLog;
  let app;
  before(async () => {
    app = createServer((request, response) => response.end(`app: ${request.method} ${request.url}`));
    await new Promise((resolve) => app.listen(0, '127.0.0.1', resolve));
    const appAddress = `127.0.0.1:${app.address().port}`;
    const hash = (await caddyCommand(['hash-password', '--algorithm', 'bcrypt', '--bcrypt-cost', '4', '--plaintext', 'secret'])).stdout.trim();
    caddy = await Caddy.start({
      env: { GODEBUG: 'http2xconnect=1' }, // otherwise Go does not offer extended CONNECT at all
      global: `stomp {
		broker all {
			presence {
				register /ws
				announce /topic/presence
			}
		}
	}`,
      sites: (port, tlsPort) => {
        const all = (path, options = '') => `stomp ${path} {\nbroker all\n${options}\n}`;
        return `http://localhost:${port} {
	log {
		output file access.log
	}
	header X-From-Header yes
	header X-Deferred-By-Header >yes
	encode gzip zstd
	@secret path /guarded*
	basic_auth @secret {
		mina ${hash}
	}
	${all('/plain')}
	${all('/guarded', 'user {http.auth.user.id}\nattribute team red public\nattribute ip {client_ip}')}
	handle /handled/* {
		${all('/handled/ws')}
	}
	handle_path /cut/* {
		${all('/ws')}
	}
	route /routed/* {
		encode gzip
		header X-Route yes
		${all('/routed/ws')}
		respond "routed"
	}
	@matched header X-Pick me
	stomp @matched /picked {
		broker all
	}
	stomp /plain/deeper {
		name deeper
		presence {
			register /deep
			announce /topic/deep
		}
	}
	reverse_proxy ${appAddress}
}
https://localhost:${tlsPort} {
	tls internal
	log {
		output file tls.log
	}
	encode gzip
	${all('/plain')}
	respond "over tls"
}`;
      },
    });
    accessLog = (name = 'access.log') => readFileSync(joinPath(caddy.home.path, name), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  });
  after(async () => {
    await caddy?.remove();
    app?.close();
  });

  /** A client can connect there, hear and be heard; resolves to what CONNECTED said. */
  async function works(path, options = {}) {
    const url = path.startsWith('ws') ? path : caddy.url(path);
    const client = await StompClient.connect(url, options);
    await client.subscribe('/topic/echo');
    client.send('/topic/echo', 'hello');
    await client.message('/topic/echo', (frame) => frame.body === 'hello');
    await client.disconnect();
    return client.connected;
  }

  test('exactly one 101 on the wire, with the headers of the header directive', { timeout: 20_000 }, async () => {
    const raw = await RawWebSocket.open(caddy.port, '/plain', { headers: { 'Sec-WebSocket-Protocol': 'v10.stomp, v12.stomp, v11.stomp', 'Accept-Encoding': 'gzip, zstd' } });
    await raw.connect();
    const head = await raw.head();
    const wire = raw.received.toString('latin1');
    assert.equal(wire.match(/HTTP\/1\.1 /g).length, 1, wire);
    assert.match(head, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    const count = (name) => (head.match(new RegExp(`^${name}:`, 'gim')) ?? []).length;
    for (const name of ['Upgrade', 'Connection', 'Sec-WebSocket-Accept', 'Sec-WebSocket-Protocol', 'X-From-Header', 'X-Deferred-By-Header']) {
      assert.equal(count(name), 1, `${name} in ${head}`);
    }
    assert.match(head, /^Sec-WebSocket-Protocol: v12\.stomp\r$/im, 'the best version that was offered');
    assert.equal(count('Content-Encoding'), 0);
    assert.equal(count('Transfer-Encoding'), 0);
    assert.equal(count('Content-Length'), 0);
    raw.end();
    const entry = await eventually('access log entry', () => accessLog().find((entry) => entry.request.uri === '/plain'));
    assert.equal(entry.status, 101);
    assert.equal(accessLog().filter((entry) => entry.request.uri === '/plain').length, 1, 'logged at once, and once');
  });

  test('subprotocols: echoed when offered, not required when not', { timeout: 20_000 }, async () => {
    for (const [offered, expected] of [
      [['v12.stomp'], 'v12.stomp'],
      [['v11.stomp', 'v10.stomp'], 'v11.stomp'],
      [['v10.stomp'], 'v10.stomp'],
      [[], ''],
      [['soap', 'v12.stomp'], 'v12.stomp'],
    ]) {
      const client = await StompClient.open(caddy.url('/plain'), { protocols: offered });
      assert.equal(client.ws.protocol, expected);
      client.ws.terminate();
    }
  });

  test('behind encode, header and log', () => works('/plain'));
  test('a path means itself and what is below it on a segment boundary', { timeout: 20_000 }, async () => {
    await works('/plain/websocket');
    const other = await fetch(`${caddy.origin}/plainly`);
    assert.equal(await other.text(), 'app: GET /plainly');
  });
  test('in handle', () => works('/handled/ws'));
  test('in handle_path: the path is relative to what is left', () => works('/cut/ws'));
  test('in route', () => works('/routed/ws'));
  test('overlapping endpoints: the longer path first', { timeout: 20_000 }, async () => {
    const deep = await Observer.watch(caddy.url('/plain/deeper'), { announce: '/topic/deep' });
    const member = await join(caddy.url('/plain/deeper'), 'deep', deep, { register: '/deep' });
    await member.disconnect();
    await deep.waitFor('left', member.session);
    await deep.end();
  });

  test('with a matcher', { timeout: 20_000 }, async () => {
    await works('/picked', { headers: { 'X-Pick': 'me' } });
    await assert.rejects(StompClient.open(caddy.url('/picked')));
    assert.equal(await (await fetch(`${caddy.origin}/picked`)).text(), 'app: GET /picked');
  });

  test('behind basic_auth: 401 without, the user with it', { timeout: 20_000 }, async () => {
    await assert.rejects(StompClient.open(caddy.url('/guarded')), { status: 401 });
    const observer = await Observer.watch(caddy.url('/plain'));
    const authorization = `Basic ${Buffer.from('mina:secret').toString('base64')}`;
    const tabs = [];
    for (let i = 0; i < 2; i++) {
      const tab = await StompClient.connect(caddy.url('/guarded'), { headers: { authorization } });
      assert.equal(tab.connected['user-name'], 'mina');
      const joined = await observer.waitFor('joined', tab.session);
      assert.deepEqual([joined.user, joined.userSessions, joined.attributes], ['mina', i + 1, { team: 'red' }], 'a user is announced without client data');
      tabs.push(tab);
    }
    for (const [i, tab] of tabs.entries()) {
      await tab.disconnect();
      const left = await observer.waitFor('left', tab.session);
      assert.deepEqual([left.user, left.userSessions, left.attributes], ['mina', 1 - i, { team: 'red' }]);
    }
    const { data } = await caddy.waitForEvent('stomp_disconnected', (data) => data.session_id === tabs[1].session);
    assert.equal(data.user, 'mina');
    await observer.end();
  });

  test('reverse_proxy serves the rest of the paths', { timeout: 20_000 }, async () => {
    const response = await fetch(`${caddy.origin}/anything?x=1`, { method: 'POST', body: 'b' });
    assert.equal(await response.text(), 'app: POST /anything?x=1');
    assert.equal(response.headers.get('x-from-header'), 'yes');
  });

  test('a plain request to the endpoint gets a clear answer', { timeout: 20_000 }, async () => {
    const response = await fetch(`${caddy.origin}/plain`);
    assert.ok([400, 426].includes(response.status), `status ${response.status}`);
    assert.match(await response.text(), /websocket/i);
  });

  test('in a site with tls internal', { timeout: 20_000 }, async () => {
    await works(`wss://localhost:${caddy.tlsPort}/plain`, { rejectUnauthorized: false });
    const entry = await eventually('access log entry', () => accessLog('tls.log').find((entry) => entry.request.uri === '/plain'));
    assert.equal(entry.status, 101);
  });

  test('HTTP/2 extended CONNECT gets 501 with a clear text', { timeout: 20_000 }, async () => {
    const session = connectHTTP2(`https://localhost:${caddy.tlsPort}`, { rejectUnauthorized: false });
    session.on('error', () => {});
    try {
      const settings = await new Promise((resolve, reject) => {
        session.once('remoteSettings', resolve);
        session.once('error', reject);
      });
      assert.ok(settings.enableConnectProtocol, 'Caddy offers extended CONNECT');
      const { status, text } = await new Promise((resolve, reject) => {
        const stream = session.request({
          ':method': 'CONNECT',
          ':protocol': 'websocket',
          ':scheme': 'https',
          ':authority': `localhost:${caddy.tlsPort}`,
          ':path': '/plain',
          'sec-websocket-version': '13',
          'sec-websocket-protocol': 'v12.stomp',
        });
        let status;
        let text = '';
        stream.on('response', (headers) => (status = headers[constants.HTTP2_HEADER_STATUS]));
        stream.on('data', (data) => (text += data));
        stream.on('end', () => resolve({ status, text }));
        stream.on('error', reject);
      });
      assert.equal(status, 501);
      assert.match(text, /HTTP\/[12]|extended CONNECT/i);
    } finally {
      session.destroy();
    }
  });

  test('no complaints in the log', () => assert.deepEqual(caddy.complaints(), []));
});

describe('several sites', () => {
  let caddy;
  let ports;
  const site = (port, brokerOptions) => `http://localhost:${port} {\n stomp /ws {\n ${brokerOptions}\n }\n }`;
  before(async () => {
    ports = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    caddy = await Caddy.start({
      global: 'stomp {\n broker common {\n presence {\n register /ws\n announce /topic/presence\n }\n }\n }',
      sites: [
        site(ports[0], 'presence {\n register /ws\n announce /topic/presence\n }'),
        site(ports[1], 'presence {\n register /ws\n announce /topic/presence\n }'),
        site(ports[2], 'broker common'),
        site(ports[3], 'broker common'),
      ].join('\n'),
    });
  });
  after(() => caddy?.remove());

  /** Whether what happens at one port is seen at the other. */
  async function seen(from, at) {
    const observers = [await Observer.watch(`ws://localhost:${at}/ws`), await Observer.watch(`ws://localhost:${from}/ws`)];
    await observers[0].client.subscribe('/topic/talk');
    const member = await join(`ws://localhost:${from}/ws`, 'member', observers[1]);
    await member.request('SEND', { destination: '/topic/talk' }, 'hello');
    await member.disconnect();
    await observers[1].waitFor('left', member.session);
    await observers[0].marker();
    const result = {
      joined: observers[0].of(member.session, 'joined').length,
      messages: observers[0].client.messages('/topic/talk').length,
      left: observers[0].of(member.session, 'left').length,
    };
    for (const observer of observers) await observer.end();
    return result;
  }

  test('with private brokers do not see each other', { timeout: 20_000 }, async () => {
    assert.deepEqual(await seen(ports[0], ports[1]), { joined: 0, messages: 0, left: 0 });
    assert.deepEqual(await seen(ports[0], ports[2]), { joined: 0, messages: 0, left: 0 });
  });

  test('with a shared broker see each other', { timeout: 20_000 }, async () => {
    assert.deepEqual(await seen(ports[2], ports[3]), { joined: 1, messages: 1, left: 1 });
    assert.deepEqual(await seen(ports[3], ports[2]), { joined: 1, messages: 1, left: 1 });
  });
});

test('stomp /ws alone is a complete configuration, with presence', { timeout: 30_000 }, async () => {
  const caddy = await Caddy.start({ sites: (port) => `http://localhost:${port} {\n stomp /ws\n }` });
  try {
    const observer = await Observer.watch(caddy.url('/ws'));
    const member = await join(caddy.url('/ws'), { name: 'Mina' }, observer, { register: '/app/presence' });
    const reader = await StompClient.connect(caddy.url('/ws'));
    await reader.subscribe('/app/presence');
    const roster = await reader.message('/app/presence');
    assert.deepEqual(JSON.parse(roster.body).sessions.map((session) => session.clientData), [{ name: 'Mina' }]);
    await member.disconnect();
    await observer.waitFor('left', member.session);
  } finally {
    await caddy.remove();
  }
});

