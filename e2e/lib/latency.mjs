// How long each way of going away takes to reach a peer: collected by the tests, kept as JSON, printed as a table.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const file = fileURLToPath(new URL('../output/latency.json', import.meta.url));
const collected = new Map();

/** Adds a sample: from going away until the peer had the `left`, in milliseconds. */
export function record(way, reason, milliseconds) {
  const row = collected.get(way) ?? { way, reason, samples: [] };
  row.samples.push(Math.round(milliseconds * 10) / 10);
  collected.set(way, row);
}

export function readLatencies() {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return [];
  }
}

/** Writes what this process collected over what earlier ones did for the same ways, and returns all rows. */
export function saveLatencies() {
  const rows = new Map(readLatencies().map((row) => [row.way, row]));
  for (const row of collected.values()) {
    const sorted = row.samples.toSorted((a, b) => a - b);
    rows.set(row.way, {
      way: row.way,
      reason: row.reason,
      repetitions: sorted.length,
      median: sorted[Math.floor((sorted.length - 1) / 2)],
      worst: sorted.at(-1),
    });
  }
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, JSON.stringify([...rows.values()], null, 2) + '\n');
  return [...rows.values()];
}

const duration = (milliseconds) => (milliseconds < 1000 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(2)} s`);

/** A markdown table. */
export function latencyTable(rows) {
  const lines = rows.map((row) => `| ${row.way} | \`${row.reason}\` | ${duration(row.median)} | ${duration(row.worst)} | ${row.repetitions} |`);
  return ['| way of going away | reason | median | worst | runs |', '|---|---|---:|---:|---:|', ...lines].join('\n');
}

/** The rows of SockJS, "SockJS <transport>: <way>", as a markdown table of ways by transports: median, worst. */
export function transportTable(rows) {
  const cells = new Map();
  const transports = new Set();
  for (const row of rows) {
    const [, transport, way] = row.way.match(/^SockJS (\w+): (.*)$/) ?? [];
    if (!transport) continue;
    transports.add(transport);
    cells.set(way, { ...cells.get(way), [transport]: `${duration(row.median)}, ${duration(row.worst)}` });
  }
  const lines = [...cells].map(([way, found]) => `| ${way} | ${[...transports].map((transport) => found[transport] ?? '').join(' | ')} |`);
  return [`| way of going away: median, worst | ${[...transports].join(' | ')} |`, `|---|${'---:|'.repeat(transports.size)}`, ...lines].join('\n');
}
