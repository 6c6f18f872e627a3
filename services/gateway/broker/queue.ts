// What happens to the messages that wait for MQTT sessions, in one step in Redis: they are queued, read, sent and acknowledged.
import { COMMON } from './lua.ts'

/** Messages that make room in one step: meanwhile Redis does nothing else. */
const DROPS_AT_ONCE = 100
/** What forgotten sessions left is let go of first. */
const CLEAN_AT_ONCE = 500
/** What would take the place of more, as large as they are on average, is not queued. */
const MAX_DROPS = 1000
/** Among so many of its oldest a session that has to make room has one of its own. */
const MAX_LOOKS = 8

/**
 * ARGV id, message (empty: only for those whose holder has it), most messages and bytes of a session, bytes of a holder, bytes in all,
 * session and packet id by which it came (QoS 2, or both empty), whether these are the last sessions, what it says as a key (where it came
 * with QoS 2), then the sessions that it is for.
 *
 * It has come when it was there for the last. If that failed it comes again, and goes on under the id that it had. Whoever lost its
 * state may use its packet id for another message: that one has an id of its own.
 *
 * A session that is over its limits drops its oldest. Beyond those of a holder, or of all, the session for which most waits makes room (of
 * the holder that has most): with what waits for it alone, the oldest first, since that frees all of it. If it has nothing of its own, its
 * oldest goes for everybody if that frees more than all of them take to refer to it, and else for this session. What others share is
 * not walked through: they find the body gone. What has no room even so is not queued.
 *
 * Returns nothing if it had come before; or its id, the sessions that lost something and how many messages each, the sessions of holders
 * that need the message, and those for which this was too much work for one step.
 */
export const QUEUE = `${COMMON}
local id, blob, from, packet, left, lost, again, later = ARGV[1], ARGV[2], ARGV[7], ARGV[8], ${DROPS_AT_ONCE}, {}, {}, {}
local MOST, SESSION, HOLDER, ALL = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local held, total = {}, nil
local isKnown = from ~= '' and redis.call('EXISTS', P .. 'session:' .. from) == 1
if isKnown then
  if redis.call('HEXISTS', P .. 'got:' .. from, packet) == 1 then return false end
  local before = redis.call('HGET', P .. 'coming:' .. from, packet)
  if before and string.sub(before, 1, #ARGV[10] + 1) == ARGV[10] .. ' ' then id = string.sub(before, #ARGV[10] + 2)
  elseif before then redis.call('HDEL', P .. 'coming:' .. from, packet) end
end
local function lose(sid, many) lost[sid] = (lost[sid] or 0) + many end
local function isOver(of, need)
  held[of] = held[of] or tonumber(redis.call('ZSCORE', P .. 'holders', of) or '0')
  total = total or tonumber(redis.call('GET', P .. 'total') or '0')
  return held[of] + (taken[of] or 0) + need > HOLDER, total + allTaken + need > ALL
end
local function most(name, one, with)
  local found = redis.call('ZREVRANGE', P .. name, 0, 0, 'WITHSCORES')
  if found[1] and tonumber(found[2]) > with then return found[1] end
  return one
end
local function giver(sid, of, bytes, need)
  local holderIs, allAre = isOver(of, need)
  if holderIs then return most('holds:' .. of, sid, bytes), of end
  if not allAre then return end
  local own = held[of] + (taken[of] or 0) + need
  settle()
  held, total = {}, nil
  local rich = most('holders', of, own)
  return most('holds:' .. rich, rich == of and sid or '', rich == of and bytes or 0), rich
end
local function drop(sid, of, one)
  if redis.call('HEXISTS', P .. 'body:' .. of, one) == 1 then lose(sid, 1) end
  return remove(sid, of, one)
end
local function give(sid, of)
  local ids = redis.call('ZRANGE', P .. 'queue:' .. sid, 0, ${MAX_LOOKS - 1})
  local oldest = ids[1]
  if not oldest then return false end
  local shares = redis.call('HMGET', P .. 'share:' .. of, unpack(ids))
  local bodies = {}
  for i, one in ipairs(ids) do
    bodies[i] = redis.call('HSTRLEN', P .. 'body:' .. of, one)
    if bodies[i] == 0 or shares[i] == '1' then
      drop(sid, of, one)
      return true
    end
  end
  if bodies[1] > tonumber(shares[1]) * OVERHEAD then
    redis.call('HDEL', P .. 'body:' .. of, oldest)
    redis.call('HSET', P .. 'lost:' .. of, oldest, bodies[1])
    takes(of, -bodies[1])
    lose(sid, tonumber(shares[1]))
    remove(sid, of, oldest)
  else drop(sid, of, oldest) end
  return true
end
local function length(of)
  local there = redis.call('HSTRLEN', P .. 'body:' .. of, id)
  if there > 0 then return there, OVERHEAD end
  return #blob, OVERHEAD + #blob
end
local function tooMuch(gives, whose, need)
  local waiting = redis.call('ZCARD', P .. 'queue:' .. gives)
  local bytes = tonumber(redis.call('ZSCORE', P .. 'holds:' .. whose, gives) or '0')
  return need * waiting > bytes * ${MAX_DROPS} or waiting == 0
end
local YES, NO, LATER = 1, 2, 3
local function room(sid, of, bytes)
  local size, need = length(of)
  if size + OVERHEAD > SESSION then return NO end
  while redis.call('ZCARD', P .. 'queue:' .. sid) >= MOST or bytes + size + OVERHEAD > SESSION do
    local oldest = redis.call('ZRANGE', P .. 'queue:' .. sid, 0, 0)[1]
    if not oldest then return NO end
    if left <= 0 then return LATER end
    bytes = bytes - drop(sid, of, oldest)
    left = left - 1
  end
  local gives, whose = giver(sid, of, bytes + size + OVERHEAD, need)
  if not gives then return YES end
  if redis.call('EXISTS', P .. 'trash') == 1 then
    clean(${CLEAN_AT_ONCE})
    left = 0
    return LATER
  end
  if tooMuch(gives, whose, need) then return NO end
  while gives do
    if left <= 0 then return LATER end
    if not give(gives, whose) then return NO end
    left = left - 1
    size, need = length(of)
    bytes = tonumber(redis.call('HGET', P .. 'session:' .. sid, 'bytes'))
    gives, whose = giver(sid, of, bytes + size + OVERHEAD, need)
  end
  return YES
end
local function add(sid, of, bytes, at)
  local session, size, need = P .. 'session:' .. sid, length(of)
  redis.call('HSET', session, 'next', at + 1, 'bytes', bytes + size + OVERHEAD)
  redis.call('ZADD', P .. 'queue:' .. sid, at + 1, id)
  redis.call('ZINCRBY', P .. 'holds:' .. of, size + OVERHEAD, sid)
  redis.call('HINCRBY', P .. 'share:' .. of, id, 1)
  if need > OVERHEAD then redis.call('HSET', P .. 'body:' .. of, id, blob) end
  takes(of, need)
end
local function isThere(of) return redis.call('HEXISTS', P .. 'body:' .. of, id) == 1 end
local function isLost(of) return redis.call('HEXISTS', P .. 'lost:' .. of, id) == 1 end
local function isAway(of) return blob == '' and not isThere(of) end
local function queue(sid)
  local of, bytes, at = unpack(redis.call('HMGET', P .. 'session:' .. sid, 'holder', 'bytes', 'next'))
  if not of or redis.call('ZSCORE', P .. 'queue:' .. sid, id) then return end
  if isLost(of) then return lose(sid, 1) end
  local before = left
  local found = isAway(of) and LATER or room(sid, of, tonumber(bytes))
  if found == NO then return lose(sid, 1) end
  -- Room was made, perhaps with what is being queued.
  if left < before then
    if isLost(of) then return lose(sid, 1) end
    bytes = redis.call('HGET', P .. 'session:' .. sid, 'bytes')
  end
  if found == YES and not isAway(of) then add(sid, of, tonumber(bytes), tonumber(at or '0'))
  elseif isThere(of) then later[#later + 1] = sid
  else again[#again + 1] = sid end
end
for i = 11, #ARGV do
  if left > 0 then queue(ARGV[i]) else later[#later + 1] = ARGV[i] end
end
settle()
if isKnown and ARGV[9] == '1' and #again + #later == 0 then
  redis.call('HSET', P .. 'got:' .. from, packet, 1)
  redis.call('HDEL', P .. 'coming:' .. from, packet)
elseif isKnown then redis.call('HSET', P .. 'coming:' .. from, packet, ARGV[10] .. ' ' .. id) end
local flat = {}
for sid, many in pairs(lost) do
  flat[#flat + 1] = sid
  flat[#flat + 1] = many
end
return { id, flat, again, later }`

