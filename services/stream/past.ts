// What lies behind the live end of a stream, piece by piece: whoever resumes reads it at their own pace.
import { compareIds, type LogEntry } from '../../packages/log/entry.ts'
import type { Log, Stream } from '../../packages/log/log.ts'
import { type Cursor, LAST_INDEX } from './frame.ts'

/** The next piece of a stream after a cursor. */
export type Chunk = {
  /** Everything after the entry `after`, up to and with `to`, is gone; it lies before `entries`. */
  readonly gap?: { readonly after: string; readonly to: string }
  readonly entries: readonly LogEntry[]
  /** Where in the first entry to begin. */
  readonly firstIndex: number
  /** Where to go on: behind `entries`, and where there are none, at `upTo` or behind. */
  readonly next: Cursor
}

/** Of up to 1 MiB each. A reader takes a quarter of that at a time: what it leaves is read again. */
const ENTRIES = 5

export class Past {
  readonly #log: Log
  readonly #project: string
  readonly #stream: Stream

  constructor(log: Log, project: string, stream: Stream) {
    this.#log = log
    this.#project = project
    this.#stream = stream
  }

  /** At most up to the entry `upTo`, except for the entry in which the cursor itself stands. */
  async read(after: Cursor, upTo: string): Promise<Chunk> {
    const { entryId, index } = after
    const own = index === LAST_INDEX ? undefined : await this.#log.entry(this.#project, entryId, this.#stream)
    if (own) return { entries: [own], firstIndex: index + 1, next: { entryId, index: LAST_INDEX } }
    const { entries, trimmed } = await this.#log.readFrom(this.#project, entryId, ENTRIES, this.#stream)
    // The cursor stood inside an entry that is gone: how much of it is missing nobody knows.
    const halfRead = index !== LAST_INDEX && index >= 0
    const lost = compareIds(entryId, trimmed) < 0 || (halfRead && entryId === trimmed)
    const due = entries.filter(({ id }) => compareIds(id, upTo) <= 0)
    const next = { entryId: due.at(-1)?.id ?? newest(entryId, upTo, lost ? trimmed : upTo), index: LAST_INDEX }
    return { ...(lost && { gap: { after: entryId, to: trimmed } }), entries: due, firstIndex: 0, next }
  }
}

function newest(...ids: readonly string[]): string {
  return ids.reduce((one, other) => (compareIds(one, other) < 0 ? other : one))
}
