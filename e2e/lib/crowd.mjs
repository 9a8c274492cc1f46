// Many clients in a process of their own: the handle that a test holds.

import { fileURLToPath } from 'node:url';
import { Agent } from './agent.mjs';

export class Crowd extends Agent {
  static start() {
    return super.start({ script: fileURLToPath(new URL('crowd-process.mjs', import.meta.url)) });
  }

  /** Connects count clients; named ones are announced. */
  connect(url, count, options = {}) {
    return this.call('connect', url, count, options);
  }
}
