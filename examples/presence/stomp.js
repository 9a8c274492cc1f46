/**
 * A small STOMP 1.2 client over the browser's WebSocket: heart-beats both ways, receipts, and a connection that comes
 * back by itself. It needs frame.js and nothing else.
 *
 *     const client = new StompClient('/ws', {connectHeaders: () => ({'client-data': '{"name":"Mina"}'})});
 *     client.addEventListener('state', ({detail}) => console.log(detail.state));
 *     client.subscribe('/topic/chat', frame => console.log(JSON.parse(frame.body)));
 *     client.open();
 *
 * Not in here, because a page seldom needs them: transactions, ACK and NACK, STOMP 1.0 and 1.1.
 * The specification: https://stomp.github.io/stomp-specification-1.2.html
 *
 * @module
 */

import {FrameDecoder, encodeFrame} from './frame.js';

/** @typedef {import('./frame.js').Frame} Frame */
/** @typedef {import('./frame.js').Headers} Headers */

/**
 * `idle`: not opened yet. `connecting`: until CONNECTED. `lost`: waiting for the next attempt. `closed`: for good, unless
 * `open()` is called again.
 * @typedef {'idle' | 'connecting' | 'connected' | 'lost' | 'closed'} State
 */

/**
 * What a `state` event carries as `detail`.
 * @typedef {object} StateChange
 * @property {State} state
 * @property {number} [retryAt]  when `lost`: the time of the next attempt, in milliseconds like `Date.now()`
 * @property {string} [cause]  when `lost` or `closed`: what happened, as far as it is known
 */

/**
 * @typedef {object} Subscription
 * @property {string} id
 * @property {string} destination
 * @property {() => void} unsubscribe
 */

/**
 * @typedef {object} Options
 * @property {(last?: Record<string, string>) => Headers} [connectHeaders]  called for every CONNECT, so that they are
 *   fresh. After a lost connection it is given the headers of the last CONNECTED frame: send its `resume-token` back and
 *   a server that kept the session goes on with it. Default: none
 * @property {[number, number]} [heartBeat]  what we can send and what we want, in milliseconds. Default: 10 s each
 * @property {AbortSignal} [signal]  closes the client when aborted
 * @property {number} [minDelay]  milliseconds until the first new attempt, doubled for each one after. Default: 1000
 * @property {number} [maxDelay]  milliseconds that it is never more than. Default: 30000
 * @property {number} [connectTimeout]  milliseconds until an attempt without CONNECTED is given up. Default: 10000
 * @property {typeof globalThis.WebSocket} [WebSocket]  for tests, and for runtimes without a global one
 * @property {any} [window]  where `online` and `document` are found. Default: globalThis
 * @property {() => number} [random]  0 to 1, for the jitter. Default: Math.random
 */

/** A connection that held this long (milliseconds) was a good one: the next loss starts with the shortest delay again. */
const STEADY = 5000;

/**
 * Whether the server means "and do not come back": 1002 is a protocol error, which would only happen again, and 1008 a
 * policy, such as being kicked.
 *
 * @param {number} code
 */
function isFinal(code) {
  return code === 1002 || code === 1008;
}

/**
 * A connection to a STOMP server that is opened again whenever it is lost, with its subscriptions.
 *
 * Events, all `CustomEvent`s: `state` with a {@link StateChange}; `error` with the {@link Frame} of a STOMP ERROR, after
 * which the server closes.
 */
export class StompClient extends EventTarget {
  /** @type {State} */ state = 'idle';
  /** The headers of the last CONNECTED frame. @type {Record<string, string> | undefined} */ connected;

  /** @type {WebSocket | undefined} */ #socket;
  /** @type {Map<string, {destination: string, headers: Headers, callback: (frame: Frame) => void}>} */
  #subscriptions = new Map();
  /** @type {Map<string, {resolve: () => void, reject: (error: Error) => void}>} */
  #receipts = new Map();
  /** @type {ReturnType<typeof setTimeout>[]} */ #timers = [];
  #ids = 0;
  #attempts = 0;
  #connectedAt = 0;
  /** What the last ERROR said. @type {string | undefined} */ #cause;
  #heardAt = 0;
  #silenceLimit = 0; // milliseconds; 0: the server promised no heart-beats

