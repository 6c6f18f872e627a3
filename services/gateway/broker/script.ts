// What happens to an MQTT session or to a retained message in one step in Redis, and how the scripts are called.
import type { Redis } from 'ioredis'
import { CHANNEL, COMMON } from './lua.ts'
import { QUEUE, STEPS, WAITING } from './queue.ts'

export { CHANNEL, PREFIX } from './lua.ts'

/** Of what is in Redis for sessions. Another one is not read. */
const LAYOUT = 2
const RENEW_AT_ONCE = 200
/** Instead of whether a session was there: as many are connected as there may be. */
export const FULL = -2

/**
 * ARGV session, now, most of its key, most in all, holder, for how long after it was seen a session may be connected. One of another holder is
 * forgotten first. Returns whether it was there (-1: it was forgotten; FULL: there is no room), its fields, what was sent (id, packet id), packet
 * ids that were received in order, got, and who was forgotten for it: the longest away of its key, or of the holder that has most; and the number of the last change.
 */
const OPEN = `${COMMON}
local sid, now, of = ARGV[1], ARGV[2], ARGV[5]
local session = P .. 'session:' .. sid
local there = redis.call('EXISTS', session)
if there == 1 and holder(sid) ~= of then
  forget(sid)
  there = -1
end
local gone = {}
local function full()
  settle()
  return { ${FULL} }
end
local function makesRoom(among)
  local oldest, seen = unpack(redis.call('ZRANGE', P .. among, 0, 0, 'WITHSCORES'))
  if not oldest or tonumber(seen) > tonumber(now) - tonumber(ARGV[6]) then return false end
  forget(oldest)
  gone[#gone + 1] = oldest
  return true
end
if there ~= 1 then
  if redis.call('ZCARD', P .. 'of:' .. key(sid)) >= tonumber(ARGV[3]) and not makesRoom('of:' .. key(sid)) then return full() end
  local richest, most = unpack(redis.call('ZREVRANGE', P .. 'crowds', 0, 0, 'WITHSCORES'))
  local own = tonumber(redis.call('ZSCORE', P .. 'crowds', of) or '0') + 1
  if own > 1 and own >= tonumber(most) then richest = of end
  if redis.call('ZCARD', P .. 'sessions') >= tonumber(ARGV[4]) and not (richest and makesRoom('by:' .. richest)) then return full() end
  redis.call('HSET', session, 'bytes', 0, 'holder', of)
end
redis.call('ZADD', P .. 'sessions', now, sid)
redis.call('ZADD', P .. 'of:' .. key(sid), now, sid)
if redis.call('ZADD', P .. 'by:' .. of, now, sid) == 1 then count('crowds', of, 1) end
settle()
return {
  there, redis.call('HGETALL', session), redis.call('HGETALL', P .. 'sent:' .. sid), redis.call('ZRANGE', P .. 'released:' .. sid, 0, -1),
  redis.call('HKEYS', P .. 'got:' .. sid), gone, changed(),
}`

/** ARGV now, sessions: they were seen. One that was forgotten meanwhile stays so. */
const SEEN = `${COMMON}
for i = 2, #ARGV do
  for _, name in ipairs({ 'sessions', 'of:' .. key(ARGV[i]), 'by:' .. holder(ARGV[i]) }) do
    redis.call('ZADD', P .. name, 'XX', ARGV[1], ARGV[i])
  end
end`

/** ARGV session. Returns whether there is something to clean, and the number of the last change. */
const FORGET = `${COMMON}
forget(ARGV[1])
settle()
return { redis.call('EXISTS', P .. 'trash'), changed() }`

/** ARGV how many messages at most. Lets go of what forgotten sessions left. Returns whether there is more. */
const CLEAN = `${COMMON}
clean(tonumber(ARGV[1]))
settle()
return redis.call('EXISTS', P .. 'trash')`

