// What the registry does in one step in Redis: a device, its indexes and the event that tells of the change, or none of them.
import type { Redis } from 'ioredis'
import { indexLine } from '../log/entry.ts'
import { projectKey } from '../log/key.ts'
import { type CommitCommand, WAKE_MS } from '../log/log.ts'

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
 * Replaces a device's row only if all that was read still holds: the row ('' stands for «does not exist»), the names of the indexes
 * ('*': whichever), and a note on the device in a hash. Appending comes first: if Redis
 * refuses for want of memory, it refuses the first write and nothing has happened. Commands come as in the commit of the log.
 */
const CHANGE = `
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return {0} end
if ARGV[8] ~= '*' and table.concat(redis.call('HKEYS', KEYS[3]), '\\n') ~= ARGV[8] then return {0} end
local noted = tonumber(ARGV[9])
if noted > 0 and (redis.call('HGET', KEYS[noted], ARGV[1]) or '') ~= ARGV[10] then return {0} end
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
local i = 11
while i <= #ARGV do
  local n = tonumber(ARGV[i])
  redis.call(ARGV[i + 1], KEYS[tonumber(ARGV[i + 2])], unpack(ARGV, i + 3, i + n))
  i = i + n + 1
end
return reply`

const DROP_NOTE = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])`

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
  telltaleDropNote(keys: 1, key: string, id: string, value: string): Promise<number>
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
  /** The names of the project's indexes for which the commands were made, where these matter. */
  readonly indexes?: readonly string[] | undefined
  readonly note?: Note | undefined
}

/** What is noted on the device in a hash of the project; '' when nothing is. */
export type Note = { readonly key: string; readonly value: string }

/** Arguments of one script: Lua takes some thousands, and a long script keeps everybody waiting. */
const REGISTER_AT_ONCE = 500

export class DeviceScripts {
  readonly #redis: Redis & Defined

  constructor(redis: Redis) {
    redis.defineCommand('telltaleChangeDevice', { lua: CHANGE })
    redis.defineCommand('telltaleDropNote', { lua: DROP_NOTE })
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

  /** False when something is not what it was; else the consumers that nobody had woken yet. */
  async change(project: string, { id, from, to, notice, commands, indexes, note }: RowChange): Promise<readonly string[] | false> {
    const consumers = notice?.consumers ?? []
    const names = ['devices', 'deviceIndex', 'indexes', 'log', ...consumers.map(name => `wake:${name}`)]
    const keys = names.map(name => projectKey(project, name))
    const index = notice ? indexLine(notice.device, 'labelsChanged', notice.timeUs) : ''
    const numbers = new Map<string, number>()
    const numberOf = (key: string): number => {
      const number = numbers.get(key) ?? keys.push(key)
      numbers.set(key, number)
      return number
    }
    const args: (string | number)[] = [id, from, to, index, notice?.frame ?? '', WAKE_MS, consumers.length]
    args.push(indexes ? indexes.join('\n') : '*', note ? numberOf(note.key) : 0, note?.value ?? '')
    for (const [command, key, ...rest] of commands) args.push(rest.length + 2, command, numberOf(key), ...rest)
    const [done, ...woken] = await this.#redis.telltaleChangeDevice(keys.length, ...keys, ...args)
    return done === 1 ? woken.map(number => consumers[number - 1] as string) : false
  }

  /** Takes a note on a device away, if it is still this one. */
  async dropNote(key: string, id: string, value: string): Promise<void> {
    await this.#redis.telltaleDropNote(1, key, id, value)
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
