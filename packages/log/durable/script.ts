// What happens to a stream in one step in Redis: appending, trimming, moving an offset.
import type { Redis } from 'ioredis'
import { RUN } from '../log.ts'
import type { Row } from './message.ts'

/** Each takes some room for as long as the stream is there. */
export const MAX_NAMES = 10_000

/**
 * KEYS meta, log, ids, ids:old, names, dropped, then the list of each name · ARGV owner, ids remembered, messages, then for each message:
 * tail, payload, key, name, number of the key of its name (0: none), idempotency key, bytes, digest (of what may not differ under the same
 * idempotency key).
 * Returns for each message its place (negative: it was there already) and its number.
 */
const APPEND = `
local meta = redis.call('HMGET', KEYS[1], 'name', 'last', 'bytes', 'ms', 'owner', 'rate', 'byterate', 'ratems')
if not meta[1] then return redis.error_reply('GONE') end
local last, bytes = tonumber(meta[2]), tonumber(meta[3])
if ARGV[1] ~= (meta[5] or '') and (meta[5] or last > 0) then return redis.error_reply('OWNED') end
local time = redis.call('TIME')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(meta[4]))
local reply, n, before = {}, tonumber(ARGV[3]), bytes
local unknown, looked = 0, {}
for i = 1, n do
  local list, name, id = tonumber(ARGV[i * 8]), ARGV[i * 8 - 1], ARGV[i * 8 + 1]
  if list > 0 and not looked[list] then
    looked[list] = true
    unknown = unknown + 1 - redis.call('SISMEMBER', KEYS[5], name)
  end
  if id ~= '' then
    local known = redis.call('HGET', KEYS[3], id) or redis.call('HGET', KEYS[4], id)
    if known and string.match(known, '%d+ %d+ (.*)') ~= ARGV[i * 8 + 3] then return redis.error_reply('REUSED') end
  end
end
if unknown > 0 and redis.call('SCARD', KEYS[5]) + unknown > ${MAX_NAMES} then return redis.error_reply('NAMES') end
local fresh = 0
for i = 1, n do
  local at = i * 8 - 4
  local id = ARGV[at + 5]
  local known = false
  if id ~= '' then known = redis.call('HGET', KEYS[3], id) or redis.call('HGET', KEYS[4], id) end
  if known then
    local seq, number = string.match(known, '(%d+) (%d+)')
    reply[#reply + 1] = -tonumber(seq)
    reply[#reply + 1] = tonumber(number)
  else
    last = last + 1
    fresh = fresh + 1
    bytes = bytes + tonumber(ARGV[at + 6])
    local list, number = tonumber(ARGV[at + 4]), 0
    if list > 0 then
      number = redis.call('RPUSH', KEYS[6 + list], last)
      if number == 1 then redis.call('SADD', KEYS[5], ARGV[at + 3]) end
      number = number + tonumber(redis.call('HGET', KEYS[6], ARGV[at + 3]) or 0)
    end
    redis.call('XADD', KEYS[2], last .. '-0', 'h', string.format('[%.0f,%.0f,%d,', now, bytes, number) .. ARGV[at],
      'k', ARGV[at + 2], 'n', ARGV[at + 3], 'p', ARGV[at + 1])
    if id ~= '' then
      redis.call('HSET', KEYS[3], id, last .. ' ' .. number .. ' ' .. ARGV[at + 7])
      if redis.call('HLEN', KEYS[3]) > tonumber(ARGV[2]) then
        redis.call('UNLINK', KEYS[4])
        redis.call('RENAME', KEYS[3], KEYS[4])
      end
    end
    reply[#reply + 1] = last
    reply[#reply + 1] = number
  end
end
if fresh > 0 then
  local fade = math.exp((tonumber(meta[8]) - now) / 10000)
  redis.call('HSET', KEYS[1], 'last', last, 'bytes', string.format('%.0f', bytes), 'ms', string.format('%.0f', now),
    'rate', tonumber(meta[6]) * fade + fresh / 10, 'byterate', tonumber(meta[7]) * fade + (bytes - before) / 10,
    'ratems', string.format('%.0f', now))
  if ARGV[1] ~= '' and not meta[5] then redis.call('HSET', KEYS[1], 'owner', ARGV[1]) end
  redis.call('PUBLISH', KEYS[1], last)
end
return reply`

