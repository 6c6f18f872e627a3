// What decoders that people write give: one element is one event, in the few words that they need for it. Checked like anything that is sent.
import { readObject } from '../../../packages/core/condition/input.ts'
import { type EventData, mainField } from '../../../packages/core/event.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { formatTime } from '../../../packages/core/time.ts'
import { type Clock, type Decoded, decodedFrom, type Incoming, type Place } from './event.ts'
import { decodeOne, isObject, MAX_BATCH, textOf, tooMany } from './json.ts'
import { measured } from './measure.ts'
import { STANDARD } from './quantity.ts'
import { eventTime } from './time.ts'

const KEYS = ['device', 'targetName', 'eventType', 'data', 'value', 'unit', 'timestamp', 'eventId']
const EXPECTED = 'expected one event such as {"device":"d1","eventType":"temperature","value":21.5}, a list of such, or null'

/**
 * `{ device, eventType, data | value, unit?, timestamp?, eventId? }`, one or many; nothing for null. What the place says need not be said.
 * @param by who gave it, as refusals name it: `decode()`.
 */
export function decodeElements(given: unknown, by: string, place: Place, clock: Clock): Decoded[] {
  if (given === null || given === undefined) return []
  if (isObject(given)) return [decodeElement(given, by, place, clock)]
  if (!Array.isArray(given)) throw invalid('result', `${by} gave ${shown(given)}; ${EXPECTED}`)
  if (given.length > MAX_BATCH) throw tooMany()
  return given.map((one: unknown) => decodeElement(one, by, place, clock))
}

function decodeElement(given: unknown, by: string, place: Place, clock: Clock): Decoded {
  return decodedFrom(
    () => {
      if (!isObject(given)) throw invalid('result', `${by} gave ${shown(given)}; ${EXPECTED}`)
      return eventOf(given, place, clock)
    },
    // Asked for only when it is refused.
    () => textOf(given),
  )
}

function eventOf(given: Readonly<Record<string, unknown>>, place: Place, clock: Clock): Incoming {
  const { targetName, eventType = place.eventType, value, unit, timestamp, eventId, ...rest } = readObject(given, '', KEYS, 'result')
  const device = targetName === undefined ? deviceIn(rest['device'], place) : undefined
  if (typeof eventType !== 'string' && value !== undefined)
    throw invalid('eventType', `expected the name of the event type, got ${shown(eventType)}`)
  const whole = {
    ...(device === undefined ? { targetName } : { device }),
    ...(eventType === undefined ? {} : { eventType }),
    data: value === undefined ? dataIn(rest['data']) : dataOf(String(eventType), value, unit, rest['data']),
    ...(eventId === undefined || eventId === null ? {} : { eventId: typeof eventId === 'number' ? String(eventId) : eventId }),
    ...(timestamp === undefined || timestamp === null ? {} : { timestamp: formatTime(eventTime(timestamp, 'timestamp')) }),
  }
  const decoded = decodeOne(whole, { ...place, saidBy: undefined, elseDevice: undefined }, clock)
  if ('failure' in decoded) throw decoded.failure
  return decoded.event
}

function deviceIn(given: unknown, place: Place): string {
  const device = given ?? place.device ?? place.elseDevice
  if (device === undefined) throw invalid('device', 'missing: expected the id of the device')
  if (typeof device === 'number') return String(device)
  if (typeof device !== 'string') throw invalid('device', `expected the id of the device, got ${shown(device)}`)
  if (place.device !== undefined && device !== place.device)
    throw invalid('device', `expected the device of the topic or route, ${place.device}`)
  return device
}

function dataIn(data: unknown): EventData {
  if (data === undefined) throw invalid('data', 'missing: expected data or value')
  if (!isObject(data)) throw invalid('data', `expected an object such as {"value":21.5}, got ${shown(data)}`)
  return data
}

function dataOf(eventType: string, value: unknown, unit: unknown, data: unknown): EventData {
  if (data !== undefined) throw invalid('value', 'expected data or value, not both')
  if (typeof value !== 'number' && typeof value !== 'string' && typeof value !== 'boolean')
    throw invalid('value', `expected a number, a text, true or false, got ${shown(value)}`)
  if (unit === undefined || unit === null) return { [mainField(eventType)]: value }
  if (typeof unit !== 'string') throw invalid('unit', `expected the name of a unit such as °F, got ${shown(unit)}`)
  const [only] = measured([{ name: eventType, value, unit }])
  if (only?.eventType === eventType) return only.data
  if (STANDARD.has(eventType) && only?.eventType !== 'relativeHumidity')
    throw invalid(eventType, `expected a unit of ${eventType}, got ${unit.slice(0, 40)}`)
  return { [eventType]: { [mainField(eventType)]: value, unit } }
}

const MULTIPLE = 4
/** Thousands of elements may say their names and times of few bytes each. */
const MIN_ROOM = 4 * 1024 * 1024

/**
 * What all elements of one payload may say together, in characters: each may take the whole payload for itself, and thousands of them would
 * take all memory there is.
 */
export class Room {
  readonly #most: number
  #left: number

  constructor(payload: Buffer) {
    this.#most = Math.max(MIN_ROOM, MULTIPLE * payload.length)
    this.#left = this.#most
  }

  get isFull(): boolean {
    return this.#left < 0
  }

  /** Looks at no more of the value than there is room for. @throws Failure `too_large`. */
  take(value: unknown): void {
    for (const open = [value]; open.length > 0; ) {
      const one = open.pop()
      this.#left -= charsOf(one)
      if (this.isFull) throw new Failure('too_large', `elements: at most ${this.#most} characters of one payload in all`)
      if (typeof one !== 'object' || one === null || one instanceof Uint8Array) continue
      if (!Array.isArray(one)) for (const key in one) this.#left -= key.length
      for (const inner of Object.values(one)) open.push(inner)
    }
  }
}

const SCALAR_CHARS = 8

function charsOf(value: unknown): number {
  if (typeof value === 'string') return value.length
  return value instanceof Uint8Array ? value.length * 2 : SCALAR_CHARS
}

/** Enough of it to know it again. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = textOf(value) ?? typeof value
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}