/** ARGV layout, how many. Forgets sessions of another layout, with all that belonged to them. Returns how many; fewer: there are no more. */
const RENEW = `
local P = KEYS[1]
if redis.call('GET', P .. 'layout') == ARGV[1] then return 0 end
local gone = redis.call('ZRANGE', P .. 'sessions', 0, ARGV[2] - 1)
for _, sid in ipairs(gone) do
  local of = redis.call('HGET', P .. 'session:' .. sid, 'holder') or ''
  redis.call('ZREM', P .. 'sessions', sid)
  for _, name in ipairs({ 'session:', 'queue:', 'message:', 'sent:', 'got:' }) do redis.call('UNLINK', P .. name .. sid) end
  redis.call('UNLINK', P .. 'of:' .. (string.match(sid, '^(.-)\\n') or ''), P .. 'by:' .. of, P .. 'holds:' .. of)
end
if #gone < tonumber(ARGV[2]) then
  redis.call('UNLINK', P .. 'holders', P .. 'total', P .. 'crowds')
  redis.call('SET', P .. 'layout', ARGV[1])
end
return #gone`

/**
 * ARGV session, most bytes of the filters of a holder, then filter and grant of each; an empty grant: it ends. Publishes what changed. Returns
 * the number of this change, 0: the session is gone, or -1: there is no room for them.
 */
const SUBSCRIBE = `${COMMON}
local sid, told, grants, more = ARGV[1], {}, {}, 0
local session = P .. 'session:' .. sid
if redis.call('EXISTS', session) == 0 then return 0 end
for i = 3, #ARGV, 2 do
  grants['f:' .. ARGV[i]] = ARGV[i + 1]
  told[#told + 1] = { ARGV[i], ARGV[i + 1] }
end
local function takesUp(name, bytes) return bytes == 0 and 0 or bytes + #name + OVERHEAD end
for name, grant in pairs(grants) do more = more + takesUp(name, #grant) - takesUp(name, redis.call('HSTRLEN', session, name)) end
local of = holder(sid)
if more > 0 and tonumber(redis.call('ZSCORE', P .. 'filters', of) or '0') + more > tonumber(ARGV[2]) then return -1 end
for name, grant in pairs(grants) do
  if grant == '' then redis.call('HDEL', session, name) else redis.call('HSET', session, name, grant) end
end
redis.call('HINCRBY', session, 'filters', more)
count('filters', of, more)
redis.call('PUBLISH', '${CHANNEL}', cjson.encode({ kind = 'subscribed', id = sid, filters = told, number = change() }))
return changed()`

/** ARGV time before which, how many. Forgets the sessions that were not seen since. Returns them, and the number of the last change. */
const EXPIRE = `${COMMON}
local gone = redis.call('ZRANGEBYSCORE', P .. 'sessions', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, sid in ipairs(gone) do forget(sid) end
settle()
return { gone, changed() }`

/**
 * KEYS messages of a project, what of them counts · ARGV project, topic, message (empty: none any more), most messages, most bytes. Only
 * those with an author count: what Telltale retains takes no room from others. Returns 1, 0: too much is retained there, or 2: it stood
 * there already; and the number of the last change. Publishes what changed. The numbers rise, also from one that nothing is left of.
 */
export const RETAIN = `
local before = redis.call('HGET', KEYS[1], ARGV[2])
local version = tonumber(redis.call('HGET', KEYS[2], 'version') or '0')
if before == ARGV[3] or (not before and ARGV[3] == '') then return { 2, version } end
local function counts(message)
  return message and message ~= '' and cjson.decode(string.match(message, '^[^\\n]*')).author ~= nil
end
local messages, bytes = tonumber(redis.call('HGET', KEYS[2], 'messages') or '0'), tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0')
if counts(before) then messages, bytes = messages - 1, bytes - #before - #ARGV[2] end
if counts(ARGV[3]) then
  messages, bytes = messages + 1, bytes + #ARGV[3] + #ARGV[2]
  if messages > tonumber(ARGV[4]) or bytes > tonumber(ARGV[5]) then return { 0, version } end
end
local time = redis.call('TIME')
version = math.max(version + 1, time[1] * 1000000 + time[2])
local number = string.format('%.0f', version)
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[2]) else redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', KEYS[2])
else redis.call('HSET', KEYS[2], 'messages', messages, 'bytes', bytes, 'version', number) end
redis.call('PUBLISH', '${CHANNEL}', 'R' .. ARGV[1] .. '\\n' .. number .. '\\n' .. #ARGV[2] .. '\\n' .. ARGV[2] .. ARGV[3])
return { 1, version }`

