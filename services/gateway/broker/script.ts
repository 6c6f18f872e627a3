// What happens to an MQTT session or to a retained message in one step in Redis. All keys of sessions share one Cluster slot, because a
// message is queued for many sessions at once and counted against what all of them hold.
import type { Redis } from 'ioredis'

export const PREFIX = 't:{~mqtt}:'
/** Where every gateway hears of what another one changed. */
export const CHANNEL = `${PREFIX}all`

/** What a message takes besides its bytes. */
export const MESSAGE_BYTES = 250

/** Of one script: meanwhile Redis does nothing else. */
const MAX_DROPS = 1000

/**
 * A session belongs to a holder, mostly a project: what waits for all sessions of one is bounded, and who holds most makes room for others.
 * `holders`: bytes of each, `holds:{holder}`: bytes of its sessions; `crowds`: number of sessions of each, `by:{holder}`: when each was seen.
 */
const COMMON = `
local P = KEYS[1]
local OVERHEAD = ${MESSAGE_BYTES}
local function holder(sid) return redis.call('HGET', P .. 'session:' .. sid, 'holder') or '' end
local function count(name, member, by)
  if tonumber(redis.call('ZINCRBY', P .. name, by, member)) <= 0 then redis.call('ZREM', P .. name, member) end
end
local function hold(sid, of, bytes)
  count('holds:' .. of, sid, bytes)
  count('holders', of, bytes)
  if redis.call('INCRBY', P .. 'total', bytes) <= 0 then redis.call('DEL', P .. 'total') end
end
local function spend(sid, bytes)
  redis.call('HINCRBY', P .. 'session:' .. sid, 'bytes', bytes)
  hold(sid, holder(sid), bytes)
end
local function key(sid) return string.match(sid, '^(.-)\\n') or '' end
local function held(sid, id) return redis.call('HSTRLEN', P .. 'message:' .. sid, id) + OVERHEAD end
local function remove(sid, id)
  redis.call('HDEL', P .. 'sent:' .. sid, id)
  if redis.call('ZREM', P .. 'queue:' .. sid, id) == 0 then return end
  spend(sid, -held(sid, id))
  redis.call('HDEL', P .. 'message:' .. sid, id)
end
local function part(sid, of)
  local bytes = tonumber(redis.call('HGET', P .. 'session:' .. sid, 'bytes') or '0')
  if bytes > 0 then hold(sid, of, -bytes) end
  if redis.call('ZREM', P .. 'by:' .. of, sid) == 1 then count('crowds', of, -1) end
  return bytes
end
local function forget(sid)
  part(sid, holder(sid))
  redis.call('UNLINK', P .. 'session:' .. sid, P .. 'queue:' .. sid, P .. 'message:' .. sid, P .. 'sent:' .. sid, P .. 'got:' .. sid)
  redis.call('ZREM', P .. 'of:' .. key(sid), sid)
  if redis.call('ZREM', P .. 'sessions', sid) == 1 then
    redis.call('PUBLISH', '${CHANNEL}', cjson.encode({ kind = 'forgotten', id = sid }))
  end
end
`

/**
 * ARGV session, now, most of its key, most in all, holder. Returns whether it was there, its fields, what was sent (id, packet id), got,
 * and who was forgotten for it: the longest away of its key, or of the holder that has most.
 */
const OPEN = `${COMMON}
local sid, now, of = ARGV[1], ARGV[2], ARGV[5]
local there = redis.call('HSETNX', P .. 'session:' .. sid, 'bytes', 0) == 0
if not there or holder(sid) ~= of then
  local bytes = part(sid, holder(sid))
  redis.call('HSET', P .. 'session:' .. sid, 'holder', of)
  if bytes > 0 then hold(sid, of, bytes) end
end
redis.call('ZADD', P .. 'sessions', now, sid)
redis.call('ZADD', P .. 'of:' .. key(sid), now, sid)
if redis.call('ZADD', P .. 'by:' .. of, now, sid) == 1 then count('crowds', of, 1) end
local gone = {}
local function leaves(among)
  for _, oldest in ipairs(redis.call('ZRANGE', P .. among, 0, 1)) do
    if oldest ~= sid then
      forget(oldest)
      gone[#gone + 1] = oldest
      return
    end
  end
end
if redis.call('ZCARD', P .. 'of:' .. key(sid)) > tonumber(ARGV[3]) then leaves('of:' .. key(sid)) end
if redis.call('ZCARD', P .. 'sessions') > tonumber(ARGV[4]) then leaves('by:' .. redis.call('ZREVRANGE', P .. 'crowds', 0, 0)[1]) end
return { there and 1 or 0, redis.call('HGETALL', P .. 'session:' .. sid), redis.call('HGETALL', P .. 'sent:' .. sid), redis.call('HKEYS', P .. 'got:' .. sid), gone }`

