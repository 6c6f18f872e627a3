// JSON on its way in: a bare value, event data, a whole event, an array of them, or lines. One place decides which is which.

import { checkDevice, checkEventId, checkProject, type EventData, mainField } from '../../../packages/core/event.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { repeatedKeyIn } from '../../../packages/core/json.ts'
import { checkTime } from '../../../packages/core/time.ts'
import { type Clock, checkNumbers, checkSent, type Decoded, type Found, type Incoming, type Place, toEvent } from './event.ts'
import { eventTime, timeIn } from './time.ts'

export const MAX_BATCH = 10_000
const WHOLE_KEYS: ReadonlySet<string> = new Set(['eventId', 'targetName', 'eventType', 'data', 'timestamp', 'device'])

/** Parses a payload; text that is not JSON is a bare string (`OPEN`) where the place names device and type. */
export function decodeJson(payload: Buffer, place: Place, clock: Clock): Decoded[] {
  const text = utf8(payload)
  const value = parseJson(text, place)
  const repeated = repeatedKeyIn(text, value)
  if (repeated !== undefined) throw givenTwice(repeated)
  return decodeValue(value, place, clock, text)
}

/** Of formats that are JSON; a key that is given twice is refused. */
export function readJson(payload: Buffer): unknown {
  const text = utf8(payload)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw notJson(error)
  }
  const repeated = repeatedKeyIn(text, value)
  if (repeated !== undefined) throw givenTwice(repeated)
  return value
}

/** What was parsed, also by other formats that say what JSON says. `element`: as it was sent. */
export function decodeValue(value: unknown, place: Place, clock: Clock, element: string | Buffer): Decoded[] {
  if (Array.isArray(value) && place.eventType === undefined) return decodeArray(value, place, clock)
  return [decodeOne(value, place, clock, element)]
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

export function tooMany(): Failure {
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

export function utf8(payload: Buffer): string {
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
export function decodeOne(value: unknown, place: Place, clock: Clock, element?: string | Buffer): Decoded {
  try {
    return { event: eventOf(value, place, clock), element: element ?? (() => textOf(value)) }
  } catch (error) {
    if (error instanceof Failure)
      return { failure: error, element: element ?? textOf(value), device: saidDevice(value) ?? place.device ?? place.elseDevice }
    throw error
  }
}

/** JSON.parse takes any depth and JSON.stringify does not: it runs out of stack after some thousand levels. */
export function textOf(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch (error) {
    if (error instanceof RangeError) return '"nested too deeply to be shown"'
    throw error
  }
}

function eventOf(value: unknown, given: Place, clock: Clock): Incoming {
  const place = withDevice(value, given)
  if (place.device === undefined && place.saidBy !== undefined && !namesDevice(value))
    throw invalid('device', `missing: set ${place.saidBy}`)
  const found = isObject(value) && isWhole(value, place) ? wholeEvent(value, place) : eventData(value, withType(value, place))
  return toEvent(found, place.project, clock)
}

/** Whatever it is worth otherwise. */
function saidDevice(value: unknown): string | undefined {
  if (!isObject(value)) return undefined
  const { targetName, device } = value
  const said = typeof targetName === 'string' ? TARGET.exec(targetName)?.[2] : device
  return typeof said === 'string' ? said : undefined
}

export function isObject(value: unknown): value is Record<string, unknown> {
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

function wholeEvent(value: Record<string, unknown>, place: Place): Found {
  for (const key of Object.keys(value))
    if (!WHOLE_KEYS.has(key)) throw invalid(key, `unknown field; an event has ${[...WHOLE_KEYS].join(', ')}`)
  const device = place.device ?? deviceOf(value, place.project)
  if (place.device !== undefined) checkPlaced(value, place.device, place.project)
  const eventType = value['eventType'] ?? place.eventType ?? onlyKey(value['data'])
  if (typeof eventType !== 'string') throw invalid('eventType', 'expected the name of the event type')
  if (place.eventType !== undefined && eventType !== place.eventType)
    throw invalid('eventType', `expected the event type of the topic, ${place.eventType}`)
  checkSent(eventType)
  if (!isObject(value['data'])) throw invalid('data', `expected an object such as {"${eventType}":{"${mainField(eventType)}":…}}`)
  checkDevice(device)
  const data = keyed(eventType, value['data'])
  return { device, eventType, data, eventId: eventIdOf(value['eventId']), timeUs: sentTime(eventType, data, value['timestamp']) }
}

/** What says another device was sent to the wrong place; which of the two is meant nobody knows. */
function checkPlaced(value: Record<string, unknown>, device: string, project: string): void {
  const expected = `expected the device of the topic or route, ${device}`
  if (value['targetName'] !== undefined && deviceOf(value, project) !== device) throw invalid('targetName', expected)
  if (value['device'] !== undefined && value['device'] !== device) throw invalid('device', expected)
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

function eventData(value: unknown, place: Place): Found {
  const { device, eventType } = place
  if (device === undefined || eventType === undefined)
    throw invalid('payload', 'expected a whole event: an object with targetName, eventType and data')
  checkDevice(device)
  checkSent(eventType)
  if (!isObject(value)) return { device, eventType, data: bare(eventType, value) }
  const { eventId, timestamp, ...rest } = value
  const name = timestamp === undefined ? timeNameIn(rest, eventType) : undefined
  const time = name === undefined ? timestamp : rest[name]
  if (name !== undefined) delete rest[name]
  const data = keyed(eventType, rest)
  return { device, eventType, data, eventId: eventIdOf(eventId), timeUs: sentTime(eventType, data, time) }
}

const TIME_NAMES = ['time', 'ts', 'datetime'] as const
/** A field of one of these names is a time only if it can be one of now: 12.5 may be seconds that something took. */
const EARLIEST = Date.UTC(2000, 0, 2) * 1000

/** What else devices call the time of an event, beside `timestamp`. */
function timeNameIn(value: Record<string, unknown>, eventType: string): string | undefined {
  if (Object.hasOwn(value, eventType)) return undefined
  return TIME_NAMES.find(name => Object.hasOwn(value, name) && (timeIn(value[name]) ?? 0) >= EARLIEST)
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

/** The sender's own time: the event's, else the reading's; undefined when it gave none. */
function sentTime(eventType: string, data: EventData, timestamp: unknown): number | undefined {
  if (timestamp !== undefined) return eventTime(timestamp, 'timestamp')
  const inner = data[eventType] as EventData
  if (!Object.hasOwn(inner, 'updateTime')) return undefined
  return checkTime(inner['updateTime'], `data.${eventType}.updateTime`)
}
