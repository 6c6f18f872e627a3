// What the routes of rules take and give; rule.ts and ruleset.ts have the routes.
import { type Static, Type } from 'typebox'
import { listOf, ProjectId } from '../../packages/runtime/schema.ts'

export const EXAMPLE = {
  name: 'freezer-too-warm',
  select: { deviceTypes: ['temperature'], labels: ['kind=freezer'] },
  when: { threshold: { field: 'temperature.value', above: -15, clearBelow: -16, unit: '°C' } },
  for: '10m',
  severity: 'critical',
}
export const RULES = '/v2/projects/:project/rules'
export const ONE_RULE = `${RULES}/:rule`
export const tags = ['rules']
export const InProject = Type.Object({ project: ProjectId })
export const OneRule = Type.Object({ project: ProjectId, rule: Type.String({ examples: [EXAMPLE.name] }) })

const Select = Type.Object({
  deviceTypes: Type.Array(Type.String()),
  labels: Type.Array(Type.String({ description: '`key` or `key=value`' })),
  devices: Type.Array(Type.String()),
})
const Severity = Type.Union([Type.Literal('info'), Type.Literal('warning'), Type.Literal('critical')])
const Rung = Type.Object({ at: Type.Number(), severity: Severity })
const Inhibitor = Type.Object({ rule: Type.String(), equal: Type.Array(Type.String()) })
export const RuleFields = Type.Object(
  {
    name: Type.String(),
    version: Type.Integer(),
    title: Type.String({ description: 'what people call it; may be empty' }),
    enabled: Type.Boolean(),
    select: Select,
    when: Type.Record(Type.String(), Type.Unknown(), { description: 'one condition, such as threshold or absent' }),
    for: Type.String({ description: 'how long it must hold, such as 10m' }),
    keepActive: Type.String({ description: 'how long it must be clear before the alarm clears' }),
    severity: Type.Union([Severity, Type.Array(Rung)], { description: 'one, or a ladder of them over the values' }),
    schedule: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'when it counts; without it always' })),
    message: Type.String(),
    notify: Type.Array(Type.String({ description: 'name of a channel' })),
    groupBy: Type.Array(Type.String({ description: 'key of a label; devices with the same values share one alarm' })),
    inhibitedBy: Type.Array(Type.Union([Type.String(), Inhibitor]), {
      description: 'while an alarm of these rules is active, nobody is told of this one',
    }),
    unacknowledgeAfter: Type.String({ description: 'how long an acknowledgement counts; 0ms: until the alarm clears' }),
    late: Type.Union([Type.Literal('ignore'), Type.Literal('amend')], { description: 'what events do that come too late' }),
  },
  { description: 'a rule; `/v2/rules.schema.json` describes every key' },
)
/** As a caller writes it: what is left out has its default. */
export const RuleBody = Type.Partial(Type.Object({ ...RuleFields.properties, select: Type.Partial(Select) }))
export const RuleAnswer = Type.Object({
  ...RuleFields.properties,
  resource: Type.String(),
  problem: Type.Optional(
    Type.String({ description: 'why this version does not take it: nothing is judged by it, and its alarms stay, until it is saved anew' }),
  ),
})
export type RuleJson = Static<typeof RuleFields>

const Version = Type.Object({
  version: Type.Integer(),
  by: Type.String({ description: 'e-mail address of the service account that saved it; empty when that was not kept' }),
  time: Type.Union([Type.String(), Type.Null()]),
  rule: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()], { description: 'as it was; null: removed' }),
})
export const VersionsAnswer = listOf('versions', Version)

export const SaveQuery = Type.Object({
  ifVersion: Type.Optional(
    Type.Integer({ minimum: 0, description: 'the version that you have seen, 0 for none; 409 when it is another by now' }),
  ),
})
export const DeleteQuery = Type.Object({
  notify: Type.Optional(Type.Boolean({ description: 'whether channels are told of alarms that clear by this', examples: [true] })),
})