  /**
   * @param {string} url  `wss://...`, or a path or `https://...` address, which are made into one
   * @param {Options} [options]
   */
  constructor(url, options = {}) {
    super();
    const absolute = new URL(url, globalThis.location?.href);
    absolute.protocol = absolute.protocol.replace(/^http/, 'ws');
    this.url = absolute.href;
    this.options = {
      connectHeaders: () => ({}), heartBeat: [10_000, 10_000], minDelay: 1000, maxDelay: 30_000, connectTimeout: 10_000,
      WebSocket: globalThis.WebSocket, window: globalThis, random: Math.random, ...options,
    };
    const {window, signal} = this.options;
    window.addEventListener?.('online', this.#hurry, {signal});
    window.document?.addEventListener('visibilitychange', this.#hurry, {signal});
    window.addEventListener?.('pagehide', this.#leave, {signal});
    window.addEventListener?.('pageshow', this.#hurry, {signal});
    signal?.addEventListener('abort', () => this.close(), {once: true});
  }

  /** The session id that the server gave us; it changes with every connection, unless a session was resumed. */
  get session() {
    return this.connected?.session;
  }

  /** Connects, or if the next attempt is being waited for, makes it now. Otherwise does nothing. */
  open() {
    if (this.state === 'connecting' || this.state === 'connected' || this.options.signal?.aborted) return;
    this.#stopTimers();
    const socket = this.#socket = new this.options.WebSocket(this.url, ['v12.stomp']);
    const frames = new FrameDecoder();
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.#transmit('CONNECT', {
      'accept-version': '1.2', host: new URL(this.url).host, 'heart-beat': this.options.heartBeat.join(','),
      ...this.options.connectHeaders(this.connected),
    });
    socket.onmessage = ({data}) => {
      this.#heardAt = Date.now();
      try {
        for (const frame of frames.push(data)) {
          if (socket === this.#socket) this.#receive(frame);
        }
      } catch (error) {
        this.#lose(`not understood: ${/** @type {Error} */ (error).message}`);
      }
    };
    socket.onclose = ({code, reason}) => this.#lose(reason || `closed with code ${code}`, isFinal(code));
    this.#timers.push(setTimeout(() => this.#lose('no answer'), this.options.connectTimeout));
    this.#setState({state: 'connecting'});
  }

  /** Says goodbye and stays away. Subscriptions are kept, in case that it is opened again. */
  close() {
    if (this.state === 'connected') this.#transmit('DISCONNECT');
    this.#abandon('closed');
    this.connected = undefined;
    this.#attempts = 0;
    if (this.state !== 'closed') this.#setState({state: 'closed'});
  }

  /**
   * Subscribes now and after each reconnect, until it is unsubscribed.
   * @param {string} destination
   * @param {(frame: Frame) => void} callback
   * @param {Headers} [headers]
   * @returns {Subscription}
   */
  subscribe(destination, callback, headers = {}) {
    const id = `sub-${++this.#ids}`;
    this.#subscriptions.set(id, {destination, headers, callback});
    if (this.state === 'connected') this.#transmit('SUBSCRIBE', {...headers, id, destination});
    const unsubscribe = () => {
      if (this.#subscriptions.delete(id) && this.state === 'connected') this.#transmit('UNSUBSCRIBE', {id});
    };
    return {id, destination, unsubscribe};
  }

  /**
   * Sends, and does not wait for an answer.
   * @param {string} destination
   * @param {string} body
   * @param {Headers} [headers]
   * @throws {Error} when not connected: nothing is queued, since nobody knows for how long
   */
  send(destination, body, headers = {}) {
    if (this.state !== 'connected') throw new Error('not connected');
    this.#transmit('SEND', {...headers, destination}, body);
  }

  /**
   * Sends, and resolves when the server has confirmed it with a RECEIPT. Rejects when it is refused, or when the
   * connection ends before: then nobody can tell.
   * @param {string} destination
   * @param {string} body
   * @param {Headers} [headers]
   * @returns {Promise<void>}
   */
  async sendAndConfirm(destination, body, headers = {}) {
    const receipt = `receipt-${++this.#ids}`;
    this.send(destination, body, {...headers, receipt});
    return new Promise((resolve, reject) => this.#receipts.set(receipt, {resolve, reject}));
  }

  /** @param {Frame} frame */
  #receive(frame) {
    const {command, headers} = frame;
    if (command === 'CONNECTED') {
      this.connected = headers;
      this.#connectedAt = Date.now();
      this.#startHeartBeats(headers['heart-beat'] ?? '0,0');
      for (const [id, {destination, headers}] of this.#subscriptions) {
        this.#transmit('SUBSCRIBE', {...headers, id, destination});
      }
      this.#setState({state: 'connected'});
    } else if (command === 'MESSAGE') {
      try {
        this.#subscriptions.get(headers.subscription)?.callback(frame);
      } catch (error) {
        console.error(error); // the page's fault, which must not end the connection
      }
    } else if (command === 'RECEIPT') {
      this.#receipts.get(headers['receipt-id'])?.resolve();
      this.#receipts.delete(headers['receipt-id']);
    } else if (command === 'ERROR') {
      this.dispatchEvent(new CustomEvent('error', {detail: frame}));
      this.#receipts.get(headers['receipt-id'])?.reject(new Error(headers.message));
      this.#cause = headers.message; // the close that follows seldom says more
      if (this.state === 'connecting') this.connected = undefined; // it may be the resume-token that was refused
    }
  }

  /** @param {string} offer  the server's `heart-beat` header */
  #startHeartBeats(offer) {
    this.#stopTimers();
    const [theirs, wanted] = offer.split(',').map(Number);
    const [ours, desired] = this.options.heartBeat;
    const send = ours && wanted ? Math.max(ours, wanted) : 0;
    const expect = theirs && desired ? Math.max(theirs, desired) : 0;
    this.#silenceLimit = 2 * expect;
    if (send) this.#timers.push(setInterval(() => this.#socket?.send('\n'), send));
    if (expect) this.#timers.push(setInterval(() => this.#silent && this.#lose('no heart-beat'), expect / 2));
  }

  get #silent() {
    return this.#silenceLimit > 0 && Date.now() - this.#heardAt > this.#silenceLimit;
  }

  /** There is a network again, or somebody is looking: no more waiting. */
  #hurry = () => {
    if (this.options.window.document?.visibilityState === 'hidden') return;
    if (this.state === 'connected' && this.#silent) this.#lose('no heart-beat'); // timers sleep when the machine does
    if (this.state === 'lost') this.open();
  };

  /**
   * The page is navigated away from. The browser may keep it, with its socket open, to show it again: to the others it
   * would seem to be here still.
   */
  #leave = () => {
    if (this.state !== 'connecting' && this.state !== 'connected') return;
    this.#abandon('page left');
    this.#setState({state: 'lost', cause: 'page left'}); // until pageshow
  };

  /**
   * @param {string} cause
   * @param {boolean} [final]
   */
  #lose(cause, final = false) {
    if (this.state === 'connected' && Date.now() - this.#connectedAt >= STEADY) this.#attempts = 0;
    cause = this.#cause ?? cause;
    this.#abandon(cause);
    if (final) return this.#setState({state: 'closed', cause});
    // The jitter keeps a thousand pages from coming back in the same moment after a restart.
    const {minDelay, maxDelay, random} = this.options;
    const delay = Math.min(maxDelay, minDelay * 2 ** this.#attempts++) * (1 + random()) / 2;
    this.#timers.push(setTimeout(() => this.open(), delay));
    this.#setState({state: 'lost', retryAt: Date.now() + delay, cause});
  }

  /**
   * Lets go of the socket at once: a `close` event may take minutes if nobody answers.
   * @param {string} cause
   */
  #abandon(cause) {
    this.#stopTimers();
    const socket = this.#socket;
    this.#socket = this.#cause = undefined;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    for (const {reject} of this.#receipts.values()) reject(new Error(cause));
    this.#receipts.clear();
  }

  #stopTimers() {
    this.#timers.splice(0).forEach(clearTimeout); // which clears intervals too
  }

  /** @param {StateChange} change */
  #setState(change) {
    this.state = change.state;
    this.dispatchEvent(new CustomEvent('state', {detail: change}));
  }

  /**
   * @param {string} command
   * @param {Headers} [headers]
   * @param {string} [body]
   */
  #transmit(command, headers, body) {
    this.#socket?.send(encodeFrame(command, headers, body));
  }
}
