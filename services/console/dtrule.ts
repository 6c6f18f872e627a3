// Rules as clients of DT's alerting API know them (contracts.md 1.a.12): the rules of /v2 in another shape, each with its webhooks in it.
import { Type } from 'typebox'
import { dtRuleOf, parseDtRule } from '../../packages/core/dtrule/rule.ts'
import { Failure, invalid } from '../../packages/core/failure.ts'
import type { Rule } from '../../packages/core/rule.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { described, Empty, listOf, PageQuery } from '../../packages/runtime/schema.ts'
import type { Channel } from '../../packages/state/channel.ts'
import type { Projects } from '../../packages/state/project.ts'
import type { Author } from '../../packages/state/rule.ts'
import { type ChannelMakers, channelsFor, levelsOf } from './dtchannel.ts'
import { DtRuleAnswer, DtRuleBody, type DtRuleJson } from './dtruleschema.ts'
import { administratorOf, OrganizationId } from './organization.ts'
import { authorOf, type RulePorts } from './rule.ts'
import { InProject } from './ruleschema.ts'

export type DtRulePorts = Omit<RulePorts, 'labelKeys'> & ChannelMakers & { readonly projects: Pick<Projects, 'list' | 'several'> }

const RULES = '/v2alpha/projects/:project/rules'
const ONE_RULE = `${RULES}/:rule`
const ORGANIZATION_RULES = '/v2alpha/organizations/:organization/rules'
const OneRule = Type.Object({ ...InProject.properties, rule: Type.String({ examples: ['cr22v0p8d2kq0f5m3n7a'] }) })
const InOrganization = Type.Object({ organization: OrganizationId })
const PageOf = Type.Object(PageQuery)
const Answers = listOf('rules', DtRuleAnswer)
const tags = ['alerting of DT']
/** Also when none is asked for: the clients there are look at the first page alone. */
const MAX_PAGE = 1000

export function addDtRuleRoutes(app: HttpApp, ports: DtRulePorts): void {
  addReading(app, ports)
  addChanging(app, ports)
  addOrganization(app, ports)
}

