// Reloads that succeed lose nothing; reloads that fail change nothing; the end is orderly.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Caddy } from './lib/caddy.mjs';
import { send } from './lib/http.mjs';
import { Observer, join } from './lib/observer.mjs';
import { occupyPort } from './lib/ports.mjs';
import { RawWebSocket } from './lib/raw-websocket.mjs';
import { StompClient } from './lib/stomp-client.mjs';
import { eventually, now } from './lib/wait.mjs';

const senders = 10;
const perSender = 10_000;
const reloads = 20;

/** A configuration that differs from version to version in policy, presence, headers, sites and order. */
function configuration(version) {
  const odd = version % 2 === 1;
  return {
    global: `stomp {
		broker chat {
			presence {
				register /ws
				announce /topic/presence
			}
			drain ${odd ? '3s' : '2s'}
		}
	}`,
    sites: (port) => `http://localhost:${port} {
	header X-Version ${version}
	${odd ? 'encode gzip' : ''}
	stomp /connection {
		broker chat
		sockjs
		heart_beat ${5 + (version % 3)}s 10s
		limits {
			subscriptions ${100 + version}
			pending ${1 + (version % 3)}MiB
		}
	}
	${odd ? 'stomp /sometimes {\n broker chat\n }' : ''}
	respond /version "${version}"
}
${odd ? `http://127.0.0.1:${port} {\n respond "other"\n }` : ''}`,
  };
}

const version = async (caddy) => (await send(`${caddy.origin}/version`)).text;

describe('20 reloads under way', () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start({ debug: false, ...configuration(0) });
  });
  after(() => caddy?.remove());

  test('10 x 10,000 messages: no gap, no reorder, nobody dropped, nobody left', { timeout: 280_000 }, async () => {
    const observer = await Observer.watch(caddy.url('/connection/websocket'));
    const receivers = [];
    for (const options of [{}, { protocols: [] }, { sockjs: true }]) {
      const url = caddy.url(options.sockjs ? '/connection/039/e2ereceiver/websocket' : '/connection/websocket');
      const client = await join(url, 'receiver', observer, options);
      const next = Array(senders).fill(0);
      const wrong = [];
      client.tap = (frame) => {
        if (frame.headers.destination !== '/topic/numbers') return false;
        const [sender, number] = frame.body.split(' ').map(Number);
        if (number !== next[sender] && wrong.length < 20) wrong.push(`sender ${sender}: ${number} instead of ${next[sender]}`);
        next[sender] = number + 1;
        return true;
      };
      await client.subscribe('/topic/numbers');
      receivers.push({ client, next, wrong });
    }

    let done = 0;
    const sent = Array(senders).fill(0);
    const duringReload = Array(reloads).fill(0);
    let reloading = -1;
    const sending = Array.from({ length: senders }, async (_, sender) => {
      const client = await join(caddy.url('/connection/websocket'), { sender }, observer);
      while (sent[sender] < perSender) {
        // A share of the messages for each reload, so that the last ones are sent after the last reload.
        const share = done < reloads ? Math.floor((perSender * (done + 1)) / (reloads + 1)) : perSender;
        const burst = Math.min(50, share - sent[sender]);
        for (let i = 0; i < burst; i++) client.send('/topic/numbers', `${sender} ${sent[sender]++}`);
        if (reloading >= 0) duringReload[reloading] += burst;
        await client.request('SEND', { destination: '/topic/pace' }, '');
        if (burst === 0) await eventually('next reload', () => done === reloads || sent[sender] < Math.floor((perSender * (done + 1)) / (reloads + 1)), { timeout: 30_000 });
      }
      return client;
    });
    const all = Promise.all(sending);
    all.catch(() => {});

    await eventually('every sender sends', () => sent.every((count) => count > 0), { timeout: 20_000 });
    for (let i = 1; i <= reloads; i++) {
      const floor = Math.floor((perSender * (i - 1)) / (reloads + 1));
      await eventually(`messages before reload ${i}`, () => sent.every((count) => count >= floor), { timeout: 30_000, every: 5 });
      reloading = i - 1;
      if (i % 5 === 0) await caddy.reloadCommand(configuration(i));
      else await caddy.reload(configuration(i));
      reloading = -1;
      assert.equal(await version(caddy), String(i));
      done = i;
    }
    const clients = await all;

    for (const { next, wrong } of receivers) {
      await eventually('every message has arrived', () => next.every((count) => count === perSender), { timeout: 30_000 }).catch((error) => {
        throw new Error(`${error.message}: ${next.join(' ')} ${wrong.join('; ')}`);
      });
      assert.deepEqual(wrong, []);
    }
    const busy = duringReload.filter((count) => count > 0).length;
    assert.ok(busy >= reloads / 2, `messages were sent during ${busy} of ${reloads} reloads only`);

    await observer.marker();
    assert.deepEqual(observer.changes.filter((change) => change.type !== 'joined'), []);
    for (const client of [observer.client, ...clients, ...receivers.map((receiver) => receiver.client)]) assert.ok(client.open);
    const scrape = await caddy.metrics();
    assert.equal(scrape.sum('caddy_stomp_sessions'), 1 + senders + receivers.length);
    assert.equal(scrape.sum('caddy_stomp_session_ends_total'), 0);
    assert.ok(scrape.has('caddy_stomp_session_ends_total') && scrape.has('caddy_stomp_dropped_messages_total'));
    assert.equal(scrape.sum('caddy_stomp_dropped_messages_total'), 0);
    assert.deepEqual(caddy.complaints(), []);

    // What changed applies: sessions of before and of after the reloads have the same, new limit of subscriptions.
    const [old] = clients;
    await assert.rejects(async () => {
      for (let i = 0; i < 300; i++) await old.subscribe(`/topic/limit/${i}`);
    }, (error) => /subscriptions/.test(error.frame?.headers.message));
    const left = await observer.waitFor('left', old.session);
    assert.equal(left.reason, 'policy');
  });
});

