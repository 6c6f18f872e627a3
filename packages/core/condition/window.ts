// window: the mean, smallest, largest, sum, number, standard deviation or a percentile of a field over a sliding duration, or how many
// events of a type or entries into a state it had. For a device 200 bytes and 20 for each reading in the window, 6 kB at the very most.
import type { StepInput } from '../step.ts'
import { formatTime } from '../time.ts'
import { numberIn, unread, valueIn } from './field.ts'
import type { Cause, ConditionKind, Memory, Verdict } from './kind.ts'
import { clearLevel, clearPlace, crossed, deadBandOf, heldPlace, linesOf, nearestPlace, staysHeld, worseOf } from './level.ts'
import { countOf, leaving, measure, type Samples, type Statistic, withSample } from './sliding.ts'
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
    const before = withReading(condition, memory ?? fresh(condition, input.timeUs), found, input.timeUs)
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

function fresh({ of, by }: Window, timeUs: number): WindowMemory {
  return { kind: 'window', of, by, samples: { baseUs: timeUs, list: [] }, sinceUs: timeUs, timeUs }
}

function untold(value: string | undefined, memory: WindowMemory | undefined): Verdict {
  return { holds: undefined, value, limit: undefined, memory }
}

type Heard = { readonly listeningSinceUs?: number }

function judged(condition: Window, before: WindowMemory, held: Cause | undefined, timeUs: number, { listeningSinceUs }: Heard): Verdict {
  const samples = leaving(before.samples, timeUs, condition.overMs * 1000)
  const sinceUs = Math.max(before.sinceUs, listeningSinceUs ?? before.sinceUs)
  const { stat, limit, holds, turnUs } = look(condition, samples, timeUs, sinceUs, held)
  const memory: WindowMemory = {
    kind: 'window',
    of: condition.of,
    by: condition.by,
    samples,
    sinceUs,
    timeUs,
    turnUs: turnUs === Number.POSITIVE_INFINITY ? undefined : turnUs,
    inside: before.inside,
  }
  return { holds, value: stat === undefined ? undefined : Number(stat.toPrecision(12)), limit, memory }
}

/** The verdict now, and when it turns over if nothing comes. */
function look(condition: Window, samples: Samples, timeUs: number, sinceUs: number, held: Cause | undefined): Found {
  const overUs = condition.overMs * 1000
  const { stat, opensUs, closesUs } = measure(samples, condition.statistic, overUs, condition.atLeast, condition)
  const wasHeld = held !== undefined
  if (stat === undefined) return { stat, limit: undefined, holds: undefined, turnUs: wasHeld ? closesUs : opensUs }
  if (wasHeld) {
    const holds = staysHeld(condition, stat)
    return { stat, limit: holds ? held.limit : clearLevel(condition, held), holds, turnUs: holds ? closesUs : opensUs }
  }
  const limit = crossed(condition, stat)
  // Few events are no news of a device that has not been heard for as long as they are counted.
  if (limit !== undefined && limit === condition.below && isAdded(condition.statistic) && timeUs < sinceUs + overUs)
    return { stat, limit: undefined, holds: undefined, turnUs: Math.min(opensUs, sinceUs + overUs) }
  return { stat, limit, holds: limit !== undefined, turnUs: limit === undefined ? opensUs : closesUs }
}

function isAdded({ name }: Statistic): boolean {
  return name === 'count' || name === 'sum'
}
