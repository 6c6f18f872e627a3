// What the broker keeps in Redis, for all gateways: sessions and what waits for them, retained messages; and the way to the other
// gateways. A message is kept before it is acknowledged, so that nothing acknowledged is lost with the process.
import type { Redis } from 'ioredis'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { Bus, type Marks } from './bus.ts'
import type { Author, Qos } from './message.ts'
import { projectOf, Retained } from './retained.ts'
import { type SessionLimits, Sessions } from './sessions.ts'

export type StoragePorts = {
  /** Fails at once while Redis is away. */
  readonly redis: Redis
  /** A connection of its own, for SUBSCRIBE. */
  readonly subscriber: Redis
  /** As the other gateways know this one. */
  readonly node: string
  readonly log: Logger
  newId(): string
  /** Told of each message that waited and was dropped. */
  dropped(): void
  /** A session of this id is no more; there may be another one. */
  forgotten?(id: string): void
  nowMs?(): number
}

/** As it is about to be published, its topic in the long form. */
export type Kept = {
  readonly topic: string
  readonly payload: Buffer | string
  readonly qos: Qos
  readonly retain: boolean
}

const RETAINED = 0x52

export class Storage {
  readonly bus: Bus
  readonly sessions: Sessions
  readonly retained: Retained
  readonly #newId: () => string
  readonly #subscriber: Redis

  private constructor(ports: StoragePorts, bus: Bus, sessions: Sessions, retained: Retained) {
    this.bus = bus
    this.sessions = sessions
    this.retained = retained
    this.#newId = ports.newId
    this.#subscriber = ports.subscriber
  }

  /** `lost`: a gateway is gone, and with it what it did not pass on. */
  static async open(ports: StoragePorts, lost: () => void, limits: Partial<SessionLimits> = {}): Promise<Storage> {
    const { redis, log, node, subscriber, dropped, forgotten = () => {}, nowMs = Date.now } = ports
    const sessions = new Sessions({ redis, log, dropped, forgotten, nowMs }, limits)
    const retained = new Retained(redis, log)
    const again = () => {
      retained.forget()
      sessions.read().catch((error: Error) => log.warn({ reason: error.message }, 'mqtt sessions not read'))
    }
    const heard = (message: Buffer) => (message[0] === RETAINED ? retained.heard(message) : sessions.heard(message))
    const bus = await Bus.open({ redis, subscriber, node, log, heard, reconnected: again, lost })
    await sessions.read()
    return new Storage(ports, bus, sessions, retained)
  }

  /** Whether anybody, connected to any gateway or away, wants what is published there; those who subscribed elsewhere are known in a moment. */
  hasSubscribers(topic: string): boolean {
    return this.bus.has(topic) || this.sessions.has(topic)
  }

  /**
   * On disk when it resolves: for the sessions that wait for its topic, and as retained. Undefined: there is nothing to keep. Resolves
   * with false for a message with QoS 2 that came before; `from` says by which session and packet id.
   */
  keep(packet: Kept, author: Author, from?: { readonly id: string; readonly packetId: number }): Promise<boolean> | undefined {
    const waits = packet.qos > 0 && this.sessions.has(packet.topic)
    if (!waits && !packet.retain && !from) return undefined
    return this.#keep(packet, author, from)
  }

  async #keep(packet: Kept, author: Author, from?: { readonly id: string; readonly packetId: number }): Promise<boolean> {
    const id = this.#newId()
    // aedes hands them on with the message.
    const properties: Marks = { id }
    Object.assign(packet, { properties })
    const payload = Buffer.isBuffer(packet.payload) ? packet.payload : Buffer.from(packet.payload)
    const message = { id, topic: packet.topic, qos: packet.qos, payload }
    const project = projectOf(packet.topic)
    if (packet.retain && project !== undefined) await this.retained.store(project, { ...message, author })
    return this.sessions.queue(message, from)
  }

  async stop(): Promise<void> {
    await this.sessions.stop()
    this.#subscriber.disconnect()
  }
}
