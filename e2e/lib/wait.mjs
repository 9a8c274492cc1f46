// Waiting, always for a condition and always bounded in time.

import { setTimeout as delay } from 'node:timers/promises';

/** Polls probe until it returns something truthy, and returns that. */
export async function eventually(what, probe, { timeout = 15_000, every = 20 } = {}) {
  const end = now() + timeout;
  for (;;) {
    const result = await probe();
    if (result) return result;
    if (now() > end) throw new Error(`not within ${timeout} ms: ${what}`);
    await delay(every);
  }
}

/** The value of promise, or an error that says what was awaited. */
export async function within(what, timeout, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${timeout} ms: ${what}`)), timeout);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Lets time pass. Only for proving that something does *not* happen: there is no condition to wait for.
 */
export function observeFor(milliseconds) {
  return delay(milliseconds);
}

/** What arrived, in order; somebody may wait for an entry that is there already or still to come. */
export class Mailbox {
  entries = [];
  #waiting = new Set();

  push(entry) {
    this.entries.push(entry);
    for (const waiter of this.#waiting) waiter(entry);
  }

  filter(predicate) {
    return this.entries.filter(predicate);
  }

  /** The first entry from index `from` on that matches. */
  async waitFor(what, predicate, { timeout = 15_000, from = 0 } = {}) {
    const present = this.entries.slice(from).find(predicate);
    if (present !== undefined) return present;
    let waiter;
    const arrived = new Promise((resolve) => {
      waiter = (entry) => predicate(entry) && resolve(entry);
    });
    this.#waiting.add(waiter);
    try {
      return await within(what, timeout, arrived);
    } finally {
      this.#waiting.delete(waiter);
    }
  }
}

/** Milliseconds of the machine's monotonic clock, which every process of the machine reads alike. */
export function now() {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}
