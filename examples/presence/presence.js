/**
 * Who is here: keeps the rosters of a caddy-stomp endpoint right, comes back as the same session, and says what changes.
 * It needs no other module, and works with any STOMP client that can give headers to CONNECT, subscribe, and publish or
 * send: stomp.js beside it, `@stomp/stompjs`, `webstomp-client`.
 *
 *     const presence = new Presence({clientData: {name: 'Mina'}});
 *     const client = new Client({                                        // of @stomp/stompjs
 *       brokerURL: 'wss://example.com/ws',
 *       beforeConnect: () => { client.connectHeaders = presence.connectHeaders(); },
 *       onConnect: frame => presence.connected(client, frame.headers),
 *       onWebSocketClose: () => presence.disconnected(),
 *     });
 *     presence.addEventListener('sync', () => render(presence.people));
 *     presence.addEventListener('left', ({detail}) => console.log(detail.session.clientData, detail.change.reason));
 *     const kitchen = presence.room('/topic/rooms/kitchen').join();     // a roster of its own
 *     client.activate();
 *
 * One subscription carries a roster. First comes what is, in pages:
 * `{"stream": "b2k9", "seq": 41, "more": true, "sessions": [...]}`; then arrays of changes, each with the `seq` that
 * puts it after the roster. The roster may be one that was made for somebody else a little earlier, with the changes
 * since: so a newcomer hears of what has just been, and a page that was away for a moment of what it missed, each change
 * with its time `at`. Keys and types that are not known here are ignored, so that the server may learn new ones.
 *
 * @module
 */

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
 * All sessions of a user, or one session of nobody that the server knows.
 * @typedef {object} Person
 * @property {string} id  the user, or the session id
 * @property {string} [user]
 * @property {Session[]} sessions  tabs and devices, the oldest first; never empty
 * @property {Session} session  the one to show: the newest that is reachable, else the newest
 * @property {boolean} unreachable  none of them is reachable
 */

/**
 * @typedef {object} Change
 * @property {'joined' | 'updated' | 'unreachable' | 'returned' | 'left'} type
 * @property {number} seq
 * @property {string} sessionId
 * @property {string} [stream]
 * @property {string} [room]  the destination of the room that it is about
 * @property {any} [clientData]
 * @property {string} [user]
 * @property {Record<string, string>} [attributes]
 * @property {number} [userSessions]  how many sessions of that user remain; of a compact change see {@link ChangeDetail}
 * @property {string} [reason]  of `left` and `unreachable`: `disconnect`, `closed`, `connection-lost`, ...
 * @property {number} [code]  of `left`: the WebSocket close code
 * @property {boolean} [clean]  of `left`: the client wanted it
 * @property {string} [at]  RFC 3339
 * @property {string} [connectedAt]  RFC 3339
 * @property {number} [connectedFor]  of `left`: seconds
 */

/**
 * What `change`, `joined`, `updated`, `unreachable`, `returned` and `left` carry as `detail`. `session` is as it is after
 * the change, or as it was before it left; `previous` is as it was before, if it was known; `userSessions` is how many
 * sessions of its user there are now, 0 when that user is gone, and `undefined` without a user.
 * @typedef {{change: Change, session: Session, previous?: Session, userSessions?: number}} ChangeDetail
 */

/**
 * What a `sync` event carries as `detail`: how a new roster differs from what was known before. After a short loss it
 * need not differ at all; what was missed follows as changes.
 * @typedef {{joined: Session[], left: Session[]}} SyncDetail
 */

/**
 * What is asked of a STOMP client. One of `publish` (as of @stomp/stompjs) and `send` (as of stomp.js and
 * webstomp-client) is enough.
 * @typedef {object} Client
 * @property {(destination: string, callback: (message: any) => void, headers?: any) => {unsubscribe: () => void}} subscribe
 * @property {(message: {destination: string, body: string, headers: Record<string, string>}) => void} [publish]
 * @property {(destination: string, body: string, headers: Record<string, string>) => void} [send]
 */

/**
 * A message that the server sends for this session, should it end other than by its own will.
 * @typedef {object} Will
 * @property {string} destination
 * @property {string} [body]  one line: JSON is
 * @property {string} [contentType]
 * @property {number} [delay]  seconds after the loss; without it, when the session is left
 */

/** What a session and a change have in common. Under pressure changes are compact, and do not have all of them. */
const SESSION_KEYS = /** @type {const} */ (['clientData', 'user', 'attributes', 'connectedAt']);

/** Longer client data (bytes of JSON) is sent after CONNECT and not in it: header lines have a limit of 2 KiB. */
const MAX_HEADER = 1500;

