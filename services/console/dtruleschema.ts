// What the routes of DT's alerting API take and give (contracts.md 1.a.12); dtrule.ts has the routes.
import { type Static, type TSchema, Type } from 'typebox'

const orNull = <Schema extends TSchema>(schema: Schema) => Type.Union([schema, Type.Null()])
const Texts = (description: string) => Type.Record(Type.String(), Type.String(), { description })
const Clock = Type.Object({ hour: Type.Integer(), minute: Type.Integer() })
const Slot = Type.Object({
  days: Type.Array(Type.String(), { description: '`Monday` …; none: every day' }),
  times: Type.Array(Type.Object({ start: Clock, end: Clock }), { description: 'none: the whole day' }),
})
const Schedule = Type.Object({
  timezone: Type.String({ description: 'IANA name' }),
  inverse: Type.Boolean({ description: 'it counts outside of the slots' }),
  slots: Type.Array(Slot),
})
const Range = Type.Object({
  lower: orNull(Type.Number()),
  upper: orNull(Type.Number()),
  type: Type.Union([Type.Literal('WITHIN'), Type.Literal('OUTSIDE')]),
  filter: Type.Null(),
})
const Trigger = Type.Object({
  field: Type.String({ description: 'such as `temperature`, `relativeHumidity`, `contact` or `connectionStatus`' }),
  range: Type.Optional(Range),
  presence: Type.Optional(Type.String({ description: '`PRESENT` or `ABSENT`' })),
  motion: Type.Optional(Type.String()),
  occupancy: Type.Optional(Type.String()),
  contact: Type.Optional(Type.String()),
  connection: Type.Optional(Type.String({ description: '`CLOUD_CONNECTOR_OFFLINE` or `SENSOR_OFFLINE`' })),
  triggerCount: Type.Integer({ description: '0 and 1 are the same; more is refused' }),
})
const Webhook = Type.Object({
  url: Type.String(),
  signatureSecret: Type.String({ description: 'never shown; in a PUT, empty: as it was for this address' }),
  headers: Texts('values are never shown; in a PUT, empty: as it was for this address'),
})
const Level = Type.Object({
  displayName: Type.String(),
  escalateAfter: orNull(Type.String({ description: 'of no consequence: there is one level' })),
  actions: Type.Array(Type.Object({ type: Type.Literal('WEBHOOK'), webhook: Webhook })),
})
export const DtRuleAnswer = Type.Object({
  name: Type.String(),
  enabled: Type.Boolean(),
  displayName: Type.String(),
  devices: Type.Array(Type.String(), { description: 'names of devices; none: all' }),
  deviceLabels: Texts('all must be there; an empty value stands for any'),
  projectLabels: Texts('none: a rule is of one project'),
  trigger: Trigger,
  triggerDelay: orNull(Type.String({ description: 'how long it must hold, such as `900s`' })),
  reminderNotifications: Type.Literal(false),
  resolvedNotifications: Type.Literal(true),
  unacknowledgesAfter: Type.String({ description: 'how long an acknowledgement counts; `14400s` unless said; `0s`: until it is over' }),
  schedule: orNull(Schedule),
  message: orNull(Type.String({ description: 'an addition: what people read, with `$name`, `$celsius` and `$relativeHumidity`' })),
  escalationLevels: Type.Array(Level, { description: 'one, whose webhooks are told; none: nobody is' }),
})
export type DtRuleJson = Static<typeof DtRuleAnswer>

const EXAMPLE = {
  enabled: true,
  displayName: 'freezer too warm',
  devices: [],
  deviceLabels: { zone: 'north' },
  projectLabels: {},
  trigger: { field: 'temperature', range: { lower: -30, upper: -15, type: 'OUTSIDE', filter: null }, triggerCount: 0 },
  triggerDelay: '900s',
  reminderNotifications: false,
  resolvedNotifications: true,
  unacknowledgesAfter: '14400s',
  schedule: {
    timezone: 'Europe/Oslo',
    inverse: false,
    slots: [{ days: ['Monday'], times: [{ start: { hour: 8, minute: 0 }, end: { hour: 20, minute: 0 } }] }],
  },
  escalationLevels: [
    {
      displayName: 'L1',
      escalateAfter: '1800s',
      actions: [
        { type: 'WEBHOOK', webhook: { url: 'https://ops.example.com/hook', signatureSecret: 's3cret', headers: { 'x-site': '7' } } },
      ],
    },
  ],
}
/** As clients write it: what is left out or null has its default. */
export const DtRuleBody = Type.Object({ ...Type.Partial(DtRuleAnswer).properties }, { examples: [EXAMPLE] })
