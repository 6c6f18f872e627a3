// What most sensors measure, under one name and in one unit: `temp_c`, `Temperature` in °F and `t` become the event type `temperature` with
// its value in °C, and what was sent stays beside it. Names, units and words stand in quantity.ts.
import type { EventData } from '../../../packages/core/event.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { contentKey } from '../../../packages/core/id.ts'
import { conversion, convert, parseUnit } from '../../../packages/core/unit.ts'
import { type Clock, checkedEvent, type Decoded, decodedFrom, oncePerElement } from './event.ts'
import {
  BY_DIMENSION,
  COUNTED,
  isNumberOnly,
  NUMBER_NAMES,
  numberName,
  plainName,
  type Quantity,
  readValue,
  SHARES,
  STANDARD,
  STATE_NAMES,
  truthOf,
} from './quantity.ts'

/** One thing that one payload says of a device. */
export type Measure = {
  readonly name: string
  readonly value: number | string | boolean
  readonly unit?: string | undefined
  /** Its own, whatever its name means. */
  readonly eventType?: string | undefined
}

/** Of one time; `data` is keyed by the event type. */
export type Measured = { readonly eventType: string; readonly data: EventData }

type Fields = Record<string, unknown>
type Named = { readonly eventType: string; readonly fields: Fields }

/**
 * The events of what was measured at one time. Which type a measure has is said by its name, the kind of its value and its unit alone, never
 * by what else is there: devices that report what changed would else write now one series and now another. So one measure has no event here:
 * the second of two that mean the same. Channels, phases and probes are devices: see `channelOf`.
 * @throws Failure `conflict` that names the measure.
 */
export function measured(measures: readonly Measure[]): Measured[] {
  const { kept, refused } = told(measures)
  const [first] = refused
  if (first) throw first.failure
  return kept.map(one => one.measured)
}

/** Whether a measure has a type that others know as well, or would have if it were a number: then it is refused. */
export function isKnown(measure: Measure): boolean {
  const { name, unit } = measure
  const value = readValue(name, measure.value)
  return (
    numberOf(name, value) !== undefined ||
    stateOf(name, value, unit) !== undefined ||
    countOf(name, value) !== undefined ||
    isNoNumber(measure)
  )
}

function isNoNumber({ name, value }: Measure): boolean {
  return typeof readValue(name, value) !== 'number' && isNumberOnly(name)
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
  const { kept, refused } = told(measures)
  const state = rest === undefined || isEmpty(rest) ? [] : [{ eventType: 'state', data: { state: rest } }]
  const events = [...kept.map(one => one.measured), ...more, ...state]
  const decoded = events.map(one => decodedFrom(() => checkedEvent({ device, timeUs, ...one }, project, clock), element))
  return oncePerElement([...decoded, ...refused.map(({ failure }) => ({ failure, element, device }))])
}

function isEmpty(data: EventData): boolean {
  for (const _ in data) return false
  return true
}

/** A measure and its event. */
export type Told<One extends Measure> = { readonly measure: One; readonly measured: Measured }
type Refused<One extends Measure> = { readonly measure: One; readonly failure: Failure }

/** Longer ones nobody has chosen. */
export const MAX_NAME_CHARS = 256

/**
 * The event of each; refused is one that means what another one means already, one that must be a number and is none, and one whose name is
 * too long. Said again with the same
 * value it is left out.
 */
export function told<One extends Measure>(measures: readonly One[]): { kept: Told<One>[]; refused: Refused<One>[] } {
  const kept = new Map<string, Told<One>>()
  const refused: Refused<One>[] = []
  for (const measure of measures) {
    const failure = wrong(measure)
    if (failure) {
      refused.push({ measure, failure })
      continue
    }
    const { eventType, fields } = typed(measure)
    const before = kept.get(eventType)
    const one = { measure, measured: { eventType, data: { [eventType]: fields } } }
    if (!before) kept.set(eventType, one)
    else if (!isSame(fields, before.measured)) refused.push({ measure, failure: sameMeaning(measure, before.measure, eventType) })
  }
  return { kept: withHumidity(kept), refused }
}

/** `temp_c` and `temp_f` of one sensor. */
function isSame(fields: Fields, { eventType, data }: Measured): boolean {
  const before = data[eventType] as Fields
  return Object.values(fields)[0] === Object.values(before)[0] && fields['unit'] === before['unit']
}

function noNumber({ name, value }: Measure): Failure {
  const shown = name.slice(0, MAX_TYPE_CHARS)
  return invalid(shown, `expected a number, got ${JSON.stringify(String(value).slice(0, MAX_TYPE_CHARS))}`)
}

function sameMeaning({ name }: Measure, { name: before }: Measure, eventType: string): Failure {
  const shown = name.slice(0, MAX_TYPE_CHARS)
  const message = `${shown}: means ${eventType}, as ${before.slice(0, MAX_TYPE_CHARS)} does with another value; expected one name for each`
  return new Failure('conflict', message, { field: shown })
}

function wrong(measure: Measure): Failure | undefined {
  if (measure.name.length > MAX_NAME_CHARS) return tooLong(measure.name)
  return isNoNumber(measure) ? noNumber(measure) : undefined
}

function tooLong(name: string): Failure {
  const shown = name.slice(0, MAX_TYPE_CHARS)
  return new Failure('too_large', `${shown}…: expected a name of at most ${MAX_NAME_CHARS} characters`, { field: shown })
}

