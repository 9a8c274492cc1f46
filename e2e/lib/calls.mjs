// The child's end of agent.mjs: calls come as JSON lines on stdin, answers and events go out as JSON lines on stdout.

import { createInterface } from 'node:readline';

export const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');

/** Answers calls of the methods until stdin ends, which is when the parent is gone. */
export function answerCalls(methods) {
  createInterface({ input: process.stdin })
    .on('line', async (line) => {
      const { id, method, args } = JSON.parse(line);
      try {
        say({ id, result: (await methods[method](...args)) ?? null });
      } catch (error) {
        say({ id, error: error.message });
      }
    })
    .on('close', () => process.exit(0));
}