describe('reloads that fail', () => {
  let caddy;
  let occupied;
  let observer;
  let member;
  before(async () => {
    occupied = await occupyPort();
    caddy = await Caddy.start({ debug: false, ...configuration(0) });
    observer = await Observer.watch(caddy.url('/connection/websocket'));
    member = await join(caddy.url('/connection/websocket'), 'steadfast', observer);
  });
  after(async () => {
    await caddy?.remove();
    await occupied?.close();
  });

  /** The old configuration serves, with its endpoint, its destinations and its sessions. */
  async function nothingChanged() {
    assert.equal(await version(caddy), '0');
    assert.ok(observer.client.open && member.open);
    const newcomer = await join(caddy.url('/connection/websocket'), 'newcomer', observer);
    assert.equal(newcomer.connected['heart-beat'].split(',')[0], '5000', 'the old heart-beats are offered');
    for (const missing of ['/sometimes', '/brand-new']) {
      await assert.rejects(StompClient.open(caddy.url(missing)), `${missing} must not have become an endpoint`);
    }
    const id = await member.subscribe('/topic/x');
    await newcomer.send('/topic/x', 'still here');
    await member.message('/topic/x');
    await member.request('UNSUBSCRIBE', { id });
    member.frames.entries.length = 0;
    await newcomer.disconnect();
    await observer.waitFor('left', newcomer.session);
    await observer.marker();
    assert.deepEqual(observer.of(member.session, 'left'), []);
  }

  /** A configuration that changes everything that could be seen. */
  function everythingDifferent({ extra = '', options = '' } = {}) {
    return {
      global: `stomp {
		broker chat {
			presence {
				register /other/ws
				announce /other/presence
			}
		}
	}`,
      sites: (port) => `http://localhost:${port} {
	stomp /brand-new {
		broker chat
		heart_beat 1s 1s
		${options}
	}
	respond /version "never"
}
${extra}`,
    };
  }

  test('while it is read', { timeout: 30_000 }, async () => {
    const result = await caddy.load(everythingDifferent({ options: 'no_such_option' }));
    assert.equal(result.ok, false);
    assert.match(result.text, /no_such_option/);
    await nothingChanged();
  });

  test('in Provision of an endpoint: a broker that nobody defined', { timeout: 30_000 }, async () => {
    const adapted = await caddy.api('/adapt', { body: caddy.caddyfile(everythingDifferent()), contentType: 'text/caddyfile' });
    const { result } = JSON.parse(adapted.text);
    const broken = JSON.stringify(result).replace('"broker":"chat"', '"broker":"nobody"');
    assert.notEqual(broken, JSON.stringify(result), 'the handler refers to its broker by name');
    const answer = await caddy.load(broken, { contentType: 'application/json' });
    assert.equal(answer.ok, false);
    assert.match(answer.text, /nobody/);
    await nothingChanged();
  });

  test('in Provision of another app', { timeout: 30_000 }, async () => {
    const answer = await caddy.load(everythingDifferent({ extra: `https://localhost:${caddy.tlsPort} {\n tls /no/such/cert.pem /no/such/key.pem\n }` }));
    assert.equal(answer.ok, false);
    await nothingChanged();
  });

  test('in Start of another app: a port that somebody else has', { timeout: 60_000 }, async () => {
    // Apps start in random order: ours has started before the failure in some of these.
    for (let i = 0; i < 8; i++) {
      const answer = await caddy.load(everythingDifferent({ extra: `http://localhost:${occupied.port} {\n respond "never"\n }` }));
      assert.equal(answer.ok, false);
      assert.match(answer.text, /address already in use/);
      await nothingChanged();
    }
  });

  test('after all of them, a reload that succeeds', { timeout: 30_000 }, async () => {
    await caddy.reload(configuration(3));
    assert.equal(await version(caddy), '3');
    assert.ok(member.open && observer.client.open);
    const newcomer = await join(caddy.url('/sometimes'), 'newcomer', observer);
    await newcomer.disconnect();
    await observer.waitFor('left', newcomer.session);
    assert.deepEqual(observer.of(member.session, 'left'), []);
  });
});

