// A project's own decoders: which format, with which options, takes which topics or content types; and the JSON Schemas of its event types.
// Gateways keep both in memory and are told when they change.
import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'
import { adding, Removals } from './deviceremoval.ts'

/** A mapping: what matches `topics` or `contentTypes`, or is sent to it by its name, is decoded by `format`. */
export type DecoderRecord = {
  readonly name: string
  /** Under which it is remembered what it was told: another one when it is created again. Undefined: as the built-in one of its name. */
  readonly uid?: string | undefined
  readonly format: string
  /** Topic filters, in the project's own space. */
  readonly topics: readonly string[]
  readonly contentTypes: readonly string[]
  readonly options: Readonly<Record<string, unknown>>
  readonly enabled: boolean
  /** Whose events they are, and of which type, where neither payload nor route says it; `{2}` stands for the second level of the topic. */
  readonly device?: string
  readonly eventType?: string
}

/** Projects whose decoders or schemas changed, each with the number of its newest change. */
const CHANGED = 't:decoders:changed'
const MAX_DECODERS = 200
const MAX_SCHEMAS = 500
/** Of all of one kind in a project: every gateway keeps them. */
const MAX_CHARS = 8 * 1024 * 1024
/** Of all decoders of a project: each publish is compared with all that begin with `+`. */
export const MAX_FILTERS = 1000

// In a Cluster the changes lie elsewhere, and a third key is missing.
const ANNOUNCE = `
if KEYS[3] then${adding('KEYS[3]', 'ARGV[2]', 'ARGV[3]')}
end`

/**
 * KEYS: documents; «weight revision» of each; changes. ARGV: name, project, changes kept, document, revision, weight, how many there may be,
 * how many characters, which weight, «1» when it must be new.
 */
const PUT = `
local before = redis.call('HEXISTS', KEYS[1], ARGV[1])
if before == 1 and ARGV[10] == '1' then return -1 end
if before == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[7]) then return -2 end
local chars = #ARGV[4]
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if name ~= ARGV[1] then chars = chars + redis.call('HSTRLEN', KEYS[1], name) end
end
if chars > tonumber(ARGV[8]) then return -3 end
local weight = tonumber(ARGV[6])
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  if all[i] ~= ARGV[1] then weight = weight + tonumber(string.match(all[i + 1], '^%d+')) end
end
local own = tonumber(string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '0', '^%d+'))
if weight > tonumber(ARGV[9]) and tonumber(ARGV[6]) > own then return -4 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[6] .. ' ' .. ARGV[5])${ANNOUNCE}
return 1`

/** Tells it again when there is nothing to remove any more: who asks again may not know that the first time nobody was told. */
const REMOVE = `
local removed = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])${ANNOUNCE}
return removed`

type Scripts = {
  telltalePutDocument(keys: number, ...args: (string | number)[]): Promise<number>
  telltaleRemoveDocument(keys: number, ...args: (string | number)[]): Promise<number>
}

/** `weigh`: what of a document is bounded over all of them, in words as well. */
type Bounds<T> = { readonly most: number; readonly weigh: (document: T) => number; readonly maxWeight: number; readonly weighed: string }

/** `chars`: as it is kept. */
export type Kept<T> = { readonly document: T; readonly chars: number }

/** So many are read at once: others have their turn in between. */
const AT_ONCE = 8

/** One kind of document of a project, by name. */
export class Documents<T> {
  readonly #redis: Redis & Scripts
  readonly #kind: string
  readonly #bounds: Bounds<T>
  readonly #changes: Removals

  constructor(redis: Redis, kind: string, bounds: Bounds<T>, changes: Removals) {
    redis.defineCommand('telltalePutDocument', { lua: PUT })
    redis.defineCommand('telltaleRemoveDocument', { lua: REMOVE })
    this.#redis = redis as Redis & Scripts
    this.#kind = kind
    this.#bounds = bounds
    this.#changes = changes
  }

