// Messages on their way to subscribers: to those of this gateway directly, to those of other gateways over Redis, and to nobody else.
// A gateway tells the others which filters its clients have, so that a publish that nobody elsewhere wants costs no message.
import type { Redis } from 'ioredis'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { FilterTree } from './filter.ts'
import { CHANNEL, PREFIX } from './script.ts'

/** A packet as aedes makes it. What is in `properties` stays with it however often it is wrapped, and is sent to no client. */
export type Packet = {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  retain: boolean
  dup?: boolean
  brokerId?: string | undefined
  brokerCounter?: number | undefined
  properties?: Marks
}

/** Which message it is; `queued`: read from what waits for a session; `sentQos`: with which it was sent to it before. */
export type Marks = { readonly id?: string; readonly queued?: true; readonly sentQos?: 0 | 1 | 2 }

type Deliver = (packet: Packet, done: () => void) => void

export type BusPorts = {
  /** Fails at once while Redis is away. */
  readonly redis: Redis
  /** A connection of its own, for SUBSCRIBE. */
  readonly subscriber: Redis
  readonly node: string
  readonly log: Logger
  /** Told of what comes on the common channel and is not about filters. */
  heard(message: Buffer): void
  /** Messages may have been missed. */
  reconnected(): void
  /** Something may be queued that nobody passed on: a gateway is silent, or did not know what is wanted here. */
  readonly missed: () => void
  /** Between two beats; 5000. */
  readonly beatMs?: number
}

type Told = {
  readonly kind: 'filters'
  readonly node: string
  /** All that it has, not what changed. */
  readonly all?: boolean
  readonly add?: readonly string[]
  readonly remove?: readonly string[]
  /** How often they have changed, up to this one. Of all that it has, in the last message. */
  readonly version?: number
  /** Of all that it has: how many. */
  readonly count?: number
}
type Beat = { readonly kind: 'beat' | 'bye'; readonly node: string; readonly version?: number }
/** For all that this one has, or that each has. */
type Ask = { readonly kind: 'ask'; readonly node: string; readonly of?: string }

/**
 * `version`: of its filters as they are known; undefined while they are not all known. `silent`: how many beats of this gateway were heard
 * back since it was heard. While Redis is away, or this process stands still, nothing is heard back: that says nothing about others.
 */
type Node = { readonly filters: Set<string>; silent: number; version: number | undefined }

const BEAT_MS = 5000
/** Beats: what it took may be queued, and was not passed on. */
const SILENT_AFTER = 4
/** Beats: it is not asked any more what it wants. Until then it may only be slow, and Redis holds what it is sent. */
const FORGOTTEN_AFTER = 60
/** In one message to the other gateways. */
const FILTERS_AT_ONCE = 500

/** What aedes takes as its `mq`. */
export class Bus {
  readonly #ports: BusPorts
  readonly #local = new FilterTree<Deliver>()
  readonly #filters = new Set<string>()
  readonly #remote = new FilterTree<string>()
  readonly #nodes = new Map<string, Node>()
  readonly #timer: NodeJS.Timeout
  readonly #beatMs: number
  /** How often the others were told that filters have changed. */
  #version = 0
  /** Since then; whether they are wanted. */
  readonly #changes = new Map<string, boolean>()
  #echoedMs = Number.NEGATIVE_INFINITY
  closed = false

  private constructor(ports: BusPorts) {
    this.#ports = ports
    this.#beatMs = ports.beatMs ?? BEAT_MS
    this.#timer = setInterval(() => this.#beat(), this.#beatMs).unref()
  }

