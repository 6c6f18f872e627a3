// JSON on its way in: a bare value, event data, a whole event, an array of them, or lines. One place decides which is which.

import { checkDevice, checkEventId, checkEventType, checkProject, type EventData, mainField } from '../../../packages/core/event.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { contentId, contentKey } from '../../../packages/core/id.ts'
import { asciiJson, repeatedKeyIn } from '../../../packages/core/json.ts'
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

/** A valid event, ready for the log. */
export type Incoming = {
  readonly project: string
  readonly device: string
  readonly eventType: string
  readonly timeUs: number
  readonly frame: string
  /** By which a redelivery is known; undefined when the sender gave neither id nor time. */
  readonly key: string | undefined
}

/** One element of a payload: an event, or why it is none and what it was. */
export type Decoded = { readonly event: Incoming } | { readonly failure: Failure; readonly element: string | Buffer }

export type Clock = { nowUs(): number; newId(): string }

const MAX_BATCH = 10_000
const MAX_FRAME_CHARS = 64 * 1024
const WHOLE_KEYS: ReadonlySet<string> = new Set(['eventId', 'targetName', 'eventType', 'data', 'timestamp', 'device'])

/** Parses a payload; text that is not JSON is a bare string (`OPEN`) where the place names device and type. */
export function decodeJson(payload: Buffer, place: Place, clock: Clock): Decoded[] {
  const text = utf8(payload)
  const value = parseJson(text, place)
  const repeated = repeatedKeyIn(text, value)
  if (repeated !== undefined) throw givenTwice(repeated)
  if (Array.isArray(value) && place.eventType === undefined) return decodeArray(value, place, clock)
  return [decodeOne(value, place, clock, text)]
}

/** One event per line; an empty line is skipped. */
export function decodeLines(payload: Buffer, place: Place, clock: Clock): Decoded[] {
  const decoded: Decoded[] = []
  for (const line of utf8(payload).split('\n')) {
    if (line.trim() === '') continue
    if (decoded.length === MAX_BATCH) throw tooMany()
    decoded.push(decodeLine(line, place, clock))
  }
  if (decoded.length === 0) throw invalid('events', 'expected at least one event, got no line')
  return decoded
}

function decodeLine(line: string, place: Place, clock: Clock): Decoded {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    return { failure: notJson(error), element: line }
  }
  const repeated = repeatedKeyIn(line, value)
  if (repeated !== undefined) return { failure: givenTwice(repeated), element: line }
  return decodeOne(value, place, clock, line)
}

function decodeArray(values: readonly unknown[], place: Place, clock: Clock): Decoded[] {
  if (values.length === 0) throw invalid('events', 'expected at least one event, got an empty array')
  if (values.length > MAX_BATCH) throw tooMany()
  return values.map(value => decodeOne(value, place, clock))
}

function tooMany(): Failure {
  return new Failure('too_large', `events: at most ${MAX_BATCH} in one request`)
}

function notJson(error: unknown): Failure {
  return new Failure('invalid', `payload: not JSON: ${(error as Error).message}`, { field: 'payload', cause: error })
}

/** One of the two is not what the sender meant, and nobody knows which. */
function givenTwice(key: string): Failure {
  return invalid('payload', `the key ${JSON.stringify(key.slice(0, 100))} is given twice in one object`)
}

const decoder = new TextDecoder('utf-8', { fatal: true })

function utf8(payload: Buffer): string {
  try {
    return decoder.decode(payload)
  } catch (error) {
    throw new Failure('invalid', 'payload: not UTF-8 text', { field: 'payload', cause: error })
  }
}

const BARE_WORD = /^[A-Za-z][\w .:+/-]{0,255}$/

function parseJson(text: string, place: Place): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if ((place.device ?? place.elseDevice) !== undefined && place.eventType !== undefined && BARE_WORD.test(text)) return text
    throw notJson(error)
  }
}

/** `element`: as it was sent, where it stands alone; JSON says 1e999 as null. */
function decodeOne(value: unknown, place: Place, clock: Clock, element?: string): Decoded {
  try {
    return { event: toEvent(value, place, clock) }
  } catch (error) {
    if (error instanceof Failure) return { failure: error, element: element ?? textOf(value) }
    throw error
  }
}

/** JSON.parse takes any depth and JSON.stringify does not: it runs out of stack after some thousand levels. */
function textOf(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch (error) {
    if (error instanceof RangeError) return '"nested too deeply to be shown"'
    throw error
  }
}

