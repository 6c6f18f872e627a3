// Data connectors: the programs to which a project's events are pushed, and what each of them was asked to do. Secrets are sealed.
import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'

export type ConnectorStatus = 'ACTIVE' | 'USER_DISABLED' | 'SYSTEM_DISABLED'

export type Connector = {
  readonly id: string
  readonly displayName: string
  readonly status: ConnectorStatus
  /** Event types to push; none: all. */
  readonly events: readonly string[]
  /** Label keys to attach. */
  readonly labels: readonly string[]
  readonly url: string
  /** Own headers as JSON, sealed; see packages/identity. */
  readonly headers: string
  /** Sealed; of an empty text when events are not signed. */
  readonly signatureSecret: string
}

/** What is done once and in the background: `sync` the newest values, `replay` a range of the past. */
export type TaskName = 'sync' | 'replay'

/** Of a replay: entries of the log strictly after `after` and not after `until`, with the times they were asked for by. */
export type ReplayRange = { readonly after: string; readonly until: string; readonly startTime: string; readonly endTime: string }

export type Task = {
  readonly id: string
  readonly done: boolean
  readonly range: ReplayRange | undefined
  /** What the last commit left; empty before the first. */
  readonly place: string
  /** Pushed so far. */
  readonly events: number
}

/** Since when no attempt has succeeded, and why the last one did not. */
export type Failing = { readonly sinceMs: number; readonly detail: string }

export type Progress = {
  readonly tasks: Readonly<Record<TaskName, Task | undefined>>
  readonly failing: Failing | undefined
  /** Events on their way or to be tried again. */
  readonly open: number
  /** Times that events were gone before they could be pushed. */
  readonly gaps: number
}

export const MAX_CONNECTORS = 10
const PROJECTS = 't:connectorProjects'
const VERSION = 't:connectorVersion'
/** Those who push look every 100 ms, and may take a second to end what is under way. */
const SEEN_LIMIT_MS = 2000
const SEEN_LOOK_MS = 20

const CREATE = `
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], ARGV[4], ARGV[5]) end
return 1`

/**
 * Replaces what was read (nothing: deletes it), and with it the place: '=' leaves it, '' ends the pushing, anything else begins it
 * there. Whoever pushes cannot commit without the place it knows, so nothing that was dropped comes back.
 */
const SWAP = `
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]); redis.call('DEL', KEYS[4])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
if ARGV[5] == '=' then return 1 end
redis.call('DEL', KEYS[3])
redis.call('HDEL', KEYS[4], 'sync', 'sync:done', 'sync:progress', 'replay', 'replay:done', 'replay:progress')
if ARGV[5] == '' then redis.call('HDEL', KEYS[2], ARGV[4])
else redis.call('HSET', KEYS[2], ARGV[4], ARGV[5]); redis.call('HDEL', KEYS[4], 'failing') end
return 1`

/** One task of a kind at a time. */
const REQUEST = `
local running = redis.call('HGET', KEYS[1], ARGV[1])
if running and cjson.decode(running).id ~= redis.call('HGET', KEYS[1], ARGV[1] .. ':done') then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[1] .. ':done', ARGV[1] .. ':progress')
return 1`

type Scripts = {
  telltaleCreateConnector(keys: number, ...args: (string | number)[]): Promise<number>
  telltaleSwapConnector(keys: number, ...args: string[]): Promise<number>
  telltaleRequestTask(keys: number, ...args: string[]): Promise<number>
}

