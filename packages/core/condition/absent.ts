// absent: no event of a type for a duration, or for some times the device's own interval. Armed by the first event; every event clears it
// and arms it again. At most 300 bytes for a device.
import { checkEventType } from '../event.ts'
import { invalid } from '../failure.ts'
import { formatDuration, formatTime } from '../time.ts'
import { durationSchema, type Fields, joinPath, readDurationMs, readNumber, readObject, readString } from './input.ts'
import type { ConditionKind, Memory, Schema, Verdict } from './kind.ts'

export type Absent = {
  readonly kind: 'absent'
  readonly eventType: string
  /** Also with `times`, until the interval is known; undefined: not armed until then. */
  readonly silenceMs: number | undefined
  /** So often the learned interval, within `minMs` and `maxMs`. */
  readonly times: number | undefined
  readonly minMs: number
  readonly maxMs: number
  readonly eventTypes: readonly string[]
}

type AbsentMemory = Memory & {
  readonly kind: 'absent'
  readonly lastUs: number
  /** Set when it is later than the last event: what was sent before it may have been missed. */
  readonly listeningSinceUs?: number
  /** Of this type; left out by versions that kept it only with `times`. */
  readonly eventType?: string
  /** With `times`: the last ones, the newest last, and what of them is the interval. */
  readonly gapsMs?: readonly number[]
  readonly everyMs?: number | undefined
}

const KEYS = ['eventType', 'for', 'times', 'min', 'max'] as const
const MAX_TIMES = 1000
// Nine in ten intervals are at most the learned one: bursts between heartbeats do not shorten it, two outages in twenty do not lengthen it.
const KEPT = 20
const SHARE = 0.9
const FEWEST = 5

const schema: Schema = {
  type: 'object',
  description: 'no event of a type for a duration; armed by the first one',
  additionalProperties: false,
  required: ['eventType'],
  anyOf: [{ required: ['for'] }, { required: ['times'] }],
  properties: {
    eventType: { type: 'string', examples: ['temperature'] },
    for: { ...durationSchema, description: 'how long nothing must come; beside `times` only until the interval is known' },
    times: {
      type: 'number',
      minimum: 1,
      maximum: MAX_TIMES,
      description: `so often the interval of the device: nine in ten of its last ${KEPT} are at most that, known from ${FEWEST} on`,
      examples: [5],
    },
    min: { ...durationSchema, description: 'with `times`: at least so long' },
    max: { ...durationSchema, description: 'with `times`: at most so long' },
  },
}

export const absent: ConditionKind<Absent, AbsentMemory> = {
  name: 'absent',
  schema,
  parse(input, path) {
    const fields = readObject(input, path, KEYS)
    const eventType = checkEventType(readString(fields.eventType, joinPath(path, 'eventType'), 64), joinPath(path, 'eventType'))
    const silenceMs = readPositiveMs(fields, path, 'for')
    const times = fields.times === undefined ? undefined : readTimes(fields.times, joinPath(path, 'times'))
    if (silenceMs === undefined && times === undefined) throw invalid(joinPath(path, 'for'), 'expected a duration, or "times" beside it')
    return { kind: 'absent', eventType, silenceMs, times, ...readBounds(fields, path, times), eventTypes: [eventType] }
  },
  toJson({ eventType, silenceMs, times, minMs, maxMs }) {
    const bounds = {
      min: minMs === 0 ? undefined : formatDuration(minMs),
      max: maxMs === Number.POSITIVE_INFINITY ? undefined : formatDuration(maxMs),
    }
    return { eventType, for: silenceMs === undefined ? undefined : formatDuration(silenceMs), times, ...bounds }
  },
  eventTypes: condition => condition.eventTypes,
  unit: () => undefined,
  worse: () => undefined,
  levels: () => [],
  judge(condition, kept, held, input) {
    const memory = own(condition, kept)
    if (input.kind === 'event') return verdict(false, heard(condition, memory, input.timeUs, input.listeningSinceUs))
    if (memory === undefined || held !== undefined) return verdict(undefined, memory)
    const listening = input.listeningSinceUs > sinceUs(memory) ? { ...memory, listeningSinceUs: input.listeningSinceUs } : memory
    // Never a storm after an outage: silence counts from when the system could hear the device.
    return verdict(this.dueUs(condition, listening, false) > input.timeUs ? undefined : true, listening)
  },
  dueUs(condition, kept, holds) {
    const memory = own(condition, kept)
    return memory === undefined || holds ? Number.POSITIVE_INFINITY : sinceUs(memory) + waitMs(condition, memory) * 1000
  },
  describe(condition, { holds, memory }) {
    const { eventType } = condition
    if (holds === false) return `a ${eventType} event has come`
    if (memory === undefined) return `no ${eventType} event has ever come: not armed`
    const { lastUs, listeningSinceUs } = memory as AbsentMemory
    const since = listeningSinceUs === undefined ? '' : `, listening since ${formatTime(listeningSinceUs)}`
    const last = `the last one was at ${formatTime(lastUs)}${since}`
    return holds === true ? `no ${eventType} event for ${waited(condition, memory as AbsentMemory)}, ${last}` : `${eventType}: ${last}`
  },
  lasting({ eventType, silenceMs, times }, holds, _cause, duration) {
    if (!holds) return `${eventType} events have come again for ${duration}`
    const usual = times === undefined && silenceMs !== undefined ? formatDuration(silenceMs) : `${times} times its interval`
    return `no ${eventType} event for ${usual}, and for another ${duration}`
  },
  nearest(condition, { memory }, held) {
    const { eventType } = condition
    if (held !== undefined) return `a ${eventType} event`
    if (memory === undefined)
      return `a first ${eventType} event, then none for ${condition.silenceMs === undefined ? `${condition.times} times its interval` : formatDuration(condition.silenceMs)}`
    const untilUs = this.dueUs(condition, memory as AbsentMemory, false)
    return untilUs === Number.POSITIVE_INFINITY
      ? `${FEWEST + 1} ${eventType} events, from which its interval is learned`
      : `no ${eventType} event until ${formatTime(untilUs)}`
  },
}

