// The hub of one project's stream: one reader follows the log, and what it reads goes to every subscriber that asked for it.
// Frames are rendered once per format, and everything that one read brought is written to a socket at once.
import type { Device } from '../../packages/core/device.ts'
import { compareIds, type LogEntry, type LogEvent } from '../../packages/log/entry.ts'
import type { Follow, Follower } from '../../packages/log/follow.ts'
import type { DeviceCache } from '../../packages/state/devicecache.ts'
import { type Behind, Dropped, Latest } from './behind.ts'
import { type Filter, matches, needsDevice } from './filter.ts'
import { type Cursor, type Frames, LAST_INDEX } from './frame.ts'
import { type Interest, Interests } from './interest.ts'
import type { Chunk, PastReader } from './past.ts'
import { Piece, piecesOf, Rendering } from './piece.ts'
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
  /** Whether the stream tells when a device's labels change (`labelsChanged`); else they are looked up for every event. */
  readonly toldOfChanges: boolean
  /** Gives the reader the next piece of the stream after a cursor, at most up to the entry `upTo`, wherever it is kept. */
  read(after: Cursor, upTo: string, reader: PastReader): Promise<Cursor>
  follow(follower: Follower): Promise<Follow>
  delivered(frames: number): void
  troubled(error: unknown): void
  /** Who goes on from the log is cut off when nothing is taken for this long: they may come back. 10 s. */
  readonly patienceMs?: number | undefined
}

/** A subscriber's place in a hub. */
export type Joined = {
  /** Resolves when it is live, or over; rejects when what is past cannot be read. */
  readonly caughtUp: Promise<void>
  /** All that it asked for up to there has been written to it, whether or not there was any; undefined while it is not live. */
  reached(): Cursor | undefined
  leave(): void
}

type Subscriber = {
  readonly sink: Sink
  readonly wants: Wants
  /** Set while it is live. */
  interest?: Interest<Subscriber> | undefined
  /** Set while live delivery stands before what the subscriber has seen (through another process): that is not repeated. */
  seen?: string | undefined
  /** Set while it cannot take more and its policy is not to go back to the log. */
  behind?: Behind | undefined
  left: boolean
}

/** When what comes next is gone: say so and go on, or end the stream of a reader that was too slow. */
type Lost = 'gap' | 'end'

const PATIENCE_MS = 10_000
/** Those who miss something or wait for the latest have asked for being slow. */
const LONG_PATIENCE_MS = 300_000
/** A delivery that took longer is followed by a pause as long, in which more gathers for the next writes. */
const QUICK_MS = 1
const MAX_PAUSE_MS = 20

type Facts = ReadonlyMap<string, Device>

const DONE = Promise.resolve()

export const UNREADABLE = 'the log cannot be read; resume from the last frame'

export class Hub {
  readonly #ports: HubPorts
  readonly #interests: Interests<Subscriber>
  #follow: Follow | undefined
  #stopped = false
  /** Up to here live subscribers have everything. */
  #reached = '0-0'

  constructor(ports: HubPorts) {
    this.#ports = ports
    this.#interests = new Interests(ports.toldOfChanges)
  }