describe('a broker of its own', () => {
  test('outlives reloads, also when other sites and endpoints come and go', { timeout: 30_000 }, async (t) => {
    const parts = (i) => ({
      sites: (port) => `${i % 2 ? `http://127.0.0.1:${port} {\n stomp /other\n }` : ''}
http://localhost:${port} {
	${i % 2 ? 'stomp /earlier' : ''}
	header X-Version ${i}
	stomp /ws
}`,
    });
    const caddy = await Caddy.start({ debug: true, ...parts(0) });
    t.after(() => caddy.remove());
    const observer = await Observer.watch(caddy.url('/ws'));
    const member = await join(caddy.url('/ws'), 'member', observer, { register: '/app/presence' });
    for (let i = 1; i <= 5; i++) {
      await caddy.reload(parts(i));
      await observer.marker();
      assert.ok(member.open && observer.client.open, `after reload ${i}`);
    }
    await member.disconnect();
    const left = await observer.waitFor('left', member.session);
    assert.equal(left.reason, 'disconnect');
    assert.equal(observer.changes.entries.length, 2, 'joined and left');
    await caddy.waitForEvent('stomp_disconnected', (data) => data.session_id === member.session);
    assert.deepEqual(caddy.complaints(), []);
  });
});

describe('removal of an endpoint', () => {
  let caddy;
  before(async () => {
    caddy = await Caddy.start({ debug: false, ...configuration(1) });
  });
  after(() => caddy?.remove());

  test('its sessions are closed with 1001 and announced to those who stay', { timeout: 30_000 }, async () => {
    const observer = await Observer.watch(caddy.url('/connection/websocket'));
    const stays = await join(caddy.url('/connection/websocket'), 'stays', observer);
    const goes = [];
    for (let i = 0; i < 5; i++) goes.push(await join(caddy.url('/sometimes'), { i }, observer));
    await caddy.reload(configuration(2));
    for (const client of goes) {
      const left = await observer.waitFor('left', client.session);
      assert.deepEqual([left.reason, left.code, left.clean], ['server-shutdown', 1001, false]);
      assert.equal((await client.close()).code, 1001);
    }
    await observer.marker();
    assert.equal(observer.changes.filter((change) => change.type === 'left').length, goes.length);
    assert.ok(stays.open);
    await assert.rejects(StompClient.open(caddy.url('/sometimes')));
  });

  test('the last endpoint of a broker goes, and the broker with it', { timeout: 30_000 }, async () => {
    const client = await StompClient.connect(caddy.url('/connection/websocket'));
    await caddy.reload({ sites: (port) => `http://localhost:${port} {\n respond /version "none"\n }` });
    assert.match(String((await client.close(8000)).code), /^(1001|1012)$/);
    assert.equal(await version(caddy), 'none');
    await caddy.reload(configuration(4));
    const again = await StompClient.connect(caddy.url('/connection/websocket'));
    await again.disconnect();
    assert.deepEqual(caddy.complaints(), []);
  });
});

describe('the end', () => {
  test('caddy stop closes with 1012 and ends within the drain time, whatever the clients do', { timeout: 60_000 }, async (t) => {
    const caddy = await Caddy.start({ debug: true, ...configuration(1) });
    t.after(() => caddy.remove());
    const clients = [];
    for (let i = 0; i < 20; i++) clients.push(await join(caddy.url('/connection/websocket'), { i }));
    const deaf = await RawWebSocket.open(caddy.port, '/connection/websocket');
    await deaf.connect();
    const late = await RawWebSocket.open(caddy.port, '/connection/websocket'); // has not sent CONNECT yet
    await late.head();
    const stopped = caddy.stopCommand();
    for (const client of clients) {
      const close = await client.close(8000);
      assert.equal(close.code, 1012);
      const errors = client.frames.filter((frame) => frame.command === 'ERROR');
      assert.equal(errors.length, 1, 'an ERROR says why');
      assert.match(errors[0].headers.message, /shutdown/);
    }
    const took = await stopped;
    assert.ok(took <= 3000 + 2000, `caddy stop took ${took} ms`);
    assert.equal(deaf.messages.find((message) => message.type === 'close')?.code, 1012);
    assert.deepEqual(caddy.complaints(), []);
    deaf.end();
    late.end();
  });

  test('without clients it does not wait', { timeout: 30_000 }, async (t) => {
    const caddy = await Caddy.start({ debug: false, ...configuration(1) });
    t.after(() => caddy.remove());
    const client = await StompClient.connect(caddy.url('/connection/websocket'));
    await client.disconnect();
    const took = await caddy.stopCommand();
    assert.ok(took <= 2000, `caddy stop took ${took} ms`);
  });

  test('SIGTERM does the same', { timeout: 30_000 }, async (t) => {
    const caddy = await Caddy.start({ debug: false, ...configuration(1) });
    t.after(() => caddy.remove());
    const client = await join(caddy.url('/connection/websocket'), 'x');
    const from = now();
    process.kill(caddy.pid, 'SIGTERM');
    assert.equal((await client.close(8000)).code, 1012);
    await eventually('the end of the process', async () => Promise.race([caddy.ended, false]), { timeout: 5000 });
    assert.ok(now() - from <= 5000);
  });
});
