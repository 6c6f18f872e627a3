// What is known of one Sparkplug edge node between two of its messages: who is there and what its births said of each metric, which lasts, and
// which number comes next, which only this process knows. Each node and each device has an entry of its own, so that two gateways that learn
// of two of them lose nothing. Bounded: nodes that were born longest ago are forgotten first, and asked for a rebirth when they speak again.
import { Failure } from '../../../packages/core/failure.ts'
import type { Memory } from './format.ts'

export type NodeState = {
  /** Of its birth; a death of another session says nothing. */
  readonly bdSeq: string | undefined
  readonly isOnline: boolean
  /** When its session began, and when it was born last in it. */
  readonly sessionUs: number
  readonly bornUs: number
}

/** Where a node is in its numbers. */
export type Course = {
  /** Of the birth since which it counts; numbers of another one say nothing. */
  readonly bornUs: number | undefined
  /** Of its last message; undefined: any may come. */
  readonly seq: number | undefined
  /** Those before it that have not come. */
  readonly missing: readonly number[]
  /** Since when they are missing. */
  readonly gapUs: number | undefined
  /** When it was asked for a rebirth last, and how often in short time. */
  readonly askedUs: number
  readonly asks: number
}

/** Of one metric, as the birth said it. `eventType`: where its name alone does not say it. */
export type Known = {
  readonly name: string
  readonly type?: number | undefined
  readonly unit?: string | undefined
  readonly eventType?: string | undefined
}
export type Learnt = Known & { readonly alias?: string | undefined }

/** What is known stands by the name, and the name by the alias. */
type Entry = readonly [type: number | null, unit?: string | null, eventType?: string]
type Catalog = Readonly<Record<string, Entry | string>>
/** Of a node or a device: its last birth, and of its node then. */
type Birth = {
  readonly sessionUs: number
  readonly bornUs: number
  readonly isDead?: true
  readonly metrics: number
  readonly catalog: Catalog
}

const MAX_DEVICES = 1000
/** Of a node and its devices. */
const MAX_NODE_METRICS = 10_000
/** Of what the memory takes, by all nodes of a project and mapping: two gateways learn at the same time. */
const MAX_FULLNESS = 7 / 8
/** So that not each birth has to make room anew. */
const ROOM_SHARE = 0.98
/** Beside a catalog, at most. */
const ROOM_CHARS = 1000
const NO_COURSE: Course = { bornUs: undefined, seq: undefined, missing: [], gapUs: undefined, askedUs: 0, asks: 0 }

export class NodeMemory {
  readonly #memory: Memory
  readonly #node: string
  /** As it is kept: it is asked for again and again. */
  #state: NodeState | undefined

  constructor(memory: Memory, group: string, node: string) {
    this.#memory = memory
    this.#node = `${group}/${node}`
    this.#state = memory.get(`state/${this.#node}`) as NodeState | undefined
  }

  get state(): NodeState | undefined {
    return this.#state
  }

  set state(state: NodeState) {
    this.#makeRoom(ROOM_CHARS)
    this.#memory.set(`state/${this.#node}`, state)
    this.#state = state
  }

  /** After a restart, and where another gateway took its birth, any number may come next. */
  get course(): Course {
    const course = (this.#memory.noted(`course/${this.#node}`) as Course | undefined) ?? NO_COURSE
    const bornUs = this.#state?.bornUs
    if (course.bornUs === bornUs) return course
    return { ...NO_COURSE, bornUs, askedUs: course.askedUs, asks: course.asks }
  }

  set course(course: Course) {
    this.#memory.note(`course/${this.#node}`, course)
  }

  /** By its alias only what was born in the session that is. @param device undefined: the node itself. */
  known(device: string | undefined): (key: { readonly alias?: string; readonly name?: string }) => Known | undefined {
    const birth = this.#birth(device)
    const catalog = birth?.catalog ?? {}
    const isBorn = this.#isOfNow(birth)
    return ({ alias, name }) => {
      if (name === undefined && !isBorn) return undefined
      const found = name ?? (ownOf(catalog, `a/${alias}`) as string | undefined)
      const entry = found === undefined ? undefined : ownOf(catalog, `n/${found}`)
      if (found === undefined || typeof entry !== 'object') return undefined
      const [type, unit, eventType] = entry
      return { name: found, type: type ?? undefined, unit: unit ?? undefined, eventType }
    }
  }

  /** Undefined: nobody has ever said so. */
  isOnline(device: string): boolean | undefined {
    const birth = this.#birth(device)
    return birth && this.#isThere(birth)
  }

  get onlineDevices(): readonly string[] {
    return this.#devices.flatMap(([device, birth]) => (this.#isThere(birth) ? [device] : []))
  }

  /** Since its node was, so that its aliases mean something. */
  isBorn(device: string | undefined): boolean {
    return this.#isOfNow(this.#birth(device))
  }

  #isOfNow(birth: Birth | undefined): boolean {
    const { state } = this
    return state?.isOnline === true && birth?.bornUs === state.bornUs && birth.isDead !== true
  }