  async start(): Promise<void> {
    this.#follow = await this.#ports.follow({
      arrived: entries => this.#arrived(entries),
      jumped: to => this.#allFallBehind(to),
      stuck: () => this.#endAll(),
    })
    this.#reached = this.#follow.position()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#follow?.stop()
  }

  /**
   * Joins from a cursor on, or from now. Replay reads what is past up to where live delivery stands; the comparison and the step into
   * the live set are one synchronous piece, as are a live delivery and the moving of `#reached`, so that nothing falls between (P4).
   */
  join(sink: Sink, wants: Wants, from: Cursor | undefined): Joined {
    const subscriber: Subscriber = { sink, wants, left: false }
    if (this.#stopped) sink.end(503, 'Service Unavailable', 'the server was slow to begin: come back')
    if (!from) this.#goLive(subscriber)
    return {
      caughtUp: from ? this.#replay(subscriber, from, 'gap') : DONE,
      reached: () => this.#reachedBy(subscriber),
      leave: () => {
        subscriber.left = true
        this.#leaveLive(subscriber)
      },
    }
  }

  #reachedBy({ interest, behind, seen }: Subscriber): Cursor | undefined {
    if (!interest || behind) return undefined
    return seen !== undefined && compareIds(seen, this.#reached) > 0 ? undefined : this.#place()
  }

  /** Of live delivery. */
  #place(): Cursor {
    return { entryId: this.#reached, index: LAST_INDEX }
  }

  #goLive(subscriber: Subscriber): void {
    subscriber.interest = this.#interests.add(subscriber.wants.filter, subscriber)
  }

  #leaveLive(subscriber: Subscriber): void {
    const { interest } = subscriber
    subscriber.interest = undefined
    if (interest) this.#interests.remove(interest, subscriber)
  }

  async #arrived(entries: readonly LogEntry[]): Promise<void> {
    const last = entries.at(-1)
    if (!last) return
    const events = entries.flatMap(entry => entry.events)
    this.#forgetChanged(events)
    const asked = new Set<string>()
    let facts: Facts = new Map()
    // Who joins meanwhile may ask for more; between the last look and the routing nobody can.
    while (this.#asksMore(events, asked)) facts = await this.#ports.devices.load(asked)
    const startedMs = performance.now()
    const start = this.#place()
    this.#reached = last.id
    let frames = 0
    for (const piece of piecesOf(this.#ports.frames, entries, 0, start)) frames += this.#route(piece, facts)
    this.#ports.delivered(frames)
    const tookMs = performance.now() - startedMs
    if (tookMs > QUICK_MS) await new Promise(resolve => setTimeout(resolve, Math.min(tookMs, MAX_PAUSE_MS)))
  }

  /** Live delivery would stand still for ever while its readers get pings. Who comes back goes on behind it, or is told why not. */
  #endAll(): void {
    for (const { sink } of this.#interests.subscribers()) sink.end(503, 'Service Unavailable', UNREADABLE)
  }

  /** What is between lies further back. */
  #allFallBehind(trimmed: string): void {
    const reached = this.#place()
    this.#reached = trimmed
    for (const subscriber of this.#interests.subscribers())
      if (subscriber.behind) subscriber.behind.miss(trimmed)
      else this.#fallBehind(subscriber, reached, 'gap')
  }

  #forgetChanged(events: readonly LogEvent[]): void {
    for (const { eventType, device } of events)
      if (eventType === 'labelsChanged') {
        this.#ports.devices.forget(device)
        this.#interests.forget(device)
      }
  }

  /** Whether the index asks the registry about more devices than these; they are added. */
  #asksMore(events: readonly LogEvent[], asked: Set<string>): boolean {
    const before = asked.size
    for (const event of events) if (this.#interests.needsDevice(event)) asked.add(event.device)
    return asked.size > before
  }

  /** Synchronous: who joins, leaves or falls behind does so before it or after it. */
  #route(piece: Piece, facts: Facts): number {
    const touched: Interest<Subscriber>[] = []
    for (const [i, { event }] of piece.events.entries())
      for (const interest of this.#interests.match(event, facts.get(event.device))) if (interest.due.push(i) === 1) touched.push(interest)
    let frames = 0
    for (const { subscribers, due } of touched) {
      const rendered = new Rendering(piece, due)
      for (const subscriber of subscribers) frames += this.#give(subscriber, rendered)
      due.length = 0
    }
    return frames
  }

  #give(subscriber: Subscriber, rendering: Rendering): number {
    const { sink, seen } = subscriber
    if (sink.closed) return 0
    const { piece } = rendering
    // By what comes from other projects: a stream of all has one bound.
    if (sink.full && !subscriber.behind) this.#slow(subscriber, piece.start)
    if (!subscriber.interest) return 0
    let own = rendering
    if (seen !== undefined) {
      if (compareIds(piece.end.entryId, seen) > 0) subscriber.seen = undefined
      own = rendering.after(seen)
      if (own.due.length === 0) return 0
    }
    if (subscriber.behind) {
      for (const i of own.due) subscriber.behind.add(piece.events[i] as Placed)
      return 0
    }
    own.writeTo(sink)
    if (sink.full) this.#slow(subscriber, piece.end)
    return own.due.length
  }

  #slow(subscriber: Subscriber, at: Cursor): void {
    const { policy } = subscriber.wants
    if (policy === 'disconnect') {
      this.#fallBehind(subscriber, at, 'end')
      return
    }
    const after = laterOf(at, subscriber.seen)
    subscriber.behind = policy === 'drop' ? new Dropped(after) : new Latest(after)
    this.#relieveLater(subscriber)
  }

  #relieveLater(subscriber: Subscriber): void {
    this.#heed(subscriber, () => subscriber.sink.drained(this.#patienceMs(subscriber)).then(() => this.#relieve(subscriber)))
  }

  #relieve(subscriber: Subscriber): void {
    const { sink, behind } = subscriber
    if (!behind || sink.closed || subscriber.left) return
    // Another project was first.
    if (sink.full) {
      this.#relieveLater(subscriber)
      return
    }
    subscriber.behind = undefined
    const { gap, events } = behind.relief()
    if (gap) sink.gap(gap.after, gap.to)
    const reached = this.#place()
    const piece = new Piece(this.#ports.frames, events, reached, reached)
    if (events.length > 0) new Rendering(piece, [...events.keys()]).writeTo(sink)
    this.#ports.delivered(events.length)
    if (sink.full) this.#slow(subscriber, reached)
  }

  #patienceMs({ wants }: Subscriber): number {
    return wants.policy === 'disconnect' ? (this.#ports.patienceMs ?? PATIENCE_MS) : LONG_PATIENCE_MS
  }

  /** The log is the buffer of a slow reader: it costs no memory here, and nobody else waits for it (P5). */
  #fallBehind(subscriber: Subscriber, at: Cursor, lost: Lost): void {
    const from = laterOf(at, subscriber.seen)
    this.#leaveLive(subscriber)
    this.#heed(subscriber, () => this.#replay(subscriber, from, lost))
  }

  /** For what nobody waits for. */
  #heed({ sink }: Subscriber, work: () => Promise<void>): void {
    work().catch((error: unknown) => {
      this.#ports.troubled(error)
      sink.end(503, 'Service Unavailable', UNREADABLE)
    })
  }

  async #replay(subscriber: Subscriber, from: Cursor, lost: Lost): Promise<void> {
    const { sink } = subscriber
    for (let at = from; ; ) {
      // Without a turn and without what was read: a reader that takes nothing holds no memory.
      if (sink.full) await sink.drained(this.#patienceMs(subscriber))
      if (sink.closed || subscriber.left) return
      // Up to here, and no further, this subscriber's own reading must go: it is not live yet while anything below is awaited.
      const reached = this.#reached
      if (at.index === LAST_INDEX && compareIds(at.entryId, reached) >= 0) {
        subscriber.seen = at.entryId
        this.#goLive(subscriber)
        return
      }
      const after = at
      at = await this.#ports.read(after, reached, {
        get full() {
          return sink.full
        },
        take: chunk => this.#catchUp(subscriber, after, chunk, lost),
      })
    }
  }

  /** Writes what comes next as far as the subscriber takes it. @returns where to go on. */
  async #catchUp({ sink, wants }: Subscriber, at: Cursor, { gap, entries, firstIndex, next }: Chunk, lost: Lost): Promise<Cursor> {
    const wanted = await this.#wantedOf(wants.filter, entries)
    if (sink.full) return at
    if (gap && lost === 'gap') sink.gap(gap.after, gap.to)
    if (gap && lost === 'end') sink.end(408, 'Request Timeout', 'too slow: what comes next is no longer kept; resume from the last frame')
    const start = gap ? { entryId: gap.to, index: LAST_INDEX } : at
    for (const piece of piecesOf(this.#ports.frames, entries, firstIndex, start)) {
      if (sink.full) return piece.start
      const due = [...piece.events.keys()].filter(i => wanted((piece.events[i] as Placed).event))
      if (due.length > 0) new Rendering(piece, due).writeTo(sink)
      this.#ports.delivered(due.length)
    }
    return next
  }

  async #wantedOf(filter: Filter | undefined, entries: readonly LogEntry[]): Promise<(event: LogEvent) => boolean> {
    if (!filter) return () => true
    const facts = needsDevice(filter) ? await this.#ports.devices.load(devicesOf(entries)) : undefined
    return event => matches(filter, event, facts?.get(event.device))
  }
}

/** What a subscriber has seen through another process may be ahead of where it stands in this one. */
function laterOf(at: Cursor, seen: string | undefined): Cursor {
  return seen !== undefined && compareIds(seen, at.entryId) >= 0 ? { entryId: seen, index: LAST_INDEX } : at
}

function devicesOf(entries: readonly LogEntry[]): Set<string> {
  return new Set(entries.flatMap(({ events }) => events.map(({ device }) => device)))
}
