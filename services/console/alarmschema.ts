// What routes of alarms show, and what can be asked of a list of them.
import { type Static, type TSchema, Type } from 'typebox'
import type { SEVERITIES } from '../../packages/core/severity.ts'
import type { AlarmDocument } from '../../packages/state/alarm.ts'

export const State = Type.Union([Type.Literal('pending'), Type.Literal('active'), Type.Literal('cleared')])
const Severity = Type.Union([Type.Literal('info'), Type.Literal('warning'), Type.Literal('critical')])
export const AlarmId = Type.String({ examples: ['aldv3cia0cfa8tqnocc0'] })

export function orNull<T extends TSchema>(schema: T, description?: string) {
  return Type.Union([schema, Type.Null()], description === undefined ? {} : { description })
}
const Time = Type.String()
const Labels = Type.Record(Type.String(), Type.String())

/** The handlers give alarms as they are kept, whose types say more. */
export const AlarmAnswer = Type.Unsafe<AlarmDocument>(
  Type.Object({
    name: Type.String(),
    alarmId: Type.String(),
    rule: Type.String(),
    ruleVersion: Type.Integer(),
    device: Type.String({ description: 'of a rule with `groupBy` the values of its labels: `site=oslo`' }),
    deviceType: Type.String(),
    labels: Labels,
    group: orNull(Labels, 'of a rule with `groupBy`'),
    devices: Type.Integer({ description: 'how many are in alarm' }),
    state: State,
    severity: Severity,
    episode: Type.Integer({ description: 'grows each time the alarm begins anew' }),
    version: Type.Integer({ description: 'grows with each change' }),
    since: Time,
    activeSince: orNull(Time),
    clearedAt: orNull(Time),
    updateTime: Type.String({ description: 'event time of the last change' }),
    serverTime: Type.String({ description: 'when the server found it' }),
    value: Type.Union([Type.Number(), Type.String(), Type.Null()]),
    limit: orNull(Type.Number()),
    unit: orNull(Type.String()),
    reason: Type.String(),
    message: Type.String(),
    late: Type.Boolean({ description: 'found long after the fact' }),
    acknowledgement: orNull(
      Type.Object({ by: Type.String(), time: Time, comment: Type.String(), lapses: orNull(Time) }),
      'of this episode; `lapses`: when it counts no longer',
    ),
    assignee: orNull(Type.Object({ to: Type.String(), by: Type.String(), time: Time })),
    snooze: orNull(Type.Object({ by: Type.String(), time: Time, until: Time })),
    suppressedBy: orNull(
      Type.Object({
        kind: Type.Union([Type.Literal('silence'), Type.Literal('snooze'), Type.Literal('inhibition')]),
        name: Type.String({ description: 'of the silence, of who snoozed it, or of the alarm that inhibits' }),
        until: orNull(Time),
      }),
      'why nobody is told; null: people are',
    ),
  }),
)

const texts = (description: string) =>
  Type.Optional(Type.Array(Type.String({ maxLength: 256 }), { maxItems: 100, description: `${description}; repeated: any of them` }))
/** Besides the state; AND between parameters. */
export const FilterQuery = {
  rule: texts('names of rules'),
  device: texts('devices, or groups as alarms call them'),
  severity: Type.Optional(Type.Array(Severity)),
  acknowledged: Type.Optional(Type.Boolean()),
  assignee: texts('to whom it is assigned; empty: nobody'),
  suppressed: Type.Optional(Type.Boolean({ description: 'whether nobody is told of it now' })),
  startTime: Type.Optional(Type.String({ description: 'changed then or later by the clock of the server' })),
}
type Filter = {
  readonly state?: readonly Static<typeof State>[]
  readonly rule?: readonly string[]
  readonly device?: readonly string[]
  readonly severity?: readonly (typeof SEVERITIES)[number][]
  readonly acknowledged?: boolean
  readonly assignee?: readonly string[]
  readonly suppressed?: boolean
}

export function wantedBy(filter: Filter): (alarm: AlarmDocument) => boolean {
  const { state, rule, device, severity, acknowledged, assignee, suppressed } = filter
  const among = <T>(values: readonly T[] | undefined, value: T) => values === undefined || values.includes(value)
  const is = (wanted: boolean | undefined, found: boolean) => wanted === undefined || wanted === found
  return alarm =>
    among(state, alarm.state) &&
    among(rule, alarm.rule) &&
    among(device, alarm.device) &&
    among(severity, alarm.severity) &&
    is(acknowledged, alarm.acknowledgement !== null) &&
    among(assignee, alarm.assignee?.to ?? '') &&
    is(suppressed, alarm.suppressedBy !== null)
}

const text = Type.Optional(Type.String())
export const RecordAnswer = Type.Object(
  {
    seq: Type.Integer({ description: 'in the project, from 1 without a gap' }),
    time: Type.String({ description: 'of the server' }),
    kind: Type.String({ description: '`active`, `cleared` … `acknowledged`, `commented`, `silenced` …' }),
    alarmId: Type.String({ description: 'empty for what happened to no alarm' }),
    rule: Type.String(),
    ruleVersion: Type.Integer(),
    device: Type.String(),
    episode: Type.Integer(),
    hash: Type.String({ description: 'SHA-256 of the hash before it, a line break, and the canonical JSON of the other fields' }),
    state: Type.Optional(State),
    severity: Type.Optional(Severity),
    since: text,
    activeSince: text,
    clearedAt: text,
    at: Type.Optional(Type.String({ description: 'event time of the change' })),
    value: Type.Optional(Type.Union([Type.Number(), Type.String()])),
    limit: Type.Optional(Type.Number()),
    unit: text,
    reason: text,
    eventId: text,
    late: Type.Optional(Type.Boolean()),
    changeId: text,
    member: Type.Optional(Type.String({ description: 'of a group: the device that changed' })),
    devices: Type.Optional(Type.Integer()),
    by: text,
    comment: text,
    to: text,
    until: text,
    cause: Type.Optional(Type.String({ description: 'id of the silence, or of the alarm that inhibits' })),
  },
  { description: 'fields without a value are left out' },
)
