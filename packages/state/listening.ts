// Since when this installation has been receiving without a break: silence of devices is only judged over such time.
import type { Redis } from 'ioredis'

const KEY = 't:listening'
/** A longer break between two beats of all gateways starts the count anew. */
const BREAK_MS = 5000
const CACHE_MS = 1000

const BEAT = `
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local beat = tonumber(redis.call('HGET', KEYS[1], 'beat') or '0')
if ms - beat > tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'since', ms) end
redis.call('HSET', KEYS[1], 'beat', ms)
return ms`

/** A beat that is older is of gateways that have ended: nobody listens until the next one. */
const SINCE = `
local row = redis.call('HMGET', KEYS[1], 'since', 'beat')
if not row[1] then return '' end
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
if ms - tonumber(row[2] or '0') > tonumber(ARGV[1]) then return '' end
return row[1]`

export class Listening {
  readonly #redis: Redis
  #since = 0
  #readMs = Number.NEGATIVE_INFINITY

  constructor(redis: Redis) {
    this.#redis = redis
  }

  /** Called every second by whoever receives events. */
  async beat(): Promise<void> {
    await this.#redis.eval(BEAT, 1, KEY, BREAK_MS)
  }

  /** Microseconds since 1970; the future while nobody listens. */
  async sinceUs(): Promise<number> {
    if (performance.now() - this.#readMs > CACHE_MS) {
      const since = (await this.#redis.eval(SINCE, 1, KEY, BREAK_MS)) as string
      this.#since = since === '' ? Number.MAX_SAFE_INTEGER : Number(since) * 1000
      this.#readMs = performance.now()
    }
    return this.#since
  }
}
