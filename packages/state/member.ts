// Members: which account has which role in which project or organisation. One role each, as the API's clients expect.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { commit, REGISTRY, registryKey, type Scope, TELL } from './registry.ts'

export type Role = 'user' | 'developer' | 'admin'

export type Member = { readonly account: string; readonly role: Role; readonly createTime: string }

/** ARGV: scope, account, record or an empty text, role, «1» for a new member and «0» for a known one. */
const PUT = `${TELL}
local known = redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1
if known == (ARGV[5] == '1') then return 0 end
local kind, id = string.match(ARGV[1], '^(%l+)/(.+)$')
if redis.call('HEXISTS', '${REGISTRY}' .. kind, id) == 0 then return -2 end
if redis.call('HEXISTS', '${REGISTRY}accounts', ARGV[2]) == 0 then return -1 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('HSET', '${REGISTRY}memberships:' .. ARGV[2], ARGV[1], ARGV[4])
if known then tell(keysOf(ARGV[2])) end
return 1`

/** ARGV: scope, account. The last admin of an organisation stays. */
const REMOVE = `${TELL}
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return 0 end
if string.sub(ARGV[1], 1, 14) == 'organizations/' and redis.call('HLEN', KEYS[1]) == 1 then return -1 end
redis.call('HDEL', KEYS[1], ARGV[2])
redis.call('HDEL', '${REGISTRY}memberships:' .. ARGV[2], ARGV[1])
tell(keysOf(ARGV[2]))
return 1`

type Scripts = {
  telltalePutMember(keys: 1, key: string, scope: string, account: string, record: string, role: string, fresh: '0' | '1'): Promise<number>
  telltaleRemoveMember(keys: 1, key: string, scope: string, account: string): Promise<number>
}

export class Members {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltalePutMember', { lua: PUT })
    redis.defineCommand('telltaleRemoveMember', { lua: REMOVE })
    this.#redis = redis as Redis & Scripts
  }

  async list(scope: Scope): Promise<Member[]> {
    const rows = await this.#redis.hvals(membersKey(scope))
    return rows.map(row => JSON.parse(row) as Member)
  }

  async one(scope: Scope, account: string): Promise<Member> {
    const row = await this.#redis.hget(membersKey(scope), account)
    if (row === null) throw missing(scope, account)
    return JSON.parse(row) as Member
  }

  /** Where an account is a member, with its role there; not what it may by way of an organisation. */
  async of(account: string): Promise<Readonly<Record<string, string>>> {
    return this.#redis.hgetall(registryKey(`memberships:${account}`))
  }

  async add(scope: Scope, member: Member): Promise<void> {
    const { account, role } = member
    const added = await this.#redis.telltalePutMember(1, membersKey(scope), scope, account, JSON.stringify(member), role, '1')
    if (added === 0) throw new Failure('conflict', `${account} is a member of ${scope} already`)
    if (added === -2) throw new Failure('not_found', `${scope} does not exist`)
    if (added < 0) throw new Failure('not_found', `service account ${account} does not exist`)
  }

  /** Adds or replaces a member without a question, whether or not its scope exists yet. */
  async put(scope: Scope, member: Member): Promise<void> {
    const transaction = this.#redis
      .multi()
      .hset(membersKey(scope), member.account, JSON.stringify(member))
      .hset(registryKey(`memberships:${member.account}`), scope, member.role)
    await commit(transaction)
  }

  async change(scope: Scope, member: Member): Promise<void> {
    const { account, role } = member
    const changed = await this.#redis.telltalePutMember(1, membersKey(scope), scope, account, JSON.stringify(member), role, '0')
    if (changed !== 1) throw missing(scope, account)
  }

  async remove(scope: Scope, account: string): Promise<void> {
    const removed = await this.#redis.telltaleRemoveMember(1, membersKey(scope), scope, account)
    if (removed === 0) throw missing(scope, account)
    if (removed < 0) throw new Failure('conflict', `${account} is the last admin of ${scope}: make another one first`)
  }
}

function membersKey(scope: Scope): string {
  return registryKey(`members:${scope}`)
}

function missing(scope: Scope, account: string): Failure {
  return new Failure('not_found', `${account} is not a member of ${scope}`, { field: 'member' })
}
