// What Telltale announces is announced by every gateway. These scripts keep one that is slow from saying what was true before after what is
// true now: each announcement has an order, and one that is behind another of its topic is neither queued nor retained.
import type { Redis } from 'ioredis'
import { QUEUE } from './queue.ts'
import { PREFIX, RETAIN, type Scripts } from './script.ts'

/** Longer than a gateway can be behind and still be there. By then what is retained has its order, too. */
const REMEMBERED_S = 3600

/** As QUEUE; before its arguments: order, topic. Returns nothing if a later one was queued. */
const QUEUE_IN_ORDER = `
local order = table.remove(ARGV, 1)
local place = '${PREFIX}announced:' .. table.remove(ARGV, 1)
if (redis.call('GET', place) or '') > order then return false end
redis.call('SET', place, order, 'EX', ${REMEMBERED_S})
${QUEUE}`

/** Instead of what RETAIN returns first: a later one stands there. */
export const LATER = 3

/** As RETAIN; before its arguments: order. The same payload in another order changes nothing. */
const RETAIN_IN_ORDER = `
local order = table.remove(ARGV, 1)
local there = redis.call('HGET', KEYS[1], ARGV[2])
if there then
  if (cjson.decode(string.match(there, '^[^\\n]*')).order or '') > order then return { ${LATER}, 0 } end
  if string.match(there, '\\n.*$') == string.match(ARGV[3], '\\n.*$') then
    return { 2, tonumber(redis.call('HGET', KEYS[2], 'version') or '0') }
  end
end
${RETAIN}`

type Argument = string | number | Buffer

export type InOrder = {
  mqttQueueInOrder(keys: 1, key: string, order: string, topic: string, ...args: Argument[]): ReturnType<Scripts['mqttQueue']>
  mqttRetainInOrder(
    keys: 2,
    messages: string,
    bytes: string,
    order: string,
    ...args: Argument[]
  ): Promise<[outcome: 0 | 1 | 2 | typeof LATER, version: number]>
}

export function defineInOrder<One extends Redis>(redis: One): One & InOrder {
  redis.defineCommand('mqttQueueInOrder', { lua: QUEUE_IN_ORDER })
  redis.defineCommand('mqttRetainInOrder', { lua: RETAIN_IN_ORDER })
  return redis as One & InOrder
}

const [MS_DIGITS, SEQ_DIGITS] = [16, 10]

/** Of the entry of a stream that says it; compared as text. */
export function orderOf(entryId: string): string {
  const [ms = '', seq = ''] = entryId.split('-')
  return `${ms.padStart(MS_DIGITS, '0')}-${seq.padStart(SEQ_DIGITS, '0')}`
}
