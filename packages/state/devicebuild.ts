// Indexes that are begun after the devices: those of a data directory from before there were any, and those of a reported field that
// nobody had ordered by. Built by the lists that want them, a step at a time, so that nobody waits for all of it.
import type { Redis } from 'ioredis'
import { invalid } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'
import { type Devices, parseReported, reportedKey } from './device.ts'
import { parseReportedPath, type ReportedPath, reportedIndexKey, scoreAt } from './deviceindex.ts'
import { DeviceScripts } from './devicescript.ts'

/**
 * How far an index is: `done`, or a colon and the last device that was put into it. After it stands, for reported fields, the day
 * on which somebody last ordered by it.
 */
type Progress = { readonly place: string; readonly day: number }

const DONE = 'done'
const CHUNK = 500
const BUDGET_MS = 250
/** Each costs the report consumer a write per event of its type, and about 120 bytes a device. */
const MAX_PATHS = 32
const DAY_MS = 86_400_000

export class DeviceIndexes {
  readonly #redis: Redis
  readonly #devices: Devices
  readonly #scripts: DeviceScripts

  constructor(redis: Redis, devices: Devices) {
    this.#redis = redis
    this.#devices = devices
    this.#scripts = new DeviceScripts(redis)
  }

  /** Works on the indexes by type, product number and label for a moment; true when they are complete. */
  async facetsReady(project: string): Promise<boolean> {
    return this.#ready(project, 'facets', ids => this.#devices.reindex(project, ids))
  }

  /** As `facetsReady`, for what was reported under a path. */
  async reportedReady(project: string, path: ReportedPath): Promise<boolean> {
    return this.#ready(project, path.text, ids => this.#indexReported(project, path, ids))
  }

  async #ready(project: string, index: string, add: (ids: readonly string[]) => Promise<void>): Promise<boolean> {
    const key = projectKey(project, 'indexes')
    const endMs = performance.now() + BUDGET_MS
    for (;;) {
      const row = (await this.#redis.hget(key, index)) ?? (await this.#begin(project, index))
      const { place, day } = parseProgress(row)
      if (place === DONE) {
        const today = todayOf(index)
        if (day !== today) await this.#scripts.advance(project, index, row, formatProgress({ place, day: today }))
        return true
      }
      if (performance.now() > endMs) return false
      const after = place.slice(1)
      const ids = await this.#redis.zrangebylex(
        projectKey(project, 'deviceIndex'),
        after === '' ? '-' : `(${after}`,
        '+',
        'LIMIT',
        0,
        CHUNK,
      )
      await add(ids)
      const next = ids.length < CHUNK ? DONE : `:${ids.at(-1)}`
      // Refused when another list has come further: then that is where to go on.
      await this.#scripts.advance(project, index, row, formatProgress({ place: next, day }))
    }
  }

  /** From here on changes are put into the index as they happen; the oldest that nobody uses gives way to a new one. */
  async #begin(project: string, index: string): Promise<string> {
    if (index !== 'facets') await this.#makeRoom(project)
    return this.#scripts.begin(project, index, formatProgress({ place: ':', day: todayOf(index) }))
  }

  async #makeRoom(project: string): Promise<void> {
    const rows = Object.entries(await this.#redis.hgetall(projectKey(project, 'indexes'))).filter(([name]) => name !== 'facets')
    if (rows.length < MAX_PATHS) return
    const [oldest] = rows.map(([name, row]) => ({ name, day: parseProgress(row).day })).sort((a, b) => a.day - b.day)
    if (!oldest || oldest.day === todayOf(''))
      throw invalid('orderBy', `at most ${MAX_PATHS} reported fields can be ordered by on one day in a project of this size`)
    await this.#redis.hdel(projectKey(project, 'indexes'), oldest.name)
    await this.#redis.unlink(reportedIndexKey(project, oldest.name))
  }

  /** What the report consumer has put there meanwhile is newer than what was read here, and stays. */
  async #indexReported(project: string, path: ReportedPath, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    const pipeline = this.#redis.pipeline()
    for (const id of ids) pipeline.hget(reportedKey(project, id), path.eventType)
    const rows = (await pipeline.exec()) ?? []
    const pairs = rows.flatMap(([error, row], i): (string | number)[] => {
      if (error) throw error
      const score = typeof row === 'string' ? scoreAt(parseReported(row).data, path) : undefined
      return score === undefined ? [] : [score, ids[i] as string]
    })
    if (pairs.length > 0) await this.#redis.zadd(reportedIndexKey(project, path.text), 'NX', ...pairs)
  }
}

function todayOf(index: string): number {
  return index === 'facets' ? 0 : Math.floor(Date.now() / DAY_MS)
}

function parseProgress(row: string): Progress {
  const space = row.lastIndexOf(' ')
  return space < 0 ? { place: row, day: 0 } : { place: row.slice(0, space), day: Number(row.slice(space + 1)) }
}

function formatProgress({ place, day }: Progress): string {
  return `${place} ${day}`
}

/** The fields that have an index in a project, by event type: what the report consumer keeps up. */
export function pathsByType(texts: readonly string[]): Map<string, ReportedPath[]> {
  const paths = new Map<string, ReportedPath[]>()
  for (const path of texts.map(parseReportedPath)) paths.set(path.eventType, [...(paths.get(path.eventType) ?? []), path])
  return paths
}
