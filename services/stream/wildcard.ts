// Following all projects that a caller may see as one stream (`-`), with one cursor for all of them: the time at which it began, and
// the place in each project of which something was sent. A project that is not mentioned is resumed from that time, so that neither
// a project that was silent nor one that is new leaves a gap.
import { Failure, invalid } from '../../packages/core/failure.ts'
import { hash } from '../../packages/core/id.ts'
import { compareIds } from '../../packages/log/entry.ts'
import type { Log } from '../../packages/log/log.ts'
import { type Cursor, type Frames, itemFrame, LAST_INDEX, type Subject } from './frame.ts'
import type { StreamQuery } from './query.ts'
import type { ByteSink, EventSink, Placed } from './sink.ts'

/** The project that stands for all. */
export const ALL = '-'

/** A cursor has to fit into a header. */
const MAX_PROJECTS = 500
/** How soon a project that became visible is followed too, and one that no longer is, is left. */
const LOOK_EVERY_MS = 3000
/** Clocks of the machines on which logs get their ids. */
const CLOCKS_APART_MS = 60_000

/** Where each project begins: what is not among `places` begins at `baseMs`. */
export type Begin = { readonly projects: readonly string[]; readonly baseMs: number; readonly places: ReadonlyMap<string, Cursor> }

/** @throws Failure `invalid` for more projects than a cursor can name, or for a cursor that this stream did not give out. */
export async function beginAll(log: Log, subject: Subject, projects: readonly string[], { cursor, sinceUs }: StreamQuery): Promise<Begin> {
  if (projects.length > MAX_PROJECTS)
    throw new Failure('invalid', `project: "-" stands for at most ${MAX_PROJECTS} projects, and you see ${projects.length}: name one`)
  const nowMs = await log.clockMs()
  const stream = subject === 'event' ? 'log' : 'alarmlog'
  const lasts = new Map(await Promise.all(projects.map(async name => [tagOf(name), await log.last(name, stream)] as const)))
  if (cursor !== undefined) {
    const { baseMs, places } = parse(cursor, subject)
    const ahead = [...places].some(([tag, { entryId }]) => compareIds(entryId, lasts.get(tag) ?? entryId) > 0)
    if (ahead || baseMs > nowMs + CLOCKS_APART_MS)
      throw invalid('cursor', 'it lies ahead of everything in the log: begin again without one')
    return { projects, baseMs, places }
  }
  if (sinceUs !== undefined && sinceUs / 1000 < nowMs) return { projects, baseMs: Math.floor(sinceUs / 1000), places: new Map() }
  // A log whose clock was ahead once begins at its own end.
  const places = new Map<string, Cursor>()
  for (const [tag, entryId] of lasts) if (Number.parseInt(entryId, 10) >= nowMs) places.set(tag, { entryId, index: LAST_INDEX })
  return { projects, baseMs: nowMs, places }
}

export type WildcardPorts = {
  /** Those that the follower may see now. */
  projects(): Promise<readonly string[]>
  join(project: string, make: (frames: Frames) => EventSink, from: Cursor): Promise<() => void>
  troubled(error: unknown): void
}

export class Wildcard {
  readonly #sink: ByteSink
  readonly #subject: Subject
  readonly #ports: WildcardPorts
  readonly #begin: Begin
  readonly #places: Map<string, Cursor>
  readonly #members = new Map<string, { left: boolean; leave: () => void }>()
  readonly #timer: NodeJS.Timeout
  #stopped = false

  constructor(sink: ByteSink, subject: Subject, begin: Begin, ports: WildcardPorts) {
    this.#sink = sink
    this.#subject = subject
    this.#ports = ports
    this.#begin = begin
    this.#places = new Map(begin.places)
    this.#look(begin.projects)
    this.#timer = setInterval(() => this.#lookAgain(), LOOK_EVERY_MS)
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    this.#look([])
  }

