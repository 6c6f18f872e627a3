// What is connected to this process, by stream: producers and followers. It goes to Redis with the node's heartbeat and is gone with the node,
// so nobody has to clean up after one that was killed.
import type { Changes } from './node.ts'

/** The project's own events, as a stream. */
export const DEVICE_STREAM = 'devices'

/** Who sends by requests is no connection: the stream counts as published for this long after the last of them. */
const LINGER_MS = 30_000
/** Sensors are quieter than programs. */
const DEVICES_LINGER_MS = 300_000
/** What is produced without a connection is written down no more often than this, per stream. */
const WRITE_EVERY_MS = 5000
const MAX_CHANGES = 1000

type Entry = {
  /** Since when it has been published without a break; 0: it is not. */
  sinceMs: number
  /** When something was last produced without a connection; 0: never. */
  lastMs: number
  producers: number
  followers: number
  /** Of the followers, those whom somebody else counts. */
  counted: number
  writtenMs: number
}

/** What one node says of one stream. */
export type Present = Readonly<Pick<Entry, 'sinceMs' | 'lastMs' | 'producers' | 'followers'>>

export type Leave = () => void

/** Followers whom somebody else counts, asked for once a second; several may be of one stream. */
export type Counted = Iterable<readonly [project: string, stream: string, followers: number]>

export class Presence {
  readonly #entries = new Map<string, Entry>()
  readonly #written = new Set<string>()
  #dirty = new Set<string>()
  #anew = false
  #offsetMs: number
  #trafficMs = 0
  #changed: () => void = () => {}
  readonly #counted: () => Counted

  /** @param nowMs by the clock of Redis, by which all is said here. */
  constructor(nowMs: number, counted: () => Counted = () => []) {
    this.#offsetMs = nowMs - performance.now()
    this.#counted = counted
  }

