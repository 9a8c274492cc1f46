// Sessions under TLS, as Caddy has them and with the listener wrapper, which lets them write to their sockets directly.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Browser } from './lib/browser.mjs';
import { Caddy } from './lib/caddy.mjs';
import { Observer, join } from './lib/observer.mjs';
import { pagesSite, writePages } from './lib/pages.mjs';
import { eventually, now } from './lib/wait.mjs';

const insecure = { rejectUnauthorized: false };
const hash = (text) => createHash('sha1').update(text).digest('hex');

let browser;
let person;
let pages;
before(async () => {
  pages = writePages();
  browser = await Browser.launch();
  person = await browser.person({ ignoreHTTPSErrors: true });
});
after(async () => {
  await browser?.remove();
  pages?.remove();
});

for (const [name, wrappers] of [
  ['as Caddy has it', ''],
  ['with the listener wrapper', 'servers {\n\t\tlistener_wrappers {\n\t\t\tstomp\n\t\t\ttls\n\t\t}\n\t}'],
]) {
  describe(`TLS, ${name}`, () => {
    let caddy;
    let observer;
    const url = (path) => `wss://localhost:${caddy.tlsPort}${path}`;
    before(async () => {
      caddy = await Caddy.start({
        debug: false,
        global: wrappers,
        sites: (_, tlsPort) => `https://localhost:${tlsPort} {
	tls internal
	encode
	stomp /ws {
		sockjs
		presence {
			register /ws
		}
		limits {
			frame_size 128KiB
			pending 64MiB
		}
	}
	${pagesSite(pages)}
}`,
      });
      observer = await eventually('the certificate', () => Observer.watch(url('/ws/websocket'), insecure).catch(() => undefined));
    });
    after(() => caddy?.remove());

    test('tabs of Chromium come, and are closed', { timeout: 60_000 }, async () => {
      for (const [file, path] of [
        ['presence.html', '/ws/websocket'],
        ['sockjs.html', '/ws'],
      ]) {
        const page = await browser.open(`https://localhost:${caddy.tlsPort}/${file}?path=${path}`, { context: person });
        const session = await page.waitForFunction(() => window.session).then((handle) => handle.jsonValue());
        await observer.waitFor('joined', session);
        const from = now();
        await page.close();
        const left = await observer.waitFor('left', session);
        assert.deepEqual([left.reason, left.clean], ['closed', true], `${file}: ${left.code}`);
        assert.ok(left.receivedAt - from <= 2000, `${file}: noticed after ${left.receivedAt - from} ms`);
      }
    });

    test('messages of every size come whole and in order, also to who reads late', { timeout: 120_000 }, async () => {
      const count = 600;
      const receivers = [];
      for (let i = 0; i < 8; i++) {
        const client = await join(url('/ws/websocket'), { i }, observer, insecure);
        client.got = [];
        client.tap = (frame) => {
          if (frame.headers.destination !== '/topic/sizes') return false;
          const [number, digest] = frame.body.split(' ', 2);
          const text = frame.body.slice(number.length + digest.length + 2);
          client.got.push(digest === hash(text) ? Number(number) : `${number}, broken`);
          return true;
        };
        await client.subscribe('/topic/sizes');
        receivers.push(client);
      }
      // Two of them do not read for a while: their sockets fill up in the midst of a message.
      const late = receivers.slice(0, 2);
      for (const client of late) client.ws.pause();
      const sender = await join(url('/ws/websocket'), 'sender', observer, insecure);
      for (let i = 0; i < count; i++) {
        const text = String.fromCharCode(97 + (i % 26)).repeat([1, 100, 1_300, 5_000, 16_300, 16_400, 60_000, 100_000][i % 8]);
        sender.send('/topic/sizes', `${i} ${hash(text)} ${text}`);
        if (i % 50 === 49) await sender.request('SEND', { destination: '/topic/pace' }, '');
      }
      const inTime = receivers.slice(2);
      await eventually('those who read have them', () => inTime.every(({ got }) => got.length === count), { timeout: 60_000 });
      assert.ok(late.every(({ got }) => got.length < count), 'who does not read has not all of them');
      for (const client of late) client.ws.resume();
      await eventually('those who read late have them', () => late.every(({ got }) => got.length === count), { timeout: 60_000 });
      const all = Array.from({ length: count }, (_, i) => i);
      for (const { got } of receivers) assert.deepEqual(got, all);
      for (const client of receivers) client.ws.terminate();
      for (const client of receivers) assert.equal((await observer.waitFor('left', client.session)).reason, 'connection-lost');
      await sender.disconnect();
    });

    test('nothing of this was an accident to the server', () => {
      assert.deepEqual(caddy.complaints(), []);
      assert.deepEqual(caddy.log.filter((entry) => /listener wrapper/.test(entry.msg)), []);
    });
  });
}
