// Wills of connected clients, kept in Redis with who left them: when a gateway is gone, another one publishes the wills of its clients.
import type { Redis } from 'ioredis'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { type Author, decodeMessage, encodeMessage, type Qos } from './message.ts'
import { PREFIX } from './script.ts'

const KEY = `${PREFIX}wills`

/** As aedes has it. */
export type Will = {
  topic: string
  payload: Buffer | string
  qos: Qos
  retain: boolean
  brokerId?: string
  clientId?: string
  author?: Author
}

export type WillTimes = {
  readonly beatMs: number
  /** Without a beat for so long it may be gone. */
  readonly aliveMs: number
  /** Time for one that is there to say so: after an outage of Redis everybody's last beat is long ago. */
  readonly againMs: number
  /** Who said that it publishes a will, and did not, is asked no more. */
  readonly claimMs: number
}

const TIMES: WillTimes = { beatMs: 5000, aliveMs: 30_000, againMs: 15_000, claimMs: 60_000 }
/** Of a gateway that is gone by what stands in Redis. By the name itself aedes would judge by heartbeats that it heard, or did not. */
const GONE = 'gone:'

export class Wills {
  readonly #redis: Redis
  readonly #node: string
  readonly #log: Logger
  readonly #times: WillTimes
  /** Of one client there are several while a connection of it is taken over; Redis has the last. */
  readonly #known = new Map<string, Will[]>()
  /** To be removed when Redis is there again. */
  readonly #removed = new Set<string>()
  readonly #timer: NodeJS.Timeout

  constructor(redis: Redis, node: string, log: Logger, times: Partial<WillTimes> = {}) {
    this.#redis = redis
    this.#node = node
    this.#log = log
    this.#times = { ...TIMES, ...times }
    this.#timer = setInterval(() => this.#beat(), this.#times.beatMs).unref()
  }

  /** It stands nowhere before this gateway is known to live. */
  async put(id: string, will: Will, author: Author): Promise<void> {
    const field = `${this.#node}\n${id}`
    this.#known.set(id, [...(this.#known.get(id) ?? []), will])
    this.#removed.delete(field)
    const payload = Buffer.isBuffer(will.payload) ? will.payload : Buffer.from(will.payload)
    const message = { id: will.retain ? 'retain' : '', topic: will.topic, qos: will.qos, payload, author }
    await Promise.all([this.#live(), this.#redis.hset(KEY, field, encodeMessage(message))])
  }

  get(id: string): Will | undefined {
    return this.#known.get(id)?.at(-1)
  }

  /** Of whom aedes says: this gateway, for the will of a connection that has ended, or one that is gone, for what `orphans` found. */
  async remove(id: string, of: string): Promise<Will | undefined> {
    if (of === this.#node) return this.#removeOwn(id)
    if (!of.startsWith(GONE)) return undefined
    const field = `${of.slice(GONE.length)}\n${id}`
    await this.#redis.hdel(KEY, field)
    await this.#redis.del(claimOf(field))
    return undefined
  }

  /** Those of gateways that are gone. Each is had by one who asks, and again by another who asks later, if that one did not remove it. */
  async *orphans(): AsyncGenerator<Will> {
    const fields = await this.#redis.hkeys(KEY)
    const gone = await this.#gone(new Set(fields.map(nodeOf)))
    for (const field of fields) {
      const node = nodeOf(field)
      if (!gone.has(node)) continue
      if ((await this.#redis.set(claimOf(field), this.#node, 'PX', this.#times.claimMs, 'NX')) === null) continue
      const bytes = await this.#redis.hgetBuffer(KEY, field)
      if (!bytes) continue
      const { id, author, ...message } = decodeMessage(bytes)
      const of = { brokerId: `${GONE}${node}`, clientId: field.slice(node.length + 1) }
      yield { ...message, ...of, retain: id === 'retain', ...(author ? { author } : {}) }
    }
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  async #removeOwn(id: string): Promise<Will | undefined> {
    const [will, ...later] = this.#known.get(id) ?? []
    if (!will) return undefined
    if (later.length > 0) {
      this.#known.set(id, later)
      return will
    }
    this.#known.delete(id)
    const field = `${this.#node}\n${id}`
    this.#removed.add(field)
    await this.#redis.hdel(KEY, field)
    this.#removed.delete(field)
    return will
  }

  async #live(): Promise<void> {
    await this.#redis.set(`${PREFIX}node:${this.#node}`, 1, 'PX', this.#times.aliveMs)
  }

  #beat(): void {
    if (this.#known.size === 0 && this.#removed.size === 0) return
    const removed = [...this.#removed]
    const said = async () => {
      await this.#live()
      if (removed.length === 0) return
      // One that came back meanwhile has a new one.
      for (const field of removed) if (this.#removed.delete(field)) await this.#redis.hdel(KEY, field)
    }
    said().catch((error: Error) => this.#log.debug({ reason: error.message }, 'not said that this gateway lives'))
  }

  /** Looked for twice. Whatever fails in between, nobody is gone. */
  async #gone(nodes: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    const absent = await this.#absent(nodes)
    if (absent.size === 0) return absent
    await new Promise(resolve => setTimeout(resolve, this.#times.againMs).unref())
    return this.#absent(absent)
  }

  async #absent(nodes: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    const absent = new Set<string>()
    for (const node of nodes) if (node !== this.#node && (await this.#redis.exists(`${PREFIX}node:${node}`)) === 0) absent.add(node)
    return absent
  }
}

function nodeOf(field: string): string {
  return field.slice(0, field.indexOf('\n'))
}

function claimOf(field: string): string {
  return `${PREFIX}claim:${field}`
}
