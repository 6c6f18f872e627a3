// Projects: which there are, what they are called, and which organisation each belongs to.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'
import { FIRST_ORGANIZATION } from './organization.ts'
import { REGISTRY, Records, registryKey, TELL } from './registry.ts'

export type Project = {
  readonly id: string
  readonly displayName: string
  readonly organization: string
  /** Where an organisation keeps what is in no use yet. */
  readonly inventory: boolean
}

/** ARGV: project, record, organisation. Leaves one that exists as it is. */
const ADD = `
if redis.call('HEXISTS', '${REGISTRY}organizations', ARGV[3]) == 0 then return -1 end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('SADD', '${REGISTRY}projectsOf:' .. ARGV[3], ARGV[1])
return 1`

/** ARGV: project. Members and service accounts go with it, except an account that is a member elsewhere: then nothing goes. */
const REMOVE = `${TELL}
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then return 0 end
local scope = 'projects/' .. ARGV[1]
local homed = redis.call('SMEMBERS', '${REGISTRY}accountsOf:' .. ARGV[1])
for _, account in ipairs(homed) do
  for _, other in ipairs(redis.call('HKEYS', '${REGISTRY}memberships:' .. account)) do
    if other ~= scope then return -1 end
  end
end
for _, account in ipairs(redis.call('HKEYS', '${REGISTRY}members:' .. scope)) do
  redis.call('HDEL', '${REGISTRY}memberships:' .. account, scope)
end
for _, account in ipairs(homed) do
  local email = cjson.decode(redis.call('HGET', '${REGISTRY}accounts', account))['email']
  for _, key in ipairs(redis.call('SMEMBERS', '${REGISTRY}keysOf:' .. account)) do redis.call('HDEL', '${REGISTRY}keys', key) end
  redis.call('HDEL', '${REGISTRY}accounts', account)
  redis.call('HDEL', '${REGISTRY}emails', email)
  redis.call('DEL', '${REGISTRY}keysOf:' .. account, '${REGISTRY}memberships:' .. account)
end
redis.call('DEL', '${REGISTRY}members:' .. scope, '${REGISTRY}accountsOf:' .. ARGV[1])
redis.call('SREM', '${REGISTRY}projectsOf:' .. cjson.decode(row)['organization'], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
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
  telltaleRemoveProject(keys: 1, key: string, id: string): Promise<number>
}

const PROJECTS = registryKey('projects')

export class Projects {
  readonly #redis: Redis & Scripts
  readonly #records: Records<Project>

  constructor(redis: Redis) {
    redis.defineCommand('telltaleAddProject', { lua: ADD })
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
    if (added < 0) throw new Failure('not_found', `organization ${organization} does not exist`, { field: 'organization' })
    return project
  }

  async rename(id: string, displayName: string): Promise<Project> {
    const changed = await this.#records.change(id, before => ({ ...before, displayName }))
    if (!changed) throw missing(id)
    return changed
  }

  /** Removes a project that holds no devices any more, and what else it kept. */
  async remove(id: string): Promise<void> {
    const removed = await this.#redis.telltaleRemoveProject(1, PROJECTS, id)
    if (removed === 0) throw missing(id)
    if (removed < 0)
      throw new Failure(
        'conflict',
        `project ${id} has a service account that is a member elsewhere: end that, or delete the account, first`,
      )
    for (let cursor = '0'; ; ) {
      cursor = await this.#redis.telltaleEmptyProject(1, projectKey(id, 'log'), projectKey(id, '*'), cursor)
      if (cursor === '0') break
    }
  }
}

function missing(id: string): Failure {
  return new Failure('not_found', `project ${id} does not exist`, { field: 'project' })
}
