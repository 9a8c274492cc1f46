// A client in a process of its own, which a test can stop, kill, or start in another network namespace.

import { fileURLToPath } from 'node:url';
import { killTree, signal, start } from './process.mjs';
import { Mailbox, within } from './wait.mjs';

const oneClient = fileURLToPath(new URL('agent-process.mjs', import.meta.url));

export class Agent {
  events = new Mailbox();
  #calls = new Map();
  #next = 0;
  #noise = [];

  /** prefix: a command that starts the command, such as ip netns exec. */
  static start({ prefix = [], script = oneClient } = {}) {
    const agent = new this();
    const command = [...prefix, process.execPath, script];
    agent.child = start(command[0], command.slice(1), { onLine: (line, stream) => agent.#line(line, stream) });
    agent.ended = agent.child.ended;
    return agent;
  }

  #line(line, stream) {
    if (stream === 'stderr') return void this.#noise.push(line);
    const message = JSON.parse(line);
    if (message.event) return this.events.push(message);
    const call = this.#calls.get(message.id);
    this.#calls.delete(message.id);
    if (message.error) call.reject(new Error(`agent: ${message.error}`));
    else call.resolve(message.result);
  }

  /** Calls a method of the process. */
  call(method, ...args) {
    const id = ++this.#next;
    const answer = new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
    this.child.stdin.write(JSON.stringify({ id, method, args }) + '\n');
    const ended = this.ended.then((end) => {
      throw new Error(`agent ended (${JSON.stringify(end)}) during ${method}: ${this.#noise.join('\n')}`);
    });
    ended.catch(() => {});
    return within(`agent's ${method}`, 120_000, Promise.race([answer, ended]));
  }

  waitFor(event, predicate = () => true, options) {
    return this.events.waitFor(`agent's ${event}`, (entry) => entry.event === event && predicate(entry), options);
  }

  get pid() {
    return this.child.pid;
  }

  stop() {
    signal(this.pid, 'SIGSTOP');
  }

  continue() {
    signal(this.pid, 'SIGCONT');
  }

  async kill() {
    killTree(this.pid);
    await this.ended;
  }
}