export class Connectors {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleCreateConnector', { lua: CREATE })
    redis.defineCommand('telltaleSwapConnector', { lua: SWAP })
    redis.defineCommand('telltaleRequestTask', { lua: REQUEST })
    this.#redis = redis as Redis & Scripts
  }

  /** Projects that have, or once had, a connector. */
  async projects(): Promise<string[]> {
    return this.#redis.smembers(PROJECTS)
  }

  /** Another one after every change, of whatever project. */
  async version(): Promise<string> {
    return (await this.#redis.get(VERSION)) ?? ''
  }

  /** In the order in which they were made. */
  async list(project: string): Promise<Connector[]> {
    const rows = await this.#redis.hgetall(connectorsKey(project))
    return Object.keys(rows)
      .sort()
      .map(id => parse(id, rows[id] as string))
  }

  async one(project: string, id: string): Promise<Connector> {
    const row = await this.#redis.hget(connectorsKey(project), id)
    if (row === null) throw missing(project, id)
    return parse(id, row)
  }

  /** @param last the newest entry of the log: what comes after it is pushed. */
  async create(project: string, connector: Connector, last: string): Promise<void> {
    // First, because whoever pushes looks only into these projects.
    await this.#redis.sadd(PROJECTS, project)
    const keys = [connectorsKey(project), projectKey(project, 'offsets')]
    const place = connector.status === 'ACTIVE' ? startingPlace(last) : ''
    const { id } = connector
    const made = await this.#redis.telltaleCreateConnector(2, ...keys, id, serialise(connector), MAX_CONNECTORS, consumerOf(id), place)
    if (made === 0) throw new Failure('conflict', `project ${project} has ${MAX_CONNECTORS} data connectors already, which is the most`)
    await this.#redis.incr(VERSION)
  }

  /**
   * Changes one as it is at this moment. Disabling drops what is not pushed yet; enabling begins after `last`.
   * @throws Failure `not_found`.
   */
  async change(project: string, id: string, change: (before: Connector) => Connector, last: string): Promise<Connector> {
    for (let attempt = 0; attempt < 20; attempt++) {
      const before = await this.one(project, id)
      const after = change(before)
      if (await this.#swap(project, id, serialise(before), serialise(after), placeAfter(before, after, last))) return after
    }
    throw new Failure('conflict', `data connector ${id} is being changed by others: try again`)
  }

  async remove(project: string, id: string): Promise<void> {
    for (let attempt = 0; attempt < 20; attempt++) if (await this.#swap(project, id, serialise(await this.one(project, id)), '', '')) return
    throw new Failure('conflict', `data connector ${id} is being changed by others: try again`)
  }

  async #swap(project: string, id: string, before: string, after: string, place: string): Promise<boolean> {
    const keys = [connectorsKey(project), projectKey(project, 'offsets'), openKey(project, id), progressKey(project, id)]
    if ((await this.#redis.telltaleSwapConnector(4, ...keys, id, before, after, consumerOf(id), place)) === 0) return false
    await this.#untilSeen(project, await this.#redis.incr(VERSION))
    return true
  }

  /** Whoever pushes for this project has seen this version, and does no more what the one before said. */
  async seen(project: string, version: string): Promise<void> {
    await this.#redis.set(projectKey(project, 'connectorsSeen'), version)
  }

  /** So that nothing is pushed any more when the caller hears that it is disabled or gone. Without a worker nothing is pushed anyhow. */
  async #untilSeen(project: string, version: number): Promise<void> {
    const endMs = performance.now() + SEEN_LIMIT_MS
    while (Number((await this.#redis.get(projectKey(project, 'connectorsSeen'))) ?? 0) < version && performance.now() < endMs)
      await pause(SEEN_LOOK_MS)
  }

  /** False when one of that name is not done yet. */
  async request(project: string, id: string, name: TaskName, task: Pick<Task, 'id' | 'range'>): Promise<boolean> {
    if ((await this.#redis.telltaleRequestTask(1, progressKey(project, id), name, JSON.stringify(task))) === 0) return false
    await this.#redis.incr(VERSION)
    return true
  }

  async progress(project: string, id: string): Promise<Progress> {
    const key = progressKey(project, id)
    const [row, open] = await Promise.all([this.#redis.hgetall(key), this.#redis.hlen(openKey(project, id))])
    const failing = row['failing'] === undefined ? undefined : (JSON.parse(row['failing']) as Failing)
    return { tasks: { sync: taskOf(row, 'sync'), replay: taskOf(row, 'replay') }, failing, open, gaps: Number(row['gaps'] ?? 0) }
  }

  /** What is open, as it was committed: key → what stands for the event. */
  async open(project: string, id: string): Promise<Record<string, string>> {
    return this.#redis.hgetall(openKey(project, id))
  }
}

/** The name under which a connector's place stands among those of the log's consumers. */
export function consumerOf(id: string): string {
  return `push:${id}`
}

export function openKey(project: string, id: string): string {
  return projectKey(project, `push:${id}:open`)
}

/** Hash: `{task}` what was asked for, `{task}:progress`, `{task}:done` (its id), `failing`, `gaps`. */
export function progressKey(project: string, id: string): string {
  return projectKey(project, `push:${id}`)
}

function connectorsKey(project: string): string {
  return projectKey(project, 'connectors')
}

function startingPlace(last: string): string {
  return `${last} 0`
}

function placeAfter(before: Connector, after: Connector, last: string): string {
  if ((before.status === 'ACTIVE') === (after.status === 'ACTIVE')) return '='
  return after.status === 'ACTIVE' ? startingPlace(last) : ''
}

function taskOf(row: Readonly<Record<string, string>>, name: TaskName): Task | undefined {
  const asked = row[name]
  if (asked === undefined) return undefined
  const { id, range } = JSON.parse(asked) as Pick<Task, 'id' | 'range'>
  const { place, events } = JSON.parse(row[`${name}:progress`] ?? '{"place":"","events":0}') as Pick<Task, 'place' | 'events'>
  return { id, range, place, events, done: row[`${name}:done`] === id }
}

function missing(project: string, id: string): Failure {
  return new Failure('not_found', `data connector ${id} does not exist in project ${project}`, { field: 'dataconnector' })
}

/** Fields in one order, because a change is refused when the text is another than was read. */
function serialise({ displayName, status, events, labels, url, headers, signatureSecret }: Connector): string {
  return JSON.stringify({ displayName, status, events, labels, url, headers, signatureSecret })
}

function parse(id: string, row: string): Connector {
  return { id, ...(JSON.parse(row) as Omit<Connector, 'id'>) }
}
