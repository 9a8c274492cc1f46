// Prints the table of the README from what the last run of the tests measured.

import { latencyTable, readLatencies } from './latency.mjs';

const rows = readLatencies();
if (rows.length === 0) {
  console.error('nothing measured yet: run `npm test` first');
  process.exit(1);
}
console.log(latencyTable(rows));
