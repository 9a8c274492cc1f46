// Who a client is: by the cookie of an application behind Caddy, by its tokens, by a password. Whatever happens to the
// application, those who are connected and those who need nothing of it do not notice.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, afterEach, before, describe, test } from 'node:test';
import { Application, misbehaviours } from './lib/application.mjs';
import { Caddy, caddyCommand } from './lib/caddy.mjs';
import { send } from './lib/http.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually, now, observeFor } from './lib/wait.mjs';

const passcode = 'open-sesame-4711';
let app;
let caddy;
let live; // connected by a token from the beginning to the end
let bystander; // by a cookie

before(async () => {
  app = await Application.start();
  const hash = (await caddyCommand(['hash-password', '--plaintext', passcode, '--bcrypt-cost', '6'])).stdout.trim();
  assert.match(hash, /^\$2a\$06\$/);
  caddy = await Caddy.start({
    global: `stomp {
		broker chat
	}`,
    sites: (port) => `http://localhost:${port} {
	log
	forward_auth /cookie* 127.0.0.1:${app.port} {
		uri /auth
		copy_headers X-User
	}
	stomp /cookie {
		broker chat
		user {header.X-User}
	}
	stomp /token {
		broker chat
		sockjs
		authenticate jwt {
			jwks http://127.0.0.1:${app.port}/keys {
				refresh 2s
				min_interval 200ms
				timeout 1500ms
			}
			issuer https://app.example
			audience chat
			leeway 0s
			attribute team team public
			query token
		}
		authenticate password {
			"classic client" ${hash}
		}
		failed_attempts off
	}
	stomp /limited {
		broker chat
		authenticate password {
			mina ${hash}
		}
		failed_attempts 3 1
	}
	reverse_proxy 127.0.0.1:${app.port}
}`,
  });
});

afterEach(() => app.behave());

after(async () => {
  await caddy?.remove();
  await app?.down();
});

const bearer = (token) => ({ connect: { Authorization: `Bearer ${token}` } });
const byToken = (token) => StompClient.connect(caddy.url('/token'), bearer(token));

/** The cookie that the application gives who signs in through Caddy. */
function signIn(user) {
  return new Promise((resolve, reject) => {
    request(`${caddy.origin}/login?user=${user}`, { method: 'POST', agent: false }, (response) => {
      response.resume();
      resolve(response.headers['set-cookie'][0].split(';')[0]);
    })
      .on('error', reject)
      .end();
  });
}

async function refused(promise, message) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.frame?.headers.message, message, error.message);
    return true;
  });
}

/** Both who are connected hear each other, at once. */
async function undisturbed(what) {
  for (const [from, to] of [[live, bystander], [bystander, live]]) {
    const body = `${what} ${now()}`;
    const began = now();
    from.send('/topic/all', body);
    await to.message('/topic/all', (frame) => frame.body === body);
    assert.ok(now() - began < 500, `${what}: a message took ${now() - began} ms`);
  }
}

test('a cookie of the application, by forward_auth', { timeout: 30_000 }, async () => {
  assert.equal((await send(`${caddy.origin}/`)).text, 'hello');
  const cookie = await signIn('mina');
  bystander = await StompClient.connect(caddy.url('/cookie'), { headers: { cookie } });
  assert.equal(bystander.connected['user-name'], 'mina');
  await bystander.subscribe('/topic/all');
  for (const headers of [{}, { cookie: 'sid=0123' }, { 'X-User': 'root' }]) {
    await assert.rejects(StompClient.connect(caddy.url('/cookie'), { headers }), { status: 401 }, JSON.stringify(headers));
  }
  const forger = await StompClient.connect(caddy.url('/cookie'), { headers: { cookie, 'X-User': 'root' } });
  assert.equal(forger.connected['user-name'], 'mina', 'who signs in as mina and says that he is root');
  await forger.disconnect();
});

test('a token of the application, and a password of a classic client', { timeout: 30_000 }, async () => {
  live = await byToken(app.token({ sub: 'omar', team: 'red' }));
  assert.equal(live.connected['user-name'], 'omar');
  await live.subscribe('/topic/all');
  await undisturbed('at first');

  for (const path of ['/token', '/token/000/abcdefgh/websocket']) {
    const sockjs = path !== '/token';
    const client = await StompClient.open(caddy.url(`${path}?token=${app.token({ sub: 'lea' })}`), { sockjs });
    if (sockjs) await eventually('the SockJS session is open', () => client.ws.readyState === 1);
    assert.equal((await client.connect())['user-name'], 'lea', path);
    await client.disconnect();
  }
  const classic = await StompClient.connect(caddy.url('/token'), { connect: { login: 'classic client', passcode } });
  assert.equal(classic.connected['user-name'], 'classic client');
  await classic.disconnect();

  await refused(StompClient.connect(caddy.url('/token')), 'credentials are missing');
  await refused(StompClient.connect(caddy.url('/token'), { connect: { login: 'classic client', passcode: `${passcode}x` } }), 'credentials are not valid');
  for (const claims of [{ iss: 'https://evil.example' }, { aud: 'mail' }, { sub: undefined }, { sub: 'a\nuser-name:root' }, { nbf: 1e10 }]) {
    await refused(byToken(app.token({ sub: 'mina', ...claims })), 'credentials are not valid');
  }
  await refused(byToken(app.token({ sub: 'mina', exp: 1 })), 'credentials expired');
});

