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

type Scripts = {
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
    await this.#redis.unlink(...KEPT.map(name => projectKey(id, name)))
  }
}

/** What lasts in a project without devices; the rest expires or hangs on a device. */
const KEPT = [
  'log',
  'alarmlog',
  'offsets',
  'seen',
  'rules',
  'rulesVersion',
  'removedRules',
  'ruleStates',
  'timers',
  'newest',
  'alarms',
  'alarmIndex',
  'acknowledgements',
  'effects',
  'outbox',
  'deadLetters',
  'channels',
  'connectors',
  'quarantine',
  'audit',
  'devices',
  'deviceIndex',
  'trimmed:log',
  'trimmed:alarmlog',
]

function missing(id: string): Failure {
  return new Failure('not_found', `project ${id} does not exist`, { field: 'project' })
}
