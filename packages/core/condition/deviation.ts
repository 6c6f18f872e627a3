// deviation: a field far from what is usual for this very device, of late or at this hour of the day or week, measured in robust standard
// deviations (median and median distance). What deviates does not move the measure. At most 4 kB for a device, 8 kB with a weekly season.
import { invalid } from '../failure.ts'
import type { StepInput } from '../step.ts'
import { formatDuration } from '../time.ts'
import { type Field, fieldSchema, numberIn, readField, unitSchema, unread } from './field.ts'
import { type History, historyAt, levelAt, type Period, remember, rememberHour, type Season, seasonAt } from './history.ts'
import { durationSchema, joinPath, readChoice, readDurationMs, readNumber, readObject } from './input.ts'
import type { Cause, ConditionKind, Memory, Verdict } from './kind.ts'
import { FURTHEST as FURTHEST_VALUE } from './sliding.ts'

export type Deviation = {
  readonly kind: 'deviation'
  readonly field: Field
  readonly overMs: number
  readonly season: Period | undefined
  /** In standard deviations, as is `clearBelow`. */
  readonly above: number
  readonly clearBelow: number | undefined
  readonly direction: 'up' | 'down' | 'both'
  /** In the unit of the field. */
  readonly minChange: number
  readonly atLeast: number
  /** What was usual of something else is of no use after an edit. */
  readonly of: string
}

type DeviationMemory = Memory & {
  readonly kind: 'deviation'
  readonly of: string
  readonly history: History
  readonly season?: Season | undefined
  /** The last reading, and what was usual for it: for people. */
  readonly seen?: readonly [value: number, usual: number, spread: number] | undefined
}

const KEYS = ['field', 'over', 'season', 'above', 'clearBelow', 'direction', 'minChange', 'atLeast', 'unit']
const DIRECTIONS = ['up', 'down', 'both'] as const
const SEASONS = ['daily', 'weekly'] as const
const OVER_MS = { recent: 7 * 86_400_000, daily: 14 * 86_400_000, weekly: 28 * 86_400_000 }
const LEAST_OVER_MS = 60_000
const AT_LEAST = 50
/** Of a history without any spread every change is infinitely far off; JSON has no word for that. */
const FURTHEST = 1000

export const deviation: ConditionKind<Deviation, DeviationMemory> = {
  name: 'deviation',
  schema: {
    type: 'object',
    description:
      'a reading far from what is usual for this device, in robust standard deviations (1.4826 times the median distance from the median); ' +
      'its history is cut in 24 slots of at most 8 values each, the one that runs does not count yet',
    additionalProperties: false,
    required: ['field', 'above'],
    properties: {
      field: fieldSchema,
      over: { ...durationSchema, description: 'how far the history goes back; without it 7d, daily 14d, weekly 28d' },
      season: { enum: SEASONS, description: 'compare with the same hour (UTC) of other days, or of other weeks' },
      above: { type: 'number', exclusiveMinimum: 0, description: 'holds above so many standard deviations', examples: [4] },
      clearBelow: { type: 'number', minimum: 0, description: 'once it holds, it stops only below so many' },
      direction: { enum: DIRECTIONS, default: 'both', description: 'too high, too low, or either' },
      minChange: { type: 'number', minimum: 0, description: 'never holds nearer than this to what is usual, in the unit of the field' },
      atLeast: { type: 'integer', minimum: 1, default: AT_LEAST, description: 'says nothing while its history has fewer readings' },
      unit: { ...unitSchema, description: 'of the field and of `minChange`; readings in another are converted' },
    },
  },
  parse(input, path) {
    const fields = readObject(input, path, KEYS)
    const season = fields.season === undefined ? undefined : readChoice(fields.season, joinPath(path, 'season'), SEASONS)
    const field = readField(fields, path)
    const overMs = fields.over === undefined ? OVER_MS[season ?? 'recent'] : readDurationMs(fields.over, joinPath(path, 'over'))
    if (overMs < LEAST_OVER_MS) throw invalid(joinPath(path, 'over'), `expected at least ${formatDuration(LEAST_OVER_MS)}`)
    const number = (key: string, least: number) =>
      fields[key] === undefined ? undefined : readAtLeast(fields[key], joinPath(path, key), least)
    const above = readNumber(fields.above, joinPath(path, 'above'))
    if (above <= 0 || above >= FURTHEST) throw invalid(joinPath(path, 'above'), `expected more than 0 and less than ${FURTHEST}`)
    const clearBelow = number('clearBelow', 0)
    if (clearBelow !== undefined && clearBelow > above) throw invalid(joinPath(path, 'clearBelow'), `expected at most above (${above})`)
    const atLeast = number('atLeast', 1) ?? AT_LEAST
    if (!Number.isSafeInteger(atLeast)) throw invalid(joinPath(path, 'atLeast'), 'expected a whole number')
    return {
      kind: 'deviation',
      field,
      overMs,
      season,
      above,
      clearBelow,
      direction: fields.direction === undefined ? 'both' : readChoice(fields.direction, joinPath(path, 'direction'), DIRECTIONS),
      minChange: number('minChange', 0) ?? 0,
      atLeast,
      of: [field.key, formatDuration(overMs), season ?? ''].join(' '),
    }
  },
  toJson({ field, overMs, season, above, clearBelow, direction, minChange, atLeast }) {
    return { field: field.text, over: formatDuration(overMs), season, above, clearBelow, direction, minChange, atLeast, unit: field.unit }
  },
  eventTypes: condition => condition.field.eventTypes,
  unit: () => undefined,
  worse: () => 'higher',
  deadBand: ({ above, clearBelow }) => above - (clearBelow ?? above),
  levels: () => [],
  judge(condition, kept, held, input) {
    const memory = kept?.of === condition.of ? kept : undefined
    const value = input.kind === 'event' ? numberIn(condition.field, input.eventType, input.data) : undefined
    if (typeof value !== 'number') return { holds: undefined, value, limit: undefined, memory }
    if (Math.abs(value) > FURTHEST_VALUE) return { holds: undefined, value: `${value} (beyond all measure)`, limit: undefined, memory }
    return judgeReading(condition, memory, held, input, value)
  },
  dueUs: () => Number.POSITIVE_INFINITY,
  describe(condition, { holds, value, memory }) {
    const { field, atLeast, season } = condition
    if (typeof value === 'string') return unread(field, value)
    if (memory === undefined) return `${field.text} is missing`
    const { seen, history } = memory as DeviationMemory
    const reading = seen === undefined ? '' : ` ${seen[0]}`
    if (value === undefined || holds === undefined)
      return season !== undefined && history.usual.count === 0
        ? `${field.text}${reading}: its ${season} season is being learned`
        : `${field.text}${reading}: its history has ${history.usual.count} of at least ${atLeast} readings${history.usual.spread === 0 ? ' that differ' : ''}`
    return `${field.text}${reading} is ${away(condition, value)} from its usual ${short(seen?.[1])}${holds ? '' : ', which is not far'}`
  },
  lasting({ field }, holds, { value }, duration) {
    const far = typeof value === 'number' && holds ? `, by ${short(value)} standard deviations` : ''
    return `${field.text} has been ${holds ? 'far from' : 'near'} its usual for ${duration}${far}`
  },
  nearest(condition, { memory }, held) {
    const { seen } = (memory ?? {}) as Partial<DeviationMemory>
    if (seen === undefined) return ''
    const { field, minChange, direction } = condition
    const distance = Math.max(limitOf(condition, held) * seen[2], minChange)
    const [low, high] = [short(seen[1] - distance), short(seen[1] + distance)]
    if (held === undefined)
      return `${field.text} ${direction === 'up' ? `above ${high}` : direction === 'down' ? `below ${low}` : `above ${high} or below ${low}`}`
    return `${field.text} ${direction === 'up' ? `below ${high}` : direction === 'down' ? `above ${low}` : `between ${low} and ${high}`}`
  },
}

