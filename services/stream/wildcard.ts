// Following all projects that a caller may see as one stream (`-`), with one cursor for all of them: a time, and the place in each
// project of which something has come since. A project that is not mentioned is resumed from that time, so that neither a project that
// was silent nor one that is new leaves a gap.
import { Failure, invalid } from '../../packages/core/failure.ts'
import { compareIds } from '../../packages/log/entry.ts'
import type { Log } from '../../packages/log/log.ts'
import { type Cursor, type Frames, itemFrame, LAST_INDEX, placeOf, type Subject } from './frame.ts'
import { type Joined, UNREADABLE } from './hub.ts'
import { idBefore } from './past.ts'
import { type AllCursors, MAX_PLACES, type Places } from './place.ts'
import type { StreamQuery } from './query.ts'
import type { ByteSink, EventSink, Placed } from './sink.ts'

/** The project that stands for all. */
export const ALL = '-'

/** How soon a project that became visible is followed too, and one that no longer is, is left. */
const LOOK_EVERY_MS = 3000
/** Clocks of the machines on which logs get their ids. */
const CLOCKS_APART_MS = 60_000

export type Begin = Places & { readonly projects: readonly string[] }

/** @throws Failure `invalid` for more projects than a cursor can name, or for a cursor that this stream did not give out. */
export async function beginAll(
  log: Log,
  subject: Subject,
  cursors: AllCursors,
  projects: readonly string[],
  { cursor, sinceUs }: StreamQuery,
): Promise<Begin> {
  if (projects.length > MAX_PLACES)
    throw new Failure('invalid', `project: "-" stands for at most ${MAX_PLACES} projects, and you see ${projects.length}: name one`)
  const nowMs = await log.clockMs()
  const stream = subject === 'event' ? 'log' : 'alarmlog'
  const lasts = new Map(await Promise.all(projects.map(async name => [cursors.tagOf(name), await log.last(name, stream)] as const)))
  if (lasts.size < projects.length)
    throw new Failure('invalid', 'project: two of those for which "-" stands look alike in a cursor: name one')
  if (cursor !== undefined) {
    const from = cursors.parse(cursor)
    const ahead = [...from.places].some(([tag, { entryId }]) => compareIds(entryId, lasts.get(tag) ?? entryId) > 0)
    if (ahead || from.baseMs > nowMs + CLOCKS_APART_MS)
      throw invalid('cursor', 'it lies ahead of everything in the log: begin again without one')
    return { projects, ...movedOn(from, lasts, nowMs) }
  }
  if (sinceUs !== undefined && sinceUs / 1000 < nowMs) return { projects, baseMs: Math.floor(sinceUs / 1000), places: new Map() }
  // A log whose clock was ahead once begins at its own end.
  const places = new Map<string, Cursor>()
  for (const [tag, entryId] of lasts) if (msOf(entryId) >= nowMs) places.set(tag, behind(entryId))
  return { projects, baseMs: nowMs, places }
}

/** The same places, said from now: whoever comes back for months would else begin in the past where a project becomes visible. */
function movedOn({ baseMs, places }: Places, lasts: ReadonlyMap<string, string>, nowMs: number): Places {
  const known = new Map(places)
  for (const [tag, entryId] of lasts)
    if (!known.has(tag) && msOf(entryId) >= baseMs) known.set(tag, behind(baseMs > 0 ? idBefore(`${baseMs}-0`) : '0-0'))
  // Of those that are not visible now and may be so again.
  for (const tag of known.keys()) if (known.size > MAX_PLACES && !lasts.has(tag)) known.delete(tag)
  return { baseMs: Math.max(baseMs, nowMs), places: known }
}

export type WildcardPorts = {
  readonly cursors: AllCursors
  /** Those that the follower may see now. */
  projects(): Promise<readonly string[]>
  join(project: string, make: (frames: Frames) => EventSink, from: Cursor): Promise<Joined>
  troubled(error: unknown): void
}

type Member = { readonly tag: string; left: boolean; joined: Joined | undefined }

export class Wildcard {
  readonly #sink: ByteSink
  readonly #subject: Subject
  readonly #ports: WildcardPorts
  readonly #baseMs: number
  readonly #places: Map<string, Cursor>
  readonly #members = new Map<string, Member>()
  readonly #timer: NodeJS.Timeout
  #draining: Promise<void> | undefined
  #stopped = false