  static async open(ports: BusPorts): Promise<Bus> {
    const bus = new Bus(ports)
    const own = `${PREFIX}to:${ports.node}`
    ports.subscriber.on('messageBuffer', (channel: Buffer, message: Buffer) => {
      if (channel.toString() === own) bus.#arrived(message)
      else if (message[0] === 0x7b) bus.#told(message)
      else ports.heard(message)
    })
    await ports.subscriber.subscribe(CHANNEL, own)
    ports.subscriber.on('ready', () => bus.#again([CHANNEL, own]))
    bus.#beat()
    return bus
  }

  /** What was said while this connection was away was said to nobody; it is asked for when nothing more is missed. */
  #again(channels: readonly string[]): void {
    const failed = (error: Error) => this.#ports.log.debug({ reason: error.message }, 'other gateways not asked')
    this.#ports.subscriber
      .subscribe(...channels)
      .then(() => {
        this.#publish({ kind: 'ask', node: this.#ports.node })
        this.#ports.reconnected()
      })
      .catch(failed)
  }

  /** Whether there are other gateways, as far as is known. */
  get hasOthers(): boolean {
    return this.#nodes.size > 0
  }

  /** Whether anybody who is connected to any gateway has asked for it. */
  has(topic: string): boolean {
    return this.#local.has(topic) || this.#remote.has(topic)
  }

  on(filter: string, deliver: Deliver, done?: () => void): this {
    if (this.#local.add(filter, deliver)) this.#changed(filter, true)
    if (done) setImmediate(done)
    return this
  }

  removeListener(filter: string, deliver: Deliver, done?: () => void): this {
    if (this.#local.delete(filter, deliver)) this.#changed(filter, false)
    if (done) setImmediate(done)
    return this
  }

  emit(packet: Packet, done: (error?: Error) => void): void {
    // aedes drops what is numbered lower than what came before; two publishes overtake each other between being numbered and being here.
    packet.brokerId = undefined
    packet.brokerCounter = undefined
    packet.properties ??= {}
    // Of its sender [MQTT-3.3.1-3].
    packet.dup = false
    const sent = this.hasOthers ? this.#send(packet) : undefined
    // Looked at right now: who is sent it here may take longer than Redis takes to fail.
    const failure = sent?.then(
      () => undefined,
      // With QoS 0 it may be lost, and is no reason to end the connection.
      (error: Error) => (packet.qos > 0 ? error : undefined),
    )
    this.#deliver(packet, () => {
      if (failure) failure.then(done, done)
      else done()
    })
  }

  close(done: () => void): void {
    this.closed = true
    clearInterval(this.#timer)
    this.#publish({ kind: 'bye', node: this.#ports.node })
    setImmediate(done)
  }

  #deliver(packet: Packet, done: () => void): void {
    const all: Deliver[] = []
    this.#local.each(packet.topic, one => all.push(one))
    let waiting = all.length
    if (waiting === 0) {
      done()
      return
    }
    const one = () => {
      if (--waiting === 0) done()
    }
    for (const deliver of all) deliver(packet, one)
  }

  /** Undefined when no other gateway wants it. */
  #send({ payload, topic, qos, retain, properties }: Packet): Promise<unknown> | undefined {
    const to = new Set<string>()
    this.#remote.each(topic, node => to.add(node))
    if (to.size === 0) return undefined
    const head = JSON.stringify({ topic, qos, retain, properties })
    const message = Buffer.concat([Buffer.from(`${head}\n`), Buffer.isBuffer(payload) ? payload : Buffer.from(payload)])
    return Promise.all([...to].map(node => this.#ports.redis.publish(`${PREFIX}to:${node}`, message)))
  }

  #arrived(message: Buffer): void {
    const end = message.indexOf(0x0a)
    const head = JSON.parse(message.toString('utf8', 0, end)) as Omit<Packet, 'payload'>
    this.#deliver({ ...head, payload: message.subarray(end + 1) }, () => {})
  }

  #told(message: Buffer): void {
    const told = JSON.parse(message.toString('utf8')) as Told | Beat | Ask | { readonly kind: 'other'; readonly node?: undefined }
    if (told.node === undefined) this.#ports.heard(message)
    else if (told.kind === 'bye') this.#forget(told.node)
    else if (told.node !== this.#ports.node) this.#toldBy(told)
    else if (told.kind === 'beat') this.#heardBack()
  }

