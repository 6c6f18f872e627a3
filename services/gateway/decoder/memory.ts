// What decoders remember, in memory: of each project and mapping, loaded once, bounded. What a payload told is seen by the next at once, is
// saved when its events are safe, and taken back when they are not: who sends them again is not told that they were seen. What another gateway
// has learnt is seen within seconds; by what was idle, and by who looks for what nobody has looked for in this second, before it is used.
import { Failure } from '../../../packages/core/failure.ts'
import type { DecoderMemory, MemoryId } from '../../../packages/state/decodermemory.ts'
import { type Done, type Draft, type Held, Kept } from './kept.ts'

export type MemoryPorts = {
  readonly disk: Pick<DecoderMemory, 'read' | 'save' | 'changedMs'>
  /** Of a monotonic clock. */
  nowMs(): number
  /** Told when it could not be seen whether others have learnt something. */
  troubled(error: Error): void
}

/** Of all that is kept here: what was not used longest is loaded again when it is. */
const MAX_CHARS_OF_ALL = 64 * 1024 * 1024
const MAX_KEPT = 10_000
const LOOK_MS = 1000
/** What is busy is looked at in time; what was idle for so long is looked at before it is used. */
const STALE_MS = 2 * LOOK_MS
/** In that time, for payloads that wait for it: each serves all that wait. */
const MAX_LOOKS = 20
/** About, with its key. */
const NOTE_CHARS = 200

const LOST = new Failure('unavailable', 'what it was decoded with is not on disk', { retryAfterMs: 1000 })

/** Must be settled, once. */
export interface Hold {
  /** The payload told something that was not known. */
  readonly isTold: boolean
  /** @param failure of the events of the delivery. `done` is told when what it told, and what it was decoded with, is on disk. */
  settle(failure: Failure | undefined, done: Done): void
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
    if (!kept || this.#ports.nowMs() - kept.lookedMs >= STALE_MS) return undefined
    this.#kept.delete(name)
    this.#kept.set(name, kept)
    return kept
  }

  /** With what others have learnt until now. */
  load(id: MemoryId): Promise<Kept> {
    const name = nameOf(id)
    const known = this.#kept.get(name)
    if (known) return this.#lookAnew(known).then(() => known)
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
    if (!isStale) kept.note(draft.notes)
    const changes = new Map([...draft.changes].filter(([key]) => overwrite || !kept.values.has(key)))
    if (!isStale && changes.size === 0 && kept.isSaved) return undefined
    const held: Held = { changes, settled: undefined, isLost: isStale }
    if (!isStale) {
      for (const [key, text] of changes) kept.change(key, text)
      kept.held.push(held)
    }
    return { isTold: draft.changes.size > 0, settle: (failure, done) => this.#settle(kept, held, failure, done) }
  }

  /** As `hold`, of a payload whose events nobody waits for; resolves when it is on disk. */
  commit(draft: Draft, overwrite = true): Promise<void> | undefined {
    const hold = this.hold(draft, overwrite)
    return hold && new Promise((resolve, reject) => hold.settle(undefined, failure => (failure ? reject(failure) : resolve())))
  }

  /**
   * As `commit`, of a payload that came at this time and is decoded again: it is as good as new unless all that it tells was told anew since.
   * Then, and where others are telling it just now, only what is not known is learnt from it.
   */
  async commitAgain(draft: Draft, arrivedMs: number): Promise<void> {
    const { kept, changes } = draft
    draft.notes.clear()
    const known = [...changes.keys()].filter(key => kept.values.has(key))
    const settled = known.filter(key => !kept.isChanging(key))
    const isLast = known.length === 0 || (settled.length > 0 && (await this.#ports.disk.changedMs(kept.id, settled)) <= arrivedMs)
    await this.commit(draft, isLast && draft.isCurrent)
  }

  /**
   * To be asked after each use, with what was missed. Resolves with whether there is more than before: then it is worth another try.
   * Undefined: nobody has to wait. What another gateway had on disk before this was called is here when it resolves.
   */
  look(kept: Kept, missed: readonly string[]): Promise<boolean> | undefined {
    const nowMs = this.#ports.nowMs()
    if (nowMs - kept.sinceMs >= LOOK_MS) kept.begin(nowMs)
    if (missed.length > 0 && kept.looks < MAX_LOOKS && kept.mayBe(missed)) {
      const before = kept.adopted
      if (!kept.nextLook) kept.looks++
      return this.#lookAnew(kept).then(() => {
        kept.absent(missed)
        return kept.adopted !== before
      })
    }
    if (nowMs - kept.lookedMs >= LOOK_MS && !kept.looking) this.#lookAnew(kept).catch((error: Error) => this.#ports.troubled(error))
    return undefined
  }

  /** One after the other, and one for all who come while one is under way. */
  #lookAnew(kept: Kept): Promise<void> {
    const begin = () => {
      kept.nextLook = undefined
      kept.lookedMs = this.#ports.nowMs()
      const looking = this.#look(kept).finally(() => {
        if (kept.looking === looking) kept.looking = undefined
      })
      kept.looking = looking
      return looking
    }
    if (!kept.looking) return begin()
    kept.nextLook ??= kept.looking.then(begin, begin)
    return kept.nextLook
  }

  async #look(kept: Kept): Promise<void> {
    const news = await this.#ports.disk.read(kept.id, kept.revision)
    if (news.revision !== kept.revision) kept.adopt(news)
  }

  async #loaded(id: MemoryId, name: string): Promise<Kept> {
    const nowMs = this.#ports.nowMs()
    const kept = new Kept(id, nowMs)
    kept.adopt(await this.#ports.disk.read(id, -1))
    this.#kept.set(name, kept)
    this.#forget()
    return kept
  }

  #forget(): void {
    const sizeOf = (one: Kept) => one.chars + one.notes.size * NOTE_CHARS
    let chars = [...this.#kept.values()].reduce((sum, one) => sum + sizeOf(one), 0)
    for (const [name, kept] of this.#kept) {
      if (chars <= MAX_CHARS_OF_ALL && this.#kept.size <= MAX_KEPT) return
      if (!kept.isSaved) continue
      chars -= sizeOf(kept)
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
      const upTo = await this.#ports.disk.save(kept.id, kept.saving, kept.revision)
      // Less where others have saved as well: the next look sees it.
      if (upTo > kept.revision) kept.revision = upTo
      return undefined
    } catch (error) {
      if (error instanceof Failure && error.code === 'not_found') return this.#gone(kept)
      kept.unsaved = new Map([...kept.saving, ...kept.unsaved])
      if (error instanceof Failure) return error
      return new Failure('unavailable', 'what decoders remember cannot be written', { retryAfterMs: 1000, cause: error })
    } finally {
      kept.saving = new Map()
    }
  }

  /** The decoder was deleted. Who sends it again finds the decoders that there are then. */
  #gone(kept: Kept): Failure {
    kept.unsaved = new Map()
    const name = nameOf(kept.id)
    if (this.#kept.get(name) === kept) this.#kept.delete(name)
    return new Failure('unavailable', `decoder ${kept.id.decoder} was deleted just now`, { retryAfterMs: 1000 })
  }
}

/** Of the first that failed and of all that were decoded with it: nobody is told that it is safe what is only seen in what was taken back. */
function takeBack(kept: Kept): void {
  const lost = kept.held.splice(0)
  kept.takeBack()
  for (const one of lost) one.isLost = true
  for (const { settled } of lost) settled?.done(settled.failure ?? LOST)
}

function nameOf({ project, decoder, format, uid }: MemoryId): string {
  return `${project}\t${decoder}\t${format}\t${uid ?? ''}`
}