export const ValidateBody = Type.Object({ ...RuleBody.properties }, { description: 'a rule as JSON or YAML', examples: [EXAMPLE] })
const Problem = Type.Object({
  field: Type.String({ description: 'path, such as `when.threshold.above`; empty for the whole document' }),
  message: Type.String(),
  line: Type.Optional(Type.Integer({ description: 'from 1' })),
  column: Type.Optional(Type.Integer({ description: 'from 1' })),
})
export const ValidateAnswer = Type.Object({
  valid: Type.Boolean(),
  errors: Type.Array(Problem),
  rule: Type.Optional(RuleFields),
  yaml: Type.Optional(Type.String({ description: 'the rule as people write it, without what is the default' })),
})

export const ApplyBody = Type.Object(
  {
    rules: Type.Array(RuleBody),
    remove: Type.Optional(Type.Boolean({ description: 'rules that are not among these go' })),
    dryRun: Type.Optional(Type.Boolean({ description: 'only say what would change' })),
    ifRevision: Type.Optional(Type.String({ description: '`revision` of a dry run; 409 when rules were changed since' })),
  },
  { examples: [{ rules: [EXAMPLE], remove: false, dryRun: true }] },
)
const Difference = Type.Object({
  path: Type.String({ description: 'such as `when.threshold.above`' }),
  from: Type.Unknown({ description: 'null where there was nothing' }),
  to: Type.Unknown({ description: 'null where there will be nothing' }),
})
const Planned = Type.Object({
  rule: Type.String(),
  action: Type.Union([Type.Literal('create'), Type.Literal('update'), Type.Literal('delete'), Type.Literal('same')]),
  differences: Type.Array(Difference),
})
export const ApplyAnswer = Type.Object({
  changes: Type.Array(Planned),
  revision: Type.String({ description: 'of all rules of the project, after this' }),
})

export const TestBody = Type.Object(
  {
    rule: Type.Optional(RuleBody),
    rules: Type.Optional(Type.Array(RuleBody)),
    start: Type.Optional(Type.String({ description: 'when tests begin, RFC 3339; Monday 2026-01-05 unless said' })),
    interval: Type.Optional(Type.String({ description: 'between the readings of a series; 1m unless said' })),
    tests: Type.Array(Type.Record(Type.String(), Type.Unknown())),
  },
  {
    description: 'a rule or several, and tests of them; JSON or YAML',
    examples: [
      {
        rule: EXAMPLE,
        tests: [
          {
            name: 'ten minutes of warmth are an alarm',
            device: { id: 'freezer-1', type: 'temperature', labels: { kind: 'freezer' } },
            series: { temperature: '-18x5 -10x15' },
            expect: [{ at: '15m', state: 'active', severity: 'critical' }],
          },
        ],
      },
    ],
  },
)
const Moment = {
  time: Type.String(),
  at: Type.String({ description: 'since the beginning of the test' }),
  rule: Type.String(),
  device: Type.String(),
}
const Failed = Type.Object({
  path: Type.String({ description: 'of what was expected' }),
  ...Moment,
  expected: Type.String(),
  found: Type.String(),
  reason: Type.String(),
})
const Change = Type.Object({
  ...Moment,
  kind: Type.String(),
  severity: Severity,
  value: Type.Union([Type.Number(), Type.String(), Type.Null()]),
  reason: Type.String(),
})
export const TestAnswer = Type.Object({
  passed: Type.Boolean(),
  tests: Type.Array(
    Type.Object({
      name: Type.String(),
      passed: Type.Boolean(),
      failures: Type.Array(Failed),
      changes: Type.Array(Change),
      truncated: Type.Boolean({ description: 'there were more failures or changes than are listed' }),
    }),
  ),
})
export const RulesSchema = Type.Object({}, { description: 'JSON Schema, version 2020-12', additionalProperties: true })
