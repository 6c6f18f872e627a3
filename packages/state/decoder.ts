// A project's own decoders: which format, with which options, takes which topics or content types; and the JSON Schemas of its event types.
// Gateways keep both in memory and are told when they change.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'
import { Removals } from './deviceremoval.ts'

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
  /** Whose events they are, and of which type, where the payload does not say; `{2}` stands for the second level of the topic. */
  readonly device?: string
  readonly eventType?: string
}

/** Projects whose decoders or schemas changed, each with the number of its newest change. */
const CHANGED = 't:decoders:changed'
const MAX_DECODERS = 200
const MAX_SCHEMAS = 500
/** Of all of one kind in a project: every gateway keeps them. */
const MAX_CHARS = 8 * 1024 * 1024

/** ARGV: field, value, how many there may be, how many characters, «1» when it must be new. */
const PUT = `
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before and ARGV[5] == '1' then return -1 end
if not before and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return -2 end
local chars = #ARGV[2] - #(before or '')
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do chars = chars + #value end
if chars > tonumber(ARGV[4]) then return -3 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1`

type Scripts = { telltalePutDocument(keys: 1, key: string, ...args: (string | number)[]): Promise<number> }

/** One kind of document of a project, by name. */
class Documents<T> {
  readonly #redis: Redis & Scripts
  readonly #kind: string
  readonly #most: number
  readonly #changes: Removals

  constructor(redis: Redis, kind: string, most: number, changes: Removals) {
    redis.defineCommand('telltalePutDocument', { lua: PUT })
    this.#redis = redis as Redis & Scripts
    this.#kind = kind
    this.#most = most
    this.#changes = changes
  }

  /** By name. */
  async list(project: string): Promise<[name: string, document: T][]> {
    const rows = await this.#redis.hgetall(this.#key(project))
    return Object.keys(rows)
      .sort()
      .map(name => [name, JSON.parse(rows[name] as string) as T])
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
    const text = JSON.stringify(document)
    const args = [name, text, this.#most, MAX_CHARS, onlyNew ? '1' : '0']
    const outcome = await this.#redis.telltalePutDocument(1, this.#key(project), ...args)
    if (outcome === -1) throw new Failure('conflict', `${this.#kind} ${name} exists already: PUT replaces it`, { field: 'name' })
    if (outcome === -2) throw new Failure('conflict', `a project has at most ${this.#most} ${this.#kind}s: remove some`)
    if (outcome === -3) throw new Failure('too_large', `the ${this.#kind}s of a project have at most ${MAX_CHARS} characters in all`)
    await this.#changes.add(project)
  }

  async remove(project: string, name: string): Promise<void> {
    if ((await this.#redis.hdel(this.#key(project), name)) === 0) throw this.#missing(project, name)
    await this.#changes.add(project)
  }

  #key(project: string): string {
    return projectKey(project, `${this.#kind}s`)
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
    this.decoders = new Documents(redis, 'decoder', MAX_DECODERS, this.changes)
    this.schemas = new Documents(redis, 'schema', MAX_SCHEMAS, this.changes)
  }
}
