// The hub of one project's stream: one reader follows the log, and what it reads goes to every subscriber that asked for it.
// Frames are rendered once per format, and everything that one read brought is written to a socket at once.
import type { LogEntry, LogEvent } from '../../packages/log/entry.ts'
import { compareIds } from '../../packages/log/entry.ts'
import type { Follow } from '../../packages/log/follow.ts'
import type { DeviceCache } from '../../packages/state/device.ts'
import { type Filter, matches, needsDevice } from './filter.ts'
import { type Cursor, type Format, type Frames, LAST_INDEX } from './frame.ts'
import type { Chunk } from './past.ts'
import type { Placed, Sink } from './sink.ts'

/** What becomes of what a slow reader cannot take. */
export type Policy =
  /** It goes on from the log at its own pace; it is cut off when it takes nothing, or when the log no longer holds its place. */
  | 'disconnect'
  /** It is missed; a gap says so. */
  | 'drop'
  /** Only the newest event of each device and event type is kept for it. */
  | 'latest'

export type Wants = {
  /** Undefined: everything. */
  readonly filter: Filter | undefined
  readonly policy: Policy
}

export type HubPorts = {
  readonly frames: Frames
  readonly devices: DeviceCache
  /** The next piece of the stream after a cursor, at most up to the entry `upTo`, wherever it is kept. */
  read(after: Cursor, upTo: string): Promise<Chunk>
  /** Up to which entry the log is trimmed. */
  trimmed(): Promise<string>
  follow(arrived: (entries: readonly LogEntry[]) => Promise<void>): Promise<Follow>
  delivered(frames: number): void
  troubled(error: unknown): void
}

type Subscriber = {
  readonly sink: Sink
  readonly wants: Wants
  /** Set while live delivery stands before what the subscriber has seen (through another process): that is not repeated. */
  seen?: string | undefined
}

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

  async stop(): Promise<void> {
    await this.#follow?.stop()
  }

  async #arrived(entries: readonly LogEntry[]): Promise<void> {
    const trimmed = await this.#ports.trimmed()
    const [first] = entries
    // This process was frozen, or cut off from Redis, for longer than the log is kept: what is between lies further back.
    if (first && compareIds(this.#reached, trimmed) < 0 && compareIds(trimmed, first.id) < 0) {
      for (const subscriber of [...this.#live]) this.#fallBehind(subscriber, subscriber.seen ?? this.#reached)
      this.#reached = trimmed
    }
    await this.#deliver(this.#live, entries)
  }

  /**
   * Joins from a cursor on, or from now. Replay reads what is past up to where live delivery stands; the comparison and the step into
   * the live set are one synchronous piece, as are a live delivery and the moving of `#reached`, so that nothing falls between (P4).
   * @returns how to leave.
   */
  async join(sink: Sink, wants: Wants, from: Cursor | undefined): Promise<() => void> {
    const subscriber: Subscriber = { sink, wants }
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
    for (let at = from; !sink.closed; ) {
      // Up to here, and no further, this subscriber's own reading must go: it is not live yet while anything below is awaited.
      const reached = this.#reached
      if (at.index === LAST_INDEX && compareIds(at.entryId, reached) >= 0) {
        subscriber.seen = at.entryId
        this.#live.add(subscriber)
        return
      }
      const { gap, entries, firstIndex, next } = await this.#ports.read(at, reached)
      if (gap) sink.gap(gap.after, gap.to)
      await this.#deliver([subscriber], entries, firstIndex)
      await sink.drained()
      at = next
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
      frames += this.#give(subscriber, rendered)
      // What it has seen through another process may be ahead of this read.
      if (subscribers === this.#live && subscriber.sink.full) this.#fallBehind(subscriber, subscriber.seen ?? rendered.lastId)
    }
    this.#ports.delivered(frames)
  }

  #give(subscriber: Subscriber, rendered: Rendered): number {
    const { sink, wants, seen } = subscriber
    if (seen !== undefined && compareIds(rendered.lastId, seen) > 0) subscriber.seen = undefined
    const isDue = ({ event, entryId }: Placed) =>
      (seen === undefined || compareIds(entryId, seen) > 0) && (!wants.filter || this.#matches(wants.filter, event))
    if (sink.format === 'events') {
      const due = rendered.events.filter(isDue)
      if (due.length > 0) sink.take(due)
      return due.length
    }
    const part = seen === undefined && !wants.filter ? rendered.all(sink.format) : rendered.some(sink.format, isDue)
    if (part.frames > 0) sink.write(part.bytes)
    return part.frames
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
  for (const { wants } of subscribers) if (wants.filter && needsDevice(wants.filter)) return true
  return false
}

type Part = { readonly bytes: Buffer; readonly frames: number }

/** Entries as bytes, each event rendered at most once per format, shared by all subscribers. */
class Rendered {
  readonly #frames: Frames
  readonly #texts: Record<Format, string[]> = { ndjson: [], sse: [], ws: [] }
  readonly #whole: Partial<Record<Format, Part>> = {}
  readonly events: Placed[] = []
  readonly lastId: string

  constructor(frames: Frames, entries: readonly LogEntry[], firstIndex: number) {
    this.#frames = frames
    this.lastId = entries.at(-1)?.id ?? '0-0'
    for (const [n, { id, events }] of entries.entries())
      for (let index = n === 0 ? firstIndex : 0; index < events.length; index++)
        this.events.push({ event: events[index] as LogEvent, entryId: id, index })
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
    for (let i = 0; i < this.events.length; i++) {
      if (!wanted(this.events[i] as Placed)) continue
      text += this.#text(format, i)
      frames++
    }
    return { bytes: Buffer.from(text, 'latin1'), frames }
  }

  #text(format: Format, i: number): string {
    const texts = this.#texts[format]
    const known = texts[i]
    if (known !== undefined) return known
    const { event, entryId, index } = this.events[i] as Placed
    const text = this.#frames.item(format, event.frame, entryId, index)
    texts[i] = text
    return text
  }
}
