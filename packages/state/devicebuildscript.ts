// How an index that is begun after the devices gets on, each step of it in one step in Redis: several lists build it at once.
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'
import { reportedKey } from './device.ts'
import { type ReportedPath, reportedIndexKey } from './deviceindex.ts'

/**
 * Begins an index, or says which one is under way already. Nothing is returned when there are as many as ARGV[3], for reported
 * fields; 0 stands for the other kind. An earlier index under the same name may have left something behind.
 */
const BEGIN = `
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then return {ARGV[1], known} end
local max, count = tonumber(ARGV[3]), 0
if max > 0 then
  local rows = redis.call('HGETALL', KEYS[1])
  for i = 1, #rows, 2 do
    if rows[i] ~= 'facets' then
      if string.sub(rows[i + 1], 1, 1) == ':' then return {rows[i], rows[i + 1]} end
      count = count + 1
    end
  end
  if count >= max then return {} end
end
redis.call('UNLINK', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {ARGV[1], ARGV[2]}`

/** Places in an index for rows that are still as they were read; what the report consumer has put there meanwhile is newer. */
const ADD_REPORTED = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return end
for i = 3, #KEYS do
  local at = 3 * i - 6
  if redis.call('HGET', KEYS[i], ARGV[2]) == ARGV[at + 1] then redis.call('ZADD', KEYS[2], 'NX', ARGV[at + 2], ARGV[at]) end
end`

/** An index that came out empty is not kept, only a note that it would be. */
const FINISH = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return end
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[4])
end`

/** An index is being built by several at once: only who read its place moves it. */
const ADVANCE = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1`

type Defined = {
  telltaleBeginIndex(keys: number, ...args: (string | number)[]): Promise<[index: string, row: string] | []>
  telltaleAddReported(keys: number, ...args: (string | number)[]): Promise<void>
  telltaleFinishIndex(keys: number, ...args: (string | number)[]): Promise<void>
  telltaleAdvanceIndex(keys: number, ...args: string[]): Promise<number>
}

export class IndexScripts {
  readonly #redis: Redis & Defined

  constructor(redis: Redis) {
    redis.defineCommand('telltaleBeginIndex', { lua: BEGIN })
    redis.defineCommand('telltaleAddReported', { lua: ADD_REPORTED })
    redis.defineCommand('telltaleFinishIndex', { lua: FINISH })
    redis.defineCommand('telltaleAdvanceIndex', { lua: ADVANCE })
    this.#redis = redis as Redis & Defined
  }

  /** Begins an index unless it or another is under way, which is then returned; undefined when there are `max` (0: it counts for nothing). */
  async begin(project: string, index: string, row: string, max: number): Promise<readonly [index: string, row: string] | undefined> {
    const keys = [projectKey(project, 'indexes'), reportedIndexKey(project, index)]
    const [name, begun] = await this.#redis.telltaleBeginIndex(2, ...keys, index, row, max)
    return name === undefined ? undefined : [name, begun as string]
  }

  async addReported(
    project: string,
    { text, eventType }: ReportedPath,
    found: readonly { readonly id: string; readonly row: string; readonly score: number }[],
  ): Promise<void> {
    if (found.length === 0) return
    const keys = [projectKey(project, 'indexes'), reportedIndexKey(project, text), ...found.map(({ id }) => reportedKey(project, id))]
    const args = found.flatMap(({ id, row, score }) => [id, row, score])
    await this.#redis.telltaleAddReported(keys.length, ...keys, text, eventType, ...args)
  }

  async finish(project: string, index: string, from: string, to: string, unreportedMs: number): Promise<void> {
    const keys = [projectKey(project, 'indexes'), reportedIndexKey(project, index), unreportedKey(project, index)]
    await this.#redis.telltaleFinishIndex(keys.length, ...keys, index, from, to, unreportedMs)
  }

  async advance(project: string, index: string, from: string, to: string): Promise<boolean> {
    return (await this.#redis.telltaleAdvanceIndex(1, projectKey(project, 'indexes'), index, from, to)) === 1
  }
}

/** Is there while no device is known to have reported the field. */
export function unreportedKey(project: string, path: string): string {
  return projectKey(project, `unreported:${path}`)
}
