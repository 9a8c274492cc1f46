// Chromium's own protocol, for what Playwright would disturb: it makes every page believe that it is being looked at.

import WebSocket from 'ws';
import { within } from './wait.mjs';

export class DevTools {
  #next = 0;
  #calls = new Map();

  static async connect(url) {
    const devtools = new DevTools();
    devtools.url = url;
    devtools.ws = new WebSocket(url);
    devtools.ws.on('error', () => {});
    devtools.ws.on('message', (data) => {
      const { id, error, result } = JSON.parse(data);
      const call = devtools.#calls.get(id);
      devtools.#calls.delete(id);
      if (error) call?.reject(new Error(error.message));
      else call?.resolve(result);
    });
    await within('DevTools', 10_000, new Promise((resolve) => devtools.ws.on('open', resolve)));
    return devtools;
  }

  send(method, params = {}) {
    const id = ++this.#next;
    const answer = new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
    this.ws.send(JSON.stringify({ id, method, params }));
    return within(method, 20_000, answer);
  }

  /** The value of an expression in the page. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return result.value;
  }

  /** Opens a tab, in front of the others, and resolves to the protocol of its page. */
  async openTab(url) {
    const { targetId } = await this.send('Target.createTarget', { url });
    await this.send('Target.activateTarget', { targetId });
    return DevTools.connect(`ws://${new URL(this.url).host}/devtools/page/${targetId}`);
  }

  async minimize() {
    const { windowId } = await this.send('Browser.getWindowForTarget');
    await this.send('Browser.setWindowBounds', { windowId, bounds: { windowState: 'minimized' } });
  }
}
