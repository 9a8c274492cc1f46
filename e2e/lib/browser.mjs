// The real Chromium, started by us so that we know its processes and can kill or stop them.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { killTree, signal, start, tree } from './process.mjs';
import { Mailbox, within } from './wait.mjs';

const executable = process.env.CHROMIUM ?? '/usr/bin/chromium';

const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--no-default-browser-check',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--hide-scrollbars',
  '--remote-debugging-port=0',
];

export class Browser {
  /** Without playwright it is driven through DevTools.connect(browser.devtools). */
  static async launch({ playwright = true, flags: extra = [] } = {}) {
    const browser = new Browser();
    browser.profile = mkdtempSync(join(tmpdir(), 'chromium-e2e-'));
    const output = new Mailbox();
    browser.child = start(executable, [...flags, ...extra, `--user-data-dir=${browser.profile}`, 'about:blank'], {
      env: { PATH: process.env.PATH, HOME: browser.profile, LANG: 'C.UTF-8' },
      onLine: (line) => output.push(line),
    });
    try {
      const listening = output.waitFor('DevTools listening', (line) => line.startsWith('DevTools listening on '), { timeout: 60_000 });
      const failed = browser.child.ended.then((end) => {
        throw new Error(`${executable} ended (${JSON.stringify(end)}):\n${output.entries.join('\n')}`);
      });
      failed.catch(() => {});
      const line = await Promise.race([listening, failed]);
      browser.devtools = line.replace('DevTools listening on ', '');
      if (!playwright) return browser;
      browser.remote = await chromium.connectOverCDP(browser.devtools, { timeout: 30_000 });
      browser.context = browser.remote.contexts()[0];
    } catch (error) {
      await browser.remove();
      throw error;
    }
    return browser;
  }

  /** A profile of its own, with nothing stored: another person. */
  person(options) {
    return this.remote.newContext(options);
  }

  /** A new tab at url; its console and errors are kept in page.said. */
  async open(url, { viewport = { width: 1100, height: 800 }, context = this.context } = {}) {
    const page = await context.newPage();
    page.said = [];
    page.on('console', (message) => page.said.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => page.said.push(`error: ${error.message}`));
    page.setDefaultTimeout(15_000);
    await page.setViewportSize(viewport);
    await page.goto(url);
    return page;
  }

  /** kill -9 of the browser process; its helpers notice by themselves. */
  kill() {
    signal(this.child.pid, 'SIGKILL');
  }

  /** kill -9 of every process of the browser in one moment, as a machine that loses power would. */
  crash() {
    this.stop();
    for (const pid of this.stopped) signal(pid, 'SIGKILL');
  }

  /** SIGSTOP of every process of the browser: nothing of it runs, and the kernel still acknowledges for it. */
  stop() {
    this.stopped = tree(this.child.pid);
    for (const pid of this.stopped) signal(pid, 'SIGSTOP');
  }

  async remove() {
    const pids = new Set([...(this.stopped ?? []), ...tree(this.child.pid)]);
    for (const pid of pids) signal(pid, 'SIGKILL');
    killTree(this.child.pid);
    await within('end of chromium', 10_000, this.child.ended).catch(() => {});
    await this.remote?.close().catch(() => {});
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