/** ARGV session, place after which, how many. Returns place, id and message of each; nothing for one that had to make room, and ends here. */
export const WAITING = `${COMMON}
local sid, ids, reply = ARGV[1], {}, {}
local found = redis.call('ZRANGEBYSCORE', P .. 'queue:' .. sid, '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
if #found == 0 then return reply end
for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
local of = holder(sid)
local bodies = redis.call('HMGET', P .. 'body:' .. of, unpack(ids))
for i, id in ipairs(ids) do
  if not bodies[i] then remove(sid, of, id) end
  reply[#reply + 1] = found[2 * i]
  reply[#reply + 1] = id
  reply[#reply + 1] = bodies[i]
end
settle()
return reply`

/** What a client did to a message, or what was done to it for one. */
export type Step = 'sent' | 'received' | 'done' | 'completed' | 'released'

/**
 * ARGV step, session, packet id, id of the message, and so on.
 * sent: under that packet id. received: PUBREC, what it said is not needed any more, its packet id is. done: PUBACK, or it is not for this
 * session any more. completed: PUBCOMP. released: PUBREL of one that came from the client.
 */
export const STEPS = `${COMMON}
local function releases(sid, packet, by)
  redis.call('HINCRBY', P .. 'session:' .. sid, 'bytes', by)
  takes(holder(sid), by)
end
local steps = {
  sent = function(sid, packet, id)
    if redis.call('ZSCORE', P .. 'queue:' .. sid, id) then redis.call('HSET', P .. 'sent:' .. sid, id, packet) end
  end,
  received = function(sid, packet, id)
    remove(sid, holder(sid), id)
    local session = P .. 'session:' .. sid
    if redis.call('EXISTS', session) == 0 or redis.call('ZSCORE', P .. 'released:' .. sid, packet) then return end
    redis.call('ZADD', P .. 'released:' .. sid, redis.call('HINCRBY', session, 'next', 1), packet)
    releases(sid, packet, OVERHEAD)
  end,
  done = function(sid, packet, id) remove(sid, holder(sid), id) end,
  completed = function(sid, packet)
    if redis.call('ZREM', P .. 'released:' .. sid, packet) == 1 then releases(sid, packet, -OVERHEAD) end
  end,
  released = function(sid, packet) redis.call('HDEL', P .. 'got:' .. sid, packet) end,
}
for i = 1, #ARGV, 4 do steps[ARGV[i]](ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]) end
settle()`
