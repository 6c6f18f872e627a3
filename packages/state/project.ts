// Projects: which there are, what they are called, and which organisation each belongs to.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'
import { END_CREDENTIALS } from './credential.ts'
import { FIRST_ORGANIZATION } from './organization.ts'
import { CLOSED, REGISTRY, Records, registryKey, TELL } from './registry.ts'

export type Project = {
  readonly id: string
  readonly displayName: string
  readonly organization: string
  /** Where an organisation keeps what is in no use yet. */
  readonly inventory: boolean
}

const CLOSED_MS = 60_000
/** Removed, and not emptied yet. */
const EMPTYING = registryKey('emptying')

/** ARGV: project, record, organisation. Leaves one that exists as it is. */
const ADD = `
if redis.call('SISMEMBER', '${EMPTYING}', ARGV[1]) == 1 then return -2 end
if redis.call('HEXISTS', '${REGISTRY}organizations', ARGV[3]) == 0 then return -1 end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('SADD', '${REGISTRY}projectsOf:' .. ARGV[3], ARGV[1])
return 1`

/** ARGV: project, token, for how long. Nobody has a role in it meanwhile (account.ts). The latest who closes it may go on. */
const CLOSE = `${TELL}
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', '${CLOSED}', 'projects/' .. ARGV[1], ARGV[2])
redis.call('PEXPIRE', '${CLOSED}', ARGV[3])
tell('*')
return 1`

/** ARGV: project, token. */
const REOPEN = `
local scope = 'projects/' .. ARGV[1]
if redis.call('HGET', '${CLOSED}', scope) == ARGV[2] then redis.call('HDEL', '${CLOSED}', scope) end
return 1`

/**
 * ARGV: project, token (none: nothing goes, and the answer is whether it could), «1» when the caller administers its organisation. Members, service accounts and credentials of devices go with it, with
 * whatever accounts are elsewhere; but no organisation loses its last admin by that, and its own admins are ended only by their equals.
 */
const REMOVE = `${TELL}${END_CREDENTIALS}
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then return 0 end
local scope = 'projects/' .. ARGV[1]
if ARGV[2] ~= '' and redis.call('HGET', '${CLOSED}', scope) ~= ARGV[2] then return -3 end
local organization = cjson.decode(row)['organization']
local homed = redis.call('SMEMBERS', '${REGISTRY}accountsOf:' .. ARGV[1])
local staying = {}
for _, account in ipairs(homed) do
  for _, other in ipairs(redis.call('HKEYS', '${REGISTRY}memberships:' .. account)) do
    if string.sub(other, 1, 14) == 'organizations/' then
      if other == 'organizations/' .. organization and ARGV[3] == '0' then return -2 end
      staying[other] = (staying[other] or redis.call('HLEN', '${REGISTRY}members:' .. other)) - 1
      if staying[other] == 0 then return -1 end
    end
  end
end
if ARGV[2] == '' then return 1 end
for _, account in ipairs(redis.call('HKEYS', '${REGISTRY}members:' .. scope)) do
  redis.call('HDEL', '${REGISTRY}memberships:' .. account, scope)
end
for _, account in ipairs(homed) do
  local email = cjson.decode(redis.call('HGET', '${REGISTRY}accounts', account))['email']
  for _, key in ipairs(redis.call('SMEMBERS', '${REGISTRY}keysOf:' .. account)) do redis.call('HDEL', '${REGISTRY}keys', key) end
  for _, other in ipairs(redis.call('HKEYS', '${REGISTRY}memberships:' .. account)) do
    redis.call('HDEL', '${REGISTRY}members:' .. other, account)
  end
  redis.call('HDEL', '${REGISTRY}accounts', account)
  redis.call('HDEL', '${REGISTRY}emails', email)
  redis.call('DEL', '${REGISTRY}keysOf:' .. account, '${REGISTRY}memberships:' .. account)
end
for _, device in ipairs(redis.call('SMEMBERS', '${REGISTRY}credentialsIn:' .. ARGV[1])) do endCredentials(ARGV[1], device) end
redis.call('DEL', '${REGISTRY}members:' .. scope, '${REGISTRY}accountsOf:' .. ARGV[1])
redis.call('SREM', '${REGISTRY}projectsOf:' .. organization, ARGV[1])
redis.call('SADD', '${EMPTYING}', ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', '${CLOSED}', scope)
tell('*')
return 1`

/**
 * Removes what a project kept, whoever kept it; ARGV: pattern, cursor; returns the next cursor. A script, so that in a Cluster it looks
 * where the project's keys are. A key in `KEYS` says where that is.
 */
const EMPTY = `
local found = redis.call('SCAN', ARGV[2], 'MATCH', ARGV[1], 'COUNT', 1000)
if #found[2] > 0 then redis.call('UNLINK', unpack(found[2])) end
return found[1]`

