// Organisations: each has projects and admins of its own.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import type { Member } from './member.ts'
import { REGISTRY, Records, registryKey, TELL } from './registry.ts'

export type Organization = { readonly id: string; readonly displayName: string }

/** The one that the project of the settings belongs to. */
export const FIRST_ORGANIZATION = 'default'

/** ARGV: organisation, record, account, member. */
const CREATE = `
if redis.call('HEXISTS', '${REGISTRY}accounts', ARGV[3]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', '${REGISTRY}members:organizations/' .. ARGV[1], ARGV[3], ARGV[4])
redis.call('HSET', '${REGISTRY}memberships:' .. ARGV[3], 'organizations/' .. ARGV[1], 'admin')
return 1`

/** ARGV: organisation. Its members and audit go with it; its projects have to go first. */
const REMOVE = `${TELL}
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
if redis.call('SCARD', '${REGISTRY}projectsOf:' .. ARGV[1]) > 0 then return -1 end
local scope = 'organizations/' .. ARGV[1]
for _, account in ipairs(redis.call('HKEYS', '${REGISTRY}members:' .. scope)) do
  redis.call('HDEL', '${REGISTRY}memberships:' .. account, scope)
  tell(keysOf(account))
end
redis.call('DEL', '${REGISTRY}members:' .. scope, '${REGISTRY}audit:' .. ARGV[1], '${REGISTRY}refused:' .. ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
return 1`

type Scripts = {
  telltaleCreateOrganization(keys: 1, key: string, id: string, record: string, account: string, member: string): Promise<number>
  telltaleRemoveOrganization(keys: 1, key: string, id: string): Promise<number>
}

const ORGANIZATIONS = registryKey('organizations')

export class Organizations {
  readonly #redis: Redis & Scripts
  readonly #records: Records<Organization>

  constructor(redis: Redis) {
    redis.defineCommand('telltaleCreateOrganization', { lua: CREATE })
    redis.defineCommand('telltaleRemoveOrganization', { lua: REMOVE })
    this.#redis = redis as Redis & Scripts
    this.#records = new Records(redis, 'organizations')
  }

  /** Those of these that exist. */
  async several(ids: readonly string[]): Promise<Organization[]> {
    return (await this.#records.several(ids)).filter(one => one !== undefined)
  }

  async one(id: string): Promise<Organization> {
    const found = await this.#records.find(id)
    if (!found) throw missing(id)
    return found
  }

  /** Leaves one that exists as it is. */
  async add(organization: Organization): Promise<void> {
    await this.#redis.hsetnx(ORGANIZATIONS, organization.id, JSON.stringify(organization))
  }

  /** Makes one with this account as its admin, both or neither: nobody finds one without an admin. Its id is nobody else's. */
  async create(organization: Organization, account: string, createTime: string): Promise<void> {
    const member: Member = { account, role: 'admin', createTime }
    const { id } = organization
    const rows = [JSON.stringify(organization), account, JSON.stringify(member)] as const
    const made = await this.#redis.telltaleCreateOrganization(1, ORGANIZATIONS, id, ...rows)
    if (made === 0) throw new Failure('not_found', `service account ${account} does not exist`)
  }

  async rename(id: string, displayName: string): Promise<Organization> {
    const changed = await this.#records.change(id, before => ({ ...before, displayName }))
    if (!changed) throw missing(id)
    return changed
  }

  async remove(id: string): Promise<void> {
    const removed = await this.#redis.telltaleRemoveOrganization(1, ORGANIZATIONS, id)
    if (removed === 0) throw missing(id)
    if (removed < 0) throw new Failure('conflict', `organization ${id} has projects: delete them first`)
  }
}

function missing(id: string): Failure {
  return new Failure('not_found', `organization ${id} does not exist`, { field: 'organization' })
}
