// Rules as files: checked as text, put in place of those that there are in one step, and tested without a device.
import { readBoolean, readObject, readString } from '../../packages/core/condition/input.ts'
import { type Mistake, type Piece, parseDocuments, readDocuments, ruleToYaml } from '../../packages/core/document.ts'
import { Failure } from '../../packages/core/failure.ts'
import { type Rule, ruleToJson } from '../../packages/core/rule.ts'
import { type PlannedChange, pairsOf, planRule } from '../../packages/core/ruleplan.ts'
import { ruleSchema } from '../../packages/core/ruleschema.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { described } from '../../packages/runtime/schema.ts'
import type { Author, RuleChange, RuleSnapshot } from '../../packages/state/rule.ts'
import { inTurns } from '../../packages/state/turn.ts'
import { authorOf, checkRules, type RulePorts } from './rule.ts'
import { rulesIn, textOf } from './ruledocument.ts'
import { ApplyAnswer, ApplyBody, InProject, RULES, type RuleJson, RulesSchema, tags, ValidateAnswer, ValidateBody } from './ruleschema.ts'
import { addRuleTestRoute } from './ruletest.ts'

type Problem = { field: string; message: string; line?: number; column?: number }

const MAX_APPLIED = 10_000
const MAX_APPLY_BYTES = 16 * 1024 * 1024

export function addRuleSetRoutes(app: HttpApp, ports: RulePorts): void {
  addSchema(app)
  addValidating(app, ports)
  addApplying(app, ports)
  addRuleTestRoute(app)
}

function addSchema(app: HttpApp): void {
  app.get(
    '/v2/rules.schema.json',
    {
      config: { open: true },
      schema: {
        operationId: 'getRuleSchema',
        summary: 'JSON Schema of a rule, for editors',
        tags,
        response: { 200: RulesSchema },
      },
    },
    (_request, reply) => {
      void reply.type('application/schema+json')
      return ruleSchema
    },
  )
}

function addValidating(app: HttpApp, ports: RulePorts): void {
  app.post(
    verb(RULES, 'validate'),
    {
      // Line and column are of the text as it was sent.
      config: { raw: true },
      schema: {
        operationId: 'validateRule',
        summary: 'Says what is wrong with a rule, by line and column; nothing is saved',
        tags,
        params: InProject,
        body: described(ValidateBody),
        response: { 200: ValidateAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      return validate(ports, project, textOf(request.body))
    },
  )
}

async function validate(ports: RulePorts, project: string, text: string) {
  const [parsed, ...more] = parseDocuments(text)
  const [piece] = readDocuments(text)
  if (parsed === undefined || piece === undefined) return invalidWith([{ field: '', message: 'expected a rule', line: 1, column: 1 }])
  if (more.length > 0)
    return invalidWith([{ field: '', message: 'expected one rule; several are checked by :apply with dryRun', line: 1, column: 1 }])
  if (parsed.rule === undefined) return invalidWith(parsed.errors)
  const { rule } = parsed
  const problem = await problemOf(ports, project, rule, piece)
  if (problem) return invalidWith([problem])
  return { valid: true, errors: [], rule: ruleToJson(rule) as RuleJson, yaml: ruleToYaml(rule) }
}

async function problemOf(ports: RulePorts, project: string, rule: Rule, piece: Piece): Promise<Mistake | undefined> {
  try {
    await checkRules(ports, project, [{ rule, path: '' }])
    return undefined
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'invalid') throw error
    return piece.locate(error.field === 'rule' ? '' : (error.field ?? ''), error.message)
  }
}

function invalidWith(errors: readonly Problem[]) {
  return { valid: false, errors: [...errors] }
}

function addApplying(app: HttpApp, ports: RulePorts): void {
  app.post(
    verb(RULES, 'apply'),
    {
      bodyLimit: MAX_APPLY_BYTES,
      schema: {
        operationId: 'applyRules',
        summary: 'Puts a set of rules in place, all or none, and says what changed; with `dryRun` only says it',
        tags,
        params: InProject,
        body: described(ApplyBody),
        response: { 200: ApplyAnswer },
      },
    },
    async request => {
      const { project } = request.params
      const { wanted, remove, dryRun, ifRevision } = await parseApply(request.body)
      const author = dryRun ? undefined : authorOf(request, project, ports)
      callerIn(request, project)
      return apply(ports, project, { wanted, remove, ifRevision }, author)
    },
  )
}

type Application = { readonly wanted: readonly Rule[]; readonly remove: boolean; readonly ifRevision: string | undefined }

async function parseApply(body: unknown): Promise<Application & { readonly dryRun: boolean }> {
  const { rules, remove, dryRun, ifRevision } = readObject(body, '', ['rules', 'remove', 'dryRun', 'ifRevision'], 'body')
  const flag = (value: unknown, name: string) => (value === undefined ? false : readBoolean(value, name))
  return {
    wanted: await rulesIn(rules, MAX_APPLIED),
    remove: flag(remove, 'remove'),
    dryRun: flag(dryRun, 'dryRun'),
    ifRevision: ifRevision === undefined || ifRevision === '' ? undefined : readString(ifRevision, 'ifRevision', 32),
  }
}

const MAX_ATTEMPTS = 20

async function apply(ports: RulePorts, project: string, one: Application, author: Author | undefined) {
  const { rules, changed } = ports
  for (let attempt = 1; ; attempt++) {
    const snapshot = await rules.snapshot(project)
    const changes = await planOf(ports, project, snapshot, one)
    const steps = stepsOf(changes, one.wanted)
    if (author === undefined || steps.length === 0) return shown(changes, snapshot.revision)
    try {
      const revision = await rules.apply(project, snapshot.revision, steps, author)
      for (const { rule, action } of changes) if (action === 'delete') await ports.channels.removeOf(project, rule)
      changed(project)
      return shown(changes, revision)
    } catch (error) {
      // Others were faster. Who has seen a plan is asked again, for others it is made anew.
      const isTooLate = error instanceof Failure && error.code === 'conflict' && (await rules.version(project)) !== snapshot.revision
      if (!isTooLate || one.ifRevision !== undefined || attempt >= MAX_ATTEMPTS) throw error
    }
  }
}

function shown(changes: readonly PlannedChange[], revision: string) {
  return { changes: changes.map(({ differences, ...change }) => ({ ...change, differences: [...differences] })), revision }
}

async function planOf(ports: RulePorts, project: string, snapshot: RuleSnapshot, one: Application): Promise<PlannedChange[]> {
  const { wanted, remove, ifRevision } = one
  if (ifRevision !== undefined && ifRevision !== snapshot.revision)
    throw new Failure('conflict', 'ifRevision: the rules were changed by others since: look again', { field: 'ifRevision' })
  const named = wanted.map((rule, i) => ({ rule, path: `rules[${i}]` }))
  await checkRules(ports, project, named, remove)
  const changes = await inTurns(pairsOf(snapshot.rules, wanted, remove), planRule)
  const names = new Set(remove ? wanted.map(({ name }) => name) : snapshot.broken)
  const gone = snapshot.broken.filter(name => !names.has(name)).map(rule => ({ rule, action: 'delete' as const, differences: [] }))
  return [...changes, ...gone]
}

function stepsOf(changes: readonly PlannedChange[], wanted: readonly Rule[]): RuleChange[] {
  const byName = new Map(wanted.map(rule => [rule.name, rule]))
  return changes.flatMap(({ rule, action }): RuleChange[] => {
    const save = byName.get(rule)
    if (action === 'same') return []
    return save === undefined ? [{ remove: rule, notify: false }] : [{ save }]
  })
}
