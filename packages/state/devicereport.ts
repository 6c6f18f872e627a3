// What devices reported last, and their places in the orders by it: written by the report consumer, many values in one step in Redis.
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'
import { reportedKey } from './device.ts'
import { parseReportedPath, type ReportedPath, reportedIndexKey, scoreAt } from './deviceindex.ts'

export type ReportedValue = { readonly device: string; readonly eventType: string; readonly timeUs: number; readonly data: unknown }

/**
 * Values of devices that exist, unless a newer one is there: what was reported last never goes backwards, and nothing stays of a
 * device that was removed while its value was on its way. A row that is there says that the device is, because both go together.
 * Nothing happens when the fields that have an index are not those by which the caller put the values in order.
 */
const REPORT = `
local function timeOf(row) return tonumber(string.match(row, '^%S+')) end
if table.concat(redis.call('HKEYS', KEYS[2]), '\\n') ~= ARGV[1] then return 0 end
local i = 2
while i <= #ARGV do
  local device, key, eventType, row, orders = ARGV[i], KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2], ARGV[i + 3], tonumber(ARGV[i + 4])
  local before = redis.call('HGET', key, eventType)
  local newer = before and timeOf(row) >= timeOf(before)
  if newer or (not before and redis.call('HEXISTS', KEYS[1], device) == 1) then
    redis.call('HSET', key, eventType, row)
    for k = i + 5, i + 3 + 2 * orders, 2 do
      local order = KEYS[tonumber(ARGV[k])]
      if ARGV[k + 1] == '' then redis.call('ZREM', order, device) else redis.call('ZADD', order, ARGV[k + 1], device) end
    end
  end
  i = i + 5 + 2 * orders
end
return 1`

/** Values of one call: a script keeps everybody waiting. */
const AT_ONCE = 500
const ATTEMPTS = 20

type Defined = { telltaleReport(keys: number, ...args: (string | number)[]): Promise<number> }

export class Reports {
  readonly #redis: Redis & Defined

  constructor(redis: Redis) {
    redis.defineCommand('telltaleReport', { lua: REPORT })
    this.#redis = redis as Redis & Defined
  }

  /** Of two values at the same time the later one stays. */
  async write(project: string, values: readonly ReportedValue[]): Promise<void> {
    for (let i = 0; i < values.length; i += AT_ONCE) await this.#writeSome(project, values.slice(i, i + AT_ONCE))
  }

  async #writeSome(project: string, values: readonly ReportedValue[]): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const indexes = await this.#redis.hkeys(projectKey(project, 'indexes'))
      const { keys, args } = argumentsOf(project, values, pathsByType(indexes))
      if ((await this.#redis.telltaleReport(keys.length, ...keys, indexes.join('\n'), ...args)) === 1) return
    }
    throw new Error(`the indexes of project ${project} changed ${ATTEMPTS} times while reported values were put into them`)
  }
}

function argumentsOf(project: string, values: readonly ReportedValue[], paths: ReadonlyMap<string, readonly ReportedPath[]>) {
  const keys = ['devices', 'indexes'].map(name => projectKey(project, name))
  const numbers = new Map<string, number>()
  const numberOf = (key: string): number => {
    const number = numbers.get(key) ?? keys.push(key)
    numbers.set(key, number)
    return number
  }
  const args: (string | number)[] = []
  for (const { device, eventType, timeUs, data } of values) {
    const ordered = paths.get(eventType) ?? []
    args.push(device, numberOf(reportedKey(project, device)), eventType, `${timeUs} ${JSON.stringify(data)}`, ordered.length)
    for (const path of ordered) args.push(numberOf(reportedIndexKey(project, path.text)), scoreAt(data, path) ?? '')
  }
  return { keys, args }
}

/** The fields that have an index, by event type. */
function pathsByType(indexes: readonly string[]): Map<string, ReportedPath[]> {
  const paths = new Map<string, ReportedPath[]>()
  for (const path of indexes.filter(name => name !== 'facets').map(parseReportedPath))
    paths.set(path.eventType, [...(paths.get(path.eventType) ?? []), path])
  return paths
}
