// Each step in which a client changes hands between gateways, in Redis. All keys share the slot of the sessions.
import type { Redis } from 'ioredis'

/** `owner`: by session id the gateway and a name for this one connection; `will`: by session id; `claim:{session}`: who publishes it. */
const COMMON = `
local P, id, value = KEYS[1], ARGV[1], ARGV[2]
`

/**
 * ARGV session, owner (empty: nothing is left behind), will or empty, gateway, for how long it lives, most owners. Returns whose it is, if
 * somebody's, or an empty text: there are too many.
 */
const ENTER = `${COMMON}
local before = redis.call('HGET', P .. 'owner', id)
if before or value == '' then return before end
if redis.call('HLEN', P .. 'owner') >= tonumber(ARGV[6]) then return '' end
redis.call('SET', P .. 'node:' .. ARGV[4], 1, 'PX', ARGV[5])
redis.call('HSET', P .. 'owner', id, value)
if ARGV[3] ~= '' then redis.call('HSET', P .. 'will', id, ARGV[3]) end
return false`

/** ARGV session, owner, gateway, for how long. Returns its will or an empty text, 0: another gateway is at it, or nothing: it is done. */
const CLAIM = `${COMMON}
if redis.call('HGET', P .. 'owner', id) ~= value then return false end
if not redis.call('SET', P .. 'claim:' .. id, ARGV[3], 'PX', ARGV[4], 'NX') then return 0 end
return redis.call('HGET', P .. 'will', id) or ''`

/** ARGV session, owner. */
const REMOVE = `${COMMON}
if redis.call('HGET', P .. 'owner', id) ~= value then return end
redis.call('HDEL', P .. 'owner', id)
redis.call('HDEL', P .. 'will', id)
redis.call('DEL', P .. 'claim:' .. id)`

type Argument = string | number | Buffer

export type OwnerScripts = {
  mqttEnter(keys: 1, key: string, ...args: Argument[]): Promise<string | null>
  mqttClaimBuffer(keys: 1, key: string, ...args: Argument[]): Promise<Buffer | 0 | null>
  mqttRemove(keys: 1, key: string, ...args: Argument[]): Promise<unknown>
}

export function defineOwnerScripts(redis: Redis): Redis & OwnerScripts {
  for (const [name, lua] of Object.entries({ mqttEnter: ENTER, mqttClaim: CLAIM, mqttRemove: REMOVE })) redis.defineCommand(name, { lua })
  return redis as Redis & OwnerScripts
}