function addReading(app: HttpApp, ports: DtRulePorts): void {
  app.get(
    RULES,
    {
      schema: {
        operationId: 'listNotificationRules',
        summary: 'Lists the rules of a project that this shape can say; the others are in /v2',
        tags,
        params: InProject,
        querystring: PageOf,
        response: { 200: Answers },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      return pageOf(await shownIn(ports, project), request.query)
    },
  )
  app.get(
    ONE_RULE,
    {
      schema: {
        operationId: 'getNotificationRule',
        summary: 'Gets a rule; 404 when this shape cannot say it',
        tags,
        params: OneRule,
        response: { 200: DtRuleAnswer },
      },
    },
    async request => {
      const { project, rule } = request.params
      callerIn(request, project)
      return shown(project, await known(ports, project, rule), await ports.channels.list(project))
    },
  )
}

function addChanging(app: HttpApp, ports: DtRulePorts): void {
  app.post(
    RULES,
    {
      schema: {
        operationId: 'createNotificationRule',
        summary: 'Creates a rule, which the server names, and the channels of its webhooks',
        tags,
        params: InProject,
        body: described(DtRuleBody),
        response: { 200: DtRuleAnswer },
      },
    },
    async request => {
      const { project } = request.params
      return save(ports, project, newId(), request.body, authorOf(request, project, ports), undefined)
    },
  )
  app.put(
    ONE_RULE,
    {
      schema: {
        operationId: 'putNotificationRule',
        summary: 'Replaces what this shape says of a rule; all else of it stays',
        tags,
        params: OneRule,
        body: described(DtRuleBody),
        response: { 200: DtRuleAnswer },
      },
    },
    async request => {
      const { project, rule } = request.params
      const author = authorOf(request, project, ports)
      return save(ports, project, rule, request.body, author, await known(ports, project, rule))
    },
  )
  app.delete(
    ONE_RULE,
    {
      schema: {
        operationId: 'deleteNotificationRule',
        summary: 'Deletes a rule with the channels that belong to it; its alarms clear',
        tags,
        params: OneRule,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, rule } = request.params
      const author = authorOf(request, project, ports)
      await known(ports, project, rule)
      await ports.rules.remove(project, rule, false, author)
      await ports.channels.removeOf(project, rule)
      ports.changed(project)
      return {}
    },
  )
}

function addOrganization(app: HttpApp, ports: DtRulePorts): void {
  app.get(
    ORGANIZATION_RULES,
    {
      schema: {
        operationId: 'listOrganizationNotificationRules',
        summary: 'Lists the rules of all projects of an organization, by the names that they have in these',
        tags,
        params: InOrganization,
        querystring: PageOf,
        response: { 200: Answers },
      },
    },
    async request => {
      const { organization } = request.params
      administratorOf(request, organization)
      const projects = await ports.projects.several(await ports.projects.list())
      const own = projects.filter(project => project.organization === organization)
      const found = await Promise.all(own.map(({ id }) => shownIn(ports, id)))
      return pageOf(found.flat(), request.query)
    },
  )
  app.post(
    ORGANIZATION_RULES,
    {
      schema: {
        operationId: 'createOrganizationNotificationRule',
        summary: 'Refuses: a rule is of one project',
        tags,
        params: InOrganization,
        body: described(DtRuleBody),
        response: { 200: DtRuleAnswer },
      },
    },
    request => {
      administratorOf(request, request.params.organization)
      throw invalid('organization', 'a rule is of one project here: create it in each of them, POST /v2alpha/projects/{project}/rules')
    },
  )
}

async function shownIn({ rules, channels }: DtRulePorts, project: string): Promise<DtRuleJson[]> {
  const [all, receivers] = await Promise.all([rules.list(project), channels.list(project)])
  return all.filter(rule => dtRuleOf(project, rule) !== undefined).map(rule => shown(project, rule, receivers))
}

function pageOf(all: readonly DtRuleJson[], { pageSize = MAX_PAGE, pageToken }: { pageSize?: number; pageToken?: string }) {
  const after = decodeToken(pageToken) ?? ''
  const left = all.filter(({ name }) => name > after).toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const rules = left.slice(0, Math.min(pageSize, MAX_PAGE))
  const last = left.length > rules.length ? rules.at(-1) : undefined
  return { rules, nextPageToken: last === undefined ? '' : encodeToken(last.name) }
}

/** A rule that this API can say; it has no others. */
async function known({ rules }: DtRulePorts, project: string, name: string): Promise<Rule> {
  const rule = await rules.one(project, name)
  if (dtRuleOf(project, rule) !== undefined) return rule
  throw new Failure('not_found', `rule ${name} is more than this API can say: it is at /v2/projects/${project}/rules/${name}`, {
    field: 'rule',
  })
}

/** What it is about first; then what others change while it is saved is a conflict. */
async function save(ports: DtRulePorts, project: string, name: string, body: unknown, author: Author, before: Rule | undefined) {
  const { rules, channels, changed } = ports
  const { rule, level } = parseDtRule(body, project, name, before)
  const all = await channels.list(project)
  const had = all.filter(channel => before?.notify.includes(channel.name))
  const told = channelsFor(ports, name, level, had)
  for (const channel of told) if (channel.owner?.rule === name) await channels.save(project, channel)
  const notify = told.map(channel => channel.name)
  const saved = await rules
    .save(project, { ...rule, notify }, before === undefined, author, before?.version)
    .catch(async (error: unknown) => {
      await channels.removeOf(project, name, before?.notify)
      throw error
    })
  await channels.removeOf(project, name, notify)
  changed(project)
  return shown(project, saved, told)
}

function shown(project: string, rule: Rule, channels: readonly Channel[]): DtRuleJson {
  const said = dtRuleOf(project, rule)
  if (said === undefined) throw new Error(`${rule.name} cannot be said`)
  return { name: `projects/${project}/rules/${rule.name}`, ...said, escalationLevels: levelsOf(rule, channels) } as DtRuleJson
}
