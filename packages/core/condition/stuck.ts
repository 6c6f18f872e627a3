// stuck: a value that does not change although events come, as of a sensor that has died but whose radio has not.
import { invalid } from '../failure.ts'
import { formatDuration } from '../time.ts'
import { difference } from '../unit.ts'
import { type Field, fieldSchema, readField, unitSchema } from './field.ts'
import { durationSchema, joinPath, readDurationMs, readNumber, readObject } from './input.ts'
import type { ConditionKind, Memory, Verdict } from './kind.ts'
import { type Scalar, scalarIn, strange, strangeIn, told } from './scalar.ts'

export type Stuck = {
  readonly kind: 'stuck'
  readonly field: Field
  readonly unchangedMs: number
  readonly tolerance: number
  readonly readings: number
  /** What the time between two readings counts for at most. */
  readonly maxGapUs: number
}

type StuckMemory = Memory & {
  readonly kind: 'stuck'
  readonly of: string
  /** The first of the values that are the same. */
  readonly value: Scalar
  readonly unchangedUs: number
  readonly lastUs: number
}

const DEFAULT_READINGS = 3
const MAX_READINGS = 1000
const UNTOLD: Verdict = { holds: undefined, value: undefined, limit: undefined, memory: undefined }

export const stuck: ConditionKind<Stuck, StuckMemory> = {
  name: 'stuck',
  schema: {
    type: 'object',
    description: 'a value that does not change for a duration although events come; a device that sends nothing is not stuck but absent',
    additionalProperties: false,
    required: ['field', 'for'],
    properties: {
      field: fieldSchema,
      for: { ...durationSchema, description: 'how long it must not change; judged when an event comes, never by the passing of time' },
      tolerance: { type: 'number', minimum: 0, default: 0, description: 'a reading this far from the first one is still the same' },
      readings: {
        type: 'integer',
        minimum: 2,
        maximum: MAX_READINGS,
        default: DEFAULT_READINGS,
        description: 'how many must have come, the first one included: a pause between two counts for at most for / (readings - 1)',
      },
      unit: { ...unitSchema, description: 'of the tolerance' },
    },
  },
  parse(input, path) {
    const fields = readObject(input, path, ['field', 'for', 'tolerance', 'readings', 'unit'])
    const unchangedMs = readDurationMs(fields.for, joinPath(path, 'for'))
    if (unchangedMs === 0) throw invalid(joinPath(path, 'for'), 'expected a duration longer than 0')
    const tolerance = fields.tolerance === undefined ? 0 : readNumber(fields.tolerance, joinPath(path, 'tolerance'))
    if (tolerance < 0) throw invalid(joinPath(path, 'tolerance'), 'expected a number from 0')
    const readings = fields.readings === undefined ? DEFAULT_READINGS : readNumber(fields.readings, joinPath(path, 'readings'))
    if (!Number.isInteger(readings) || readings < 2 || readings > MAX_READINGS)
      throw invalid(joinPath(path, 'readings'), `expected a whole number from 2 to ${MAX_READINGS}`)
    const maxGapUs = Math.ceil((unchangedMs * 1000) / (readings - 1))
    return { kind: 'stuck', field: readField(fields, path), unchangedMs, tolerance, readings, maxGapUs }
  },
  toJson: ({ field, unchangedMs, tolerance, readings }) => ({
    field: field.text,
    for: formatDuration(unchangedMs),
    tolerance,
    readings,
    unit: field.unit,
  }),
  eventTypes: condition => condition.field.eventTypes,
  unit: condition => condition.field.unit,
  worse: () => undefined,
  levels: () => [],
  judge(condition, memory, held, input) {
    if (input.kind === 'time') return memory === undefined ? UNTOLD : { holds: undefined, value: undefined, limit: undefined, memory }
    const { field, maxGapUs, unchangedMs } = condition
    const value = scalarIn(field, input.eventType, input.data)
    if (value === undefined) return { holds: undefined, value: strangeIn(field, input.eventType, input.data), limit: undefined, memory }
    if (memory?.of !== field.key || !isSame(condition, memory.value, value)) {
      const fresh: StuckMemory = { kind: 'stuck', of: field.key, value, unchangedUs: 0, lastUs: input.timeUs }
      // An edit alone, after which something else is read, frees nothing.
      const isEdited = memory?.of !== field.key && held !== undefined
      return { holds: isEdited ? undefined : false, value: told(value), limit: undefined, memory: fresh }
    }
    if (held !== undefined || input.timeUs === memory.lastUs)
      return { holds: held !== undefined, value: told(value), limit: undefined, memory }
    const unchangedUs = memory.unchangedUs + Math.min(input.timeUs - memory.lastUs, maxGapUs)
    const longer: StuckMemory = { kind: 'stuck', of: field.key, value: memory.value, unchangedUs, lastUs: input.timeUs }
    return { holds: unchangedUs >= unchangedMs * 1000, value: told(value), limit: undefined, memory: longer }
  },
  dueUs: () => Number.POSITIVE_INFINITY,
  describe(condition, { holds, value, memory }) {
    const { field, unchangedMs } = condition
    const { unchangedUs, value: first } = (memory ?? {}) as Partial<StuckMemory>
    if (holds === undefined && (unchangedUs === undefined || first === undefined || told(first) !== value))
      return strange(field, value as string | undefined)
    if (holds)
      return `${field.text} has been ${placeOf(condition, memory as StuckMemory)} for ${formatDuration(unchangedMs)}, although events come`
    if (unchangedUs === 0) return `${field.text} ${value} is new`
    return `${field.text} has been ${placeOf(condition, memory as StuckMemory)} for ${seconds(unchangedUs ?? 0)}, less than ${formatDuration(unchangedMs)}`
  },
  lasting({ field, unchangedMs }, holds, { value }, duration) {
    if (!holds) return `${field.text} has not been stuck for ${duration}`
    return `${field.text} has been ${value} for ${formatDuration(unchangedMs)}, and for another ${duration}`
  },
  nearest(condition, { memory }, held) {
    if (memory === undefined) return ''
    const { field, unchangedMs } = condition
    const place = placeOf(condition, memory as StuckMemory)
    if (held !== undefined) return `${field.text} not ${place}`
    return `${field.text} ${place} for another ${seconds(unchangedMs * 1000 - (memory as StuckMemory).unchangedUs)}, as events come`
  },
}

function isSame({ tolerance }: Stuck, first: Scalar, value: Scalar): boolean {
  if (typeof first !== 'number' || typeof value !== 'number' || tolerance === 0) return first === value
  return Math.abs(difference(first, value)) <= tolerance
}

function placeOf({ tolerance }: Stuck, { value }: StuckMemory): string {
  return typeof value === 'number' && tolerance > 0 ? `within ${tolerance} of ${value}` : `${value}`
}

function seconds(us: number): string {
  return formatDuration(Math.round(us / 1_000_000) * 1000)
}