/** ARGV now, sessions: they were seen. One that was forgotten meanwhile stays so. */
const SEEN = `${COMMON}
for i = 2, #ARGV do
  for _, name in ipairs({ 'sessions', 'of:' .. key(ARGV[i]), 'by:' .. holder(ARGV[i]) }) do
    redis.call('ZADD', P .. name, 'XX', ARGV[1], ARGV[i])
  end
end`

/** ARGV session. */
const FORGET = `${COMMON}
forget(ARGV[1])`

/** ARGV session, then filter and grant of each; an empty grant: it ends. Publishes what changed. */
const SUBSCRIBE = `${COMMON}
local sid, changed = ARGV[1], {}
if redis.call('EXISTS', P .. 'session:' .. sid) == 0 then return 0 end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', P .. 'session:' .. sid, 'f:' .. ARGV[i])
  else redis.call('HSET', P .. 'session:' .. sid, 'f:' .. ARGV[i], ARGV[i + 1]) end
  changed[#changed + 1] = { ARGV[i], ARGV[i + 1] }
end
redis.call('PUBLISH', '${CHANNEL}', cjson.encode({ kind = 'subscribed', id = sid, filters = changed }))
return 1`

/**
 * ARGV id, message, most messages and bytes of a session, bytes of a holder, bytes in all, session and packet id by which it came (QoS 2,
 * or both empty), whether these are the last sessions, then the sessions that it is for. It has come when it is there for the last: one
 * that was not is queued again for all. A session that is over its limits drops its oldest; beyond those of a holder, or of all, the
 * session that holds most of it does. What has no room even so is dropped itself. Returns sessions that lost something and how many
 * messages of each, or -1: it had come before.
 */
export const QUEUE = `${COMMON}
local id, blob, left, lost = ARGV[1], ARGV[2], ${MAX_DROPS}, {}
if ARGV[7] ~= '' and redis.call('HEXISTS', P .. 'got:' .. ARGV[7], ARGV[8]) == 1 then return { -1 } end
local function drop(sid, one)
  if not one then return false end
  remove(sid, one)
  lost[sid] = (lost[sid] or 0) + 1
  left = left - 1
  return true
end
local function largest(of) return of and redis.call('ZREVRANGE', P .. 'holds:' .. of, 0, 0)[1] end
local function giver(sid)
  local bytes = tonumber(redis.call('HGET', P .. 'session:' .. sid, 'bytes'))
  if redis.call('ZCARD', P .. 'queue:' .. sid) > tonumber(ARGV[3]) or bytes > tonumber(ARGV[4]) then return sid end
  local of = holder(sid)
  if tonumber(redis.call('ZSCORE', P .. 'holders', of) or '0') > tonumber(ARGV[5]) then return largest(of) end
  if tonumber(redis.call('GET', P .. 'total') or '0') > tonumber(ARGV[6]) then return largest(redis.call('ZREVRANGE', P .. 'holders', 0, 0)[1]) end
end
for i = 10, #ARGV do
  local sid = ARGV[i]
  local session, queue = P .. 'session:' .. sid, P .. 'queue:' .. sid
  if redis.call('EXISTS', session) == 1 and not redis.call('ZSCORE', queue, id) then
    redis.call('ZADD', queue, redis.call('HINCRBY', session, 'next', 1), id)
    redis.call('HSET', P .. 'message:' .. sid, id, blob)
    spend(sid, #blob + OVERHEAD)
    local gives = giver(sid)
    while gives and left > 0 and drop(gives, redis.call('ZRANGE', P .. 'queue:' .. gives, 0, 0)[1]) do gives = giver(sid) end
    if gives and redis.call('ZSCORE', queue, id) then drop(sid, id) end
  end
end
if ARGV[7] ~= '' and ARGV[9] == '1' then redis.call('HSET', P .. 'got:' .. ARGV[7], ARGV[8], 1) end
local reply = {}
for sid, many in pairs(lost) do
  reply[#reply + 1] = sid
  reply[#reply + 1] = many
end
return reply`

/** ARGV session, place after which, how many. Returns place, id and message of each. */
const WAITING = `${COMMON}
local sid, reply = ARGV[1], {}
local found = redis.call('ZRANGEBYSCORE', P .. 'queue:' .. sid, '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = redis.call('HGET', P .. 'message:' .. sid, found[i])
end
return reply`