/**
 * Appends and moves the place of one of the consumers of the project's log, or neither, when the place is not where it was left: nothing is
 * returned then. Behind what APPEND has: KEYS offsets, what the commands write · ARGV number of the first of these keys, consumer, from,
 * to, commands.
 */
const APPEND_MOVING = `
local function append()${APPEND}
end
local at = tonumber(ARGV[3]) * 8 + 4
local offsets = KEYS[tonumber(ARGV[at])]
if (redis.call('HGET', offsets, ARGV[at + 1]) or '') ~= ARGV[at + 2] then return {} end
local reply = append()
if reply.err then return reply end
local i = at + 4
${RUN}
redis.call('HSET', offsets, ARGV[at + 1], ARGV[at + 3])
return reply`

/**
 * KEYS meta, log, names, dropped, subscriptions · ARGV place, 1: as far as every subscription has acked if that is further. It and everything
 * before it goes, also from the lists of names. Further keys begin as meta does.
 */
const TRIM = `
local first = tonumber(redis.call('HGET', KEYS[1], 'first') or '0')
local to = tonumber(ARGV[1])
if first == 0 then return 0 end
if ARGV[2] == '1' then
  local least
  for _, text in ipairs(redis.call('HVALS', KEYS[5])) do
    local low = tonumber(redis.call('HGET', KEYS[1] .. ':sub:' .. cjson.decode(text).uid, 'low') or 0)
    least = math.min(least or low, low)
  end
  to = math.max(to, least or 0)
end
if to < first then return 0 end
redis.call('HSET', KEYS[1], 'first', to + 1)
for _, name in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  local list = KEYS[1] .. ':name:' .. name
  local seqs, count = {}, 0
  repeat
    seqs = redis.call('LRANGE', list, 0, 99)
    count = 0
    while seqs[count + 1] and tonumber(seqs[count + 1]) <= to do count = count + 1 end
    if count > 0 then
      redis.call('LTRIM', list, count, -1)
      redis.call('HINCRBY', KEYS[4], name, count)
    end
  until count < 100
end
return redis.call('XTRIM', KEYS[2], 'MINID', (to + 1) .. '-0')`

/** KEYS log · ARGV command, from, to, most messages, most bytes: one message at least, then as many as fit. */
const READ = `
local rows, bytes, at, step = {}, 0, ARGV[2], 1
local most, limit = tonumber(ARGV[4]), tonumber(ARGV[5])
while #rows < most do
  local count = math.min(step, most - #rows)
  local some = redis.call(ARGV[1], KEYS[1], at, ARGV[3], 'COUNT', count)
  for _, row in ipairs(some) do
    rows[#rows + 1] = row
    bytes = bytes + #row[2][8] + #row[2][2]
    if bytes >= limit then return rows end
    at = '(' .. row[1]
  end
  if #some < count then return rows end
  step = math.min(step * 2, 64)
end
return rows`

/** KEYS meta, log · Returns meta, messages, header of the oldest, bytes of its payload, header of the newest. */
export const STATS = `
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
return {redis.call('HGETALL', KEYS[1]), redis.call('XLEN', KEYS[2]), oldest and oldest[1] or '', oldest and oldest[2][2] or '',
  oldest and #oldest[2][8] or 0, newest and newest[2][2] or ''}`

/** KEYS meta, log · ARGV `time`, ms; or `bytes`, how many are to be left. By halving; returns the place before the first message that is reached. */
const PLACE = `
local meta = redis.call('HMGET', KEYS[1], 'first', 'last', 'bytes')
if not meta[1] then return redis.error_reply('GONE') end
local low, high, value = tonumber(meta[1]), tonumber(meta[2]) + 1, tonumber(ARGV[2])
while low < high do
  local middle = math.floor((low + high) / 2)
  local row = redis.call('XRANGE', KEYS[2], middle .. '-0', '+', 'COUNT', 1)[1]
  local ms, bytes
  if row then ms, bytes = string.match(row[2][2], '^%[(%d+),(%d+)') end
  if row and ((ARGV[1] == 'time' and tonumber(ms) < value) or (ARGV[1] == 'bytes' and tonumber(meta[3]) - tonumber(bytes) >= value)) then
    low = math.max(middle, tonumber(string.match(row[1], '^(%d+)'))) + 1
  else
    high = middle
  end
end
return low - 1`

