// The hub of one project's stream: one reader follows the log, and what it reads goes to every subscriber that asked for it.
// Frames are rendered once per format, and everything that one read brought is written to a socket at once.
import type { LogEntry, LogEvent } from '../../packages/log/entry.ts'
import { compareIds } from '../../packages/log/entry.ts'
import type { Follow } from '../../packages/log/follow.ts'
import type { DeviceCache } from '../../packages/state/device.ts'
import { type Filter, matches, needsDevice } from './filter.ts'
import { type Cursor, type Format, type Frames, LAST_INDEX } from './frame.ts'

/** Where a subscriber's frames go. */
export type Sink = {
  readonly format: Format
  write(chunk: Buffer): void
  /** More is unread than a live subscriber may leave: it goes on from the log, at its own pace. */
  readonly full: boolean
  /** Resolves when what was written is on its way; a reader that has stopped reading is ended instead. */
  drained(): Promise<void>
  /** Ends the stream with an error frame. */
  end(code: number, status: string, message: string): void
  readonly closed: boolean
}

export type HubPorts = {
  readonly frames: Frames
  readonly devices: DeviceCache
  /** Entries after one, and up to which entry the log was trimmed at that moment. */
  read(after: string, count: number): Promise<{ readonly entries: readonly LogEntry[]; readonly trimmed: string }>
  entry(id: string): Promise<LogEntry | undefined>
  /** Up to which entry the log is trimmed. */
  trimmed(): Promise<string>
  follow(arrived: (entries: readonly LogEntry[]) => Promise<void>): Promise<Follow>
  delivered(frames: number): void
  /** Tells a subscriber that everything after the entry `after`, up to and with `to`, is gone. */
  gap(sink: Sink, after: string, to: string): void
  troubled(error: unknown): void
}

type Subscriber = {
  readonly sink: Sink
  readonly filter: Filter | undefined
  /** Set while live delivery stands before what the subscriber has seen (through another process): that is not repeated. */
  seen?: string | undefined
}

/** Of up to 1 MiB each, and they are written one by one. */
const REPLAY_ENTRIES = 5

export class Hub {
  readonly #ports: HubPorts
  readonly #live = new Set<Subscriber>()
  #follow: Follow | undefined
  /** Up to here live subscribers have everything. */
  #reached = '0-0'

  constructor(ports: HubPorts) {
    this.#ports = ports
  }

  async start(): Promise<void> {
    this.#follow = await this.#ports.follow(entries => this.#arrived(entries))
    this.#reached = this.#follow.position()
  }

  async #arrived(entries: readonly LogEntry[]): Promise<void> {
    const trimmed = await this.#ports.trimmed()
    const [first] = entries
    // This process was frozen, or cut off from Redis, for longer than the log is kept.
    if (first && compareIds(this.#reached, trimmed) < 0 && compareIds(trimmed, first.id) < 0) {
      const reached = this.#reached
      this.#reached = trimmed
      for (const { sink, seen = reached } of this.#live) if (compareIds(seen, trimmed) < 0) this.#ports.gap(sink, seen, trimmed)
    }
    await this.#deliver(this.#live, entries)
  }

  async stop(): Promise<void> {
    await this.#follow?.stop()
  }

  /**
   * Joins from a cursor on, or from now. Replay reads the log up to where live delivery stands; the comparison and the step into the
   * live set are one synchronous piece, as are a live delivery and the moving of `#reached`, so that nothing falls between (P4).
   * @returns how to leave.
   */
  async join(sink: Sink, filter: Filter | undefined, from: Cursor | undefined): Promise<() => void> {
    const subscriber: Subscriber = { sink, filter }
    if (from) await this.#replay(subscriber, from)
    else this.#live.add(subscriber)
    return () => this.#live.delete(subscriber)
  }

  /** The log is the buffer of a slow reader: it costs no memory here, and nobody else waits for it (P5). */
  #fallBehind(subscriber: Subscriber, after: string): void {
    this.#live.delete(subscriber)
    const { sink } = subscriber
    const catchUp = async () => {
      await sink.drained()
      await this.#replay(subscriber, { entryId: after, index: LAST_INDEX })
    }
    catchUp().catch((error: unknown) => {
      this.#ports.troubled(error)
      sink.end(503, 'Service Unavailable', 'the log cannot be read; resume from the last frame')
    })
  }