function readPositiveMs(fields: Fields, path: string, key: string): number | undefined {
  if (fields[key] === undefined) return undefined
  const ms = readDurationMs(fields[key], joinPath(path, key))
  if (ms === 0) throw invalid(joinPath(path, key), 'expected a duration longer than 0')
  return ms
}

function readTimes(input: unknown, path: string): number {
  const times = readNumber(input, path)
  if (times < 1 || times > MAX_TIMES) throw invalid(path, `expected 1 to ${MAX_TIMES}`)
  return times
}

function readBounds(fields: Fields, path: string, times: number | undefined): { readonly minMs: number; readonly maxMs: number } {
  const extra = (['min', 'max'] as const).find(key => fields[key] !== undefined)
  if (times === undefined && extra !== undefined) throw invalid(joinPath(path, extra), 'expected only together with "times"')
  const [minMs, maxMs] = [readPositiveMs(fields, path, 'min') ?? 0, readPositiveMs(fields, path, 'max') ?? Number.POSITIVE_INFINITY]
  if (maxMs < minMs) throw invalid(joinPath(path, 'max'), `expected at least min (${formatDuration(minMs)})`)
  return { minMs, maxMs }
}

/** What came of another type, before the rule was edited, says nothing of this one. */
function own({ eventType }: Absent, memory: AbsentMemory | undefined): AbsentMemory | undefined {
  return memory === undefined || (memory.eventType ?? eventType) === eventType ? memory : undefined
}

function heard(condition: Absent, known: AbsentMemory | undefined, timeUs: number, listeningSinceUs: number | undefined): AbsentMemory {
  const { eventType } = condition
  if (condition.times === undefined) return { kind: 'absent', lastUs: timeUs, eventType }
  const gapsMs = known?.gapsMs ?? []
  const gapMs = known === undefined ? 0 : Math.round((timeUs - known.lastUs) / 1000)
  // Across an outage of ours nobody knows when it spoke; what came in one batch with one time is one event.
  const learns =
    known !== undefined && gapMs > 0 && Math.max(known.listeningSinceUs ?? known.lastUs, listeningSinceUs ?? known.lastUs) <= known.lastUs
  if (!learns) return { kind: 'absent', lastUs: timeUs, eventType, gapsMs, everyMs: known?.everyMs }
  const gaps = [...gapsMs, gapMs].slice(-KEPT)
  return { kind: 'absent', lastUs: timeUs, eventType, gapsMs: gaps, everyMs: intervalOf(gaps) }
}

function intervalOf(gapsMs: readonly number[]): number | undefined {
  return gapsMs.length < FEWEST ? undefined : gapsMs.toSorted((a, b) => a - b)[Math.ceil(gapsMs.length * SHARE) - 1]
}

function waitMs({ silenceMs, times, minMs, maxMs }: Absent, { everyMs }: AbsentMemory): number {
  if (times === undefined || everyMs === undefined) return silenceMs ?? Number.POSITIVE_INFINITY
  return Math.min(Math.max(Math.round(times * everyMs), minMs), maxMs)
}

function waited(condition: Absent, memory: AbsentMemory): string {
  const wait = formatDuration(waitMs(condition, memory))
  return condition.times === undefined || memory.everyMs === undefined
    ? wait
    : `${wait} (its interval is ${formatDuration(memory.everyMs)})`
}

function verdict(holds: boolean | undefined, memory: AbsentMemory | undefined): Verdict {
  return { holds, value: undefined, limit: undefined, memory }
}

function sinceUs(memory: AbsentMemory): number {
  return Math.max(memory.lastUs, memory.listeningSinceUs ?? memory.lastUs)
}
