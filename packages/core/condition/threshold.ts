// threshold: a numeric field above or below a level, outside of two or inside of them, with separate levels at which it is clear again.
import { invalid } from '../failure.ts'
import { type Band, bandSchema, endNear, insidePlace, isInside, leftPlace, nearestEnd, parseInside, readBand, staysInside } from './band.ts'
import { type Field, fieldSchema, numberIn, readField, unitSchema, unread } from './field.ts'
import { type Fields, joinPath, readObject } from './input.ts'
import type { Cause, ConditionKind, Schema, Verdict } from './kind.ts'
import {
  clearLevel,
  clearPlace,
  crossed,
  deadBandOf,
  heldPlace,
  LEVEL_KEYS,
  type Levels,
  levelSchemas,
  levelsToJson,
  linesOf,
  nearestPlace,
  parseLevels,
  staysHeld,
  worseOf,
} from './level.ts'

export type Threshold = Levels & {
  readonly kind: 'threshold'
  readonly field: Field
  /** Below and above were written as `outside`. */
  readonly isOutside: boolean
  /** In place of all levels. */
  readonly inside: Band | undefined
}

const UNTOLD: Verdict = { holds: undefined, value: undefined, limit: undefined, memory: undefined }
const FORMS = 'expected "above", "below", or both (then it holds outside of them), "outside" or "inside"'
const NO_LEVELS: Levels = { above: undefined, below: undefined, clearBelow: undefined, clearAbove: undefined }

export const threshold: ConditionKind<Threshold> = {
  name: 'threshold',
  schema: {
    type: 'object',
    description: 'a reading beyond a level; with above and below it holds outside of them',
    additionalProperties: false,
    required: ['field'],
    properties: {
      field: fieldSchema,
      ...levelSchemas,
      clearBelow: clears('above', 'below'),
      clearAbove: clears('below', 'above'),
      outside: { ...bandSchema, description: 'holds below the first and above the second: the same as below and above' },
      inside: { ...bandSchema, description: 'holds from the first to the second, both of them included' },
      unit: unitSchema,
    },
  },
  parse(input, path) {
    const fields = readObject(input, path, ['field', ...LEVEL_KEYS, 'outside', 'inside', 'unit'])
    return { kind: 'threshold', field: readField(fields, path), ...parseForm(fields, path) }
  },
  toJson(condition) {
    const { field, inside, isOutside, above, below, ...clear } = condition
    const { unit } = field
    if (inside !== undefined) {
      const { low, high, clearBelow, clearAbove } = inside
      return { field: field.text, inside: [low, high], clearBelow, clearAbove, unit }
    }
    const { clearBelow, clearAbove } = clear
    if (isOutside) return { field: field.text, outside: [below, above], clearBelow, clearAbove, unit }
    return { field: field.text, ...levelsToJson(condition), unit }
  },
  eventTypes: condition => condition.field.eventTypes,
  unit: condition => condition.field.unit,
  worse: condition => (condition.inside === undefined ? worseOf(condition) : undefined),
  deadBand: deadBandOf,
  levels({ inside, ...levels }) {
    if (inside === undefined) return linesOf(levels)
    return [inside.clearAbove, inside.high, inside.low, inside.clearBelow].filter(level => level !== undefined)
  },
  judge(condition, _memory, held, input) {
    if (input.kind === 'time') return UNTOLD
    const value = numberIn(condition.field, input.eventType, input.data)
    if (typeof value !== 'number') return { holds: undefined, value, limit: undefined, memory: undefined }
    if (condition.inside !== undefined) return judgeInside(condition.inside, value, held)
    if (held === undefined) {
      const limit = crossed(condition, value)
      return { holds: limit !== undefined, value, limit, memory: undefined }
    }
    const stays = staysHeld(condition, value)
    return { holds: stays, value, limit: stays ? held.limit : clearLevel(condition, held), memory: undefined }
  },
  dueUs: () => Number.POSITIVE_INFINITY,
  describe(condition, { holds, value, limit }) {
    if (typeof value !== 'number') return unread(condition.field, value)
    return `${condition.field.text} ${value} is ${holds === true ? placeHeld(condition, value) : placeClear(condition, limit)}`
  },
  lasting(condition, holds, { value, limit }, duration) {
    const place = holds && typeof value === 'number' ? placeHeld(condition, value) : placeClear(condition, limit)
    return `${condition.field.text} has been ${place} for ${duration}`
  },
  nearest(condition, { value }, held) {
    if (typeof value !== 'number') return ''
    const { field, inside } = condition
    const isHeld = held !== undefined
    return `${field.text} ${inside === undefined ? nearestPlace(condition, value, isHeld) : nearestEnd(inside, value, isHeld)}`
  },
}

function clears(side: string, way: string): Schema {
  const other = way === 'below' ? 'lower' : 'upper'
  return {
    type: 'number',
    description: `once it holds because of \`${side}\` (or the level of \`outside\`), it stops only ${way} this; with \`inside\` a level beyond its ${other} end`,
  }
}

function parseForm(fields: Fields, path: string): Levels & Pick<Threshold, 'isOutside' | 'inside'> {
  const forms = ['above', 'below', 'outside', 'inside'].filter(key => fields[key] !== undefined)
  const isLevels = forms.every(form => form === 'above' || form === 'below')
  if (forms.length === 0 || (forms.length > 1 && !isLevels)) throw invalid(path, FORMS)
  if (fields.inside !== undefined) return { ...NO_LEVELS, isOutside: false, inside: parseInside(fields, path) }
  if (fields.outside === undefined) return { ...parseLevels(fields, path), isOutside: false, inside: undefined }
  const [below, above] = readBand(fields.outside, joinPath(path, 'outside'))
  return { ...parseLevels({ ...fields, below, above }, path), isOutside: true, inside: undefined }
}

function judgeInside(band: Band, value: number, held: Cause | undefined): Verdict {
  if (held === undefined) {
    const holds = isInside(band, value)
    return { holds, value, limit: holds ? endNear(band, value, false) : undefined, memory: undefined }
  }
  const stays = staysInside(band, value)
  return { holds: stays, value, limit: stays ? held.limit : endNear(band, value, true), memory: undefined }
}

function placeHeld(condition: Threshold, value: number): string {
  return condition.inside === undefined ? heldPlace(condition, value) : insidePlace(condition.inside, value)
}

function placeClear(condition: Threshold, limit: number | undefined): string {
  return condition.inside === undefined ? clearPlace(condition, limit) : leftPlace(condition.inside, limit)
}
