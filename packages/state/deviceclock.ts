// Which devices have a clock that is wrong, for as long as it is: a row for each of those, none for the others.
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'

/** `unset`: as it begins without a battery, before 2000-01-02. `behind`: what it sends is always late by the same. */
export type ClockState = 'unset' | 'ahead' | 'behind'
export type DeviceClock = {
  readonly state: ClockState
  /** By how much it is ahead of ours when it was seen last. */
  readonly offsetSeconds: number
  /** RFC 3339: when it was found to be so. */
  readonly since: string
}

const AT_ONCE = 1000

export class DeviceClocks {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  /** All of them, a few at a time; one that changes meanwhile may come twice. */
  async *all(project: string): AsyncGenerator<ReadonlyMap<string, DeviceClock>> {
    for (let cursor = '0'; ; ) {
      const [next, flat] = await this.#redis.hscan(clocksKey(project), cursor, 'COUNT', AT_ONCE)
      yield new Map(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] as string, parseClock(flat[2 * i + 1] as string)]))
      if (next === '0') return
      cursor = next
    }
  }

  /** Undefined: it is right again. */
  async save(project: string, changes: ReadonlyMap<string, DeviceClock | undefined>): Promise<void> {
    const key = clocksKey(project)
    const pipeline = this.#redis.pipeline()
    for (const [device, clock] of changes) {
      if (clock) pipeline.hset(key, device, JSON.stringify(clock))
      else pipeline.hdel(key, device)
    }
    for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error
  }
}

export function clocksKey(project: string): string {
  return projectKey(project, 'clocks')
}

export function parseClock(row: string): DeviceClock {
  return JSON.parse(row) as DeviceClock
}
