// What of a rule can be drawn across a chart: the reading it compares, and its levels.
import { conversion, convert, fieldUnit, parseUnit } from '../../../packages/core/unit.ts'
import { isObject, type Json, listAt } from './draft.ts'

export type Level = { readonly value: number; readonly label: string; readonly severity: string }
export type FieldOf = { readonly eventType: string; readonly field: string }

/** The conditions themselves, out of `all`, `any` and `not`. */
function leaves(when: unknown): [kind: string, fields: Json][] {
  if (!isObject(when)) return []
  return Object.entries(when).flatMap(([kind, inner]) => {
    if (kind === 'all' || kind === 'any') return Array.isArray(inner) ? (inner as unknown[]).flatMap(leaves) : []
    if (kind === 'not') return leaves(inner)
    return isObject(inner) ? [[kind, inner] satisfies [string, Json]] : []
  })
}

/** The readings a rule compares, the first one first, as they are written. */
export function fieldsOf(when: unknown): string[] {
  const texts = leaves(when).flatMap(([, { field }]) => (typeof field === 'string' && field !== '' ? [field] : []))
  return [...new Set(texts)]
}

/** Event types may contain dots: the one that the device has sent is meant. */
export function readingOf(text: string, eventTypes: readonly string[]): FieldOf | undefined {
  const parts = text.split('.')
  const splits = parts
    .slice(1)
    .map((_, index) => ({ eventType: parts.slice(0, index + 1).join('.'), field: parts.slice(index + 1).join('.') }))
  return splits.find(({ eventType }) => eventTypes.includes(eventType)) ?? splits[0]
}

/** What these make of readings is one of their kind. */
const OF_READINGS = /^(mean|median|min|max|p\d.*)$/

/** As the field is drawn: a rule may have its levels in another unit. */
function inUnit(value: number, unit: string, field: string): number {
  const [from, to] = [parseUnit(unit), fieldUnit(field)]
  if (!from || !to || from.dimension !== to.dimension) return value
  const way = conversion(from, to)
  return way ? convert(value, way) : value
}

function unitIn(rule: Json): string {
  const [unit] = leaves(rule['when']).flatMap(([, fields]) => (typeof fields['unit'] === 'string' ? [fields['unit']] : []))
  return unit ?? ''
}

/** In values of the field itself: the levels of a rate or a score stand on another scale. */
export function levelsOf(rule: Json, field: string): Level[] {
  const severity = typeof rule['severity'] === 'string' ? rule['severity'] : 'warning'
  const own = leaves(rule['when']).flatMap(([kind, fields]) => {
    const statistic = kind === 'window' ? fields['function'] : ''
    const isOnScale = kind === 'threshold' || (typeof statistic === 'string' && OF_READINGS.test(statistic))
    if (!isOnScale || fields['field'] !== field) return []
    const { above, below, clearBelow, clearAbove } = fields
    const unit = typeof fields['unit'] === 'string' ? fields['unit'] : ''
    const level = (value: unknown, word: string, tone: string): Level[] =>
      typeof value === 'number'
        ? [
            {
              value: inUnit(value, unit, field),
              label: `${statistic === '' ? '' : `${String(statistic)} `}${word} ${value}${unit === '' ? '' : ` ${unit}`}`,
              severity: tone,
            },
          ]
        : []
    const band = (key: string) => (Array.isArray(fields[key]) ? (fields[key] as unknown[]) : [])
    return [
      ...level(above, 'above', severity),
      ...level(below, 'below', severity),
      ...band('outside').flatMap(value => level(value, 'outside', severity)),
      ...band('inside').flatMap(value => level(value, 'inside', severity)),
      ...level(clearBelow, 'clears below', 'clear'),
      ...level(clearAbove, 'clears above', 'clear'),
    ]
  })
  const ladder = listAt(rule, ['severity']).flatMap(rung =>
    isObject(rung) && typeof rung['at'] === 'number' && typeof rung['severity'] === 'string' && own.length > 0
      ? [{ value: inUnit(rung['at'], unitIn(rule), field), label: `${rung['severity']} from ${rung['at']}`, severity: rung['severity'] }]
      : [],
  )
  // A rung at the level itself says more than the level.
  return [...own.filter(({ value, severity: tone }) => tone === 'clear' || ladder.every(rung => rung.value !== value)), ...ladder]
}

const PAD = 0.08

/** So that every level is seen, however far the readings stay from it. */
export function rangeOf(low: number | null, high: number | null, levels: readonly Level[]): [number, number] {
  const values = [...levels.map(({ value }) => value), low, high].filter(value => value !== null && Number.isFinite(value)) as number[]
  if (values.length === 0) return [0, 1]
  const [min, max] = [Math.min(...values), Math.max(...values)]
  const pad = (max - min) * PAD || Math.abs(max) * PAD || 1
  return [min - pad, max + pad]
}
