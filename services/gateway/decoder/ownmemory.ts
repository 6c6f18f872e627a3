// What a device tells a decoder by a credential of its own: kept beside what others told, and seen only in what this device sends. So whatever it
// announces, it changes nothing for anybody else. Bounded for each device, and for all of them together: who told longest ago is forgotten first.
import { Failure } from '../../../packages/core/failure.ts'
import { GROUP, type Memory, type Size } from '../decode/format.ts'

/** Of what a memory takes (kept.ts): of one device, and of all that tell something of their own. The rest is left to what is told for all. */
const MAX_KEYS = 500
const MAX_CHARS = 256 * 1024
const MAX_KEYS_OF_ALL = 5000
const MAX_CHARS_OF_ALL = 2 * 1024 * 1024
/** Below it, all of them cannot have more than their part. */
const SAFE_FULLNESS = 0.5
/** So that not each announcement has to make room anew. */
const ROOM_SHARE = 0.9

/** What each device has told, by itself. */
const SIZES = `own${GROUP}`

type Told = Size & { readonly toldMs: number }

/** Where it has told nothing of its own, it sees what others told. */
class OwnMemory implements Memory {
  readonly #all: Memory
  readonly #size: string
  readonly #prefix: string
  readonly #nowMs: number

  constructor(all: Memory, device: string, nowMs: number) {
    this.#all = all
    this.#size = SIZES + device
    this.#prefix = prefixOf(device)
    this.#nowMs = nowMs
  }

  get(key: string): unknown {
    return this.#all.get(this.#prefix + key) ?? this.#all.get(key)
  }

  set(key: string, value: unknown): void {
    const own = this.#prefix + key
    this.#count(sizeOf(own, this.#all.get(own)), sizeOf(own, value))
    this.#all.set(own, value)
  }

  fullness(more: Size): number {
    const { keys, chars } = this.#used
    return Math.max((keys + more.keys) / MAX_KEYS, (chars + more.chars) / MAX_CHARS, this.#all.fullness(more))
  }

  get #used(): Size {
    return (this.#all.get(this.#size) as Told | undefined) ?? NOTHING
  }

  get isReplay(): boolean {
    return this.#all.isReplay
  }

  entries(prefix: string): readonly (readonly [key: string, value: unknown])[] {
    const own = this.#all.entries(this.#prefix + prefix).map(([key, value]) => [key.slice(this.#prefix.length), value] as const)
    return [...new Map([...this.#all.entries(prefix), ...own])]
  }

  noted(key: string): unknown {
    return this.#all.noted(this.#prefix + key) ?? this.#all.noted(key)
  }

  note(key: string, value: unknown): void {
    this.#all.note(this.#prefix + key, value)
  }

  #count(before: Size, after: Size): void {
    if (before.chars === after.chars) return
    const { keys, chars } = this.#used
    const now = { keys: keys + after.keys - before.keys, chars: chars + after.chars - before.chars }
    const isMore = after.chars > before.chars
    if (isMore && (now.keys > MAX_KEYS || now.chars > MAX_CHARS)) {
      const message = `payload: a device may announce at most ${MAX_KEYS} things and ${MAX_CHARS} characters with a credential of its own`
      throw new Failure('too_large', message, { field: 'payload' })
    }
    if (isMore) this.#makeRoom(now)
    this.#all.set(this.#size, now.keys === 0 ? undefined : { ...now, toldMs: this.#nowMs })
  }

  #makeRoom(own: Size): void {
    if (this.#all.fullness(own) <= SAFE_FULLNESS) return
    const others = (this.#all.entries(SIZES) as readonly (readonly [string, Told])[]).filter(([key]) => key !== this.#size)
    // Each has an entry more: its size.
    let [keys, chars] = [own.keys + 1, own.chars]
    for (const [, told] of others) [keys, chars] = [keys + told.keys + 1, chars + told.chars]
    const hasRoom = (share: number) => keys <= MAX_KEYS_OF_ALL * share && chars <= MAX_CHARS_OF_ALL * share
    if (hasRoom(1)) return
    for (const [key, told] of others.toSorted(([, a], [, b]) => a.toldMs - b.toldMs)) {
      forget(this.#all, key.slice(SIZES.length))
      ;[keys, chars] = [keys - told.keys - 1, chars - told.chars]
      if (hasRoom(ROOM_SHARE)) return
    }
  }
}

const NOTHING: Size = { keys: 0, chars: 0 }

function prefixOf(device: string): string {
  return `own/${device}/`
}

function forget(all: Memory, device: string): void {
  for (const [key] of all.entries(prefixOf(device))) all.set(key, undefined)
  all.set(SIZES + device, undefined)
}

function sizeOf(key: string, value: unknown): Size {
  return value === undefined ? NOTHING : { keys: 1, chars: key.length + JSON.stringify(value).length }
}

/** @param device that sends by a credential of its own; undefined: what is told is for all. @param nowMs when it sends what may tell something. */
export function memoryFor(all: Memory, device: string | undefined, nowMs = 0): Memory {
  return device === undefined ? all : new OwnMemory(all, device, nowMs)
}
