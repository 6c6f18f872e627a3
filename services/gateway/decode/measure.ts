// What most sensors measure, under one name and in one unit: `temp_c`, `Temperature` in °F and `t` become the event type `temperature` with
// its value in °C, and what was sent stays beside it. Names, units and words stand in quantity.ts.
import type { EventData } from '../../../packages/core/event.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { conversion, convert, parseUnit } from '../../../packages/core/unit.ts'
import { type Clock, checkedEvent, type Decoded, decodedFrom } from './event.ts'
import { NUMBER_NAMES, plainName, type Quantity, STATE_NAMES, truthOf } from './quantity.ts'

/** One thing that one payload says of a device. */
export type Measure = { readonly name: string; readonly value: number | string | boolean; readonly unit?: string | undefined }

/** Of one time; `data` is keyed by the event type. */
export type Measured = { readonly eventType: string; readonly data: EventData }

type Fields = Record<string, unknown>
type Named = { readonly eventType: string; readonly fields: Fields }

/**
 * The events of what was measured at one time, one of each type. Of two measures of one type the first has it, and the later one a type
 * by its own name: `temperature` and `temp` become `temperature` and `temp`. Channels, phases and probes are devices: see `channelOf`.
 * @throws Failure `invalid` that names the measure.
 */
export function measured(measures: readonly Measure[]): Measured[] {
  return eventsOf(measures.map(fieldsOf), measures)
}

/** Whether a measure has a type that others know as well. */
export function isKnown({ name, value, unit }: Measure): boolean {
  return numberOf(name, value) !== undefined || stateOf(name, value, unit) !== undefined
}

/** Whether a device is there; `connectionStatus` says by which way, which most systems do not tell. */
export function availability(isOnline: boolean): Measured {
  return { eventType: 'availability', data: { availability: { state: isOnline ? 'ONLINE' : 'OFFLINE' } } }
}

/** What one payload says of a device at one time. */
export type Report = {
  readonly device: string
  readonly timeUs?: number | undefined
  readonly measures: readonly Measure[]
  /** What else it says of the device, as it is: settings, colours, words. Becomes the event type `state`. */
  readonly rest?: EventData | undefined
  readonly more?: readonly Measured[] | undefined
}

/** More than any device has; names that differ in little must be told apart one by one. */
const MAX_MEASURES = 256

/** Its events; what is wrong with one measure harms no other. `element`: the payload. */
export function reported(report: Report, project: string, clock: Clock, element: string | Buffer): Decoded[] {
  const { device, timeUs, measures, rest, more = [] } = report
  if (measures.length > MAX_MEASURES) {
    const failure = new Failure('too_large', `measures: at most ${MAX_MEASURES} of one device at one time, got ${measures.length}`)
    return [{ failure, element }]
  }
  const failures: Decoded[] = []
  const good: Measure[] = []
  const named: Named[] = []
  for (const measure of measures) {
    try {
      named.push(fieldsOf(measure))
      good.push(measure)
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure
      failures.push({ failure, element })
    }
  }
  const state = rest === undefined || isEmpty(rest) ? [] : [{ eventType: 'state', data: { state: rest } }]
  const events = [...eventsOf(named, good), ...more, ...state]
  return [...events.map(one => decodedFrom(() => checkedEvent({ device, timeUs, ...one }, project, clock), element)), ...failures]
}

function isEmpty(data: EventData): boolean {
  for (const _ in data) return false
  return true
}

function eventsOf(named: readonly Named[], measures: readonly Measure[]): Measured[] {
  const events = new Map<string, Fields>()
  named.forEach(({ eventType, fields }, i) => {
    const measure = measures[i] as Measure
    if (events.has(eventType)) events.set(freeType(events, eventTypeOf(measure.name)), ownFields(measure))
    else events.set(eventType, fields)
  })
  completeHumidity(events)
  return [...events].map(([eventType, fields]) => ({ eventType, data: { [eventType]: fields } }))
}

function freeType(taken: ReadonlyMap<string, unknown>, name: string): string {
  for (let count = 1; ; count++) {
    const suffix = count === 1 ? '' : `_${count}`
    const type = name.slice(0, MAX_TYPE_CHARS - suffix.length) + suffix
    if (!taken.has(type) && !(count === 1 && NUMBER_NAMES.get(type)?.eventType === type)) return type
  }
}

