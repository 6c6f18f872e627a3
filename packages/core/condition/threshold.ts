// threshold: a numeric field above or below a level, or outside of two, with separate levels at which it is clear again.
import { type Field, fieldSchema, numberIn, parseField } from './field.ts'
import { joinPath, readObject, readString } from './input.ts'
import type { ConditionKind, Verdict } from './kind.ts'
import {
  clearLevel,
  clearPlace,
  crossed,
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
  /** Shown, not converted. */
  readonly unit: string | undefined
}

const UNTOLD: Verdict = { holds: undefined, value: undefined, limit: undefined, memory: undefined }

export const threshold: ConditionKind<Threshold> = {
  name: 'threshold',
  schema: {
    type: 'object',
    description: 'a reading beyond a level; with both levels it holds outside of them',
    additionalProperties: false,
    required: ['field'],
    properties: { field: fieldSchema, ...levelSchemas, unit: { type: 'string', description: 'of the levels', examples: ['°C'] } },
  },
  parse(input, path) {
    const fields = readObject(input, path, ['field', ...LEVEL_KEYS, 'unit'])
    return {
      kind: 'threshold',
      field: parseField(fields.field, joinPath(path, 'field')),
      ...parseLevels(fields, path),
      unit: fields.unit === undefined ? undefined : readString(fields.unit, joinPath(path, 'unit'), 32),
    }
  },
  toJson: condition => ({ field: condition.field.text, ...levelsToJson(condition), unit: condition.unit }),
  eventTypes: condition => condition.field.eventTypes,
  unit: condition => condition.unit,
  worse: worseOf,
  levels: linesOf,
  judge(condition, _memory, held, input) {
    if (input.kind === 'time') return UNTOLD
    const value = numberIn(condition.field, input.eventType, input.data)
    if (typeof value !== 'number') return { holds: undefined, value, limit: undefined, memory: undefined }
    if (held === undefined) {
      const limit = crossed(condition, value)
      return { holds: limit !== undefined, value, limit, memory: undefined }
    }
    const stays = staysHeld(condition, value)
    return { holds: stays, value, limit: stays ? held.limit : clearLevel(condition, held), memory: undefined }
  },
  dueUs: () => Number.POSITIVE_INFINITY,
  describe(condition, { holds, value, limit }) {
    if (typeof value !== 'number') return `${condition.field.text} is ${value === undefined ? 'missing' : `${value}, not a number`}`
    return `${condition.field.text} ${value} is ${holds === true ? heldPlace(condition, value) : clearPlace(condition, limit)}`
  },
  lasting(condition, holds, { value, limit }, duration) {
    const place = holds && typeof value === 'number' ? heldPlace(condition, value) : clearPlace(condition, limit)
    return `${condition.field.text} has been ${place} for ${duration}`
  },
  nearest(condition, { value }, held) {
    return typeof value === 'number' ? `${condition.field.text} ${nearestPlace(condition, value, held !== undefined)}` : ''
  },
}
