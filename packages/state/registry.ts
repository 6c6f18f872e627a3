// What belongs to no single project: accounts, keys, members, projects, organisations. All in one Cluster slot, so that what is
// changed together is changed at once.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'

/** "~" stands in no project's name, so these keys are no project's (log/key.ts). */
export const REGISTRY = 't:{~registry}:'

export function registryKey(name: string): string {
  return `${REGISTRY}${name}`
}

/** Projects that are being deleted, as scopes, with the token of who deletes them: nobody has a role there. */
export const CLOSED = registryKey('closed')

/** What somebody can be a member of. */
export type Scope = `projects/${string}` | `organizations/${string}`

/** Those who hold these keys must be looked at again: some of their rights went. `*` stands for everybody. */
const CHANGES = registryKey('changes')
const CHANGES_KEPT = 10_000

/** For Lua: tells every process that the rights of some keys went. */
export const TELL = `
local function tell(keys)
  if keys ~= '' then redis.call('XADD', '${CHANGES}', 'MAXLEN', '~', ${CHANGES_KEPT}, '*', 'keys', keys) end
end
local function keysOf(account)
  return table.concat(redis.call('SMEMBERS', '${REGISTRY}keysOf:' .. account), ',')
end`

/**
 * Replaces a field of a hash only if it still holds what was read; an empty ARGV[2] stands for «does not exist», an empty ARGV[3]
 * removes it. The keys of the account ARGV[4] are then told, if there is one.
 */
const SWAP = `${TELL}
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
if ARGV[4] ~= '' then tell(keysOf(ARGV[4])) end
return 1`

type Scripts = { telltaleSwapRecord(keys: 1, key: string, field: string, before: string, after: string, account: string): Promise<number> }

/** One kind of record: a hash of JSON documents by id. */
export class Records<T> {
  readonly #redis: Redis & Scripts
  readonly #key: string

  constructor(redis: Redis, name: string) {
    redis.defineCommand('telltaleSwapRecord', { lua: SWAP })
    this.#redis = redis as Redis & Scripts
    this.#key = registryKey(name)
  }

  async ids(): Promise<string[]> {
    return this.#redis.hkeys(this.#key)
  }

  async find(id: string): Promise<T | undefined> {
    const row = await this.#redis.hget(this.#key, id)
    return row === null ? undefined : (JSON.parse(row) as T)
  }

  async several(ids: readonly string[]): Promise<(T | undefined)[]> {
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(this.#key, ...ids)
    return rows.map(row => (row === null ? undefined : (JSON.parse(row) as T)))
  }

  /**
   * Resolves with the new record, or undefined when there is none.
   * @param account whose keys have to be looked at again afterwards.
   */
  async change(id: string, change: (before: T) => T, account = ''): Promise<T | undefined> {
    for (let attempt = 0; attempt < 20; attempt++) {
      const row = await this.#redis.hget(this.#key, id)
      if (row === null) return undefined
      const after = change(JSON.parse(row) as T)
      if ((await this.#redis.telltaleSwapRecord(1, this.#key, id, row, JSON.stringify(after), account)) === 1) return after
    }
    throw new Failure('conflict', `${id} is being changed by others: try again`)
  }
}

/** The same within a transaction. */
export function tell(transaction: ReturnType<Redis['multi']>, keyId: string): void {
  transaction.xadd(CHANGES, 'MAXLEN', '~', CHANGES_KEPT, '*', 'keys', keyId)
}

export type Changes = { readonly last: string; readonly keys: ReadonlySet<string> | 'all' }

/** More at once than are looked at one by one. */
const MAX_CHANGES = 1000

/** What was told after this place; an empty one finds the present place. */
export async function readChanges(redis: Redis, after: string): Promise<Changes> {
  if (after === '') {
    const [newest] = await redis.xrevrange(CHANGES, '+', '-', 'COUNT', 1)
    return { last: newest?.[0] ?? '0-0', keys: new Set() }
  }
  const rows = await redis.xrange(CHANGES, `(${after}`, '+', 'COUNT', MAX_CHANGES)
  const keys = new Set(rows.flatMap(([, fields]) => (fields[1] ?? '').split(',')))
  return { last: rows.at(-1)?.[0] ?? after, keys: rows.length === MAX_CHANGES || keys.has('*') ? 'all' : keys }
}

/** Transactions report what failed inside them as values. */
export async function commit(transaction: ReturnType<Redis['multi']>): Promise<unknown[]> {
  const results = (await transaction.exec()) ?? []
  return results.map(([error, value]) => {
    if (error) throw error
    return value
  })
}

/** One page of names in order, after the last one of the page before. */
export function pageOf<T>(all: readonly T[], idOf: (one: T) => string, after: string, limit: number): T[] {
  const sorted = all.filter(one => idOf(one) > after).toSorted((a, b) => (idOf(a) < idOf(b) ? -1 : 1))
  return sorted.slice(0, limit)
}