/**
 * Who is in one place, right through pages, changes, resets and reconnects. `sessions` is up to date when an event fires;
 * all are `CustomEvent`s:
 *
 * - `sync` with a {@link SyncDetail}, for every complete roster;
 * - `joined`, `updated`, `unreachable`, `returned` and `left` with a {@link ChangeDetail}, for every change after it, each
 *   told once; and `change` with the same, after each of them.
 */
export class Roster extends EventTarget {
  /** By session id. @type {Map<string, Session>} */ sessions = new Map();
  /** Whether `sessions` is what the server says now; otherwise it is what was known last. */ live = false;

  #destination;
  /** @type {Client | undefined} */ #client;
  /** @type {{unsubscribe: () => void} | undefined} */ #subscription;
  /** Counts subscriptions, so that nothing from an older one is listened to. */ #asked = 0;
  /** Of `sessions`, after the first roster. @type {string | undefined} */ #stream;
  /** The last change that `sessions` contains, and that was told. */ #seq = -1;
  /**
   * The pages so far, and what changed while they came.
   * @type {{stream: string, seq: number, sessions: Map<string, Session>, changes: Change[]} | undefined}
   */
  #pages;

  /** @param {string} destination  where the roster is asked for */
  constructor(destination) {
    super();
    this.#destination = destination;
  }

  /** Those who are here, a user with several tabs once. In the order of their coming. @returns {Person[]} */
  get people() {
    /** @type {Map<string, Session[]>} */
    const people = new Map();
    for (const session of [...this.sessions.values()].sort(byAge)) {
      const key = session.user === undefined ? `session ${session.sessionId}` : `user ${session.user}`;
      people.set(key, [...people.get(key) ?? [], session]);
    }
    return [...people.values()].map(sessions => {
      const [{user, sessionId}] = sessions;
      const reachable = sessions.filter(session => !session.unreachable);
      const session = /** @type {Session} */ (reachable.at(-1) ?? sessions.at(-1));
      return {id: user ?? sessionId, ...(user !== undefined && {user}), sessions, session, unreachable: reachable.length === 0};
    });
  }

  /**
   * Subscribes on a new connection. {@link Presence} calls it.
   * @param {Client} client
   */
  start(client) {
    this.#client = client;
    this.#subscription = undefined; // that of the last connection has gone with it
    this.#ask();
  }

  /** Unsubscribes; `sessions` stays as it is. {@link Presence} calls it. */
  stop() {
    const subscription = this.#subscription;
    this.#client = this.#subscription = this.#pages = undefined;
    this.#asked++;
    this.live = false;
    unsubscribe(subscription);
  }

  /**
   * Asks for the roster. Changes to the old one that are still on their way are not listened to, and what is known stays
   * until the new one is there.
   */
  #ask() {
    const client = /** @type {Client} */ (this.#client);
    const asked = ++this.#asked;
    unsubscribe(this.#subscription);
    this.#pages = undefined;
    this.live = false;
    this.#subscription = client.subscribe(this.#destination, message => {
      if (asked === this.#asked) this.#receive(message.body);
    });
  }

  /** @param {string} text */
  #receive(text) {
    const body = JSON.parse(text);
    if (Array.isArray(body)) {
      const asked = this.#asked;
      for (const change of body) {
        this.#apply(change);
        if (this.#asked !== asked) return; // asked again: the rest is in the new roster
      }
    } else if (Array.isArray(body?.sessions)) {
      this.#page(body);
    }
  }

  /** @param {{stream: string, seq: number, more?: boolean, sessions: any[]}} page */
  #page({stream, seq, more, sessions}) {
    if (this.#pages?.stream !== stream || this.#pages.seq !== seq) {
      this.#pages = {stream, seq, sessions: new Map(), changes: []};
    }
    const pages = this.#pages;
    for (const entry of sessions) pages.sessions.set(entry.sessionId, sessionFrom(entry));
    if (more) return;

    this.#pages = undefined;
    const before = this.sessions;
    // A roster that is older than what is known already is followed by all the changes since: there is nothing in it.
    if (stream !== this.#stream || seq > this.#seq) {
      this.#stream = stream;
      this.#seq = seq;
      this.sessions = pages.sessions;
    }
    this.live = true;
    const asked = this.#asked;
    const joined = [...this.sessions.values()].filter(({sessionId}) => !before.has(sessionId));
    const left = [...before.values()].filter(({sessionId}) => !this.sessions.has(sessionId));
    this.#emit('sync', {joined, left});
    for (const change of pages.changes) {
      if (this.#asked === asked) this.#apply(change);
    }
  }

