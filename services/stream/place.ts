// Where a stream begins: cursors, which only this installation can make, and what a reader that comes (back) asks for.
import { createHmac } from 'node:crypto'
import { invalid } from '../../packages/core/failure.ts'
import { hash } from '../../packages/core/id.ts'
import { compareIds } from '../../packages/log/entry.ts'
import type { Log, Stream } from '../../packages/log/log.ts'
import { type Cursor, LAST_INDEX, type Subject } from './frame.ts'

const CURSOR = /^(\d{1,15}-\d{1,19})\.(\d{1,6})\.([0-9a-z]{7})([0-9a-z]{8})$/
/** As Telltale 0.1 gave them out. */
const OLD_CURSOR = /^\d{1,15}-\d{1,19}\.\d{1,6}\.[0-9a-z]{1,7}$/

/** Cursors of one stream: entry, index, which stream, and a seal. */
export class Cursors {
  readonly #key: string
  readonly #scope: string
  readonly #project: string
  readonly #tag: string
  #entryId = ''
  #end = ''

  /** @param key known to all processes of this installation and nobody else. */
  constructor(key: string, project: string, subject: Subject) {
    this.#key = key
    this.#project = project
    this.#scope = `${project}/${subject}`
    this.#tag = hash(this.#scope)[0].toString(36).padStart(7, '0')
  }

  /** Sealed by entry: the frames of one are made together, and cost one seal. */
  format(entryId: string, index: number): string {
    if (entryId !== this.#entryId) {
      this.#entryId = entryId
      this.#end = `.${this.#tag}${this.#seal(entryId)}`
    }
    return `${entryId}.${index}${this.#end}`
  }

  /** @throws Failure `invalid` for a cursor that this stream did not give out. */
  parse(text: string): Cursor {
    const [, entryId = '', index, tag, seal] = CURSOR.exec(text) ?? []
    if (entryId === '' && OLD_CURSOR.test(text))
      throw invalid('cursor', 'it is of an earlier version of Telltale: begin with since= or without one')
    if (entryId === '') throw invalid('cursor', 'expected the id of an earlier frame')
    if (tag !== this.#tag) throw invalid('cursor', `it belongs to another stream than that of project ${this.#project}`)
    if (seal !== this.#seal(entryId)) throw invalid('cursor', 'this installation never gave it out: begin with since= or without one')
    return { entryId, index: Number(index) }
  }

  #seal(entryId: string): string {
    return macOf(this.#key, `${this.#scope}/${entryId}`)
  }
}

/** Where each of many projects is gone on with: those that are not among `places`, at `baseMs`. */
export type Places = { readonly baseMs: number; readonly places: ReadonlyMap<string, Cursor> }

const LETTER: Readonly<Record<Subject, string>> = { event: 'e', alarm: 'a' }
/** A cursor has to fit into a header. */
export const MAX_PLACES = 500
const PLACES = /^([ea])\.([0-9a-z]{1,9})((?:~[0-9a-z.]{1,50})*)-([0-9a-z]{8})$/
const PLACE = /^([0-9a-z]{8})\.([0-9a-z]{1,9})\.([0-9a-z]{1,12})(?:\.([0-9a-z]{1,4}))?$/

/**
 * Cursors of all projects as one stream: `e.{base}~{tag}.{ms}.{seq}[.{index}]~…-{seal}`, numbers in base 36; without an index: behind
 * the entry.
 */
export class AllCursors {
  readonly #key: string
  readonly #subject: Subject
  #sealed = ''
  #seal = ''

  constructor(key: string, subject: Subject) {
    this.#key = key
    this.#subject = subject
  }

  /** Stands for a project; nobody else can look for two projects that have the same. */
  tagOf(project: string): string {
    return macOf(this.#key, `-/${project}`)
  }

  /** What `format` begins with. */
  head({ baseMs, places }: Places): string {
    let text = `${LETTER[this.#subject]}.${baseMs.toString(36)}`
    for (const [tag, { entryId, index }] of places) text += placeText(tag, entryId) + indexText(index)
    return text
  }

  /** @param last of a project that is not in the head; all places of one entry cost one seal. */
  format(head: string, last?: { readonly tag: string; readonly place: Cursor }): string {
    const text = last ? head + placeText(last.tag, last.place.entryId) : head
    if (text !== this.#sealed) {
      this.#sealed = text
      this.#seal = this.#sealOf(text)
    }
    return `${text}${last ? indexText(last.place.index) : ''}-${this.#seal}`
  }

  /** @throws Failure `invalid` for a cursor that no such stream gave out. */
  parse(text: string): Places {
    const [, letter, base = '', rest = '', seal] = PLACES.exec(text) ?? []
    if (letter === undefined) throw invalid('cursor', 'expected the id of an earlier frame of this stream')
    if (letter !== LETTER[this.#subject]) throw invalid('cursor', 'it belongs to another stream than that of all projects')
    const parts = rest.split('~').slice(1)
    const places = new Map(parts.map(parsePlace))
    const last = parts.at(-1)?.split('.').slice(3).join('') ?? ''
    const body = text.slice(0, text.lastIndexOf('-'))
    // The head of a cursor may end with the index of a place, too.
    const isSealed = this.#sealOf(body) === seal || (last !== '' && this.#sealOf(body.slice(0, -last.length - 1)) === seal)
    if (!isSealed || places.size < parts.length || parts.length > MAX_PLACES)
      throw invalid('cursor', 'this installation never gave it out: begin with since= or without one')
    return { baseMs: Number.parseInt(base, 36), places }
  }

  #sealOf(text: string): string {
    return macOf(this.#key, `-/${this.#subject}/${text}`)
  }
}

function placeText(tag: string, entryId: string): string {
  const [ms, seq] = entryId.split('-') as [string, string]
  return `~${tag}.${Number(ms).toString(36)}.${Number(seq).toString(36)}`
}

function indexText(index: number): string {
  return index === LAST_INDEX ? '' : `.${index.toString(36)}`
}

function parsePlace(part: string): [tag: string, place: Cursor] {
  const [, tag = '', ms = '', seq = '', index] = PLACE.exec(part) ?? []
  if (tag === '') throw invalid('cursor', 'expected the id of an earlier frame of this stream')
  const entryId = `${Number.parseInt(ms, 36)}-${Number.parseInt(seq, 36)}`
  return [tag, { entryId, index: index === undefined ? LAST_INDEX : Number.parseInt(index, 36) }]
}

/** 40 bits in 8 characters. */
function macOf(key: string, text: string): string {
  return createHmac('sha256', key).update(text).digest().readUIntBE(0, 5).toString(36).padStart(8, '0')
}

export type Asked = { readonly cursor: string | undefined; readonly sinceUs: number | undefined }

/** Where to go on: behind a cursor, at a time, or (undefined) now. */
export async function startOf(
  log: Log,
  project: string,
  stream: Stream,
  parse: (cursor: string) => Cursor,
  { cursor, sinceUs }: Asked,
  nowUs: number,
): Promise<Cursor | undefined> {
  if (cursor !== undefined) {
    const from = parse(cursor)
    // A log that was put back from a backup is behind its readers: they would hear nothing until it has caught up with them.
    if (compareIds(from.entryId, await log.last(project, stream)) <= 0) return from
    throw invalid('cursor', 'it lies ahead of everything in the log: begin again without one')
  }
  if (sinceUs === undefined || sinceUs > nowUs) return undefined
  return { entryId: `${Math.floor(sinceUs / 1000)}-0`, index: -1 }
}
