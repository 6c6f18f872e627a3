// window: the mean, smallest, largest, sum, number, standard deviation or a percentile of a field over a sliding duration, or how many
// events of a type or entries into a state it had. For a device 200 bytes and 20 for each reading in the window, 6 kB at the very most.
import type { StepInput } from '../step.ts'
import { formatTime } from '../time.ts'
import { numberIn, unread, valueIn } from './field.ts'
import type { Cause, ConditionKind, Memory, Verdict } from './kind.ts'
import { clearLevel, clearPlace, crossed, deadBandOf, heldPlace, linesOf, nearestPlace, staysHeld, worseOf } from './level.ts'
import { countOf, furthestIn, leaving, measure, type Samples, type Statistic, withSample } from './sliding.ts'
import { parseWindow, type Source, type Window, windowSchema, windowToJson } from './windowrule.ts'

type WindowMemory = Memory & {
  readonly kind: 'window'
  readonly of: string
  readonly by: string
  readonly samples: Samples
  /** Since when it has been heard without a break. */
  readonly sinceUs: number
  readonly timeUs: number
  /** When the passing of time turns the verdict over. */
  readonly turnUs?: number | undefined
  /** The last reading was in the state that is counted. */
  readonly inside?: boolean | undefined
  /** What came before `sinceUs`, while that would still be in the window: nobody listened, or the rule was about something else. */
  readonly missing?: 'outage' | 'edit' | undefined
}

type Found = {
  readonly stat: number | undefined
  readonly limit: number | undefined
  readonly holds: boolean | undefined
  readonly turnUs: number
}

export const window: ConditionKind<Window, WindowMemory> = {
  name: 'window',
  schema: windowSchema,
  parse: parseWindow,
  toJson: windowToJson,
  eventTypes: condition => condition.eventTypes,
  unit: condition => condition.unit,
  worse: worseOf,
  deadBand: deadBandOf,
  levels: condition => (condition.source.kind === 'field' && !isNumber(condition.statistic) ? linesOf(condition) : []),
  judge(condition, kept, held, input) {
    const memory = kept?.of === condition.of ? kept : undefined
    if (input.kind === 'time')
      return memory === undefined ? untold(undefined, memory) : judged(condition, memory, held, input.timeUs, input)
    const found = readingOf(condition.source, input)
    if (found === undefined || typeof found === 'string') return untold(found, memory)
    if (Math.abs(Number(found)) > furthestIn(condition.statistic)) return untold(`${found} (beyond all measure)`, memory)
    const before = withReading(condition, memory ?? fresh(condition, input.timeUs, held), found, input.timeUs)
    return judged(condition, before, held, input.timeUs, input)
  },
  dueUs(condition, memory) {
    if (memory?.of !== condition.of) return Number.POSITIVE_INFINITY
    return memory.by === condition.by ? (memory.turnUs ?? Number.POSITIVE_INFINITY) : memory.timeUs
  },
  describe(condition, { holds, value, limit, memory }) {
    const { label, source, atLeast } = condition
    if (typeof value === 'string') return source.kind === 'events' ? label : unread(source.field, value)
    const { samples, sinceUs } = (memory ?? fresh(condition, 0)) as WindowMemory
    const count = countOf(samples.list)
    if (value === undefined)
      return count < atLeast || count === 0
        ? `${label}: ${count} of at least ${Math.max(atLeast, 1)} readings`
        : `${label}: the field is missing`
    if (holds === undefined) return `${label} is ${value}, heard only since ${formatTime(sinceUs)}`
    return `${label} is ${value}, ${holds ? heldPlace(condition, value) : clearPlace(condition, limit)}`
  },
  lasting(condition, holds, { value, limit }, duration) {
    const place = holds && typeof value === 'number' ? heldPlace(condition, value) : clearPlace(condition, limit)
    return `${condition.label} has been ${place} for ${duration}`
  },
  nearest(condition, { value }, held) {
    return typeof value === 'number' ? `${condition.label} ${nearestPlace(condition, value, held !== undefined)}` : ''
  },
}

function isNumber({ name }: Statistic): boolean {
  return name === 'count' || name === 'stddev' || name === 'sum'
}

/** A number; for entries whether it is the state, for events true; undefined or a description of what stands in its place. */
function readingOf(source: Source, input: Extract<StepInput, { kind: 'event' }>): number | string | boolean | undefined {
  if (source.kind === 'events') return true
  if (source.kind === 'field') return numberIn(source.field, input.eventType, input.data)
  const found = valueIn(source.field, input.eventType, input.data)
  return found === undefined ? undefined : found === source.value
}