  setDead(device: string): void {
    const birth = this.#birth(device)
    if (birth) this.#memory.set(this.#birthKey(device), { ...birth, isDead: true })
  }

  /** What a birth says replaces what an earlier one said. @throws Failure `too_large`. */
  learn(device: string | undefined, metrics: readonly Learnt[], { sessionUs, bornUs } = this.#now): void {
    const birth: Birth = { sessionUs, bornUs, metrics: metrics.length, catalog: catalogOf(metrics) }
    const others = this.#devices.filter(([name]) => name !== device)
    const node = device === undefined ? undefined : this.#birth(undefined)
    const born = others.filter(([, one]) => one.bornUs === bornUs)
    if (born.length >= MAX_DEVICES) throw tooLarge('devices', MAX_DEVICES)
    if (metricsOf([birth, node, ...born.map(([, one]) => one)]) > MAX_NODE_METRICS) throw tooLarge('metrics', MAX_NODE_METRICS)
    // Of an earlier birth they are kept while there is room, so that a name that comes again means what it meant.
    if (others.length >= MAX_DEVICES || metricsOf([birth, node, ...others.map(([, one]) => one)]) > MAX_NODE_METRICS)
      for (const [name, one] of others) if (one.bornUs !== bornUs) this.#memory.set(this.#birthKey(name), undefined)
    this.#makeRoom(JSON.stringify(birth).length + ROOM_CHARS)
    this.#memory.set(this.#birthKey(device), birth)
  }

  get #now(): Pick<NodeState, 'sessionUs' | 'bornUs'> {
    return this.state ?? { sessionUs: 0, bornUs: 0 }
  }

  #isThere({ sessionUs, isDead }: Birth): boolean {
    return isDead !== true && this.state?.isOnline !== false && sessionUs === this.#now.sessionUs
  }

  /** Others go where there is too much, who were born first go first. */
  #makeRoom(chars: number): void {
    const memory = this.#memory
    const hasRoom = (share: number) => memory.fullness({ keys: 2, chars }) <= MAX_FULLNESS * share
    if (hasRoom(1)) return
    const states = memory.entries('state/') as readonly (readonly [string, NodeState])[]
    for (const [key] of states.toSorted(([, a], [, b]) => a.bornUs - b.bornUs)) {
      const node = key.slice('state/'.length)
      if (node === this.#node) continue
      forget(memory, node)
      if (hasRoom(ROOM_SHARE)) return
    }
  }

  #birth(device: string | undefined): Birth | undefined {
    return this.#memory.get(this.#birthKey(device)) as Birth | undefined
  }

  get #devices(): readonly (readonly [device: string, birth: Birth])[] {
    const prefix = `birth/${this.#node}/`
    return this.#memory.entries(prefix).map(([key, birth]) => [key.slice(prefix.length), birth as Birth])
  }

  #birthKey(device: string | undefined): string {
    return device === undefined ? `birth/${this.#node}` : `birth/${this.#node}/${device}`
  }
}

function forget(memory: Memory, node: string): void {
  for (const [key] of memory.entries(`birth/${node}/`)) memory.set(key, undefined)
  memory.set(`birth/${node}`, undefined)
  memory.set(`state/${node}`, undefined)
  memory.note(`course/${node}`, undefined)
}

function metricsOf(births: readonly (Birth | undefined)[]): number {
  return births.reduce((sum, one) => sum + (one?.metrics ?? 0), 0)
}

function catalogOf(metrics: readonly Learnt[]): Catalog {
  const entries = metrics.flatMap(({ alias, name, type = null, unit = null, eventType }): (readonly [string, Entry | string])[] => {
    const entry: Entry = eventType !== undefined ? [type, unit, eventType] : unit === null ? [type] : [type, unit]
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
