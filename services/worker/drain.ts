// Draining: a consumer reads its project's log from its committed place, works, and commits its effects together with the new place.
import { Failure } from '../../packages/core/failure.ts'
import type { LogEntry, LogEvent } from '../../packages/log/entry.ts'
import type { CommitCommand, Log } from '../../packages/log/log.ts'
import { translate } from '../../packages/redis/index.ts'
import type { Refused } from '../../packages/state/quarantine.ts'
import { withoutCulprits } from './culprit.ts'

/** What was read of a log in one go: everything after an entry. */
export type Read = {
  readonly after: string
  readonly entries: readonly LogEntry[]
  /** The beginning of the first entry is committed already: these are the events behind it. */
  readonly isInside?: boolean
}

export type Consumer = {
  readonly name: string
  /**
   * The effects of these entries, to be committed with the place. Throws Failure `unavailable` to be asked again later; anything
   * else it throws is held against one of the events: the same ones are then taken again in parts, each time after `forget`.
   * @param read what the entries, or what is left of them, are from: with their effects all of it is done.
   */
  take(project: string, entries: readonly LogEntry[], read: Read): Promise<CommitCommand[]>
  /** Asked when the log is drained, up to the entry `after`: effects that the passing of time has, if any. */
  idle?(project: string, after: string): Promise<CommitCommand[]>
  /** After `take`: the first event that it left for the next commit, because there is enough for one; undefined: it took all. */
  cut?(project: string): LogEvent | undefined
  /** What was taken could not be committed, only because others have changed what the commands were made of: they are made anew. */
  again?(project: string): Promise<CommitCommand[]>
  /** Asked when a slice is over and the log is not drained: effects that must not wait for that. */
  busy?(project: string): Promise<CommitCommand[]>
  /** What was taken is committed. */
  committed?(project: string): Promise<void>
  /** What was taken was not committed, or others have committed since: whatever is remembered of the project may be wrong. */
  forget(project: string): void
}

export type DrainPorts = {
  readonly log: Log
  quarantine(project: string, refused: readonly Refused[]): Promise<void>
  /** Wakes the consumer once more, after the other projects. */
  again(project: string, consumer: string): void
  committed(consumer: string, events: number): void
  poisoned(consumer: string, event: LogEvent, error: unknown): void
  /** Asked between every two steps; a test stops the worker there. */
  pass?(point: string): Promise<void>
}

/** After this the project goes to the back of the line. */
const SLICE_MS = 100
const READ_ENTRIES = 20
/** A consumer whose store is away is not woken again for this long. */
const PAUSE_MS = 1000

/** Drains the log for one consumer, one project at a time; a project is drained by one worker at a time but for accidents. */
export class Drain {
  readonly #ports: DrainPorts
  readonly #consumer: Consumer
  /** Where our own last commit left each project: what the consumer remembers of a project is true there and nowhere else. */
  readonly #left = new Map<string, string>()

  constructor(ports: DrainPorts, consumer: Consumer) {
    this.#ports = ports
    this.#consumer = consumer
  }

  /** Works until the log is drained or the slice is over. */
  async run(project: string): Promise<void> {
    const { log } = this.#ports
    const { name } = this.#consumer
    await log.clearWake(project, name)
    try {
      if (await this.#slice(project)) return
    } catch (error) {
      this.#forget(project)
      await log.setWake(project, name, PAUSE_MS)
      throw error
    }
    if (await log.setWake(project, name)) this.#ports.again(project, name)
  }

  /** True when nothing is left to do. */
  async #slice(project: string): Promise<boolean> {
    const { log, pass } = this.#ports
    const consumer = this.#consumer
    const endMs = performance.now() + SLICE_MS
    let place = await log.place(project, consumer.name)
    // Another worker had the partition meanwhile.
    if (place !== this.#left.get(project)) consumer.forget(project)
    let atEnd = false
    let left: readonly LogEntry[] = []
    for (;;) {
      const isRest = left.length > 0
      // A short read has reached the end of the log. What was appended since wakes us again, at its pace: reading on at once would find
      // one small entry after the other, each with a transaction of its own.
      const entries: readonly LogEntry[] = isRest ? left : atEnd ? [] : await this.#read(project, place)
      if (!isRest) atEnd ||= entries.length < READ_ENTRIES
      const after = entryIdOf(place)
      await pass?.('read')
      const read: Read = { after, entries, isInside: eventsInside(place) > 0 }
      const commands = await this.#work(project, read)
      if (entries.length === 0 && commands.length === 0) {
        this.#left.set(project, place)
        return true
      }
      const cut = entries.length > 0 ? consumer.cut?.(project) : undefined
      const taken = takenOf(place, entries, cut)
      await pass?.('commit')
      if (!(await this.#commit(project, place, taken.place, commands))) {
        // Another worker has the partition now, and does what is left.
        this.#forget(project)
        return (await log.place(project, consumer.name)) !== place
      }
      await pass?.('committed')
      this.#left.set(project, taken.place)
      this.#ports.committed(consumer.name, taken.events)
      await consumer.committed?.(project)
      await pass?.('notified')
      place = taken.place
      left = taken.left
      if (performance.now() > endMs) return this.#breathe(project, place)
    }
  }

  /** Between two slices. */
  async #breathe(project: string, place: string): Promise<false> {
    const consumer = this.#consumer
    const commands = (await consumer.busy?.(project)) ?? []
    if (commands.length === 0) return false
    const { place: next } = takenOf(place, [], undefined)
    if (!(await this.#ports.log.commit(project, consumer.name, place, next, commands))) {
      this.#forget(project)
      return false
    }
    this.#left.set(project, next)
    await consumer.committed?.(project)
    return false
  }

  async #work(project: string, read: Read): Promise<CommitCommand[]> {
    if (read.entries.length > 0) return this.#take(project, read)
    return (await this.#consumer.idle?.(project, read.after)) ?? []
  }

  /** Without what is committed of the first entry. */
  async #read(project: string, place: string): Promise<readonly LogEntry[]> {
    const entries = await this.#ports.log.read(project, entryIdOf(place), READ_ENTRIES)
    return behind(entries, 0, eventsInside(place))
  }

  async #commit(project: string, from: string, to: string, made: readonly CommitCommand[]): Promise<boolean> {
    const { log } = this.#ports
    const consumer = this.#consumer
    for (let commands = made; ; commands = await consumer.again(project)) {
      if (await log.commit(project, consumer.name, from, to, commands)) return true
      if (!consumer.again || (await log.place(project, consumer.name)) !== from) return false
    }
  }

