// Service accounts and their keys in Redis. A secret is kept sealed: signed assertions are verified with it.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { CLOSED, commit, pageOf, REGISTRY, Records, registryKey, TELL, tell } from './registry.ts'

export type Account = {
  readonly id: string
  /** Where it was made and is managed. It has no role there by that alone. */
  readonly project: string
  readonly email: string
  readonly displayName: string
  readonly enableBasicAuth: boolean
  readonly createTime: string
  readonly updateTime: string
}

export type Key = { readonly id: string; readonly createTime: string }
export type SealedKey = Key & { readonly account: string; readonly secret: string }

export const MAX_KEYS = 10
/** Sessions of one key. */
const MAX_ENDED = 100
/** Stands where a session would. */
const ALL = '*'

/** ARGV: project, account, record, e-mail address. */
const CREATE = `
if redis.call('HEXISTS', '${REGISTRY}projects', ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('HSET', '${REGISTRY}emails', ARGV[4], ARGV[2])
redis.call('SADD', '${REGISTRY}accountsOf:' .. ARGV[1], ARGV[2])
return 1`

/** Adds a key (ARGV[1]: account, [2]: id, [3]: record, [4]: how many it may have). */
const ADD_KEY = `
if redis.call('HEXISTS', '${REGISTRY}accounts', ARGV[1]) == 0 then return -1 end
if redis.call('SCARD', '${REGISTRY}keysOf:' .. ARGV[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('SADD', '${REGISTRY}keysOf:' .. ARGV[1], ARGV[2])
return 1`

/** Takes a key away (ARGV[1]: account, [2]: id), unless it is the last one of somebody who administers the organisation at home. */
const REMOVE_KEY = `${TELL}
local keys = '${REGISTRY}keysOf:' .. ARGV[1]
if redis.call('SISMEMBER', keys, ARGV[2]) == 0 then return 0 end
if redis.call('SCARD', keys) == 1 then
  local home = cjson.decode(redis.call('HGET', '${REGISTRY}accounts', ARGV[1]))['project']
  local project = redis.call('HGET', '${REGISTRY}projects', home)
  local scope = project and 'organizations/' .. cjson.decode(project)['organization']
  if scope and redis.call('HEXISTS', '${REGISTRY}memberships:' .. ARGV[1], scope) == 1 then return -1 end
end
redis.call('HDEL', KEYS[1], ARGV[2])
redis.call('SREM', keys, ARGV[2])
redis.call('DEL', '${REGISTRY}ended:' .. ARGV[2])
tell(ARGV[2])
return 1`

/** Takes an account away with its keys and memberships (ARGV[1]: account), unless an organisation would be left without an admin. */
const REMOVE = `${TELL}
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then return 0 end
local scopes = redis.call('HKEYS', '${REGISTRY}memberships:' .. ARGV[1])
for _, scope in ipairs(scopes) do
  if string.sub(scope, 1, 14) == 'organizations/' and redis.call('HLEN', '${REGISTRY}members:' .. scope) == 1 then return -1 end
end
local account = cjson.decode(row)
tell(keysOf(ARGV[1]))
for _, scope in ipairs(scopes) do redis.call('HDEL', '${REGISTRY}members:' .. scope, ARGV[1]) end
for _, key in ipairs(redis.call('SMEMBERS', '${REGISTRY}keysOf:' .. ARGV[1])) do redis.call('HDEL', '${REGISTRY}keys', key) end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', '${REGISTRY}emails', account['email'])
redis.call('SREM', '${REGISTRY}accountsOf:' .. account['project'], ARGV[1])
redis.call('DEL', '${REGISTRY}keysOf:' .. ARGV[1], '${REGISTRY}memberships:' .. ARGV[1])
return 1`

/** ARGV: id. Remembers which one the settings name; another one that they named before is removed. */
const SETTLE = `${TELL}
local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
if not before or before == ARGV[1] then return 0 end
local row = redis.call('HGET', '${REGISTRY}keys', before)
if not row then return 0 end
redis.call('HDEL', '${REGISTRY}keys', before)
redis.call('SREM', '${REGISTRY}keysOf:' .. cjson.decode(row)['account'], before)
tell(before)
return 1`

/**
 * Ends a session (ARGV: key, session, when it ends, now, how many are remembered one by one, the name of all). Past that many all that end
 * no later than these are over.
 */
const END_SESSION = `${TELL}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[4])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[5]) then
  redis.call('DEL', KEYS[1])
  redis.call('ZADD', KEYS[1], last, ARGV[6])
end
redis.call('PEXPIREAT', KEYS[1], last)
tell(ARGV[1])
return 1`