  nowMs(): number {
    return Math.floor(performance.now() + this.#offsetMs)
  }

  /** A producer is connected, until the function is called that is returned. That is idempotent. */
  connected(project: string, stream: string): Leave {
    const key = keyOf(project, stream)
    const entry = this.#entry(key)
    if (!isLive(entry, stream, this.nowMs())) entry.sinceMs = this.nowMs()
    return this.#join(key, 'producers')
  }

  /** Something was produced without a connection. Costs no more than a look into a map, but for once in five seconds. */
  produced(project: string, stream: string): void {
    const key = keyOf(project, stream)
    const entry = this.#entry(key)
    const nowMs = this.nowMs()
    this.#trafficMs = nowMs
    const begins = !isLive(entry, stream, nowMs)
    if (begins) entry.sinceMs = nowMs
    entry.lastMs = nowMs
    if (begins || nowMs - entry.writtenMs >= WRITE_EVERY_MS) this.#touch(key, entry)
  }

  /** Somebody follows the stream, until the function is called that is returned. That is idempotent. */
  followed(project: string, stream: string): Leave {
    return this.#join(keyOf(project, stream), 'followers')
  }

  /** Connections of named streams; those who follow devices are counted where they come in. */
  get connections(): number {
    let count = 0
    for (const [key, { producers, followers }] of this.#entries) if (!key.endsWith(`/${DEVICE_STREAM}`)) count += producers + followers
    return count
  }

  /** When something last happened here; 0: never. */
  get trafficMs(): number {
    return this.#trafficMs
  }

  /** Called when there is something new to be said. */
  onChange(changed: () => void): void {
    this.#changed = changed
  }

  /** What is to be said now, some thousand at most; either `kept` or `lost` is to be called with it. */
  take(): Changes {
    this.#count()
    this.#sweep()
    const fields = [...this.#dirty].slice(0, MAX_CHANGES)
    for (const field of fields) this.#dirty.delete(field)
    const put = fields.flatMap(field => {
      const entry = this.#entries.get(field)
      return entry ? [[field, format(entry)] as const] : []
    })
    const anew = this.#anew
    this.#anew = false
    return { put, removed: fields.filter(field => !this.#entries.has(field)), anew }
  }

  /** Redis has them, and says how much it has in all: all is said anew when that is not what was said. @returns whether there is more. */
  kept({ put, removed }: Changes, fields: number, nowMs: number): boolean {
    for (const [field] of put) this.#written.add(field)
    for (const field of removed) this.#written.delete(field)
    this.#offsetMs = nowMs - performance.now()
    if (fields !== this.#written.size) {
      // What Redis has, too much or too little, would differ again from what is counted from here on.
      this.#anew = true
      this.#written.clear()
      this.#dirty = new Set(this.#entries.keys())
    }
    return this.#anew || this.#dirty.size > 0
  }

  lost({ put, removed, anew }: Changes): void {
    this.#anew ||= anew
    for (const field of [...put.map(([name]) => name), ...removed]) this.#dirty.add(field)
  }

  #join(key: string, side: 'producers' | 'followers'): Leave {
    const entry = this.#entry(key)
    entry[side]++
    this.#trafficMs = this.nowMs()
    this.#touch(key, entry)
    let left = false
    return () => {
      if (left) return
      left = true
      entry[side]--
      this.#touch(key, entry)
    }
  }

  #entry(key: string): Entry {
    const known = this.#entries.get(key)
    if (known) return known
    const entry = { sinceMs: 0, lastMs: 0, producers: 0, followers: 0, counted: 0, writtenMs: 0 }
    this.#entries.set(key, entry)
    return entry
  }

  #touch(key: string, entry: Entry): void {
    entry.writtenMs = this.nowMs()
    this.#dirty.add(key)
    this.#changed()
  }

  #count(): void {
    const counts = new Map<string, number>()
    for (const [project, stream, followers] of this.#counted()) {
      const key = keyOf(project, stream)
      if (followers > 0) counts.set(key, (counts.get(key) ?? 0) + followers)
    }
    for (const key of counts.keys()) this.#entry(key)
    for (const [key, entry] of this.#entries) {
      const counted = counts.get(key) ?? 0
      if (counted === entry.counted) continue
      entry.followers += counted - entry.counted
      entry.counted = counted
      this.#dirty.add(key)
    }
  }

  /** What was produced since it was last said, streams that are published no more, and those that nobody is at. */
  #sweep(): void {
    const nowMs = this.nowMs()
    for (const [key, entry] of this.#entries) {
      if (entry.lastMs > entry.writtenMs && nowMs - entry.writtenMs >= WRITE_EVERY_MS) {
        entry.writtenMs = nowMs
        this.#dirty.add(key)
      }
      if (entry.sinceMs > 0 && !isLive(entry, streamOf(key), nowMs)) {
        entry.sinceMs = 0
        entry.lastMs = 0
        this.#dirty.add(key)
      }
      if (entry.sinceMs === 0 && entry.followers === 0) {
        this.#entries.delete(key)
        this.#dirty.add(key)
      }
    }
  }
}

export function isLive({ producers, lastMs }: Pick<Present, 'producers' | 'lastMs'>, stream: string, nowMs: number): boolean {
  return producers > 0 || nowMs - lastMs < (stream === DEVICE_STREAM ? DEVICES_LINGER_MS : LINGER_MS)
}

/** No project has "/" in its name. */
function keyOf(project: string, stream: string): string {
  return `${project}/${stream}`
}

export function projectOf(key: string): string {
  return key.slice(0, key.indexOf('/'))
}

export function streamOf(key: string): string {
  return key.slice(key.indexOf('/') + 1)
}

function format({ sinceMs, lastMs, producers, followers }: Present): string {
  return `${sinceMs} ${lastMs} ${producers} ${followers}`
}

export function parsePresent(text: string): Present {
  const [sinceMs = 0, lastMs = 0, producers = 0, followers = 0] = text.split(' ').map(Number)
  return { sinceMs, lastMs, producers, followers }
}
