// The process of webhook-application.mjs: the table of the example, of which signatures are checked by the library of
// Standard Webhooks; and a journal of everything that was delivered, in the order of its arrival.

import { fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';
import { Presence, receiver } from '../../examples/webhook-receiver/receiver.mjs';

const { JOURNAL, PORT, WEBHOOK_SECRET } = process.env;
const webhook = new Webhook(WEBHOOK_SECRET);
const deliveries = openSync(`${JOURNAL}.deliveries`, 'a');
// without what was being written when the process was killed, and so was not answered
ftruncateSync(deliveries, readFileSync(`${JOURNAL}.deliveries`).lastIndexOf('\n') + 1);
let webhookId; // of the request whose events are taken

class Witnessed extends Presence {
  take(events) {
    const line = Buffer.from(JSON.stringify({ webhookId, events }) + '\n');
    for (let at = 0; at < line.length; ) at += writeSync(deliveries, line, at);
    fsyncSync(deliveries);
    super.take(events);
  }
}

receiver({
  presence: new Witnessed(JOURNAL),
  check(headers, body) {
    webhook.verify(body.toString(), headers);
    webhookId = headers['webhook-id'];
  },
}).listen(Number(PORT), '127.0.0.1', () => console.log('listening'));
