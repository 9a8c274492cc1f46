/** The types of presence.js, where everything is explained. */

export interface Session {
  sessionId: string;
  /** What the client said about itself: any JSON value, of which nothing is known. */
  clientData?: any;
  user?: string;
  attributes?: Record<string, string>;
  /** RFC 3339 */
  connectedAt?: string;
  /** Its connection is lost, but it has some time to come back. */
  unreachable: boolean;
}

/** All sessions of a user, or one session of nobody that the server knows. */
export interface Person {
  /** The user, or the session id. */
  id: string;
  user?: string;
  /** Tabs and devices, the oldest first; never empty. */
  sessions: Session[];
  /** The one to show: the newest that is reachable, else the newest. */
  session: Session;
  /** None of them is reachable. */
  unreachable: boolean;
}

export type ChangeType = 'joined' | 'updated' | 'unreachable' | 'returned' | 'left';

/** Why a session left or is unreachable; `unsubscribed` is of rooms only. There may be others in time. */
export type Reason =
  | 'disconnect' | 'closed' | 'connection-lost' | 'heart-beat-timeout' | 'slow-consumer' | 'protocol-error' | 'policy'
  | 'server-shutdown' | 'server-crash' | 'node-lost' | 'internal-error' | 'unsubscribed' | (string & {});

export interface Change {
  type: ChangeType;
  seq: number;
  sessionId: string;
  stream?: string;
  /** The destination of the room that it is about. */
  room?: string;
  clientData?: any;
  user?: string;
  attributes?: Record<string, string>;
  /** How many sessions of that user remain; compact changes are without it, {@link ChangeDetail} has it always. */
  userSessions?: number;
  /** Of `left` and `unreachable`. */
  reason?: Reason;
  /** Of `left`: the WebSocket close code. */
  code?: number;
  /** Of `left`: the client wanted it. */
  clean?: boolean;
  /** RFC 3339 */
  at?: string;
  /** RFC 3339 */
  connectedAt?: string;
  /** Of `left`: seconds. */
  connectedFor?: number;
}

export interface ChangeDetail {
  change: Change;
  /** As it is after the change, or as it was before it left. */
  session: Session;
  /** As it was before, if it was known. */
  previous?: Session;
  /** How many sessions of its user there are now, 0 when that user is gone; `undefined` without a user. */
  userSessions?: number;
}

/** How a new roster differs from what was known before. */
export interface SyncDetail {
  joined: Session[];
  left: Session[];
}

/** What is asked of a STOMP client: one of `publish` and `send` is enough. */
export interface Client {
  subscribe(destination: string, callback: (message: any) => void, headers?: any): { unsubscribe: () => void };
  publish?(message: { destination: string; body: string; headers: Record<string, string> }): void;
  send?(destination: string, body: string, headers: Record<string, string>): void;
}

export interface Will {
  destination: string;
  /** One line: JSON is. */
  body?: string;
  contentType?: string;
  /** Seconds after the loss; without it, when the session is left. */
  delay?: number;
}

export interface RosterEvents {
  sync: CustomEvent<SyncDetail>;
  change: CustomEvent<ChangeDetail>;
  joined: CustomEvent<ChangeDetail>;
  updated: CustomEvent<ChangeDetail>;
  unreachable: CustomEvent<ChangeDetail>;
  returned: CustomEvent<ChangeDetail>;
  left: CustomEvent<ChangeDetail>;
}

export interface RoomEvents extends RosterEvents {
  /** What the client hands to its subscribers. */
  message: CustomEvent<any>;
}

export class Roster<Events = RosterEvents> extends EventTarget {
  constructor(destination: string);
  /** By session id. */
  sessions: Map<string, Session>;
  /** Whether `sessions` is what the server says now; otherwise it is what was known last. */
  live: boolean;
  /** A user with several tabs once, in the order of their coming. */
  get people(): Person[];
  start(client: Client): void;
  stop(): void;
  addEventListener<Type extends keyof Events & string>(
    type: Type, listener: (event: Events[Type]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(
    type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<Type extends keyof Events & string>(
    type: Type, listener: (event: Events[Type]) => void, options?: boolean | EventListenerOptions): void;
  removeEventListener(
    type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}

export class Room extends Roster<RoomEvents> {
  constructor(destination: string, register: string, forget: () => void);
  /** To subscribe to it is to be in the room. */
  destination: string;
  /** Whether this session is in the room, or will be when it is connected. */
  joined: boolean;
  join(): this;
  /** Goes out, and watches on. */
  leave(): this;
  /** Goes out and does not watch any more. */
  close(): void;
}

export interface PresenceOptions {
  /** Without it (and without a user) a session only looks on. */
  clientData?: any;
  /** Default: `/app/presence` */
  register?: string;
  will?: Will;
  /** Where the resume token survives a reload of the page. Default: sessionStorage, or memory if there is none. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;
  /** Its key there, one for each endpoint that a page connects to. Default: `resume-token` */
  key?: string;
}

export class Presence extends Roster {
  constructor(options?: PresenceOptions);
  will: Will | undefined;
  /** The id of this session, after the first CONNECTED. */
  sessionId: string | undefined;
  /** Whether this connection goes on with the session of the one before. */
  resumed: boolean;
  get me(): Session | undefined;
  get clientData(): any;
  /** What to send in the next CONNECT. */
  connectHeaders(): Record<string, string>;
  connected(client: Client, headers: Record<string, string>): void;
  disconnected(): void;
  update(clientData: any): void;
  /** Watches a room; `join()` goes into it. */
  room(destination: string): Room;
  forget(): void;
}