type Scripts = {
  telltaleEmptyProject(keys: 1, key: string, pattern: string, cursor: string): Promise<string>
  telltaleAddProject(keys: 1, key: string, id: string, record: string, organization: string): Promise<number>
  telltaleCloseProject(keys: 1, key: string, id: string, token: string, ms: number): Promise<number>
  telltaleReopenProject(keys: 1, key: string, id: string, token: string): Promise<number>
  telltaleRemoveProject(keys: 1, key: string, id: string, token: string, organizationAdmin: '0' | '1'): Promise<number>
}

const PROJECTS = registryKey('projects')

export class Projects {
  readonly #redis: Redis & Scripts
  readonly #records: Records<Project>

  constructor(redis: Redis) {
    redis.defineCommand('telltaleAddProject', { lua: ADD })
    redis.defineCommand('telltaleCloseProject', { lua: CLOSE })
    redis.defineCommand('telltaleReopenProject', { lua: REOPEN })
    redis.defineCommand('telltaleRemoveProject', { lua: REMOVE })
    redis.defineCommand('telltaleEmptyProject', { lua: EMPTY })
    this.#redis = redis as Redis & Scripts
    this.#records = new Records(redis, 'projects')
  }

  /** The ids of all. */
  async list(): Promise<string[]> {
    return this.#records.ids()
  }

  /** Those of these that exist. */
  async several(ids: readonly string[]): Promise<Project[]> {
    return (await this.#records.several(ids)).filter(one => one !== undefined)
  }

  async one(id: string): Promise<Project> {
    const found = await this.#records.find(id)
    if (!found) throw missing(id)
    return found
  }

  /** Leaves one that exists as it is. */
  async add(id: string, displayName = id, organization = FIRST_ORGANIZATION): Promise<Project> {
    const project = { id, displayName, organization, inventory: false }
    const added = await this.#redis.telltaleAddProject(1, PROJECTS, id, JSON.stringify(project), organization)
    if (added === -2) throw new Failure('conflict', `project ${id} is being deleted: try again`)
    if (added < 0) throw new Failure('not_found', `organization ${organization} does not exist`, { field: 'organization' })
    return project
  }

  async rename(id: string, displayName: string): Promise<Project> {
    const changed = await this.#records.change(id, before => ({ ...before, displayName }))
    if (!changed) throw missing(id)
    return changed
  }

  /**
   * The first step of a deletion: nobody has a role in it, so that nothing is added while its deletion looks what is in it. Lasts a
   * minute, or until whoever closes it next with another token: then a deletion that was cut off is as if it had not been.
   */
  async close(id: string, token: string): Promise<void> {
    if ((await this.#redis.telltaleCloseProject(1, PROJECTS, id, token, CLOSED_MS)) === 0) throw missing(id)
  }

  /** It is not deleted after all. */
  async reopen(id: string, token: string): Promise<void> {
    await this.#redis.telltaleReopenProject(1, PROJECTS, id, token)
  }

  /** @throws what `remove` would, as things stand. */
  async checkRemovable(id: string, organizationAdmin: boolean): Promise<void> {
    await this.#remove(id, '', organizationAdmin)
  }

  /**
   * Removes a closed project, with its members and service accounts. What else it kept goes with `empty`.
   * @param organizationAdmin whether the caller administers its organisation.
   */
  async remove(id: string, token: string, organizationAdmin: boolean): Promise<void> {
    await this.#remove(id, token, organizationAdmin)
  }

  async #remove(id: string, token: string, organizationAdmin: boolean): Promise<void> {
    const removed = await this.#redis.telltaleRemoveProject(1, PROJECTS, id, token, organizationAdmin ? '1' : '0')
    if (removed === 1) return
    if (removed === 0) throw missing(id)
    if (removed === -2)
      throw new Failure('forbidden', `project ${id} has a service account that administers its organization; the caller does not`)
    if (removed === -3) throw new Failure('conflict', `project ${id} is being deleted by others`)
    throw new Failure('conflict', `project ${id} has the last admin of an organization among its service accounts: make another one first`)
  }

  /** Removes what a removed project kept. Takes up again what was cut off. */
  async empty(id: string): Promise<void> {
    for (let cursor = '0'; ; ) {
      cursor = await this.#redis.telltaleEmptyProject(1, projectKey(id, 'log'), projectKey(id, '*'), cursor)
      if (cursor === '0') break
    }
    await this.#redis.srem(EMPTYING, id)
  }

  /** For a start: what a deletion that was cut off has left is removed. */
  async recover(): Promise<void> {
    for (const id of await this.#redis.smembers(EMPTYING)) await this.empty(id)
  }
}

function missing(id: string): Failure {
  return new Failure('not_found', `project ${id} does not exist`, { field: 'project' })
}