  async #replay(subscriber: Subscriber, from: Cursor): Promise<void> {
    const { sink } = subscriber
    const rest = from.index === LAST_INDEX ? undefined : await this.#ports.entry(from.entryId)
    if (rest) await this.#deliver([subscriber], [rest], from.index + 1)
    // The cursor stood inside an entry that is gone: how much of it is missing nobody knows.
    let halfRead = rest === undefined && from.index !== LAST_INDEX && from.index >= 0
    for (let after = from.entryId; !sink.closed; ) {
      // Up to here, and no further, this subscriber's own reading must go: it is not live yet while anything below is awaited.
      const reached = this.#reached
      if (compareIds(after, reached) >= 0) {
        subscriber.seen = after
        this.#live.add(subscriber)
        return
      }
      const { entries, trimmed } = await this.#ports.read(after, REPLAY_ENTRIES)
      if (compareIds(after, trimmed) < 0 || (halfRead && after === trimmed)) this.#ports.gap(sink, after, trimmed)
      halfRead = false
      const due = entries.filter(entry => compareIds(entry.id, reached) <= 0)
      for (const entry of due) {
        await this.#deliver([subscriber], [entry])
        await sink.drained()
      }
      after = due.at(-1)?.id ?? reached
    }
  }

  async #deliver(
    subscribers: ReadonlySet<Subscriber> | readonly Subscriber[],
    entries: readonly LogEntry[],
    firstIndex = 0,
  ): Promise<void> {
    this.#forgetChanged(entries)
    if (wantsDevices(subscribers)) await this.#ports.devices.load(entries.flatMap(entry => entry.events.map(event => event.device)))
    if (subscribers === this.#live) this.#reached = entries.at(-1)?.id ?? this.#reached
    const rendered = new Rendered(this.#ports.frames, entries, firstIndex)
    let frames = 0
    for (const subscriber of subscribers) {
      if (subscriber.sink.closed) continue
      const part = this.#partFor(subscriber, rendered)
      frames += part.frames
      if (part.frames > 0) subscriber.sink.write(part.bytes)
      // What it has seen through another process may be ahead of this read.
      if (subscribers === this.#live && subscriber.sink.full) this.#fallBehind(subscriber, subscriber.seen ?? rendered.lastId)
    }
    this.#ports.delivered(frames)
  }

  #partFor(subscriber: Subscriber, rendered: Rendered): Part {
    const { sink, filter, seen } = subscriber
    if (seen !== undefined) {
      if (compareIds(rendered.lastId, seen) > 0) subscriber.seen = undefined
      return rendered.some(sink.format, ({ event, entryId }) => compareIds(entryId, seen) > 0 && (!filter || this.#matches(filter, event)))
    }
    return filter ? rendered.some(sink.format, ({ event }) => this.#matches(filter, event)) : rendered.all(sink.format)
  }

  #matches(filter: Filter, event: LogEvent): boolean {
    return matches(filter, event, this.#ports.devices.get(event.device))
  }

  #forgetChanged(entries: readonly LogEntry[]): void {
    for (const entry of entries)
      for (const event of entry.events) if (event.eventType === 'labelsChanged') this.#ports.devices.forget(event.device)
  }
}

function wantsDevices(subscribers: Iterable<Subscriber>): boolean {
  for (const { filter } of subscribers) if (filter && needsDevice(filter)) return true
  return false
}

type Placed = { readonly event: LogEvent; readonly entryId: string; readonly index: number }
type Part = { readonly bytes: Buffer; readonly frames: number }

/** Entries as bytes, each event rendered at most once per format, shared by all subscribers. */
class Rendered {
  readonly #frames: Frames
  readonly #events: Placed[] = []
  readonly #texts: Record<Format, string[]> = { ndjson: [], sse: [] }
  readonly #whole: Partial<Record<Format, Part>> = {}
  readonly lastId: string

  constructor(frames: Frames, entries: readonly LogEntry[], firstIndex: number) {
    this.#frames = frames
    this.lastId = entries.at(-1)?.id ?? '0-0'
    for (const { id, events } of entries)
      for (const [index, event] of events.entries()) if (index >= firstIndex) this.#events.push({ event, entryId: id, index })
  }

  all(format: Format): Part {
    const whole = this.#whole[format]
    if (whole) return whole
    const part = this.some(format, () => true)
    this.#whole[format] = part
    return part
  }

  some(format: Format, wanted: (placed: Placed) => boolean): Part {
    let text = ''
    let frames = 0
    for (let i = 0; i < this.#events.length; i++) {
      if (!wanted(this.#events[i] as Placed)) continue
      text += this.#text(format, i)
      frames++
    }
    return { bytes: Buffer.from(text, 'latin1'), frames }
  }

  #text(format: Format, i: number): string {
    const texts = this.#texts[format]
    const known = texts[i]
    if (known !== undefined) return known
    const { event, entryId, index } = this.#events[i] as Placed
    const text = this.#frames.item(format, event.frame, entryId, index)
    texts[i] = text
    return text
  }
}
