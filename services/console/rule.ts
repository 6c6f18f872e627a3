// Rules: created, replaced, listed and removed by people; judged by the worker, which is woken to look at once.
import { type Static, Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { parseRule, type Rule, ruleToJson } from '../../packages/core/rule.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { described, Empty, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Channels } from '../../packages/state/channel.ts'
import type { Rules } from '../../packages/state/rule.ts'
import type { Shadows } from '../../packages/state/shadow.ts'

export type RulePorts = {
  readonly rules: Rules
  readonly channels: Channels
  readonly shadows: Pick<Shadows, 'remove'>
  /** The judge should look again. */
  changed(project: string): void
}

const example = {
  name: 'freezer-too-warm',
  select: { deviceTypes: ['temperature'], labels: ['kind=freezer'] },
  when: { threshold: { field: 'temperature.value', above: -15, clearBelow: -16, unit: '°C' } },
  for: '10m',
  severity: 'critical',
}
const Select = Type.Object({
  deviceTypes: Type.Array(Type.String()),
  labels: Type.Array(Type.String({ description: '`key` or `key=value`' })),
  devices: Type.Array(Type.String()),
})
const RuleFields = Type.Object({
  name: Type.String(),
  version: Type.Integer(),
  enabled: Type.Boolean(),
  select: Select,
  when: Type.Record(Type.String(), Type.Unknown(), { description: 'one condition, such as threshold or absent' }),
  for: Type.String({ description: 'how long it must hold, such as 10m' }),
  keepActive: Type.String({ description: 'how long it must be clear before the alarm clears' }),
  severity: Type.Union([Type.Literal('info'), Type.Literal('warning'), Type.Literal('critical')]),
  message: Type.String(),
  notify: Type.Array(Type.String({ description: 'name of a channel' })),
})
const RuleAnswer = Type.Object({ ...RuleFields.properties, resource: Type.String() })
const ruleBody = (example: object) =>
  described(Type.Partial(Type.Object({ ...RuleFields.properties, select: Type.Partial(Select) }), { examples: [example] }))
const MAX_PAGE = 1000
const project = ProjectId
const tags = ['rules']
const One = Type.Object({ project, rule: Type.String({ examples: [example.name] }) })

export function addRuleRoutes(app: HttpApp, ports: RulePorts): void {
  const { rules } = ports
  const save = async (project: string, rule: Rule, onlyNew: boolean) => {
    await checkChannels(ports.channels, project, rule)
    const saved = await rules.save(project, rule, onlyNew)
    ports.changed(project)
    return toJson(project, saved)
  }
  app.get(
    '/v2/projects/:project/rules',
    {
      schema: {
        operationId: 'listRules',
        summary: 'Lists rules',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('rules', RuleAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const after = decodeToken(request.query.pageToken) ?? ''
      const limit = Math.min(request.query.pageSize ?? MAX_PAGE, MAX_PAGE)
      const all = (await rules.list(project)).toSorted((a, b) => (a.name < b.name ? -1 : 1)).filter(({ name }) => name > after)
      const page = all.slice(0, limit)
      const last = all.length > limit ? page.at(-1) : undefined
      return { rules: page.map(rule => toJson(project, rule)), nextPageToken: last ? encodeToken(last.name) : '' }
    },
  )
  app.post(
    '/v2/projects/:project/rules',
    {
      schema: {
        operationId: 'createRule',
        summary: 'Creates a rule; 409 when its name is taken',
        tags,
        params: Type.Object({ project }),
        body: ruleBody({ ...example, name: 'fridge-too-warm' }),
        response: { 200: RuleAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'developer')
      return save(project, parseRule(request.body), true)
    },
  )
  app.get(
    '/v2/projects/:project/rules/:rule',
    { schema: { operationId: 'getRule', summary: 'Gets a rule', tags, params: One, response: { 200: RuleAnswer } } },
    async request => {
      const { project, rule } = request.params
      callerIn(request, project)
      return toJson(project, await rules.one(project, rule))
    },
  )
  app.put(
    '/v2/projects/:project/rules/:rule',
    {
      schema: {
        operationId: 'putRule',
        summary: 'Creates a rule or replaces it by a new version',
        tags,
        params: One,
        body: ruleBody(example),
        response: { 200: RuleAnswer },
      },
    },
    async request => {
      const { project, rule } = request.params
      callerIn(request, project, 'developer')
      return save(project, parseRule(request.body, rule), false)
    },
  )
  app.delete(
    '/v2/projects/:project/rules/:rule',
    { schema: { operationId: 'deleteRule', summary: 'Deletes a rule; its alarms clear', tags, params: One, response: { 200: Empty } } },
    async request => {
      const { project, rule } = request.params
      callerIn(request, project, 'developer')
      await rules.remove(project, rule)
      await ports.shadows.remove(project, rule)
      ports.changed(project)
      return {}
    },
  )
}

/** A rule that notifies a channel nobody made would be silent for ever. */
async function checkChannels(channels: Channels, project: string, rule: Rule): Promise<void> {
  const known = new Set((await channels.list(project)).map(({ name }) => name))
  for (const [i, name] of rule.notify.entries())
    if (!known.has(name)) throw invalid(`notify.${i}`, `channel ${name} does not exist; there are: ${[...known].join(', ') || 'none'}`)
}

function toJson(project: string, rule: Rule) {
  return { ...(ruleToJson(rule) as Static<typeof RuleFields>), name: rule.name, resource: `projects/${project}/rules/${rule.name}` }
}
