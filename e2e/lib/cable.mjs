// A TCP proxy on the loopback whose cable can be pulled: what DevTools emulates leaves an open WebSocket alone.

import { connect, createServer } from 'node:net';

export class Cable {
  #pairs = new Set();
  #cut = false;

  /** Listens, and forwards what comes to port. */
  static async to(port) {
    const cable = new Cable();
    cable.server = createServer((near) => cable.#forward(near, port));
    await new Promise((resolve, reject) => cable.server.once('error', reject).listen(0, '127.0.0.1', resolve));
    cable.port = cable.server.address().port;
    return cable;
  }

  #forward(near, port) {
    near.on('error', () => {});
    if (this.#cut) return near.destroy();
    const far = connect(port, '127.0.0.1');
    const pair = [near, far];
    this.#pairs.add(pair);
    near.pipe(far).pipe(near);
    far.on('error', () => {});
    for (const socket of pair) {
      socket.on('close', () => {
        this.#pairs.delete(pair);
        for (const other of pair) other.destroy();
      });
    }
  }

  /** Cuts every connection with a TCP reset at both ends, and refuses new ones until mend(). */
  cut() {
    this.#cut = true;
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy();
  }

  mend() {
    this.#cut = false;
  }

  /** Cuts what there is; the next connection is let through. */
  flicker() {
    this.cut();
    this.mend();
  }

  async remove() {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
