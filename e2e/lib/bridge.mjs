// For clients that speak STOMP over TCP alone: every connection to a local port becomes a WebSocket, byte for byte.

import { once } from 'node:events';
import { createServer } from 'node:net';
import WebSocket from 'ws';

/** Resolves to { port, closes, close }; closes holds the codes with which the server closed. */
export async function bridge(url, { protocols = [] } = {}) {
  const closes = [];
  const open = new Set();
  const server = createServer((socket) => {
    const webSocket = new WebSocket(url, protocols, { perMessageDeflate: false });
    open.add(webSocket);
    const waiting = [];
    // TCP cuts anywhere, in the middle of a character too: only binary messages can carry that
    socket.on('data', (data) => (webSocket.readyState === WebSocket.OPEN ? webSocket.send(data) : waiting.push(data)));
    socket.on('end', () => webSocket.close());
    socket.on('error', () => webSocket.terminate());
    webSocket.on('open', () => waiting.splice(0).forEach((data) => webSocket.send(data)));
    webSocket.on('message', (data) => socket.write(data));
    webSocket.on('error', () => socket.destroy());
    webSocket.on('close', (code) => {
      open.delete(webSocket);
      closes.push(code);
      socket.end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: server.address().port,
    closes,
    close() {
      for (const webSocket of open) webSocket.terminate();
      server.close();
    },
  };
}
