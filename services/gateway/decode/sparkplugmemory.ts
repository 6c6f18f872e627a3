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
/** What is known stands by the name, and the name by the alias. */
type Entry = readonly [type: number | null, unit?: string]
type Catalog = Readonly<Record<string, Entry | string>>
/** `isBorn`: since its node was, so that its aliases mean something. */
type Device = { readonly isOnline: boolean; readonly isBorn: boolean; readonly metrics: number; readonly chars: number }
type Devices = Readonly<Record<string, Device>>

type Size = { readonly metrics: number; readonly chars: number }
type Ranks = readonly (readonly [node: string, chars: number, keys?: number])[]

const MAX_NODES = 1000
const MAX_DEVICES = 1000
/** Of a node and its devices. */
const MAX_NODE_METRICS = 10_000
/** Of all nodes of a project and mapping: a memory takes somewhat more (memory.ts). */
const MAX_CHARS = 3.5 * 1024 * 1024
const MAX_KEYS = 9000
/** A node's state and ranks, and what is said of one of its devices beside the catalog. */
const NODE_CHARS = 1000
const NODE_KEYS = 3
const DEVICE_CHARS = 300

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
    if (this.state === undefined && !this.#isRanked) this.#rank(NODE_CHARS, NODE_KEYS)
    this.#memory.set(`state/${this.#node}`, state)
  }

  /** Outside of its session nothing is known by its alias. @param device undefined: the node itself. */
  known(device: string | undefined): (key: { readonly alias?: string; readonly name?: string }) => Known | undefined {
    const catalog = (this.#memory.get(this.#catalogKey(device)) ?? {}) as Catalog
    const isBorn = this.isBorn(device)
    return ({ alias, name }) => {
      if (name === undefined && !isBorn) return undefined
      const found = name ?? (ownOf(catalog, `a/${alias}`) as string | undefined)
      const entry = found === undefined ? undefined : ownOf(catalog, `n/${found}`)
      return found === undefined || typeof entry !== 'object' ? undefined : { name: found, type: entry[0] ?? undefined, unit: entry[1] }
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
    this.#memory.set(
      this.#devicesKey,
      Object.fromEntries(entries.map(([key, one]) => [key, { ...one, isBorn: false, metrics: 0, chars: 0 }])),
    )
  }

  /** What a birth says replaces what an earlier one said. @throws Failure `too_large`. */
  learn(device: string | undefined, metrics: readonly (Known & { readonly alias?: string | undefined })[]): void {
    const catalog = catalogOf(metrics)
    const size = { metrics: metrics.length, chars: JSON.stringify(catalog).length }
    const devices = this.#devices
    const own = device === undefined ? '' : keyOf(device)
    const sizes = new Map<string, Size>([...Object.entries(devices), ['', this.#nodeSize], [own, size]])
    const [count, chars] = [...sizes.values()].reduce(([all, sum], one) => [all + one.metrics, sum + one.chars + DEVICE_CHARS], [0, 0])
    if (count > MAX_NODE_METRICS) throw tooLarge('metrics', MAX_NODE_METRICS)
    if (sizes.size > MAX_DEVICES + 1) throw tooLarge('devices', MAX_DEVICES)
    // First there must be room.
    this.#rank(chars + NODE_CHARS, sizes.size + NODE_KEYS)
    this.#memory.set(this.#catalogKey(device), catalog)
    if (device !== undefined) this.#memory.set(this.#devicesKey, { ...devices, [own]: { isOnline: true, isBorn: true, ...size } })
  }

  get #nodeSize(): Size {
    const catalog = (this.#memory.get(this.#catalogKey(undefined)) ?? {}) as Catalog
    return { metrics: Object.keys(catalog).filter(key => key.startsWith('n/')).length, chars: JSON.stringify(catalog).length }
  }

  get #isRanked(): boolean {
    return ((this.#memory.get('nodes') ?? []) as Ranks).some(([node]) => node === this.#node)
  }

  /** As the last that was born; others go where there are too many. */
  #rank(ownChars: number, ownKeys: number): void {
    const nodes = (this.#memory.get('nodes') ?? []) as Ranks
    const ranked = [...nodes.filter(([node]) => node !== this.#node), [this.#node, ownChars, ownKeys] as const]
    let chars = ranked.reduce((sum, one) => sum + one[1], 0)
    let keys = ranked.reduce((sum, [, , count = 0]) => sum + count, 0)
    let from = 0
    for (; ranked.length - from > MAX_NODES || ((chars > MAX_CHARS || keys > MAX_KEYS) && from < ranked.length - 1); from++) {
      const [node, nodeChars, nodeKeys = 0] = ranked[from] as Ranks[number]
      this.#forget(node)
      chars -= nodeChars
      keys -= nodeKeys
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
  const entries = metrics.flatMap(({ alias, name, type = null, unit }): (readonly [string, Entry | string])[] => {
    const entry: Entry = unit === undefined ? [type] : [type, unit]
    return alias === undefined
      ? [[`n/${name}`, entry]]
      : [
          [`n/${name}`, entry],
          [`a/${alias}`, name],
        ]
  })
  return Object.fromEntries(entries)
}

function ownOf(catalog: Catalog, key: string): Entry | string | undefined {
  return Object.hasOwn(catalog, key) ? catalog[key] : undefined
}

function tooLarge(what: string, limit: number): Failure {
  return new Failure('too_large', `${what}: at most ${limit} of one edge node`, { field: what })
}