type Parts = { device: string; eventType: string; data: EventData; eventId: string | undefined; timestamp: unknown }

function toEvent(value: unknown, given: Place, clock: Clock): Incoming {
  const place = withDevice(value, given)
  if (place.device === undefined && place.saidBy !== undefined && !namesDevice(value))
    throw invalid('device', `missing: set ${place.saidBy}`)
  const parts = isObject(value) && isWhole(value, place) ? wholeParts(value, place) : dataParts(value, withType(value, place))
  const nowUs = clock.nowUs()
  const sentUs = sentTime(parts)
  const timeUs = sentUs ?? nowUs
  const content = `${parts.device}\t${parts.eventType}\t`
  const key = keyOf(content, parts, sentUs)
  const eventId = parts.eventId ?? (sentUs === undefined ? clock.newId() : contentId(sentUs, content + JSON.stringify(parts.data)))
  const targetName = `projects/${place.project}/devices/${parts.device}`
  const timestamp = formatTime(timeUs)
  const data = complete(parts.eventType, parts.data, timeUs, timestamp)
  const frame = frameOf(eventId, targetName, parts.eventType, data, timestamp)
  if (frame.length > MAX_FRAME_CHARS) throw new Failure('too_large', `event: at most ${MAX_FRAME_CHARS} characters, got ${frame.length}`)
  return { project: place.project, device: parts.device, eventType: parts.eventType, timeUs, frame, key }
}

/** The event as JSON; only the parts that may hold anything are serialised, names and times are text that JSON takes as it is. */
function frameOf(eventId: string, targetName: string, eventType: string, data: EventData, timestamp: string): string {
  const named = `{"eventId":${asciiJson(eventId)},"targetName":${asciiJson(targetName)},"eventType":"${eventType}"`
  return `${named},"data":${asciiJson(data)},"timestamp":"${timestamp}"}`
}

/** An id of the sender's counts for one device, type and time; without one the content is the identity (design.md §5). */
function keyOf(content: string, parts: Parts, sentUs: number | undefined): string | undefined {
  if (parts.eventId !== undefined) return contentKey(`${content}${sentUs ?? ''}\t${parts.eventId}`)
  if (sentUs !== undefined) return contentKey(`${content}${sentUs}\t${JSON.stringify(parts.data)}`)
  return undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function withDevice(value: unknown, place: Place): Place {
  const { device, elseDevice } = place
  if (device !== undefined || elseDevice === undefined || namesDevice(value)) return place
  return { ...place, device: elseDevice }
}

function namesDevice(value: unknown): boolean {
  return isObject(value) && Object.hasOwn(value, 'data') && (Object.hasOwn(value, 'targetName') || Object.hasOwn(value, 'device'))
}

/** A whole event names its data. Where the place leaves the device open nothing else will do. */
function isWhole(value: Record<string, unknown>, place: Place): boolean {
  if (place.device === undefined) return true
  return Object.hasOwn(value, 'data') && Object.keys(value).every(key => WHOLE_KEYS.has(key))
}

/** `{"temperature":{"value":21.5}}` names its own type where the place does not. */
function withType(value: unknown, place: Place): Place {
  if (place.eventType !== undefined || !isObject(value)) return place
  const eventType = onlyKey(value)
  return eventType !== undefined && isObject(value[eventType]) ? { ...place, eventType } : place
}

function wholeParts(value: Record<string, unknown>, place: Place): Parts {
  for (const key of Object.keys(value))
    if (!WHOLE_KEYS.has(key)) throw invalid(key, `unknown field; an event has ${[...WHOLE_KEYS].join(', ')}`)
  const device = place.device ?? deviceOf(value, place.project)
  if (place.device !== undefined && value['targetName'] !== undefined && deviceOf(value, place.project) !== place.device)
    throw invalid('targetName', `expected the device of the topic or route, ${place.device}`)
  const eventType = value['eventType'] ?? place.eventType ?? onlyKey(value['data'])
  if (typeof eventType !== 'string') throw invalid('eventType', 'expected the name of the event type')
  if (place.eventType !== undefined && eventType !== place.eventType)
    throw invalid('eventType', `expected the event type of the topic, ${place.eventType}`)
  checkSent(eventType)
  if (!isObject(value['data'])) throw invalid('data', `expected an object such as {"${eventType}":{"${mainField(eventType)}":…}}`)
  return {
    device: checkDevice(device),
    eventType,
    data: keyed(eventType, value['data']),
    eventId: eventIdOf(value['eventId']),
    timestamp: value['timestamp'],
  }
}

/** By these Telltale itself tells followers what changed, what is missing and that it is still there. */
const OURS: ReadonlySet<string> = new Set(['labelsChanged', 'gap', 'ping'])

function checkSent(eventType: string): void {
  checkEventType(eventType)
  if (OURS.has(eventType)) throw invalid('eventType', `${eventType} is written by Telltale itself`)
}

const TARGET = /^projects\/([^/]+)\/devices\/([^/]+)$/

function deviceOf(value: Record<string, unknown>, project: string): string {
  const { targetName, device } = value
  if (typeof targetName === 'string') {
    const match = TARGET.exec(targetName)
    if (!match) throw invalid('targetName', 'expected projects/{project}/devices/{device}')
    if (checkProject(match[1] as string, 'targetName') !== project)
      throw invalid('targetName', `expected project ${project}, got ${match[1]}`)
    return match[2] as string
  }
  if (targetName !== undefined) throw invalid('targetName', 'expected projects/{project}/devices/{device}')
  if (typeof device !== 'string') throw invalid('targetName', 'missing: expected projects/{project}/devices/{device}')
  return device
}

function onlyKey(data: unknown): string | undefined {
  const keys = isObject(data) ? Object.keys(data) : []
  return keys.length === 1 ? keys[0] : undefined
}

function dataParts(value: unknown, place: Place): Parts {
  const { device, eventType } = place
  if (device === undefined || eventType === undefined)
    throw invalid('payload', 'expected a whole event: an object with targetName, eventType and data')
  checkDevice(device)
  checkSent(eventType)
  if (!isObject(value)) return { device, eventType, data: bare(eventType, value), eventId: undefined, timestamp: undefined }
  const { eventId, timestamp, ...data } = value
  return { device, eventType, data: keyed(eventType, data), eventId: eventIdOf(eventId), timestamp }
}

function eventIdOf(value: unknown): string | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw invalid('eventId', 'expected a string')
  return checkEventId(value)
}

