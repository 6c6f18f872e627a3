// Frames as bytes on the wire (contracts.md 1.a.4, 1.b.3): NDJSON lines or SSE blocks, ASCII, never split, never blank.

import { Failure } from '../../packages/core/failure.ts'
import { hash } from '../../packages/core/id.ts'
import { formatTime } from '../../packages/core/time.ts'

export type Format = 'ndjson' | 'sse'
/** What a frame's result is keyed by. */
export type Subject = 'event' | 'alarm'

/** A place between two events of one project's log: after the event with this index of this entry. */
export type Cursor = { readonly entryId: string; readonly index: number }

/** Behind every event of an entry. */
export const LAST_INDEX = 999_999

function tagOf(scope: string): string {
  return hash(scope)[0].toString(36)
}

/** Renders frames of one project's stream. */
export class Frames {
  readonly #tag: string
  readonly #subject: Subject
  readonly #project: string

  constructor(project: string, subject: Subject) {
    this.#project = project
    this.#subject = subject
    this.#tag = tagOf(`${project}/${subject}`)
  }

  cursor(entryId: string, index: number): string {
    return `${entryId}.${index}.${this.#tag}`
  }

  /** @throws Failure `invalid` for a cursor that this stream did not give out. */
  parseCursor(text: string): Cursor {
    const match = /^(\d{1,15}-\d{1,19})\.(\d{1,6})\.([0-9a-z]{1,7})$/.exec(text)
    if (!match) throw new Failure('invalid', 'cursor: expected the id of an earlier frame', { field: 'cursor' })
    if (match[3] !== this.#tag)
      throw new Failure('invalid', `cursor: it belongs to another stream than that of project ${this.#project}`, { field: 'cursor' })
    return { entryId: match[1] as string, index: Number(match[2]) }
  }

  /** One event or alarm, with the cursor from which to go on after it. */
  item(format: Format, json: string, entryId: string, index: number): string {
    const cursor = this.cursor(entryId, index)
    if (format === 'sse') return `id: ${cursor}\ndata: {"result":{"${this.#subject}":${json}}}\n\n`
    return `{"result":{"${this.#subject}":${json},"cursor":"${cursor}"}}\n`
  }

  ping(format: Format, eventId: string, nowUs: number): string {
    return wrap(format, { result: { event: this.#own(eventId, 'ping', null, nowUs) } })
  }

  /** Says which part of the stream is gone (P4): everything after the entry `after`, up to and with the entry `to`. */
  gap(format: Format, eventId: string, nowUs: number, after: string, to: string): string {
    const range = { from: this.cursor(after, LAST_INDEX), to: this.cursor(to, LAST_INDEX) }
    return wrap(format, { result: { event: this.#own(eventId, 'gap', { gap: range }, nowUs) } })
  }

  #own(eventId: string, eventType: string, data: object | null, nowUs: number): object {
    return { eventId, targetName: `projects/${this.#project}`, eventType, data, timestamp: formatTime(nowUs) }
  }
}

/** The last frame of a stream that the server ends: the union of what the known clients read. */
export function errorFrame(format: Format, code: number, status: string, message: string): string {
  return wrap(format, { error: { code, grpcCode: 1, httpCode: code, httpStatus: status, message, details: [] } })
}

function wrap(format: Format, value: object): string {
  const json = JSON.stringify(value)
  return format === 'sse' ? `data: ${json}\n\n` : `${json}\n`
}
