/**
 * The page: shows what stomp.js and presence.js tell.
 *
 * @module
 */

import {Presence} from './presence.js';
import {StompClient} from './stomp.js';
import {CLEAN, REASONS, ageOf, duration, hueOf, nameOf, span} from './words.js';

/** @typedef {import('./presence.js').Session} Session */
/** @typedef {import('./presence.js').Person} Person */
/** @typedef {import('./presence.js').ChangeDetail} ChangeDetail */

const ENDPOINT = '/ws';
const REGISTER = '/app/presence';
const CHAT = '/topic/chat';
/** Each matches the `room` of the Caddyfile. @type {Record<string, string>} */
const ROOMS = {'/topic/rooms/kitchen': 'Kitchen', '/topic/rooms/library': 'Library', '/topic/rooms/garden': 'Garden'};
const MAX_SHOWN = 200; // in each of the lists

/** @param {string} id @returns {any} */
const $ = id => document.getElementById(id);

/** The name is the tab's own, so that two tabs can be two people; a new tab starts with the last one that was given. */
let name = recall('sessionStorage', 'name') ?? recall('localStorage', 'name') ?? '';
/** @type {import('./stomp.js').StateChange} */
let connection = {state: 'idle'};
/** When the connection was lost, as long as it is. */
let lostAt = 0;
/** The session that the feed has greeted: a roster that was only asked for again is no news. */
let greeted = '';
let lookingOn = false;

const presence = new Presence({clientData: name ? {name} : undefined, register: REGISTER});
const client = new StompClient(ENDPOINT, {connectHeaders: () => presence.connectHeaders()});

/* The connection */

client.addEventListener('state', event => {
  connection = /** @type {CustomEvent} */ (event).detail;
  const {state, cause} = connection;
  if (state === 'connected') presence.connected(client, client.connected ?? {});
  else presence.disconnected();
  if (state === 'lost') lostAt ||= Date.now();
  if (state === 'closed') lostAt = 0;
  showStatus();
  scheduleRoster();
  if (state === 'closed' && cause === 'taken over') client.open(); // by a duplicate of this tab: be a session of our own
});

function showStatus() {
  const {state, retryAt = 0, cause = ''} = connection;
  const wait = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
  const text = {
    idle: '', connecting: lostAt ? 'Reconnecting' : 'Connecting', connected: 'Connected', lost: 'Connection lost',
    closed: cause ? 'The server closed the connection' : 'You left',
  }[state];
  const detail = {
    idle: '', connecting: '…', connected: '', lost: `reconnecting in ${wait} s`, closed: cause && `(${cause})`,
  }[state];
  $('status').dataset.state = state;
  $('status').title = cause;
  setText($('status-text'), text);
  setText($('status-detail'), detail);
  setText($('connection'), {lost: 'Reconnect now', closed: 'Come back'}[/** @type {string} */ (state)] ?? 'Leave');
}

$('connection').onclick = () => {
  if (client.state === 'lost' || client.state === 'closed') client.open();
  else client.close();
};

/* Your name */

/** @param {SubmitEvent} event */
$('name-form').onsubmit = event => {
  event.preventDefault();
  name = $('name').value.trim();
  $('name').value = name;
  if (!name) return;
  remember('sessionStorage', 'name', name);
  remember('localStorage', 'name', name);
  $('name-button').textContent = 'Rename';
  if (presence.clientData?.name !== name) presence.update({name});
  client.open();
};

/**
 * @param {'sessionStorage' | 'localStorage'} storage  of the tab, or of all tabs
 * @param {string} key
 */
function recall(storage, key) {
  try {
    return globalThis[storage].getItem(key);
  } catch {
    return null; // a browser that forbids storage
  }
}

/** @param {'sessionStorage' | 'localStorage'} storage @param {string} key @param {string} value */
function remember(storage, key, value) {
  try {
    globalThis[storage].setItem(key, value);
  } catch { /* then not */ }
}

/* Who is here */

let rosterIsDue = false;
/** Of the people that are shown, by their id. @type {Map<string, {sessions: Session[], element: HTMLElement}>} */
let rows = new Map();

/** However many changes come at once, the roster is shown once. Not in an animation frame, which hidden tabs lack. */
function scheduleRoster() {
  if (rosterIsDue) return;
  rosterIsDue = true;
  setTimeout(showRoster);
}

function showRoster() {
  rosterIsDue = false;
  const {people, me} = presence;
  const isMe = /** @param {Person} person */ person => me !== undefined && person.sessions.includes(me);
  const shown = [...people.filter(isMe), ...people.filter(person => !isMe(person))].slice(0, MAX_SHOWN);
  const roster = $('roster');
  rows = new Map(shown.map((person, i) => {
    const old = rows.get(person.id);
    const same = old?.sessions.length === person.sessions.length && person.sessions.every((session, j) => session === old.sessions[j]);
    const element = same ? old.element : row(person, isMe(person));
    if (old && !same && old.element.parentNode === roster) old.element.replaceWith(element);
    if (roster.children[i] !== element) roster.insertBefore(element, roster.children[i]);
    return [person.id, {sessions: person.sessions, element}];
  }));
  while (roster.children.length > shown.length) roster.lastChild.remove();
  growLifelines();
  for (const room of Object.keys(ROOMS)) showRoom(room);
  setText($('count'), String(people.length));
  setText($('roster-more'), people.length > shown.length ? `and ${people.length - shown.length} more` : '');
  document.title = client.state === 'connected' ? `(${people.length}) Who is here` : 'Who is here';
}

