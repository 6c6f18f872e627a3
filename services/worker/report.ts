// The report consumer: what each device reported last, for lists of devices. Woken at most once a second, because it only ever
// writes the newest value; a clock that runs wrong cannot push "latest" aside, because it is judged by arrival.

import { judgedUs } from '../../packages/core/clock.ts'
import type { DeviceEvent } from '../../packages/core/event.ts'
import { acceptedUs, type LogEntry } from '../../packages/log/entry.ts'
import type { CommitCommand } from '../../packages/log/log.ts'
import { parseReported, reportedKey } from '../../packages/state/device.ts'
import { pathsByType } from '../../packages/state/devicebuild.ts'
import { type ReportedPath, reportedIndexKey, scoreAt } from '../../packages/state/deviceindex.ts'
import type { Consumer } from './drain.ts'

export type ReportPorts = {
  /** Reads stored values: one array per device, in the order of its types. */
  read(project: string, wanted: ReadonlyMap<string, readonly string[]>): Promise<(string | null)[][]>
  /** The reported fields by which devices are put in order: their indexes change with the values. */
  paths(project: string): Promise<readonly string[]>
}

type Newest = { timeUs: number; frame: string }

const MAX_REMEMBERED = 500_000

export function reportConsumer(ports: ReportPorts): Consumer {
  const known = new Map<string, Map<string, number>>()
  return {
    name: 'report',
    async take(project: string, entries: readonly LogEntry[]): Promise<CommitCommand[]> {
      const times = known.get(project) ?? new Map<string, number>()
      if (times.size > MAX_REMEMBERED) times.clear()
      known.set(project, times)
      const newest = newestOf(entries)
      const [texts] = await Promise.all([ports.paths(project), load(project, times, newest.keys(), ports)])
      const commands: CommitCommand[] = []
      const orders = new Orders(project, pathsByType(texts))
      for (const [series, { timeUs, frame }] of newest) {
        if (timeUs < (times.get(series) ?? -Infinity)) continue
        times.set(series, timeUs)
        const [device, eventType] = series.split('\t') as [string, string]
        const data = (JSON.parse(frame) as DeviceEvent).data[eventType]
        commands.push(['HSET', reportedKey(project, device), eventType, `${timeUs} ${JSON.stringify(data)}`])
        orders.add(device, eventType, data)
      }
      return [...commands, ...orders.commands()]
    },
    forget(project: string) {
      known.delete(project)
    },
  }
}

/** Pairs per command: far below what Lua can unpack. */
const AT_ONCE = 1000

/** What of the values stands in an index, gathered by index. */
class Orders {
  readonly #project: string
  readonly #paths: ReadonlyMap<string, readonly ReportedPath[]>
  readonly #scores = new Map<string, { scored: (string | number)[]; gone: string[] }>()

  constructor(project: string, paths: ReadonlyMap<string, readonly ReportedPath[]>) {
    this.#project = project
    this.#paths = paths
  }

  add(device: string, eventType: string, data: unknown): void {
    for (const path of this.#paths.get(eventType) ?? []) {
      const held = this.#scores.get(path.text) ?? { scored: [], gone: [] }
      const score = scoreAt(data, path)
      if (score === undefined) held.gone.push(device)
      else held.scored.push(score, device)
      this.#scores.set(path.text, held)
    }
  }

  commands(): CommitCommand[] {
    const commands: CommitCommand[] = []
    for (const [path, { scored, gone }] of this.#scores) {
      const key = reportedIndexKey(this.#project, path)
      for (let i = 0; i < scored.length; i += 2 * AT_ONCE) commands.push(['ZADD', key, ...scored.slice(i, i + 2 * AT_ONCE)])
      for (let i = 0; i < gone.length; i += AT_ONCE) commands.push(['ZREM', key, ...gone.slice(i, i + AT_ONCE)])
    }
    return commands
  }
}

/** The newest event of each device and type; of two at the same time the later in the log. */
function newestOf(entries: readonly LogEntry[]): Map<string, Newest> {
  const newest = new Map<string, Newest>()
  for (const entry of entries)
    for (const event of entry.events) {
      if (event.eventType === 'labelsChanged') continue
      const series = `${event.device}\t${event.eventType}`
      const timeUs = judgedUs(event.timeUs, acceptedUs(entry.id))
      const before = newest.get(series)
      if (!before || timeUs >= before.timeUs) newest.set(series, { timeUs, frame: event.frame })
    }
  return newest
}

async function load(project: string, times: Map<string, number>, wanted: Iterable<string>, { read }: ReportPorts): Promise<void> {
  const missing = new Map<string, string[]>()
  for (const series of wanted) {
    if (times.has(series)) continue
    const [device, eventType] = series.split('\t') as [string, string]
    missing.set(device, [...(missing.get(device) ?? []), eventType])
  }
  if (missing.size === 0) return
  const rows = await read(project, missing)
  for (const [i, [device, types]] of [...missing].entries())
    for (const [k, eventType] of types.entries()) {
      const value = rows[i]?.[k]
      times.set(`${device}\t${eventType}`, value === null || value === undefined ? -Infinity : parseReported(value).timeUs)
    }
}
