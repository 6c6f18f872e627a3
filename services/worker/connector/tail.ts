// The newest part of one project's log, read once for all its connectors; and its devices as they are now.
import { compareIds, type LogEntry } from '../../../packages/log/entry.ts'
import type { Log } from '../../../packages/log/log.ts'
import type { DeviceCache } from '../../../packages/state/device.ts'
import type { Stretch } from './lane.ts'

const READ_ENTRIES = 10
/** Connectors that keep up find what they need here. */
const KEPT_CHARS = 2 * 1024 * 1024
const KEPT_ENTRIES = 100

export class Tail {
  readonly devices: DeviceCache
  readonly #log: Log
  readonly #project: string
  readonly #rings = new Set<() => void>()
  #kept: LogEntry[] = []
  #keptChars = 0
  /** The entry before the first that is kept. */
  #floor: string | undefined

  constructor(log: Log, project: string, devices: DeviceCache) {
    this.#log = log
    this.#project = project
    this.devices = devices
  }

  /** Everything after this will be given to `arrived`. */
  begin(from: string): void {
    this.#floor = from
  }

  arrived(entries: readonly LogEntry[]): void {
    for (const entry of entries) {
      for (const { eventType, device } of entry.events) if (eventType === 'labelsChanged') this.devices.forget(device)
      this.#kept.push(entry)
      this.#keptChars += charsOf(entry)
    }
    while (this.#kept.length > KEPT_ENTRIES || (this.#keptChars > KEPT_CHARS && this.#kept.length > 0)) {
      const dropped = this.#kept.shift() as LogEntry
      this.#keptChars -= charsOf(dropped)
      this.#floor = dropped.id
    }
    for (const ring of this.#rings) ring()
  }

  /** Calls when something has arrived, until the returned function is called. */
  onArrival(ring: () => void): () => void {
    this.#rings.add(ring)
    return () => void this.#rings.delete(ring)
  }

  async read(after: string): Promise<Stretch> {
    if (this.#floor !== undefined && compareIds(after, this.#floor) >= 0)
      return { entries: this.#kept.filter(({ id }) => compareIds(id, after) > 0), gone: undefined }
    const { entries, trimmed } = await this.#log.readFrom(this.#project, after, READ_ENTRIES)
    return { entries, gone: compareIds(trimmed, after) > 0 ? trimmed : undefined }
  }
}

function charsOf({ events }: LogEntry): number {
  return events.reduce((sum, { frame }) => sum + frame.length, 0)
}
