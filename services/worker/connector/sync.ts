// The lane of a sync: the latest event of each type of every device, in order of device ids.
import type { Redis } from 'ioredis'
import { judgedUs } from '../../../packages/core/clock.ts'
import { contentId } from '../../../packages/core/id.ts'
import { asciiJson } from '../../../packages/core/json.ts'
import { formatTime } from '../../../packages/core/time.ts'
import { acceptedUs, compareIds, type LogEvent } from '../../../packages/log/entry.ts'
import { projectKey } from '../../../packages/log/key.ts'
import type { Log } from '../../../packages/log/log.ts'
import { parseReported, reportedKey } from '../../../packages/state/device.ts'
import { LAST_INDEX, type PastEvent, type ReadingStore } from '../../../packages/store/store.ts'
import type { Lane } from './lane.ts'
import { freshItem, type Item } from './open.ts'

export type Reported = { readonly device: string; readonly eventType: string; readonly timeUs: number; readonly data: unknown }

export type SyncPorts = {
  /** Ids of the next devices after one. */
  devices(project: string, after: string): Promise<readonly string[]>
  reported(project: string, devices: readonly string[]): Promise<readonly Reported[]>
  /** The event as it was accepted: as the store has it, or the log. */
  stored(project: string, reported: Reported): Promise<string | undefined>
}

/** Queries of one page of devices at once: the store has other things to do. */
const PARALLEL = 4

export class SyncLane implements Lane {
  readonly prefix = 's'
  readonly #ports: SyncPorts
  readonly #project: string
  readonly #wants: (eventType: string) => boolean
  readonly #meet: (devices: readonly string[]) => Promise<void>
  #queue: Item[] = []
  /** Devices up to this one have been read. */
  #readTo: string
  #place: string
  #reading = false
  #atEnd = false

  /** @param meet told of the devices that come next. */
  constructor(
    ports: SyncPorts,
    project: string,
    wants: (eventType: string) => boolean,
    meet: (devices: readonly string[]) => Promise<void>,
    place: string,
  ) {
    this.#ports = ports
    this.#meet = meet
    this.#project = project
    this.#wants = wants
    this.#readTo = place
    this.#place = place
  }

  next(): Item | undefined {
    const item = this.#queue.shift()
    if (this.#queue.length === 0) this.#place = this.#readTo
    return item
  }

  wantsMore(): boolean {
    return !this.#reading && !this.#atEnd && this.#queue.length === 0
  }

  /** Some devices at a time; a place lies between two readings, so a restart repeats a few of them. */
  async fill(): Promise<void> {
    this.#reading = true
    try {
      const devices = await this.#ports.devices(this.#project, this.#readTo)
      const reported = (await this.#ports.reported(this.#project, devices)).filter(({ eventType }) => this.#wants(eventType))
      const [items] = await Promise.all([this.#items(reported), this.#meet(devices)])
      this.#queue = items
      this.#readTo = devices.at(-1) ?? this.#readTo
      this.#atEnd = devices.length === 0
      if (items.length === 0) this.#place = this.#readTo
    } finally {
      this.#reading = false
    }
  }

  ended(): boolean {
    return this.#atEnd && this.#queue.length === 0
  }

  place(): string {
    return this.#place
  }

  async #items(reported: readonly Reported[]): Promise<Item[]> {
    const items: Item[] = []
    const rest = reported.entries()
    const run = async () => {
      for (const [i, one] of rest) items[i] = await this.#item(one)
    }
    await Promise.all(Array.from({ length: PARALLEL }, run))
    return items
  }

  async #item(reported: Reported): Promise<Item> {
    const frame = (await this.#ports.stored(this.#project, reported)) ?? rebuilt(this.#project, reported)
    const { device, eventType, timeUs } = reported
    return freshItem(`s${device}\t${eventType}\t${timeUs}`, device, frame)
  }
}

/** For what the store does not have, or not yet: the same value always has the same id. */
function rebuilt(project: string, { device, eventType, timeUs, data }: Reported): string {
  const targetName = `projects/${project}/devices/${device}`
  const eventId = contentId(timeUs, `${targetName}\t${eventType}`)
  return asciiJson({ eventId, targetName, eventType, data: { [eventType]: data }, timestamp: formatTime(timeUs) })
}

const DEVICES = 50
/** More than one entry in a millisecond is rare. */
const ENTRIES_OF_MS = 10
const EVENTS_OF_MS = 10_000
const LAST_OF_MS = 1_000_000_000

export function syncPorts(redis: Redis, log: Log, store: ReadingStore): SyncPorts {
  return {
    devices: (project, after) =>
      redis.zrangebylex(projectKey(project, 'deviceIndex'), after === '' ? '-' : `(${after}`, '+', 'LIMIT', 0, DEVICES),
    reported: async (project, ids) => {
      const pipeline = redis.pipeline()
      for (const id of ids) pipeline.hgetall(reportedKey(project, id))
      return ((await pipeline.exec()) ?? []).flatMap(([error, row], i) => {
        if (error) throw error
        const values = Object.entries(row as Record<string, string>)
        return values.map(([eventType, value]) => ({ device: ids[i] as string, eventType, ...parseReported(value) }))
      })
    },
    stored: async (project, { device, eventType, timeUs }) => {
      const query = { project, device, eventTypes: [eventType], fromUs: timeUs, toUs: timeUs + 1, limit: 1 }
      const found = (await store.events(query))[0]?.frame
      return found ?? (await acceptedAt(log, store, project, { device, eventType, timeUs }))
    },
  }
}

/** One whose own time is not believed stands under the time of its acceptance, which is that of its entry in the log. */
async function acceptedAt(
  log: Log,
  store: ReadingStore,
  project: string,
  { device, eventType, timeUs }: Omit<Reported, 'data'>,
): Promise<string | undefined> {
  if (timeUs % 1000 !== 0) return undefined
  const ms = timeUs / 1000
  const isIt = (event: PastEvent | LogEvent) =>
    event.device === device && event.eventType === eventType && judgedUs(event.timeUs, timeUs) === timeUs
  const { entries, trimmed } = await log.readFrom(project, `${ms - 1}-${LAST_OF_MS}`, ENTRIES_OF_MS)
  const kept = entries.filter(({ id }) => acceptedUs(id) === timeUs).flatMap(({ events }) => events.filter(isIt))
  if (kept.length > 0 || compareIds(trimmed, `${ms}-0`) < 0) return kept.at(-1)?.frame
  const after = { entryId: `${ms - 1}-${LAST_OF_MS}`, index: LAST_INDEX }
  const { events } = await store.past({ project, after, to: `${ms}-${LAST_OF_MS}`, limit: EVENTS_OF_MS })
  return events.findLast(isIt)?.frame
}
