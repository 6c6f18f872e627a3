// threshold: a numeric field above or below a level, or outside of two, with separate levels at which it is clear again.
import { checkEventType, type EventData, mainField } from '../event.ts'
import { invalid } from '../failure.ts'
import { type Fields, joinPath, readNumber, readObject, readString } from './input.ts'
import type { Cause, ConditionKind, Verdict } from './kind.ts'

export type Threshold = {
  readonly kind: 'threshold'
  /** Event type and dotted path: `temperature.value`. */
  readonly field: string
  /** Holds above this, or below `below`. Both: outside of them. */
  readonly above: number | undefined
  readonly below: number | undefined
  /** Once it holds because of `above`, it stops only below this. */
  readonly clearBelow: number | undefined
  readonly clearAbove: number | undefined
  /** Shown, not converted. */
  readonly unit: string | undefined
  readonly eventTypes: readonly string[]
  readonly sources: readonly Source[]
}

/** Event types may contain dots: `a.b.c` is field `b.c` of type `a` as well as field `c` of type `a.b`. */
type Source = { readonly eventType: string; readonly path: readonly string[] }

const KEYS = ['field', 'above', 'below', 'clearBelow', 'clearAbove', 'unit']
const MAX_DEPTH = 8
const SHOWN_CHARS = 40
const UNTOLD: Verdict = { holds: undefined, value: undefined, limit: undefined, memory: undefined }

export const threshold: ConditionKind<Threshold> = {
  name: 'threshold',
  parse(input, path) {
    const fields = readObject(input, path, KEYS)
    const sources = parseField(fields.field, joinPath(path, 'field'))
    return {
      kind: 'threshold',
      field: fields.field as string,
      ...parseLevels(fields, path),
      unit: fields.unit === undefined ? undefined : readString(fields.unit, joinPath(path, 'unit'), 32),
      eventTypes: sources.map(source => source.eventType),
      sources,
    }
  },
  toJson: ({ field, above, below, clearBelow, clearAbove, unit }) => ({ field, above, below, clearBelow, clearAbove, unit }),
  eventTypes: condition => condition.eventTypes,
  unit: condition => condition.unit,
  judge(condition, _memory, held, input) {
    if (input.kind === 'time') return UNTOLD
    const value = readingIn(condition, input.eventType, input.data)
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
    if (typeof value !== 'number') return `${condition.field} is ${value === undefined ? 'missing' : `${value}, not a number`}`
    return `${condition.field} ${value} is ${holds === true ? heldPlace(condition, value) : clearPlace(condition, limit)}`
  },
  lasting(condition, holds, { value, limit }, duration) {
    const place = holds && typeof value === 'number' ? heldPlace(condition, value) : clearPlace(condition, limit)
    return `${condition.field} has been ${place} for ${duration}`
  },
}

function parseField(input: unknown, path: string): readonly Source[] {
  const parts = readString(input, path, 256).split('.')
  const [first] = parts as [string]
  checkEventType(first, path)
  if (parts.length < 2 || parts.length > MAX_DEPTH || parts.includes(''))
    throw invalid(path, `expected an event type and the path of a field, for example "${first}.${mainField(first)}"`)
  return parts.slice(1).map((_, index) => ({ eventType: parts.slice(0, index + 1).join('.'), path: parts.slice(index + 1) }))
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

/** A finite number, a description of what stands in its place, or undefined when nothing does. */
function readingIn(condition: Threshold, eventType: string, data: EventData): number | string | undefined {
  for (const source of condition.sources) {
    if (source.eventType !== eventType) continue
    const found = Object.hasOwn(data, eventType) ? follow(data[eventType], source.path) : undefined
    return typeof found === 'number' && Number.isFinite(found) ? found : found === undefined ? undefined : shown(found)
  }
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

function shown(found: unknown): string {
  if (typeof found === 'string') return JSON.stringify(found.length > SHOWN_CHARS ? `${found.slice(0, SHOWN_CHARS)}…` : found)
  return Array.isArray(found) ? 'a list' : typeof found === 'object' && found !== null ? 'an object' : String(found)
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
