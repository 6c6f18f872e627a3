// What the registry does in one step in Redis: a device, its indexes and the event that tells of the change, or none of them.
import type { Redis } from 'ioredis'
import { indexLine } from '../log/entry.ts'
import { projectKey } from '../log/key.ts'
import { type CommitCommand, WAKE_MS } from '../log/log.ts'
import { reportedIndexKey } from './deviceindex.ts'

/** Makes new devices known. A registry that begins with this script has its indexes complete from the first device on. */
const REGISTER = `
local fresh = redis.call('EXISTS', KEYS[2]) == 0
local added = 0
for i = 1, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 2]) == 1 then
    added = added + 1
    redis.call('ZADD', KEYS[2], 0, ARGV[i])
    redis.call('ZADD', KEYS[4], 0, ARGV[i + 1] .. '\\0' .. ARGV[i])
  end
end
if fresh and added > 0 then redis.call('HSET', KEYS[3], 'facets', 'done') end
return added`

/**
 * Replaces a device's row only if it still holds what was read; '' stands for «does not exist». Appending comes first: if Redis
 * refuses for want of memory, it refuses the first write and nothing has happened. Commands come as in the commit of the log.
 */
const CHANGE = `
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return {0} end
local reply = {1}
if ARGV[4] ~= '' then
  redis.call('XADD', KEYS[4], '*', 'i', ARGV[4], 'f', ARGV[5])
  for k = 1, tonumber(ARGV[7]) do
    if redis.call('SET', KEYS[4 + k], '1', 'NX', 'PX', ARGV[6]) then reply[#reply + 1] = k end
  end
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  if ARGV[2] == '' and redis.call('EXISTS', KEYS[2]) == 0 then redis.call('HSET', KEYS[3], 'facets', 'done') end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
end
local i = 8
while i <= #ARGV do
  local n = tonumber(ARGV[i])
  redis.call(ARGV[i + 1], KEYS[tonumber(ARGV[i + 2])], unpack(ARGV, i + 3, i + n))
  i = i + n + 1
end
return reply`

/** An earlier index under the same name may have left something behind. */
const BEGIN = `
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then redis.call('UNLINK', KEYS[2]) end
return redis.call('HGET', KEYS[1], ARGV[1])`

/** An index is being built by several at once: only who read its place moves it. */
const ADVANCE = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1`

/**
 * Members of a sorted set from a place (score, id) on. Redis finds a score but not a member among equal scores, so that is halved
 * here. Compared byte by byte, because Lua compares texts as the server's language does.
 */
const SEEK = `
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
local score, id, count = ARGV[1], ARGV[2], tonumber(ARGV[4])
local lo = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. score)
local hi = redis.call('ZCOUNT', KEYS[1], '-inf', score)
while lo < hi do
  local middle = math.floor((lo + hi) / 2)
  if before(redis.call('ZRANGE', KEYS[1], middle, middle)[1], id) then lo = middle + 1 else hi = middle end
end
local here = redis.call('ZRANGE', KEYS[1], lo, lo, 'WITHSCORES')
local met = here[1] == id and tonumber(here[2]) == tonumber(score)
if ARGV[3] == 'up' then
  if met and ARGV[5] == '0' then lo = lo + 1 end
  return redis.call('ZRANGE', KEYS[1], lo, lo + count - 1, 'WITHSCORES')
