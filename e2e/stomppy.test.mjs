// Clients that are not browsers': Debian's stomp.py in all three versions and Perl's Net::Stomp, through a bridge from TCP to WebSocket.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bridge } from './lib/bridge.mjs';
import { Caddy } from './lib/caddy.mjs';
import { Observer } from './lib/observer.mjs';
import { runOrThrow } from './lib/process.mjs';
import { eventually } from './lib/wait.mjs';

// Debian's own, which finds Debian's packages, whatever else is in PATH.
const python = '/usr/bin/python3';
const perl = '/usr/bin/perl';
const script = (name) => fileURLToPath(new URL(`lib/${name}`, import.meta.url));

let caddy;
let observer;
const bridges = [];

async function bridgeTo(path, options) {
  const made = await bridge(caddy.url(path), options);
  bridges.push(made);
  return made;
}

before(async () => {
  caddy = await Caddy.start({
    sites: (port) => `http://localhost:${port} {
	stomp /stomp
	stomp /brisk {
		heart_beat 1s 1s
	}
}`,
  });
  observer = await Observer.watch(caddy.url('/stomp'));
});

after(async () => {
  for (const each of bridges) each.close();
  await caddy?.remove();
});

describe('stomp.py', () => {
  for (const version of ['1.0', '1.1', '1.2']) {
    test(`STOMP ${version}: messages, acknowledgements, transactions, errors, heart-beats, DISCONNECT`, { timeout: 150_000 }, async () => {
      const plain = await bridgeTo('/stomp', { protocols: [`v${version.replace('.', '')}.stomp`] });
      const brisk = await bridgeTo('/brisk');
      const { stdout } = await runOrThrow(python, [script('stomppy-session.py'), version, plain.port, brisk.port].map(String), { timeout: 140_000 });
      const { sessions, steps } = JSON.parse(stdout);
      assert.ok(steps.includes('transactions'));
      const ended = sessions.slice(0, steps.includes('heart_beats') ? -1 : undefined); // the last one was elsewhere
      const reasons = {};
      for (const session of ended) {
        const { reason } = await observer.waitFor('left', session, { timeout: 20_000 });
        reasons[reason] = (reasons[reason] ?? 0) + 1;
      }
      assert.deepEqual(reasons, { disconnect: ended.length - 1, 'protocol-error': 1 });
      await eventually('every WebSocket is closed', () => plain.closes.length === ended.length, { timeout: 20_000 });
    });
  }
});

test("Net::Stomp: messages, receipts, acknowledgements, a transaction, DISCONNECT", { timeout: 150_000 }, async () => {
  const { port } = await bridgeTo('/stomp');
  const { stdout } = await runOrThrow(perl, [script('net-stomp-session.pl'), String(port)], { timeout: 140_000 });
  const sessions = stdout.trim().split('\n');
  assert.equal(sessions.length, 2);
  for (const session of sessions) {
    assert.equal((await observer.waitFor('left', session, { timeout: 20_000 })).reason, 'disconnect');
  }
});

test('nothing of this was an accident to the server', async () => {
  await observer.end();
  assert.deepEqual(caddy.complaints(), []);
});
