// Data connectors: the programs to which a project's events are pushed, the durable streams into which they are copied, and what each
// connector was asked to do. Secrets are sealed.
import { createHash } from 'node:crypto'
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
  /** Name of the durable stream into which events are copied; undefined: they are pushed to `url`. */
  readonly stream?: string | undefined
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

/** Since when no attempt has succeeded, and why the last one did not. It says nothing of a receiver with another `targetOf`. */
export type Failing = { readonly sinceMs: number; readonly detail: string; readonly target: string }

export type Progress = {
  readonly tasks: Readonly<Record<TaskName, Task | undefined>>
  readonly failing: Failing | undefined
  /** Events on their way or to be tried again. */
  readonly open: number
  /** Times that events were gone before they could be pushed. */
  readonly gaps: number
  /** Events that were given up because the receiver would not have them. */
  readonly dropped: number
}

/** @param version another one after every change, of whatever project; later ones are greater. */
export type Change = { readonly project: string; readonly version: number }

export const MAX_CONNECTORS = 10
/** The producer of what data connectors copy into durable streams; decoders leave it alone. */
export const COPIER = 'telltale.connector'
/** Sorted set: projects that have connectors, by the version of their last change; the empty name has the newest version of all. */
const CHANGES = 't:connectorChanges'
/** Those who push look every 100 ms, end what is under way at once or in a second, and may be about to do so for others. */
const SEEN_LIMIT_MS = 3000
/** Nobody asks later; what was deleted with its project does not come back for long. */
const SEEN_SECONDS = 60
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

const CHANGED = `
local version = redis.call('ZINCRBY', KEYS[1], 1, '')
redis.call('ZADD', KEYS[1], version, ARGV[1])
return version`

/** Unless it has changed since. */
const FORGET = `
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1`

type Scripts = {
  telltaleConnectorChanged(keys: 1, changes: string, project: string): Promise<string>
  telltaleForgetConnectors(keys: 1, changes: string, project: string, version: string): Promise<number>
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
    redis.defineCommand('telltaleConnectorChanged', { lua: CHANGED })
    redis.defineCommand('telltaleForgetConnectors', { lua: FORGET })
    this.#redis = redis as Redis & Scripts
  }

  /** The projects whose connectors have changed after this version, the last one first; after 0 all that have some. */
  async changes(after: number): Promise<{ readonly version: number; readonly projects: readonly Change[] }> {
    const row = await this.#redis.zrevrangebyscore(CHANGES, '+inf', `(${after}`, 'WITHSCORES')
    const all = Array.from({ length: row.length / 2 }, (_, i) => ({ project: row[2 * i] as string, version: Number(row[2 * i + 1]) }))
    return { version: all[0]?.version ?? after, projects: all.filter(({ project }) => project !== '') }
  }

  /** It has no connectors any more, unless it has changed since. */
  async forget({ project, version }: Change): Promise<void> {
    await this.#redis.telltaleForgetConnectors(1, CHANGES, project, String(version))
  }

  /** Whoever pushes looks at what this project wants, again. */
  async touch(project: string): Promise<void> {
    await this.#changed(project)
  }

  async #changed(project: string): Promise<number> {
    return Number(await this.#redis.telltaleConnectorChanged(1, CHANGES, project))
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
    await this.#changed(project)
    const keys = [connectorsKey(project), projectKey(project, 'offsets')]
    const place = connector.status === 'ACTIVE' ? startingPlace(last) : ''
    const { id } = connector
    const made = await this.#redis.telltaleCreateConnector(2, ...keys, id, serialise(connector), MAX_CONNECTORS, consumerOf(id), place)
    if (made === 0) throw new Failure('conflict', `project ${project} has ${MAX_CONNECTORS} data connectors already, which is the most`)
    await this.#changed(project)
  }

  /**
   * Changes one as it is at this moment, or leaves it when it is given back. Disabling drops what is not pushed yet; enabling begins
   * after `last`.
   * @throws Failure `not_found`.
   */
  async change(project: string, id: string, change: (before: Connector) => Connector, last: string): Promise<Connector> {
    for (let attempt = 0; attempt < 20; attempt++) {
      const before = await this.one(project, id)
      const after = change(before)
      if (after === before) return after
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
    await this.#untilSeen(project, await this.#changed(project))
    return true
  }

  /** Whoever pushes for this project has seen this version, and does no more what the one before said. */
  async seen({ project, version }: Change): Promise<void> {
    await this.#redis.set(projectKey(project, 'connectorsSeen'), version, 'EX', SEEN_SECONDS)
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
    await this.#changed(project)
    return true
  }

  async progress(project: string, connector: Connector): Promise<Progress> {
    const { id } = connector
    const key = progressKey(project, id)
    const [row, open] = await Promise.all([this.#redis.hgetall(key), this.#redis.hlen(openKey(project, id))])
    const failed = row['failing'] === undefined ? undefined : (JSON.parse(row['failing']) as Failing)
    const failing = failed?.target === targetOf(connector) ? failed : undefined
    const [gaps, dropped] = [Number(row['gaps'] ?? 0), Number(row['dropped'] ?? 0)]
    return { tasks: { sync: taskOf(row, 'sync'), replay: taskOf(row, 'replay') }, failing, open, gaps, dropped }
  }

  /** What is open, as it was committed: key → what stands for the event. */
  async open(project: string, id: string): Promise<Record<string, string>> {
    return this.#redis.hgetall(openKey(project, id))
  }
}

/** Stands for the receiver. What is sealed keeps its text for as long as it says the same. */
export function targetOf({ url, headers, signatureSecret, stream }: Connector): string {
  const receiver = stream === undefined ? `${url}\n${headers}\n${signatureSecret}` : `stream\n${stream}`
  return createHash('sha256').update(receiver).digest('base64url').slice(0, 16)
}

/** The name under which a connector's place stands among those of the log's consumers. */
export function consumerOf(id: string): string {
  return `push:${id}`
}

export function openKey(project: string, id: string): string {
  return projectKey(project, `push:${id}:open`)
}

/** Hash: `{task}` what was asked for, `{task}:progress`, `{task}:done` (its id), `failing`, `gaps`, `dropped`. */
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

/** Fields in one order, because a change is refused when the text is another than was read; JSON leaves out a `stream` that is undefined. */
function serialise({ displayName, status, events, labels, url, headers, signatureSecret, stream }: Connector): string {
  return JSON.stringify({ displayName, status, events, labels, url, headers, signatureSecret, stream })
}

function parse(id: string, row: string): Connector {
  return { id, ...(JSON.parse(row) as Omit<Connector, 'id'>) }
}