/** @param {Person} person @param {boolean} isMe */
function row({id, session, sessions, unreachable}, isMe) {
  const {connectedAt} = sessions[0];
  const title = sessions.map(({sessionId}) => `session ${sessionId}`).join('\n');
  const {sessionId} = session;
  return el('li', {'data-session': sessionId, 'data-person': id, 'data-me': isMe, 'data-unreachable': unreachable, title},
    el('p', {},
      nameTag(nameOf(session)), isMe && el('span', {class: 'tag'}, 'you'),
      sessions.length > 1 && el('span', {class: 'tag tabs'}, `${sessions.length} tabs`),
      unreachable && el('span', {class: 'tag waiting'}, 'unreachable'),
      connectedAt && el('span', {class: 'when'}, 'since ', time(connectedAt))),
    connectedAt && lifeline(session, ageOf(connectedAt), connectedAt));
}

function growLifelines() {
  for (const line of document.querySelectorAll('#roster .lifeline')) {
    const since = /** @type {HTMLElement} */ (line).dataset.since ?? '';
    /** @type {HTMLElement} */ (line).style.setProperty('--span', String(span(ageOf(since))));
  }
}

/* Coming and going */

presence.addEventListener('sync', event => {
  const {joined, left} = /** @type {CustomEvent<import('./presence.js').SyncDetail>} */ (event).detail;
  scheduleRoster();
  if (!lostAt && greeted === presence.sessionId) return;
  const mine = [greeted, presence.sessionId];
  const count = /** @param {Session[]} list */ list => list.filter(({sessionId}) => !mine.includes(sessionId)).length;
  const came = count(joined), went = count(left);
  const as = presence.resumed ? ', and were never gone' : '';
  const text = lostAt ? `You are back after ${duration((Date.now() - lostAt) / 1000)}${as}${came || went ? `: ${came} came and ${went} left` : ''}.`
    : presence.resumed ? 'You are back, and were never gone.'
    : name ? 'You came in.' : 'You are looking on, without a name.';
  lookingOn = !name;
  lostAt = 0;
  greeted = presence.sessionId ?? '';
  tellMe(text);
});

/** @param {string} text  about this page */
function tellMe(text) {
  const at = new Date().toISOString();
  tell(at, el('li', {'data-type': 'sync', 'data-resumed': presence.resumed}, time(at, true), el('p', {}, text)));
}

presence.addEventListener('change', event => {
  const {change, session, previous, userSessions = 0} = /** @type {CustomEvent<ChangeDetail>} */ (event).detail;
  const {type, reason, at = new Date().toISOString(), connectedFor} = change;
  scheduleRoster();
  if (session === presence.me && (type === 'joined' || type === 'returned')) { // which the page has said already
    if (lookingOn) tellMe('You came in.');
    lookingOn = false;
    return;
  }
  const before = previous && nameOf(previous), now = nameOf(session), who = nameTag(now);
  const words = reason && (REASONS[reason] ?? 'for a reason that this page does not know');
  const lasted = connectedFor ?? (type === 'left' && session.connectedAt ? ageOf(session.connectedAt) : undefined);
  const tabs = userSessions === 1 ? '1 tab' : `${userSessions} tabs`;
  const sentence = {
    joined: userSessions > 1 ? [who, ` opened another tab: ${tabs}`] : [who, ' came in'],
    updated: before && before !== now ? [nameTag(before), ' is now ', who] : [who, ' changed their data'],
    unreachable: [who, ` cannot be reached${words ? `: ${words}` : ''}`],
    returned: [who, ' is back'],
    left: [who, userSessions ? ` left with one tab${words ? `: ${words}` : ''}; ${tabs} left` : ` left${words ? `: ${words}` : ''}`],
  }[type];
  const clean = change.clean ?? CLEAN.has(reason ?? '');
  const attributes = {'data-type': type, 'data-reason': reason, 'data-clean': type === 'left' ? String(clean) : undefined};
  tell(at, el('li', attributes,
    time(at, true), el('p', {}, ...sentence),
    type === 'joined' && lifeline(session, 0, session.connectedAt),
    type === 'left' && lasted !== undefined && lifeline(session, lasted),
    (reason || lasted !== undefined) && el('p', {class: 'facts'},
      reason && el('code', {}, reason), lasted !== undefined && type === 'left' && ` after ${duration(lasted)}`)));
});

/**
 * The latest comes first. What happened a little before one came is told too, and has its place below.
 * @param {string} at
 * @param {HTMLElement} item
 */
