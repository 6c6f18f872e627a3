// Names that one holder has at a time, across all nodes: kept as long as the holder lives, free again some seconds after it died.
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'

/** How long a name outlives a node that died. */
const HELD_MS = 15_000
const RENEW_EVERY_MS = 5000

const RENEW = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`
const RELEASE = `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`

export type Claim = {
  /** Idempotent. */
  release(): Promise<void>
}

type Held = { readonly key: string; readonly holder: string; lost(): void }

export class Claims {
  readonly #redis: Redis
  readonly #troubled: (error: Error) => void
  readonly #renewEveryMs: number
  readonly #held = new Set<Held>()
  #timer: NodeJS.Timeout | undefined

  constructor(redis: Redis, troubled: (error: Error) => void, renewEveryMs = RENEW_EVERY_MS) {
    this.#redis = redis
    this.#renewEveryMs = renewEveryMs
    this.#troubled = troubled
  }

  /**
   * Undefined while another has it.
   * @param lost is called once when another has it after all, because nothing could be renewed for long.
   */
  async take(project: string, name: string, lost: () => void): Promise<Claim | undefined> {
    const key = projectKey(project, `claim:${name}`)
    const held: Held = { key, holder: randomBytes(12).toString('base64url'), lost }
    if ((await this.#redis.set(key, held.holder, 'PX', HELD_MS, 'NX')) === null) return undefined
    this.#held.add(held)
    this.#timer ??= setInterval(() => this.#renewAll(), this.#renewEveryMs).unref()
    return {
      release: async () => {
        if (!this.#forget(held)) return
        await this.#redis.eval(RELEASE, 1, key, held.holder)
      },
    }
  }

  #forget(held: Held): boolean {
    const known = this.#held.delete(held)
    if (this.#held.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
    }
    return known
  }

  #renewAll(): void {
    for (const held of this.#held)
      this.#renew(held).catch((error: unknown) => {
        // Tried again in the next round: a name that ran out meanwhile is taken back when nobody else took it.
        this.#troubled(error as Error)
      })
  }

  async #renew(held: Held): Promise<void> {
    const kept = await this.#redis.eval(RENEW, 1, held.key, held.holder, HELD_MS)
    if (!this.#held.has(held)) {
      // Released meanwhile.
      await this.#redis.eval(RELEASE, 1, held.key, held.holder)
      return
    }
    if (kept !== 1 && this.#forget(held)) held.lost()
  }
}
