// What decoders remember, in memory: of each project and mapping, loaded once, bounded. What a payload told is seen by the next at once, is
// saved when its events are safe, and taken back when they are not: who sends them again is not told that they were seen. What another gateway
// has learnt is seen within a second, and at once when a decoder looks for something that is not here.
import { Failure } from '../../../packages/core/failure.ts'
import type { DecoderMemory, MemoryId, Remembered } from '../../../packages/state/decodermemory.ts'
import type { Memory } from '../decode/format.ts'

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

const LOST = new Failure('unavailable', 'what it was decoded with is not on disk', { retryAfterMs: 1000 })

type Entry = { readonly value: unknown; readonly text: string }

/** Undefined: it is safe. */
type Done = (failure: Failure | undefined) => void

/** What one delivery told and saw, until its turn has come. */
type Held = {
  readonly changes: ReadonlyMap<string, string>
  /** What became of its events, and who waits to hear of all of it. */
  settled: { readonly failure: Failure | undefined; readonly done: Done } | undefined
  /** What it was decoded with was taken back. */
  isLost: boolean
}

/** Must be settled, once. */
export interface Hold {
  /** @param failure of the events of the delivery. `done` is told when what it told, and what it was decoded with, is on disk. */
  settle(failure: Failure | undefined, done: Done): void
}

/** Of one project and mapping. */
export class Kept {
  readonly id: MemoryId
  /** With what deliveries told that are under way. */
  readonly values = new Map<string, Entry>()
  /** In the order in which they were decoded. */
  readonly held: Held[] = []
  /** To be saved. */
  unsaved = new Map<string, string>()
  /** On their way to the disk. */
  saving: ReadonlyMap<string, string> = new Map()
  /** To be told when what is to be saved is. */
  readonly waiting: Done[] = []
  isSaving = false
  /** Of what deliveries under way have changed: what holds without them, and how many they are. */
  readonly #below = new Map<string, { text: string; changes: number }>()
  chars = 0
  revision = 0
  /** Counts how often something was taken back. */
  round = 0
  lookedMs: number

  constructor(id: MemoryId, nowMs: number) {
    this.id = id
    this.lookedMs = nowMs
  }

  get isEmpty(): boolean {
    return this.values.size === 0
  }

  /** All of it is on disk. */
  get isSaved(): boolean {
    return this.held.length === 0 && this.unsaved.size === 0 && !this.isSaving
  }

  /** Whatever is not saved yet is newer. */
  adopt({ revision, values }: Remembered): void {
    const all = new Map([...values, ...this.saving, ...this.unsaved])
    for (const key of [...this.values.keys(), ...this.#below.keys()]) if (!all.has(key)) this.#learn(key, '')
    for (const [key, text] of all) this.#learn(key, text)
    this.revision = revision
  }

  /** Until it is kept or taken back. */
  change(key: string, text: string): void {
    const below = this.#below.get(key)
    if (below) below.changes++
    else this.#below.set(key, { text: this.values.get(key)?.text ?? '', changes: 1 })
    this.#put(key, text)
  }

  /** For good, of those that were changed first. */
  keep(changes: ReadonlyMap<string, string>): void {
    for (const [key, text] of changes) {
      this.unsaved.set(key, text)
      const below = this.#below.get(key)
      if (below && --below.changes > 0) below.text = text
      else this.#below.delete(key)
    }
  }

  /** All changes that are not kept. */
  takeBack(): void {
    for (const [key, { text }] of this.#below) this.#put(key, text)
    this.#below.clear()
    this.round++
  }

  #learn(key: string, text: string): void {
    const below = this.#below.get(key)
    if (below) below.text = text
    else this.#put(key, text)
  }

  /** @param text empty: forgets it. */
  #put(key: string, text: string): void {
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
  readonly #round: number
  #keys: number
  #chars: number

  constructor(kept: Kept) {
    this.kept = kept
    this.#round = kept.round
    this.#keys = kept.values.size
    this.#chars = kept.chars
  }

  /** What it saw may have been taken back since. */
  get isStale(): boolean {
    return this.touched && this.#round !== this.kept.round
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

  /**
   * What the payload told holds from now on for whoever comes next, and for good when it is settled. Undefined: it told nothing, and all that
   * it saw is on disk. @param overwrite false: what is known stays.
   */
  hold(draft: Draft, overwrite = true): Hold | undefined {
    const { kept, isStale } = draft
    if (!draft.touched) return undefined
    const changes = new Map([...draft.changes].filter(([key]) => overwrite || !kept.values.has(key)))
    if (!isStale && changes.size === 0 && kept.isSaved) return undefined
    const held: Held = { changes, settled: undefined, isLost: isStale }
    if (!isStale) {
      for (const [key, text] of changes) kept.change(key, text)
      kept.held.push(held)
    }
    return { settle: (failure, done) => this.#settle(kept, held, failure, done) }
  }

  /** As `hold`, of a payload whose events nobody waits for; resolves when it is on disk. */
  commit(draft: Draft, overwrite = true): Promise<void> | undefined {
    const hold = this.hold(draft, overwrite)
    return hold && new Promise((resolve, reject) => hold.settle(undefined, failure => (failure ? reject(failure) : resolve())))
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
      if (!kept.isSaved) continue
      chars -= kept.chars
      this.#kept.delete(name)
    }
  }

  #settle(kept: Kept, held: Held, failure: Failure | undefined, done: Done): void {
    if (held.isLost) {
      done(failure ?? LOST)
      return
    }
    held.settled ??= { failure, done }
    for (let [first] = kept.held; first?.settled; [first] = kept.held) {
      if (first.settled.failure) {
        takeBack(kept)
        break
      }
      kept.held.shift()
      kept.keep(first.changes)
      kept.waiting.push(first.settled.done)
    }
    if (!kept.isSaving) void this.#save(kept)
  }

  async #save(kept: Kept): Promise<void> {
    kept.isSaving = true
    try {
      while (kept.waiting.length > 0) {
        const waiting = kept.waiting.splice(0)
        const failure = kept.unsaved.size > 0 ? await this.#write(kept) : undefined
        for (const done of waiting) done(failure)
      }
    } finally {
      kept.isSaving = false
    }
  }

  /** Resolves with what went wrong: then it is written with the next. */
  async #write(kept: Kept): Promise<Failure | undefined> {
    kept.saving = kept.unsaved
    kept.unsaved = new Map()
    try {
      const revision = await this.#ports.disk.save(kept.id, kept.saving)
      // Otherwise others have saved as well: the next look sees it.
      if (revision === kept.revision + 1) kept.revision = revision
      return undefined
    } catch (error) {
      kept.unsaved = new Map([...kept.saving, ...kept.unsaved])
      if (error instanceof Failure) return error
      return new Failure('unavailable', 'what decoders remember cannot be written', { retryAfterMs: 1000, cause: error })
    } finally {
      kept.saving = new Map()
    }
  }
}

/** Of the first that failed and of all that were decoded with it: nobody is told that it is safe what is only seen in what was taken back. */
function takeBack(kept: Kept): void {
  const lost = kept.held.splice(0)
  kept.takeBack()
  for (const one of lost) one.isLost = true
  for (const { settled } of lost) settled?.done(settled.failure ?? LOST)
}

function nameOf({ project, decoder, format }: MemoryId): string {
  return `${project}\t${decoder}\t${format}`
}