  #forget(project: string): void {
    this.#left.delete(project)
    this.#consumer.forget(project)
  }

  async #take(project: string, read: Read): Promise<CommitCommand[]> {
    try {
      return await this.#consumer.take(project, read.entries, read)
    } catch (error) {
      if (isAway(error)) throw error
      return this.#takeInnocent(project, read)
    }
  }

  /** Takes the culprits out alone: an event that cannot be digested goes to the quarantine, its neighbours go through together. */
  async #takeInnocent(project: string, read: Read): Promise<CommitCommand[]> {
    const { quarantine, poisoned } = this.#ports
    const consumer = this.#consumer
    const take = (part: readonly LogEntry[]) => {
      consumer.forget(project)
      return consumer.take(project, part, read)
    }
    const { result, culprits } = await withoutCulprits(read.entries, take, isAway)
    for (const { event, error } of culprits) poisoned(consumer.name, event, error)
    await quarantine(
      project,
      culprits.map(({ event, error }) => poison(consumer.name, event, error)),
    )
    return result
  }
}

/** No event is to blame for an outage. */
function isAway(error: unknown): boolean {
  const known = translate(error)
  return known instanceof Failure && (known.code === 'unavailable' || known.code === 'setup')
}

/**
 * A place is `{entry id} {number of the commit}`: the number tells two commits at one entry apart. Behind it may stand how many events of
 * the next entry are committed, too.
 */
export function entryIdOf(place: string): string {
  return place === '' ? '0-0' : (place.split(' ', 1)[0] as string)
}

function eventsInside(place: string): number {
  return Number(place.split(' ')[2] ?? 0)
}

type Taken = { readonly place: string; readonly events: number; readonly left: readonly LogEntry[] }

/** How far a consumer has come that took what it read, or what is before an event. */
function takenOf(place: string, entries: readonly LogEntry[], cut: LogEvent | undefined): Taken {
  const next = Number(place.split(' ')[1] ?? 0) + 1
  const at = cut === undefined ? -1 : entries.findIndex(({ events }) => events.includes(cut))
  const entry = entries[at]
  if (cut === undefined || entry === undefined)
    return { place: `${entries.at(-1)?.id ?? entryIdOf(place)} ${next}`, events: count(entries), left: [] }
  const before = entries.slice(0, at)
  const events = entry.events.indexOf(cut)
  const inside = events + (at === 0 ? eventsInside(place) : 0)
  const whole = `${before.at(-1)?.id ?? entryIdOf(place)} ${next}`
  return { place: inside === 0 ? whole : `${whole} ${inside}`, events: count(before) + events, left: behind(entries, at, events) }
}

/** From the entry `at` on, without so many of its events. */
function behind(entries: readonly LogEntry[], at: number, events: number): readonly LogEntry[] {
  const [first, ...others] = entries.slice(at)
  if (first === undefined) return []
  return events === 0 ? [first, ...others] : [{ ...first, events: first.events.slice(events) }, ...others]
}

function count(entries: readonly LogEntry[]): number {
  return entries.reduce((sum, entry) => sum + entry.events.length, 0)
}

function poison(consumer: string, event: LogEvent, error: unknown): Refused {
  const reason = `${consumer} could not digest this event: ${error instanceof Error ? error.message : String(error)}`
  return { source: `log of device ${event.device}`, keyId: '', field: '', reason, payload: Buffer.from(event.frame) }
}
