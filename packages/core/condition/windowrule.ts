// How a window is written: which readings, what is made of them, over which duration, and the levels.
import { checkEventType } from '../event.ts'
import { invalid } from '../failure.ts'
import { formatDuration } from '../time.ts'
import { type Field, fieldSchema, parseField, readField, shown, unitSchema } from './field.ts'
import { durationSchema, type Fields, joinPath, nearest, readDurationMs, readNumber, readObject, readString } from './input.ts'
import type { Schema } from './kind.ts'
import { LEVEL_KEYS, type Levels, levelSchemas, levelsToJson, parseLevels } from './level.ts'
import { FUNCTIONS, type Statistic } from './sliding.ts'

export type Window = Levels & {
  readonly kind: 'window'
  readonly source: Source
  readonly statistic: Statistic
  readonly overMs: number
  readonly atLeast: number
  readonly unit: string | undefined
  readonly eventTypes: readonly string[]
  /** What is compared, in words. */
  readonly label: string
  /** Samples of something else are of no use after an edit, and what was foreseen by other levels is not either. */
  readonly of: string
  readonly by: string
}

export type Source =
  | { readonly kind: 'field'; readonly field: Field }
  | { readonly kind: 'entering'; readonly field: Field; readonly value: string | number | boolean }
  | { readonly kind: 'events'; readonly eventType: string }

const KEYS = ['field', 'entering', 'eventType', 'function', 'over', ...LEVEL_KEYS, 'atLeast', 'unit']
const PERCENTILE = /^p(\d{1,2}(?:\.\d)?)$/

export const windowSchema: Schema = {
  type: 'object',
  description: `a statistic over a sliding duration beyond a level; exact up to 120 readings in the window (a percentile: 180), beyond that
older readings leave in groups of at most a sixtieth of the duration (a percentile: a thirtieth, of 4 values)`.replace('\n', ' '),
  additionalProperties: false,
  required: ['function', 'over'],
  properties: {
    field: fieldSchema,
    entering: {
      type: ['string', 'number', 'boolean'],
      description: 'count how often the field came to have this value',
      examples: ['OPEN'],
    },
    eventType: { type: 'string', description: 'count events of this type, in place of `field`', examples: ['touch'] },
    function: {
      anyOf: [{ enum: FUNCTIONS }, { type: 'string', pattern: PERCENTILE.source }],
      description: 'what to make of the readings in the window; p95 is their 95th percentile',
      examples: ['mean', 'p95'],
    },
    over: { ...durationSchema, description: 'how long the window is' },
    ...levelSchemas,
    atLeast: { type: 'integer', minimum: 0, description: 'says nothing while fewer readings are in the window' },
    unit: unitSchema,
  },
}

export function windowToJson(condition: Window): { readonly [key: string]: unknown } {
  const { source, statistic, overMs, atLeast, unit } = condition
  const read = source.kind === 'events' ? { eventType: source.eventType } : { field: source.field.text }
  const entering = source.kind === 'entering' ? { entering: source.value } : {}
  return { ...read, ...entering, function: nameOf(statistic), over: formatDuration(overMs), ...levelsToJson(condition), atLeast, unit }
}

export function parseWindow(input: unknown, path: string): Window {
  const fields = readObject(input, path, KEYS)
  const source = parseSource(fields, path)
  const statistic = parseStatistic(fields.function, joinPath(path, 'function'))
  if (source.kind !== 'field' && statistic.name !== 'count')
    throw invalid(joinPath(path, 'function'), 'expected count: events and entries have no other')
  if (statistic.name === 'count' && fields.unit !== undefined) throw invalid(joinPath(path, 'unit'), 'expected none: a count has no unit')
  const overMs = readDurationMs(fields.over, joinPath(path, 'over'))
  if (overMs === 0) throw invalid(joinPath(path, 'over'), 'expected a duration longer than 0')
  const levels = parseLevels(fields, path)
  const atLeast = fields.atLeast === undefined ? fewest(statistic) : readCount(fields.atLeast, joinPath(path, 'atLeast'))
  const label = `${labelOf(source, statistic)} over ${formatDuration(overMs)}`
  return {
    kind: 'window',
    source,
    statistic,
    overMs,
    ...levels,
    atLeast: Math.max(atLeast, fewest(statistic)),
    unit: source.kind === 'field' ? source.field.unit : undefined,
    eventTypes: source.kind === 'events' ? [source.eventType] : source.field.eventTypes,
    label,
    of: source.kind === 'events' ? label : `${label} ${source.field.unit ?? ''}`,
    by: [...LEVEL_KEYS.map(key => levels[key] ?? ''), atLeast].join(' '),
  }
}

function parseSource(fields: Fields, path: string): Source {
  const { field, entering, eventType } = fields
  if ((field === undefined) === (eventType === undefined)) throw invalid(path, 'expected either "field" or "eventType"')
  if (field === undefined) {
    if (entering !== undefined) throw invalid(joinPath(path, 'entering'), 'expected only together with "field"')
    const at = joinPath(path, 'eventType')
    return { kind: 'events', eventType: checkEventType(readString(eventType, at, 64), at) }
  }
  const isValue = entering === undefined && fields.function !== 'count'
  const parsed = isValue ? readField(fields, path) : parseField(field, joinPath(path, 'field'))
  return entering === undefined
    ? { kind: 'field', field: parsed }
    : { kind: 'entering', field: parsed, value: parseValue(entering, joinPath(path, 'entering')) }
}

function parseValue(input: unknown, path: string): string | number | boolean {
  if (typeof input === 'number' || typeof input === 'boolean') return input
  return readString(input, path, 256)
}

function parseStatistic(input: unknown, path: string): Statistic {
  const text = readString(input, path, 16)
  const name = FUNCTIONS.find(one => one === text)
  if (name !== undefined) return { name, share: 0 }
  const percent = Number(PERCENTILE.exec(text)?.[1] ?? 0)
  if (percent > 0) return { name: 'percentile', share: percent / 100 }
  const near = nearest(text, FUNCTIONS)
  throw invalid(
    path,
    `expected one of ${FUNCTIONS.join(', ')} or a percentile such as p95${near === undefined ? '' : `; did you mean "${near}"?`}`,
  )
}

function readCount(input: unknown, path: string): number {
  const count = readNumber(input, path)
  if (!Number.isSafeInteger(count) || count < 0) throw invalid(path, 'expected a whole number from 0')
  return count
}

function nameOf({ name, share }: Statistic): string {
  return name === 'percentile' ? `p${Number((share * 100).toFixed(1))}` : name
}

function labelOf(source: Source, statistic: Statistic): string {
  if (source.kind === 'events') return `count of ${source.eventType} events`
  return source.kind === 'entering'
    ? `count of ${source.field.text} becoming ${shown(source.value)}`
    : `${nameOf(statistic)} of ${source.field.text}`
}

/** Without so many readings there is no such number. No events are a count of 0; no readings have no sum: that would take silence for 0. */
function fewest({ name }: Statistic): number {
  return name === 'count' ? 0 : name === 'stddev' ? 2 : 1
}