function tell(at, item) {
  const feed = $('feed');
  item.dataset.at = at;
  feed.insertBefore(item, [...feed.children].find(other => other.dataset.at <= at) ?? null);
  if (feed.children.length > MAX_SHOWN) feed.lastChild.remove();
}

/* Rooms: to subscribe to one is to be in it */

const wereIn = new Set((recall('sessionStorage', 'rooms') ?? '').split(' '));

for (const [destination, title] of Object.entries(ROOMS)) {
  const room = presence.room(destination);
  const button = el('button', {type: 'button', 'aria-pressed': 'false'}, title);
  button.onclick = () => {
    if (room.joined) room.leave();
    else room.join();
    remember('sessionStorage', 'rooms', Object.keys(ROOMS).filter(each => presence.room(each).joined).join(' '));
    showRoom(destination);
  };
  $('rooms').append(el('li', {'data-room': destination}, button, el('span', {class: 'who'})));
  if (wereIn.has(destination)) room.join();
  room.addEventListener('sync', scheduleRoster);
  room.addEventListener('change', event => {
    const {change, session} = /** @type {CustomEvent<ChangeDetail>} */ (event).detail;
    scheduleRoster();
    // whoever leaves altogether leaves the rooms, too; that was told already
    const verb = change.type === 'joined' ? 'went into' : change.reason === 'unsubscribed' ? 'left' : '';
    const at = change.at ?? new Date().toISOString();
    if (verb) tell(at, el('li', {'data-type': 'room'}, time(at, true), el('p', {}, nameTag(nameOf(session)), ` ${verb} the ${title}`)));
  });
}

/** @param {string} destination */
function showRoom(destination) {
  const room = presence.room(destination);
  const [button, who] = document.querySelectorAll(`[data-room="${destination}"] > *`);
  button.setAttribute('aria-pressed', String(room.joined));
  const names = room.people.slice(0, MAX_SHOWN).flatMap(({session, unreachable}, i) =>
    [i > 0 && ', ', el('span', {'data-unreachable': unreachable, class: 'name', hue: hueOf(nameOf(session))}, nameOf(session))]);
  const shown = names.length ? names : [el('span', {class: 'nobody'}, 'nobody')];
  who.replaceChildren(...shown.filter(name => name !== false));
}

/* Talk: ordinary messages to an ordinary destination */

client.subscribe(CHAT, ({body}) => {
  const {from, name = '', text = ''} = JSON.parse(body);
  const scroll = $('chat-scroll'), log = $('chat-log');
  const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
  log.append(el('li', {'data-me': from !== undefined && from === client.session}, time(new Date().toISOString()),
    nameTag(String(name)), ' ', el('span', {class: 'text'}, String(text))));
  if (log.children.length > MAX_SHOWN) log.firstChild.remove();
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
});

/** @param {SubmitEvent} event */
$('chat-form').onsubmit = async event => {
  event.preventDefault();
  const input = $('chat-input'), text = input.value.trim();
  if (!text) return;
  if (!name) {
    setText($('chat-hint'), 'Type your name first.');
    return $('name').focus();
  }
  setText($('chat-hint'), '');
  input.value = '';
  try {
    const message = JSON.stringify({from: client.session, name, text});
    await client.sendAndConfirm(CHAT, message, {'content-type': 'application/json'});
  } catch (error) {
    input.value ||= text;
    setText($('chat-hint'), `Not sent: ${/** @type {Error} */ (error).message}.`);
  }
};

/* Pieces */

/**
 * An element with text in it, never markup: strings become text nodes.
 * @param {string} tag
 * @param {Record<string, any>} attributes  `undefined` and `false` leave one out; `hue` colours it
 * @param {...(Node | string | false | undefined)} children
 */
function el(tag, {hue, ...attributes}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? '' : value);
  }
  if (hue !== undefined) element.style.setProperty('--hue', hue);
  element.append(...children.filter(child => child !== undefined && child !== false).map(child => child || ''));
  return element;
}

/** @param {string} name */
function nameTag(name) {
  return el('span', {class: 'name', hue: hueOf(name)}, name);
}

/**
 * A line as long as somebody has been here. How it ends is for the style sheet.
 * @param {Session} session
 * @param {number} seconds
 * @param {string} [since]  of whoever is here still: RFC 3339
 */
function lifeline(session, seconds, since) {
  const attributes = {class: 'lifeline', 'aria-hidden': 'true', 'data-since': since};
  const line = el('span', {...attributes, hue: hueOf(nameOf(session))});
  line.style.setProperty('--span', String(span(seconds)));
  return line;
}

/** @param {string} iso @param {boolean} [withSeconds] */
function time(iso, withSeconds = false) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return el('time', {}, '');
  const second = withSeconds ? '2-digit' : undefined;
  const text = date.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit', second, hourCycle: 'h23'});
  return el('time', {datetime: iso, title: date.toLocaleString()}, text);
}

/** Only when it differs, since live regions read out what is written. @param {HTMLElement} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

$('name').value = name;
if (name) $('name-button').textContent = 'Rename';
else $('name').focus();
setInterval(showStatus, 500);
setInterval(growLifelines, 5000);
client.open();
