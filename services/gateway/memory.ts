// What decoders remember, in memory: of each project and mapping, loaded once, bounded, and saved before a delivery is settled. What another
// gateway has learnt is seen within a second, and at once when a decoder looks for something that is not here.
import { Failure } from '../../packages/core/failure.ts'
import type { DecoderMemory, MemoryId, Remembered } from '../../packages/state/decodermemory.ts'
import type { Memory } from './decode/format.ts'

export type MemoryPorts = {
  readonly disk: Pick<DecoderMemory, 'revision' | 'load' | 'save'>
  /** Of a monotonic clock. */
  nowMs(): number
  /** Told when it could not be seen whether others have learnt something. */
  troubled(error: Error): void
}

const MAX_KEYS = 10_000
const MAX_CHARS = 4 * 1024 * 1024
const MAX_KEY_CHARS = 500
/** Of all that is kept here: what was not used longest is loaded again when it is. */
const MAX_CHARS_OF_ALL = 64 * 1024 * 1024
const MAX_KEPT = 10_000
const LOOK_MS = 1000

type Entry = { readonly value: unknown; readonly text: string }

/** Of one project and mapping. */
export class Kept {
  readonly id: MemoryId
  readonly values = new Map<string, Entry>()
  /** To be saved. */
  unsaved = new Map<string, string>()
  /** On their way to the disk. */
  readonly saving = new Set<ReadonlyMap<string, string>>()
  chars = 0
  revision = 0
  lookedMs: number

  constructor(id: MemoryId, nowMs: number) {
    this.id = id
    this.lookedMs = nowMs
  }

  get isEmpty(): boolean {
    return this.values.size === 0
  }

  /** Whatever is not saved yet is newer. */
  adopt({ revision, values }: Remembered): void {
    const own = new Map([...this.saving, this.unsaved].flatMap(changes => [...changes]))
    const all = new Map([...values, ...own])
    for (const key of this.values.keys()) if (!all.has(key)) this.put(key, '')
    for (const [key, text] of all) this.put(key, text)
    this.revision = revision
  }

  /** @param text empty: forgets it. */
  put(key: string, text: string): void {
    const before = this.values.get(key)
    if (before?.text === text) return
    if (before) this.chars -= key.length + before.text.length
    if (text === '') this.values.delete(key)
    else {
      this.values.set(key, { value: JSON.parse(text), text })
      this.chars += key.length + text.length
    }
  }
}

/** What one payload sees and sets: nothing of it holds until it is decoded. */
export class Draft implements Memory {
  readonly kept: Kept
  readonly changes = new Map<string, string>()
  readonly #values = new Map<string, unknown>()
  /** Something was asked or told. */
  touched = false
  /** Something was looked for that is not here. */
  missed = false
  #keys: number
  #chars: number

  constructor(kept: Kept) {
    this.kept = kept
    this.#keys = kept.values.size
    this.#chars = kept.chars
  }

  get(key: string): unknown {
    this.touched = true
    if (this.changes.has(key)) return this.#values.get(key)
    const entry = this.kept.values.get(key)
    if (!entry) this.missed = true
    return entry?.value
  }

  set(key: string, value: unknown): void {
    this.touched = true
    const text = value === undefined ? '' : JSON.stringify(value)
    const before = this.changes.get(key) ?? this.kept.values.get(key)?.text ?? ''
    if (text === before) return
    this.#check(key, text, before)
    this.changes.set(key, text)
    this.#values.set(key, value)
  }

