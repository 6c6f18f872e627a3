// Since when this installation has been receiving without a break, and the breaks before: silence of devices is only judged over such time.
import type { Redis } from 'ioredis'
import type { Break } from '../core/listening.ts'

const KEY = 't:listening'
const BREAKS = 't:listening:breaks'
/** A longer pause between two beats of all gateways is a break. */
const BREAK_MS = 5000
/** Remembered: late events and restarts of the judge reach back over few of them. */
const MAX_BREAKS = 50
const CACHE_MS = 1000

const BEAT = `
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local beat = tonumber(redis.call('HGET', KEYS[1], 'beat') or '0')
if ms - beat > tonumber(ARGV[1]) then
  local since = redis.call('HGET', KEYS[1], 'since')
  if since and redis.call('EXISTS', KEYS[2]) == 0 then redis.call('RPUSH', KEYS[2], '0 ' .. since) end
  redis.call('HSET', KEYS[1], 'since', ms)
  redis.call('RPUSH', KEYS[2], beat .. ' ' .. ms)
  redis.call('LTRIM', KEYS[2], -ARGV[2], -1)
end
redis.call('HSET', KEYS[1], 'beat', ms)
return ms`

export class Listening {
  readonly #redis: Redis
  #breaks: readonly Break[] = []
  #readMs = Number.NEGATIVE_INFINITY

  constructor(redis: Redis) {
    this.#redis = redis
  }

  /** Called every second by whoever receives events. */
  async beat(): Promise<void> {
    await this.#redis.eval(BEAT, 2, KEY, BREAKS, BREAK_MS, MAX_BREAKS)
  }

  /** In their order, in the server's time; the first is the time before anybody listened, and what is older than what is remembered. */
  async breaks(): Promise<readonly Break[]> {
    if (performance.now() - this.#readMs > CACHE_MS) {
      const [rows, [since = null, beat = null], [seconds, micros]] = await Promise.all([
        this.#redis.lrange(BREAKS, 0, -1),
        this.#redis.hmget(KEY, 'since', 'beat'),
        this.#redis.time(),
      ])
      const silentMs = Number(seconds) * 1000 + Number(micros) / 1000 - Number(beat)
      // The gateways have ended: nobody listens until the next beat.
      const now = silentMs > BREAK_MS ? [{ fromUs: Number(beat) * 1000, toUs: Number.MAX_SAFE_INTEGER }] : []
      this.#breaks = [...breaksOf(rows, since), ...now]
      this.#readMs = performance.now()
    }
    return this.#breaks
  }
}

function breaksOf(rows: readonly string[], since: string | null): Break[] {
  const breaks = rows.map(row => {
    const [fromMs, toMs] = row.split(' ') as [string, string]
    return { fromUs: Number(fromMs) * 1000, toUs: Number(toMs) * 1000 }
  })
  // Nobody has ever listened, or that was noted before breaks were.
  const [first = { fromUs: 0, toUs: since === null ? Number.MAX_SAFE_INTEGER : Number(since) * 1000 }, ...rest] = breaks
  return [{ fromUs: Number.NEGATIVE_INFINITY, toUs: first.toUs }, ...rest]
}
