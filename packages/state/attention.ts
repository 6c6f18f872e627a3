// What the judge reads to decide who is told: alarms to look at again and when, those that are active by rule, and the devices of groups.
import type { Redis } from 'ioredis'
import type { Active } from '../core/attention.ts'
import type { Member } from '../core/group.ts'
import { projectKey } from '../log/key.ts'
import { activeKey } from './alarm.ts'

/** Among the alarms to look at: all of them. */
export const EVERY = '*'

export class Attentions {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  /** Ids of alarms to look at by now, and EVERY. */
  async due(project: string, nowUs: number, limit: number): Promise<string[]> {
    return this.#redis.zrangebyscore(projectKey(project, 'attention'), '-inf', nowUs, 'LIMIT', 0, limit)
  }

  async nextDueUs(project: string): Promise<number | undefined> {
    const [, score] = await this.#redis.zrangebyscore(projectKey(project, 'attention'), '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    return score === undefined ? undefined : Number(score)
  }

  /** All that wait for a moment to come. */
  async waiting(project: string): Promise<string[]> {
    return this.#redis.zrangebyscore(projectKey(project, 'attention'), '-inf', '+inf')
  }

  async active(project: string, rule: string): Promise<Active[]> {
    return (await this.#redis.hvals(activeKey(project, rule))).map(row => JSON.parse(row) as Active)
  }

  /** The alarms of groups that devices belong to, by rule and device, in the order asked for. */
  async homes(project: string, pairs: readonly (readonly [rule: string, device: string])[]): Promise<(string | undefined)[]> {
    if (pairs.length === 0) return []
    const rows = await this.#redis.hmget(projectKey(project, 'homes'), ...pairs.map(pair => pair.join('\t')))
    return rows.map(row => row ?? undefined)
  }

  /** In the order asked for. */
  async members(project: string, wanted: readonly (readonly [alarmId: string, device: string])[]): Promise<(Member | undefined)[]> {
    if (wanted.length === 0) return []
    const pipeline = this.#redis.pipeline()
    for (const [alarmId, device] of wanted) pipeline.hget(membersKey(project, alarmId), device)
    const replies = (await pipeline.exec()) ?? []
    return replies.map(([error, row]) => {
      if (error) throw error
      return row === null ? undefined : (JSON.parse(row as string) as Member)
    })
  }

  /** Every device of a group that is pending or active. */
  async membersOf(project: string, alarmId: string): Promise<Record<string, Member>> {
    const rows = await this.#redis.hgetall(membersKey(project, alarmId))
    return Object.fromEntries(Object.entries(rows).map(([device, row]) => [device, JSON.parse(row) as Member]))
  }
}

export function membersKey(project: string, alarmId: string): string {
  return projectKey(project, `members:${alarmId}`)
}
