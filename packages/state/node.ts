// The nodes: every process says each second that it lives, where it is reached and how busy it is. By the clock of Redis, so that no two
// of them disagree about who is late.
import type { Redis } from 'ioredis'

export type NodeFacts = {
  readonly id: string
  /** What others reach it by: a host, or host and port. */
  readonly address: string
  readonly region: string
  readonly roles: readonly string[]
  /** Open connections and streams, and how many it is meant for. */
  readonly connections: number
  readonly capacity: number
  readonly startedMs: number
  /** When something was last sent through it; 0: never. */
  readonly trafficMs: number
}

export type Node = NodeFacts & {
  /** Its latest heartbeat. */
  readonly beatMs: number
  /** Nothing new is sent to it. */
  readonly terminating: boolean
}

/** What changed of what a node holds, to go with its heartbeat. */
export type Changes = {
  readonly put: readonly (readonly [field: string, text: string])[]
  readonly removed: readonly string[]
  /** Redis forgets all that it had of the node before: the node says everything anew. */
  readonly anew: boolean
}

export type Pulse = {
  readonly nowMs: number
  /** How many fields the node's presence has in Redis: another number than expected means that they were lost. */
  readonly fields: number
  readonly thresholds: Thresholds
}

export const NODE_KINDS = ['origin', 'edge'] as const
/** Origins are published to, edges are read from. */
export type NodeKind = (typeof NODE_KINDS)[number]
/** Share of its capacity in percent, beyond which a node says that more nodes are wanted. */
export type Thresholds = Readonly<Record<NodeKind, number>>

export const DEFAULT_THRESHOLD = 60
/** Three heartbeats missed. */
const DEAD_MS = 4000
/** When all nodes die, nobody is left to remove what they held. */
const HELD_MS = 30_000
/** A node that is to end is remembered for so long when it says nothing: it may only have been late. */
const TERMINATING_MS = 86_400_000

/** "~" stands in no project's name, so these keys are no project's (log/key.ts). All in one Cluster slot. */
const NODES = 't:{~nodes}:'
const BEATS = `${NODES}beats`
const RECORDS = `${NODES}records`
/** Ids, which no two processes share, with the time of their latest heartbeat. */
const TERMINATING = `${NODES}ending`
const THRESHOLDS = `${NODES}thresholds`
const CLEARED = `${NODES}cleared`

function presenceKey(id: string): string {
  return `${NODES}presence:${id}`
}

const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`

const FORGET = `
local function forget(id)
  redis.call('ZREM', '${BEATS}', id)
  redis.call('HDEL', '${RECORDS}', id)
  redis.call('DEL', '${NODES}presence:' .. id)
end`

/** ARGV: id, record, whether all is said anew, number of fields to put, those with their texts, fields to remove. Forgets the dead on the way. */
const BEAT = `${NOW}${FORGET}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', '${BEATS}', '-inf', now - ${DEAD_MS})) do
  if id ~= ARGV[1] then forget(id) end
