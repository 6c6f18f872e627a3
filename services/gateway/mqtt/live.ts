// Stream topics: who subscribes to `projects/{project}/devices:stream?…` gets the live stream that HTTP followers get, frame by frame,
// on exactly that topic. aedes knows the subscription, but nothing is ever published to it: frames go to the one client.
import type { Duplex } from 'node:stream'
import type { Aedes, Client, PublishPacket } from 'aedes'
import type { Caller } from '../../../packages/identity/identity.ts'
import { sentOf } from '../guard/inside.ts'
import type { StreamTopic } from './topic.ts'

/** One follower's way out, as the stream asks for it. */
export type Lines = {
  readonly full: boolean
  readonly closed: boolean
  take(json: Buffer): void
  drained(patienceMs: number): Promise<boolean>
  end(): void
}

/** Begins a stream; rejects with a Failure when it is not to be had. @returns how to leave. */
export type Follow = (caller: Caller, topic: StreamTopic, lines: Lines) => Promise<() => void>

/** A client that wants more opens a second connection. */
const MAX_TOPICS = 20
/** Beyond this the stream's policy for slow readers holds. */
const MAX_QUEUED_BYTES = 256 * 1024
/** Below what the broker takes for a client that does not read: it would cut it off after a second, whatever its policy. */
const MAX_WRITING_BYTES = 64 * 1024
const MAX_WRITING = 50
/** QoS 1 without PUBACK. */
const MAX_UNACKED = 100
const LOOK_EVERY_MS = 50
/** What a client gets to take its last frame. */
const LINGER_MS = 5000

type Way = {
  /** What all streams of a client have handed over and aedes has not written yet. */
  bytes: number
  /** By topic, what was sent with QoS 1 and is not acknowledged: also of topics that were left, or begun again. */
  readonly unacked: Map<string, number>
}
type Followed = { readonly lines: ClientLines; leave: () => void }

export class Live {
  readonly #broker: Aedes
  readonly #follow: Follow
  readonly #byClient = new Map<Client, { readonly topics: Map<string, Followed>; readonly way: Way }>()
  #counter = 0

  constructor(broker: Aedes, follow: Follow) {
    this.#broker = broker
    this.#follow = follow
    broker.on('unsubscribe', (topics, client) => {
      for (const topic of topics) this.#leave(client, topic)
    })
    broker.on('clientReady', client => {
      for (const { lines } of this.#byClient.get(client)?.topics.values() ?? []) lines.ready()
    })
    broker.on('ack', (packet, client) => {
      const found = this.#byClient.get(client)
      const topic = (packet as Partial<PublishPacket> | undefined)?.topic
      if (!found || !topic) return
      oneLess(found.way.unacked, topic)
      found.topics.get(topic)?.lines.acked()
    })
  }

  /** Rejects with a Failure when the stream is not to be had; a topic that is followed already begins again. */
  async enter(client: Client, caller: Caller, text: string, topic: StreamTopic, qos: 0 | 1): Promise<boolean> {
    if (client.closed || client.conn.destroyed) return false
    const { topics, way } = this.#of(client)
    if (topics.size >= MAX_TOPICS && !topics.has(text)) return false
    this.#leave(client, text)
    const lines = new ClientLines(client, text, qos, way, packet => this.#publish(client, packet))
    const followed: Followed = { lines, leave: () => {} }
    topics.set(text, followed)
    try {
      followed.leave = await this.#follow(caller, topic, lines)
    } catch (error) {
      // It may have begun again meanwhile.
      if (topics.get(text) === followed) topics.delete(text)
      throw error
    }
    if (lines.closed) followed.leave()
    return true
  }

  #of(client: Client): { readonly topics: Map<string, Followed>; readonly way: Way } {
    const known = this.#byClient.get(client)
    if (known) return known
    const fresh = { topics: new Map<string, Followed>(), way: { bytes: 0, unacked: new Map<string, number>() } }
    this.#byClient.set(client, fresh)
    // Of a client that goes before its CONNACK (a session that is restored) aedes has no event.
    client.conn.once('close', () => {
      for (const topic of fresh.topics.keys()) this.#leave(client, topic)
      this.#byClient.delete(client)
    })
    return fresh
  }

  #leave(client: Client, topic: string): void {
    const topics = this.#byClient.get(client)?.topics
    const followed = topics?.get(topic)
    topics?.delete(topic)
    followed?.lines.close()
    followed?.leave()
  }