function readAtLeast(input: unknown, path: string, least: number): number {
  const value = readNumber(input, path)
  if (value < least) throw invalid(path, `expected at least ${least}`)
  return value
}

/** Judged by what came before it, then remembered: robust measures need no reading left out. */
function judgeReading(
  c: Deviation,
  before: DeviationMemory | undefined,
  held: Cause | undefined,
  { timeUs }: StepInput,
  value: number,
): Verdict {
  const season = c.season === undefined ? undefined : seasonAt(before?.season, timeUs, c.season)
  const level = season === undefined ? 0 : levelAt(season, timeUs)
  const history = historyAt(before?.history, timeUs, c.overMs * 1000)
  const { usual } = history
  const expected = level === undefined || usual.count === 0 ? undefined : level + usual.middle
  const memory: DeviationMemory = {
    kind: 'deviation',
    of: c.of,
    history: level === undefined ? history : remember(history, season === undefined ? value : Number((value - level).toPrecision(6))),
    season: season === undefined ? undefined : rememberHour(season, value),
    seen: expected === undefined ? undefined : [value, tidy(expected), usual.spread],
  }
  if (expected === undefined || usual.count < c.atLeast || (usual.spread === 0 && c.minChange === 0))
    return { holds: undefined, value: undefined, limit: undefined, memory }
  const change = changeIn(c.direction, value - expected)
  const z = change === 0 ? 0 : tidy(Math.max(-FURTHEST, Math.min(FURTHEST, change / usual.spread)))
  return { holds: change >= c.minChange && isFar(c, z, held), value: z, limit: limitOf(c, held), memory }
}

function changeIn(direction: Deviation['direction'], change: number): number {
  return direction === 'up' ? change : direction === 'down' ? -change : Math.abs(change)
}

function isFar(c: Deviation, z: number, held: Cause | undefined): boolean {
  return held !== undefined && c.clearBelow !== undefined ? z >= c.clearBelow : z > c.above
}

function limitOf(c: Deviation, held: Cause | undefined): number {
  return held === undefined ? c.above : (c.clearBelow ?? c.above)
}

function away({ direction }: Deviation, z: number | string): string {
  const side = direction === 'both' ? 'away' : direction
  return `${short(z)} standard deviations ${side}`
}

/** Without what floating point adds. */
function tidy(value: number): number {
  return Number(value.toPrecision(9))
}

function short(value: number | string | undefined): string {
  return typeof value === 'number' ? String(Number(value.toPrecision(4))) : String(value)
}