/** KEYS as RETAIN · ARGV cursor, about how many. Returns the next cursor, the number of the last change, and topic and message of each. */
const RETAINED = `
local next, fields = unpack(redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2]))
return { next, redis.call('HGET', KEYS[2], 'version') or '0', fields }`

/** ARGV sessions, each with how many of its messages are known to be sent. Returns those for which more waits. */
const AHEAD = `
local ahead = {}
for i = 1, #ARGV, 2 do
  if redis.call('ZCARD', KEYS[1] .. 'queue:' .. ARGV[i]) > tonumber(ARGV[i + 1]) then ahead[#ahead + 1] = ARGV[i] end
end
return ahead`

type Argument = string | number | Buffer

type Queued = [id: string, lost: (string | number)[], again: string[], later: string[]]

export type Scripts = {
  mqttOpen(
    keys: 1,
    key: string,
    ...args: Argument[]
  ): Promise<[there: number, fields: string[], sent: string[], received: string[], got: string[], gone: string[], number: number]>
  mqttSeen(keys: 1, key: string, ...args: Argument[]): Promise<unknown>
  mqttForget(keys: 1, key: string, ...args: Argument[]): Promise<[hasLeft: 0 | 1, number: number]>
  mqttClean(keys: 1, key: string, ...args: Argument[]): Promise<number>
  mqttRenew(keys: 1, key: string, ...args: Argument[]): Promise<number>
  mqttSubscribe(keys: 1, key: string, ...args: Argument[]): Promise<number>
  mqttQueue(keys: 1, key: string, ...args: Argument[]): Promise<Queued | null>
  mqttWaitingBuffer(keys: 1, key: string, ...args: Argument[]): Promise<Buffer[]>
  mqttSteps(keys: 1, key: string, ...args: Argument[]): Promise<unknown>
  mqttExpire(keys: 1, key: string, ...args: Argument[]): Promise<[gone: string[], number: number]>
  mqttRetain(keys: 2, messages: string, bytes: string, ...args: Argument[]): Promise<[outcome: 0 | 1 | 2, version: number]>
  mqttRetainedBuffer(
    keys: 2,
    messages: string,
    bytes: string,
    ...args: Argument[]
  ): Promise<[next: Buffer, version: Buffer, fields: Buffer[]]>
  mqttAhead(keys: 1, key: string, ...args: Argument[]): Promise<string[]>
}

export function defineScripts(redis: Redis): Redis & Scripts {
  const scripts = {
    mqttOpen: OPEN,
    mqttSeen: SEEN,
    mqttForget: FORGET,
    mqttClean: CLEAN,
    mqttRenew: RENEW,
    mqttSubscribe: SUBSCRIBE,
    mqttQueue: QUEUE,
    mqttWaiting: WAITING,
    mqttSteps: STEPS,
    mqttExpire: EXPIRE,
    mqttRetain: RETAIN,
    mqttRetained: RETAINED,
    mqttAhead: AHEAD,
  }
  for (const [name, lua] of Object.entries(scripts)) redis.defineCommand(name, { lua })
  return redis as Redis & Scripts
}

/** Sessions of another layout are forgotten, as after a day. @returns how many. */
export async function renewLayout(redis: Redis & Scripts, prefix: string): Promise<number> {
  let count = 0
  for (;;) {
    const gone = await redis.mqttRenew(1, prefix, LAYOUT, RENEW_AT_ONCE)
    count += gone
    if (gone < RENEW_AT_ONCE) return count
  }
}
