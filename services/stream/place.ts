// Where a stream begins: cursors, which only this installation can make, and what a reader that comes (back) asks for.
import { createHmac } from 'node:crypto'
import { invalid } from '../../packages/core/failure.ts'
import { hash } from '../../packages/core/id.ts'
import { compareIds } from '../../packages/log/entry.ts'
import type { Log, Stream } from '../../packages/log/log.ts'
import type { Cursor, Subject } from './frame.ts'

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
    const mac = createHmac('sha256', this.#key).update(`${this.#scope}/${entryId}`).digest()
    return mac.readUIntBE(0, 5).toString(36).padStart(8, '0')
  }
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
