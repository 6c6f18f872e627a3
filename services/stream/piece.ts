// A run of events on their way out: each is rendered at most once per format, and whoever asked for the same gets the same bytes.
import { compareIds, type LogEntry, type LogEvent } from '../../packages/log/entry.ts'
import { type Cursor, type Format, type Frames, LAST_INDEX } from './frame.ts'
import type { Placed, Sink } from './sink.ts'

/** Frames as bytes; as one chunk of HTTP/1.1 too, so that its length is not written anew for every reader. */
class Part {
  readonly #text: string
  #bytes: Buffer | undefined
  #chunk: Buffer | undefined

  constructor(text: string) {
    this.#text = text
  }

  get bytes(): Buffer {
    this.#bytes ??= Buffer.from(this.#text, 'latin1')
    return this.#bytes
  }

  get chunk(): Buffer {
    this.#chunk ??= Buffer.from(`${this.#text.length.toString(16)}\r\n${this.#text}\r\n`, 'latin1')
    return this.#chunk
  }
}

export class Piece {
  readonly events: readonly Placed[]
  /** Behind what comes before the first of them. */
  readonly start: Cursor
  /** Behind the last of them. */
  readonly end: Cursor
  readonly #frames: Frames
  readonly #texts: Partial<Record<Format, string[]>> = {}

  constructor(frames: Frames, events: readonly Placed[], start: Cursor, end: Cursor) {
    this.#frames = frames
    this.events = events
    this.start = start
    this.end = end
  }

  /** @param due positions in `events`, at least one. */
  part(format: Format, due: readonly number[]): Part {
    let text = ''
    for (const i of due) text += this.#text(format, i)
    return new Part(text)
  }

  #text(format: Format, i: number): string {
    let texts = this.#texts[format]
    if (!texts) {
      texts = []
      this.#texts[format] = texts
    }
    const known = texts[i]
    if (known !== undefined) return known
    const { event, entryId, index } = this.events[i] as Placed
    const text = this.#frames.item(format, event.frame, entryId, index)
    texts[i] = text
    return text
  }
}

/** Some events of a piece, for all who asked for just these. */
export class Rendering {
  readonly piece: Piece
  readonly due: readonly number[]
  readonly #parts: Partial<Record<Format, Part>> = {}

  /** @param due positions in the piece, in order. */
  constructor(piece: Piece, due: readonly number[]) {
    this.piece = piece
    this.due = due
  }

  /** Without those up to an entry. */
  after(entryId: string): Rendering {
    const { events } = this.piece
    const due = this.due.filter(i => compareIds((events[i] as Placed).entryId, entryId) > 0)
    return due.length === this.due.length ? this : new Rendering(this.piece, due)
  }

  writeTo(sink: Sink): void {
    if (sink.format === 'events') {
      sink.take(this.due.map(i => this.piece.events[i] as Placed))
      return
    }
    this.#parts[sink.format] ??= this.piece.part(sink.format, this.due)
    const part = this.#parts[sink.format] as Part
    if (sink.writeChunk) sink.writeChunk(part.chunk)
    else sink.write(part.bytes)
  }
}

/** A reader has at most this much more unread than makes it slow. */
const PIECE_CHARS = 64 * 1024

/** Cuts entries, which come after `start`, into pieces of bounded size, from an event of the first on. */
export function* piecesOf(frames: Frames, entries: readonly LogEntry[], firstIndex: number, start: Cursor): Generator<Piece> {
  let events: Placed[] = []
  let before = start
  let chars = 0
  let from = firstIndex
  for (const entry of entries) {
    for (let index = from; index < entry.events.length; index++) {
      const event = entry.events[index] as LogEvent
      if (chars + event.frame.length > PIECE_CHARS && events.length > 0) {
        const end = endOf(events)
        yield new Piece(frames, events, before, end)
        before = end
        events = []
        chars = 0
      }
      events.push({ event, entryId: entry.id, index })
      chars += event.frame.length
    }
    from = 0
  }
  const last = entries.at(-1)
  if (last && events.length > 0) yield new Piece(frames, events, before, { entryId: last.id, index: LAST_INDEX })
}

function endOf(events: readonly Placed[]): Cursor {
  const { entryId, index } = events.at(-1) as Placed
  return { entryId, index }
}
