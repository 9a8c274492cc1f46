// The process of agent.mjs: one STOMP client.

import { answerCalls, say } from './calls.mjs';
import { StompClient } from './stomp-client.mjs';
import { now } from './wait.mjs';

let client;

answerCalls({
  async connect(url, options) {
    client = await StompClient.open(url, options);
    client.tap = (frame) => {
      say({ event: 'frame', ...frame });
      return false;
    };
    client.ws.on('ping', () => say({ event: 'ping', at: now() }));
    client.closed.then((close) => say({ event: 'close', ...close }));
    await client.connect(options?.connect, options);
    return { session: client.session, headers: client.connected };
  },
  subscribe: (destination) => client.subscribe(destination),
  register: (destination, clientData) => client.register(destination, clientData),
  send: (destination, body) => client.send(destination, body),
});