  /** By name: another one after each change of the document; empty for what was saved before there were any. */
  async revisions(project: string): Promise<ReadonlyMap<string, string>> {
    const [names, saved] = await Promise.all([this.#redis.hkeys(this.#key(project)), this.#redis.hgetall(this.#savedKey(project))])
    return new Map(names.toSorted().map(name => [name, saved[name]?.split(' ')[1] ?? '']))
  }

  /** Of these names; those that are gone are missing. */
  async some(project: string, names: readonly string[]): Promise<Map<string, Kept<T>>> {
    const found = new Map<string, Kept<T>>()
    for (let from = 0; from < names.length; from += AT_ONCE) {
      const some = names.slice(from, from + AT_ONCE)
      const rows = await this.#redis.hmget(this.#key(project), ...some)
      for (const [i, row] of rows.entries())
        if (row !== null) found.set(some[i] as string, { document: JSON.parse(row) as T, chars: row.length })
    }
    return found
  }

  async find(project: string, name: string): Promise<T | undefined> {
    const row = await this.#redis.hget(this.#key(project), name)
    return row === null ? undefined : (JSON.parse(row) as T)
  }

  async one(project: string, name: string): Promise<T> {
    const found = await this.find(project, name)
    if (found === undefined) throw this.#missing(project, name)
    return found
  }

  /** @param onlyNew conflict when there is one of this name. */
  async save(project: string, name: string, document: T, onlyNew = false): Promise<void> {
    const { most, weigh, maxWeight, weighed } = this.#bounds
    const sizes = [weigh(document), most, MAX_CHARS, maxWeight]
    const args = [...this.#about(project, name), JSON.stringify(document), randomUUID(), ...sizes, onlyNew ? '1' : '0']
    const outcome = await this.#redis.telltalePutDocument(...this.#keys(project), ...args)
    if (outcome === -1) throw new Failure('conflict', `${this.#kind} ${name} exists already: PUT replaces it`, { field: 'name' })
    if (outcome === -2) throw new Failure('conflict', `a project has at most ${most} ${this.#kind}s: remove some`)
    if (outcome === -3) throw new Failure('too_large', `the ${this.#kind}s of a project have at most ${MAX_CHARS} characters in all`)
    if (outcome === -4) throw new Failure('too_large', `the ${this.#kind}s of a project have at most ${maxWeight} ${weighed} in all`)
    await this.#announced(project)
  }

  async remove(project: string, name: string): Promise<void> {
    const removed = await this.#redis.telltaleRemoveDocument(...this.#keys(project), ...this.#about(project, name))
    await this.#announced(project)
    if (removed === 0) throw this.#missing(project, name)
  }

  #keys(project: string): [count: number, ...keys: string[]] {
    const own = [this.#key(project), this.#savedKey(project)]
    return this.#redis.isCluster ? [2, ...own] : [3, ...own, this.#changes.key]
  }

  #about(project: string, name: string): (string | number)[] {
    return [name, project, this.#changes.kept]
  }

  /** Where no script may do both. Who is cut off in between must ask again. */
  async #announced(project: string): Promise<void> {
    if (this.#redis.isCluster) await this.#changes.add(project)
  }

  #key(project: string): string {
    return projectKey(project, `${this.#kind}s`)
  }

  #savedKey(project: string): string {
    return projectKey(project, `${this.#kind}s:saved`)
  }

  #missing(project: string, name: string): Failure {
    return new Failure('not_found', `${this.#kind} ${name} does not exist in project ${project}`, { field: this.#kind })
  }
}

/** Of an event type: what its data must look like. */
export type EventSchema = { readonly definition: unknown }

export class Decoders {
  readonly decoders: Documents<DecoderRecord>
  readonly schemas: Documents<EventSchema>
  /** In which projects one of them changed. */
  readonly changes: Removals

  constructor(redis: Redis) {
    this.changes = new Removals(redis, undefined, CHANGED)
    const filters = { weigh: ({ topics }: DecoderRecord) => topics.length, maxWeight: MAX_FILTERS, weighed: 'topic filters' }
    this.decoders = new Documents(redis, 'decoder', { most: MAX_DECODERS, ...filters }, this.changes)
    this.schemas = new Documents(redis, 'schema', { most: MAX_SCHEMAS, weigh: () => 0, maxWeight: 0, weighed: '' }, this.changes)
  }
}
