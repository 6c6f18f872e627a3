// What is open at one connector: events that are under way or wait to be tried again. They are committed with the place, which so
// moves past them; bounded, and when it is full the place stops.
import type { CommitCommand } from '../../../packages/log/log.ts'

/** One event to be pushed. */
export type Item = {
  /** Its place in its lane: `l` the live log, `r` a replay, `s` a sync. */
  readonly key: `${'l' | 'r' | 's'}${string}`
  readonly device: string
  readonly frame: string
  /** Failed so far. */
  readonly attempts: number
  /** When the first attempt was made; 0 before. */
  readonly firstMs: number
  readonly dueMs: number
}

export type Prefix = 'l' | 'r' | 's'

const MAX_ITEMS = 2000
const MAX_CHARS = 4 * 1024 * 1024
/** Pairs per command: far below what Lua can unpack. */
const PAIRS = 500

export class Open {
  readonly #items = new Map<string, Item>()
  /** Not under way, and not due when last looked at. */
  readonly #waiting = new Map<string, Item>()
  /** Due, in order. */
  #ready: Item[] = []
  #nextDueMs = Infinity
  #chars = 0
  readonly #counts: Record<Prefix, number> = { l: 0, r: 0, s: 0 }
  #touched = new Set<string>()
  readonly #saved: Set<string>

  /** @param rows what an earlier life committed: all of it is due again, what was under way among it. */
  constructor(rows: Readonly<Record<string, string>>) {
    this.#saved = new Set(Object.keys(rows))
    for (const [key, row] of Object.entries(rows)) {
      const item = { key: key as Item['key'], ...(JSON.parse(row) as Omit<Item, 'key'>), dueMs: 0 }
      this.begin(item)
      this.again(item)
    }
    this.#touched = new Set()
  }

  get size(): number {
    return this.#items.size
  }

  /** Whether another one may begin. */
  get hasRoom(): boolean {
    return this.#items.size < MAX_ITEMS && this.#chars < MAX_CHARS
  }

  count(prefix: Prefix): number {
    return this.#counts[prefix]
  }

  /** When the next one that waits is due. */
  get nextDueMs(): number {
    return this.#ready.length > 0 ? 0 : this.#nextDueMs
  }

  /** It is under way from now on. */
  begin(item: Item): void {
    this.#items.set(item.key, item)
    this.#chars += item.frame.length
    this.#counts[item.key[0] as Prefix]++
    this.#touched.add(item.key)
  }

  /** It is not under way any more, and to be tried again when it is due. */
  again(item: Item): void {
    this.#items.set(item.key, item)
    this.#waiting.set(item.key, item)
    this.#nextDueMs = Math.min(this.#nextDueMs, item.dueMs)
    this.#touched.add(item.key)
  }

  end({ key, frame }: Item): void {
    this.#items.delete(key)
    this.#chars -= frame.length
    this.#counts[key[0] as Prefix]--
    this.#touched.add(key)
  }

  /** One that is due and not under way; it is under way from now on. */
  due(nowMs: number): Item | undefined {
    if (this.#ready.length === 0 && nowMs >= this.#nextDueMs) this.#gather(nowMs)
    return this.#ready.shift()
  }

  /** The receiver is back: everything that waits is due. */
  hasten(): void {
    this.#gather(Infinity)
  }

  #gather(nowMs: number): void {
    this.#nextDueMs = Infinity
    const found = [...this.#ready]
    for (const [key, item] of this.#waiting)
      if (item.dueMs <= nowMs) {
        found.push(item)
        this.#waiting.delete(key)
      } else this.#nextDueMs = Math.min(this.#nextDueMs, item.dueMs)
    this.#ready = found
  }

  /** What has changed since the last call, as writes to this hash. */
  take(hash: string): CommitCommand[] {
    const set: string[] = []
    const gone: string[] = []
    for (const key of this.#touched) {
      const item = this.#items.get(key)
      if (item) {
        set.push(key, serialise(item))
        this.#saved.add(key)
      } else if (this.#saved.delete(key)) gone.push(key)
    }
    this.#touched = new Set()
    return [...chunked('HSET', hash, set, PAIRS * 2), ...chunked('HDEL', hash, gone, PAIRS)]
  }
}

function serialise({ device, frame, attempts, firstMs, dueMs }: Item): string {
  return JSON.stringify({ device, frame, attempts, firstMs, dueMs })
}

function chunked(command: string, key: string, args: readonly string[], size: number): CommitCommand[] {
  const commands: CommitCommand[] = []
  for (let i = 0; i < args.length; i += size) commands.push([command, key, ...args.slice(i, i + size)])
  return commands
}