test('a session ends with its token, unless it is refreshed', { timeout: 30_000 }, async () => {
  const soon = () => ({ sub: 'lea', exp: Math.floor(Date.now() / 1000) + 2 });
  const ends = await byToken(app.token(soon()));
  const stays = await byToken(app.token(soon()));
  await stays.request('SEND', { destination: '/app/refresh' }, app.token({ sub: 'lea' }));
  assert.equal((await ends.error()).headers.message, 'credentials expired');
  assert.equal((await ends.close()).code, 1008);
  await stays.subscribe('/topic/still-here');
  await stays.disconnect();
  await undisturbed('after an expiry');
});

test('keys rotate, and a key that is gone is not used', { timeout: 30_000 }, async () => {
  const old = app.rotate({ keep: 1 });
  await (await byToken(app.token({ sub: 'lea' }, old))).disconnect();
  const stolen = app.token({ sub: 'lea' }, old);
  await eventually('the application may be asked again', async () => {
    app.rotate();
    return byToken(app.token({ sub: 'lea' })).then((client) => client.disconnect().then(() => true), () => false);
  });
  const answers = new Set(); // not before the application was asked again
  await eventually('the stolen token is refused', async () => {
    const answer = await byToken(stolen).then(() => 'in', (error) => error.frame?.headers.message);
    answers.add(answer);
    return answer === 'credentials are not valid';
  });
  answers.delete('credentials are not valid');
  answers.delete('credentials cannot be checked at the moment, try again later');
  assert.deepEqual([...answers], []);
  await undisturbed('after rotations');
});

describe('an application that is', () => {
  for (const how of [...misbehaviours, 'down']) {
    test(how, { timeout: 60_000 }, async () => {
      const cookie = await signIn('mina');
      const known = app.token({ sub: 'lea' });
      await eventually('the keys are at hand', () => byToken(known).then((client) => client.disconnect().then(() => true), () => false));
      const asked = app.asked;
      await observeFor(250); // min_interval: nobody is asked before
      if (how === 'down') await app.down();
      else app.misbehave(how);

      const unknown = app.token({ sub: 'lea' }, app.rotate());
      const began = now();
      const waiting = Promise.all(Array.from({ length: 20 }, () => byToken(unknown).then((client) => client.disconnect().then(() => 'in'), (error) => error.frame?.headers.message ?? error.message)));
      await undisturbed(how);
      const others = [['a token of a key at hand', () => byToken(known)], ['a password', () => StompClient.connect(caddy.url('/token'), { connect: { login: 'classic client', passcode } })]];
      if (how !== 'down') others.push(['a cookie', () => StompClient.connect(caddy.url('/cookie'), { headers: { cookie } })]);
      for (const [what, connect] of others) {
        const start = now();
        const client = await connect();
        assert.ok(now() - start < 1000, `${how}: who has ${what} waited ${now() - start} ms`);
        await client.disconnect();
      }
      const answers = new Set(await waiting);
      assert.ok(now() - began < 6000, `those with an unknown key waited ${now() - began} ms`);
      if (how !== 'slow') assert.deepEqual([...answers], ['credentials cannot be checked at the moment, try again later']);
      else for (const answer of answers) assert.match(answer, /^in$|^credentials cannot be checked/);
      if (how !== 'down') assert.ok(app.asked > asked && app.asked - asked < 20, `asked ${app.asked - asked} times`);
      await undisturbed(`still ${how}`);

      await (how === 'down' ? app.up() : app.behave());
      await eventually('the application is well again', () => byToken(unknown).then((client) => client.disconnect().then(() => true), () => false));
      assert.equal(app.elsewhere, 0, 'redirects are not followed');
    });
  }
});

test('a reload, with the application down, keeps sessions and keys', { timeout: 30_000 }, async () => {
  const known = app.token({ sub: 'lea' });
  await (await byToken(known)).disconnect();
  const { text } = await caddy.api('/config/');
  await app.down();
  const config = JSON.parse(text);
  config.apps.http.grace_period = 1_000_000_000; // something else than before
  const { ok, text: answer } = await caddy.api('/load', { body: JSON.stringify(config), contentType: 'application/json' });
  assert.ok(ok, answer);
  await undisturbed('after a reload');
  await (await byToken(known)).disconnect();
  await app.up();
});

test('failed attempts of an address are limited, and say no more than that', { timeout: 30_000 }, async () => {
  const as = (code) => StompClient.connect(caddy.url('/limited'), { connect: { login: 'mina', passcode: code } });
  for (let i = 0; i < 3; i++) await refused(as(`guess-${i}`), 'credentials are not valid');
  await refused(as(passcode), 'too many failed attempts, try again later');
  await eventually('the address may try again', () => as(passcode).then((client) => client.disconnect().then(() => true), () => false), { every: 200 });
  await undisturbed('after failed attempts');
});

test('no log has a token, a cookie or a password', { timeout: 30_000 }, async () => {
  await live.disconnect();
  await bystander.disconnect();
  const logged = caddy.log.entries.map((entry) => JSON.stringify(entry));
  assert.ok(logged.some((line) => line.includes('"uri":"/token?REDACTED"')), 'the access log has the requests');
  assert.ok(app.secrets.size > 40, `${app.secrets.size} secrets`);
  for (const secret of [...app.secrets, passcode]) {
    const found = logged.find((line) => line.includes(secret));
    assert.equal(found, undefined, `${secret} is logged`);
  }
  assert.deepEqual(caddy.complaints(), []);
});
