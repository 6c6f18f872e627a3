// A value that is compared for being the same: a text, true or false, or a number in the unit of its field.
import type { EventData } from '../event.ts'
import { invalid } from '../failure.ts'
import { hash } from '../id.ts'
import { type Field, numberIn, shown, valueIn } from './field.ts'
import type { Schema } from './kind.ts'

export type Scalar = string | number | boolean

/** Memories keep one for each device, so longer texts are kept as their beginning and a hash. */
const MAX_CHARS = 100
const MAX_CHOICES = 50

const one = { type: ['string', 'number', 'boolean'] }

export const scalarsSchema: Schema = {
  anyOf: [one, { type: 'array', items: one, minItems: 1, maxItems: MAX_CHOICES, uniqueItems: true }],
  examples: ['OPEN', ['OPEN', 'AJAR'], true, 3],
}

/** Undefined when the field is missing, or has what is none of these. */
export function scalarIn(field: Field, eventType: string, data: EventData): Scalar | undefined {
  const found = valueIn(field, eventType, data)
  if (typeof found === 'string') return found.length > MAX_CHARS ? brief(found) : found
  if (typeof found === 'boolean') return found
  if (typeof found !== 'number') return undefined
  const number = field.measure === undefined && Number.isFinite(found) ? found : numberIn(field, eventType, data)
  return typeof number === 'number' ? number : undefined
}

/** What stands where `scalarIn` found nothing. */
export function strangeIn(field: Field, eventType: string, data: EventData): string | undefined {
  const found = valueIn(field, eventType, data)
  if (typeof found === 'number') return String(numberIn(field, eventType, data))
  return found === undefined ? undefined : shown(found)
}

/** In plain words. */
export function strange(field: Field, found: string | undefined): string {
  return `${field.text} is ${found === undefined ? 'missing' : `${found}, no value that could be compared`}`
}

/** For a verdict, which knows numbers and texts. */
export function told(value: Scalar): number | string {
  return typeof value === 'boolean' ? String(value) : value
}

/** One or a list of them. */
export function readScalars(input: unknown, path: string): readonly Scalar[] {
  const list: readonly unknown[] = Array.isArray(input) ? input : [input]
  if (list.length === 0 || list.length > MAX_CHOICES) throw invalid(path, `expected a value, or a list of 1 to ${MAX_CHOICES}`)
  return list.map((value, index) => {
    const place = Array.isArray(input) ? `${path}[${index}]` : path
    if (!isScalar(value)) throw invalid(place, `expected a text of at most ${MAX_CHARS} characters, a number, true or false`)
    if (list.indexOf(value) !== index) throw invalid(place, 'expected each only once')
    return value
  })
}

export function scalarsToJson(list: readonly Scalar[]): Scalar | readonly Scalar[] {
  return list.length === 1 ? (list[0] as Scalar) : list
}

export function anyOf(list: readonly Scalar[]): string {
  return list.join(' or ')
}

function isScalar(value: unknown): value is Scalar {
  if (typeof value === 'string') return value.length <= MAX_CHARS
  return typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))
}

function brief(text: string): string {
  return `${text.slice(0, 40)}… (${text.length} characters, ${hash(text)
    .map(part => part.toString(36))
    .join('-')})`
}