/**
 * KEYS offsets, moves, list of the name, dropped · ARGV field, where to, 1: by one only, time, name. What was dropped counts as passed.
 * Returns where it is now, -1 when that was refused; where it was; and the last.
 */
const ADVANCE = `
local dropped = tonumber(redis.call('HGET', KEYS[4], ARGV[5]) or 0)
local at, last = math.max(dropped, tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)), dropped + redis.call('LLEN', KEYS[3])
local to = tonumber(ARGV[2])
if to > last or (ARGV[3] == '1' and to ~= at + 1) then return {-1, at, last} end
redis.call('HSET', KEYS[1], ARGV[1], to)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
return {to, at, last}`

/** KEYS streams, meta · ARGV name, record, most streams of a project. */
const CREATE = `
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return redis.error_reply('MANY') end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'name', ARGV[1], 'first', 1, 'last', 0, 'bytes', 0, 'ms', 0, 'acked', 0, 'rate', 0, 'byterate', 0, 'ratems', 0)
return 1`

/** KEYS streams · ARGV name, record as it was, record as it is to be. */
const UPDATE = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1`

/** KEYS streams, meta, subscriptions, names · ARGV name, record as it was. Further keys begin as meta does, in its slot. */
const REMOVE = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
for _, text in ipairs(redis.call('HVALS', KEYS[3])) do
  local sub = KEYS[2] .. ':sub:' .. cjson.decode(text).uid
  for _, id in ipairs(redis.call('HKEYS', sub .. ':members')) do redis.call('UNLINK', sub .. ':open:' .. id, sub .. ':wait:' .. id) end
  for _, key in ipairs(redis.call('SMEMBERS', sub .. ':wait:keys')) do redis.call('UNLINK', sub .. ':wait:key:' .. key) end
  redis.call('UNLINK', sub, sub .. ':open', sub .. ':due', sub .. ':wait', sub .. ':wait:keys', sub .. ':seen', sub .. ':members', sub .. ':locks', sub .. ':delayed')
end
for _, name in ipairs(redis.call('SMEMBERS', KEYS[4])) do redis.call('UNLINK', KEYS[2] .. ':name:' .. name) end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
for _, part in ipairs({'log', 'ids', 'ids:old', 'offsets', 'moves', 'dropped'}) do redis.call('UNLINK', KEYS[2] .. ':' .. part) end
redis.call('PUBLISH', KEYS[2], 'gone')
return 1`

export type StatsReply = [meta: Buffer[], messages: number, oldest: Buffer, header: Buffer, payload: number, newest: Buffer]

export type Scripts = {
  streamReadBuffer(keyCount: number, ...args: (string | number)[]): Promise<Row[]>
  streamStatsBuffer(keyCount: number, ...args: (string | number)[]): Promise<StatsReply>
  streamPlace(keyCount: number, ...args: (string | number)[]): Promise<number>
  streamAppend(keyCount: number, ...args: (string | number | Buffer)[]): Promise<number[]>
  streamAppendMoving(keyCount: number, ...args: (string | number | Buffer)[]): Promise<number[]>
  streamTrim(keyCount: number, ...args: (string | number)[]): Promise<number>
  streamAdvance(keyCount: number, ...args: (string | number)[]): Promise<[number, number, number]>
  streamCreate(keyCount: number, ...args: (string | number)[]): Promise<number>
  streamUpdate(keyCount: number, ...args: (string | number)[]): Promise<number>
  streamRemove(keyCount: number, ...args: (string | number)[]): Promise<number>
}

export function defineScripts(redis: Redis): Redis & Scripts {
  redis.defineCommand('streamAppend', { lua: APPEND })
  redis.defineCommand('streamAppendMoving', { lua: APPEND_MOVING })
  redis.defineCommand('streamTrim', { lua: TRIM })
  redis.defineCommand('streamRead', { lua: READ })
  redis.defineCommand('streamStats', { lua: STATS })
  redis.defineCommand('streamPlace', { lua: PLACE })
  redis.defineCommand('streamAdvance', { lua: ADVANCE })
  redis.defineCommand('streamCreate', { lua: CREATE })
  redis.defineCommand('streamUpdate', { lua: UPDATE })
  redis.defineCommand('streamRemove', { lua: REMOVE })
  return redis as Redis & Scripts
}
