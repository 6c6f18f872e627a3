// Rules one by one: created, replaced, looked at in every version and removed by people; judged by the worker, which is woken to look at once.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { ruleToYaml } from '../../packages/core/document.ts'
import { invalid } from '../../packages/core/failure.ts'
import { parseRule, type Rule, ruleToJson } from '../../packages/core/rule.ts'
import { checkNames, checkSize, inhibitorsOf, type Named } from '../../packages/core/ruleplan.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { described, Empty, listOf, PageQuery } from '../../packages/runtime/schema.ts'
import type { Channels } from '../../packages/state/channel.ts'
import type { Author, BrokenRule, Rules } from '../../packages/state/rule.ts'
import { inTurns } from '../../packages/state/turn.ts'
import {
  DeleteQuery,
  EXAMPLE,
  InProject,
  ONE_RULE,
  OneRule,
  RULES,
  RuleAnswer,
  RuleBody,
  type RuleJson,
  SaveQuery,
  tags,
  VersionsAnswer,
} from './ruleschema.ts'

export type RulePorts = {
  readonly rules: Rules
  readonly channels: Channels
  /** Of the labels of all devices; undefined: nobody knows. */
  labelKeys(project: string): Promise<readonly string[] | undefined>
  /** The judge should look again. */
  changed(project: string): void
  nowUs(): number
}

const MAX_PAGE = 1000
const MAX_VERSIONS = 100
const PageOf = Type.Object(PageQuery)
const ruleBody = (example: object) => described(Type.Object(RuleBody.properties, { examples: [example] }))

export function addRuleRoutes(app: HttpApp, ports: RulePorts): void {
  addReading(app, ports)
  addSaving(app, ports)
}