function bare(eventType: string, value: unknown): EventData {
  if (typeof value === 'number' || typeof value === 'boolean' || (typeof value === 'string' && value !== '')) {
    checkNumbers(value, eventType)
    return { [eventType]: { [mainField(eventType)]: value } }
  }
  throw invalid('payload', 'expected a number, a string, true or false, an object with the data, or a whole event')
}

/** `{"temperature":{…}}` as it is, `{"value":21.5}` under its type; `value` also stands for the type's own main field. */
function keyed(eventType: string, data: Record<string, unknown>): EventData {
  checkNumbers(data, 'data')
  const inner = Object.hasOwn(data, eventType) ? data[eventType] : undefined
  if (isObject(inner)) {
    const extra = Object.keys(data).find(key => key !== eventType)
    if (extra !== undefined) throw invalid(`data.${extra}`, `unknown field beside data.${eventType}`)
    return data
  }
  if (Object.keys(data).length === 0) throw invalid(`data.${eventType}`, 'expected at least one field')
  return { [eventType]: renamed(eventType, data) }
}

function renamed(eventType: string, data: Record<string, unknown>): Record<string, unknown> {
  const field = mainField(eventType)
  if (field === 'value' || !Object.hasOwn(data, 'value') || Object.hasOwn(data, field)) return data
  const { value, ...rest } = data
  return { [field]: value, ...rest }
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
function checkNumbers(value: unknown, path: string, depth = 0): void {
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

/** The sender's own time: the event's, else the reading's; undefined when it gave none. */
function sentTime(parts: Parts): number | undefined {
  if (parts.timestamp !== undefined) return checkTime(parts.timestamp, 'timestamp')
  const inner = parts.data[parts.eventType] as EventData
  if (!Object.hasOwn(inner, 'updateTime')) return undefined
  return checkTime(inner['updateTime'], `data.${parts.eventType}.updateTime`)
}

/** The update time, and what else readers of the stream rely on. */
function complete(eventType: string, data: EventData, timeUs: number, timestamp: string): EventData {
  const inner = data[eventType] as Record<string, unknown>
  const own = inner['updateTime']
  const ownUs = own === undefined ? timeUs : checkTime(own, `data.${eventType}.updateTime`)
  return { [eventType]: completed(eventType, inner, ownUs === timeUs ? timestamp : formatTime(ownUs)) }
}