/** ARGV session, packet id, id of the message: it is sent under that packet id. */
const SENT = `${COMMON}
if redis.call('ZSCORE', P .. 'queue:' .. ARGV[1], ARGV[3]) then redis.call('HSET', P .. 'sent:' .. ARGV[1], ARGV[3], ARGV[2]) end`

/** ARGV session, packet id, id: it was received (PUBREC); what it said is not needed any more, its packet id is. */
const RECEIVED = `${COMMON}
local sid, id = ARGV[1], ARGV[3]
if not redis.call('ZSCORE', P .. 'queue:' .. sid, id) then return end
spend(sid, OVERHEAD - held(sid, id))
redis.call('HSET', P .. 'message:' .. sid, id, '')`

/** ARGV session, packet id (or empty), id: it is acknowledged, or not for this session any more. */
const DONE = `${COMMON}
remove(ARGV[1], ARGV[3])`

/** ARGV time before which, how many. Forgets the sessions that were not seen since. Returns them. */
const EXPIRE = `${COMMON}
local gone = redis.call('ZRANGEBYSCORE', P .. 'sessions', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, sid in ipairs(gone) do forget(sid) end
return gone`

/**
 * KEYS messages of a project, what of them counts · ARGV project, topic, message (empty: none any more), most messages, most bytes. Only
 * those with an author count: what Telltale retains takes no room from others. Returns 1, 0: too much is retained there, or 2: it stood
 * there already. Publishes what changed.
 */
export const RETAIN = `
local before = redis.call('HGET', KEYS[1], ARGV[2])
if before == ARGV[3] or (not before and ARGV[3] == '') then return 2 end
local function counts(message)
  return message and message ~= '' and cjson.decode(string.match(message, '^[^\\n]*')).author ~= nil
end
local messages, bytes = tonumber(redis.call('HGET', KEYS[2], 'messages') or '0'), tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0')
if counts(before) then messages, bytes = messages - 1, bytes - #before - #ARGV[2] end
if counts(ARGV[3]) then
  messages, bytes = messages + 1, bytes + #ARGV[3] + #ARGV[2]
  if messages > tonumber(ARGV[4]) or bytes > tonumber(ARGV[5]) then return 0 end
end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[2]) else redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) end
if messages == 0 then redis.call('DEL', KEYS[2]) else redis.call('HSET', KEYS[2], 'messages', messages, 'bytes', bytes) end
redis.call('PUBLISH', '${CHANNEL}', 'R' .. ARGV[1] .. '\\n' .. #ARGV[2] .. '\\n' .. ARGV[2] .. ARGV[3])
return 1`

type Argument = string | number | Buffer

export type Scripts = {
  mqttOpen(
    keys: 1,
    key: string,
    ...args: Argument[]
  ): Promise<[there: number, fields: string[], sent: string[], got: string[], gone: string[]]>
  mqttSeen(keys: 1, key: string, ...args: Argument[]): Promise<unknown>
  mqttForget(keys: 1, key: string, ...args: Argument[]): Promise<unknown>
  mqttSubscribe(keys: 1, key: string, ...args: Argument[]): Promise<number>
  mqttQueue(keys: 1, key: string, ...args: Argument[]): Promise<(string | number)[]>
  mqttWaitingBuffer(keys: 1, key: string, ...args: Argument[]): Promise<Buffer[]>
  mqttSent(keys: 1, key: string, ...args: Argument[]): Promise<unknown>
  mqttReceived(keys: 1, key: string, ...args: Argument[]): Promise<unknown>
  mqttDone(keys: 1, key: string, ...args: Argument[]): Promise<unknown>
  mqttExpire(keys: 1, key: string, ...args: Argument[]): Promise<string[]>
  mqttRetain(keys: 2, messages: string, bytes: string, ...args: Argument[]): Promise<number>
}

export function defineScripts(redis: Redis): Redis & Scripts {
  const scripts = {
    mqttOpen: OPEN,
    mqttSeen: SEEN,
    mqttForget: FORGET,
    mqttSubscribe: SUBSCRIBE,
    mqttQueue: QUEUE,
    mqttWaiting: WAITING,
    mqttSent: SENT,
    mqttReceived: RECEIVED,
    mqttDone: DONE,
    mqttExpire: EXPIRE,
    mqttRetain: RETAIN,
  }
  for (const [name, lua] of Object.entries(scripts)) redis.defineCommand(name, { lua })
  return redis as Redis & Scripts
}