/** Everything about the holder of a key in one round trip: key, account, ended sessions, then pairs of scope and role. */
const LOOK = `
local key = redis.call('HGET', KEYS[1], ARGV[1])
if not key then return {} end
local readable, record = pcall(cjson.decode, key)
if not readable or type(record) ~= 'table' then return { key, '' } end
local id = record['account']
local account = redis.call('HGET', '${REGISTRY}accounts', id)
if not account then return {} end
local ended = redis.call('ZRANGE', '${REGISTRY}ended:' .. ARGV[1], 0, -1, 'WITHSCORES')
local found = { key, account, table.concat(ended, ' ') }
local closing = redis.call('EXISTS', '${CLOSED}') == 1
local function grant(scope, role)
  if closing and redis.call('HEXISTS', '${CLOSED}', scope) == 1 then return end
  found[#found + 1] = scope
  found[#found + 1] = role
end
local grants = redis.call('HGETALL', '${REGISTRY}memberships:' .. id)
for i = 1, #grants, 2 do
  grant(grants[i], grants[i + 1])
  if string.sub(grants[i], 1, 14) == 'organizations/' then
    for _, project in ipairs(redis.call('SMEMBERS', '${REGISTRY}projectsOf:' .. string.sub(grants[i], 15))) do
      grant('projects/' .. project, 'admin')
    end
  end
end
return found`

type Scripts = {
  telltaleCreateAccount(keys: 1, key: string, project: string, id: string, record: string, email: string): Promise<number>
  telltaleAddKey(keys: 1, key: string, account: string, id: string, record: string, max: number): Promise<number>
  telltaleRemoveKey(keys: 1, key: string, account: string, id: string): Promise<number>
  telltaleRemoveAccount(keys: 1, key: string, account: string): Promise<number>
  telltaleSettleAdminKey(keys: 1, key: string, id: string): Promise<number>
  telltaleEndSession(keys: 1, key: string, ...args: (string | number)[]): Promise<number>
  telltaleLookUpKey(keys: 1, key: string, id: string): Promise<string[]>
}

/** Sessions of a key that were ended before their time: these, and all that end no later than that. */
export type EndedSessions = { readonly ids: ReadonlySet<string>; readonly allUntilMs: number }

export type Holder = {
  readonly key: SealedKey
  readonly account: Account
  readonly ended: EndedSessions
  readonly grants: readonly (readonly [scope: string, role: string])[]
}

const KEYS = registryKey('keys')
const ACCOUNTS = registryKey('accounts')

export class Accounts {
  readonly #redis: Redis & Scripts
  readonly #records: Records<Account>

  constructor(redis: Redis) {
    redis.defineCommand('telltaleCreateAccount', { lua: CREATE })
    redis.defineCommand('telltaleAddKey', { lua: ADD_KEY })
    redis.defineCommand('telltaleRemoveKey', { lua: REMOVE_KEY })
    redis.defineCommand('telltaleRemoveAccount', { lua: REMOVE })
    redis.defineCommand('telltaleSettleAdminKey', { lua: SETTLE })
    redis.defineCommand('telltaleEndSession', { lua: END_SESSION })
    redis.defineCommand('telltaleLookUpKey', { lua: LOOK })
    this.#redis = redis as Redis & Scripts
    this.#records = new Records(redis, 'accounts')
  }

  /** In order of id; `next` is the id after which the next page begins, when there is one. Some may be deleted while they are listed. */
  async list(project: string, after: string, limit: number): Promise<{ readonly accounts: readonly Account[]; readonly next?: string }> {
    const ids = await this.#redis.smembers(registryKey(`accountsOf:${project}`))
    const page = pageOf(ids, id => id, after, limit + 1)
    const here = page.slice(0, limit)
    const accounts = (await this.several(here)).filter(account => account !== undefined)
    const next = page.length > limit ? here.at(-1) : undefined
    return next === undefined ? { accounts } : { accounts, next }
  }

  async several(ids: readonly string[]): Promise<(Account | undefined)[]> {
    return this.#records.several(ids)
  }

  /** Only one that was made in this project: others are nobody's business there (hazard 36). */
  async one(project: string, id: string): Promise<Account> {
    const account = await this.#records.find(id)
    if (account?.project !== project) throw missing(project, id)
    return account
  }

  async findByEmail(email: string): Promise<Account | undefined> {
    const id = await this.#redis.hget(registryKey('emails'), email)
    return id === null ? undefined : this.#records.find(id)
  }

  /** Its id and e-mail address are nobody else's. */
  async create(account: Account): Promise<void> {
    const { id, project, email } = account
    const made = await this.#redis.telltaleCreateAccount(1, ACCOUNTS, project, id, JSON.stringify(account), email)
    if (made === 0) throw new Failure('not_found', `project ${project} does not exist`, { field: 'project' })
  }

  /** Creates or replaces it without a question, under another address than before if that is given. */
  async put(account: Account, emailBefore: string | undefined): Promise<void> {
    const transaction = this.#redis.multi()
    if (emailBefore !== undefined && emailBefore !== account.email) transaction.hdel(registryKey('emails'), emailBefore)
    transaction
      .hset(ACCOUNTS, account.id, JSON.stringify(account))
      .hset(registryKey('emails'), account.email, account.id)
      .sadd(registryKey(`accountsOf:${account.project}`), account.id)
    await commit(transaction)
  }

