// flapping: a value that changes, or a number that crosses a level, too often in a duration. Clear once it is calm.
import { invalid } from '../failure.ts'
import { formatDuration, formatTime } from '../time.ts'
import { type Field, fieldSchema, numberIn, readField, unitSchema } from './field.ts'
import { durationSchema, joinPath, readDurationMs, readNumber, readObject } from './input.ts'
import type { Cause, ConditionKind, Memory, Verdict } from './kind.ts'
import { type Scalar, scalarIn, strange, strangeIn } from './scalar.ts'

export type Flapping = {
  readonly kind: 'flapping'
  readonly field: Field
  /** How many are too many. */
  readonly changes: number
  readonly withinMs: number
  readonly calmMs: number
  /** Undefined: any change of the value counts. */
  readonly level: number | undefined
  readonly of: string
}

type FlappingMemory = Memory & {
  readonly kind: 'flapping'
  readonly of: string
  /** With a level: whether it was above. */
  readonly last: Scalar
  /** Of the last change, or of the first value there was. */
  readonly lastUs: number
  /** The newest changes, oldest first: at most as many as are too many. */
  readonly times: readonly number[]
  readonly listeningSinceUs?: number
}

const MAX_CHANGES = 50
const NONE: readonly number[] = []

export const flapping: ConditionKind<Flapping, FlappingMemory> = {
  name: 'flapping',
  schema: {
    type: 'object',
    description: 'a value that changes too often',
    additionalProperties: false,
    required: ['field', 'changes', 'within'],
    properties: {
      field: { ...fieldSchema, examples: ['contact.state', 'temperature.value'] },
      changes: { type: 'integer', minimum: 2, maximum: MAX_CHANGES, description: 'so many are too many' },
      within: { ...durationSchema, description: 'in this time' },
      level: { type: 'number', description: 'only going from one side of this to the other counts; lying on it is no side' },
      calm: {
        ...durationSchema,
        description:
          'clear once there was no change for this long, else for `within`; with a level an event must come to show it, as silence says nothing about readings',
      },
      unit: { ...unitSchema, description: 'of the level' },
    },
  },
  parse(input, path) {
    const fields = readObject(input, path, ['field', 'changes', 'within', 'level', 'calm', 'unit'])
    const field = readField(fields, path)
    const changes = readNumber(fields.changes, joinPath(path, 'changes'))
    if (!Number.isInteger(changes) || changes < 2 || changes > MAX_CHANGES)
      throw invalid(joinPath(path, 'changes'), `expected a whole number from 2 to ${MAX_CHANGES}`)
    const withinMs = longerThanNothing(fields.within, joinPath(path, 'within'))
    const calmMs = fields.calm === undefined ? withinMs : longerThanNothing(fields.calm, joinPath(path, 'calm'))
    const level = fields.level === undefined ? undefined : readNumber(fields.level, joinPath(path, 'level'))
    return { kind: 'flapping', field, changes, withinMs, calmMs, level, of: level === undefined ? field.key : `${field.key} ${level}` }
  },
  toJson: ({ field, changes, withinMs, calmMs, level }) => ({
    field: field.text,
    changes,
    within: formatDuration(withinMs),
    level,
    calm: formatDuration(calmMs),
    unit: field.unit,
  }),
  eventTypes: condition => condition.field.eventTypes,
  unit: () => undefined,
  worse: () => undefined,
  levels: ({ level }) => (level === undefined ? [] : [level]),
  judge(condition, memory, held, input) {
    const known = memory?.of === condition.of ? memory : undefined
    if (input.kind === 'time') return judgeSilence(condition, known, held, input.timeUs, input.listeningSinceUs)
    const { field, level } = condition
    const value = level === undefined ? scalarIn(field, input.eventType, input.data) : numberIn(field, input.eventType, input.data)
    if (value === undefined || (level !== undefined && typeof value === 'string'))
      return { holds: undefined, value: strangeIn(field, input.eventType, input.data), limit: undefined, memory }
    const side = level === undefined ? value : value === level ? known?.last : (value as number) > level
    return judgeValue(condition, heardSince(known, input.listeningSinceUs), held, side, input.timeUs)
  },
  dueUs(condition, memory, holds) {
    if (!holds || condition.level !== undefined || memory?.of !== condition.of) return Number.POSITIVE_INFINITY
    return calmSinceUs(memory) + condition.calmMs * 1000
  },
  describe(condition, { holds, value, limit, memory }) {
    const { field, changes, withinMs, calmMs } = condition
    if (holds === undefined && (typeof value === 'string' || memory === undefined)) return strange(field, value as string | undefined)
    const done = condition.level === undefined ? 'changed' : `crossed ${condition.level}`
    if (holds === undefined) return `${field.text} last ${done} at ${formatTime((memory as FlappingMemory).lastUs)}`
    if (!holds && limit !== undefined) return `${field.text} has not ${done} for ${formatDuration(calmMs)}`
    return `${field.text} has ${done} ${times(value)} within ${formatDuration(withinMs)}${holds ? '' : `, less than ${times(changes)}`}`
  },
  lasting: ({ field }, holds, _cause, duration) => `${field.text} has been ${holds ? 'flapping' : 'calm'} for ${duration}`,
  nearest({ field, changes, withinMs, calmMs, level }, { value, memory }, held) {
    const what = `${field.text}${level === undefined ? '' : ` across ${level}`}`
    if (held === undefined)
      return typeof value === 'number' ? `${changes - value} more changes of ${what} within ${formatDuration(withinMs)}` : ''
    return memory === undefined ? '' : `no change of ${what} until ${formatTime(calmSinceUs(memory as FlappingMemory) + calmMs * 1000)}`
  },
}

