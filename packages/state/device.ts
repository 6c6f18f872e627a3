// The device registry in Redis: who exists, of which type, with which labels, and what each reported last.
import type { Redis } from 'ioredis'
import type { Device } from '../core/device.ts'
import { Failure } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'

export type LabelChange = {
  readonly added: Readonly<Record<string, string>>
  readonly modified: Readonly<Record<string, string>>
  readonly removed: readonly string[]
}

/** Newest data by event type, for example `{"temperature":{"value":21.5,…}}`. */
export type Reported = Readonly<Record<string, unknown>>

/** Replaces a field only if it still holds what was read; an empty ARGV[2] stands for «does not exist». */
const SWAP = `
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1`

type Scripts = { telltaleSwapDevice(keys: number, ...args: string[]): Promise<number> }

const MAX_LABELS = 64

export class Devices {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleSwapDevice', { lua: SWAP })
    this.#redis = redis as Redis & Scripts
  }

  /** Makes sure that devices exist; those that do keep their type and labels. */
  async register(project: string, devices: Iterable<readonly [id: string, type: string]>): Promise<void> {
    const pipeline = this.#redis.pipeline()
    for (const [id, type] of devices) {
      pipeline.hsetnx(projectKey(project, 'devices'), id, serialise({ id, type, labels: {}, productNumber: '' }))
      pipeline.zadd(projectKey(project, 'deviceIndex'), 'NX', 0, id)
    }
    const results = await pipeline.exec()
    const failed = results?.find(([error]) => error !== null)
    if (failed) throw failed[0]
  }

  async get(project: string, ids: readonly string[]): Promise<(Device | undefined)[]> {
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(projectKey(project, 'devices'), ...ids)
    return rows.map((row, i) => (row === null ? undefined : parse(ids[i] as string, row)))
  }

  async one(project: string, id: string): Promise<Device> {
    const [device] = await this.get(project, [id])
    if (!device) throw new Failure('not_found', `device ${id} does not exist in project ${project}`, { field: 'device' })
    return device
  }

  /** In order of id; go on after the last id of a page. Devices added meanwhile do not move the others. */
  async list(project: string, after: string, limit: number): Promise<Device[]> {
    const from = after === '' ? '-' : `(${after}`
    const ids = await this.#redis.zrangebylex(projectKey(project, 'deviceIndex'), from, '+', 'LIMIT', 0, limit)
    return (await this.get(project, ids)).filter(device => device !== undefined)
  }

  async count(project: string): Promise<number> {
    return this.#redis.hlen(projectKey(project, 'devices'))
  }

  /** Creates a device or replaces its type, labels and product number; returns the change of labels. */
  async put(project: string, device: Device): Promise<LabelChange> {
    checkLabels(device.labels)
    return this.#swap(project, device.id, () => device, true)
  }

  /** Adds and removes labels; `not_found` when the device does not exist. */
  async relabel(project: string, id: string, add: Device['labels'], remove: readonly string[]): Promise<LabelChange> {
    return this.#swap(
      project,
      id,
      before => {
        const labels = { ...before.labels, ...add }
        for (const key of remove) if (!Object.hasOwn(add, key)) delete labels[key]
        checkLabels(labels)
        return { ...before, labels }
      },
      false,
    )
  }

  async #swap(project: string, id: string, change: (before: Device) => Device, create: boolean): Promise<LabelChange> {
    const keys = [projectKey(project, 'devices'), projectKey(project, 'deviceIndex')]
    for (let attempt = 0; attempt < 20; attempt++) {
      const row = await this.#redis.hget(keys[0] as string, id)
      if (row === null && !create) throw new Failure('not_found', `device ${id} does not exist in project ${project}`, { field: 'device' })
      const before = row === null ? { id, type: '', labels: {}, productNumber: '' } : parse(id, row)
      const after = change(before)
      if ((await this.#redis.telltaleSwapDevice(2, ...keys, id, row ?? '', serialise(after))) === 1) return difference(before, after)
    }
    throw new Failure('conflict', `device ${id} is being changed by others: try again`)
  }

  async reported(project: string, ids: readonly string[]): Promise<Reported[]> {
    const pipeline = this.#redis.pipeline()
    for (const id of ids) pipeline.hgetall(reportedKey(project, id))
    const rows = (await pipeline.exec()) ?? []
    return rows.map(([error, row]) => {
      if (error) throw error
      return Object.fromEntries(Object.entries(row as Record<string, string>).map(([type, value]) => [type, parseReported(value).data]))
    })
  }
}

