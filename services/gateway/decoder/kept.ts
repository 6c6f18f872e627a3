// What is remembered of one project and mapping, with what deliveries under way have told; and what one payload sees and sets of it. Who loads,
// saves and takes back is in memory.ts.
import { Failure } from '../../../packages/core/failure.ts'
import type { MemoryId, Remembered } from '../../../packages/state/decodermemory.ts'
import { GROUP, type Memory, type Size } from '../decode/format.ts'

const MAX_KEYS = 10_000
const MAX_CHARS = 4 * 1024 * 1024
const MAX_KEY_CHARS = 500
/** Of one project and mapping, for this process alone; who noted longest ago goes first. */
const MAX_NOTES = 10_000
/** Of one payload, and of one project and mapping in a second. */
const MAX_MISSED = 100
const MAX_ABSENT = 10_000

type Entry = { readonly value: unknown; readonly text: string }

/** Undefined: it is safe. */
export type Done = (failure: Failure | undefined) => void

/** What one delivery told and saw, until its turn has come. */
export type Held = {
  readonly changes: ReadonlyMap<string, string>
  /** What became of its events, and who waits to hear of all of it. */
  settled: { readonly failure: Failure | undefined; readonly done: Done } | undefined
  /** What it was decoded with was taken back. */
  isLost: boolean
}

/** Of one project and mapping. */
export class Kept {
  readonly id: MemoryId
  /** With what deliveries told that are under way. */
  readonly values = new Map<string, Entry>()
  /** Keys by what they have in common. */
  readonly #groups = new Map<string, Set<string>>()
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
  /** Counts how often something was learnt from others. */
  adopted = 0
  /** Counts how often something was taken back. */
  round = 0
  /** In no way safe. What was noted last is last. */
  readonly notes = new Map<string, unknown>()
  /** When it was asked last what others have learnt; and in the second that began then, how often, and what nobody has told. */
  lookedMs: number
  sinceMs: number
  looks = 0
  readonly #absent = new Set<string>()
  /** Under way, and what is to begin after it. */
  looking: Promise<void> | undefined
  nextLook: Promise<void> | undefined

  constructor(id: MemoryId, nowMs: number) {
    this.id = id
    this.lookedMs = nowMs
    this.sinceMs = nowMs
  }

  get isEmpty(): boolean {
    return this.values.size === 0
  }

  /** All of it is on disk. */
  get isSaved(): boolean {
    return this.held.length === 0 && this.unsaved.size === 0 && !this.isSaving
  }

