// Servers with webhooks, and those who come and go.

import { randomBytes } from 'node:crypto';
import { Caddy } from './caddy.mjs';
import { StompClient } from './stomp-client.mjs';

export const newSecret = () => `whsec_${randomBytes(24).toString('base64')}`;
/** What {env.HOOK_SECRET} is for a Caddy that startCaddy starts. */
export const secret = newSecret();

/**
 * A configuration with webhooks.
 *
 * hooks: of each [url, further options]; the secret is {env.HOOK_SECRET} unless the options name others
 */
export function configuration(hooks, { store = true, version = 0, drain = '3s' } = {}) {
  const webhook = ([url, options = '']) => `webhook ${url} {
				${/^\s*secret/m.test(options) ? '' : 'secret {env.HOOK_SECRET}'}
				${options}
			}`;
  return {
    global: `stomp {
		broker chat {
			${store ? 'store file presence.db' : ''}
			presence {
				register /ws
				announce /topic/presence
				room /topic/rooms/*
			}
			drain ${drain}
			${hooks.map(webhook).join('\n')}
		}
	}`,
    sites: (port) => `http://localhost:${port} {
	header X-Version ${version}
	stomp /connection {
		broker chat
		user {query.user}
		ping_timeout 5m
		attribute team red public
		attribute ip {client_ip}
	}
}`,
  };
}

export const startCaddy = (hooks, { env, ...options } = {}) => Caddy.start({ ...configuration(hooks, options), env: { HOOK_SECRET: secret, ...env } });

/** A client that is announced. */
export async function come(caddy, name, { user = '' } = {}) {
  return StompClient.connect(caddy.url(`/connection?user=${user}`), { connect: { 'client-data': JSON.stringify({ name }) } });
}

/** Somebody comes, and goes; resolves to the session id. */
export async function comeAndGo(caddy, name) {
  const client = await come(caddy, name);
  await client.disconnect();
  return client.session;
}

/** Whether events have the end of those sessions. */
export const leftOf = (...sessions) => (events) => sessions.every((session) => events.some((event) => event.type === 'left' && event.sessionId === session));

/** Events without what differs between receivers. */
export const plain = (events) => events.map(({ seq, type, sessionId, room }) => [seq, type, sessionId, room ?? '']);

/** What the admin endpoint says of one. */
export const webhookOf = async (caddy, receiver) => (await webhooks(caddy)).find(({ id }) => id === receiver.url);

/** What the admin endpoint says of all. */
export const webhooks = async (caddy) => JSON.parse((await caddy.api('/stomp/brokers/chat/webhooks')).text);