/** Readers of the type `humidity` rely on the temperature beside it: it comes besides where that is known. */
function withHumidity<One extends Measure>(kept: ReadonlyMap<string, Told<One>>): Told<One>[] {
  const degrees = (kept.get('temperature')?.measured.data['temperature'] as Fields | undefined)?.['value']
  return [...kept.values()].flatMap(one => {
    const { eventType, data } = one.measured
    const { value, ...rest } = data[eventType] as Fields
    if (eventType !== 'relativeHumidity' || typeof value !== 'number' || typeof degrees !== 'number') return [one]
    const humidity = { relativeHumidity: value, ...rest, temperature: degrees }
    return [one, { measure: one.measure, measured: { eventType: 'humidity', data: { humidity } } }]
  })
}

function typed(measure: Measure): Named {
  const value = readValue(measure.name, measure.value)
  if (value === measure.value) return typedAsIs(measure)
  const { eventType, fields } = typedAsIs({ ...measure, value })
  return { eventType, fields: { ...fields, original: { ...(fields['original'] as Fields | undefined), value: measure.value } } }
}

function typedAsIs(measure: Measure): Named {
  const { name, value, unit } = measure
  if (measure.eventType !== undefined) return { eventType: measure.eventType, fields: ownFields(measure) }
  const quantity = numberOf(name, value)
  if (quantity) {
    const standard = inUnitOf(quantity, value as number, unit)
    return standard ?? { eventType: otherTypeOf(measure), fields: ownFields(measure) }
  }
  const state = stateOf(name, value, unit)
  if (state) return { eventType: state.eventType, fields: { state: state.word } }
  return { eventType: countOf(name, value) ?? eventTypeOf(name), fields: ownFields(measure) }
}

/** `motion: 3` is how often something moved, and no state. */
function countOf(name: string, value: unknown): string | undefined {
  if (!Number.isInteger(value) || (value as number) < 0) return undefined
  const state = STATE_NAMES.get(name) ?? STATE_NAMES.get(plainName(name))
  return state && COUNTED.has(state.eventType) ? `${state.eventType}Count` : undefined
}

/** Which a measure has by itself. */
export function typeOf(measure: Measure): string {
  return typed(measure).eventType
}

function inUnitOf(quantity: Quantity, value: number, unit: string | undefined): Named | undefined {
  const fields = inUnit(value, unit, quantity)
  if (fields) return { eventType: quantity.eventType, fields }
  const other = BY_DIMENSION.get(`${quantity.eventType} ${parseUnit(unit ?? '')?.dimension}`)
  return other && { eventType: other.eventType, fields: inUnit(value, unit, other) ?? { [other.field]: value, unit } }
}

/** A fan's `speed` in rpm is no m/s: it is `speed_rpm`, where its own name would claim to be the standard one. */
function otherTypeOf({ name, unit = '' }: Measure): string {
  const own = eventTypeOf(name)
  if (!STANDARD.has(own)) return own
  const { symbol = '', dimension = '' } = parseUnit(unit) ?? {}
  const behind = withoutRims(symbol.replaceAll(/[^A-Za-z0-9]+/g, '_'))
  return eventTypeOf(`${own}_${behind === '' ? dimension : behind}`)
}

function ownFields({ value, unit }: Measure): Fields {
  return unit === undefined || unit === '' ? { value } : { value, unit }
}

function numberOf(name: string, value: unknown): Quantity | undefined {
  if (typeof value !== 'number') return undefined
  return NUMBER_NAMES.get(name) ?? NUMBER_NAMES.get(numberName(name))
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
function inUnit(value: number, unit: string | undefined, { eventType, field, unit: standard }: Quantity): Fields | undefined {
  if (unit === undefined || unit === '') return { [field]: value }
  // 95 % is 0.95 of those that say none.
  if (unit === '%' && SHARES.has(eventType)) return { [field]: value / 100, original: { value, unit } }
  const from = parseUnit(unit)
  const to = standard === undefined ? undefined : parseUnit(standard)
  if (!from || !to) return { [field]: value, unit }
  if (from.dimension !== to.dimension) return undefined
  const change = conversion(from, to)
  return change ? { [field]: convert(value, change), original: { value, unit } } : { [field]: value }
}

const MAX_TYPE_CHARS = 64

/** A name as it may stand as an event type: `PM2.5 (raw)` → `PM2.5_raw`. Of what loses what tells it from others something stays. */
export function eventTypeOf(name: string): string {
  const start = name.slice(0, MAX_NAME_CHARS)
  const text = withoutRims(start.trim().replaceAll(/[^A-Za-z0-9_.-]+/g, '_'))
  const type = /^[A-Za-z]/.test(text) ? text : `x${text}`
  const isCut = name.length > MAX_NAME_CHARS || type.length > MAX_TYPE_CHARS
  const isLost = isCut || (!/[A-Za-z]/.test(text) && /\p{L}/u.test(start))
  return isLost ? `${type.slice(0, MAX_TYPE_CHARS - MARK_CHARS - 1)}_${contentKey(name).slice(0, MARK_CHARS)}` : type
}

const MARK_CHARS = 8

/** Of underscores. A pattern that looks for the end from each of n of them would take the square of n steps. */
function withoutRims(text: string): string {
  let [from, to] = [0, text.length]
  while (text[from] === '_') from++
  while (to > from && text[to - 1] === '_') to--
  return text.slice(from, to)
}

/** A name as it may stand as a device id: levels of a topic are joined by `:`. */
export function deviceOf(name: string): string {
  return name.replaceAll('/', ':').replaceAll(/[+#]/g, '_')
}

/** One of several of a kind in one device (relay, phase, probe) is a device of its own, so that rules and labels can tell them: `plug:1`. */
export function channelOf(device: string, channel: string | number): string {
  return `${device}:${deviceOf(String(channel))}`
}
