// Servers that keep their sessions, and clients that come back to them.

import { eventually } from './wait.mjs';
import { StompClient } from './stomp-client.mjs';
import { Witness } from './witness.mjs';

/**
 * A configuration with brokers that keep their sessions in files.
 *
 * stores: by broker, also its path: the file, or '' for none; presence: more of its presence options
 */
export const keeping = (stores, { presence = '', recoveryGrace = 1500, drain = 3000 } = {}) => ({
  global: `stomp {
	${Object.entries(stores)
    .map(
      ([name, file]) => `broker ${name} {
		${file && `store file ${file}`}
		presence {
			register /ws
			announce /topic/presence
			recovery_grace ${recoveryGrace}ms
			${presence}
		}
		drain ${drain}ms
	}`,
    )
    .join('\n')}
}`,
  sites: (port) => `http://localhost:${port} {
	${Object.keys(stores)
    .map((name) => `stomp /${name} {\n broker ${name}\n user {query.user}\n limits {\n sessions_per_address 10000\n }\n }`)
    .join('\n')}
	respond /up "up"
}`,
});

/** Clients that each say who they are; resolves when they are told of, besides those who are there. */
export async function arrive(url, count, { name = 'client', there = [] } = {}) {
  const clients = [];
  for (let begin = 0; begin < count; begin += 100) {
    const some = Array.from({ length: Math.min(100, count - begin) }, async (_, i) => {
      const data = { name: `${name} ${begin + i}` };
      const client = await StompClient.connect(url, { connect: { 'client-data': JSON.stringify(data) } });
      client.closed.then(() => (client.endedAt = Date.now()));
      return Object.assign(client, { data });
    });
    clients.push(...(await Promise.all(some)));
  }
  const watching = await watch(url);
  await sees(watching, [...there, ...clients]);
  await watching.client.disconnect();
  return clients;
}

/** A witness who is connected. */
export async function watch(url) {
  const witness = new Witness(url, { register: '/ws' });
  await witness.connect();
  return witness;
}

/** How the roster shows clients. */
const entries = (clients) => clients.map(({ session, data }) => ({ sessionId: session, user: '', clientData: [data] }));

/** Waits until a witness, and who comes now, see those clients and nobody else, and nothing was wrong. */
export async function sees(witness, clients, options) {
  await witness.agrees(() => entries(clients), options);
  if (witness.wrong.length > 0) throw new Error(witness.wrong.join('\n'));
}

/** A client comes back with its token; an error if it is another session then. */
export async function comeBack(url, client) {
  const again = await StompClient.connect(url, { connect: { 'resume-token': client.connected['resume-token'] } });
  if (again.session !== client.session) throw new Error(`${client.session} came back as ${again.session}`);
  again.closed.then(() => (again.endedAt = Date.now()));
  return Object.assign(again, { data: client.data });
}

/** Waits for the left of each client, and returns them in the order of the clients. */
export async function lefts(witness, clients, { timeout = 10_000 } = {}) {
  const of = ({ session }) => witness.changes.filter((change) => change.type === 'left' && change.sessionId === session);
  await eventually(`left of ${clients.length} clients`, () => clients.every((client) => of(client).length > 0), { timeout });
  return clients.map((client) => {
    const found = of(client);
    if (found.length !== 1) throw new Error(`${client.session} left ${found.length} times`);
    return found[0];
  });
}
