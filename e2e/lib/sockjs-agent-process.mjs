// The process of a SockJS agent: one client over one transport.

import { BlindClient, blindTransports } from './blind-client.mjs';
import { answerCalls, say } from './calls.mjs';
import { SockJSClient } from './sockjs-client.mjs';

let client;

answerCalls({
  async connect(url, transport, options) {
    if (transport in blindTransports) {
      client = await BlindClient.connect(url, transport, () => {}, options ?? {});
      return { session: client.session, key: client.key, transport };
    }
    client = await SockJSClient.connect(url, transport, options);
    client.closes.waitFor('close', () => true, { timeout: 2 ** 31 - 1 }).then((close) => say({ event: 'close', ...close }));
    return { session: client.session, key: client.key, transport: client.transport };
  },
  register: (clientData) => client.register(clientData),
  disconnect: () => client.disconnect(),
  close: () => client.close(),
});