  /** @param {any} change */
  #apply(change) {
    if (change.type === 'reset') return this.#ask();
    if (this.#pages) return void this.#pages.changes.push(change);
    if (!this.live) return; // it comes before the roster, which has it
    if (change.stream !== undefined && change.stream !== this.#stream) return this.#ask();
    if (change.seq <= this.#seq) return; // `sessions` contains it already
    this.#seq = change.seq;

    const previous = this.sessions.get(change.sessionId);
    const session = sessionFrom(change, previous);
    switch (change.type) {
      case 'joined': case 'updated': case 'returned':
        this.sessions.set(session.sessionId, session);
        break;
      case 'unreachable':
        session.unreachable = true;
        this.sessions.set(session.sessionId, session);
        break;
      case 'left':
        this.sessions.delete(session.sessionId);
        break;
      default:
        return;
    }
    const detail = {change, session, previous, userSessions: this.#sessionsOf(session.user)};
    this.#emit(change.type, detail);
    this.#emit('change', detail);
  }

  /** @param {string | undefined} user */
  #sessionsOf(user) {
    if (user === undefined) return undefined;
    let n = 0;
    for (const session of this.sessions.values()) if (session.user === user) n++;
    return n;
  }

  /**
   * @param {string} type
   * @param {SyncDetail | ChangeDetail} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, {detail}));
  }
}

/**
 * A room: a {@link Roster} of those who are in it, which can be watched from outside, too. While this session is in it there
 * are also `message` events, whose `detail` is what the client hands to its subscribers, for what is sent to the room.
 */
export class Room extends Roster {
  /** To subscribe to it is to be in the room. */ destination;
  /** Whether this session is in the room, or will be when it is connected. */ joined = false;

  /** @type {Client | undefined} */ #client;
  /** @type {{unsubscribe: () => void} | undefined} */ #membership;
  #forget;

  /**
   * By {@link Presence.room}.
   * @param {string} destination
   * @param {string} register
   * @param {() => void} forget
   */
  constructor(destination, register, forget) {
    super(register + destination);
    this.destination = destination;
    this.#forget = forget;
  }

  /** Goes into the room, now or when connected, and again after every reconnect. The others in it are told `joined`. */
  join() {
    if (!this.joined) {
      this.joined = true;
      this.#enter();
    }
    return this;
  }

  /** Goes out, and watches on. The others in it are told `left` with the reason `unsubscribed`. */
  leave() {
    const membership = this.#membership;
    this.#membership = undefined;
    this.joined = false;
    unsubscribe(membership);
    return this;
  }

  /** Goes out and does not watch any more. */
  close() {
    this.leave();
    this.stop();
    this.#forget();
  }

  /** @param {Client} client */
  start(client) {
    this.#client = client;
    if (this.joined) this.#enter();
    super.start(client);
  }

  stop() {
    this.#client = this.#membership = undefined; // which ends with the connection
    super.stop();
  }

  #enter() {
    this.#membership = this.#client?.subscribe(this.destination, message => {
      if (this.joined) this.dispatchEvent(new CustomEvent('message', {detail: message}));
    });
  }
}

/** The roster of everybody, the rooms, and what it needs to come back as the same session. */
export class Presence extends Roster {
  /** Sent by {@link connectHeaders}. @type {Will | undefined} */ will;
  /** The id of this session, after the first CONNECTED. @type {string | undefined} */ sessionId;
  /** Whether this connection goes on with the session of the one before, maybe of before the page was loaded again. */
  resumed = false;

  /** @type {Client | undefined} */ #client;
  #clientData;
  #register;
  /** @type {Map<string, Room>} */ #rooms = new Map();
  #storage;
  #key;
  /** @type {{token?: string, session?: string}} */ #resume = {};
  /** Whether the last CONNECT had the client data, so that it need not be sent. */ #introduced = true;

  /**
   * @param {object} [options]
   * @param {any} [options.clientData]  what others shall know: any JSON value. Without it (and without a user) a session
   *   only looks on
   * @param {string} [options.register]  the register destination. Default: `/app/presence`
   * @param {Will} [options.will]
   * @param {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>} [options.storage]  where the resume token survives a
   *   reload of the page. Default: sessionStorage, or memory if there is none
   * @param {string} [options.key]  its key there, one for each endpoint that a page connects to. Default: `resume-token`
   */
  constructor({clientData, register = '/app/presence', will, storage = defaultStorage(), key = 'resume-token'} = {}) {
    super(register);
    this.will = will;
    this.#clientData = clientData;
    this.#register = register;
    this.#storage = storage;
    this.#key = key;
    this.#recall();
  }

  /** The session of this page, if it is in the roster: whoever neither has client data nor a user only looks on. */
  get me() {
    return this.sessions.get(this.sessionId ?? '');
  }

  /** What others shall know; {@link update} replaces it. */
  get clientData() {
    return this.#clientData;
  }