function longerThanNothing(input: unknown, path: string): number {
  const ms = readDurationMs(input, path)
  if (ms === 0) throw invalid(path, 'expected a duration longer than 0')
  return ms
}

function judgeValue(
  condition: Flapping,
  memory: FlappingMemory | undefined,
  held: Cause | undefined,
  side: Scalar | undefined,
  timeUs: number,
): Verdict {
  const { of, changes, withinMs, calmMs } = condition
  if (side === undefined) return { holds: held === undefined ? false : undefined, value: 0, limit: undefined, memory }
  if (memory === undefined) {
    const first: FlappingMemory = { kind: 'flapping', of, last: side, lastUs: timeUs, times: NONE }
    return { holds: held === undefined ? false : undefined, value: 0, limit: undefined, memory: first }
  }
  const sinceUs = timeUs - withinMs * 1000
  if (side !== memory.last) {
    const times = [...memory.times.filter(one => one >= sinceUs), timeUs].slice(-changes)
    const changed: FlappingMemory = { kind: 'flapping', of, last: side, lastUs: timeUs, times }
    const holds = held !== undefined || times.length >= changes
    return { holds, value: times.length, limit: holds ? changes : undefined, memory: changed }
  }
  if (held !== undefined && timeUs - calmSinceUs(memory) >= calmMs * 1000) return calm(condition, memory)
  const value = countSince(memory.times, sinceUs)
  return { holds: held !== undefined, value, limit: held?.limit, memory }
}

/** What was missed while nobody listened may have been a change. */
function heardSince(memory: FlappingMemory | undefined, listeningSinceUs = Number.NEGATIVE_INFINITY): FlappingMemory | undefined {
  return memory === undefined || listeningSinceUs <= calmSinceUs(memory) ? memory : { ...memory, listeningSinceUs }
}

function judgeSilence(
  condition: Flapping,
  memory: FlappingMemory | undefined,
  held: Cause | undefined,
  timeUs: number,
  listeningSinceUs: number,
): Verdict {
  if (memory === undefined || held === undefined || condition.level !== undefined)
    return { holds: undefined, value: undefined, limit: undefined, memory }
  const heard = heardSince(memory, listeningSinceUs) as FlappingMemory
  if (calmSinceUs(heard) + condition.calmMs * 1000 <= timeUs) return calm(condition, heard)
  return { holds: undefined, value: undefined, limit: undefined, memory: heard }
}

/** What it did before is forgotten: the next alarm needs as many changes anew. */
function calm({ of, changes }: Flapping, { last, lastUs }: FlappingMemory): Verdict {
  const memory: FlappingMemory = { kind: 'flapping', of, last, lastUs, times: NONE }
  return { holds: false, value: 0, limit: changes, memory }
}

function calmSinceUs({ lastUs, listeningSinceUs }: FlappingMemory): number {
  return Math.max(lastUs, listeningSinceUs ?? lastUs)
}

function countSince(list: readonly number[], sinceUs: number): number {
  let count = 0
  for (let at = list.length - 1; at >= 0 && (list[at] as number) >= sinceUs; at--) count++
  return count
}

function times(count: number | string | undefined): string {
  return count === 1 ? 'once' : `${count} times`
}
