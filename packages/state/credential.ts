// Credentials of devices in Redis, beside the keys of service accounts: each lets in one device of one project and nobody else.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { CLOSED, REGISTRY, registryKey, TELL } from './registry.ts'

export type Credential = { readonly id: string; readonly createTime: string }
export type SealedCredential = Credential & { readonly project: string; readonly device: string; readonly secret: string }

export const MAX_CREDENTIALS = 10

const PATTERN = /^dev[0-9a-v]{20}$/

/** Shows in the id itself, so that nothing else is looked for among them. */
export function isCredentialId(id: string): boolean {
  return PATTERN.test(id)
}

const CREDENTIALS = registryKey('credentials')

/** For Lua: every credential of a device is taken away (project, device); returns their ids. A project's go with it (project.ts). */
export const END_CREDENTIALS = `
local function endCredentials(project, device)
  local of = '${REGISTRY}credentialsOf:' .. project .. '/' .. device
  local ids = redis.call('SMEMBERS', of)
  for _, id in ipairs(ids) do redis.call('HDEL', '${CREDENTIALS}', id) end
  redis.call('DEL', of)
  redis.call('SREM', '${REGISTRY}credentialsIn:' .. project, device)
  return ids
end`

/** ARGV: project, device, id, record, how many it may have. */
const ADD = `
local of = '${REGISTRY}credentialsOf:' .. ARGV[1] .. '/' .. ARGV[2]
if redis.call('HEXISTS', '${REGISTRY}projects', ARGV[1]) == 0 then return -1 end
if redis.call('SCARD', of) >= tonumber(ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
redis.call('SADD', of, ARGV[3])
redis.call('SADD', '${REGISTRY}credentialsIn:' .. ARGV[1], ARGV[2])
return 1`

/** ARGV: project, device, id. */
const REMOVE = `${TELL}
local of = '${REGISTRY}credentialsOf:' .. ARGV[1] .. '/' .. ARGV[2]
if redis.call('SREM', of, ARGV[3]) == 0 then return 0 end
if redis.call('EXISTS', of) == 0 then redis.call('SREM', '${REGISTRY}credentialsIn:' .. ARGV[1], ARGV[2]) end
redis.call('HDEL', KEYS[1], ARGV[3])
tell(ARGV[3])
return 1`

/** ARGV: project, device. */
const REMOVE_ALL = `${TELL}${END_CREDENTIALS}
local ids = endCredentials(ARGV[1], ARGV[2])
tell(table.concat(ids, ','))
return #ids`

/** A credential of a project that is there and is not being deleted. */
const LOOK = `
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row then return false end
local readable, record = pcall(cjson.decode, row)
if not readable or type(record) ~= 'table' then return row end
if redis.call('HEXISTS', '${CLOSED}', 'projects/' .. tostring(record['project'])) == 1 then return false end
return row`

/** ARGV: project. */
const OPEN = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
return 1 - redis.call('HEXISTS', '${CLOSED}', 'projects/' .. ARGV[1])`

type Scripts = {
  telltaleAddCredential(keys: 1, key: string, project: string, device: string, id: string, record: string, max: number): Promise<number>
  telltaleRemoveCredential(keys: 1, key: string, project: string, device: string, id: string): Promise<number>
  telltaleRemoveCredentials(keys: 1, key: string, project: string, device: string): Promise<number>
  telltaleLookUpCredential(keys: 1, key: string, id: string): Promise<string | null>
  telltaleIsProjectOpen(keys: 1, key: string, project: string): Promise<number>
}

export class Credentials {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleAddCredential', { lua: ADD })
    redis.defineCommand('telltaleRemoveCredential', { lua: REMOVE })
    redis.defineCommand('telltaleRemoveCredentials', { lua: REMOVE_ALL })
    redis.defineCommand('telltaleLookUpCredential', { lua: LOOK })
    redis.defineCommand('telltaleIsProjectOpen', { lua: OPEN })
    this.#redis = redis as Redis & Scripts
  }

  /** In order of id, which is that of their creation. */
  async list(project: string, device: string): Promise<Credential[]> {
    const ids = (await this.#redis.smembers(registryKey(`credentialsOf:${project}/${device}`))).toSorted()
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(CREDENTIALS, ...ids)
    return rows.filter(row => row !== null).map(withoutSecret)
  }

  /** The device need not be there yet. @throws `conflict` when it has as many as it may. */
  async add(credential: SealedCredential, max = MAX_CREDENTIALS): Promise<void> {
    const { project, device, id } = credential
    const added = await this.#redis.telltaleAddCredential(1, CREDENTIALS, project, device, id, JSON.stringify(credential), max)
    if (added < 0) throw new Failure('not_found', `project ${project} does not exist`, { field: 'project' })
    if (added === 0) throw new Failure('conflict', `a device has at most ${max} credentials: delete an old one first`)
  }

  async remove(project: string, device: string, id: string): Promise<void> {
    if ((await this.#redis.telltaleRemoveCredential(1, CREDENTIALS, project, device, id)) === 1) return
    throw new Failure('not_found', `credential ${id} of device ${device} does not exist`, { field: 'credential' })
  }

  /** Those of a device that leaves; what is open by them ends within a second. */
  async removeAll(project: string, device: string): Promise<void> {
    await this.#redis.telltaleRemoveCredentials(1, CREDENTIALS, project, device)
  }

  /** Undefined for one that is not there, or whose project goes. @throws Failure `setup` when the record cannot be read. */
  async holder(id: string): Promise<SealedCredential | undefined> {
    const row = await this.#redis.telltaleLookUpCredential(1, CREDENTIALS, id)
    if (row === null) return undefined
    try {
      return JSON.parse(row) as SealedCredential
    } catch (error) {
      throw new Failure('setup', `what Redis holds for credential ${id} cannot be read: delete it, or restore a backup`, { cause: error })
    }
  }

  /** Whether devices of this project are let in: it is there and is not being deleted. */
  async isOpen(project: string): Promise<boolean> {
    return (await this.#redis.telltaleIsProjectOpen(1, registryKey('projects'), project)) === 1
  }
}

function withoutSecret(row: string): Credential {
  const { id, createTime } = JSON.parse(row) as SealedCredential
  return { id, createTime }
}