  /** With a place of its own in the order by which aedes drops repeats: else ordinary messages that are under way were taken for such. */
  #publish(client: Client, packet: PublishPacket): Promise<void> {
    const numbered = Object.assign(packet, { brokerId: `${this.#broker.id}-live`, brokerCounter: ++this.#counter })
    return new Promise((resolve, reject) => client.publish(numbered, error => (error ? reject(error) : resolve())))
  }
}

/** What waits for one subscription of one client: bounded by whoever looks at `full`. */
class ClientLines implements Lines {
  readonly #client: Client
  readonly #topic: string
  readonly #qos: 0 | 1
  readonly #way: Way
  readonly #publish: (packet: PublishPacket) => Promise<void>
  #queue: Buffer[] = []
  #queuedBytes = 0
  #writing = 0
  #closed = false
  #ending = false
  #timer: NodeJS.Timeout | undefined
  #waiting: ((inTime: boolean) => void)[] = []
  #movedMs = performance.now()
  #patienceMs = LINGER_MS

  constructor(client: Client, topic: string, qos: 0 | 1, way: Way, publish: (packet: PublishPacket) => Promise<void>) {
    this.#client = client
    this.#topic = topic
    this.#qos = qos
    this.#way = way
    this.#publish = publish
  }

  get full(): boolean {
    return this.#queuedBytes > MAX_QUEUED_BYTES
  }

  get closed(): boolean {
    return this.#closed || this.#client.closed
  }

  take(json: Buffer): void {
    if (this.#queue.length === 0) this.#movedMs = performance.now()
    this.#queue.push(json)
    this.#queuedBytes += json.length
    this.#pump()
  }

  drained(patienceMs: number): Promise<boolean> {
    this.#patienceMs = patienceMs
    if (this.closed || this.#queue.length === 0) return Promise.resolve(true)
    return new Promise(resolve => this.#waiting.push(resolve))
  }

  end(): void {
    this.#ending = true
    this.#patienceMs = LINGER_MS
    this.#pump()
  }

  ready(): void {
    this.#movedMs = performance.now()
    this.#pump()
  }

  acked(): void {
    this.#pump()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#queue = []
    this.#queuedBytes = 0
    clearTimeout(this.#timer)
    this.#settle(true)
  }

  #settle(inTime: boolean): void {
    for (const resolve of this.#waiting.splice(0)) resolve(inTime)
  }

  #pump(): void {
    while (!this.closed && this.#queue.length > 0 && this.#hasRoom()) this.#send(this.#queue.shift() as Buffer)
    if (this.closed) this.close()
    else if (this.#queue.length === 0) this.#emptied()
    else this.#timer ??= setTimeout(() => this.#look(), LOOK_EVERY_MS)
  }

  #emptied(): void {
    this.#settle(true)
    if (this.#ending && this.#writing === 0) this.#client.close()
  }

  #hasRoom(): boolean {
    // A restored session enters its streams before CONNACK, and nothing may come before that [MQTT-3.2.0-1].
    if (!this.#client.connected) return false
    const socket = this.#client.conn as unknown as Duplex
    const bytes = socket.writableLength + this.#way.bytes
    return this.#writing < MAX_WRITING && this.#mayBeUnacked() && bytes < MAX_WRITING_BYTES
  }

  #mayBeUnacked(): boolean {
    if (this.#qos === 0) return true
    const { unacked } = this.#way
    const count = unacked.get(this.#topic)
    return count === undefined ? unacked.size < MAX_TOPICS : count < MAX_UNACKED
  }

  #send(json: Buffer): void {
    this.#queuedBytes -= json.length
    this.#movedMs = performance.now()
    this.#writing++
    this.#way.bytes += json.length
    if (this.#qos > 0) this.#noteUnacked()
    const packet = { cmd: 'publish', topic: this.#topic, payload: json, qos: this.#qos, retain: false, dup: false } as PublishPacket
    const done = () => {
      this.#writing--
      this.#way.bytes -= json.length
      this.#pump()
    }
    // A client that is gone: aedes says so by `clientDisconnect`.
    this.#publish(packet).then(done, done)
  }

  #noteUnacked(): void {
    this.#way.unacked.set(this.#topic, (this.#way.unacked.get(this.#topic) ?? 0) + 1)
    // Of a session that ends with its connection aedes does not say what was acknowledged.
    if (this.#client.clean) sentOf(this.#client.conn)?.comes(this.#topic)
  }

  /** A socket does not say when it has room for a little more. */
  #look(): void {
    this.#timer = undefined
    if (this.#client.connected && performance.now() - this.#movedMs > this.#patienceMs) {
      if (this.#ending) this.#client.close()
      this.#settle(false)
    }
    this.#pump()
  }
}

function oneLess(counts: Map<string, number>, topic: string): void {
  const count = counts.get(topic) ?? 0
  if (count > 1) counts.set(topic, count - 1)
  else counts.delete(topic)
}