end
if not (met and ARGV[5] == '1') then lo = lo - 1 end
if lo < 0 then return {} end
return redis.call('ZRANGE', KEYS[1], math.max(0, lo - count + 1), lo, 'WITHSCORES')`

type Defined = {
  telltaleChangeDevice(keys: number, ...args: (string | number)[]): Promise<[number, ...number[]]>
  telltaleBeginIndex(keys: number, ...args: string[]): Promise<string>
  telltaleAdvanceIndex(keys: number, ...args: string[]): Promise<number>
  telltaleSeek(keys: number, ...args: (string | number)[]): Promise<string[]>
}

/** A `labelsChanged` event on its way into the log, and whom an append wakes. */
export type Notice = { readonly device: string; readonly timeUs: number; readonly frame: string; readonly consumers: readonly string[] }

export type RowChange = {
  readonly id: string
  /** The row as it was read, '' when there was none. */
  readonly from: string
  /** '' removes the device. */
  readonly to: string
  readonly notice: Notice | undefined
  readonly commands: readonly CommitCommand[]
}

/** Arguments of one script: Lua takes some thousands, and a long script keeps everybody waiting. */
const REGISTER_AT_ONCE = 500

export class DeviceScripts {
  readonly #redis: Redis & Defined

  constructor(redis: Redis) {
    redis.defineCommand('telltaleChangeDevice', { lua: CHANGE })
    redis.defineCommand('telltaleBeginIndex', { lua: BEGIN })
    redis.defineCommand('telltaleAdvanceIndex', { lua: ADVANCE })
    redis.defineCommand('telltaleSeek', { lua: SEEK, readOnly: true })
    this.#redis = redis as Redis & Defined
  }

  /**
   * Makes sure that devices exist: id, type, row. The script is sent as text: asked for by its hash it could be unknown to a
   * Redis that was just started, and would then be sent again after the append that follows it.
   */
  async register(project: string, rows: readonly (readonly [id: string, type: string, row: string])[]): Promise<void> {
    const keys = ['devices', 'deviceIndex', 'indexes', 'facet:type'].map(name => projectKey(project, name))
    const sent: Promise<unknown>[] = []
    for (let i = 0; i < rows.length; i += REGISTER_AT_ONCE)
      sent.push(this.#redis.eval(REGISTER, keys.length, ...keys, ...rows.slice(i, i + REGISTER_AT_ONCE).flat()))
    await Promise.all(sent)
  }

  /** False when the row is not what it was; else the consumers that nobody had woken yet. */
  async change(project: string, { id, from, to, notice, commands }: RowChange): Promise<readonly string[] | false> {
    const consumers = notice?.consumers ?? []
    const names = ['devices', 'deviceIndex', 'indexes', 'log', ...consumers.map(name => `wake:${name}`)]
    const keys = names.map(name => projectKey(project, name))
    const index = notice ? indexLine(notice.device, 'labelsChanged', notice.timeUs) : ''
    const args: (string | number)[] = [id, from, to, index, notice?.frame ?? '', WAKE_MS, consumers.length]
    const numbers = new Map<string, number>()
    for (const [command, key, ...rest] of commands) {
      const number = numbers.get(key) ?? keys.push(key)
      numbers.set(key, number)
      args.push(rest.length + 2, command, number, ...rest)
    }
    const [done, ...woken] = await this.#redis.telltaleChangeDevice(keys.length, ...keys, ...args)
    return done === 1 ? woken.map(number => consumers[number - 1] as string) : false
  }

  /** Begins an index unless somebody has; returns how far it is. */
  async begin(project: string, index: string, row: string): Promise<string> {
    return this.#redis.telltaleBeginIndex(2, projectKey(project, 'indexes'), reportedIndexKey(project, index), index, row)
  }

  async advance(project: string, index: string, from: string, to: string): Promise<boolean> {
    return (await this.#redis.telltaleAdvanceIndex(1, projectKey(project, 'indexes'), index, from, to)) === 1
  }

  /** Members and scores in the direction of the walk, from a place that is left out unless `inclusive`. */
  async seek(
    key: string,
    place: { score: number; id: string; inclusive: boolean },
    descending: boolean,
    count: number,
  ): Promise<[id: string, score: number][]> {
    const { score, id, inclusive } = place
    const flat = await this.#redis.telltaleSeek(1, key, score, id, descending ? 'down' : 'up', count, inclusive ? 1 : 0)
    const pairs: [string, number][] = []
    for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i] as string, Number(flat[i + 1])])
    return descending ? pairs.reverse() : pairs
  }
}
