// What happens to an MQTT session or to a retained message in one step in Redis. All keys of sessions share one Cluster slot, because a
// message is queued for many sessions at once and counted against what all of them hold.
import type { Redis } from 'ioredis'

export const PREFIX = 't:{~mqtt}:'
/** Where every gateway hears of what another one changed. */
export const CHANNEL = `${PREFIX}all`

/** What a message takes besides its bytes. */
export const MESSAGE_BYTES = 250

const COMMON = `
local P = KEYS[1]
local OVERHEAD = ${MESSAGE_BYTES}
local function spend(sid, keyId, bytes)
  redis.call('HINCRBY', P .. 'session:' .. sid, 'bytes', bytes)
  redis.call('HINCRBY', P .. 'bytes', '', bytes)
  if redis.call('HINCRBY', P .. 'bytes', keyId, bytes) <= 0 then redis.call('HDEL', P .. 'bytes', keyId) end
end
local function key(sid) return string.match(sid, '^(.-)\\n') or '' end
local function held(sid, id) return redis.call('HSTRLEN', P .. 'message:' .. sid, id) + OVERHEAD end
local function remove(sid, id)
  if redis.call('ZREM', P .. 'queue:' .. sid, id) == 0 then return end
  spend(sid, key(sid), -held(sid, id))
  redis.call('HDEL', P .. 'message:' .. sid, id)
end
local function forget(sid)
  local bytes = tonumber(redis.call('HGET', P .. 'session:' .. sid, 'bytes') or '0')
  if bytes > 0 then spend(sid, key(sid), -bytes) end
  redis.call('UNLINK', P .. 'session:' .. sid, P .. 'queue:' .. sid, P .. 'message:' .. sid, P .. 'sent:' .. sid, P .. 'got:' .. sid)
  redis.call('ZREM', P .. 'of:' .. key(sid), sid)
  if redis.call('ZREM', P .. 'sessions', sid) == 1 then
    redis.call('PUBLISH', '${CHANNEL}', cjson.encode({ kind = 'forgotten', id = sid }))
  end
end
`

/** ARGV session, now, most of its key, most in all. Returns whether it was there, its fields, sent, got, and who was forgotten for it. */
const OPEN = `${COMMON}
local sid, now = ARGV[1], ARGV[2]
local there = redis.call('HSETNX', P .. 'session:' .. sid, 'bytes', 0) == 0
redis.call('ZADD', P .. 'sessions', now, sid)
redis.call('ZADD', P .. 'of:' .. key(sid), now, sid)
local gone = {}
local function room(of, most)
  if redis.call('ZCARD', of) <= tonumber(most) then return end
  for _, oldest in ipairs(redis.call('ZRANGE', of, 0, 1)) do
    if oldest ~= sid then
      forget(oldest)
      gone[#gone + 1] = oldest
      return
    end
  end
end
room(P .. 'of:' .. key(sid), ARGV[3])
room(P .. 'sessions', ARGV[4])
return { there and 1 or 0, redis.call('HGETALL', P .. 'session:' .. sid), redis.call('HGETALL', P .. 'sent:' .. sid), redis.call('HKEYS', P .. 'got:' .. sid), gone }`

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
 * ARGV id, message, most messages and bytes of a session, bytes of a key, bytes in all, session and packet id by which it came (QoS 2, or
 * both empty), whether these are the last sessions, then the sessions that it is for. It has come when it is there for the last: one that
 * was not is queued again for all. Returns how many messages were dropped for it of each, or -1: it had come before.
 */
