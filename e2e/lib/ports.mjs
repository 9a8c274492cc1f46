// Ports of the loopback that nobody listens on.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

const handedOut = new Set();

/** A free port, never the same one twice in this process. */
export async function freePort() {
  for (;;) {
    const server = createServer();
    await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    if (!handedOut.has(port)) {
      handedOut.add(port);
      return port;
    }
  }
}

/** A listener that keeps its port for itself; resolves to { port, close }. */
export async function occupyPort() {
  const server = createServer((socket) => socket.destroy());
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  return { port: server.address().port, close: () => new Promise((resolve) => server.close(resolve)) };
}

/** Whether two sockets of this network namespace listen on one address with one of these ports, as SO_REUSEPORT lets them. */
export function listenedTwice(ports) {
  const listening = ['tcp', 'tcp6'].flatMap((file) =>
    readFileSync(`/proc/net/${file}`, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, address, , state]) => state === '0A' && ports.includes(parseInt(address.split(':')[1], 16)))
      .map(([, address]) => address),
  );
  return new Set(listening).size < listening.length;
}
