/**
 * Who is here: keeps the roster of a caddy-stomp endpoint right, and says what changes. It needs a {@link StompClient}
 * and nothing else.
 *
 *     const presence = new Presence(client);
 *     presence.addEventListener('sync', () => render(presence.sessions));
 *     presence.addEventListener('change', ({detail}) => console.log(detail.change.type, detail.session));
 *     client.open();
 *
 * One subscription to the register destination carries everything. First comes the roster, in pages:
 * `{"stream": "b2k9", "seq": 41, "more": true, "sessions": [...]}`; then arrays of changes, each with the `seq` that
 * puts it after the roster. The roster may be one that was made for somebody else a little earlier, with the changes
 * since: so a newcomer hears of what has just been, and a page that was away for a moment of what it missed, each change
 * with its time `at`. Keys and types that are not known here are ignored, so that the server may learn new ones.
 *
 * @module
 */

/** @typedef {import('./stomp.js').StompClient} StompClient */

/**
 * @typedef {object} Session
 * @property {string} sessionId
 * @property {any} [clientData]  what the client said about itself: any JSON value
 * @property {string} [user]  the authenticated name, if there is one
 * @property {Record<string, string>} [attributes]  what the server says about it
 * @property {string} [connectedAt]  RFC 3339
 * @property {boolean} unreachable  its connection is lost, but it has some time to come back
 */

/**
 * @typedef {object} Change
 * @property {'joined' | 'updated' | 'unreachable' | 'returned' | 'left'} type
 * @property {number} seq
 * @property {string} sessionId
 * @property {string} [stream]
 * @property {any} [clientData]
 * @property {string} [user]
 * @property {number} [userSessions]  how many sessions of that user remain
 * @property {string} [reason]  `disconnect`, `closed`, `connection-lost`, ...
 * @property {number} [code]  the WebSocket close code
 * @property {boolean} [clean]
 * @property {string} [at]  RFC 3339
 * @property {string} [connectedAt]  RFC 3339
 * @property {number} [connectedFor]  seconds
 */

/**
 * What a `change` event carries as `detail`. `session` is as it is after the change, or as it was before it left;
 * `previous` is as it was before, if it was known.
 * @typedef {{change: Change, session: Session, previous?: Session}} ChangeDetail
 */

/**
 * What a `sync` event carries as `detail`: how a new roster differs from what was known before. After a short loss it
 * need not differ at all; what was missed follows as changes.
 * @typedef {{joined: Session[], left: Session[]}} SyncDetail
 */

/** What a session and a change have in common. Under pressure changes are compact, and do not have all of them. */
const SESSION_KEYS = /** @type {const} */ (['clientData', 'user', 'attributes', 'connectedAt']);

/**
 * Events, all `CustomEvent`s: `sync` with a {@link SyncDetail} for every complete roster, `change` with a
 * {@link ChangeDetail} for every change after it. `sessions` is up to date when they fire.
 */
export class Presence extends EventTarget {
  /** By session id. @type {Map<string, Session>} */ sessions = new Map();

  #client;
  #destination;
  /** @type {import('./stomp.js').Subscription | undefined} */ #subscription;
  /** Whether `sessions` came from a complete roster. */ #synced = false;
  #stream = '';
  /** The last change that `sessions` contains. */ #seq = -1;
  /** The last change that was told, which after a `reset` may be a later one. */ #told = -1;
  /**
   * The pages so far, and what changed while they came.
   * @type {{stream: string, seq: number, sessions: Map<string, Session>, changes: Change[]} | undefined}
   */
  #pages;

  /**
   * Subscribes, now or when the client connects.
   * @param {StompClient} client
   * @param {object} [options]
   * @param {string} [options.destination]  the register destination. Default: `/app/presence`
   */
  constructor(client, {destination = '/app/presence'} = {}) {
    super();
    this.#client = client;
    this.#destination = destination;
    this.#subscribe();
  }

