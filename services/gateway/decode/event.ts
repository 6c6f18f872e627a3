// From what a format found in a payload to an event ready for the log: names checked, data completed, identity and frame made. The one
// place where that happens, so that every format means the same by an event.
import { EARLIEST_US, isPlausible } from '../../../packages/core/clock.ts'
import { checkDevice, checkEventId, checkEventType, type EventData } from '../../../packages/core/event.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { contentId, contentKey } from '../../../packages/core/id.ts'
import { asciiJson } from '../../../packages/core/json.ts'
import { checkTime, formatTime } from '../../../packages/core/time.ts'
import { completed } from './complete.ts'

/** What the topic or the route says of an event; the rest must stand in the payload. */
export type Place = {
  readonly project: string
  readonly device?: string | undefined
  readonly eventType?: string | undefined
  /** The device of what does not name its own. */
  readonly elseDevice?: string | undefined
  /** Where else it could have been said, for who says no device at all. */
  readonly saidBy?: string | undefined
}

/** What a format found. */
export type Found = {
  readonly device: string
  readonly eventType: string
  /** Keyed by the event type: `{"temperature":{"value":21.5}}`. */
  readonly data: EventData
  /** The sender's own time; undefined when it gave none. */
  readonly timeUs?: number | undefined
  /** The sender's own id. */
  readonly eventId?: string | undefined
}

/** A valid event, ready for the log. */
export type Incoming = {
  readonly project: string
  readonly device: string
  readonly eventType: string
  readonly timeUs: number
  readonly frame: string
  /** Its data before Telltale completed it. */
  readonly sent: EventData
  /** By which a redelivery is known; undefined when the sender gave neither id nor a time that can be right. */
  readonly key: string | undefined
  /** By the sender's clock, also where that is wrong; undefined when it gave no time. */
  readonly sentUs: number | undefined
  readonly arrivedUs: number
  /** Its event type and the names of its fields, as one text: few for a fleet, however many events. */
  readonly shape: string
}

/** One element of a payload: an event, or why it is none and what it was. */
export type Decoded = Fit | Unfit

/** `element`: as it was sent, where it can be decoded by itself; asked for when something refuses it later. */
export type Fit = { readonly event: Incoming; readonly element?: string | Buffer | (() => string) }

/** `device`: whose it is, as far as that can be read. `isCut`: there was more of it. */
export type Unfit = {
  readonly failure: Failure
  readonly element: string | Buffer
  readonly device?: string | undefined
  readonly isCut?: true
}

/** Of arrival. `sentUs`: when whoever carried it says that it was sent, for what gives no time of its own. */
export type Clock = { nowUs(): number; newId(): string; readonly sentUs?: number | undefined }

const MAX_FRAME_CHARS = 64 * 1024

/** What most formats use: names and values are checked. @throws Failure `invalid` or `too_large`. */
export function checkedEvent(found: Found, project: string, clock: Clock): Incoming {
  checkDevice(found.device)
  checkSent(found.eventType)
  if (found.eventId !== undefined) checkEventId(found.eventId)
  checkNumbers(found.data, 'data')
  return toEvent(found, project, clock)
}

/** Of what was checked already: by names that clients of the format know. @throws Failure `invalid` or `too_large`. */
export function toEvent(found: Found, project: string, clock: Clock): Incoming {
  const { device, eventType, data: sent } = found
  const arrivedUs = clock.nowUs()
  const saidUs = found.timeUs ?? clock.sentUs
  const believedUs = saidUs !== undefined && isPlausible(saidUs, arrivedUs) ? saidUs : undefined
  const timeUs = believedUs ?? arrivedUs
  // A clock that begins in 1970 at each start says the same again of another time: that is no identity. One that runs ahead does not.
  const ownUs = found.timeUs !== undefined && found.timeUs >= EARLIEST_US ? found.timeUs : undefined
  const content = `${device}\t${eventType}\t`
  const key = keyOf(content, found, ownUs)
  const eventId = found.eventId ?? (ownUs === undefined ? clock.newId() : contentId(ownUs, content + JSON.stringify(sent)))
  const targetName = `projects/${project}/devices/${device}`
  const timestamp = formatTime(timeUs)
  const wrongUs = believedUs === undefined ? saidUs : undefined
  const data = wrongUs === undefined ? complete(eventType, sent, timeUs, timestamp) : corrected(eventType, sent, wrongUs, timestamp)
  const frame = frameOf(eventId, targetName, eventType, data, timestamp)
  if (frame.length > MAX_FRAME_CHARS) throw new Failure('too_large', `event: at most ${MAX_FRAME_CHARS} characters, got ${frame.length}`)
  return { project, device, eventType, timeUs, frame, sent, key, sentUs: found.timeUs, arrivedUs, shape: shapeOf(eventType, sent) }
}

