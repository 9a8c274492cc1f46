/** A STOMP client that is connected, as @stomp/stompjs is one, whose server is the test. */
export class Connection {
  /** What was asked of the server. @type {string[]} */
  log = [];
  /** What was published. */
  sent = [];
  /** @type {{destination: string, callback: (message: {body: string}) => void, active: boolean}[]} */
  subscriptions = [];
  /** Whether the connection has ended: then stompjs throws. */
  broken = false;

  subscribe(destination, callback) {
    this.#check();
    const subscription = {destination, callback, active: true};
    this.subscriptions.push(subscription);
    this.log.push(`subscribe ${destination}`);
    const unsubscribe = () => {
      this.#check();
      if (!subscription.active) throw new Error('unsubscribed twice');
      subscription.active = false;
      this.log.push(`unsubscribe ${destination}`);
    };
    return {id: String(this.subscriptions.length), unsubscribe};
  }

  /** Of stompjs when it is given an object; of the server, when it is given a destination and a body. */
  publish(message, body) {
    this.#check();
    if (typeof message !== 'string') return void this.sent.push(message);
    for (const {destination, callback, active} of [...this.subscriptions]) {
      if (active && destination === message) callback({body: JSON.stringify(body)});
    }
  }

  newest(destination) {
    return this.subscriptions.findLast(subscription => subscription.destination === destination);
  }

  subscribed(destination) {
    return this.log.filter(line => line === `subscribe ${destination}`).length;
  }

  #check() {
    if (this.broken) throw new TypeError('There is no underlying STOMP connection');
  }
}

/** A sessionStorage; given another, the copy that a duplicated tab gets. */
export class MemoryStorage {
  #items;

  /** @param {MemoryStorage} [original] */
  constructor(original) {
    this.#items = new Map(original?.items);
  }

  get items() {
    return this.#items;
  }

  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#items.set(key, String(value));
  }

  removeItem(key) {
    this.#items.delete(key);
  }
}

/** A session as it is in a roster. */
export function entry(sessionId, rest) {
  return {sessionId, clientData: {name: sessionId}, connectedAt: '2026-11-22T10:00:00.000Z', ...rest};
}