  /** Whatever is not saved yet is newer. */
  adopt({ revision, isAll, values }: Remembered): void {
    const isOurs = (key: string) => this.unsaved.has(key) || this.saving.has(key)
    if (isAll) for (const key of [...this.values.keys(), ...this.#below.keys()]) if (!values.has(key) && !isOurs(key)) this.#learn(key, '')
    for (const [key, text] of values) if (!isOurs(key)) this.#learn(key, text)
    this.adopted++
    // Of what is on its way nobody knows who is the later: it is read again.
    const isInDoubt = isAll ? this.saving.size > 0 : [...this.saving.keys()].some(key => values.has(key))
    if (!isInDoubt) this.revision = revision
  }

  /** Its last change is not on disk yet. */
  isChanging(key: string): boolean {
    return this.#below.has(key) || this.unsaved.has(key) || this.saving.has(key)
  }

  /** Another second has begun. */
  begin(nowMs: number): void {
    this.sinceMs = nowMs
    this.looks = 0
    this.#absent.clear()
  }

  /** Whether somebody may have told some of it since it was looked for. */
  mayBe(missed: readonly string[]): boolean {
    return missed.some(key => !this.#absent.has(key))
  }

  absent(missed: readonly string[]): void {
    for (const key of missed) if (this.#absent.size < MAX_ABSENT) this.#absent.add(key)
  }

  /** In no order. */
  keysUnder(prefix: string): Iterable<string> {
    const group = groupOf(prefix)
    const keys = group === undefined ? this.values.keys() : (this.#groups.get(group) ?? [])
    return prefix === group ? keys : [...keys].filter(key => key.startsWith(prefix))
  }

  note(notes: ReadonlyMap<string, unknown>): void {
    for (const [key, value] of notes) {
      this.notes.delete(key)
      if (value !== undefined) this.notes.set(key, value)
    }
    for (const key of this.notes.keys()) {
      if (this.notes.size <= MAX_NOTES) return
      this.notes.delete(key)
    }
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
    this.#group(key, text !== '')
    if (text === '') this.values.delete(key)
    else {
      this.values.set(key, { value: JSON.parse(text), text })
      this.chars += key.length + text.length
    }
  }

  #group(key: string, isHere: boolean): void {
    const name = groupOf(key)
    if (name === undefined) return
    const group = this.#groups.get(name) ?? new Set()
    if (isHere) group.add(key)
    else group.delete(key)
    if (group.size === 0) this.#groups.delete(name)
    else this.#groups.set(name, group)
  }
}

function groupOf(key: string): string | undefined {
  const end = key.indexOf(GROUP)
  return end === -1 ? undefined : key.slice(0, end + 1)
}

/** What one payload sees and sets: nothing of it holds until it is decoded. */
export class Draft implements Memory {
  readonly kept: Kept
  readonly changes = new Map<string, string>()
  readonly notes = new Map<string, unknown>()
  /** What it saw was told by the payload itself. */
  readonly isReplay: boolean
  readonly #values = new Map<string, unknown>()
  /** What was there where something was changed. */
  readonly #before = new Map<string, string>()
  /** Something was asked or told. */
  touched = false
  /** What was looked for and is not here, the first of it. */
  readonly missed: string[] = []
  readonly #round: number
  #keys: number
  #chars: number

  constructor(kept: Kept, isReplay = false) {
    this.kept = kept
    this.isReplay = isReplay
    this.#round = kept.round
    this.#keys = kept.values.size
    this.#chars = kept.chars
  }

  /** What it saw may have been taken back since. */
  get isStale(): boolean {
    return this.touched && this.#round !== this.kept.round
  }

  /** What it changes was changed by nobody else meanwhile. */
  get isCurrent(): boolean {
    for (const [key, text] of this.#before) if ((this.kept.values.get(key)?.text ?? '') !== text) return false
    return true
  }

  fullness({ keys, chars }: Size): number {
    this.touched = true
    return Math.max((this.#keys + keys) / MAX_KEYS, (this.#chars + chars) / MAX_CHARS)
  }

  entries(prefix: string): readonly (readonly [key: string, value: unknown])[] {
    this.touched = true
    const found: (readonly [key: string, value: unknown])[] = []
    for (const key of this.kept.keysUnder(prefix)) if (!this.changes.has(key)) found.push([key, this.kept.values.get(key)?.value])
    for (const [key, value] of this.#values) if (key.startsWith(prefix) && value !== undefined) found.push([key, value])
    if (found.length === 0) this.#miss(prefix)
    return found
  }

  noted(key: string): unknown {
    this.touched = true
    return this.notes.has(key) ? this.notes.get(key) : this.kept.notes.get(key)
  }

  note(key: string, value: unknown): void {
    this.touched = true
    this.notes.set(key, value)
  }

  /** What the payload told is not its sender's to tell. */
  forget(): void {
    this.changes.clear()
    this.notes.clear()
  }

  get(key: string): unknown {
    this.touched = true
    if (this.changes.has(key)) return this.#values.get(key)
    const entry = this.kept.values.get(key)
    if (!entry) this.#miss(key)
    return entry?.value
  }

  #miss(key: string): void {
    if (this.missed.length < MAX_MISSED) this.missed.push(key)
  }

  set(key: string, value: unknown): void {
    this.touched = true
    const text = value === undefined ? '' : JSON.stringify(value)
    const before = this.changes.get(key) ?? this.kept.values.get(key)?.text ?? ''
    if (text === before) return
    this.#check(key, text, before)
    if (!this.changes.has(key)) this.#before.set(key, before)
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
