import assert from 'node:assert/strict';
import test from 'node:test';
import {FrameDecoder, encodeFrame} from '../frame.js';

const decode = (...chunks) => {
  const decoder = new FrameDecoder();
  return chunks.flatMap(chunk => [...decoder.push(chunk)]).map(frame => ({...frame, headers: {...frame.headers}}));
};

test('encodes: content-length in bytes, escaping, nothing for undefined', () => {
  assert.equal(encodeFrame('SEND', {destination: '/a', 'x:y': 'a:b\\c\nd\re', gone: undefined}, 'Zoé'),
    'SEND\ndestination:/a\nx\\cy:a\\cb\\\\c\\nd\\re\ncontent-length:4\n\nZoé\0');
  assert.equal(encodeFrame('DISCONNECT'), 'DISCONNECT\n\n\0');
});

test('CONNECT is not escaped, and what would need it is refused', () => {
  assert.equal(encodeFrame('CONNECT', {'client-data': '{"name":"a\\"b"}'}), 'CONNECT\nclient-data:{"name":"a\\"b"}\n\n\0');
  for (const value of ['a\nb', 'a\rb', 'a\0b']) assert.throws(() => encodeFrame('CONNECT', {value}), TypeError);
  assert.throws(() => encodeFrame('CONNECT', {'a:b': ''}), TypeError);
});

test('decodes what it encodes', () => {
  const headers = {destination: '/a', 'x:y': 'a:b\\c\nd\re', ' spaced ': ' kept '};
  assert.deepEqual(decode(encodeFrame('SEND', headers, 'a\0b ✓')),
    [{command: 'SEND', headers: {...headers, 'content-length': '7'}, body: 'a\0b ✓'}]);
});

const message = (body, headers = {}) => ({command: 'MESSAGE', headers, body});

const frames = [
  ['no body', 'RECEIPT\nreceipt-id:1\n\n\0', [{command: 'RECEIPT', headers: {'receipt-id': '1'}, body: ''}]],
  ['CR LF', 'RECEIPT\r\nreceipt-id:1\r\n\r\n\0\r\n', [{command: 'RECEIPT', headers: {'receipt-id': '1'}, body: ''}]],
  ['no headers', 'ERROR\n\nbody\0', [{command: 'ERROR', headers: {}, body: 'body'}]],
  ['the first of a repeated header', 'MESSAGE\na:1\na:2\n\n\0', [message('', {a: '1'})]],
  ['CONNECTED without unescaping', 'CONNECTED\na:b\\nc\n\n\0', [{command: 'CONNECTED', headers: {a: 'b\\nc'}, body: ''}]],
  ['CONNECT without unescaping', 'CONNECT\na:"\\""\n\n\0', [{command: 'CONNECT', headers: {a: '"\\""'}, body: ''}]],
  ['colons and empty values', 'MESSAGE\na:b:c\nd:\n\n\0', [message('', {a: 'b:c', d: ''})]],
  ['heart-beats between frames', '\n\r\n\nMESSAGE\n\n1\0\n\nMESSAGE\n\n2\0\n', [message('1'), message('2')]],
  ['NUL in the body', 'MESSAGE\ncontent-length:3\n\na\0b\0', [message('a\0b', {'content-length': '3'})]],
  ['blank lines in the body', 'MESSAGE\n\n\n\na\n\n\0', [message('\n\na\n\n')]],
  ['a hostile header name', 'MESSAGE\n__proto__:x\n\n\0', [message('', {['__proto__']: 'x'})]],
];

for (const [name, wire, expected] of frames) {
  test(`decodes ${name}, cut anywhere`, () => {
    const bytes = new TextEncoder().encode(wire);
    assert.deepEqual(decode(wire), expected);
    assert.deepEqual(decode(bytes.buffer), expected);
    assert.deepEqual(decode(...[...bytes].map(byte => Uint8Array.of(byte))), expected, 'byte by byte');
    for (let i = 1; i < bytes.length; i++) {
      assert.deepEqual(decode(bytes.slice(0, i), bytes.slice(i)), expected, `cut at ${i}`);
    }
  });
}

test('a character that is cut in two', () => {
  const bytes = new TextEncoder().encode('MESSAGE\n\n✓\0');
  assert.equal(decode(bytes.slice(0, 10), bytes.slice(10))[0].body, '✓');
});

for (const [name, wire] of [
  ['an undefined escape', 'MESSAGE\na:\\t\n\n\0'], ['an escape that is cut off', 'MESSAGE\na:\\\n\n\0'],
  ['a header without colon', 'MESSAGE\nabc\n\n\0'],
  ['a content-length that is no number', 'MESSAGE\ncontent-length:-1\n\n\0'],
  ['a content-length that is too short', 'MESSAGE\ncontent-length:1\n\nab\0'], ['a NUL in the head', 'MESSAGE\na:b\0'],
]) {
  test(`refuses ${name}`, () => assert.throws(() => decode(wire), Error));
}
