// Child processes: each one is ended by its own pid, and none outlives the test process.

import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { within } from './wait.mjs';

const running = new Set();

function endAll() {
  for (const child of running) killTree(child.pid);
}

// A test that fails may leave something behind, for which the runner would wait.
after(endAll);
process.on('exit', endAll);
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => process.exit(1));

/** Starts a program; onLine gets every line it writes as (line, 'stdout' | 'stderr'). */
export function start(command, args, { onLine = () => {}, ...options } = {}) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  running.add(child);
  child.ended = new Promise((resolve) => {
    child.on('error', (error) => resolve({ error }));
    child.on('close', (code, signalName) => resolve({ code, signal: signalName }));
  }).finally(() => running.delete(child));
  child.stdin.on('error', () => {});
  for (const stream of ['stdout', 'stderr']) {
    createInterface({ input: child[stream] }).on('line', (line) => onLine(line, stream));
  }
  return child;
}

/** Runs a program to its end; never throws for an exit code. */
export async function run(command, args, { input, timeout = 60_000, ...options } = {}) {
  const output = { stdout: '', stderr: '' };
  const child = start(command, args, {
    ...options,
    onLine: (line, stream) => (output[stream] += line + '\n'),
  });
  child.stdin.end(input);
  try {
    return { ...(await within(`${command} ${args.join(' ')}`, timeout, child.ended)), ...output };
  } finally {
    killTree(child.pid);
  }
}

/** Like run, but a failure is an error that shows what the program said. */
export async function runOrThrow(command, args, options) {
  const result = await run(command, args, options);
  if (result.code !== 0) {
    throw new Error(`${command} ${args.join(' ')}: exit ${result.code} ${result.error ?? ''}\n${result.stdout}${result.stderr}`);
  }
  return result;
}

/** pid and everything below it, the parents first. */
export function tree(pid) {
  const childrenOf = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
      const parent = Number(fields[1]);
      childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(name)]);
    } catch {
      // it ended while we were looking
    }
  }
  const found = [pid];
  for (const parent of found) found.push(...(childrenOf.get(parent) ?? []));
  return found;
}

export function signal(pid, name) {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}

/** Sends a signal to a process and everything below it. */
export function signalTree(pid, name) {
  for (const each of tree(pid)) signal(each, name);
}

export function killTree(pid) {
  signalTree(pid, 'SIGKILL');
}

/** A field of /proc/<pid>/status in bytes, such as VmRSS or VmHWM. */
export function memoryOf(pid, field = 'VmRSS') {
  const line = readFileSync(`/proc/${pid}/status`, 'utf8').match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'));
  return Number(line[1]) * 1024;
}
