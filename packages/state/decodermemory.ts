// What decoders remember between payloads, on disk: of one project and mapping, JSON values by key, each saved by itself, and which of them
// changed last, by which another gateway reads only those.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'

/** Of so many it is known that they changed; who knows less reads everything. Also what Lua may unpack. */
const NOTICES = 1000

/**
 * The empty key is the revision's: milliseconds of Redis' clock, and more than the last. KEYS[2]: which keys changed, by the revision of their
 * last change; the empty one stands for the beginning, so that who knows what was here before it was forgotten reads everything. KEYS[3] is there
 * when its decoder is not any more: nothing is saved then. ARGV: key, value (empty: it is forgotten), and so on.
 */
const SAVE = `
if redis.call('EXISTS', KEYS[3]) == 1 then return {} end
local before = redis.call('HGET', KEYS[1], '') or '0'
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local revision = string.format('%.0f', math.max(ms, tonumber(before) + 1))
if before == '0' then redis.call('ZADD', KEYS[2], revision, '') end
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i]) else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
  redis.call('ZADD', KEYS[2], revision, ARGV[i])
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -${NOTICES + 1})
redis.call('HSET', KEYS[1], '', revision)
return {before, revision}`

/** ARGV[1]: what is known. Answers the revision and, where it is another one, what changed: nil where nobody knows. */
const NEWS = `
local revision = redis.call('HGET', KEYS[1], '') or '0'
if revision == ARGV[1] then return {revision, {}} end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if revision == '0' or not first[2] or tonumber(ARGV[1]) < tonumber(first[2]) then return {revision} end
local keys = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf')
if #keys == 0 then return {revision, {}} end
local values = redis.call('HMGET', KEYS[1], unpack(keys))
local pairs = {}
for i, key in ipairs(keys) do
  pairs[2 * i - 1] = key
  pairs[2 * i] = values[i] or ''
end
return {revision, pairs}`

/** When the one of them changed that did so first; of those that nobody knows of any more, the latest that it can have been. */
const CHANGED = `
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or '0'
local earliest = false
for _, key in ipairs(ARGV) do
  local at = redis.call('ZSCORE', KEYS[1], key) or first
  if not earliest or tonumber(at) < tonumber(earliest) then earliest = at end
end
return earliest or '0'`

type Scripts = {
  telltaleRemember(keys: 3, ...all: readonly string[]): Promise<[before: string, revision: string] | []>
  telltaleRemembered(keys: 2, key: string, changes: string, known: number): Promise<[revision: string, pairs?: string[]]>
  telltaleRememberedAt(keys: 1, changes: string, ...names: readonly string[]): Promise<string>
}

/** Of which project, mapping and format; another format means other things by the same keys, and another mapping of the name has another `uid`. */
export type MemoryId = {
  readonly project: string
  readonly decoder: string
  readonly format: string
  /** Undefined: of a built-in one. */
  readonly uid?: string | undefined
}

/** JSON texts by key. `isAll`: what is not there is forgotten; else these have changed, and empty ones are forgotten. */
export type Remembered = { readonly revision: number; readonly isAll: boolean; readonly values: ReadonlyMap<string, string> }

/** What was on its way to the disk when a decoder was deleted has come long before that. */
const GONE_SECONDS = 24 * 60 * 60

/** In one command. */
const PAIRS = 1000

export class DecoderMemory {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleRemember', { lua: SAVE })
    redis.defineCommand('telltaleRemembered', { lua: NEWS })
    redis.defineCommand('telltaleRememberedAt', { lua: CHANGED })
    this.#redis = redis as Redis & Scripts
  }

  /** @param known revision up to which everything is known; -1: nothing. */
  async read(id: MemoryId, known: number): Promise<Remembered> {
    if (known >= 0) {
      const [revision, pairs] = await this.#redis.telltaleRemembered(2, keyOf(id), changesKeyOf(id), known)
      if (pairs) return { revision: Number(revision), isAll: false, values: new Map(pairsOf(pairs)) }
    }
    const { '': revision = '0', ...rows } = await this.#redis.hgetall(keyOf(id))
    return { revision: Number(revision), isAll: true, values: new Map(Object.entries(rows)) }
  }

  /**
   * JSON texts by key, empty ones for what is forgotten; more than some are saved in parts. Resolves, when they are on disk, with the
   * revision up to which everything is known to who knew everything up to `known`. @throws Failure `not_found` when the decoder was deleted.
   */
  async save(id: MemoryId, changes: ReadonlyMap<string, string>, known: number): Promise<number> {
    const pairs = [...changes]
    const keys = [keyOf(id), changesKeyOf(id), goneKeyOf(id)]
    const saving: Promise<[before: string, revision: string] | []>[] = []
    for (let i = 0; i < pairs.length; i += PAIRS) saving.push(this.#redis.telltaleRemember(3, ...keys, ...pairs.slice(i, i + PAIRS).flat()))
    let upTo = known
    for (const [before, revision] of await Promise.all(saving)) {
      if (before === undefined) throw new Failure('not_found', `decoder ${id.decoder} was deleted`, { field: 'decoder' })
      if (Number(before) === upTo) upTo = Number(revision)
    }
    return upTo
  }

  /** When all of them had changed since, in milliseconds: none was changed before that. Somewhat later than it was where that is long ago. */
  async changedMs(id: MemoryId, keys: readonly string[]): Promise<number> {
    const asked: Promise<string>[] = []
    for (let i = 0; i < keys.length; i += PAIRS)
      asked.push(this.#redis.telltaleRememberedAt(1, changesKeyOf(id), ...keys.slice(i, i + PAIRS)))
    return Math.min(...(await Promise.all(asked)).map(Number))
  }

  /**
   * For good: what gateways save of it later is refused. A decoder of the same name has another `uid`. The built-in one learns anew: gateways see
   * within seconds that nothing is known.
   */
  async forget(id: MemoryId): Promise<void> {
    // In this order, so that nothing is saved in between.
    if (id.uid !== undefined) await this.#redis.set(goneKeyOf(id), '1', 'EX', GONE_SECONDS)
    await this.#redis.unlink(keyOf(id), changesKeyOf(id))
  }
}

function pairsOf(flat: readonly string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] as string, flat[2 * i + 1] as string])
}

function keyOf(id: MemoryId): string {
  return projectKey(id.project, `memory:${nameOf(id)}`)
}

function changesKeyOf(id: MemoryId): string {
  return projectKey(id.project, `memorychanges:${nameOf(id)}`)
}

function goneKeyOf(id: MemoryId): string {
  return projectKey(id.project, `memorygone:${nameOf(id)}`)
}

function nameOf({ decoder, format, uid }: MemoryId): string {
  return uid === undefined ? `${decoder}:${format}` : `${decoder}:${format}:${uid}`
}
