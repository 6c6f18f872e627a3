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

export class DeviceClocks {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  async all(project: string): Promise<ReadonlyMap<string, DeviceClock>> {
    const rows = await this.#redis.hgetall(clocksKey(project))
    return new Map(Object.entries(rows).map(([device, row]) => [device, parseClock(row)]))
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
