// The pages and scripts that a browser is served by the Caddy under test: no build step, the bundles of the packages as they are.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const modules = fileURLToPath(new URL('../node_modules/', import.meta.url));
const sources = fileURLToPath(new URL('../pages/', import.meta.url));

/** Puts the pages and the clients' bundles into a directory of their own. */
export function writePages(extra = {}) {
  const path = mkdtempSync(join(tmpdir(), 'pages-e2e-'));
  cpSync(sources, path, { recursive: true });
  for (const bundle of ['sockjs-client/dist/sockjs.js', '@stomp/stompjs/bundles/stomp.umd.js', 'webstomp-client/dist/webstomp.js']) {
    cpSync(join(modules, bundle), join(path, bundle.split('/').at(-1)));
  }
  for (const [name, text] of Object.entries(extra)) writeFileSync(join(path, name), text);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** The directives that serve them. */
export const pagesSite = (pages) => `root * ${pages.path}
	file_server`;