  #toldBy(told: Told | Beat | Ask): void {
    const node = this.#nodes.get(told.node) ?? this.#met(told.node)
    node.silent = 0
    if (told.kind === 'filters') this.#learn(node, told)
    else if (told.kind === 'ask' && (told.of ?? this.#ports.node) === this.#ports.node) this.#tellAll()
    else if (told.kind === 'beat' && told.version !== node.version) this.#publish({ kind: 'ask', node: this.#ports.node, of: told.node })
  }

  #learn(node: Node, told: Told): void {
    if (told.all) for (const filter of node.filters) this.#unwant(told.node, node, filter)
    for (const filter of told.add ?? []) {
      node.filters.add(filter)
      this.#remote.add(filter, told.node)
    }
    for (const filter of told.remove ?? []) this.#unwant(told.node, node, filter)
    const isKnown =
      told.count === undefined ? node.version !== undefined && told.version === node.version + 1 : told.count === node.filters.size
    // What was missed is asked for at the next beat.
    node.version = isKnown ? told.version : undefined
  }

  #unwant(name: string, node: Node, filter: string): void {
    node.filters.delete(filter)
    this.#remote.delete(filter, name)
  }

  /** Whoever is met for the first time knows nothing of this one either. */
  #met(name: string): Node {
    const node = { filters: new Set<string>(), silent: 0, version: undefined }
    this.#nodes.set(name, node)
    this.#tellAll()
    return node
  }

  /** What was published where they were not known is queued for those who wait for it, and no more. */
  #tellAll(): void {
    const filters = [...this.#filters]
    const { node, missed } = this.#ports
    for (let at = 0; at === 0 || at < filters.length; at += FILTERS_AT_ONCE) {
      const isLast = at + FILTERS_AT_ONCE >= filters.length
      const last = isLast ? { version: this.#version, count: filters.length } : {}
      const part = { kind: 'filters' as const, node, all: at === 0, add: filters.slice(at, at + FILTERS_AT_ONCE), ...last }
      this.#publish(part, isLast ? missed : undefined)
    }
  }

  #changed(filter: string, isNew: boolean): void {
    if (isNew) this.#filters.add(filter)
    else this.#filters.delete(filter)
    // All of one turn of the event loop, as of one SUBSCRIBE, are told together.
    if (this.#changes.size === 0) setImmediate(() => this.#tellChanges())
    this.#changes.set(filter, isNew)
  }

  #tellChanges(): void {
    // It has said good-bye, and would be met again.
    if (this.closed) return
    const changes = [...this.#changes]
    this.#changes.clear()
    for (let at = 0; at < changes.length; at += FILTERS_AT_ONCE) {
      const some = changes.slice(at, at + FILTERS_AT_ONCE)
      const of = (isNew: boolean) => some.flatMap(([filter, is]) => (is === isNew ? [filter] : []))
      const version = ++this.#version
      if (this.hasOthers) this.#publish({ kind: 'filters', node: this.#ports.node, add: of(true), remove: of(false), version })
    }
  }

  #beat(): void {
    this.#publish({ kind: 'beat', node: this.#ports.node, version: this.#version })
  }

  /** All that others said before it has been read. What was held up comes at once, with ours perhaps before theirs: it counts once. */
  #heardBack(): void {
    const nowMs = performance.now()
    if (nowMs - this.#echoedMs < this.#beatMs / 2) return
    this.#echoedMs = nowMs
    for (const [name, node] of this.#nodes) {
      node.silent++
      if (node.silent === SILENT_AFTER) this.#ports.missed()
      if (node.silent >= FORGOTTEN_AFTER) this.#forget(name)
    }
  }

  #forget(name: string): void {
    const node = this.#nodes.get(name)
    this.#nodes.delete(name)
    for (const filter of node?.filters ?? []) this.#remote.delete(filter, name)
  }

  #publish(told: Told | Beat | Ask, done = () => {}): void {
    const failed = (error: Error) => this.#ports.log.debug({ reason: error.message }, 'other gateways not told')
    this.#ports.redis.publish(CHANNEL, JSON.stringify(told)).then(done, failed)
  }
}