  constructor(sink: ByteSink, subject: Subject, { projects, baseMs, places }: Begin, ports: WildcardPorts) {
    this.#sink = sink
    this.#subject = subject
    this.#ports = ports
    this.#baseMs = baseMs
    this.#places = new Map(places)
    this.#look(projects)
    this.#timer = setInterval(() => this.#lookAgain(), LOOK_EVERY_MS)
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    this.#look([])
  }

  /** Behind everything that was written. A project that was silent since the beginning still begins there, and costs nothing. */
  reached(): string {
    for (const { tag, joined } of this.#members.values()) {
      const place = joined?.reached()
      if (place && msOf(place.entryId) >= this.#baseMs) this.#places.set(tag, place)
    }
    const { cursors } = this.#ports
    return cursors.format(cursors.head(this.#now()))
  }

  #now(): Places {
    return { baseMs: this.#baseMs, places: this.#places }
  }

  #lookAgain(): void {
    this.#ports.projects().then(
      visible => this.#stopped || this.#look(visible),
      (error: unknown) => this.#ports.troubled(error),
    )
  }

  #look(visible: readonly string[]): void {
    for (const project of visible.slice(0, MAX_PLACES)) if (!this.#members.has(project)) this.#join(project)
    const wanted = new Set(visible)
    for (const [project, member] of this.#members) {
      if (wanted.has(project)) continue
      this.#members.delete(project)
      if (this.#places.size >= MAX_PLACES) this.#places.delete(member.tag)
      member.left = true
      member.joined?.leave()
    }
  }

  #join(project: string): void {
    const tag = this.#ports.cursors.tagOf(project)
    if ([...this.#members.values()].some(member => member.tag === tag)) {
      // Who comes back is told why this cannot be.
      this.#sink.end(408, 'Request Timeout', 'closing stream: two projects look alike in a cursor')
      return
    }
    const member: Member = { tag, left: false, joined: undefined }
    const from = this.#places.get(tag) ?? { entryId: `${this.#baseMs}-0`, index: -1 }
    this.#members.set(project, member)
    this.#enter(project, member, from).catch((error: unknown) => {
      this.#ports.troubled(error)
      this.#sink.end(503, 'Service Unavailable', UNREADABLE)
    })
  }

  async #enter(project: string, member: Member, from: Cursor): Promise<void> {
    const joined = await this.#ports.join(project, frames => this.#memberSink(member, frames), from)
    member.joined = joined
    if (member.left) joined.leave()
    await joined.caughtUp
  }

  #memberSink(member: Member, frames: Frames): EventSink {
    const sink = this.#sink
    return {
      format: 'events',
      get full() {
        return sink.full
      },
      get closed() {
        return member.left || sink.closed
      },
      drained: patienceMs => this.#drained(patienceMs),
      gap: (after, to) => this.#gap(member.tag, frames, placeOf(after), behind(to)),
      end: (code, status, message) => sink.end(code, status, message),
      take: events => this.#take(member.tag, events),
    }
  }

  /** All that wait, wait for the same. */
  #drained(patienceMs: number): Promise<void> {
    this.#draining ??= this.#sink.drained(patienceMs).finally(() => {
      this.#draining = undefined
    })
    return this.#draining
  }

  #gap(tag: string, frames: Frames, from: Cursor, to: Cursor): void {
    const format = this.#placing(tag)
    this.#places.set(tag, to)
    this.#sink.write(frames.gapBetween(this.#sink.format, format(from), format(to)))
  }

  #take(tag: string, events: readonly Placed[]): void {
    const cursor = this.#placing(tag)
    let text = ''
    for (const { event, entryId, index } of events)
      text += itemFrame(this.#sink.format, this.#subject, event.frame, cursor({ entryId, index }))
    const last = events.at(-1)
    if (last) this.#places.set(tag, { entryId: last.entryId, index: last.index })
    this.#sink.write(Buffer.from(text, 'latin1'))
  }

  /** Formats cursors that differ in the place of one project; takes that out of the others. */
  #placing(tag: string): (place: Cursor) => string {
    const { cursors } = this.#ports
    this.#places.delete(tag)
    const others = cursors.head(this.#now())
    return place => cursors.format(others, { tag, place })
  }
}

function behind(entryId: string): Cursor {
  return { entryId, index: LAST_INDEX }
}

function msOf(entryId: string): number {
  return Number.parseInt(entryId, 10)
}
