// An application in a process of its own, which is told by webhooks who is present, and which may be killed.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { send } from './http.mjs';
import { freePort } from './ports.mjs';
import { signal, start } from './process.mjs';
import { Mailbox } from './wait.mjs';

/** The example in Go is built by whoever tests it. */
export const node = [process.execPath, fileURLToPath(new URL('../../examples/webhook-receiver/receiver.mjs', import.meta.url))];
/** The same, but signatures are checked by the library of Standard Webhooks, and all that is delivered is kept. */
export const judged = [process.execPath, fileURLToPath(new URL('webhook-application-process.mjs', import.meta.url))];

export class WebhookApplication {
  output = new Mailbox();
  #deliveries = [];
  #read = 0; // bytes of the file that they are in

  /** command: the program, which gets PORT, JOURNAL and WEBHOOK_SECRET */
  static async start(command, { secret }) {
    const application = new WebhookApplication();
    Object.assign(application, { command, secret, port: await freePort(), home: mkdtempSync(join(tmpdir(), 'caddy-e2e-')) });
    await application.again();
    return application;
  }

  /** Starts the process, and does not wait for it. */
  launch() {
    const [program, ...args] = this.command;
    const journal = join(this.home, 'presence.journal');
    this.from = this.output.entries.length;
    this.child = start(program, args, {
      cwd: this.home,
      env: { PATH: process.env.PATH, PORT: String(this.port), JOURNAL: journal, WEBHOOK_SECRET: this.secret },
      onLine: (line) => this.output.push(line),
    });
  }

  async again() {
    this.launch();
    const ended = this.child.ended.then((end) => {
      throw new Error(`the application ended (${JSON.stringify(end)}): ${this.output.entries.slice(this.from).join('\n')}`);
    });
    ended.catch(() => {});
    await Promise.race([this.output.waitFor('listening', (line) => line === 'listening', { from: this.from, timeout: 30_000 }), ended]);
  }

  /** kill -9 */
  async kill() {
    signal(this.child.pid, 'SIGKILL');
    await this.child.ended;
  }

  /** Stands still for so long, with what is sent to it in the kernel's buffers. */
  async sleep(milliseconds) {
    signal(this.child.pid, 'SIGSTOP');
    await delay(milliseconds);
    signal(this.child.pid, 'SIGCONT');
  }

  async remove() {
    await this.kill();
    rmSync(this.home, { recursive: true, force: true });
  }

  get url() {
    return `http://127.0.0.1:${this.port}/hooks`;
  }

  /** What it has to say besides that it listens: what it could not take. */
  get complaints() {
    return this.output.filter((line) => line !== 'listening');
  }

  /** Who it thinks is present. */
  async present() {
    const { ok, text } = await send(`http://127.0.0.1:${this.port}/present`);
    if (!ok) throw new Error(`GET /present: ${text}`);
    return JSON.parse(text);
  }

  /** What was delivered to it, in order, of the judged one: {webhookId, events}. */
  deliveries() {
    const written = readFileSync(join(this.home, 'presence.journal.deliveries'));
    const end = written.lastIndexOf('\n') + 1;
    const lines = written.toString('utf8', this.#read, end).split('\n').filter(Boolean);
    this.#deliveries.push(...lines.map((line) => JSON.parse(line)));
    this.#read = end;
    return this.#deliveries;
  }
}
