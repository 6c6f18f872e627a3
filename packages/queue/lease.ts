// Leases: each worker process holds its share of the drain queues, else one process would keep them all.
import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import type { Logger } from '../runtime/logger.ts'
import type { Running } from './queue.ts'

const LEASE_MS = 3000
const ROUND_MS = 1000

/** Says that this process lives, forgets those that do not, and counts. Redis' own clock, so that no two disagree. */
const HEARTBEAT = `
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZADD', KEYS[1], ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - tonumber(ARGV[2]))
return redis.call('ZCARD', KEYS[1])`
const RENEW = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`
const RELEASE = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`

const WORKERS = 't:workers'

function leaseKey(name: string): string {
  return `t:lease:${name}`
}

/**
 * Starts `open(name)` for every name this process gets to hold and stops it when the lease goes elsewhere. Two holders at once are
 * possible for a moment (a frozen process that wakes up): the drains themselves are safe against that.
 */
export class Leases {
  readonly #redis: Redis
  readonly #log: Logger
  readonly #names: readonly string[]
  readonly #open: (name: string) => Running
  readonly #id = randomUUID()
  readonly #held = new Map<string, Running>()
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> | undefined
  #stopped = false

  constructor(redis: Redis, log: Logger, names: readonly string[], open: (name: string) => Running) {
    this.#redis = redis
    this.#log = log
    this.#names = names
    this.#open = open
  }

  get held(): readonly string[] {
    return [...this.#held.keys()]
  }

  async start(): Promise<void> {
    await this.#balance()
    this.#schedule()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    if (this.#timer) clearTimeout(this.#timer)
    await this.#round
    await Promise.all([...this.#held.keys()].map(name => this.#release(name)))
    await this.#redis.zrem(WORKERS, this.#id)
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#round = this.#balance()
        .catch((error: Error) => this.#log.warn({ reason: error.message }, 'leases not renewed'))
        .finally(() => {
          if (!this.#stopped) this.#schedule()
        })
    }, ROUND_MS)
  }

  async #balance(): Promise<void> {
    const alive = Number(await this.#redis.eval(HEARTBEAT, 1, WORKERS, this.#id, LEASE_MS))
    const share = Math.ceil(this.#names.length / alive)
    for (const name of this.#held.keys())
      if (Number(await this.#redis.eval(RENEW, 1, leaseKey(name), this.#id, LEASE_MS)) === 0) await this.#drop(name)
    for (const name of [...this.#held.keys()].slice(share)) await this.#release(name)
    for (const name of this.#names) {
      if (this.#held.size >= share) break
      if (!this.#held.has(name) && (await this.#redis.set(leaseKey(name), this.#id, 'PX', LEASE_MS, 'NX')) === 'OK') this.#take(name)
    }
  }

  #take(name: string): void {
    this.#held.set(name, this.#open(name))
    this.#log.debug({ queue: name }, 'partition taken')
  }

  async #drop(name: string): Promise<void> {
    const running = this.#held.get(name)
    this.#held.delete(name)
    await running?.stop()
  }

  /** Finishes the running job first, so that the next holder finds a committed place. */
  async #release(name: string): Promise<void> {
    await this.#drop(name)
    await this.#redis.eval(RELEASE, 1, leaseKey(name), this.#id)
  }
}