/** Readers of `humidity` rely on the temperature beside it; without one it has a type of its own. */
function completeHumidity(events: Map<string, Fields>): void {
  const humidity = events.get('humidity')
  if (humidity === undefined) return
  const degrees = events.get('temperature')?.['value']
  if (typeof degrees === 'number') {
    events.set('humidity', { ...humidity, temperature: degrees })
    return
  }
  events.delete('humidity')
  const { relativeHumidity, ...rest } = humidity
  events.set('relativeHumidity', { value: relativeHumidity, ...rest })
}

function fieldsOf(measure: Measure): Named {
  const { name, value, unit } = measure
  const quantity = numberOf(name, value)
  if (quantity) {
    const fields = inUnit(value as number, unit, quantity)
    if (fields) return { eventType: quantity.eventType, fields }
    // A fan's `speed` in % is no m/s, and has a name of its own only where it does not claim to be the standard one.
    if (eventTypeOf(name) === quantity.eventType) throw wrongUnit(measure, quantity)
    return { eventType: eventTypeOf(name), fields: ownFields(measure) }
  }
  const state = stateOf(name, value, unit)
  if (state) return { eventType: state.eventType, fields: { state: state.word } }
  return { eventType: eventTypeOf(name), fields: ownFields(measure) }
}

function ownFields({ value, unit }: Measure): Fields {
  return unit === undefined || unit === '' ? { value } : { value, unit }
}

function numberOf(name: string, value: unknown): Quantity | undefined {
  if (typeof value !== 'number') return undefined
  return NUMBER_NAMES.get(name) ?? NUMBER_NAMES.get(plainName(name))
}

/** A number of these is an amount: 1 ppm of carbon monoxide is no alarm. */
const AMOUNTS: ReadonlySet<string> = new Set(['co', 'carbonmonoxide', 'gas', 'sound', 'vibration', 'heat', 'output'])

function stateOf(name: string, value: unknown, unit: string | undefined): { eventType: string; word: string } | undefined {
  if (unit !== undefined && unit !== '') return undefined
  const plain = plainName(name)
  const state = STATE_NAMES.get(name) ?? STATE_NAMES.get(plain)
  if (!state || (typeof value === 'number' && AMOUNTS.has(plain))) return undefined
  const isTrue = truthOf(value, state)
  return isTrue === undefined ? undefined : { eventType: state.eventType, word: isTrue ? state.yes : state.no }
}

/** Undefined where the unit is one of something else. */
function inUnit(value: number, unit: string | undefined, { field, unit: standard }: Quantity): Fields | undefined {
  if (unit === undefined || unit === '') return { [field]: value }
  const from = parseUnit(unit)
  const to = standard === undefined ? undefined : parseUnit(standard)
  if (!from || !to) return { [field]: value, unit }
  if (from.dimension !== to.dimension) return undefined
  const change = conversion(from, to)
  return change ? { [field]: convert(value, change), original: { value, unit } } : { [field]: value }
}

function wrongUnit({ name, unit = '' }: Measure, { unit: standard = '' }: Quantity): Failure {
  const expected = `expected a unit of ${parseUnit(standard)?.dimension} such as ${standard}`
  return invalid(name, `${expected}, got ${unit.slice(0, 40)}`)
}

const MAX_TYPE_CHARS = 64

/** A name as it may stand as an event type: `PM2.5 (raw)` → `PM2.5_raw`. */
export function eventTypeOf(name: string): string {
  const text = name
    .trim()
    .replaceAll(/[^A-Za-z0-9_.-]+/g, '_')
    .replaceAll(/^_+|_+$/g, '')
    .slice(0, MAX_TYPE_CHARS)
  return /^[A-Za-z]/.test(text) ? text : `x${text}`.slice(0, MAX_TYPE_CHARS)
}

/** A name as it may stand as a device id: levels of a topic are joined by `:`. */
export function deviceOf(name: string): string {
  return name.replaceAll('/', ':').replaceAll(/[+#]/g, '_')
}

/** One of several of a kind in one device (relay, phase, probe) is a device of its own, so that rules and labels can tell them: `plug:1`. */
export function channelOf(device: string, channel: string | number): string {
  return `${device}:${deviceOf(String(channel))}`
}
