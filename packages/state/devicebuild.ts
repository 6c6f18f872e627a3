// Indexes that are begun after the devices: those of a data directory from before there were any, and those of a reported field that
// nobody had ordered by. Built by the lists that want them, a step at a time, so that nobody waits for all of it.
import type { Redis } from 'ioredis'
import { invalid } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'
import { type Devices, parseReported, reportedKey } from './device.ts'
import { IndexScripts, unreportedKey } from './devicebuildscript.ts'
import { parseReportedPath, type ReportedPath, reportedIndexKey, scoreAt } from './deviceindex.ts'

/**
 * How far an index is: `done`, or a colon and the last device that was put into it. After it stands, for reported fields, the
 * period in which somebody last ordered by it.
 */
type Progress = { readonly place: string; readonly period: number }

const DONE = 'done'
const FACETS = 'facets'
const CHUNK = 500
const BUDGET_MS = 250
/** Each costs the report consumer a write per event of its type, and about 120 bytes a device. */
const MAX_PATHS = 32
/** An index that was used in this period or the one before it does not give way to another. */
const PERIOD_MS = 600_000
/** A field that no device has reported is not looked for again for so long. */
const UNREPORTED_MS = 60_000

/** `empty`: no device has the value, and there is no index. */
export type Readiness = 'ready' | 'building' | 'empty'

export class DeviceIndexes {
  readonly #redis: Redis
  readonly #devices: Devices
  readonly #scripts: IndexScripts

  constructor(redis: Redis, devices: Devices) {
    this.#redis = redis
    this.#devices = devices
    this.#scripts = new IndexScripts(redis)
  }

  /** Works on the indexes by type, product number and label for a moment. */
  async facetsReady(project: string): Promise<boolean> {
    return (await this.#ready(project, FACETS)) === 'ready'
  }

  /**
   * As `facetsReady`, for what was reported under a path. Of these a project has one under way at a time: who wants another helps
   * with that one first, so that nobody can leave behind builds that nobody finishes.
   */
  async reportedReady(project: string, path: ReportedPath): Promise<Readiness> {
    return this.#ready(project, path.text)
  }

  async #ready(project: string, index: string): Promise<Readiness> {
    const endMs = performance.now() + BUDGET_MS
    for (;;) {
      const row = await this.#redis.hget(projectKey(project, 'indexes'), index)
      if (row !== null && parseProgress(row).place === DONE) {
        await this.#used(project, index, row)
        return 'ready'
      }
      if (row === null && (await this.#redis.exists(unreportedKey(project, index))) === 1) return 'empty'
      if (performance.now() > endMs) return 'building'
      const begun = row === null ? await this.#begin(project, index) : ([index, row] as const)
      if (begun) await this.#add(project, ...begun)
      else await this.#makeRoom(project)
    }
  }

  async #used(project: string, index: string, row: string): Promise<void> {
    const { place, period } = parseProgress(row)
    const now = periodOf(index)
    if (period !== now) await this.#scripts.advance(project, index, row, formatProgress({ place, period: now }))
  }

  /** From here on changes are put into the index as they happen; undefined: there is no room for one more. */
  async #begin(project: string, index: string): Promise<readonly [index: string, row: string] | undefined> {
    const max = index === FACETS ? 0 : MAX_PATHS
    return this.#scripts.begin(project, index, formatProgress({ place: ':', period: periodOf(index) }), max)
  }

  /** One step of building. */
  async #add(project: string, index: string, row: string): Promise<void> {
    const { place, period } = parseProgress(row)
    const after = place.slice(1)
    const edge = after === '' ? '-' : `(${after}`
    const ids = await this.#redis.zrangebylex(projectKey(project, 'deviceIndex'), edge, '+', 'LIMIT', 0, CHUNK)
    if (index === FACETS) await this.#devices.reindex(project, ids)
    else await this.#indexReported(project, parseReportedPath(index), ids)
    // Refused when another list has come further: then that is where to go on.
    const to = formatProgress({ place: ids.length < CHUNK ? DONE : `:${ids.at(-1)}`, period })
    if (ids.length < CHUNK && index !== FACETS) await this.#scripts.finish(project, index, row, to, UNREPORTED_MS)
    else await this.#scripts.advance(project, index, row, to)
  }

  /** The one that was not used for the longest time gives way. */
  async #makeRoom(project: string): Promise<void> {
    const rows = Object.entries(await this.#redis.hgetall(projectKey(project, 'indexes'))).filter(([name]) => name !== FACETS)
    if (rows.length < MAX_PATHS) return
    const [oldest] = rows.map(([name, row]) => ({ name, period: parseProgress(row).period })).sort((a, b) => a.period - b.period)
    if (!oldest || oldest.period >= periodOf('') - 1)
      throw invalid('orderBy', `at most ${MAX_PATHS} reported fields can be ordered by at a time in a project of this size`)
    await this.#redis.hdel(projectKey(project, 'indexes'), oldest.name)
    await this.#redis.unlink(reportedIndexKey(project, oldest.name))
  }

  async #indexReported(project: string, path: ReportedPath, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    const pipeline = this.#redis.pipeline()
    for (const id of ids) pipeline.hget(reportedKey(project, id), path.eventType)
    const rows = (await pipeline.exec()) ?? []
    const found = rows.flatMap(([error, row], i) => {
      if (error) throw error
      const score = typeof row === 'string' ? scoreAt(parseReported(row).data, path) : undefined
      return score === undefined ? [] : [{ id: ids[i] as string, row: row as string, score }]
    })
    await this.#scripts.addReported(project, path, found)
  }
}

function periodOf(index: string): number {
  return index === FACETS ? 0 : Math.floor(Date.now() / PERIOD_MS)
}

function parseProgress(row: string): Progress {
  const space = row.lastIndexOf(' ')
  return space < 0 ? { place: row, period: 0 } : { place: row.slice(0, space), period: Number(row.slice(space + 1)) }
}

function formatProgress({ place, period }: Progress): string {
  return `${place} ${period}`
}
