// One session that outlives its connections (clean session 0), while a client is connected to it: its filters, and under which packet ids
// something is on its way in either direction. Everything said here is in Redis too.
import type { Redis } from 'ioredis'
import { decodeMessage, type Message, type Qos } from './message.ts'
import { PREFIX, type Scripts } from './script.ts'

/** A filter that was granted; `short`: as the client wrote it, without a project. */
export type Grant = { readonly qos: Qos; readonly short: boolean }

/** What waits: a message, or the PUBREL that stands for one. */
export type Waiting = {
  readonly id: string
  /** Absent: received by the client, which waits for PUBREL. */
  readonly message: Message | undefined
  /** It was sent before, under this packet id. */
  readonly packetId: number | undefined
}

export type Restored = {
  readonly existed: boolean
  readonly filters: ReadonlyMap<string, Grant>
  readonly sent: ReadonlyMap<number, string>
  readonly got: readonly number[]
}

const PAGE = 100
const MAX_EARLY = 1000
const MAX_PACKET_ID = 65_535

export class Lasting {
  readonly id: string
  readonly existed: boolean
  readonly restored: ReadonlyMap<string, Grant>
  /** What waited is sent; before that a message from elsewhere would overtake it [MQTT-4.6.0-6]. */
  isCurrent = false
  /** Something came meanwhile, and waits. */
  isBehind = false
  readonly #redis: Redis & Scripts
  readonly #sent: Map<number, string>
  readonly #sentIds: Map<string, number>
  readonly #got: Set<number>
  /** Under way, and nowhere but here: what is on a stream is had another time. */
  readonly #passing = new Map<number, string>()
  /** Sent from what waited; they may still come by the other way. */
  readonly #early = new Set<string>()
  /** Up to where what waits was read. */
  #place = '0'

  constructor(redis: Redis & Scripts, id: string, { existed, filters, sent, got }: Restored) {
    this.#redis = redis
    this.id = id
    this.existed = existed
    this.restored = filters
    this.#sent = new Map(sent)
    this.#sentIds = new Map([...sent].map(([packetId, message]) => [message, packetId]))
    this.#got = new Set(got)
  }

  /** @returns whether a message under this packet id came before and waits for its PUBREL [MQTT-4.3.3-2]. */
  comesAgain(packetId: number): boolean {
    if (this.#got.has(packetId)) return true
    this.#got.add(packetId)
    return false
  }

  async released(packetId: number): Promise<void> {
    await this.#redis.hdel(`${PREFIX}got:${this.id}`, String(packetId))
    this.#got.delete(packetId)
  }

  /** The wanted packet id, or the next that nothing is under way with [MQTT-2.3.1-2]. */
  freePacketId(wanted: number): number {
    let packetId = wanted
    while (this.#sent.has(packetId) || this.#passing.has(packetId)) packetId = (packetId % MAX_PACKET_ID) + 1
    return packetId
  }

  packetIdOf(message: string): number | undefined {
    return this.#sentIds.get(message)
  }

  async sentAs(packetId: number, message: string): Promise<void> {
    this.#sent.set(packetId, message)
    this.#sentIds.set(message, packetId)
    await this.#run('mqttSent', packetId, message)
  }

  passes(packetId: number, topic: string): void {
    this.#passing.set(packetId, topic)
  }

  /** PUBREC. */
  async received(packetId: number): Promise<void> {
    const message = this.#sent.get(packetId)
    if (message !== undefined) await this.#run('mqttReceived', packetId, message)
  }

  /** PUBACK, PUBCOMP, or nobody wants it any more. @returns the topic of what passed, and was not waiting. */
  async done(packetId: number): Promise<string | undefined> {
    const topic = this.#passing.get(packetId)
    if (this.#passing.delete(packetId)) return topic
    const message = this.#sent.get(packetId)
    if (message === undefined) return undefined
    await this.#run('mqttDone', packetId, message)
    this.#sent.delete(packetId)
    this.#sentIds.delete(message)
    return undefined
  }

  /** It is sent from what waits. */
  early(message: string): void {
    this.#early.add(message)
    if (this.#early.size > MAX_EARLY) this.#early.delete(this.#early.values().next().value as string)
  }

  wasEarly(message: string): boolean {
    return this.#early.delete(message)
  }

  /** It is not for this session any more. */
  async discard(message: string): Promise<void> {
    const packetId = this.#sentIds.get(message)
    await this.#redis.mqttDone(1, PREFIX, this.id, packetId ?? '', message)
    if (packetId !== undefined) this.#sent.delete(packetId)
    this.#sentIds.delete(message)
  }

  /** Something may wait that nobody told of. */
  rewind(): void {
    this.#place = '0'
  }

  /** What waits and was not read yet, in the order in which it came. */
  async *waiting(): AsyncGenerator<Waiting> {
    for (;;) {
      const rows = await this.#redis.mqttWaitingBuffer(1, PREFIX, this.id, this.#place, PAGE)
      if (rows.length === 0) return
      for (let at = 0; at < rows.length; at += 3) {
        const [place, name, bytes] = rows.slice(at, at + 3) as [Buffer, Buffer, Buffer | null]
        this.#place = place.toString()
        const id = name.toString()
        if (bytes) yield { id, message: bytes.length > 0 ? decodeMessage(bytes) : undefined, packetId: this.#sentIds.get(id) }
      }
    }
  }

  async #run(script: 'mqttSent' | 'mqttReceived' | 'mqttDone', packetId: number, message: string): Promise<void> {
    await this.#redis[script](1, PREFIX, this.id, packetId, message)
  }
}