end
redis.call('ZADD', '${BEATS}', now, ARGV[1])
redis.call('HSET', '${RECORDS}', ARGV[1], ARGV[2])
if redis.call('ZADD', '${TERMINATING}', 'XX', 'CH', now, ARGV[1]) == 1 then redis.call('PEXPIRE', '${TERMINATING}', ${TERMINATING_MS}) end
redis.call('ZREMRANGEBYSCORE', '${TERMINATING}', '-inf', now - ${TERMINATING_MS})
if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
local last = 4 + 2 * tonumber(ARGV[4])
for i = 5, last, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = last + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ${HELD_MS})
local thresholds = redis.call('HMGET', '${THRESHOLDS}', 'origin', 'edge')
return {now, redis.call('HLEN', KEYS[1]), thresholds[1], thresholds[2]}`

const LEAVE = `${FORGET}
forget(ARGV[1])
redis.call('ZREM', '${TERMINATING}', ARGV[1])
return 1`

/** Those alive: id, time of the heartbeat, record, whether terminating; and the time. */
const LIST = `${NOW}
local reply = {now}
local beats = redis.call('ZRANGEBYSCORE', '${BEATS}', now - ${DEAD_MS}, '+inf', 'WITHSCORES')
for i = 1, #beats, 2 do
  reply[#reply + 1] = beats[i]
  reply[#reply + 1] = beats[i + 1]
  reply[#reply + 1] = redis.call('HGET', KEYS[1], beats[i])
  reply[#reply + 1] = redis.call('ZSCORE', '${TERMINATING}', beats[i]) and 1 or 0
end
return reply`

const TERMINATE = `${NOW}
if not redis.call('ZSCORE', '${BEATS}', ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now, ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ${TERMINATING_MS})`

/** ARGV: number of marks to remove, those with what they say, marks to set with their times. Nobody's later mark is lost. */
const MARK = `
local last = 1 + 2 * tonumber(ARGV[1])
for i = 2, last, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
for i = last + 1, #ARGV, 2 do
  if tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0) < tonumber(ARGV[i + 1]) then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1`

/** Fields with what they say. */
export type Marks = Readonly<Record<string, string>>

type Scripts = {
  telltaleNodeBeat(keys: 1, key: string, ...args: (string | number)[]): Promise<[number, number, string | null, string | null]>
  telltaleNodeLeave(keys: 1, key: string, id: string): Promise<number>
  telltaleNodeList(keys: 1, key: string): Promise<(string | number)[]>
  telltaleNodeTerminate(keys: 1, key: string, id: string): Promise<number>
  telltaleNodeMark(keys: 1, key: string, ...args: (string | number)[]): Promise<number>
}

export class Nodes {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleNodeBeat', { lua: BEAT })
    redis.defineCommand('telltaleNodeLeave', { lua: LEAVE })
    redis.defineCommand('telltaleNodeList', { lua: LIST })
    redis.defineCommand('telltaleNodeTerminate', { lua: TERMINATE })
    redis.defineCommand('telltaleNodeMark', { lua: MARK })
    this.#redis = redis as Redis & Scripts
  }

  /** Once a second, with at most some thousand changes. A node that was late, or forgotten, is there again with it. */
  async beat(facts: NodeFacts, { put, removed, anew }: Changes): Promise<Pulse> {
    const args = [facts.id, JSON.stringify(facts), anew ? 1 : 0, put.length, ...put.flat(), ...removed]
    const [nowMs, fields, origin, edge] = await this.#redis.telltaleNodeBeat(1, presenceKey(facts.id), ...args)
    return { nowMs, fields, thresholds: { origin: Number(origin ?? DEFAULT_THRESHOLD), edge: Number(edge ?? DEFAULT_THRESHOLD) } }
  }

  /** At once, and without a trace. */
  async leave(id: string): Promise<void> {
    await this.#redis.telltaleNodeLeave(1, BEATS, id)
  }

  /** Those alive, and the time by which they are. */
  async list(): Promise<{ readonly nowMs: number; readonly nodes: readonly Node[] }> {
    const [nowMs, ...rows] = await this.#redis.telltaleNodeList(1, RECORDS)
    const nodes: Node[] = []
    for (let i = 0; i < rows.length; i += 4) {
      const [, beatMs, record, terminating] = rows.slice(i, i + 4)
      nodes.push({ ...(JSON.parse(String(record)) as NodeFacts), beatMs: Number(beatMs), terminating: terminating === 1 })
    }
    return { nowMs: Number(nowMs), nodes }
  }

  /** What a node holds, field by field. */
  async held(id: string): Promise<Readonly<Record<string, string>>> {
    return this.#redis.hgetall(presenceKey(id))
  }

  /** Nothing new is sent to it from now on, for as long as it lives, however late its heartbeats are. */
  async terminate(id: string): Promise<void> {
    await this.#redis.telltaleNodeTerminate(1, TERMINATING, id)
  }

  async threshold(kind: NodeKind): Promise<number> {
    return Number((await this.#redis.hget(THRESHOLDS, kind)) ?? DEFAULT_THRESHOLD)
  }

  async setThreshold(kind: NodeKind, percent: number): Promise<void> {
    await this.#redis.hset(THRESHOLDS, kind, percent)
  }

  /** When entries were cleared; see directory.ts. */
  async marks(): Promise<Marks> {
    return this.#redis.hgetall(CLEARED)
  }

  /** Sets some, unless they are set to later, and removes others, unless they were set meanwhile. */
  async mark(marks: Marks, gone: Marks): Promise<void> {
    const removed = Object.entries(gone)
    await this.#redis.telltaleNodeMark(1, CLEARED, removed.length, ...removed.flat(), ...Object.entries(marks).flat())
  }
}

/** As others see it: who takes events is an origin, who only gives them an edge; undefined for neither. */
export function kindOf({ roles }: Pick<NodeFacts, 'roles'>): NodeKind | undefined {
  if (roles.includes('gateway')) return 'origin'
  return roles.includes('stream') ? 'edge' : undefined
}

/** Share of the capacity in use; 1 and more: full. */
export function loadOf({ connections, capacity }: Pick<NodeFacts, 'connections' | 'capacity'>): number {
  return connections / capacity
}
