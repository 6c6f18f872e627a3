// Whether Redis has room for more (P6): asked once a second, so that senders are told to wait before it is full.
import type { Redis } from 'ioredis'
import { Failure } from '../packages/core/failure.ts'
import type { Logger } from '../packages/runtime/logger.ts'

export type Room = {
  /** Why nothing more is taken now. */
  refusal(): Failure | undefined
  stop(): Promise<void>
}

const LOOK_EVERY_MS = 1000
/** What is left is for those who make room: consumers commit what they have done. */
const FULL_SHARE = 0.9

export function startRoom(redis: Redis, logger: Logger): Room {
  let refusal: Failure | undefined
  let looking: Promise<void> | undefined
  const look = async () => {
    try {
      refusal =
        (await memoryShare(redis)) < FULL_SHARE
          ? undefined
          : new Failure('unavailable', 'the log has no room: consumers are behind, or other data fills Redis', { retryAfterMs: 5000 })
    } catch (error) {
      logger.warn({ reason: (error as Error).message }, 'log not reachable')
    }
    looking = undefined
  }
  const timer = setInterval(() => {
    looking ??= look()
  }, LOOK_EVERY_MS)
  looking = look()
  return {
    refusal: () => refusal,
    stop: async () => {
      clearInterval(timer)
      await looking
    },
  }
}

/** Used share of `maxmemory`; 0 when Redis has no limit. */
async function memoryShare(redis: Redis): Promise<number> {
  const info = await redis.info('memory')
  const value = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0)
  const max = value('maxmemory')
  return max === 0 ? 0 : value('used_memory') / max
}