/** As `toEvent`, with what it was where it is none. `element`: as it was sent. */
export function decodedFrom(find: () => Incoming, element: string | Buffer): Decoded {
  try {
    return { event: find(), element }
  } catch (error) {
    if (error instanceof Failure) return { failure: error, element }
    throw error
  }
}

/** As it was sent, as far as that is known; else as a whole event, with the identity that it has got. */
export function elementOf({ event: { frame, sent }, element }: Fit): string | Buffer {
  if (element !== undefined) return typeof element === 'function' ? element() : element
  return JSON.stringify({ ...(JSON.parse(frame) as object), data: sent })
}

/** The event as JSON; only the parts that may hold anything are serialised, names and times are text that JSON takes as it is. */
function frameOf(eventId: string, targetName: string, eventType: string, data: EventData, timestamp: string): string {
  const named = `{"eventId":${asciiJson(eventId)},"targetName":${asciiJson(targetName)},"eventType":"${eventType}"`
  return `${named},"data":${asciiJson(data)},"timestamp":"${timestamp}"}`
}

/** An id of the sender's counts for one device, type and time; without one the content is the identity (design.md §5). */
function keyOf(content: string, { eventId, timeUs, data }: Found, ownUs: number | undefined): string | undefined {
  if (eventId !== undefined) return contentKey(`${content}${timeUs ?? ''}\t${eventId}`)
  if (ownUs !== undefined) return contentKey(`${content}${ownUs}\t${JSON.stringify(data)}`)
  return undefined
}

/** By these Telltale itself tells followers what changed, what is missing and that it is still there. */
const OURS: ReadonlySet<string> = new Set(['labelsChanged', 'gap', 'ping'])

export function checkSent(eventType: string): void {
  checkEventType(eventType)
  if (OURS.has(eventType)) throw invalid('eventType', `${eventType} is written by Telltale itself`)
}

const MAX_DEPTH = 16
const MAX_KEYS = 256

/** From here on JSON writes integers with an exponent. */
const EXPONENT = 1e21

function checkNumber(value: number, path: string): void {
  if (!Number.isFinite(value)) throw invalid(path, 'expected a finite number')
  // It may have been another one: 2^53 + 1 is read as 2^53.
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < EXPONENT)
    throw invalid(path, `expected an integer within ±${Number.MAX_SAFE_INTEGER}, beyond which they are not exact: send it as text`)
}

/** Refuses what JSON can say but a reading cannot be: 1e999, `__proto__`, hundreds of fields, deep nesting. */
export function checkNumbers(value: unknown, path: string, depth = 0): void {
  if (typeof value === 'number') checkNumber(value, path)
  if (typeof value !== 'object' || value === null) return
  if (depth === MAX_DEPTH) throw invalid(path, `nested deeper than ${MAX_DEPTH} levels`)
  const keys = Object.keys(value)
  if (keys.length > MAX_KEYS) throw invalid(path, `at most ${MAX_KEYS} fields, got ${keys.length}`)
  for (const key of keys) {
    if (key === '__proto__') throw invalid(`${path}.${key}`, 'not a field name')
    checkNumbers((value as Record<string, unknown>)[key], `${path}.${key}`, depth + 1)
  }
}

/** The update time, and what else readers of the stream rely on. */
function complete(eventType: string, data: EventData, timeUs: number, timestamp: string): EventData {
  const inner = data[eventType] as Record<string, unknown>
  const own = inner['updateTime']
  const ownUs = own === undefined ? timeUs : checkTime(own, `data.${eventType}.updateTime`)
  return { [eventType]: completed(eventType, inner, ownUs === timeUs ? timestamp : formatTime(ownUs)) }
}

/** By the time of arrival, because the device's own cannot be right; that stands beside it (rules.md "Correctness"). */
function corrected(eventType: string, data: EventData, wrongUs: number, timestamp: string): EventData {
  const { updateTime: _, ...inner } = data[eventType] as Record<string, unknown>
  const deviceClock = { state: wrongUs < EARLIEST_US ? 'unset' : 'ahead', time: formatTime(wrongUs) }
  return { [eventType]: { ...completed(eventType, inner, timestamp), deviceClock } }
}

const SHAPE_SEPARATOR = '\n'

/** Of what are readings (packages/core/event.ts): a name that nobody can ask for is none. */
function shapeOf(eventType: string, data: EventData): string {
  return eventType + namesIn('', data[eventType])
}

function namesIn(path: string, value: unknown): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return ''
  let names = ''
  for (const key in value) {
    const inner = (value as EventData)[key]
    if (typeof inner === 'number') names += SHAPE_SEPARATOR + path + key
    else if (typeof inner === 'object') names += namesIn(`${path}${key}.`, inner)
  }
  return names
}
