// What the scripts of MQTT sessions have in common: the names of their keys, and how what waits is counted. All keys of sessions share one
// Cluster slot, because a message is queued for many sessions at once and counted against what all of them hold.

export const PREFIX = 't:{~mqtt}:'
/** Where every gateway hears of what another one changed. */
export const CHANNEL = `${PREFIX}all`

/** What a message takes besides its bytes: in each queue that it stands in, and as a PUBREL afterwards. */
export const MESSAGE_BYTES = 250

/**
 * A session belongs to a holder, mostly a project. What waits stands once for each holder: `body:{holder}`, and `share:{holder}`: for how
 * many sessions it waits. One that had to make room has its length in `lost:{holder}` until the last of them has noticed.
 * `queue:{sid}`: messages by their place; `sent:{sid}`: their packet ids; `released:{sid}`: packet ids for PUBREL by their place; `got:{sid}`:
 * packet ids that came with QoS 2; `coming:{sid}`: of one that was not there for all yet, what it says, as a key, and its id.
 * `filters`: bytes of the filters of each holder. `holders`, `total`: bytes in Redis, what a forgotten session left (`trash`) until it is cleaned; `holds:{holder}`: the bytes that wait for
 * each session, whoever else waits for them too; `crowds`: number of sessions of each, `by:{holder}`: when each was seen.
 * `changes`: number of the last change of a session or its filters, which every gateway is told of; rises also when Redis lost it.
 * Redis refuses a script for want of memory at its first write or not at all: what takes away begins with a write that frees.
 */
export const COMMON = `
local P = KEYS[1]
local OVERHEAD = ${MESSAGE_BYTES}
local taken, allTaken = {}, 0
local function holder(sid) return redis.call('HGET', P .. 'session:' .. sid, 'holder') or '' end
local function key(sid) return string.match(sid, '^(.-)\\n') or '' end
local function count(name, member, by)
  if tonumber(redis.call('ZINCRBY', P .. name, by, member)) <= 0 then redis.call('ZREM', P .. name, member) end
end
local function takes(of, bytes)
  taken[of] = (taken[of] or 0) + bytes
  allTaken = allTaken + bytes
end
local function settle()
  for of, bytes in pairs(taken) do
    if bytes ~= 0 then count('holders', of, bytes) end
  end
  if allTaken ~= 0 and redis.call('INCRBY', P .. 'total', allTaken) <= 0 then redis.call('DEL', P .. 'total') end
  taken, allTaken = {}, 0
end
local function release(of, id)
  takes(of, -OVERHEAD)
  if redis.call('HINCRBY', P .. 'share:' .. of, id, -1) > 0 then return end
  takes(of, -redis.call('HSTRLEN', P .. 'body:' .. of, id))
  for _, name in ipairs({ 'share:', 'body:', 'lost:' }) do redis.call('HDEL', P .. name .. of, id) end
end
local function remove(sid, of, id)
  if redis.call('ZREM', P .. 'queue:' .. sid, id) == 0 then return 0 end
  local bytes = redis.call('HSTRLEN', P .. 'body:' .. of, id)
  if bytes == 0 then bytes = tonumber(redis.call('HGET', P .. 'lost:' .. of, id) or '0') end
  bytes = bytes + OVERHEAD
  redis.call('HDEL', P .. 'sent:' .. sid, id)
  redis.call('HINCRBY', P .. 'session:' .. sid, 'bytes', -bytes)
  count('holds:' .. of, sid, -bytes)
  release(of, id)
  return bytes
end
local function changed() return tonumber(redis.call('GET', P .. 'changes') or '0') end
local function change()
  local time = redis.call('TIME')
  local number = string.format('%.0f', math.max(changed() + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', P .. 'changes', number)
  return number
end
local function forget(sid)
  local of, queue = holder(sid), P .. 'queue:' .. sid
  local filters = tonumber(redis.call('HGET', P .. 'session:' .. sid, 'filters') or '0')
  takes(of, -OVERHEAD * redis.call('ZCARD', P .. 'released:' .. sid))
  for _, name in ipairs({ 'session:', 'sent:', 'released:', 'got:', 'coming:' }) do redis.call('UNLINK', P .. name .. sid) end
  count('filters', of, -filters)
  redis.call('ZREM', P .. 'holds:' .. of, sid)
  redis.call('ZREM', P .. 'of:' .. key(sid), sid)
  if redis.call('ZREM', P .. 'by:' .. of, sid) == 1 then count('crowds', of, -1) end
  if redis.call('EXISTS', queue) == 1 then
    local number = (tonumber(redis.call('ZREVRANGE', P .. 'trash', 0, 0, 'WITHSCORES')[2]) or 0) + 1
    redis.call('ZADD', P .. 'trash', number, number .. '\\n' .. of)
    redis.call('RENAME', queue, P .. 'trash:' .. number)
  end
  if redis.call('ZREM', P .. 'sessions', sid) == 1 then
    redis.call('PUBLISH', '${CHANNEL}', cjson.encode({ kind = 'forgotten', id = sid, number = change() }))
  end
end
local function clean(left)
  while left > 0 do
    local trash = redis.call('ZRANGE', P .. 'trash', 0, 0)[1]
    if not trash then break end
    local number, of = string.match(trash, '^(%d+)\\n(.*)$')
    local ids = redis.call('ZRANGE', P .. 'trash:' .. number, 0, left - 1)
    redis.call('ZREMRANGEBYRANK', P .. 'trash:' .. number, 0, left - 1)
    for _, id in ipairs(ids) do release(of, id) end
    if #ids < left then redis.call('ZREM', P .. 'trash', trash) end
    left = left - #ids - 1
  end
  return left
end
`
