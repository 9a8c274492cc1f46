/**
 * What the page says in plain words.
 *
 * @module
 */

/**
 * The reasons for which a session ends, as they continue "Mina left: ...".
 * @type {Record<string, string>}
 */
export const REASONS = {
  'disconnect': 'said goodbye',
  'closed': 'closed the page',
  'connection-lost': 'the connection broke',
  'heart-beat-timeout': 'nothing was heard any more',
  'slow-consumer': 'could not keep up with the messages',
  'protocol-error': 'sent what the server could not read',
  'policy': 'the server showed them out',
  'server-shutdown': 'the server was shut down',
  'server-crash': 'the server crashed',
  'node-lost': 'their server was lost',
  'internal-error': 'something went wrong in the server',
  'unsubscribed': 'went out of the room',
};

/** The reasons that are a proper end. A change says so itself with `clean`, unless it is a compact one. */
export const CLEAN = new Set(['disconnect', 'closed', 'unsubscribed']);

/**
 * @param {{sessionId: string, clientData?: any, user?: string}} session
 * @returns {string}  the name in its client data, which others may have made anything; else the user; else a part of the id
 */
export function nameOf({sessionId, clientData, user}) {
  const name = typeof clientData === 'string' ? clientData : clientData?.name;
  if (typeof name === 'string' && name.trim()) return name.trim().slice(0, 60);
  return user || `Someone (${sessionId.slice(0, 4)})`;
}

const UNITS = [{seconds: 86400, name: 'd'}, {seconds: 3600, name: 'h'}, {seconds: 60, name: 'min'}, {seconds: 1, name: 's'}];

/**
 * @param {number} seconds
 * @returns {string}  with its two largest units: `4 min 12 s`
 */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const [large, small] = UNITS.slice(UNITS.findIndex(unit => s >= unit.seconds));
  const rest = Math.floor((s % large.seconds) / small.seconds);
  return `${Math.floor(s / large.seconds)} ${large.name}` + (rest ? ` ${rest} ${small.name}` : '');
}

/**
 * @param {string} iso  RFC 3339
 * @returns {number}  how long ago, in seconds; 0 if that is not known
 */
export function ageOf(iso) {
  return Math.max(0, (Date.now() - Date.parse(iso)) / 1000) || 0;
}

/**
 * How long the lifeline of somebody is who was here for so long: logarithmic, so that ten seconds and a day both fit.
 * @param {number} seconds
 * @returns {number}  0.05 to 1, which is eight hours
 */
export function span(seconds) {
  return Math.min(1, Math.max(0.05, Math.log1p(Math.max(0, seconds)) / Math.log1p(8 * 3600)));
}

/**
 * The same colour for the same name, on every page.
 * @param {string} name
 * @returns {number}  a hue in degrees
 */
export function hueOf(name) {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + /** @type {number} */ (character.codePointAt(0))) >>> 0;
  return Math.round((hash * 137.508) % 360);
}