function withReading(condition: Window, before: WindowMemory, found: number | boolean, timeUs: number): WindowMemory {
  const { source, statistic, overMs } = condition
  const inside = source.kind === 'entering' ? found === true : undefined
  // The first reading may have been in that state for long.
  if (source.kind === 'entering' && (found === false || before.inside !== false)) return { ...before, inside }
  const value = statistic.name === 'count' || typeof found === 'boolean' ? undefined : found
  const samples = withSample(leaving(before.samples, timeUs, overMs * 1000), timeUs, value, statistic, overMs * 1000)
  return { ...before, samples, inside }
}

function fresh({ of, by }: Window, timeUs: number, held?: Cause): WindowMemory {
  const memory = { kind: 'window', of, by, samples: { baseUs: timeUs, list: [] }, sinceUs: timeUs, timeUs } as const
  return held === undefined ? memory : { ...memory, missing: 'edit' }
}

function untold(value: string | undefined, memory: WindowMemory | undefined): Verdict {
  return { holds: undefined, value, limit: undefined, memory }
}

function judged(condition: Window, before: WindowMemory, held: Cause | undefined, timeUs: number, input: StepInput): Verdict {
  const samples = leaving(before.samples, timeUs, condition.overMs * 1000)
  const sinceUs = Math.max(before.sinceUs, input.listeningSinceUs ?? before.sinceUs)
  const endUs = sinceUs + condition.overMs * 1000
  const wholeUs = timeUs < endUs ? endUs : undefined
  const missing = wholeUs === undefined ? undefined : sinceUs > before.sinceUs ? 'outage' : before.missing
  const { stat, limit, holds, turnUs } = look(condition, { ...before, samples, missing }, input.kind, wholeUs, held)
  const memory: WindowMemory = {
    kind: 'window',
    of: condition.of,
    by: condition.by,
    samples,
    sinceUs,
    timeUs,
    turnUs: turnUs === Number.POSITIVE_INFINITY ? undefined : turnUs,
    inside: before.inside,
    missing,
  }
  return { holds, value: stat === undefined ? undefined : Number(stat.toPrecision(12)), limit, memory }
}

/**
 * The verdict now, and when it turns over if nothing comes.
 * @param wholeUs when it will have been heard for a whole window; undefined: it has been.
 */
function look(condition: Window, memory: WindowMemory, by: StepInput['kind'], wholeUs: number | undefined, held: Cause | undefined): Found {
  const { samples } = memory
  const { stat, opensUs, closesUs } = measure(samples, condition.statistic, condition.overMs * 1000, condition.atLeast, condition)
  const isHeld = held !== undefined
  const [turnUs, backUs] = isHeld ? [closesUs, opensUs] : [opensUs, closesUs]
  if (stat === undefined || !Number.isFinite(stat)) return { stat: undefined, limit: undefined, holds: undefined, turnUs }
  const limit = isHeld ? clearLevel(condition, held) : crossed(condition, stat)
  const turns = isHeld ? !staysHeld(condition, stat) : limit !== undefined
  if (!turns) return { stat, limit: held?.limit, holds: isHeld, turnUs }
  const isFew = condition.below !== undefined && (held === undefined ? limit : held.limit) === condition.below
  const tells = by === 'time' ? timeTells(condition, memory, wholeUs, isFew) : eventTells(condition, memory, wholeUs, isFew, isHeld)
  if (tells) return { stat, limit, holds: !isHeld, turnUs: backUs }
  return { stat, limit: undefined, holds: undefined, turnUs: wholeUs ?? turnUs }
}

/** What leaves is news only of a window that was heard from end to end, and that nothing comes only where few are asked for. */
function timeTells({ by }: Window, memory: WindowMemory, wholeUs: number | undefined, isFew: boolean): boolean {
  // An edit of the levels is no reading.
  if (wholeUs !== undefined || memory.by !== by) return false
  return isFew || memory.samples.list.length > 0
}

/** @param isFew it holds, or would, because of `below`. */
function eventTells(
  { statistic }: Window,
  { missing }: WindowMemory,
  wholeUs: number | undefined,
  isFew: boolean,
  isHeld: boolean,
): boolean {
  if (wholeUs === undefined) return true
  // What is missing may be as many events as made it hold. And few are no news of a device not heard for as long as they are counted.
  if (isHeld) return missing !== 'edit' && (missing !== 'outage' || isFew || !isAdded(statistic))
  return !isFew || !isAdded(statistic)
}

function isAdded({ name }: Statistic): boolean {
  return name === 'count' || name === 'sum'
}
