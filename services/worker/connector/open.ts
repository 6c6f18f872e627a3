// What is open at one connector: events that are under way or wait to be tried again. They are committed with the place, which so
// moves past them; bounded, and when it is full the place stops.
import type { CommitCommand } from '../../../packages/log/log.ts'

/** One event to be pushed. Times are of this process' clock, which no one sets. */
export type Item = {
  /** Its place in its lane: `l` the live log, `r` a replay, `s` a sync. */
  readonly key: `${Prefix}${string}`
  readonly device: string
  readonly frame: string
  /** Failed so far. */
  readonly attempts: number
  /** Of these: answered, by a receiver that took others, that it will not have this event. */
  readonly refused: number
  /** When the first attempt was made; undefined before. */
  readonly firstMs: number | undefined
  readonly dueMs: number
}

export type Prefix = 'l' | 'r' | 's'

const MAX_ITEMS = 2000
const MAX_CHARS = 4 * 1024 * 1024
/** Pairs per command: far below what Lua can unpack. */
const PAIRS = 500
/** Refused this often an event gives its room to others when there is no more: about five seconds after it was tried first. */
const REFUSED_ENOUGH = 4

/** One that was not tried before. */
export function freshItem(key: Item['key'], device: string, frame: string): Item {
  return { key, device, frame, attempts: 0, refused: 0, firstMs: undefined, dueMs: 0 }
}

export class Open {
  readonly #items = new Map<string, Item>()
  /** Not under way, and not due when last looked at. */
  readonly #waiting = new Map<string, Item>()
  /** Due, in order. What was refused stands apart, for it will most likely be again. */
  #ready: Item[] = []
  #refused: Item[] = []
  /** Not under way, and refused often enough. */
  readonly #spent = new Map<string, Item>()
  #nextDueMs = Infinity
  #chars = 0
  readonly #untried: Record<Prefix, number> = { l: 0, r: 0, s: 0 }
  #touched = new Set<string>()
  readonly #saved: Set<string>

  /**
   * @param rows what an earlier life committed: all of it is due again, what was under way among it.
   * @param aheadMs of this process' clock: by how much the wall's is ahead of it.
   */
  constructor(rows: Readonly<Record<string, string>>, aheadMs: number) {
    this.#saved = new Set(Object.keys(rows))
    for (const [key, row] of Object.entries(rows)) {
      const item = parse(key as Item['key'], row, aheadMs)
      this.begin(item)
      this.again(item)
    }
    this.#touched = new Set()
  }

  get size(): number {
    return this.#items.size
  }

  has(key: string): boolean {
    return this.#items.has(key)
  }

  /** Whether another one may begin. */
  get hasRoom(): boolean {
    return this.#items.size < MAX_ITEMS && this.#chars < MAX_CHARS
  }

  /** Whether there is one whose room another could have. */
  get canMakeRoom(): boolean {
    return this.#spent.size > 0
  }

  /** Ends the one that was refused often enough first. */
  makeRoom(): Item | undefined {
    const [item] = this.#spent.values()
    if (item) this.end(item)
    return item
  }

  /** How many of this lane are on their first attempt. */
  untried(prefix: Prefix): number {
    return this.#untried[prefix]
  }

  /** When the next one that waits is due. */
  get nextDueMs(): number {
    return this.#ready.length + this.#refused.length > 0 ? 0 : this.#nextDueMs
  }

  /** It is under way from now on. */
  begin(item: Item): void {
    this.#items.set(item.key, item)
    this.#chars += item.frame.length
    this.#count(item, 1)
    this.#touched.add(item.key)
  }

  /** It is not under way any more, and to be tried again when it is due. */
  again(item: Item): void {
    const { key } = item
    this.#count(this.#items.get(key), -1)
    this.#count(item, 1)
    this.#items.set(key, item)
    this.#waiting.set(key, item)
    if (item.refused >= REFUSED_ENOUGH) this.#spent.set(key, item)
    this.#nextDueMs = Math.min(this.#nextDueMs, item.dueMs)
    this.#touched.add(key)
  }

  end({ key, frame }: Item): void {
    this.#count(this.#items.get(key), -1)
    this.#items.delete(key)
    this.#waiting.delete(key)
    this.#spent.delete(key)
    this.#chars -= frame.length
    this.#touched.add(key)
  }

  #count(item: Item | undefined, by: 1 | -1): void {
    if (item?.attempts === 0) this.#untried[item.key[0] as Prefix] += by
  }

  /** One that is due and not under way, and was never refused; it is under way from now on. */
  due(nowMs: number): Item | undefined {
    if (this.#ready.length === 0 && nowMs >= this.#nextDueMs) this.#gather(item => item.dueMs <= nowMs)
    return this.#take(this.#ready)
  }

  /** One of the others that were found due. */
  dueRefused(): Item | undefined {
    return this.#take(this.#refused)
  }

  #take(queue: Item[]): Item | undefined {
    for (let item = queue.shift(); item; item = queue.shift()) {
      // It may have made room meanwhile.
      if (this.#items.get(item.key) !== item) continue
      this.#spent.delete(item.key)
      return item
    }
    return undefined
  }

  /** The receiver is back: everything that waits is due, but for what it would not have. */
  hasten(): void {
    this.#gather(item => item.refused === 0)
  }

  #gather(isDue: (item: Item) => boolean): void {
    this.#nextDueMs = Infinity
    for (const [key, item] of this.#waiting)
      if (isDue(item)) {
        const queue = item.refused === 0 ? this.#ready : this.#refused
        queue.push(item)
        this.#waiting.delete(key)
      } else this.#nextDueMs = Math.min(this.#nextDueMs, item.dueMs)
  }

  /** What has changed since the last call, as writes to this hash. */
  take(hash: string, aheadMs: number): CommitCommand[] {
    const set: string[] = []
    const gone: string[] = []
    for (const key of this.#touched) {
      const item = this.#items.get(key)
      if (item) {
        set.push(key, serialise(item, aheadMs))
        this.#saved.add(key)
      } else if (this.#saved.delete(key)) gone.push(key)
    }
    this.#touched = new Set()
    return [...chunked('HSET', hash, set, PAIRS * 2), ...chunked('HDEL', hash, gone, PAIRS)]
  }
}

/** Kept with the time of the wall's clock, which the next life can read. */
function serialise({ device, frame, attempts, refused, firstMs }: Item, aheadMs: number): string {
  return JSON.stringify({ device, frame, attempts, refused, firstMs: firstMs === undefined ? undefined : Math.round(firstMs + aheadMs) })
}

function parse(key: Item['key'], row: string, aheadMs: number): Item {
  const { device, frame, attempts, refused, firstMs } = JSON.parse(row) as Omit<Item, 'key' | 'dueMs'>
  return { key, device, frame, attempts, refused, firstMs: firstMs === undefined ? undefined : firstMs - aheadMs, dueMs: 0 }
}

function chunked(command: string, key: string, args: readonly string[], size: number): CommitCommand[] {
  const commands: CommitCommand[] = []
  for (let i = 0; i < args.length; i += size) commands.push([command, key, ...args.slice(i, i + size)])
  return commands
}
