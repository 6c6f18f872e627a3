// Devices as a follower of the log knows them.
import type { Device } from '../core/device.ts'
import type { Devices } from './device.ts'

const MAX_CACHED = 200_000

/** Loaded on demand, forgotten when the log says that labels changed. */
export class DeviceCache {
  readonly #devices: Devices
  readonly #project: string
  readonly #maxCached: number
  #forgotten = 0
  #known = new Map<string, Device>()

  /** @param maxCached 0: nothing is remembered, each load asks anew and `get` knows nothing. */
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
    if (this.#forgotten === forgotten && this.#maxCached > 0) for (const device of found) this.#known.set(device.id, device)
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
