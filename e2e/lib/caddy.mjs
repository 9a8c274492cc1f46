// The real Caddy binary: starts it in a directory of its own, reads its log, reloads it, ends it.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { send } from './http.mjs';
import { Scrape } from './metrics.mjs';
import { freePort, listenedTwice } from './ports.mjs';
import { killTree, memoryOf, run, runOrThrow, signal, start } from './process.mjs';
import { Mailbox, eventually, within } from './wait.mjs';

export const repository = fileURLToPath(new URL('../../', import.meta.url));
export const binary = process.env.CADDY_BIN ?? fileURLToPath(new URL('../.bin/caddy', import.meta.url));

/** A directory that stands for home, data and configuration of one Caddy; remove() deletes it. */
export function scratchHome() {
  const path = mkdtempSync(join(tmpdir(), 'caddy-e2e-'));
  const env = {
    PATH: process.env.PATH,
    HOME: path,
    XDG_DATA_HOME: join(path, 'data'),
    XDG_CONFIG_HOME: join(path, 'config'),
  };
  return { path, env, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Runs a caddy command to its end. */
export async function caddyCommand(args, { home, ...options } = {}) {
  const own = home ?? scratchHome();
  try {
    return await run(binary, args, { env: own.env, cwd: own.path, ...options });
  } finally {
    if (!home) own.remove();
  }
}

export class Caddy {
  log = new Mailbox();

  /**
   * Starts Caddy.
   *
   * sites: text of the Caddyfile below the global options, or a function (port) => text
   * global: further global options; stomp goes here
   * debug: log at DEBUG level, which is where Caddy logs its events
   * prefix: a command that starts the command, such as ip netns exec
   * env: further environment variables
   */
  static async start({ sites, global = '', debug = true, prefix = [], env = {} }) {
    const caddy = new Caddy();
    caddy.home = scratchHome();
    Object.assign(caddy.home.env, env);
    caddy.admin = await freePort();
    caddy.port = await freePort();
    caddy.tlsPort = await freePort();
    caddy.debug = debug;
    caddy.prefix = prefix;
    caddy.run(caddy.caddyfile({ sites, global }));
    try {
      await caddy.serving();
    } catch (error) {
      await caddy.remove();
      throw error;
    }
    return caddy;
  }

  /** Starts Caddy with a Caddyfile as it is, in its own directory, as an operator would. */
  static async startFile(file, { port = 8080 } = {}) {
    const caddy = new Caddy();
    Object.assign(caddy, { home: scratchHome(), port, prefix: [] });
    caddy.again = () => {
      caddy.launch(['run', '--config', file], dirname(file));
      return caddy.serving();
    };
    await caddy.again().catch(async (error) => {
      await caddy.remove();
      throw error;
    });
    return caddy;
  }

  /** The whole Caddyfile around the given parts. */
  caddyfile({ sites, global = '' }) {
    return `{
	admin localhost:${this.admin}
	http_port ${this.port}
	https_port ${this.tlsPort}
	default_bind 127.0.0.1
	skip_install_trust
	metrics
	${this.debug ? 'debug' : ''}
	${global}
}
${typeof sites === 'function' ? sites(this.port, this.tlsPort) : sites}
`;
  }

  run(caddyfile) {
    this.file = join(this.home.path, 'Caddyfile');
    writeFileSync(this.file, caddyfile);
    this.again = () => {
      this.launch(['run', '--config', this.file, '--adapter', 'caddyfile'], this.home.path);
      return this.serving();
    };
    this.launch(['run', '--config', this.file, '--adapter', 'caddyfile'], this.home.path);
  }

  launch(args, cwd) {
    const command = [...this.prefix, binary, ...args];
    this.startedAt = this.log.entries.length;
    this.child = start(command[0], command.slice(1), {
      cwd,
      env: this.home.env,
      onLine: (line) => {
        let entry;
        try {
          entry = JSON.parse(line);
        } catch {
          entry = { msg: line, level: 'text' };
        }
        this.log.push(entry);
      },
    });
    this.ended = this.child.ended;
  }

  async serving() {
    const ready = this.log.waitFor('serving initial configuration', (entry) => entry.msg === 'serving initial configuration', {
      from: this.startedAt,
      timeout: 15_000,
    });
    const failed = this.ended.then((end) => {
      throw new Error(`caddy ended (${JSON.stringify(end)}) before it served:\n${this.logText()}`);
    });
    await Promise.race([ready, failed]);
  }

  get pid() {
    return this.child.pid;
  }

  get origin() {
    return `http://localhost:${this.port}`;
  }

  /** ws://localhost:PORT/path */
  url(path = '') {
    return `ws://localhost:${this.port}${path}`;
  }

  logText() {
    return this.log.entries.map((entry) => JSON.stringify(entry)).slice(-40).join('\n');
  }

  /** Caddy's own record of an event, of which the data is what a handler would get. */
  events(name) {
    return this.log.filter((entry) => entry.msg === 'event' && entry.name === name);
  }

  async waitForEvent(name, predicate = () => true, options) {
    return this.log.waitFor(`event ${name}`, (entry) => entry.msg === 'event' && entry.name === name && predicate(entry.data), options);
  }

  /** Lines that an operator would be woken by, and what Go writes when it panics; not the admin API's answers to us. */
  complaints() {
    return this.log.filter(
      (entry) => entry.logger !== 'admin.api' && ['error', 'panic', 'fatal', 'dpanic'].includes(entry.level) || /^(panic:|fatal error:|goroutine \d+ \[|WARNING: DATA RACE)/.test(entry.msg),
    );
  }

  /** Calls the admin API; with a body it is a POST. Resolves to {ok, status, text}. */
  async api(path, { body, contentType } = {}) {
    for (let tries = 3; ; tries--) {
      try {
        return await send(`http://localhost:${this.admin}${path}`, {
          method: body === undefined ? 'GET' : 'POST',
          headers: contentType && { 'content-type': contentType },
          body,
        });
      } catch (error) {
        // after a reload Caddy closes the admin endpoint before, which may get a connection that it does not accept any more
        if (error.code !== 'ECONNRESET' || tries === 1) throw error;
      }
    }
  }

  async metrics() {
    const { ok, text } = await this.api('/metrics');
    if (!ok) throw new Error(`metrics: ${text}`);
    return new Scrape(text);
  }

  /** Waits until a metric has a value. */
  async metricIs(name, labels, value, options) {
    let last;
    try {
      return await eventually(
        name,
        async () => {
          const scrape = await this.metrics();
          last = scrape.sum(name, labels);
          return last === value && scrape;
        },
        options,
      );
    } catch {
      throw new Error(`${name}${JSON.stringify(labels)} is ${last}, should become ${value}`);
    }
  }

  /** Posts a Caddyfile (given as parts) to the admin API; resolves to {ok, status, text}. */
  async load(parts, { contentType = 'text/caddyfile' } = {}) {
    const body = typeof parts === 'string' ? parts : this.caddyfile(parts);
    try {
      return await this.api('/load', { body, contentType });
    } finally {
      await this.#settled();
    }
  }

  /**
   * Resolves when the listeners of one configuration only are open. Caddy answers before it has closed those of the other:
   * the one before, or the new one if it failed to start. A connection that gets to one of these is closed without an answer.
   */
  async #settled() {
    await eventually('one configuration listens', () => !listenedTwice([this.port, this.tlsPort, this.admin]), { every: 2 });
  }

  async reload(parts) {
    const result = await this.load(parts);
    if (!result.ok) throw new Error(`reload: ${result.status} ${result.text}`);
  }

  /** `caddy reload`, the command. */
  async reloadCommand(parts) {
    writeFileSync(this.file, this.caddyfile(parts));
    await runOrThrow(binary, ['reload', '--config', this.file, '--adapter', 'caddyfile', '--address', `localhost:${this.admin}`], {
      env: this.home.env,
      timeout: 30_000,
    });
    await this.#settled();
  }

  /** `caddy stop`; resolves to the milliseconds until the process was gone. */
  async stopCommand({ timeout = 20_000 } = {}) {
    const begin = performance.now();
    const ended = this.ended.then(() => performance.now() - begin);
    await runOrThrow(binary, ['stop', '--address', `localhost:${this.admin}`], { env: this.home.env, timeout });
    return within('the end of caddy after caddy stop', timeout, ended);
  }

  /** kill -9; again() starts it with the file that it was started with. */
  async kill() {
    signal(this.pid, 'SIGKILL');
    await this.ended;
  }

  /** Ends Caddy politely, then for good, and keeps its home. */
  async end() {
    if (signal(this.pid, 'SIGTERM')) await within('end of caddy', 8000, this.ended).catch(() => {});
    killTree(this.pid);
    await this.ended;
  }

  /** Ends Caddy and forgets everything it wrote. */
  async remove() {
    killTree(this.pid);
    await this.ended;
    this.home.remove();
  }

  /** How many goroutines it has. */
  async goroutines() {
    const { text } = await this.api('/debug/pprof/goroutine?debug=1');
    return Number(text.match(/total (\d+)/)[1]);
  }

  memory(field) {
    return memoryOf(this.pid, field);
  }
}
