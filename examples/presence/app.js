/**
 * The page: shows what stomp.js and presence.js tell.
 *
 * @module
 */

import {Presence} from './presence.js';
import {StompClient} from './stomp.js';
import {CLEAN, REASONS, ageOf, duration, hueOf, nameOf, span} from './words.js';

/** @typedef {import('./presence.js').Session} Session */

const ENDPOINT = '/ws';
const REGISTER = '/app/presence';
const CHAT = '/topic/chat';
const MAX_SHOWN = 200; // in each of the lists

/** @param {string} id @returns {any} */
const $ = id => document.getElementById(id);

/** The name is the tab's own, so that two tabs can be two people; a new tab starts with the last one that was given. */
let name = remembered();
/** The name that the present connection was made with. */
let connectedAs = '';
/** @type {import('./stomp.js').StateChange} */
let connection = {state: 'idle'};
/** When the connection was lost, as long as it is. */
let lostAt = 0;
/** The session that the feed has greeted: a roster that was only asked for again is no news. */
let greeted = '';

const client = new StompClient(ENDPOINT, {
  connectHeaders(last) {
    connectedAs = name;
    return {'client-data': name ? JSON.stringify({name}) : undefined, 'resume-token': last?.['resume-token']};
  },
});
const presence = new Presence(client, {destination: REGISTER});

/* The connection */

client.addEventListener('state', event => {
  connection = /** @type {CustomEvent} */ (event).detail;
  if (connection.state === 'lost') lostAt ||= Date.now();
  if (connection.state === 'closed') lostAt = 0;
  if (connection.state === 'connected' && connectedAs !== name) rename(); // it was typed in the meantime
  showStatus();
  scheduleRoster();
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
  remember(name);
  $('name-button').textContent = 'Rename';
  setText($('name-hint'), '');
  if (client.state === 'connected' && connectedAs) return name === connectedAs ? undefined : rename();
  if (client.state === 'connected') client.close(); // it was only looking on: connect again, with client data
  client.open();
};

function remembered() {
  try {
    return sessionStorage.getItem('name') ?? localStorage.getItem('name') ?? '';
  } catch {
    return ''; // a browser that forbids storage
  }
}

/** @param {string} name */
function remember(name) {
  try {
    sessionStorage.setItem('name', name);
    localStorage.setItem('name', name);
  } catch { /* then not */ }
}

async function rename() {
  try {
    await presence.update({name});
    connectedAs = name;
  } catch (error) {
    setText($('name-hint'), `Not renamed: ${/** @type {Error} */ (error).message}.`);
  }
}

/* Who is here */

let rosterIsDue = false;
/** @type {WeakMap<Session, HTMLElement>} */
const rows = new WeakMap();

/** However many changes come at once, the roster is shown once. Not in an animation frame, which hidden tabs lack. */
function scheduleRoster() {
  if (rosterIsDue) return;
  rosterIsDue = true;
  setTimeout(showRoster);
}

function showRoster() {
  rosterIsDue = false;
  const {sessions, me} = presence;
  const others = [...sessions.values()].filter(session => session !== me)
    .sort((a, b) => (a.connectedAt ?? '').localeCompare(b.connectedAt ?? '') || (a.sessionId < b.sessionId ? -1 : 1));
  const shown = (me ? [me, ...others] : others).slice(0, MAX_SHOWN);
  const roster = $('roster');
  shown.forEach((session, i) => {
    if (!rows.has(session)) rows.set(session, row(session, session === me));
    if (roster.children[i] !== rows.get(session)) roster.insertBefore(rows.get(session), roster.children[i]);
  });
  while (roster.children.length > shown.length) roster.lastChild.remove();
  growLifelines();
  setText($('count'), String(sessions.size));
  setText($('roster-more'), sessions.size > shown.length ? `and ${sessions.size - shown.length} more` : '');
  document.title = client.state === 'connected' ? `(${sessions.size}) Who is here` : 'Who is here';
}

/** @param {Session} session @param {boolean} isMe */
function row(session, isMe) {
  const {sessionId, connectedAt, unreachable} = session;
  const title = `session ${sessionId}`;
  return el('li', {'data-session': sessionId, 'data-me': isMe, 'data-unreachable': unreachable, title},
    el('p', {},
      nameTag(nameOf(session)), isMe && el('span', {class: 'tag'}, 'you'),
      unreachable && el('span', {class: 'tag'}, 'unreachable'),
      connectedAt && el('span', {class: 'when'}, 'since ', time(connectedAt))),
    connectedAt && lifeline(session, ageOf(connectedAt)));
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
  if (!lostAt && greeted === client.session) return;
  const mine = [greeted, client.session];
  const count = /** @param {Session[]} list */ list => list.filter(({sessionId}) => !mine.includes(sessionId)).length;
  const came = count(joined), went = count(left);
  const text = !lostAt ? connectedAs ? 'You came in.' : 'You are looking on, without a name.'
    : `You are back after ${duration((Date.now() - lostAt) / 1000)}${came || went ? `: ${came} came and ${went} left` : ''}.`;
  lostAt = 0;
  greeted = client.session ?? '';
  const at = new Date().toISOString();
  tell(at, el('li', {'data-type': 'sync'}, time(at, true), el('p', {}, text)));
});

presence.addEventListener('change', event => {
  const {change, session, previous} = /** @type {CustomEvent<import('./presence.js').ChangeDetail>} */ (event).detail;
  const {type, reason, at = new Date().toISOString(), connectedFor} = change;
  scheduleRoster();
  if (type === 'joined' && session === presence.me) return; // "you came in"
  const before = previous && nameOf(previous), now = nameOf(session), who = nameTag(now);
  const words = reason && (REASONS[reason] ?? 'for a reason that this page does not know');
  const lasted = connectedFor ?? (type === 'left' && session.connectedAt ? ageOf(session.connectedAt) : undefined);
  const sentence = {
    joined: [who, ' came in'],
    updated: before && before !== now ? [nameTag(before), ' is now ', who] : [who, ' changed their data'],
    unreachable: [who, ` cannot be reached${words ? `: ${words}` : ''}`],
    returned: [who, ' is back'],
    left: [who, ` left${words ? `: ${words}` : ''}`],
  }[type];
  const clean = change.clean ?? CLEAN.has(reason ?? '');
  const attributes = {'data-type': type, 'data-reason': reason, 'data-clean': type === 'left' ? String(clean) : undefined};
  tell(at, el('li', attributes,
    time(at, true), el('p', {}, ...sentence),
    type === 'joined' && lifeline(session, 0),
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
 */
function lifeline(session, seconds) {
  const attributes = {class: 'lifeline', 'aria-hidden': 'true', 'data-since': session.connectedAt};
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
