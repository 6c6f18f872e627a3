// What happens to a stream in one step in Redis: appending, trimming, moving an offset.

/**
 * KEYS meta, log, ids, ids:old, names, then the list of each name · ARGV owner, ids remembered, messages, then for each message:
 * tail, payload, key, name, number of the key of its name (0: none), idempotency key, bytes.
 * Returns for each message its place (negative: it was there already) and its number.
 */
export const APPEND = `
local meta = redis.call('HMGET', KEYS[1], 'name', 'last', 'bytes', 'ms', 'owner', 'rate', 'byterate', 'ratems')
if not meta[1] then return redis.error_reply('GONE') end
local last, bytes = tonumber(meta[2]), tonumber(meta[3])
if ARGV[1] ~= (meta[5] or '') and (meta[5] or last > 0) then return redis.error_reply('OWNED') end
local time = redis.call('TIME')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(meta[4]))
local reply, n, before = {}, tonumber(ARGV[3]), bytes
local fresh = 0
for i = 1, n do
  local at = i * 7 - 3
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
      number = redis.call('RPUSH', KEYS[5 + list], last)
      if number == 1 then redis.call('SADD', KEYS[5], ARGV[at + 3]) end
    end
    redis.call('XADD', KEYS[2], last .. '-0', 'h', string.format('[%.0f,%.0f,%d,', now, bytes, number) .. ARGV[at],
      'k', ARGV[at + 2], 'n', ARGV[at + 3], 'p', ARGV[at + 1])
    if id ~= '' then
      redis.call('HSET', KEYS[3], id, last .. ' ' .. number)
      if redis.call('HLEN', KEYS[3]) > tonumber(ARGV[2]) then redis.call('RENAME', KEYS[3], KEYS[4]) end
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

/** KEYS meta, log · ARGV place: it and everything before it goes. */
export const TRIM = `
local first = tonumber(redis.call('HGET', KEYS[1], 'first') or '0')
local to = tonumber(ARGV[1])
if first == 0 or to < first then return 0 end
redis.call('HSET', KEYS[1], 'first', to + 1)
return redis.call('XTRIM', KEYS[2], 'MINID', (to + 1) .. '-0')`

/** KEYS offsets, moves, list of the name · ARGV field, where to, 1: by one only, time. Returns what it is now, -1 when that was refused, and the last. */
export const ADVANCE = `
local at, last = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0'), redis.call('LLEN', KEYS[3])
local to = tonumber(ARGV[2])
if to > last or (ARGV[3] == '1' and to ~= at + 1) then return {-1, at, last} end
redis.call('HSET', KEYS[1], ARGV[1], to)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
return {to, at, last}`

/** KEYS streams, meta · ARGV name, record, most streams of a project. */
export const CREATE = `
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return redis.error_reply('MANY') end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[2], 'name', ARGV[1], 'first', 1, 'last', 0, 'bytes', 0, 'ms', 0, 'acked', 0, 'rate', 0, 'byterate', 0, 'ratems', 0)
return 1`

/** KEYS streams · ARGV name, record as it was, record as it is to be. */
export const UPDATE = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1`

/** KEYS streams, meta, subscriptions, names · ARGV name, record as it was. Further keys begin as meta does, in its slot. */
export const REMOVE = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
for _, text in ipairs(redis.call('HVALS', KEYS[3])) do
  local sub = KEYS[2] .. ':sub:' .. cjson.decode(text).uid
  for _, id in ipairs(redis.call('HKEYS', sub .. ':members')) do redis.call('UNLINK', sub .. ':open:' .. id, sub .. ':wait:' .. id) end
  redis.call('UNLINK', sub, sub .. ':open', sub .. ':due', sub .. ':wait', sub .. ':seen', sub .. ':members', sub .. ':locks', sub .. ':delayed')
end
for _, name in ipairs(redis.call('SMEMBERS', KEYS[4])) do redis.call('UNLINK', KEYS[2] .. ':name:' .. name) end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
for _, part in ipairs({'log', 'ids', 'ids:old', 'offsets', 'moves'}) do redis.call('UNLINK', KEYS[2] .. ':' .. part) end
redis.call('PUBLISH', KEYS[2], 'gone')
return 1`
