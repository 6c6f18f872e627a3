// What a device tells a decoder by a credential of its own: kept beside what others told, and seen only in what this device sends. So whatever it
// announces, it changes nothing for anybody else.
import { Failure } from '../../../packages/core/failure.ts'
import type { Memory } from '../decode/format.ts'

/** Of what a memory takes (memory.ts), so that no device alone fills it. */
const MAX_KEYS = 2000
const MAX_CHARS = 512 * 1024

type Size = { readonly keys: number; readonly chars: number }

/** Where it has told nothing of its own, it sees what others told. */
class OwnMemory implements Memory {
  readonly #all: Memory
  readonly #size: string
  readonly #prefix: string

  constructor(all: Memory, device: string) {
    this.#all = all
    this.#size = `own/${device}`
    this.#prefix = `${this.#size}/`
  }

  get(key: string): unknown {
    return this.#all.get(this.#prefix + key) ?? this.#all.get(key)
  }

  set(key: string, value: unknown): void {
    const own = this.#prefix + key
    this.#count(sizeOf(own, this.#all.get(own)), sizeOf(own, value))
    this.#all.set(own, value)
  }

  get used(): Size {
    return (this.#all.get(this.#size) as Size | undefined) ?? NOTHING
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
    const { keys, chars } = this.used
    const now = { keys: keys + after.keys - before.keys, chars: chars + after.chars - before.chars }
    const isMore = after.chars > before.chars
    if (isMore && (now.keys > MAX_KEYS || now.chars > MAX_CHARS)) {
      const message = `payload: a device may announce at most ${MAX_KEYS} things and ${MAX_CHARS} characters with a credential of its own`
      throw new Failure('too_large', message, { field: 'payload' })
    }
    this.#all.set(this.#size, now.keys === 0 ? undefined : now)
  }
}

const NOTHING: Size = { keys: 0, chars: 0 }

function sizeOf(key: string, value: unknown): Size {
  return value === undefined ? NOTHING : { keys: 1, chars: key.length + JSON.stringify(value).length }
}

/** @param device that sends by a credential of its own; undefined: what is told is for all. */
export function memoryFor(all: Memory, device: string | undefined): Memory {
  return device === undefined ? all : new OwnMemory(all, device)
}
