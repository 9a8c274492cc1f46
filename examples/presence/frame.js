/**
 * STOMP 1.2 frames: an encoder, and a decoder for bytes that arrive in any portions.
 * The specification: https://stomp.github.io/stomp-specification-1.2.html#STOMP_Frames
 *
 * @module
 */

/**
 * @typedef {object} Frame
 * @property {string} command  `MESSAGE`, `RECEIPT`, ...
 * @property {Record<string, string>} headers  unescaped; of a repeated header the first one counts
 * @property {string} body  decoded as UTF-8
 */

/**
 * @typedef {Record<string, string | number | undefined>} Headers  `undefined` leaves a header out
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** @type {Record<string, string>} */
const ESCAPES = {'\\': '\\\\', '\r': '\\r', '\n': '\\n', ':': '\\c'};
/** @type {Record<string, string>} */
const UNESCAPES = {'\\\\': '\\', '\\r': '\r', '\\n': '\n', '\\c': ':'};
const NUL = 0, LF = 10, CR = 13;

/**
 * Encodes a frame. CONNECT is the one client frame whose headers are not escaped (STOMP 1.2, "Value Encoding").
 * @param {string} command
 * @param {Headers} [headers]
 * @param {string} [body]
 * @returns {string}
 * @throws {TypeError} if a CONNECT header contains what could only be sent escaped
 */
export function encodeFrame(command, headers = {}, body = '') {
  let text = command + '\n';
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) continue;
    if (command !== 'CONNECT') {
      text += `${escape(name)}:${escape(String(value))}\n`;
    } else if (/[:\r\n\0]/.test(name) || /[\r\n\0]/.test(String(value))) {
      throw new TypeError(`the CONNECT header ${JSON.stringify(name)} contains a character that cannot be sent`);
    } else {
      text += `${name}:${value}\n`;
    }
  }
  if (body !== '') text += `content-length:${encoder.encode(body).length}\n`;
  return `${text}\n${body}\0`;
}

/** @param {string} text */
function escape(text) {
  return text.replace(/[\\\r\n:]/g, character => ESCAPES[character]);
}

/** @param {string} text */
function unescape(text) {
  return text.replace(/\\[^]?/g, sequence => {
    const character = UNESCAPES[sequence];
    if (character === undefined) throw new Error(`undefined escape sequence ${sequence} in a header`);
    return character;
  });
}

/**
 * Makes frames out of bytes that arrive in any portions: several frames in one WebSocket message, or one frame in
 * several. Works on bytes, not on characters, since that is what `content-length` counts.
 */
export class FrameDecoder {
  #bytes = new Uint8Array(0);

  /**
   * @param {string | ArrayBuffer | Uint8Array} data
   * @returns {Generator<Frame, void>}  the frames that are complete now
   * @throws {Error} if it is not STOMP; nothing that follows can be trusted then
   */
  *push(data) {
    const added = typeof data === 'string' ? encoder.encode(data) : new Uint8Array(data);
    const bytes = new Uint8Array(this.#bytes.length + added.length);
    bytes.set(this.#bytes);
    bytes.set(added, this.#bytes.length);
    this.#bytes = bytes;
    for (let frame = this.#next(); frame; frame = this.#next()) yield frame;
  }

  /** @returns {Frame | undefined} */
  #next() {
    let start = 0; // between frames, line ends are heart-beats
    while (this.#bytes[start] === LF || this.#bytes[start] === CR) start++;
    const bytes = this.#bytes = this.#bytes.subarray(start);

    const head = endOfHead(bytes);
    if (head < 0) {
      if (bytes.includes(NUL)) throw new Error('a frame ended before its headers did');
      return undefined;
    }
    const [command, ...lines] = decoder.decode(bytes.subarray(0, head)).split(/\r?\n/).slice(0, -2);
    /** @type {Record<string, string>} */
    const headers = Object.create(null);
    for (const line of lines) {
      const colon = line.indexOf(':');
      if (colon < 0) throw new Error(`a header without a colon in a ${command} frame`);
      const raw = command === 'CONNECTED' || command === 'CONNECT';
      const name = raw ? line.slice(0, colon) : unescape(line.slice(0, colon));
      headers[name] ??= raw ? line.slice(colon + 1) : unescape(line.slice(colon + 1));
    }

    let end = bytes.indexOf(NUL, head);
    if ('content-length' in headers) {
      if (!/^\d+$/.test(headers['content-length'])) throw new Error('a content-length that is not a number');
      end = head + Number(headers['content-length']);
      if (end >= bytes.length) return undefined;
      if (bytes[end] !== NUL) throw new Error(`a ${command} frame is longer than its content-length`);
    }
    if (end < 0) return undefined;
    this.#bytes = bytes.subarray(end + 1);
    return {command, headers, body: decoder.decode(bytes.subarray(head, end))};
  }
}

/**
 * The index after the empty line that ends the headers, or -1.
 * @param {Uint8Array} bytes
 */
function endOfHead(bytes) {
  for (let i = bytes.indexOf(LF); i >= 0; i = bytes.indexOf(LF, i + 1)) {
    if (bytes[i + 1] === LF) return i + 2;
    if (bytes[i + 1] === CR && bytes[i + 2] === LF) return i + 3;
  }
  return -1;
}
