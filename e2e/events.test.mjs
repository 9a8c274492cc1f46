// Events of Caddy's own become messages: a certificate that Caddy obtains is told to whoever listens for it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Caddy } from './lib/caddy.mjs';
import { StompClient } from './lib/stomp-client.mjs';

/** With names, their certificates are obtained from Caddy's own authority. */
const configuration = (...names) => ({
  global: `events {
		on cert_obtained stomp_publish /topic/certificates/{event.data.identifier} chat
	}
	stomp {
		broker chat
	}`,
  sites: (port) => `http://localhost:${port} {
	stomp /ws {
		broker chat
	}
}
${names.map((name) => `${name} {
	tls internal
}
`).join('')}`,
});

let caddy;

before(async () => {
  caddy = await Caddy.start(configuration());
});

after(() => caddy?.remove());

test('cert_obtained, by stomp_publish', { timeout: 60_000 }, async () => {
  const reader = await StompClient.connect(caddy.url('/ws'));
  await reader.subscribe('/topic/certificates/*');
  const names = ['one.localhost', 'two.localhost'];
  const { ok, text } = await caddy.api('/load', { body: caddy.caddyfile(configuration(...names)), contentType: 'text/caddyfile' });
  assert.ok(ok, text);
  for (const name of names) {
    const message = await reader.message(`/topic/certificates/${name}`);
    const event = JSON.parse(message.body);
    assert.equal(message.headers['content-type'], 'application/json');
    assert.equal(event.type, 'cert_obtained');
    assert.equal(event.data.identifier, name);
  }
  await reader.disconnect();
  assert.deepEqual(caddy.complaints(), []);
});
