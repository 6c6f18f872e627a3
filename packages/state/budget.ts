// How much a project may hold of what never goes away by itself and costs every reader: devices, event types, fields and values of labels.
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'

export const BUDGETS = ['devices', 'eventTypes', 'fields', 'labelValues'] as const
export type BudgetName = (typeof BUDGETS)[number]
export type Limits = Readonly<Record<BudgetName, number>>

/** A reading store and a registry on two cores hold as much (docs/performance.md); a sensor that invents names does not reach it by use. */
export const DEFAULT_LIMITS: Limits = { devices: 1_000_000, eventTypes: 1000, fields: 10_000, labelValues: 100_000 }

/** What a project holds now; names as `shape` has them: `temperature`, `temperature\nvalue`. Undefined: as many as were known. */
export type Held = { readonly limits: Limits; readonly devices: number; readonly names: readonly string[] | undefined }

/** Rows of devices are large. */
const AT_ONCE = 500

export class Budgets {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  async limits(project: string): Promise<Limits> {
    return limitsOf(await this.#redis.hgetall(limitsKey(project)))
  }

  async setLimits(project: string, limits: Partial<Limits>): Promise<Limits> {
    const pairs = Object.entries(limits).flat()
    if (pairs.length > 0) await this.#redis.hset(limitsKey(project), ...pairs)
    return this.limits(project)
  }

  /** @param known how many names the caller knows: they are read again when there are others. */
  async held(project: string, known?: number): Promise<Held> {
    const [limits, devices, count] = await Promise.all([
      this.limits(project),
      this.#redis.hlen(projectKey(project, 'devices')),
      this.#redis.scard(namesKey(project)),
    ])
    return { limits, devices, names: count === known ? undefined : await this.#redis.smembers(namesKey(project)) }
  }

  async labelValues(project: string): Promise<number> {
    return this.#redis.scard(labelValuesKey(project))
  }

  /** Which of these are registered. */
  async registered(project: string, devices: readonly string[]): Promise<ReadonlySet<string>> {
    const found = new Set<string>()
    for (let at = 0; at < devices.length; at += AT_ONCE) {
      const some = devices.slice(at, at + AT_ONCE)
      const rows = await this.#redis.hmget(projectKey(project, 'devices'), ...some)
      for (const [index, row] of rows.entries()) if (row !== null) found.add(some[index] as string)
    }
    return found
  }

  async addNames(project: string, names: readonly string[]): Promise<void> {
    if (names.length > 0) await this.#redis.sadd(namesKey(project), ...names)
  }
}

export function limitsOf(stored: Readonly<Record<string, string>>): Limits {
  return Object.fromEntries(BUDGETS.map(name => [name, Number(stored[name] ?? DEFAULT_LIMITS[name])])) as Limits
}

export function limitsKey(project: string): string {
  return projectKey(project, 'budget')
}

function namesKey(project: string): string {
  return projectKey(project, 'budget:names')
}

/** Of `key\0value`; only grows, until it is full and looked through. */
export function labelValuesKey(project: string): string {
  return projectKey(project, 'budget:labels')
}
