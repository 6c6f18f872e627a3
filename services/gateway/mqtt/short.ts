// What a packet says before aedes reads it: short filters of UNSUBSCRIBE are spelt out, because no hook asks about them, and repeated
// filters of one SUBSCRIBE are left as they are, so that each has its return code [MQTT-3.8.4-5].
import type { EventEmitter } from 'node:events'
import type { Client } from 'aedes'
import { mounted } from './topic.ts'

type Packet = { readonly cmd: string; readonly unsubscriptions?: readonly string[]; readonly subscriptions?: readonly object[] }

/** `project`: of the client by the time the packet is handled, which may be after its login. */
export function rewrite(client: Client, project: (client: Client) => string): void {
  const { _parser: parser } = client as Client & { readonly _parser: EventEmitter }
  parser.prependListener('packet', (packet: Packet) => {
    const { cmd, unsubscriptions = [], subscriptions = [] } = packet
    if (cmd === 'unsubscribe')
      Object.defineProperty(packet, 'unsubscriptions', { get: () => unsubscriptions.map(filter => mounted(filter, project(client))) })
    // aedes puts a list without repeats in its place.
    if (cmd === 'subscribe') Object.defineProperty(packet, 'subscriptions', { get: () => subscriptions, set: () => {} })
  })
}
