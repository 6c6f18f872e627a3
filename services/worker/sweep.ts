// The sweep: once a second, over all projects, what no event triggers. It wakes consumers that lag (a wake may be lost with a
// process), the judge when a timer is due, and trims the logs by age and bytes, never past a consumer.
import { compareIds } from '../../packages/log/entry.ts'
import type { Log, Stream } from '../../packages/log/log.ts'
import { entryIdOf } from './drain.ts'

export type SweepPorts = {
  readonly log: Log
  projects(): Promise<string[]>
  nextDueUs(project: string): Promise<number | undefined>
  hasOutbox(project: string): Promise<boolean>
  wake(project: string, consumer: string): void
  lag(consumer: string, seconds: number): void
  logBytes(bytes: number): void
  nowMs(): number
  /** Forgets what happened to alarms too long ago; a bounded part of it at once. */
  trimHistory(project: string): Promise<unknown>
  /** Bounds what refused input may take. */
  trimQuarantine(project: string): Promise<void>
  /** Drops what durable streams need not keep. */
  trimStreams(project: string): Promise<unknown>
  /** Forgets stored readings. */
  purge(project: string, beforeUs: number): Promise<void>
  /** The sweep could not do all it wanted to in this project. */
  troubled(project: string, error: unknown): void
  readonly consumers: readonly string[]
  /** Of readings; 0: for ever. */
  readonly retentionMs: number
  readonly logRetentionMs: number
  readonly maxLogBytes: number
}

const ALARM_CHANGES_KEPT_MS = 7 * 86_400_000
/** Looking at sizes and trimming is cheap, but not that cheap. */
const TRIM_EVERY = 10
/** Readings live at most a tenth longer than they are meant to, or an hour. */
const PURGE_EVERY_MAX = 3600
const MAX_CUTS = 8
/** Nobody keeps a place in the changes of alarms. */
const NEWEST = `${Number.MAX_SAFE_INTEGER}-0`

export class Sweep {
  readonly #ports: SweepPorts
  #round = 0

  constructor(ports: SweepPorts) {
    this.#ports = ports
  }

  async run(): Promise<void> {
    const lags = new Map(this.#ports.consumers.map(consumer => [consumer, 0]))
    let bytes = 0
    const { retentionMs } = this.#ports
    const purges = retentionMs > 0 && this.#round % Math.min(Math.max(Math.floor(retentionMs / 10_000), 1), PURGE_EVERY_MAX) === 0
    const trims = this.#round++ % TRIM_EVERY === 0
    for (const project of await this.#ports.projects()) {
      try {
        bytes += await this.#sweep(project, lags, trims)
        if (purges) await this.#ports.purge(project, (this.#ports.nowMs() - retentionMs) * 1000)
      } catch (error) {
        // The next round tries again. What is wrong with one project must not keep the others from being woken.
        this.#ports.troubled(project, error)
      }
    }
    for (const [consumer, seconds] of lags) this.#ports.lag(consumer, seconds)
    if (trims) this.#ports.logBytes(bytes)
  }

  /** Returns the bytes of its log, when it was trimmed. */
  async #sweep(project: string, lags: Map<string, number>, trims: boolean): Promise<number> {
    const places = await this.#ports.log.places(project)
    const last = await this.#ports.log.last(project)
    for (const consumer of this.#ports.consumers) await this.#wakeLagging(project, consumer, entryIdOf(places[consumer] ?? ''), last, lags)
    await this.#wakeByTime(project)
    await this.#ports.trimStreams(project)
    if (!trims) return 0
    const bytes = await this.#trim(project, places)
    await this.#ports.trimQuarantine(project)
    await this.#ports.trimHistory(project)
    return bytes
  }

  async #wakeLagging(project: string, consumer: string, place: string, last: string, lags: Map<string, number>): Promise<void> {
    if (compareIds(place, last) >= 0) return
    const [oldest] = await this.#ports.log.read(project, place, 1)
    if (!oldest) return
    lags.set(consumer, Math.max(lags.get(consumer) ?? 0, (this.#ports.nowMs() - msOf(oldest.id)) / 1000))
    await this.#wake(project, consumer)
  }

  async #wakeByTime(project: string): Promise<void> {
    const dueUs = await this.#ports.nextDueUs(project)
    if (dueUs !== undefined && dueUs <= this.#ports.nowMs() * 1000) await this.#wake(project, 'judge')
    if (await this.#ports.hasOutbox(project)) await this.#wake(project, 'notify')
  }

  async #wake(project: string, consumer: string): Promise<void> {
    if (await this.#ports.log.setWake(project, consumer)) this.#ports.wake(project, consumer)
  }

  async #trim(project: string, places: Readonly<Record<string, string>>): Promise<number> {
    const { nowMs, logRetentionMs } = this.#ports
    const consumed = this.#consumed(places)
    await this.#trimTo(project, 'log', earliest(idAt(nowMs() - logRetentionMs), consumed))
    await this.#trimTo(project, 'alarmlog', idAt(nowMs() - ALARM_CHANGES_KEPT_MS))
    await this.#trimBySize(project, 'alarmlog', NEWEST)
    return this.#trimBySize(project, 'log', consumed)
  }

  /** Several cuts, because a share of the time is not the same share of the bytes. Returns what is left. */
  async #trimBySize(project: string, stream: Stream, limit: string): Promise<number> {
    const { log, maxLogBytes } = this.#ports
    for (let cut = 0; ; cut++) {
      const { bytes, entries } = await log.size(project, stream)
      if (bytes <= maxLogBytes || entries <= 1 || cut === MAX_CUTS) return bytes
      const id = earliest(await log.idAt(project, 1 - maxLogBytes / bytes, stream), limit)
      if ((await this.#trimTo(project, stream, id)) === 0) return bytes
    }
  }

  /** The entry that the slowest consumer has reached: it and everything after it stays. */
  #consumed(places: Readonly<Record<string, string>>): string {
    return this.#ports.consumers.map(consumer => entryIdOf(places[consumer] ?? '')).reduce(earliest)
  }

  async #trimTo(project: string, stream: Stream, id: string): Promise<number> {
    return id === '0-0' ? 0 : this.#ports.log.trim(project, id, stream)
  }
}

function earliest(a: string, b: string): string {
  return compareIds(a, b) < 0 ? a : b
}

/** Redis takes no id before 1970, which a long retention asks for. */
function idAt(ms: number): string {
  return `${Math.max(0, ms)}-0`
}

function msOf(entryId: string): number {
  return Number(entryId.split('-', 1)[0])
}