  #check(key: string, text: string, before: string): void {
    if (key === '' || key.length > MAX_KEY_CHARS) throw tooMuch(`keys of 1 to ${MAX_KEY_CHARS} characters`)
    this.#keys += Number(text !== '') - Number(before !== '')
    this.#chars += (text === '' ? 0 : key.length + text.length) - (before === '' ? 0 : key.length + before.length)
    // Forgetting is always possible.
    if (text.length <= before.length) return
    if (this.#keys > MAX_KEYS) throw tooMuch(`${MAX_KEYS} things of one project`)
    if (this.#chars > MAX_CHARS) throw tooMuch(`${MAX_CHARS} characters of one project`)
  }
}

function tooMuch(limit: string): Failure {
  return new Failure('too_large', `payload: the decoder cannot remember what it announces: at most ${limit}`, { field: 'payload' })
}

export class Memories {
  readonly #ports: MemoryPorts
  /** What was used last is last. */
  readonly #kept = new Map<string, Kept>()
  readonly #loading = new Map<string, Promise<Kept>>()

  constructor(ports: MemoryPorts) {
    this.#ports = ports
  }

  /** Undefined: it must be loaded. */
  find(id: MemoryId): Kept | undefined {
    const name = nameOf(id)
    const kept = this.#kept.get(name)
    if (!kept) return undefined
    this.#kept.delete(name)
    this.#kept.set(name, kept)
    return kept
  }

  load(id: MemoryId): Promise<Kept> {
    const name = nameOf(id)
    const under = this.#loading.get(name)
    if (under) return under
    const loading = this.#loaded(id, name).finally(() => this.#loading.delete(name))
    this.#loading.set(name, loading)
    return loading
  }

  /** Holds from now on; resolves when it is on disk. Undefined: there is nothing to save. @param overwrite false: what is known stays. */
  commit({ kept, changes }: Draft, overwrite = true): Promise<void> | undefined {
    for (const [key, text] of changes) {
      if (!overwrite && kept.values.has(key)) continue
      kept.put(key, text)
      kept.unsaved.set(key, text)
    }
    return kept.unsaved.size > 0 ? this.#save(kept) : undefined
  }

  /**
   * To be asked after each use, with whether something was missed. Resolves with whether there is more than before: then it is worth
   * another try. Undefined: not looked, or nobody waits for it.
   */
  look(kept: Kept, missed: boolean): Promise<boolean> | undefined {
    const nowMs = this.#ports.nowMs()
    if (nowMs - kept.lookedMs < LOOK_MS) return undefined
    kept.lookedMs = nowMs
    const looking = this.#look(kept)
    if (missed) return looking
    looking.catch((error: Error) => this.#ports.troubled(error))
    return undefined
  }

  async #look(kept: Kept): Promise<boolean> {
    const { disk } = this.#ports
    if ((await disk.revision(kept.id)) === kept.revision) return false
    kept.adopt(await disk.load(kept.id))
    return true
  }

  async #loaded(id: MemoryId, name: string): Promise<Kept> {
    const known = this.#kept.get(name)
    if (known) return known
    const kept = new Kept(id, this.#ports.nowMs())
    kept.adopt(await this.#ports.disk.load(id))
    this.#kept.set(name, kept)
    this.#forget()
    return kept
  }

  #forget(): void {
    let chars = [...this.#kept.values()].reduce((sum, one) => sum + one.chars, 0)
    for (const [name, kept] of this.#kept) {
      if (chars <= MAX_CHARS_OF_ALL && this.#kept.size <= MAX_KEPT) return
      if (kept.unsaved.size > 0 || kept.saving.size > 0) continue
      chars -= kept.chars
      this.#kept.delete(name)
    }
  }

  async #save(kept: Kept): Promise<void> {
    const changes = kept.unsaved
    kept.unsaved = new Map()
    kept.saving.add(changes)
    try {
      const revision = await this.#ports.disk.save(kept.id, changes)
      // Otherwise others have saved as well: the next look sees it.
      if (revision === kept.revision + 1) kept.revision = revision
    } catch (error) {
      // As it is now: a later change of the same may be saved already.
      for (const key of changes.keys()) kept.unsaved.set(key, kept.values.get(key)?.text ?? '')
      throw error
    } finally {
      kept.saving.delete(changes)
    }
  }
}

function nameOf({ project, decoder, format }: MemoryId): string {
  return `${project}\t${decoder}\t${format}`
}