/** A device's last values: hash of event type → `{timeUs} {data as JSON}`. */
export function reportedKey(project: string, device: string): string {
  return projectKey(project, `reported:${device}`)
}

export function parseReported(value: string): { timeUs: number; data: unknown } {
  const at = value.indexOf(' ')
  return { timeUs: Number(value.slice(0, at)), data: JSON.parse(value.slice(at + 1)) }
}

function serialise(device: Device): string {
  return JSON.stringify({ type: device.type, labels: device.labels, productNumber: device.productNumber })
}

function parse(id: string, row: string): Device {
  return { id, ...(JSON.parse(row) as Omit<Device, 'id'>) }
}

function checkLabels(labels: Device['labels']): void {
  const keys = Object.keys(labels)
  if (keys.length > MAX_LABELS) throw new Failure('invalid', `labels: at most ${MAX_LABELS}, got ${keys.length}`, { field: 'labels' })
  for (const key of keys) {
    if (key === '' || key.length > 128 || key.includes('=') || key === '__proto__')
      throw new Failure('invalid', `labels.${key}: expected a key of 1 to 128 characters without "="`, { field: `labels.${key}` })
    if ((labels[key] as string).length > 512)
      throw new Failure('invalid', `labels.${key}: expected a value of at most 512 characters`, { field: `labels.${key}` })
  }
}

function difference(before: Device, after: Device): LabelChange {
  const added: Record<string, string> = {}
  const modified: Record<string, string> = {}
  for (const [key, value] of Object.entries(after.labels)) {
    if (!Object.hasOwn(before.labels, key)) added[key] = value
    else if (before.labels[key] !== value) modified[key] = value
  }
  return { added, modified, removed: Object.keys(before.labels).filter(key => !Object.hasOwn(after.labels, key)) }
}

const MAX_CACHED = 200_000

/** Devices as a follower of the log knows them: loaded on demand, forgotten when the log says that labels changed. */
export class DeviceCache {
  readonly #devices: Devices
  readonly #project: string
  readonly #maxCached: number
  #forgotten = 0
  #known = new Map<string, Device>()

  constructor(devices: Devices, project: string, maxCached = MAX_CACHED) {
    this.#devices = devices
    this.#project = project
    this.#maxCached = maxCached
  }

  /** Loads the missing ones in one round trip: all of these that exist, and until others push them out `get` knows them too. */
  async load(ids: Iterable<string>): Promise<ReadonlyMap<string, Device>> {
    const wanted = [...new Set(ids)]
    let missing = wanted.filter(id => !this.#known.has(id))
    if (missing.length > 0 && this.#known.size + missing.length > this.#maxCached) {
      this.#known = new Map()
      missing = wanted
    }
    const known = this.#known
    const forgotten = this.#forgotten
    const found = (await this.#devices.get(this.#project, missing)).filter(device => device !== undefined)
    const loaded = new Map(found.map(device => [device.id, device]))
    for (const id of wanted) {
      const device = loaded.get(id) ?? known.get(id)
      if (device) loaded.set(id, device)
    }
    // One that does not exist may do so soon; and what was asked before a change is not what holds after it.
    if (this.#forgotten === forgotten) for (const device of found) this.#known.set(device.id, device)
    return loaded
  }

  get(id: string): Device | undefined {
    return this.#known.get(id)
  }

  forget(id: string): void {
    this.#forgotten++
    this.#known.delete(id)
  }
}
