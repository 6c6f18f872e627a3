// In which projects something changed that gateways remember, such as removed devices: who remembers it looks here, and forgets what is
// of that project alone.
import type { Redis } from 'ioredis'

/** Projects, each with the number of the newest removal of a device in it. */
const DEVICES = 't:devices:removed'
/** Whoever has not looked for more projects than these forgets all. */
const KEPT = 1000

/** What a script says that does something of which all are to be told, for `KEYS` and `ARGV` of its own. */
export function adding(key: string, project: string, kept: string): string {
  return `
local newest = redis.call('ZRANGE', ${key}, -1, -1, 'WITHSCORES')
redis.call('ZADD', ${key}, (tonumber(newest[2]) or 0) + 1, ${project})
redis.call('ZREMRANGEBYRANK', ${key}, 0, -1 - ${kept})`
}

type Defined = { telltaleAddRemoval(keys: 1, key: string, project: string, kept: number): Promise<void> }

export type Removed = {
  /** To be asked from the next time; 0 before the first removal of all. */
  readonly newest: number
  readonly projects: readonly string[] | 'all'
}

export class Removals {
  readonly #redis: Redis & Defined
  readonly kept: number
  readonly key: string

  constructor(redis: Redis, kept = KEPT, key = DEVICES) {
    redis.defineCommand('telltaleAddRemoval', { lua: adding('KEYS[1]', 'ARGV[1]', 'ARGV[2]') })
    this.#redis = redis as Redis & Defined
    this.kept = kept
    this.key = key
  }

  async add(project: string): Promise<void> {
    await this.#redis.telltaleAddRemoval(1, this.key, project, this.kept)
  }

  /** Since the removal `known`, which the caller was told of before. */
  async since(known: number): Promise<Removed> {
    // With the known one itself: where not even that is found, this is another Redis than before, or an older state of it.
    const flat = await this.#redis.zrange(this.key, known, '+inf', 'BYSCORE', 'WITHSCORES')
    const numbers = flat.filter((_, i) => i % 2 === 1).map(Number)
    const projects = flat.filter((_, i) => i % 2 === 0)
    const newest = numbers.at(-1) ?? 0
    if (newest < known || projects.length === this.kept) return { newest, projects: 'all' }
    return { newest, projects: projects.filter((_, i) => (numbers[i] as number) > known) }
  }
}
