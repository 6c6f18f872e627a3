// One project's events after a place: from the newest part of the log, kept here for all its connectors, from the log, or from the
// reading store when they were trimmed from that. And its devices as they are now.
import type { Device } from '../../../packages/core/device.ts'
import { compareIds, type LogEntry } from '../../../packages/log/entry.ts'
import type { Log } from '../../../packages/log/log.ts'
import type { DeviceCache } from '../../../packages/state/devicecache.ts'
import { LAST_INDEX, type LogPlace, type ReadingStore } from '../../../packages/store/store.ts'
import type { Stretch } from './lane.ts'

const READ_ENTRIES = 10
const STORED_EVENTS = 500
/** Connectors that keep up find what they need here. */
const KEPT_CHARS = 2 * 1024 * 1024
const KEPT_ENTRIES = 100

export class Tail {
  readonly #newDevices: () => DeviceCache
  readonly #log: Log
  readonly #project: string
  readonly #store: Pick<ReadingStore, 'past'>
  readonly #rings = new Set<() => void>()
  #kept: LogEntry[] = []
  #keptChars = 0
  /** The entry before the first that is kept. */
  #floor: string | undefined
  #devices: DeviceCache

  constructor(log: Log, store: Pick<ReadingStore, 'past'>, project: string, newDevices: () => DeviceCache) {
    this.#log = log
    this.#store = store
    this.#project = project
    this.#newDevices = newDevices
    this.#devices = newDevices()
  }

  /** Everything after this will be given to `arrived`, or was already; what came before, and what was known by it, is forgotten. */
  begin(from: string): void {
    const kept = this.#kept.filter(({ id }) => compareIds(id, from) > 0)
    if (this.#floor === undefined || compareIds(from, this.#floor) > 0) this.#floor = from
    this.#kept = kept
    this.#keptChars = kept.reduce((sum, entry) => sum + charsOf(entry), 0)
    this.#devices = this.#newDevices()
  }

  /** As it is now; undefined: it is gone. */
  async device(id: string): Promise<Device | undefined> {
    return this.#devices.get(id) ?? (await this.#devices.load([id])).get(id)
  }

  /** Makes `device` know them, in one round trip. */
  async meet(ids: Iterable<string>): Promise<void> {
    await this.#devices.load(ids)
  }

  arrived(entries: readonly LogEntry[]): void {
    for (const entry of entries) {
      for (const { eventType, device } of entry.events) if (eventType === 'labelsChanged') this.#devices.forget(device)
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

  /** What comes next does not follow what is kept, and changes of labels may have been in between. */
  jumped(to: string): void {
    this.begin(to)
    for (const ring of this.#rings) ring()
  }

  /** Calls when something has arrived, until the returned function is called. */
  onArrival(ring: () => void): () => void {
    this.#rings.add(ring)
    return () => void this.#rings.delete(ring)
  }

  async read(after: LogPlace): Promise<Stretch> {
    const stretch = await this.#read(after)
    await this.meet(stretch.events.map(({ event }) => event.device))
    return stretch
  }

  async #read(after: LogPlace): Promise<Stretch> {
    const { entryId, index } = after
    if (index !== LAST_INDEX) return this.#readRest(after)
    if (this.#floor !== undefined && compareIds(entryId, this.#floor) >= 0)
      return stretchOf(
        this.#kept.filter(({ id }) => compareIds(id, entryId) > 0),
        after,
      )
    const { entries, trimmed } = await this.#log.readFrom(this.#project, entryId, READ_ENTRIES)
    return compareIds(trimmed, entryId) > 0 ? this.#readStored(after, trimmed) : stretchOf(entries, after)
  }

  /** Of an entry of which some was taken. */
  async #readRest(after: LogPlace): Promise<Stretch> {
    const entry = await this.#log.entry(this.#project, after.entryId)
    if (!entry) return this.#readStored(after, await this.#log.trimmed(this.#project))
    return { ...stretchOf([entry], after), next: { entryId: entry.id, index: LAST_INDEX } }
  }

  /** The store has everything that was trimmed: the log is trimmed no further than the store has come. */
  async #readStored(after: LogPlace, to: string): Promise<Stretch> {
    const { gap, events, next } = await this.#store.past({ project: this.#project, after, to, limit: STORED_EVENTS })
    return { gone: gap?.to.entryId, events: events.map(event => ({ place: event.place, event })), next }
  }
}

function stretchOf(entries: readonly LogEntry[], after: LogPlace): Stretch {
  const first = (id: string) => (id === after.entryId ? after.index + 1 : 0)
  const events = entries.flatMap(({ id, events }) =>
    events.slice(first(id)).map((event, i) => ({ place: { entryId: id, index: first(id) + i }, event })),
  )
  const last = entries.at(-1)
  return { gone: undefined, events, next: last ? { entryId: last.id, index: LAST_INDEX } : after }
}

function charsOf({ events }: LogEntry): number {
  return events.reduce((sum, { frame }) => sum + frame.length, 0)
}
