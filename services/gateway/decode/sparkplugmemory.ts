// What is known of one Sparkplug edge node between two of its messages: who is there, which number comes next, and what its births said of
// each metric. Bounded: nodes that were born longest ago are forgotten first, and asked for a rebirth when they speak again.
import { Failure } from '../../../packages/core/failure.ts'
import type { Memory } from './format.ts'

export type NodeState = {
  /** Of its birth; a death of another session says nothing. */
  readonly bdSeq: string | undefined
  /** Of its last message. */
  readonly seq: number
  readonly isOnline: boolean
  /** When it was asked for a rebirth. */
  readonly askedUs: number
}

/** Of one metric, as the birth said it. */
export type Known = { readonly name: string; readonly type?: number | undefined; readonly unit?: string | undefined }
type Catalog = Readonly<Record<string, Known>>
/** `isBorn`: since its node was, so that its aliases mean something. */
type Device = { readonly isOnline: boolean; readonly isBorn: boolean; readonly metrics: number }
type Devices = Readonly<Record<string, Device>>

type Ranks = readonly (readonly [node: string, metrics: number])[]

const MAX_NODES = 1000
const MAX_DEVICES = 1000
/** Of a node and its devices, and of all in a project and mapping. */
const MAX_NODE_METRICS = 10_000
const MAX_METRICS = 200_000

export class NodeMemory {
  readonly #memory: Memory
  readonly #node: string

  constructor(memory: Memory, group: string, node: string) {
    this.#memory = memory
    this.#node = `${group}/${node}`
  }

  get state(): NodeState | undefined {
    return this.#memory.get(`state/${this.#node}`) as NodeState | undefined
  }

  set state(state: NodeState) {
    if (this.state === undefined) this.#rank(this.#ranked ?? 0)
    this.#memory.set(`state/${this.#node}`, state)
  }

  /** Outside of its session nothing is known by its alias. @param device undefined: the node itself. */
  known(device: string | undefined): (key: { readonly alias?: string; readonly name?: string }) => Known | undefined {
    const catalog = (this.#memory.get(this.#catalogKey(device)) ?? {}) as Catalog
    const isBorn = this.isBorn(device)
    return ({ alias, name }) => {
      if (name === undefined && !isBorn) return undefined
      const key = name === undefined ? `a/${alias}` : `n/${name}`
      return Object.hasOwn(catalog, key) ? catalog[key] : undefined
    }
  }

  /** Undefined: nobody has ever said so. */
  isOnline(device: string): boolean | undefined {
    return this.#devices[keyOf(device)]?.isOnline
  }

  get onlineDevices(): readonly string[] {
    return Object.entries(this.#devices).flatMap(([key, { isOnline }]) => (isOnline ? [key.slice(2)] : []))
  }

  /** In the session that is. */
  isBorn(device: string | undefined): boolean {
    const isOnline = this.state?.isOnline === true
    if (device === undefined) return isOnline && this.#memory.get(this.#catalogKey(device)) !== undefined
    return isOnline && this.#devices[keyOf(device)]?.isBorn === true
  }

  setOffline(devices: readonly string[]): void {
    const gone = new Set(devices.map(keyOf))
    if (gone.size === 0) return
    const absent = { isOnline: false, isBorn: false }
    const entries = Object.entries(this.#devices).map(([key, one]) => [key, gone.has(key) ? { ...one, ...absent } : one])
    this.#memory.set(this.#devicesKey, Object.fromEntries(entries))
  }

  /** What their births said; not whether they are there. */
  forgetDevices(): void {
    const entries = Object.entries(this.#devices)
    if (entries.length === 0) return
    for (const [key] of entries) this.#memory.set(this.#catalogKey(key.slice(2)), undefined)
    this.#memory.set(this.#devicesKey, Object.fromEntries(entries.map(([key, one]) => [key, { ...one, isBorn: false, metrics: 0 }])))
  }

  /** What a birth says replaces what an earlier one said. @throws Failure `too_large`. */
  learn(device: string | undefined, metrics: readonly (Known & { readonly alias?: string | undefined })[]): void {
    const devices = this.#devices
    const own = device === undefined ? '' : keyOf(device)
    const others = Object.entries({ ...devices, '': { metrics: this.#nodeMetrics } }).filter(([key]) => key !== own)
    const count = metrics.length + others.reduce((sum, [, one]) => sum + one.metrics, 0)
    if (count > MAX_NODE_METRICS) throw tooLarge('metrics', MAX_NODE_METRICS)
    if (device !== undefined && others.length > MAX_DEVICES) throw tooLarge('devices', MAX_DEVICES)
    this.#memory.set(this.#catalogKey(device), catalogOf(metrics))
    if (device !== undefined)
      this.#memory.set(this.#devicesKey, { ...devices, [own]: { isOnline: true, isBorn: true, metrics: metrics.length } })
    this.#rank(count)
  }

  get #nodeMetrics(): number {
    const catalog = (this.#memory.get(this.#catalogKey(undefined)) ?? {}) as Catalog
    return Object.keys(catalog).filter(key => key.startsWith('n/')).length
  }

  get #ranked(): number | undefined {
    const nodes = (this.#memory.get('nodes') ?? []) as Ranks
    return nodes.find(([node]) => node === this.#node)?.[1]
  }

  /** As the last that was born; others go where there are too many. */
  #rank(count: number): void {
    const nodes = (this.#memory.get('nodes') ?? []) as Ranks
    const ranked = [...nodes.filter(([node]) => node !== this.#node), [this.#node, count] as const]
    let total = ranked.reduce((sum, [, metrics]) => sum + metrics, 0)
    let from = 0
    for (; ranked.length - from > MAX_NODES || total > MAX_METRICS; from++) {
      const [node, metrics] = ranked[from] as readonly [string, number]
      this.#forget(node)
      total -= metrics
    }
    this.#memory.set('nodes', ranked.slice(from))
  }

  #forget(node: string): void {
    const devices = (this.#memory.get(`devices/${node}`) ?? {}) as Devices
    for (const key of Object.keys(devices)) this.#memory.set(`metrics/${node}/${key.slice(2)}`, undefined)
    for (const kind of ['state', 'devices', 'metrics']) this.#memory.set(`${kind}/${node}`, undefined)
  }

  get #devices(): Devices {
    return (this.#memory.get(this.#devicesKey) ?? {}) as Devices
  }

  get #devicesKey(): string {
    return `devices/${this.#node}`
  }

  #catalogKey(device: string | undefined): string {
    return device === undefined ? `metrics/${this.#node}` : `metrics/${this.#node}/${device}`
  }
}

/** So that no name means something else to an object. */
function keyOf(device: string): string {
  return `d/${device}`
}

function catalogOf(metrics: readonly (Known & { readonly alias?: string | undefined })[]): Catalog {
  const entries = metrics.flatMap(({ alias, name, type, unit }) => {
    const known = { name, type, unit }
    return alias === undefined
      ? [[`n/${name}`, known] as const]
      : ([
          [`n/${name}`, known],
          [`a/${alias}`, known],
        ] as const)
  })
  return Object.fromEntries(entries)
}

function tooLarge(what: string, limit: number): Failure {
  return new Failure('too_large', `${what}: at most ${limit} of one edge node`, { field: what })
}
