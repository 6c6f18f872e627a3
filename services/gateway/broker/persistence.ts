// What aedes asks of its persistence. Most of it has been done when it asks: messages are queued and retained before they are
// acknowledged, subscriptions are stored when they are granted, a session that is not gone on with is forgotten before.
import { Readable } from 'node:stream'
import type { Marks } from './bus.ts'
import type { Lasting } from './lasting.ts'
import type { Message, Qos } from './message.ts'
import type { Retained } from './retained.ts'
import type { Sessions } from './sessions.ts'

type Named = { readonly id: string }

type Outgoing = {
  readonly cmd: string
  readonly topic?: string
  readonly qos?: Qos
  messageId?: number
  readonly properties?: { readonly id?: string }
}

export type PersistencePorts = {
  readonly sessions: Sessions
  readonly retained: Retained
  /** By the connection itself: a session may have been taken over. */
  lastingOf(client: object): Lasting | undefined
  /** By name, for a client that is about to be connected. */
  opened(id: string): Lasting | undefined
  /** Of what a session that ends with its connection has acknowledged, if somebody asks for it. */
  takeTopic(client: object, packetId: number): string | undefined
  /** Who retained it may still publish there (hazard 9). */
  mayStay(message: Message): Promise<boolean>
  /** A publish with QoS 2 that came before. */
  isRepeat(packet: object): boolean
  /** PUBREL of a message that came with QoS 2. */
  released(client: object, packetId: number): Promise<void>
  /** Called when retained messages are asked for. `failed` is told when they cannot be had; `room` resolves when one more may be sent. */
  asking(): { failed(error: Error): void; room(): Promise<void> }
}

/** Restored for a session without subscriptions: aedes takes it for absent otherwise [MQTT-3.2.2-2]. It is granted to nobody. */
export const NO_FILTER = '$telltale/session'

export class Persistence {
  readonly #ports: PersistencePorts

  constructor(ports: PersistencePorts) {
    this.#ports = ports
  }

  async setup(): Promise<void> {}

  async storeRetained(): Promise<void> {}

  /** Distinct, whatever the filters have in common [MQTT-3.3.1-6]. Never fails: aedes listens to no error of it, which would end the process. */
  createRetainedStreamCombi(filters: readonly string[]): Readable {
    const { retained, mayStay, asking } = this.#ports
    const { failed, room } = asking()
    async function* found() {
      try {
        for await (const message of retained.match(filters)) {
          if (!(await mayStay(message))) continue
          await room()
          yield { ...message, cmd: 'publish' }
        }
      } catch (error) {
        failed(error as Error)
      }
    }
    return Readable.from(found())
  }

  createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter])
  }

  async addSubscriptions(): Promise<void> {}

  async removeSubscriptions({ id }: Named, filters: readonly string[]): Promise<void> {
    await this.#ports.sessions.subscribe(
      id,
      filters.map(filter => [filter, undefined]),
    )
  }

  async subscriptionsByClient({ id }: Named): Promise<object[]> {
    const lasting = this.#ports.opened(id)
    if (!lasting?.existed) return []
    const filters = [...lasting.restored].map(([topic, { qos, short }]) => ({ topic, qos, short, restored: true }))
    return filters.length > 0 ? filters : [{ topic: NO_FILTER, qos: 0, restored: true }]
  }

  async subscriptionsByTopic(): Promise<never[]> {
    return []
  }

  async cleanSubscriptions(): Promise<void> {}

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    return { subsCount: 0, clientsCount: 0 }
  }

  async outgoingEnqueue(): Promise<void> {}

  async outgoingEnqueueCombi(): Promise<void> {}

  /** A message is about to be sent, and may be given another packet id here; or PUBREL follows its PUBREC. */
  async outgoingUpdate(client: Named, packet: Outgoing): Promise<void> {
    const lasting = this.#ports.lastingOf(client)
    if (!lasting || packet.messageId === undefined) return
    if (packet.cmd === 'pubrel') return lasting.acceptedBy(packet.messageId)
    if (packet.qos === 0) return
    const id = packet.properties?.id
    const known = id === undefined ? undefined : lasting.packetIdOf(id)
    packet.messageId = known ?? lasting.freePacketId(packet.messageId)
    if (id === undefined) lasting.passes(packet.messageId, packet.topic ?? '')
    else if (known === undefined) await lasting.sentAs(packet.messageId, id, packet.qos)
  }

  /** Of PUBACK and PUBCOMP. aedes asks also for what it does not send again after all, and stands still when it is told of more than a few of those. */
  async outgoingClearMessageId(client: Named, { cmd, messageId }: Outgoing): Promise<{ topic: string } | undefined> {
    const lasting = this.#ports.lastingOf(client)
    if (messageId === undefined || cmd === 'publish') return undefined
    return { topic: (lasting ? await lasting.done(messageId) : this.#ports.takeTopic(client, messageId)) ?? '' }
  }

  /** What was sent before, when the client comes back: under its old packet id and as a repeat [MQTT-4.4.0-1]. The rest follows (forward.ts). */
  outgoingStream(client: Named): Readable {
    const lasting = this.#ports.lastingOf(client)
    async function* packets() {
      if (!lasting) return
      for (const messageId of lasting.received) yield { cmd: 'pubrel', messageId }
      for await (const { id, message, packetId, sentQos } of lasting.sentBefore())
        yield { ...message, ...waitingPacket(id, sentQos), dup: true, messageId: packetId }
    }
    return Readable.from(packets(), { highWaterMark: 1 })
  }

  async incomingStorePacket(): Promise<void> {}

  async incomingGetPacket(_client: Named, packet: { readonly cmd: string }): Promise<object> {
    if (packet.cmd === 'pubrel' || this.#ports.isRepeat(packet)) return packet
    throw new Error('no such packet')
  }

  async incomingDelPacket(client: Named, { messageId }: { readonly messageId: number }): Promise<void> {
    await this.#ports.released(client, messageId)
  }

  async cleanIncoming(): Promise<void> {}

  /** aedes is told of no will: whoever looks after the connections publishes them. */
  async putWill(): Promise<void> {}

  async getWill(): Promise<undefined> {}

  async delWill(): Promise<void> {}

  streamWill(): Readable {
    return Readable.from([])
  }

  async destroy(): Promise<void> {}
}

/** What marks a packet as read from what waits; `sentQos`: with which it was sent before. */
export function waitingPacket(id: string, sentQos?: Qos): { cmd: 'publish'; properties: Marks } {
  return { cmd: 'publish', properties: { id, queued: true, ...(sentQos === undefined ? {} : { sentQos }) } }
}