function addReading(app: HttpApp, { rules }: RulePorts): void {
  app.get(
    RULES,
    {
      schema: {
        operationId: 'listRules',
        summary: 'Lists rules',
        tags,
        params: InProject,
        querystring: PageOf,
        response: { 200: listOf('rules', RuleAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const after = decodeToken(request.query.pageToken) ?? ''
      const limit = Math.min(request.query.pageSize ?? MAX_PAGE, MAX_PAGE)
      const found = await rules.page(project, after, limit + 1)
      const page = found.slice(0, limit)
      const last = found.length > limit ? page.at(-1) : undefined
      return { rules: page.map(rule => toJson(project, rule)), nextPageToken: last ? encodeToken(last.name) : '' }
    },
  )
  app.get(
    ONE_RULE,
    {
      schema: {
        operationId: 'getRule',
        summary: 'Gets a rule; as YAML with `Accept: application/yaml`',
        tags,
        params: OneRule,
        response: { 200: RuleAnswer },
      },
    },
    async (request, reply) => {
      const { project, rule } = request.params
      callerIn(request, project)
      return shown(request, reply, project, await rules.find(project, rule))
    },
  )
  app.get(
    `${ONE_RULE}/versions`,
    {
      schema: {
        operationId: 'listRuleVersions',
        summary: 'Lists the versions of a rule, newest first, with who saved them; also of a rule that is gone',
        tags,
        params: OneRule,
        querystring: PageOf,
        response: { 200: VersionsAnswer },
      },
    },
    async request => {
      const { project, rule } = request.params
      callerIn(request, project)
      const limit = Math.min(request.query.pageSize ?? MAX_VERSIONS, MAX_VERSIONS)
      const before = placeIn(request.query.pageToken)
      const found = await rules.versions(project, rule, before, limit + 1)
      const versions = found.slice(0, limit)
      const last = found.length > limit ? versions.at(-1) : undefined
      return { versions, nextPageToken: last ? encodeToken(String(last.version)) : '' }
    },
  )
}

function addSaving(app: HttpApp, ports: RulePorts): void {
  const { rules, changed } = ports
  app.post(
    RULES,
    {
      schema: {
        operationId: 'createRule',
        summary: 'Creates a rule; 409 when its name is taken',
        tags,
        params: InProject,
        body: ruleBody({ ...EXAMPLE, name: 'fridge-too-warm' }),
        response: { 200: RuleAnswer },
      },
    },
    async request => {
      const { project } = request.params
      const author = authorOf(request, project, ports)
      return save(ports, project, parseRule(request.body), author, true)
    },
  )
  app.put(
    ONE_RULE,
    {
      schema: {
        operationId: 'putRule',
        summary: 'Creates a rule or replaces it by a new version; the same again makes none',
        tags,
        params: OneRule,
        querystring: SaveQuery,
        body: ruleBody(EXAMPLE),
        response: { 200: RuleAnswer },
      },
    },
    async request => {
      const { project, rule } = request.params
      const author = authorOf(request, project, ports)
      return save(ports, project, parseRule(request.body, rule), author, false, request.query.ifVersion)
    },
  )
  app.delete(
    ONE_RULE,
    {
      schema: {
        operationId: 'deleteRule',
        summary: 'Deletes a rule; its alarms clear',
        tags,
        params: OneRule,
        querystring: DeleteQuery,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, rule } = request.params
      const notify = request.query.notify === true
      await rules.remove(project, rule, notify, authorOf(request, project, ports))
      // They are still to be told.
      if (!notify) await ports.channels.removeOf(project, rule)
      changed(project)
      return {}
    },
  )
}

async function save(ports: RulePorts, project: string, rule: Rule, author: Author, onlyNew: boolean, ifVersion?: number) {
  const { rules, changed } = ports
  const saved = await rules.save(project, rule, onlyNew, author, ifVersion, () => checkRules(ports, project, [{ rule, path: '' }]))
  changed(project)
  return toJson(project, saved)
}

/** Whether they may be saved: their size, and that names in them are names of something. `alone`: no other rules stay beside them. */
export async function checkRules(ports: RulePorts, project: string, rules: readonly Named[], alone = false): Promise<void> {
  await inTurns(rules, checkSize)
  const own = new Set(rules.map(({ rule }) => rule.name))
  const inhibitors = new Set(rules.flatMap(({ rule }) => inhibitorsOf(rule)))
  const { inhibition, names, removed } = await ports.rules.namesFrom(project, alone ? [] : [...inhibitors].filter(name => !own.has(name)))
  const channels = (await ports.channels.list(project)).map(({ name }) => name)
  const labelKeys = rules.some(({ rule }) => rule.groupBy.length > 0) ? await ports.labelKeys(project) : undefined
  checkNames(rules, inhibition, { channels, labelKeys, rules: names, removed })
}

export function authorOf(request: FastifyRequest, project: string, { nowUs }: Pick<RulePorts, 'nowUs'>): Author {
  return { by: callerIn(request, project, 'developer').account, timeUs: nowUs() }
}

const YAML = /\b(application|text)\/(x-)?yaml\b/

function shown(request: FastifyRequest, reply: FastifyReply, project: string, rule: Rule | BrokenRule) {
  if ('problem' in rule || !YAML.test(request.headers.accept ?? '')) return toJson(project, rule)
  return reply.type('application/yaml; charset=utf-8').send(ruleToYaml(rule))
}

function placeIn(pageToken: string | undefined): number | undefined {
  const place = decodeToken(pageToken)
  if (place === undefined) return undefined
  if (!/^\d{1,15}$/.test(place)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
  return Number(place)
}

function toJson(project: string, rule: Rule | BrokenRule) {
  const resource = `projects/${project}/rules/${rule.name}`
  if (!('problem' in rule)) return { ...(ruleToJson(rule) as RuleJson), name: rule.name, resource }
  const { name, document, problem } = rule
  const defaults = ruleToJson(parseRule({ when: EXAMPLE.when }, name))
  return { ...({ ...defaults, ...document } as RuleJson), name, resource, problem }
}
