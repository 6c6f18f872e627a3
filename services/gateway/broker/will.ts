// Wills of connected clients, kept in Redis with who left them: when a gateway is gone, another one publishes the wills of its clients.
import type { Redis } from 'ioredis'
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

export class Wills {
  readonly #redis: Redis
  readonly #node: string
  readonly #known = new Map<string, Will>()

  constructor(redis: Redis, node: string) {
    this.#redis = redis
    this.#node = node
  }

  async put(id: string, will: Will, author: Author): Promise<void> {
    this.#known.set(id, will)
    const payload = Buffer.isBuffer(will.payload) ? will.payload : Buffer.from(will.payload)
    const message = { id: will.retain ? 'retain' : '', topic: will.topic, qos: will.qos, payload, author }
    await this.#redis.hset(KEY, `${this.#node}\n${id}`, encodeMessage(message))
  }

  get(id: string): Will | undefined {
    return this.#known.get(id)
  }

  /** Of clients of this gateway only; others' are claimed by `orphans`. */
  async remove(id: string): Promise<Will | undefined> {
    const will = this.#known.get(id)
    if (!will) return undefined
    this.#known.delete(id)
    await this.#redis.hdel(KEY, `${this.#node}\n${id}`)
    return will
  }

  /** Those of gateways that are gone; each is had by one who asks. */
  async *orphans(isAlive: (node: string) => boolean): AsyncGenerator<Will> {
    for (const field of await this.#redis.hkeys(KEY)) {
      const end = field.indexOf('\n')
      const node = field.slice(0, end)
      if (node === this.#node || isAlive(node)) continue
      const bytes = await this.#redis.hgetBuffer(KEY, field)
      if (!bytes || (await this.#redis.hdel(KEY, field)) === 0) continue
      const { id, author, ...message } = decodeMessage(bytes)
      const of = { brokerId: node, clientId: field.slice(end + 1) }
      yield { ...message, ...of, retain: id === 'retain', ...(author ? { author } : {}) }
    }
  }
}
