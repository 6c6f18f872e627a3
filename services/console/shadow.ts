// A shadow: a new version of a rule that runs beside the old one and tells nobody; the report says where the two disagree.
import { Type } from 'typebox'
import { type Episode, mergeEpisodes } from '../../packages/core/backtest.ts'
import { compareEpisodes, episodesOf } from '../../packages/core/disagreement.ts'
import { Failure } from '../../packages/core/failure.ts'
import { parseRule, ruleToJson } from '../../packages/core/rule.ts'
import { checkSize } from '../../packages/core/ruleplan.ts'
import { formatTime, parseTime } from '../../packages/core/time.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { described, Empty } from '../../packages/runtime/schema.ts'
import type { Shadow, ShadowLog, Shadows } from '../../packages/state/shadow.ts'
import { disagreementToJson, project, ruleName } from './backtest.ts'

export type ShadowPorts = {
  readonly shadows: Shadows
  /** The judge should look again. */
  changed(project: string): void
  nowUs(): number
}

const MOST_LISTED = 1000
const path = '/v2/projects/:project/rules/:rule'
const tags = ['rules']
const params = Type.Object({ project, rule: ruleName })
const Body = described(
  Type.Record(Type.String(), Type.Unknown(), {
    description: 'the new version, as in PUT rules/{rule}',
    examples: [{ when: { threshold: { field: 'temperature.value', above: -15, clearBelow: -16.5 } }, for: '15m' }],
  }),
)
const side = Type.Object({ alarms: Type.Integer(), active: Type.Integer() })
const ReportAnswer = Type.Object({
  rule: Type.Record(Type.String(), Type.Unknown(), { description: 'the version that runs as a shadow' }),
  by: Type.String({ description: 'e-mail address of the service account that began it' }),
  startTime: Type.String(),
  old: side,
  new: side,
  agreements: Type.Integer({ description: 'alarms that both had, from and until the same times' }),
  missing: Type.Integer({ description: 'only the rule had it' }),
  extra: Type.Integer({ description: 'only the shadow had it' }),
  shifted: Type.Integer({ description: 'both had it, from or until another time' }),
  truncated: Type.Boolean({ description: 'there was more than is kept: the oldest is gone' }),
  disagreements: Type.Array(Type.Record(Type.String(), Type.Unknown())),
})

export function addShadowRoutes(app: HttpApp, ports: ShadowPorts): void {
  const { shadows } = ports
  const report = async (project: string, rule: string) => reportOf(await shadows.get(project, rule), await shadows.log(project, rule))
  app.put(
    verb(path, 'shadow'),
    {
      schema: {
        operationId: 'putRuleShadow',
        summary: 'Runs a new version of a rule beside it, without alarms and notifications; one that ran before is replaced',
        tags,
        params,
        body: Body,
        response: { 200: ReportAnswer },
      },
    },
    async request => {
      const { project, rule } = request.params
      const { account } = callerIn(request, project, 'developer')
      const nowUs = ports.nowUs()
      // Each is another version to the judge, which does not count them with those of the rule.
      const shadow = { ...parseRule(request.body, rule), version: Math.floor(nowUs / 1000) }
      checkSize({ rule: shadow, path: '' })
      await shadows.put(project, { rule: shadow, by: account, time: formatTime(nowUs) })
      ports.changed(project)
      return report(project, rule)
    },
  )
  app.get(
    verb(path, 'shadow'),
    {
      schema: {
        operationId: 'getRuleShadow',
        summary: 'Where a rule and its shadow have disagreed since the shadow began',
        tags,
        params,
        response: { 200: ReportAnswer },
      },
    },
    async request => {
      const { project, rule } = request.params
      callerIn(request, project)
      return report(project, rule)
    },
  )
  app.delete(
    verb(path, 'shadow'),
    {
      schema: { operationId: 'deleteRuleShadow', summary: 'Ends the shadow of a rule', tags, params, response: { 200: Empty } },
    },
    async request => {
      const { project, rule } = request.params
      callerIn(request, project, 'developer')
      if (!(await shadows.remove(project, rule))) throw new Failure('not_found', `rule ${rule} has no shadow`, { field: 'rule' })
      ports.changed(project)
      return {}
    },
  )
}

function reportOf({ rule, by, time }: Shadow, { changes, truncated }: ShadowLog) {
  const fromUs = parseTime(time) ?? 0
  const [before, after] = (['old', 'new'] as const).map(side => mergeEpisodes(episodesOf(changes, side, fromUs))) as [Episode[], Episode[]]
  const { disagreements, ...counts } = compareEpisodes(before, after, MOST_LISTED)
  const figures = (all: typeof before) => ({ alarms: all.length, active: all.filter(({ clearedUs }) => clearedUs === undefined).length })
  return {
    rule: { ...ruleToJson(rule) },
    by,
    startTime: time,
    old: figures(before),
    new: figures(after),
    ...counts,
    truncated,
    disagreements: disagreements.map(disagreementToJson),
  }
}
