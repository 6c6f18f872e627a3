// threshold: a numeric field above or below a level, or outside of two, with separate levels at which it is clear again.
import { invalid } from '../failure.ts'
import { type Field, fieldSchema, numberIn, parseField } from './field.ts'
import { type Fields, joinPath, readNumber, readObject, readString } from './input.ts'
import type { Cause, ConditionKind, Verdict } from './kind.ts'

export type Threshold = {
  readonly kind: 'threshold'
  readonly field: Field
  /** Holds above this, or below `below`. Both: outside of them. */
  readonly above: number | undefined
  readonly below: number | undefined
  /** Once it holds because of `above`, it stops only below this. */
  readonly clearBelow: number | undefined
  readonly clearAbove: number | undefined
  /** Shown, not converted. */
  readonly unit: string | undefined
}

const KEYS = ['field', 'above', 'below', 'clearBelow', 'clearAbove', 'unit']
const UNTOLD: Verdict = { holds: undefined, value: undefined, limit: undefined, memory: undefined }

export const threshold: ConditionKind<Threshold> = {
  name: 'threshold',
  schema: {
    type: 'object',
    description: 'a reading beyond a level; with both levels it holds outside of them',
    additionalProperties: false,
    required: ['field'],
    properties: {
      field: fieldSchema,
      above: { type: 'number', description: 'holds above this' },
      below: { type: 'number', description: 'holds below this' },
      clearBelow: { type: 'number', description: 'once it holds because of `above`, it stops only below this' },
      clearAbove: { type: 'number', description: 'once it holds because of `below`, it stops only above this' },
      unit: { type: 'string', description: 'of the levels', examples: ['°C'] },
    },
  },
  parse(input, path) {
    const fields = readObject(input, path, KEYS)
    return {
      kind: 'threshold',
      field: parseField(fields.field, joinPath(path, 'field')),
      ...parseLevels(fields, path),
      unit: fields.unit === undefined ? undefined : readString(fields.unit, joinPath(path, 'unit'), 32),
    }
  },
  toJson: ({ field, above, below, clearBelow, clearAbove, unit }) => ({ field: field.text, above, below, clearBelow, clearAbove, unit }),
  eventTypes: condition => condition.field.eventTypes,
  unit: condition => condition.unit,
  worse: ({ above, below }) => (below === undefined ? 'higher' : above === undefined ? 'lower' : undefined),
  deadBand: ({ above, below, clearBelow, clearAbove }) =>
    above === undefined ? (clearAbove ?? below ?? 0) - (below ?? 0) : above - (clearBelow ?? above),
  levels: ({ above, below, clearBelow, clearAbove }) => [above, clearBelow, clearAbove, below].filter(level => level !== undefined),
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
    if (typeof value !== 'number') return ''
    const { above, below, clearBelow, clearAbove, field } = condition
    const ways =
      held === undefined
        ? [
            { place: `above ${above}`, level: above },
            { place: `below ${below}`, level: below },
          ]
        : [
            {
              place: clearBelow === undefined ? `not above ${above}` : `below ${clearBelow}`,
              level: above === undefined ? above : (clearBelow ?? above),
            },
            {
              place: clearAbove === undefined ? `not below ${below}` : `above ${clearAbove}`,
              level: below === undefined ? below : (clearAbove ?? below),
            },
          ]
    const [near] = ways
      .flatMap(({ place, level }) => (level === undefined ? [] : [{ place, away: level - value }]))
      .sort((a, b) => Math.abs(a.away) - Math.abs(b.away))
    if (near === undefined) return ''
    const far = Number(Math.abs(near.away).toPrecision(6))
    return `${field.text} ${near.place}, which is ${far} ${near.away < 0 ? 'less' : 'more'}`
  },
}

type Levels = Pick<Threshold, 'above' | 'below' | 'clearBelow' | 'clearAbove'>

function parseLevels(fields: Fields, path: string): Levels {
  const level = (key: string) => (fields[key] === undefined ? undefined : readNumber(fields[key], joinPath(path, key)))
  const levels = { above: level('above'), below: level('below'), clearBelow: level('clearBelow'), clearAbove: level('clearAbove') }
  if (levels.above === undefined && levels.below === undefined)
    throw invalid(path, 'expected "above", "below", or both (then it holds outside of them)')
  checkLevels(levels, path)
  return levels
}

function checkLevels(levels: Levels, path: string): void {
  const { above, below } = levels
  if (above !== undefined && below !== undefined && below >= above)
    throw invalid(joinPath(path, 'below'), `expected less than above (${above}): with both, the rule holds outside of them`)
  checkClearBelow(levels, joinPath(path, 'clearBelow'))
  checkClearAbove(levels, joinPath(path, 'clearAbove'))
}

function checkClearBelow({ above, below, clearBelow }: Levels, path: string): void {
  if (clearBelow === undefined) return
  if (above === undefined) throw invalid(path, 'expected only together with "above"')
  if (clearBelow > above) throw invalid(path, `expected at most above (${above})`)
  if (below !== undefined && clearBelow <= below) throw invalid(path, `expected more than below (${below})`)
}

function checkClearAbove({ above, below, clearBelow, clearAbove }: Levels, path: string): void {
  if (clearAbove === undefined) return
  if (below === undefined) throw invalid(path, 'expected only together with "below"')
  if (clearAbove < below) throw invalid(path, `expected at least below (${below})`)
  const end = clearBelow ?? above
  if (end !== undefined && clearAbove >= end) throw invalid(path, `expected less than ${end}, or no value would ever be clear`)
}

/** The level that the value lies beyond. */
function crossed({ above, below }: Threshold, value: number): number | undefined {
  if (above !== undefined && value > above) return above
  return below !== undefined && value < below ? below : undefined
}

function staysHeld({ above, below, clearBelow, clearAbove }: Threshold, value: number): boolean {
  const high = above !== undefined && (clearBelow === undefined ? value > above : value >= clearBelow)
  return high || (below !== undefined && (clearAbove === undefined ? value < below : value <= clearAbove))
}

/** The level past which it was clear again, on the side on which it had held. */
function clearLevel({ above, below, clearBelow, clearAbove }: Threshold, held: Cause): number | undefined {
  return above === undefined || (below !== undefined && held.limit === below) ? (clearAbove ?? below) : (clearBelow ?? above)
}

function heldPlace(condition: Threshold, value: number): string {
  const { above, below, clearBelow, clearAbove } = condition
  const limit = crossed(condition, value)
  if (limit !== undefined) return limit === above ? `above ${above}` : `below ${below}`
  return clearBelow !== undefined && value >= clearBelow ? `not below ${clearBelow}` : `not above ${clearAbove}`
}

function clearPlace({ above, below, clearBelow, clearAbove }: Threshold, limit: number | undefined): string {
  if (limit !== undefined && limit === clearBelow) return `below ${clearBelow}`
  if (limit !== undefined && limit === clearAbove) return `above ${clearAbove}`
  if (above !== undefined && below !== undefined) return `between ${below} and ${above}`
  return above === undefined ? `not below ${below}` : `not above ${above}`
}