const QUEUE = `${COMMON}
local id, blob = ARGV[1], ARGV[2]
if ARGV[7] ~= '' and redis.call('HEXISTS', P .. 'got:' .. ARGV[7], ARGV[8]) == 1 then return { -1 } end
local dropped = {}
for i = 10, #ARGV do
  local sid, lost = ARGV[i], 0
  local session, queue, keyId = P .. 'session:' .. sid, P .. 'queue:' .. sid, key(sid)
  if redis.call('EXISTS', session) == 1 and not redis.call('ZSCORE', queue, id) then
    redis.call('ZADD', queue, redis.call('HINCRBY', session, 'next', 1), id)
    redis.call('HSET', P .. 'message:' .. sid, id, blob)
    spend(sid, keyId, #blob + OVERHEAD)
    while redis.call('ZCARD', queue) > tonumber(ARGV[3])
      or tonumber(redis.call('HGET', session, 'bytes')) > tonumber(ARGV[4])
      or tonumber(redis.call('HGET', P .. 'bytes', keyId) or '0') > tonumber(ARGV[5])
      or tonumber(redis.call('HGET', P .. 'bytes', '')) > tonumber(ARGV[6]) do
      local oldest = redis.call('ZRANGE', queue, 0, 0)[1]
      if not oldest then break end
      remove(sid, oldest)
      lost = lost + 1
    end
  end
  dropped[#dropped + 1] = lost
end
if ARGV[7] ~= '' and ARGV[9] == '1' then redis.call('HSET', P .. 'got:' .. ARGV[7], ARGV[8], 1) end
return dropped`

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
if redis.call('ZSCORE', P .. 'queue:' .. ARGV[1], ARGV[3]) then redis.call('HSET', P .. 'sent:' .. ARGV[1], ARGV[2], ARGV[3]) end`

/** ARGV session, packet id, id: it was received (PUBREC); what it said is not needed any more, its packet id is. */
const RECEIVED = `${COMMON}
local sid, id = ARGV[1], ARGV[3]
if not redis.call('ZSCORE', P .. 'queue:' .. sid, id) then return end
spend(sid, key(sid), OVERHEAD - held(sid, id))
redis.call('HSET', P .. 'message:' .. sid, id, '')`

/** ARGV session, packet id (or empty), id: it is acknowledged, or not for this session any more. */
const DONE = `${COMMON}
if ARGV[2] ~= '' then redis.call('HDEL', P .. 'sent:' .. ARGV[1], ARGV[2]) end
remove(ARGV[1], ARGV[3])`

/** ARGV time before which, how many. Forgets the sessions that were not seen since. Returns them. */
const EXPIRE = `${COMMON}
local gone = redis.call('ZRANGEBYSCORE', P .. 'sessions', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, sid in ipairs(gone) do forget(sid) end
return gone`

/**
 * KEYS messages of a project, bytes · ARGV project, topic, message (empty: none any more), most messages, most bytes.
 * Returns 1, 0: too much is retained there, or 2: it stood there already. Publishes what changed.
 */
const RETAIN = `
local before = redis.call('HGET', KEYS[1], ARGV[2])
if before == ARGV[3] or (not before and ARGV[3] == '') then return 2 end
local bytes = tonumber(redis.call('GET', KEYS[2]) or '0')
if before then bytes = bytes - #before - #ARGV[2] end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[2])
else
  bytes = bytes + #ARGV[3] + #ARGV[2]
  if (not before and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4])) or bytes > tonumber(ARGV[5]) then return 0 end
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], bytes) end
redis.call('PUBLISH', '${CHANNEL}', 'R' .. ARGV[1] .. '\\n' .. #ARGV[2] .. '\\n' .. ARGV[2] .. ARGV[3])
return 1`

type Argument = string | number | Buffer

export type Scripts = {
  mqttOpen(
    keys: 1,
    key: string,
    ...args: Argument[]
  ): Promise<[there: number, fields: string[], sent: string[], got: string[], gone: string[]]>
  mqttForget(keys: 1, key: string, ...args: Argument[]): Promise<unknown>
  mqttSubscribe(keys: 1, key: string, ...args: Argument[]): Promise<number>
  mqttQueue(keys: 1, key: string, ...args: Argument[]): Promise<number[]>
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
