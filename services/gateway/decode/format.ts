// What a format is: a small file that makes events of payloads as one system publishes them. It decides nothing else: names, numbers and
// identity are checked in event.ts, units and well-known quantities are those of measure.ts.
import type { TObject } from 'typebox'
import type { Clock, Decoded, Place } from './event.ts'

export type Payload = {
  readonly bytes: Buffer
  /** Levels of the MQTT topic as the client wrote it, without a project before it; none over HTTP. */
  readonly topic: readonly string[]
  /** The project, and what the topic or route says of the event. */
  readonly place: Place
  /** As `Format.options` has them: checked, defaults filled in. */
  readonly options: Readonly<Record<string, unknown>>
  readonly memory: Memory
}

export type Size = { readonly keys: number; readonly chars: number }

/**
 * What earlier payloads told, for formats that need it (aliases, announcements): JSON values, of one project and mapping, kept in Redis.
 * What is set is seen by the next payload of this process at once, and is on disk before the delivery is acknowledged; it is taken back, and
 * the payload sent again, when its events are not.
 */
export interface Memory {
  get(key: string): unknown
  /** Undefined: forgets it. */
  set(key: string, value: unknown): void
  /** How full it is with what this payload has set, and with so much more: 1 is all that it takes. */
  fullness(more: Size): number
  /** All that is kept under keys that begin so. With GROUP in it, it costs as much as it finds; else as much as all that is kept. */
  entries(prefix: string): readonly (readonly [key: string, value: unknown])[]
  /** As `get`, of what was noted: in this process alone, never on disk, and gone at any time. */
  noted(key: string): unknown
  note(key: string, value: unknown): void
  /** What this payload tells it told before, when it was refused: that it is known makes it no repeat. */
  readonly isReplay: boolean
}

/**
 * Ends what the keys of one group have in common. Of what many devices tell, each has an entry of its own in a group and no place in a list: what
 * two gateways learn at the same time is kept. No topic has it in it [MQTT-1.5.3-2].
 */
export const GROUP = '\0'

/** What is published to the clients of the project, beside what came: a request for a rebirth, for example. Topic as in `Payload`. */
export type Reply = { readonly topic: string; readonly payload: Buffer }

/** Nothing decoded: the payload is none of this format's business (a log line, a command), or it only told something for later. */
export type Output = { readonly decoded: readonly Decoded[]; readonly replies?: readonly Reply[] }

/** An event is far smaller. A line that is longer is refused, and what has no end within it is ended all the same. */
export const MAX_LINE_BYTES = 256 * 1024

/** Where the lines of a format end, of which each that is not empty is one event. Such a format remembers nothing, and asks for nothing. */
export type LineFormat = {
  /** Of one body, from its beginning. */
  ends(): LineEnds
  /** A line that says nothing. */
  isEmpty(bytes: Buffer, from: number, to: number): boolean
}

/** Remembers how far it has looked: each byte costs about the same, whatever stands before it and in however many pieces it comes. */
export interface LineEnds {
  /**
   * Where the newline stands that ends the line which begins at `from`; -1 when it is not there yet, and at the latest where the bytes do when
   * these are the last of all. Asked of one line behind the other, and of the same one again when more of it has come. Whatever stands in it,
   * a line ends at the first newline beyond `MAX_LINE_BYTES`.
   */
  next(bytes: Buffer, from: number, isLast: boolean): number
}

export type Format = {
  readonly name: string
  /** Counted up when the same bytes become something else; stands in the quarantine beside what it refused. */
  readonly version: number
  /** One line for people. */
  readonly title: string
  readonly options: TObject
  /** What a schema cannot say of the options, asked when a mapping is saved. @throws Failure `invalid` that names the option and the place in it. */
  check?(options: Readonly<Record<string, unknown>>): void | Promise<void>
  /** Topic filters it is switched on for in every project that says nothing else. */
  readonly topics: readonly string[]
  readonly contentTypes: readonly string[]
  /** Whether a topic that no mapping is for is this format's all the same: earlier payloads said so. */
  claims?(topic: string, memory: Memory): boolean
  /** Whether payloads of this topic tell what others rest on, so rarely that what other gateways have learnt is asked for before each. */
  isLasting?(topic: readonly string[]): boolean
  /** Of formats that have one event a line: a body of any length is taken part by part. */
  readonly lines?: LineFormat
  /**
   * Called for the payloads of one connection in their order, the next when this one's promise is settled.
   * @throws Failure `invalid`, `too_large` or `unsupported` when nothing in it can be read; what is wrong with single elements stands in `decoded`.
   */
  decode(payload: Payload, clock: Clock): Output | Promise<Output>
  /** An element that `decoded` refuses is a payload by itself: it is kept alone, and not with the whole payload. */
  readonly separable?: true
}
