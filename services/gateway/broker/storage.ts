// What the broker keeps in Redis, for all gateways: sessions and what waits for them, retained messages; and the way to the other
// gateways. A message is kept before it is acknowledged, so that nothing acknowledged is lost with the process.
import type { Redis } from 'ioredis'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { ingestPlace } from '../mqtt/topic.ts'
import { Bus, type Marks } from './bus.ts'
import { Fresh } from './fresh.ts'
import type { Lasting } from './lasting.ts'
import type { Author, Message, Qos } from './message.ts'
import { projectOf, Retained } from './retained.ts'
import { type From, type SessionLimits, Sessions } from './sessions.ts'
import { Stuck } from './stuck.ts'
import { Unsettled } from './unsettled.ts'

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

type Parts = Pick<Storage, 'bus' | 'sessions' | 'retained'> & { readonly fresh: Fresh; readonly stuck: Stuck }

export class Storage {
  readonly bus: Bus
  readonly sessions: Sessions
  readonly retained: Retained
  readonly #newId: () => string
  readonly #subscriber: Redis
  readonly #fresh: Fresh
  readonly #stuck: Stuck
  readonly #unsettled = new Unsettled()

  private constructor(ports: StoragePorts, { bus, sessions, retained, fresh, stuck }: Parts) {
    this.bus = bus
    this.sessions = sessions
    this.retained = retained
    this.#newId = ports.newId
    this.#subscriber = ports.subscriber
    this.#fresh = fresh
    this.#stuck = stuck
  }

  /** `behind`: more waits for a connected session than is on its way to it. */
  static async open(ports: StoragePorts, behind: (lasting: Lasting) => void, limits: Partial<SessionLimits> = {}): Promise<Storage> {
    const { redis, log, node, subscriber, dropped, forgotten = () => {}, nowMs = Date.now } = ports
    const sessions = new Sessions({ redis, log, dropped, forgotten, nowMs }, limits)
    const retained = new Retained(redis, log)
    const fresh = new Fresh(() => sessions.read(), log)
    const stuck = new Stuck({ sessions, log, behind })
    const missed = () => stuck.now()
    const reconnected = () => {
      retained.forget()
      void fresh.again(missed)
    }
    const heard = (message: Buffer) => (message[0] === RETAINED ? retained.heard(message) : sessions.heard(message))
    const bus = await Bus.open({ redis, subscriber, node, log, heard, reconnected, missed })
    subscriber.on('close', () => fresh.lost())
    await sessions.renew()
    await sessions.read()
    return new Storage(ports, { bus, sessions, retained, fresh, stuck })
  }

  /** Whether anybody, connected to any gateway or away, wants what is published there; those who subscribed elsewhere are known in a moment. */
  hasSubscribers(topic: string): boolean {
    return this.bus.has(topic) || this.sessions.has(topic)
  }

  /**
   * On disk when it resolves: for the sessions that wait for its topic, and as retained. Undefined: there is nothing to keep. Resolves
   * with false for a message with QoS 2 that came before; `from` says by which session and packet id.
   */
  keep(packet: Kept, author: Author, from?: From): Promise<boolean> | undefined {
    const { qos, topic } = packet
    const isUnsure = this.#fresh.isStale && qos > 0 && topic.startsWith('projects/') && !ingestPlace(topic, '')
    const waits = isUnsure || (qos > 0 && this.sessions.has(topic))
    if (!waits && !packet.retain && !from) return undefined
    return isUnsure ? this.#fresh.wait().then(() => this.#keep(packet, author, from)) : this.#keep(packet, author, from)
  }

  /** Whether it came with QoS 2 before, and was passed on to nobody: `keep` it as if it were new. */
  isUnsettled(packet: Pick<Kept, 'payload'>, from: From): boolean {
    return this.#unsettled.idOf(from, packet) !== undefined
  }

  async #keep(packet: Kept, author: Author, from?: From): Promise<boolean> {
    const before = from && this.#unsettled.idOf(from, packet)
    const id = before ?? this.#newId()
    // aedes hands them on with the message.
    Object.assign(packet, { properties: { id } satisfies Marks })
    try {
      const queued = await this.#store(packet, id, author, from)
      if (queued !== undefined && queued !== id) Object.assign(packet, { properties: { id: queued } satisfies Marks })
      if (from) this.#unsettled.delete(from, packet)
      return queued !== undefined || before !== undefined
    } catch (error) {
      if (from) this.#unsettled.add(from, packet, id)
      throw error
    }
  }

  /**
   * Both are asked for at once: what the same client publishes next must not be queued before. When only one is done its sender is told of
   * the failure and sends again, and what stands queued is sent when it is found stuck: twice rather than not at all.
   */
  async #store({ topic, qos, payload: given, retain }: Kept, id: string, author: Author, from?: From): Promise<string | undefined> {
    const payload = Buffer.isBuffer(given) ? given : Buffer.from(given)
    const message = { id, topic, qos, payload }
    const project = projectOf(topic)
    const stored = retain && project !== undefined ? this.retained.store(project, { ...message, author }) : undefined
    const [queued] = await Promise.all([this.sessions.queue(message, from), stored])
    return queued
  }

  /** What Telltale itself says; on disk for the sessions that wait for it when this resolves. @returns whether nothing later was said. */
  async queue(message: Message): Promise<boolean> {
    await this.#fresh.wait()
    return (await this.sessions.queue(message)) !== undefined
  }

  /** A session subscribed: what other gateways took before they knew is queued for it and not sent here. */
  subscribed(lasting: Lasting): void {
    if (this.bus.hasOthers) this.#stuck.of(lasting)
  }

  async stop(): Promise<void> {
    this.#fresh.stop()
    await this.#stuck.stop()
    await this.sessions.stop()
    this.#subscriber.disconnect()
  }
}
