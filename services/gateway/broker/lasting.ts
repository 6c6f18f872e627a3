// One session that outlives its connections (clean session 0), while a client is connected to it: its filters, and under which packet ids
// something is on its way in either direction. Everything said here is in Redis too.
import type { Redis } from 'ioredis'
import { decodeMessage, type Message, type Qos } from './message.ts'
import type { Step } from './queue.ts'
import { PREFIX, type Scripts } from './script.ts'

/** A filter that was granted; `short`: as the client wrote it, without a project. */
export type Grant = { readonly qos: Qos; readonly short: boolean }

export type Waiting = {
  readonly id: string
  readonly message: Message
  /** It was sent before, under this packet id and with this QoS. */
  readonly packetId: number | undefined
  readonly sentQos: Qos | undefined
}

export type Restored = {
  readonly existed: boolean
  readonly filters: ReadonlyMap<string, Grant>
  /** Messages, each with its packet id, and IS_QOS_2 more where it was sent with that. */
  readonly sent: readonly (readonly [message: string, packetId: number])[]
  /** In the order of their PUBREC. */
  readonly received: readonly number[]
  readonly got: readonly number[]
}

/** Says to Redis what became of a message; in the order in which it is called. */
export type Tell = (step: Step, id: string, packetId: number, message: string) => Promise<void>

const PAGE = 100
const MAX_EARLY = 1000
export const MAX_PACKET_ID = 65_535
const IS_QOS_2 = MAX_PACKET_ID + 1
/** Topic of what passes and is retained. */
const RETAINED = ''
/** Messages that are sent and not acknowledged; what comes then waits in Redis. */
const WINDOW = 1000
/** Also with what passes by the queue: nobody has so much under way who reads. */
const MAX_OPEN = 10_000
/** Published with QoS 2, and without PUBREL. */
const MAX_GOT = 1000

export class Lasting {
  readonly id: string
  readonly existed: boolean
  readonly restored: ReadonlyMap<string, Grant>
  /** What waited is sent; before that a message from elsewhere would overtake it [MQTT-4.6.0-6]. */
  isCurrent = false
  /** Something came meanwhile, and waits. */
  isBehind = false
  /** What waits is being read and sent. */
  isReading = false
  readonly #redis: Redis & Scripts
  readonly #tell: Tell
  readonly #sent: Map<number, string>
  readonly #sentIds: Map<string, number>
  /** Of what was sent before this connection. */
  readonly #restoredQos: ReadonlyMap<string, Qos>
  /** Received by the client, which waits for PUBREL or has it, in the order of their PUBREC. */
  readonly #received: Set<number>
  readonly #got: Set<number>
  /** Under way, and nowhere but here: what is on a stream is had another time. */
  readonly #passing = new Map<number, string>()
  /** Forwarded as they came, and without a packet id for a moment. */
  readonly #leaving = new Set<string>()
  /** Sent from what waited; they may still come by the other way. */
  readonly #early = new Set<string>()
  /** Up to where what waits was read. */
  #place = '0'
  /** Sent before this connection, and not found among what waits yet. */
  readonly #unseen: Set<string>
  #room: (() => void) | undefined
  /** Retained messages on their way. */
  #retained = 0
  readonly #retainedRoom: (() => void)[] = []

  constructor(redis: Redis & Scripts, tell: Tell, id: string, { existed, filters, sent, received, got }: Restored) {
    this.#redis = redis
    this.#tell = tell
    this.id = id
    this.existed = existed
    this.restored = filters
    const all = sent.map(([message, value]) => [message, value % IS_QOS_2, value < IS_QOS_2 ? 1 : 2] as const)
    this.#sent = new Map(all.map(([message, packetId]) => [packetId, message]))
    this.#sentIds = new Map(all.map(([message, packetId]) => [message, packetId]))
    this.#restoredQos = new Map(all.map(([message, , qos]) => [message, qos]))
    this.#unseen = new Set(this.#sentIds.keys())
    this.#received = new Set(received)
    this.#got = new Set(got)
  }

