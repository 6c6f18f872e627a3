// absent: no event of a type for a duration. Armed by the first event; every event clears it and arms it again.
import { checkEventType } from '../event.ts'
import { invalid } from '../failure.ts'
import { formatDuration, formatTime } from '../time.ts'
import { durationSchema, joinPath, readDurationMs, readObject, readString } from './input.ts'
import type { ConditionKind, Memory, Verdict } from './kind.ts'

export type Absent = {
  readonly kind: 'absent'
  readonly eventType: string
  readonly silenceMs: number
  readonly eventTypes: readonly string[]
}

type AbsentMemory = Memory & {
  readonly kind: 'absent'
  readonly lastUs: number
  /** Set when it is later than the last event: what was sent before it may have been missed. */
  readonly listeningSinceUs?: number
}

export const absent: ConditionKind<Absent, AbsentMemory> = {
  name: 'absent',
  schema: {
    type: 'object',
    description: 'no event of a type for a duration; armed by the first one',
    additionalProperties: false,
    required: ['eventType', 'for'],
    properties: {
      eventType: { type: 'string', examples: ['temperature'] },
      for: { ...durationSchema, description: 'how long nothing must come' },
    },
  },
  parse(input, path) {
    const fields = readObject(input, path, ['eventType', 'for'])
    const eventType = checkEventType(readString(fields.eventType, joinPath(path, 'eventType'), 64), joinPath(path, 'eventType'))
    const silenceMs = readDurationMs(fields.for, joinPath(path, 'for'))
    if (silenceMs === 0) throw invalid(joinPath(path, 'for'), 'expected a duration longer than 0')
    return { kind: 'absent', eventType, silenceMs, eventTypes: [eventType] }
  },
  toJson: ({ eventType, silenceMs }) => ({ eventType, for: formatDuration(silenceMs) }),
  eventTypes: condition => condition.eventTypes,
  unit: () => undefined,
  worse: () => undefined,
  levels: () => [],
  judge(condition, memory, held, input) {
    if (input.kind === 'event') return verdict(false, { kind: 'absent', lastUs: input.timeUs })
    if (memory === undefined || held !== undefined) return verdict(undefined, memory)
    const heard =
      input.listeningSinceUs > sinceUs(memory)
        ? { kind: 'absent' as const, lastUs: memory.lastUs, listeningSinceUs: input.listeningSinceUs }
        : memory
    // Never a storm after an outage: silence counts from when the system could hear the device.
    return verdict(this.dueUs(condition, heard, false) > input.timeUs ? undefined : true, heard)
  },
  dueUs(condition, memory, holds) {
    return memory === undefined || holds ? Number.POSITIVE_INFINITY : sinceUs(memory) + condition.silenceMs * 1000
  },
  describe(condition, { holds, memory }) {
    const { eventType, silenceMs } = condition
    if (holds === false) return `a ${eventType} event has come`
    if (memory === undefined) return `no ${eventType} event has ever come: not armed`
    const { lastUs, listeningSinceUs } = memory as AbsentMemory
    const since = listeningSinceUs === undefined ? '' : `, listening since ${formatTime(listeningSinceUs)}`
    const last = `the last one was at ${formatTime(lastUs)}${since}`
    return holds === true ? `no ${eventType} event for ${formatDuration(silenceMs)}, ${last}` : `${eventType}: ${last}`
  },
  lasting({ eventType, silenceMs }, holds, _cause, duration) {
    if (!holds) return `${eventType} events have come again for ${duration}`
    return `no ${eventType} event for ${formatDuration(silenceMs)}, and for another ${duration}`
  },
  nearest({ eventType, silenceMs }, { memory }, held) {
    if (memory === undefined) return `a first ${eventType} event, then none for ${formatDuration(silenceMs)}`
    if (held !== undefined) return `a ${eventType} event`
    return `no ${eventType} event until ${formatTime(sinceUs(memory as AbsentMemory) + silenceMs * 1000)}`
  },
}

function verdict(holds: boolean | undefined, memory: AbsentMemory | undefined): Verdict {
  return { holds, value: undefined, limit: undefined, memory }
}

function sinceUs(memory: AbsentMemory): number {
  return Math.max(memory.lastUs, memory.listeningSinceUs ?? memory.lastUs)
}
