import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import test from 'node:test';
import {CLEAN, REASONS, ageOf, duration, hueOf, nameOf, span} from '../words.js';

test('durations with their two largest units', () => {
  for (const [seconds, text] of [
    [-3, '0 s'], [0.4, '0 s'], [59.4, '59 s'], [59.6, '1 min'], [252.345, '4 min 12 s'], [3599.7, '1 h'], [3600, '1 h'],
    [7260, '2 h 1 min'], [86400 * 3 + 3600 * 4 + 59, '3 d 4 h'],
  ]) {
    assert.equal(duration(seconds), text);
  }
});

test('names of whatever client data there is', () => {
  for (const [session, name] of [
    [{clientData: ' Mina '}, 'Mina'],
    [{clientData: {name: 'Mina'}, user: 'm'}, 'Mina'],
    [{clientData: {name: 7}, user: 'm'}, 'm'],
    [{clientData: null}, 'Someone (abcd)'],
    [{clientData: [1]}, 'Someone (abcd)'],
    [{clientData: '  '}, 'Someone (abcd)'],
    [{}, 'Someone (abcd)'],
    [{clientData: 'x'.repeat(500)}, 'x'.repeat(60)],
  ]) {
    assert.equal(nameOf({sessionId: 'abcdef', ...session}), name);
  }
});

test('ages in seconds, never less than nothing', () => {
  assert.ok(Math.abs(ageOf(new Date(Date.now() - 5000).toISOString()) - 5) < 1);
  assert.equal(ageOf(new Date(Date.now() + 60_000).toISOString()), 0);
  assert.equal(ageOf(''), 0);
});

test('every clean reason has words', () => {
  for (const reason of CLEAN) assert.ok(REASONS[reason]);
});

test('lifelines grow with time and stay in bounds', () => {
  assert.equal(span(0), 0.05);
  assert.equal(span(1e9), 1);
  assert.ok(span(10) < span(60) && span(60) < span(3600));
});

test('hues are degrees and do not change', () => {
  assert.equal(hueOf('Mina'), hueOf('Mina'));
  for (const name of ['', 'Mina', '\u{1F600}']) assert.ok(hueOf(name) >= 0 && hueOf(name) <= 360);
});

test('there are words for every reason of docs/presence.md, which says whether it is clean', () => {
  const docs = readFileSync(new URL('../../../docs/presence.md', import.meta.url), 'utf8');
  const table = docs.slice(docs.indexOf('### Reasons'), docs.indexOf('## Grace and resume'));
  const reasons = [...table.matchAll(/^\| `([a-z-]+)` \|.*\| (yes|no) \|$/gm)].map(([, reason, clean]) => [reason, clean]);
  assert.deepEqual(reasons.map(([reason]) => reason).sort(), Object.keys(REASONS).sort());
  assert.deepEqual(reasons.filter(([, clean]) => clean === 'yes').map(([reason]) => reason).sort(), [...CLEAN].sort());
});