  /**
   * What to send in the next CONNECT: ask before each, for the resume token is a new one each time.
   * @returns {Record<string, string>}
   */
  connectHeaders() {
    /** @type {Record<string, string>} */
    const headers = {};
    const json = this.#clientData === undefined ? '' : JSON.stringify(this.#clientData);
    this.#introduced = new TextEncoder().encode(json).length <= MAX_HEADER;
    if (json && this.#introduced) headers['client-data'] = json;
    if (this.#resume.token) headers['resume-token'] = this.#resume.token;
    if (this.will) {
      const {destination, body, contentType, delay} = this.will;
      headers['will-destination'] = destination;
      if (body !== undefined) headers['will-body'] = body;
      if (contentType !== undefined) headers['will-content-type'] = contentType;
      if (delay !== undefined) headers['will-delay'] = String(delay);
    }
    return headers;
  }

  /**
   * To be called when the client is connected, each time.
   * @param {Client} client
   * @param {Record<string, string>} headers  of the CONNECTED frame
   */
  connected(client, headers) {
    this.#client = client;
    this.sessionId = headers.session;
    this.resumed = headers.session === this.#resume.session;
    this.#remember({token: headers['resume-token'], session: headers.session});
    if (!this.#introduced) this.#introduce();
    for (const room of this.#rooms.values()) room.start(client); // within 5 s, or the server takes us out of it
    this.start(client);
  }

  /** To be called when the connection has ended, however. The rosters stay as they are, and are not `live`. */
  disconnected() {
    this.#client = undefined;
    this.stop();
    for (const room of this.#rooms.values()) room.stop();
  }

  /**
   * Replaces the client data, now or in the next CONNECT. Others see `joined` or `updated`, at most once a second.
   * @param {any} clientData  any JSON value, by default of at most 4 KiB; the server closes the connection of who sends more
   */
  update(clientData) {
    this.#clientData = clientData;
    if (this.#client) this.#introduce();
    else this.#introduced = false; // a CONNECT may be under way with what there was
  }

  #introduce() {
    if (this.#clientData === undefined) return;
    const client = /** @type {Client} */ (this.#client);
    const destination = this.#register, headers = {'content-type': 'application/json'};
    const body = JSON.stringify({clientData: this.#clientData});
    if (client.publish) client.publish({destination, body, headers});
    else client.send?.(destination, body, headers);
    this.#introduced = true;
  }

  /**
   * Watches a room, from now on or when connected, until its `close()`; `join()` goes into it. For the same destination
   * there is one room.
   * @param {string} destination  one that matches a `room` of the server's configuration
   * @returns {Room}
   */
  room(destination) {
    let room = this.#rooms.get(destination);
    if (!room) {
      room = new Room(destination, this.#register, () => this.#rooms.delete(destination));
      this.#rooms.set(destination, room);
      if (this.#client) room.start(this.#client);
    }
    return room;
  }

  /** The next connection will be a new session: for a page whose user has logged out. */
  forget() {
    this.#remember({});
  }

  /**
   * A tab that is duplicated has the same in its storage. The first to use a token gets the session; the server ends the
   * connection that had it ("taken over"), and its tab comes back as a new session, since a token is good for one use.
   */
  #recall() {
    try {
      this.#resume = JSON.parse(this.#storage?.getItem(this.#key) ?? '{}') ?? {};
    } catch { /* not ours, or forbidden */ }
  }

  /** @param {{token?: string, session?: string}} resume */
  #remember(resume) {
    this.#resume = resume;
    try {
      if (resume.token) this.#storage?.setItem(this.#key, JSON.stringify(resume));
      else this.#storage?.removeItem(this.#key);
    } catch { /* full or forbidden: then for as long as the page lives */ }
  }
}

/** @returns {Storage | undefined} */
function defaultStorage() {
  try {
    return globalThis.sessionStorage;
  } catch {
    return undefined; // a browser that forbids storage
  }
}

/** @param {{unsubscribe: () => void} | undefined} subscription */
function unsubscribe(subscription) {
  try {
    subscription?.unsubscribe();
  } catch { /* some clients throw without a connection, with which the subscription has gone */ }
}

/** @param {Session} a @param {Session} b */
function byAge(a, b) {
  const [x, y] = [a, b].map(({connectedAt = '', sessionId}) => connectedAt + sessionId);
  return x < y ? -1 : x > y ? 1 : 0;
}

/**
 * @param {any} entry  of a roster, or a change
 * @param {Session} [previous]  fills in what a compact change leaves out
 * @returns {Session}
 */
function sessionFrom(entry, previous) {
  /** @type {any} */
  const session = {sessionId: entry.sessionId, unreachable: entry.state === 'unreachable'};
  for (const key of SESSION_KEYS) {
    const value = entry[key] !== undefined ? entry[key] : previous?.[key];
    if (value !== undefined) session[key] = value;
  }
  return session;
}
