// HTTP requests that each have a connection of their own: one that was kept alive may be closed by a reload while it is used.

import { request } from 'node:http';
import { within } from './wait.mjs';

/** Resolves to {ok, status, text}, whatever the status. */
export function send(url, { method = 'GET', headers = {}, body, timeout = 30_000 } = {}) {
  const answered = new Promise((resolve, reject) => {
    request(url, { method, agent: false, headers: { connection: 'close', ...headers } }, async (response) => {
      let text = '';
      for await (const chunk of response.setEncoding('utf8')) text += chunk;
      resolve({ ok: response.statusCode >= 200 && response.statusCode < 300, status: response.statusCode, text });
    })
      .on('error', reject)
      .end(body);
  });
  return within(url, timeout, answered);
}
