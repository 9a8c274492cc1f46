// STOMP frames as text, STOMP 1.2 escaping.

const escapes = { '\\': '\\\\', '\r': '\\r', '\n': '\\n', ':': '\\c' };
const unescapes = { '\\\\': '\\', '\\r': '\r', '\\n': '\n', '\\c': ':' };

export function encodeFrame(command, headers = {}, body = '') {
  // CONNECT and CONNECTED are not escaped, so that STOMP 1.0 can read them.
  const raw = command === 'CONNECT' || command === 'CONNECTED';
  const escape = (text) => (raw ? String(text) : String(text).replace(/[\\\r\n:]/g, (c) => escapes[c]));
  const lines = Object.entries(headers).map(([name, value]) => `${escape(name)}:${escape(value)}\n`);
  return `${command}\n${lines.join('')}\n${body}\0`;
}

/** Decodes the frames in text; what is left of heart-beats between them is not reported. */
export function decodeFrames(text) {
  const frames = [];
  let rest = text.replace(/^[\r\n]+/, '');
  while (rest) {
    const headEnd = rest.search(/\r?\n\r?\n/);
    if (headEnd < 0) throw new Error(`not a STOMP frame: ${JSON.stringify(rest.slice(0, 200))}`);
    const [command, ...lines] = rest.slice(0, headEnd).split(/\r?\n/);
    rest = rest.slice(headEnd).replace(/^\r?\n\r?\n/, '');
    const raw = command === 'CONNECTED';
    const unescape = (part) => (raw ? part : part.replace(/\\[\\rnc]/g, (c) => unescapes[c]));
    const headers = {};
    for (const line of lines) {
      const colon = line.indexOf(':');
      const name = unescape(line.slice(0, colon));
      if (!(name in headers)) headers[name] = unescape(line.slice(colon + 1));
    }
    let end = rest.indexOf('\0');
    if (headers['content-length'] !== undefined) {
      end = Buffer.from(rest).subarray(0, Number(headers['content-length'])).toString().length;
    }
    if (end < 0 || rest[end] !== '\0') throw new Error(`STOMP frame without its end: ${JSON.stringify(text.slice(0, 200))}`);
    frames.push({ command, headers, body: rest.slice(0, end) });
    rest = rest.slice(end + 1).replace(/^[\r\n]+/, '');
  }
  return frames;
}
