// What the judge wrote with its commits, read back when a worker starts or takes a project over.
import type { Redis } from 'ioredis'
import { parseRule, type Rule } from '../core/rule.ts'
import type { RuleState } from '../core/step.ts'
import { projectKey, stateKey } from '../log/key.ts'

export class Judgements {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  /** In the order asked for. */
  async states(project: string, wanted: readonly (readonly [rule: string, device: string])[]): Promise<(RuleState | undefined)[]> {
    const byRule = new Map<string, string[]>()
    for (const [rule, device] of wanted) {
      const devices = byRule.get(rule)
      if (devices) devices.push(device)
      else byRule.set(rule, [device])
    }
    const found = new Map<string, RuleState>()
    for (const [rule, devices] of byRule) {
      const rows = await this.#redis.hmget(stateKey(project, rule), ...devices)
      for (const [i, row] of rows.entries()) if (row !== null) found.set(`${rule}\t${devices[i]}`, JSON.parse(row) as RuleState)
    }
    return wanted.map(([rule, device]) => found.get(`${rule}\t${device}`))
  }

  async newest(project: string, series: readonly string[]): Promise<(number | undefined)[]> {
    const rows = await this.#redis.hmget(projectKey(project, 'newest'), ...series)
    return rows.map(row => (row === null ? undefined : Number(row)))
  }

  /** Timers due in server time by `nowUs`, earliest first. */
  async due(project: string, nowUs: number, limit: number): Promise<{ rule: string; device: string; dueUs: number }[]> {
    const rows = await this.#redis.zrangebyscore(projectKey(project, 'timers'), '-inf', nowUs, 'WITHSCORES', 'LIMIT', 0, limit)
    const due: { rule: string; device: string; dueUs: number }[] = []
    for (let i = 0; i < rows.length; i += 2) {
      const [rule, device] = (rows[i] as string).split('\t') as [string, string]
      due.push({ rule, device, dueUs: Number(rows[i + 1]) })
    }
    return due
  }

  /** Rules that have states but are not enabled any more, as they were last. */
  async orphans(project: string, enabled: ReadonlySet<string>): Promise<{ rule: Rule; states: Map<string, RuleState> }[]> {
    const names = (await this.#redis.smembers(projectKey(project, 'ruleStates'))).filter(name => !enabled.has(name))
    return Promise.all(
      names.map(async name => {
        const kept =
          (await this.#redis.hget(projectKey(project, 'rules'), name)) ??
          (await this.#redis.hget(projectKey(project, 'removedRules'), name))
        const rows = await this.#redis.hgetall(stateKey(project, name))
        const states = Object.entries(rows).map(([device, row]) => [device, JSON.parse(row) as RuleState] as const)
        return { rule: parseRule(JSON.parse(kept ?? 'null'), name), states: new Map(states) }
      }),
    )
  }
}
