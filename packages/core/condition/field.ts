// The field of an event that a condition compares: `temperature.value`, an event type and a dotted path below it.
import { checkEventType, type EventData, mainField } from '../event.ts'
import { invalid } from '../failure.ts'
import { type Conversion, conversion, convert, fieldUnit, parseUnit, type Unit, unitsOf } from '../unit.ts'
import { type Fields, joinPath, nearest, readString } from './input.ts'
import type { Schema } from './kind.ts'

export type Field = {
  /** As it was written. */
  readonly text: string
  /** Always the same array for one field. */
  readonly eventTypes: readonly string[]
  readonly sources: readonly Source[]
  /** For memories: of another field or unit what was kept is worth nothing. */
  readonly key: string
  /** What `numberIn` gives readings in: a symbol, or what the rule says where nobody knows it. Undefined: as they were sent. */
  readonly unit: string | undefined
  readonly measure: Measure | undefined
}

type Measure = {
  /** Of the rule. */
  readonly unit: Unit
  /** Of a known field, which is of the same dimension. */
  readonly sent: Unit | undefined
  /** From the one to the other. */
  readonly conversion: Conversion | undefined
}

/** Event types may contain dots: `a.b.c` is field `b.c` of type `a` as well as field `c` of type `a.b`. */
type Source = { readonly eventType: string; readonly path: readonly string[] }

const MAX_DEPTH = 8
const SHOWN_CHARS = 40

export const fieldSchema: Schema = {
  type: 'string',
  description: 'event type and dotted path of a reading',
  examples: ['temperature.value', 'humidity.relativeHumidity'],
}

export const unitSchema: Schema = {
  type: 'string',
  description: 'of the levels; readings that are sent in another unit of the same kind are converted into it, and messages show it',
  examples: ['°C', '°F', 'hPa'],
}

const MAX_UNIT_CHARS = 32

/** `field` and `unit` of a condition. */
export function readField(fields: Fields, path: string): Field {
  const field = parseField(fields.field, joinPath(path, 'field'))
  if (fields.unit === undefined) return field
  const place = joinPath(path, 'unit')
  const text = readString(fields.unit, place, MAX_UNIT_CHARS)
  const sent = fieldUnit(field.text)
  const unit = parseUnit(text)
  if (sent !== undefined && unit?.dimension !== sent.dimension) throw unfit(field, sent, text, unit, place)
  // On a field of its sender's own a unit nobody knows is a label, as `cows`.
  if (unit === undefined) return { ...field, key: `${field.text} ${text}`, unit: text }
  const measure = { unit, sent, conversion: sent === undefined ? undefined : conversion(sent, unit) }
  return { ...field, key: `${field.text} ${unit.symbol}`, unit: unit.symbol, measure }
}

function unfit(field: Field, sent: Unit, text: string, unit: Unit | undefined, path: string): Error {
  const fit = unitsOf(sent.dimension)
  const near = unit === undefined ? nearest(text, fit) : undefined
  const wrong = unit === undefined ? `${JSON.stringify(text)} is no unit known here` : `${unit.symbol} is a unit of ${unit.dimension}`
  const hint = near === undefined ? '' : `did you mean "${near}"? `
  return invalid(path, `${wrong}, but ${field.text} is in ${sent.symbol} (${sent.dimension}); ${hint}expected one of ${fit.join(', ')}`)
}

export function parseField(input: unknown, path: string): Field {
  const text = readString(input, path, 256)
  const parts = text.split('.')
  const [first] = parts as [string]
  checkEventType(first, path)
  if (parts.length < 2 || parts.length > MAX_DEPTH || parts.includes(''))
    throw invalid(path, `expected an event type and the path of a field, for example "${first}.${mainField(first)}"`)
  const sources = parts.slice(1).map((_, index) => ({ eventType: parts.slice(0, index + 1).join('.'), path: parts.slice(index + 1) }))
  return { text, sources, eventTypes: sources.map(source => source.eventType), key: text, unit: undefined, measure: undefined }
}

/** A finite number in the unit of the field, a description of what stands in its place, or undefined when nothing does. */
export function numberIn(field: Field, eventType: string, data: EventData): number | string | undefined {
  const found = valueIn(field, eventType, data)
  if (typeof found !== 'number' || !Number.isFinite(found)) return found === undefined ? undefined : shown(found)
  return field.measure === undefined ? found : measured(field.measure, found, unitBeside(field, eventType, data))
}

/** What stands in the field; undefined when nothing does. */
export function valueIn(field: Field, eventType: string, data: EventData): unknown {
  for (const source of field.sources)
    if (source.eventType === eventType)
      return Object.hasOwn(data, eventType) ? follow(data[eventType], source.path, source.path.length) : undefined
  return undefined
}

/** What `numberIn` found where it found no number, in plain words. */
export function unread(field: Field, found: string | undefined): string {
  if (found === undefined) return `${field.text} is missing`
  return `${field.text} is ${found}, not a number${field.measure === undefined ? '' : ` in ${field.unit}`}`
}

/** Own fields of plain objects only: `constructor.length` and the length of a list or text are no readings. */
function follow(inner: unknown, path: readonly string[], depth: number): unknown {
  // `{"temperature": 21.5}` has the reading `value`, as in readingsOf.
  if (typeof inner === 'number') return depth === 1 && path[0] === 'value' ? inner : undefined
  let found = inner
  for (let at = 0; at < depth; at++) {
    const key = path[at] as string
    if (typeof found !== 'object' || found === null || Array.isArray(found) || !Object.hasOwn(found, key)) return undefined
    found = (found as EventData)[key]
  }
  return found
}

/** `{"value": 70, "unit": "°F"}`: what the event itself says the reading is in. */
function unitBeside(field: Field, eventType: string, data: EventData): Unit | undefined {
  for (const source of field.sources) {
    if (source.eventType !== eventType) continue
    const around = follow(data[eventType], source.path, source.path.length - 1)
    if (typeof around !== 'object' || around === null || !Object.hasOwn(around, 'unit')) return undefined
    const { unit } = around as EventData
    return typeof unit === 'string' ? parseUnit(unit) : undefined
  }
  return undefined
}

function measured(measure: Measure, value: number, told: Unit | undefined): number | string {
  const { unit, sent } = measure
  // A known field is of one dimension, whatever stands beside it: `"unit": "A"` may be an apartment.
  if (told === undefined || (sent !== undefined && told.dimension !== sent.dimension)) return by(measure.conversion, value)
  // Elsewhere one field may carry now this and now that, and only what is in such a unit is meant.
  return told.dimension === unit.dimension ? by(conversion(told, unit), value) : `${value} ${told.symbol}`
}

function by(change: Conversion | undefined, value: number): number | string {
  if (change === undefined) return value
  const converted = convert(value, change)
  return Number.isFinite(converted) ? converted : String(converted)
}

export function shown(found: unknown): string {
  if (typeof found === 'string') return JSON.stringify(found.length > SHOWN_CHARS ? `${found.slice(0, SHOWN_CHARS)}…` : found)
  return Array.isArray(found) ? 'a list' : typeof found === 'object' && found !== null ? 'an object' : String(found)
}