  /** Messages that wait in Redis until they are acknowledged, and are on their way. */
  get sentCount(): number {
    return this.#sentIds.size + this.#leaving.size
  }

  /** The oldest of those that wait, as far as they are not on their way. */
  async unsent(): Promise<string[]> {
    const oldest = await this.#redis.zrange(`${PREFIX}queue:${this.id}`, 0, String(this.sentCount + PAGE))
    return oldest.filter(id => !this.#sentIds.has(id) && !this.#leaving.has(id))
  }

  /** It has as much to acknowledge as it may have. */
  get isFull(): boolean {
    return this.#unacknowledged + this.#leaving.size >= WINDOW
  }

  get #unacknowledged(): number {
    return this.#sentIds.size + this.#received.size
  }

  /** Packet ids to send PUBREL for [MQTT-4.4.0-1], in the order of their PUBREC [MQTT-4.6.0-4]. */
  get received(): readonly number[] {
    return [...this.#received]
  }

  /** Resolves when a good part of it is acknowledged; never, when it is not. */
  room(): Promise<void> {
    return new Promise(resolve => {
      this.#room = resolve
    })
  }

  /** @returns whether a message under this packet id came before and waits for its PUBREL [MQTT-4.3.3-2]. */
  comesAgain(packetId: number): boolean {
    if (this.#got.has(packetId)) return true
    this.#got.add(packetId)
    return false
  }

  /** Whether it has published as much with QoS 2 as it may before it sends PUBREL, in this connection and in those before. */
  holdsTooMany(packetId: number): boolean {
    return this.#got.size >= MAX_GOT && !this.#got.has(packetId)
  }

  async released(packetId: number): Promise<void> {
    await this.#tell('released', this.id, packetId, '')
    this.#got.delete(packetId)
  }

  /** The wanted packet id, or the next that nothing is under way with [MQTT-2.3.1-2]. @throws when there are too many. */
  freePacketId(wanted: number): number {
    if (this.#unacknowledged + this.#passing.size >= MAX_OPEN) throw new Error(`more than ${MAX_OPEN} messages are not acknowledged`)
    let packetId = wanted
    while (this.#isOpen(packetId)) packetId = (packetId % MAX_PACKET_ID) + 1
    return packetId
  }

  #isOpen(packetId: number): boolean {
    return this.#sent.has(packetId) || this.#received.has(packetId) || this.#passing.has(packetId)
  }

  packetIdOf(message: string): number | undefined {
    return this.#sentIds.get(message)
  }

  leaves(message: string): void {
    this.#leaving.add(message)
  }

  async sentAs(packetId: number, message: string, qos: Qos = 1): Promise<void> {
    this.#leaving.delete(message)
    this.#sent.set(packetId, message)
    this.#sentIds.set(message, packetId)
    await this.#tell('sent', this.id, packetId + (qos === 2 ? IS_QOS_2 : 0), message)
  }

  passes(packetId: number, topic: string): void {
    this.#passing.set(packetId, topic)
  }

  /** A retained message does, which is had by the next SUBSCRIBE; `next` is the packet id that is wanted. @returns the one it has. */
  passesRetained(next: number): number {
    const packetId = this.freePacketId(next)
    this.#passing.set(packetId, RETAINED)
    this.#retained++
    return packetId
  }

  /** Resolves when not so many retained messages are on their way; never, when nothing is acknowledged. */
  async retainedRoom(): Promise<void> {
    while (this.#retained >= WINDOW) await new Promise<void>(resolve => this.#retainedRoom.push(resolve))
  }

  #passed(topic: string): void {
    if (topic !== RETAINED || --this.#retained > WINDOW / 2) return
    for (const resolve of this.#retainedRoom.splice(0)) resolve()
  }

  /** PUBREC. */
  async acceptedBy(packetId: number): Promise<void> {
    const message = this.#sent.get(packetId)
    if (message === undefined) return
    await this.#tell('received', this.id, packetId, message)
    this.#received.add(packetId)
    this.#forget(packetId, message)
  }

  /** PUBACK, PUBCOMP, or nobody wants it any more. @returns the topic of what passed, and was not waiting. */
  async done(packetId: number): Promise<string | undefined> {
    const topic = this.#passing.get(packetId)
    if (topic !== undefined) {
      this.#passing.delete(packetId)
      this.#passed(topic)
      return topic
    }
    const message = this.#sent.get(packetId)
    if (message !== undefined) {
      await this.#tell('done', this.id, packetId, message)
      this.#forget(packetId, message)
    } else if (this.#received.has(packetId)) {
      await this.#tell('completed', this.id, packetId, '')
      this.#received.delete(packetId)
      this.#tellRoom()
    }
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
    await this.#tell('done', this.id, packetId ?? 0, message)
    this.#forget(packetId, message)
  }

  #forget(packetId: number | undefined, message: string): void {
    if (packetId !== undefined) this.#sent.delete(packetId)
    this.#sentIds.delete(message)
    this.#tellRoom()
  }

  #tellRoom(): void {
    if (!this.#room || this.#unacknowledged > WINDOW / 2) return
    this.#room()
    this.#room = undefined
  }

  /** What waited is sent, and nobody reads it any more: what comes from now on is sent as it comes, or begins another reading. */
  caughtUp(): void {
    this.isCurrent = true
    this.isReading = false
  }

  /** Something may wait that nobody told of. */
  rewind(): void {
    this.#place = '0'
  }

  /** What was sent before this connection, in the order in which it was [MQTT-4.6.0-1]. */
  async *sentBefore(): AsyncGenerator<Waiting> {
    for (let at = '0'; this.#unseen.size > 0; ) {
      const rows = await this.#page(at)
      if (rows.length === 0) return this.#dropUnseen()
      for (const { place, waiting } of rows) {
        at = place
        if (waiting?.packetId !== undefined) yield waiting
      }
    }
  }

  /** What waits and was not read yet, in the order in which it came: all, or as far as there is room for what was not sent yet. */
  async *waiting(): AsyncGenerator<Waiting> {
    for (;;) {
      let at = this.#place
      const rows = await this.#page(at)
      if (rows.length === 0) return this.#dropUnseen()
      for (const { place, waiting } of rows) {
        // Rewound meanwhile.
        if (this.#place !== at) break
        if (waiting && waiting.packetId === undefined && this.isFull) {
          this.isBehind = true
          return
        }
        at = this.#place = place
        if (waiting) yield waiting
      }
    }
  }

  /**
   * Packet ids as they are right now: what is acknowledged while the page is sent would be taken for new. A place may have nothing: it had
   * to make room, or is leaving.
   */
  async #page(after: string): Promise<{ readonly place: string; readonly waiting: Waiting | undefined }[]> {
    const rows = await this.#redis.mqttWaitingBuffer(1, PREFIX, this.id, after, PAGE)
    return Array.from({ length: rows.length / 3 }, (_, index) => {
      const [place, name, bytes] = rows.slice(3 * index, 3 * index + 3) as [Buffer, Buffer, Buffer | null]
      return { place: place.toString(), waiting: bytes ? this.#found(name.toString(), bytes) : undefined }
    })
  }

  #found(id: string, bytes: Buffer): Waiting | undefined {
    this.#unseen.delete(id)
    // What came again goes on under its first name, which is not the one in its bytes.
    return this.#leaving.has(id) ? undefined : { id, message: { ...decodeMessage(bytes), id }, ...this.#sending(id) }
  }

  #sending(id: string): Pick<Waiting, 'packetId' | 'sentQos'> {
    const packetId = this.#sentIds.get(id)
    return { packetId, sentQos: packetId === undefined ? undefined : this.#restoredQos.get(id) }
  }

  /** What was sent before and waits no more was dropped meanwhile: nobody acknowledges it. */
  async #dropUnseen(): Promise<void> {
    for (const id of this.#unseen) {
      this.#unseen.delete(id)
      await this.discard(id)
    }
  }
}