  /** What may end with HTTP Basic is looked at again. */
  async change(project: string, id: string, change: (before: Account) => Account): Promise<Account> {
    const changed = await this.#records.change(id, change, id)
    if (!changed) throw missing(project, id)
    return changed
  }

  async remove({ project, id }: Account): Promise<void> {
    const removed = await this.#redis.telltaleRemoveAccount(1, ACCOUNTS, id)
    if (removed === 0) throw missing(project, id)
    if (removed < 0) throw new Failure('conflict', `service account ${id} is the last admin of its organization: make another one first`)
  }

  async keys(account: string): Promise<Key[]> {
    const ids = (await this.#redis.smembers(registryKey(`keysOf:${account}`))).toSorted()
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(KEYS, ...ids)
    return rows.filter(row => row !== null).map(withoutSecret)
  }

  async key(account: string, id: string): Promise<Key> {
    const row = await this.#redis.hget(KEYS, id)
    const found = row === null ? undefined : (JSON.parse(row) as SealedKey)
    if (found?.account !== account) throw new Failure('not_found', `key ${id} does not exist`, { field: 'key' })
    return withoutSecret(row as string)
  }

  /** @throws `conflict` when the account has as many as it may. */
  async addKey(key: SealedKey, max = MAX_KEYS): Promise<void> {
    const added = await this.#redis.telltaleAddKey(1, KEYS, key.account, key.id, JSON.stringify(key), max)
    if (added < 0) throw new Failure('not_found', `service account ${key.account} does not exist`, { field: 'serviceaccount' })
    if (added === 0) throw new Failure('conflict', `a service account has at most ${max} keys: delete an old one first`)
  }

  /** Creates or replaces it; the account that had it before has it no more, and what was proven with the secret before ends. */
  async putKey(key: SealedKey, accountBefore: string | undefined): Promise<void> {
    const transaction = this.#redis.multi().hset(KEYS, key.id, JSON.stringify(key))
    if (accountBefore !== undefined) transaction.srem(registryKey(`keysOf:${accountBefore}`), key.id)
    tell(transaction, key.id)
    await commit(transaction.sadd(registryKey(`keysOf:${key.account}`), key.id))
  }

  /** This is the key of the settings from now on; an earlier one of theirs is removed. */
  async settleAdminKey(id: string): Promise<void> {
    await this.#redis.telltaleSettleAdminKey(1, registryKey('adminKey'), id)
  }

  /** The key of the settings, or the one that the first start made; undefined when there never was one. */
  async adminKey(): Promise<string | undefined> {
    return (await this.#redis.get(registryKey('adminKey'))) ?? undefined
  }

  async endSession(keyId: string, session: string, expiresMs: number): Promise<void> {
    const args = [keyId, session, expiresMs, Date.now(), MAX_ENDED, ALL]
    await this.#redis.telltaleEndSession(1, registryKey(`ended:${keyId}`), ...args)
  }

  async removeKey(account: string, id: string): Promise<void> {
    const removed = await this.#redis.telltaleRemoveKey(1, KEYS, account, id)
    if (removed === 0) throw new Failure('not_found', `key ${id} does not exist`, { field: 'key' })
    if (removed < 0) throw new Failure('conflict', `key ${id} is the last one of an organization's admin: make another one first`)
  }

  async hasKeys(): Promise<boolean> {
    return (await this.#redis.hlen(KEYS)) > 0
  }

  /**
   * Who holds this key, and every role of theirs, those by way of an organisation included.
   * @throws Failure `setup` when the record cannot be read.
   */
  async holder(keyId: string): Promise<Holder | undefined> {
    const [key, account, ended = '', ...grants] = await this.#redis.telltaleLookUpKey(1, KEYS, keyId)
    if (key === undefined || account === undefined) return undefined
    const pairs = grants.flatMap((scope, i) => (i % 2 === 0 ? [[scope, grants[i + 1] as string] as const] : []))
    return { key: read<SealedKey>(key, keyId), account: read<Account>(account, keyId), ended: endedOf(ended), grants: pairs }
  }
}

function read<T>(row: string, keyId: string): T {
  try {
    return JSON.parse(row) as T
  } catch (error) {
    throw new Failure('setup', `what Redis holds for key ${keyId} cannot be read: delete the key, or restore a backup`, { cause: error })
  }
}

/** Of pairs of a session and when it ends. */
function endedOf(text: string): EndedSessions {
  const words = text === '' ? [] : text.split(' ')
  const ids = words.filter((_, i) => i % 2 === 0)
  const all = ids.indexOf(ALL)
  return { ids: new Set(ids), allUntilMs: all < 0 ? 0 : Number(words[all * 2 + 1]) }
}

function withoutSecret(row: string): Key {
  const { id, createTime } = JSON.parse(row) as SealedKey
  return { id, createTime }
}

function missing(project: string, id: string): Failure {
  return new Failure('not_found', `service account ${id} does not exist in project ${project}`, { field: 'serviceaccount' })
}
