// Frames as bytes on the wire (contracts.md 1.a.4, 1.b.3): NDJSON lines, SSE blocks or WebSocket messages, ASCII, never split, never blank.

import { formatTime } from '../../packages/core/time.ts'
import { Cursors } from './place.ts'

/** `ws`: each frame is one unmasked text message of RFC 6455 with its header, so that there too all get the same bytes. */
export type Format = 'ndjson' | 'sse' | 'ws'
/** What a frame's result is keyed by. */
export type Subject = 'event' | 'alarm'

/** A place between two events of one project's log: after the event with this index of this entry. */
export type Cursor = { readonly entryId: string; readonly index: number }

/** What the server's own frames (pings, gaps) are made with. */
export type Clock = { nowUs(): number; newId(): string }

/** Behind every event of an entry. */
export const LAST_INDEX = 999_999

/** Renders frames of one project's stream. */
export class Frames {
  readonly #cursors: Cursors
  readonly #subject: Subject
  readonly #project: string
  readonly #clock: Clock

  /** @param cursorKey what cursors are sealed with. */
  constructor(project: string, subject: Subject, clock: Clock, cursorKey: string) {
    this.#project = project
    this.#subject = subject
    this.#clock = clock
    this.#cursors = new Cursors(cursorKey, project, subject)
  }

  cursor(entryId: string, index: number): string {
    return this.#cursors.format(entryId, index)
  }

  /** @throws Failure `invalid` for a cursor that this stream did not give out. */
  parseCursor(text: string): Cursor {
    return this.#cursors.parse(text)
  }

  /** One event or alarm, with the cursor from which to go on after it; a character per byte (latin1). */
  item(format: Format, json: string, entryId: string, index: number): string {
    return itemFrame(format, this.#subject, json, this.cursor(entryId, index))
  }

  /** @param cursor where to go on for whoever has got everything so far: else who is sent nothing has no newer place than the last event. */
  ping(format: Format, cursor?: string): Buffer {
    return this.#own(format, 'ping', null, cursor)
  }

  /** Says which part of the stream is gone (P4): everything after a place or an entry, up to and with the entry `to`. */
  gap(format: Format, after: Cursor | string, to: string): Buffer {
    const { entryId, index } = placeOf(after)
    return this.gapBetween(format, this.cursor(entryId, index), this.cursor(to, LAST_INDEX))
  }

  /** As `gap`, with whatever cursors. */
  gapBetween(format: Format, from: string, to: string): Buffer {
    return this.#own(format, 'gap', { gap: { from, to } }, to)
  }

  #own(format: Format, eventType: string, data: object | null, cursor: string | undefined): Buffer {
    const { nowUs, newId } = this.#clock
    const event = { eventId: newId(), targetName: `projects/${this.#project}`, eventType, data, timestamp: formatTime(nowUs()) }
    if (cursor === undefined) return wrap(format, { result: { event } })
    return Buffer.from(itemFrame(format, 'event', JSON.stringify(event), cursor), 'latin1')
  }
}

/** Of an entry: behind it. */
export function placeOf(after: Cursor | string): Cursor {
  return typeof after === 'string' ? { entryId: after, index: LAST_INDEX } : after
}

/** As `Frames.item`, with whatever cursor. */
export function itemFrame(format: Format, subject: Subject, json: string, cursor: string): string {
  if (format === 'sse') return `id: ${cursor}\ndata: {"result":{"${subject}":${json}}}\n\n`
  const line = `{"result":{"${subject}":${json},"cursor":"${cursor}"}}`
  return format === 'ws' ? `${messageHead(line.length)}${line}` : `${line}\n`
}

/** After how long an SSE client comes back when this stream ends; other formats have no word for it. */
export function retryFrame(ms: number): Buffer {
  return Buffer.from(`retry: ${Math.round(ms)}\n\n`)
}

/** The last frame of a stream that the server ends: the union of what the known clients read. */
export function errorFrame(format: Format, code: number, status: string, message: string): Buffer {
  return wrap(format, { error: { code, grpcCode: 1, httpCode: code, httpStatus: status, message, details: [] } })
}

function wrap(format: Format, value: object): Buffer {
  const json = JSON.stringify(value)
  if (format === 'ws') return Buffer.concat([Buffer.from(messageHead(Buffer.byteLength(json)), 'latin1'), Buffer.from(json)])
  return Buffer.from(format === 'sse' ? `data: ${json}\n\n` : `${json}\n`)
}

/** A final, unmasked text frame [RFC 6455 5.2], a character per byte. */
function messageHead(bytes: number): string {
  if (bytes < 126) return String.fromCharCode(0x81, bytes)
  if (bytes < 0x10000) return String.fromCharCode(0x81, 126, bytes >>> 8, bytes & 0xff)
  return String.fromCharCode(0x81, 127, 0, 0, 0, 0, bytes >>> 24, (bytes >>> 16) & 0xff, (bytes >>> 8) & 0xff, bytes & 0xff)
}
