// The lane of a sync: the latest event of each type of every device, in order of device ids.
import type { Redis } from 'ioredis'
import { contentId } from '../../../packages/core/id.ts'
import { asciiJson } from '../../../packages/core/json.ts'
import { formatTime } from '../../../packages/core/time.ts'
import { projectKey } from '../../../packages/log/key.ts'
import { parseReported, reportedKey } from '../../../packages/state/device.ts'
import type { ReadingStore } from '../../../packages/store/store.ts'
import type { Lane } from './lane.ts'
import type { Item } from './open.ts'

export type Reported = { readonly device: string; readonly eventType: string; readonly timeUs: number; readonly data: unknown }

export type SyncPorts = {
  /** Ids of the next devices after one. */
  devices(project: string, after: string): Promise<readonly string[]>
  reported(project: string, devices: readonly string[]): Promise<readonly Reported[]>
  /** The event as the store has it. */
  stored(project: string, reported: Reported): Promise<string | undefined>
}

export class SyncLane implements Lane {
  readonly prefix = 's'
  readonly #ports: SyncPorts
  readonly #project: string
  readonly #wants: (eventType: string) => boolean
  #queue: Item[] = []
  /** Devices up to this one have been read. */
  #readTo: string
  #place: string
  #reading = false
  #atEnd = false

  constructor(ports: SyncPorts, project: string, wants: (eventType: string) => boolean, place: string) {
    this.#ports = ports
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
      const items: Item[] = []
      for (const one of reported) items.push(await this.#item(one))
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

  async #item(reported: Reported): Promise<Item> {
    const frame = (await this.#ports.stored(this.#project, reported)) ?? rebuilt(this.#project, reported)
    const { device, eventType } = reported
    return { key: `s${device}\t${eventType}`, device, frame, attempts: 0, firstMs: 0, dueMs: 0 }
  }
}

/** For what the store does not have, or not yet: the same value always has the same id. */
function rebuilt(project: string, { device, eventType, timeUs, data }: Reported): string {
  const targetName = `projects/${project}/devices/${device}`
  const eventId = contentId(timeUs, `${targetName}\t${eventType}`)
  return asciiJson({ eventId, targetName, eventType, data: { [eventType]: data }, timestamp: formatTime(timeUs) })
}

const DEVICES = 50

export function syncPorts(redis: Redis, store: ReadingStore): SyncPorts {
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
      return (await store.events(query))[0]?.frame
    },
  }
}
