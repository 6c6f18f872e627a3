// rate: how fast a number changes, from one reading to the next or over a span, with levels as a threshold has them.
import { invalid } from '../failure.ts'
import { formatDuration } from '../time.ts'
import { difference, tidy } from '../unit.ts'
import { type Field, fieldSchema, numberIn, readField, unitSchema, unread } from './field.ts'
import { durationSchema, joinPath, readDurationMs, readObject } from './input.ts'
import type { ConditionKind, Memory, Verdict } from './kind.ts'
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
  nearestPlace,
  parseLevels,
  staysHeld,
  worseOf,
} from './level.ts'

export type Rate = Levels & {
  readonly kind: 'rate'
  readonly field: Field
  readonly perMs: number
  /** 0: from reading to reading. */
  readonly overMs: number
  /** `°C/min`, once. */
  readonly unit: string | undefined
  /** What a reading is that has none to be compared with. */
  readonly alone: string
}

type RateMemory = Memory & {
  readonly kind: 'rate'
  readonly of: string
  /** Time, reading, time, reading …: from the one to compare with to the newest, at most MAX_POINTS. */
  readonly points: readonly number[]
}

/** Of a span this many points are kept, so that it may be a tenth longer than asked for, and a device costs 300 bytes at most. */
const PARTS = 10
const DIGITS = 9
const NONE: readonly number[] = []
const UNTOLD: Verdict = { holds: undefined, value: undefined, limit: undefined, memory: undefined }

export const rate: ConditionKind<Rate, RateMemory> = {
  name: 'rate',
  schema: {
    type: 'object',
    description: 'how much a reading changes in a time; falling is negative',
    additionalProperties: false,
    required: ['field', 'per'],
    properties: {
      field: fieldSchema,
      per: { ...durationSchema, description: 'the change is told per this time, whatever time lies between the readings' },
      over: {
        ...durationSchema,
        description:
          'compares with the newest reading that is at least this old, which evens out noise, and tells nothing before there is one; left out: with the one before',
      },
      ...levelSchemas,
      unit: { ...unitSchema, description: 'of the reading; the levels are in it per time', examples: ['°C', '°F', 'hPa'] },
    },
  },
  parse(input, path) {
    const fields = readObject(input, path, ['field', 'per', 'over', ...LEVEL_KEYS, 'unit'])
    const field = readField(fields, path)
    const perMs = readDurationMs(fields.per, joinPath(path, 'per'))
    if (perMs === 0) throw invalid(joinPath(path, 'per'), 'expected a duration longer than 0')
    const overMs = fields.over === undefined ? 0 : readDurationMs(fields.over, joinPath(path, 'over'))
    const unit = field.unit === undefined ? undefined : `${field.unit}/${NAMES.get(perMs) ?? formatDuration(perMs)}`
    const alone = overMs === 0 ? 'without one before it' : `without one from ${formatDuration(overMs)} before it`
    return { kind: 'rate', field, perMs, overMs, unit, alone, ...parseLevels(fields, path) }
  },
  toJson(condition) {
    const { field, perMs, overMs } = condition
    const over = overMs === 0 ? undefined : formatDuration(overMs)
    return { field: field.text, per: formatDuration(perMs), over, ...levelsToJson(condition), unit: field.unit }
  },
  eventTypes: condition => condition.field.eventTypes,
  unit: condition => condition.unit,
  worse: worseOf,
  deadBand: deadBandOf,
  levels: () => [],
  judge(condition, memory, held, input) {
    if (input.kind === 'time') return memory === undefined ? UNTOLD : { holds: undefined, value: undefined, limit: undefined, memory }
    const { field, perMs, overMs } = condition
    const value = numberIn(field, input.eventType, input.data)
    if (typeof value !== 'number') return { holds: undefined, value, limit: undefined, memory }
    const known = memory?.of === field.key ? memory.points : NONE
    const points = kept(known, input.timeUs, value, overMs * 1000)
    const next = points === known ? memory : ({ kind: 'rate', of: field.key, points } as RateMemory)
    const from = baseOf(points, input.timeUs, overMs * 1000)
    if (from < 0) return { holds: undefined, value: condition.alone, limit: undefined, memory: next }
    const spanUs = input.timeUs - (points[from] as number)
    const speed = tidy((difference(points[from + 1] as number, value) * perMs * 1000) / spanUs, DIGITS)
    if (!Number.isFinite(speed)) return { holds: undefined, value: String(speed), limit: undefined, memory: next }
    if (held !== undefined && staysHeld(condition, speed)) return { holds: true, value: speed, limit: held.limit, memory: next }
    const limit = held === undefined ? crossed(condition, speed) : clearLevel(condition, held)
    return { holds: held === undefined && limit !== undefined, value: speed, limit, memory: next }
  },
  dueUs: () => Number.POSITIVE_INFINITY,
  describe(condition, { holds, value, limit }) {
    const { field, alone } = condition
    if (value === alone) return `${field.text} has a reading ${alone}, so no change yet`
    if (typeof value !== 'number') return unread(field, value)
    return `${field.text} changes by ${value} ${perOf(condition)}, ${holds ? heldPlace(condition, value) : clearPlace(condition, limit)}`
  },
  lasting(condition, holds, { value, limit }, duration) {
    const place = holds && typeof value === 'number' ? heldPlace(condition, value) : clearPlace(condition, limit)
    return `the change of ${condition.field.text} has been ${place} ${perOf(condition)} for ${duration}`
  },
  nearest(condition, { value }, held) {
    if (typeof value !== 'number') return ''
    return `a change of ${condition.field.text} ${perOf(condition)} ${nearestPlace(condition, value, held !== undefined)}`
  },
}

const NAMES: ReadonlyMap<number, string> = new Map([
  [1000, 's'],
  [60_000, 'min'],
  [3_600_000, 'h'],
  [86_400_000, 'd'],
])

function perOf({ unit, perMs }: Rate): string {
  return unit ?? `per ${formatDuration(perMs)}`
}

/** The points with this reading, or the very same where they tell enough without it. */
function kept(points: readonly number[], timeUs: number, value: number, overUs: number): readonly number[] {
  const end = points.length - 2
  if (end >= 0) {
    const sinceUs = timeUs - (points[end] as number)
    // Of two readings at one time the later counts: both are compared with what was before.
    if (sinceUs === 0) return points[end + 1] === value ? points : [...points.slice(0, -1), value]
    if (sinceUs * PARTS < overUs) return points
  }
  const next = [...points, timeUs, value]
  return next.slice(Math.max(0, baseOf(next, timeUs, overUs)))
}

/** Where the newest point that is old enough begins; -1 when there is none. */
function baseOf(points: readonly number[], timeUs: number, overUs: number): number {
  for (let at = points.length - 2; at >= 0; at -= 2) if (timeUs - (points[at] as number) >= Math.max(overUs, 1)) return at
  return -1
}