  /** The session of this page, if it is in the roster: whoever neither has client data nor a user only looks on. */
  get me() {
    return this.sessions.get(this.#client.session ?? '');
  }

  /**
   * Maps client data to the session of this page, in place of what there was. Others see `joined` or `updated`.
   * @param {any} clientData  any JSON value
   * @returns {Promise<void>}  rejects when it is refused or the connection is lost
   */
  update(clientData) {
    return this.#client.sendAndConfirm(this.#destination, JSON.stringify({clientData}), {
      'content-type': 'application/json',
    });
  }

  /** Ends the subscription; `sessions` stays as it is. */
  close() {
    this.#subscription?.unsubscribe();
  }

  /** Subscribes, which is to ask for the roster. Changes to the old one that are still on their way are not delivered. */
  #subscribe() {
    this.#subscription?.unsubscribe();
    this.#pages = undefined;
    this.#synced = false;
    this.#subscription = this.#client.subscribe(this.#destination, frame => this.#receive(frame.body));
  }

  /** @param {string} text */
  #receive(text) {
    const body = JSON.parse(text);
    if (Array.isArray(body)) {
      const subscription = this.#subscription;
      for (const change of body) {
        this.#apply(change);
        if (this.#subscription !== subscription) return; // asked again: the rest is in the new roster
      }
    } else if (Array.isArray(body?.sessions)) {
      this.#page(body);
    }
  }

  /** @param {{stream: string, seq: number, more?: boolean, sessions: any[]}} page */
  #page({stream, seq, more, sessions}) {
    if (this.#pages?.stream !== stream || this.#pages.seq !== seq) { // the first, or the first after a reconnect
      this.#pages = {stream, seq, sessions: new Map(), changes: []};
    }
    const pages = this.#pages;
    for (const entry of sessions) pages.sessions.set(entry.sessionId, sessionFrom(entry));
    if (more) return;

    this.#pages = undefined;
    const before = this.sessions;
    const older = this.#synced && stream === this.#stream && seq <= this.#seq; // than what a short loss left us with
    if (!older) {
      if (stream !== this.#stream) this.#told = -1;
      this.#synced = true;
      this.#stream = stream;
      this.#seq = seq;
      this.sessions = pages.sessions;
    }
    const joined = [...this.sessions.values()].filter(({sessionId}) => !before.has(sessionId));
    const left = [...before.values()].filter(({sessionId}) => !this.sessions.has(sessionId));
    this.#emit('sync', {joined, left});
    pages.changes.forEach(change => this.#apply(change));
  }

  /** @param {any} change */
  #apply(change) {
    if (change.type === 'reset') return this.#subscribe();
    if (this.#pages) return void this.#pages.changes.push(change);
    if (!this.#synced) return;
    if (change.stream !== undefined && change.stream !== this.#stream) return this.#subscribe();
    if (change.seq <= this.#seq) return; // `sessions` contains it already
    this.#seq = change.seq;

    const previous = this.sessions.get(change.sessionId);
    const session = sessionFrom(change, previous);
    switch (change.type) {
      case 'joined': case 'updated': case 'returned':
        this.sessions.set(session.sessionId, {...session, unreachable: false});
        break;
      case 'unreachable':
        this.sessions.set(session.sessionId, {...session, unreachable: true});
        break;
      case 'left':
        this.sessions.delete(session.sessionId);
        break;
      default:
        return;
    }
    if (change.seq <= this.#told) return;
    this.#told = change.seq;
    this.#emit('change', {change, session: this.sessions.get(session.sessionId) ?? session, previous});
  }

  /**
   * @param {'sync' | 'change'} type
   * @param {SyncDetail | ChangeDetail} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, {detail}));
  }
}

/**
 * @param {any} entry  of a roster, or a change
 * @param {Session} [previous]  fills in what a compact change leaves out
 * @returns {Session}
 */
function sessionFrom(entry, previous) {
  /** @type {any} */
  const session = {sessionId: entry.sessionId, unreachable: Boolean(entry.unreachable ?? previous?.unreachable)};
  for (const key of SESSION_KEYS) {
    const value = entry[key] !== undefined ? entry[key] : previous?.[key];
    if (value !== undefined) session[key] = value;
  }
  return session;
}
