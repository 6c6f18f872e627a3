// The field of an event that a condition compares: `temperature.value`, an event type and a dotted path below it.
import { checkEventType, type EventData, mainField } from '../event.ts'
import { invalid } from '../failure.ts'
import { readString } from './input.ts'
import type { Schema } from './kind.ts'

export type Field = {
  /** As it was written. */
  readonly text: string
  /** Always the same array for one field. */
  readonly eventTypes: readonly string[]
  readonly sources: readonly Source[]
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

export function parseField(input: unknown, path: string): Field {
  const text = readString(input, path, 256)
  const parts = text.split('.')
  const [first] = parts as [string]
  checkEventType(first, path)
  if (parts.length < 2 || parts.length > MAX_DEPTH || parts.includes(''))
    throw invalid(path, `expected an event type and the path of a field, for example "${first}.${mainField(first)}"`)
  const sources = parts.slice(1).map((_, index) => ({ eventType: parts.slice(0, index + 1).join('.'), path: parts.slice(index + 1) }))
  return { text, sources, eventTypes: sources.map(source => source.eventType) }
}

/** A finite number, a description of what stands in its place, or undefined when nothing does. */
export function numberIn(field: Field, eventType: string, data: EventData): number | string | undefined {
  const found = valueIn(field, eventType, data)
  return typeof found === 'number' && Number.isFinite(found) ? found : found === undefined ? undefined : shown(found)
}

/** What stands in the field; undefined when nothing does. */
export function valueIn(field: Field, eventType: string, data: EventData): unknown {
  for (const source of field.sources)
    if (source.eventType === eventType) return Object.hasOwn(data, eventType) ? follow(data[eventType], source.path) : undefined
  return undefined
}

/** Own fields of plain objects only: `constructor.length` and the length of a list or text are no readings. */
function follow(inner: unknown, path: readonly string[]): unknown {
  // `{"temperature": 21.5}` has the reading `value`, as in readingsOf.
  if (typeof inner === 'number') return path.length === 1 && path[0] === 'value' ? inner : undefined
  let found = inner
  for (const key of path) {
    if (typeof found !== 'object' || found === null || Array.isArray(found) || !Object.hasOwn(found, key)) return undefined
    found = (found as EventData)[key]
  }
  return found
}

export function shown(found: unknown): string {
  if (typeof found === 'string') return JSON.stringify(found.length > SHOWN_CHARS ? `${found.slice(0, SHOWN_CHARS)}…` : found)
  return Array.isArray(found) ? 'a list' : typeof found === 'object' && found !== null ? 'an object' : String(found)
}