  #lookAgain(): void {
    this.#ports.projects().then(
      visible => this.#stopped || this.#look(visible),
      (error: unknown) => this.#ports.troubled(error),
    )
  }

  #look(visible: readonly string[]): void {
    for (const project of visible.slice(0, MAX_PROJECTS)) if (!this.#members.has(project)) this.#join(project)
    const wanted = new Set(visible)
    for (const [project, member] of this.#members) {
      if (wanted.has(project)) continue
      this.#members.delete(project)
      member.left = true
      member.leave()
    }
  }

  #join(project: string): void {
    const member = { left: false, leave: () => {} }
    const tag = tagOf(project)
    const from = this.#places.get(tag) ?? { entryId: `${this.#begin.baseMs}-0`, index: -1 }
    this.#members.set(project, member)
    this.#ports
      .join(project, frames => this.#memberSink(member, tag, frames), from)
      .then(
        leave => {
          if (member.left) leave()
          else member.leave = leave
        },
        (error: unknown) => {
          this.#ports.troubled(error)
          this.#sink.end(503, 'Service Unavailable', 'the log cannot be read; resume from the last frame')
        },
      )
  }

  #memberSink(member: { readonly left: boolean }, tag: string, frames: Frames): EventSink {
    const sink = this.#sink
    return {
      format: 'events',
      get full() {
        return sink.full
      },
      get closed() {
        return member.left || sink.closed
      },
      drained: patienceMs => sink.drained(patienceMs),
      gap: (after, to) => {
        this.#places.set(tag, { entryId: to, index: LAST_INDEX })
        sink.write(frames.gap(sink.format, after, to))
      },
      end: (code, status, message) => sink.end(code, status, message),
      take: events => this.#take(tag, events),
    }
  }

  #take(tag: string, events: readonly Placed[]): void {
    this.#places.delete(tag)
    const others = format(this.#subject, this.#begin.baseMs, this.#places)
    let text = ''
    for (const { event, entryId, index } of events)
      text += itemFrame(this.#sink.format, this.#subject, event.frame, others + formatPlace(tag, { entryId, index }))
    const last = events.at(-1)
    if (last) this.#places.set(tag, { entryId: last.entryId, index: last.index })
    this.#sink.write(Buffer.from(text, 'latin1'))
  }
}

function tagOf(project: string): string {
  return hash(project)[0].toString(36)
}

const LETTER: Readonly<Record<Subject, string>> = { event: 'e', alarm: 'a' }

/** `e.{base}~{tag}.{ms}.{seq}[.{index}]~…`, numbers in base 36; without an index: behind the entry. */
function format(subject: Subject, baseMs: number, places: ReadonlyMap<string, Cursor>): string {
  let text = `${LETTER[subject]}.${baseMs.toString(36)}`
  for (const [tag, place] of places) text += formatPlace(tag, place)
  return text
}

function formatPlace(tag: string, { entryId, index }: Cursor): string {
  const [ms, seq] = entryId.split('-') as [string, string]
  const at = `~${tag}.${Number(ms).toString(36)}.${Number(seq).toString(36)}`
  return index === LAST_INDEX ? at : `${at}.${index.toString(36)}`
}

function parse(text: string, subject: Subject): Omit<Begin, 'projects'> {
  const [head = '', ...rest] = text.split('~')
  const [, letter, base = ''] = /^([ea])\.([0-9a-z]{1,9})$/.exec(head) ?? []
  if (letter === undefined) throw invalid('cursor', 'expected the id of an earlier frame of this stream')
  if (letter !== LETTER[subject]) throw invalid('cursor', 'it belongs to another stream than that of all projects')
  const places = new Map<string, Cursor>()
  for (const part of rest) {
    const [, tag = '', ms = '', seq = '', index] =
      /^([0-9a-z]{1,7})\.([0-9a-z]{1,9})\.([0-9a-z]{1,8})(?:\.([0-9a-z]{1,4}))?$/.exec(part) ?? []
    if (tag === '' || places.has(tag) || rest.length > MAX_PROJECTS)
      throw invalid('cursor', 'expected the id of an earlier frame of this stream')
    const entryId = `${Number.parseInt(ms, 36)}-${Number.parseInt(seq, 36)}`
    places.set(tag, { entryId, index: index === undefined ? LAST_INDEX : Number.parseInt(index, 36) })
  }
  return { baseMs: Number.parseInt(base, 36), places }
}
