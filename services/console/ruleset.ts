// Rules as files: checked as text, put in place of those that there are in one step, and tested without a device.
import { readBoolean, readObject, readString } from '../../packages/core/condition/input.ts'
import { type Mistake, type Piece, parseDocuments, readDocuments, ruleToYaml } from '../../packages/core/document.ts'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { parseRule, type Rule, ruleToJson } from '../../packages/core/rule.ts'
import { checkNames, type KnownNames, type PlannedChange, planRules } from '../../packages/core/ruleplan.ts'
import { ruleSchema } from '../../packages/core/ruleschema.ts'
import { parseRuleTests } from '../../packages/core/ruletest/plan.ts'
import { runRuleTest } from '../../packages/core/ruletest/run.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { described } from '../../packages/runtime/schema.ts'
import type { Author, RuleChange, RuleSnapshot } from '../../packages/state/rule.ts'
import { authorOf, knownNames, type RulePorts } from './rule.ts'
import {
  ApplyAnswer,
  ApplyBody,
  InProject,
  RULES,
  type RuleJson,
  RulesSchema,
  TestAnswer,
  TestBody,
  tags,
  ValidateAnswer,
  ValidateBody,
} from './ruleschema.ts'

type Problem = { field: string; message: string; line?: number; column?: number }

const MAX_APPLIED = 10_000
const MAX_TESTED = 100
const MAX_APPLY_BYTES = 16 * 1024 * 1024

export function addRuleSetRoutes(app: HttpApp, ports: RulePorts): void {
  addSchema(app)
  addValidating(app, ports)
  addApplying(app, ports)
  addTesting(app)
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
  const all = new Map([...(await ports.rules.list(project)), rule].map(one => [one.name, one]))
  const problem = nameProblem(rule, all, await knownNames(ports, project, [rule]), piece)
  if (problem) return invalidWith([problem])
  return { valid: true, errors: [], rule: ruleToJson(rule) as RuleJson, yaml: ruleToYaml(rule) }
}

function nameProblem(rule: Rule, all: ReadonlyMap<string, Rule>, known: KnownNames, piece: Piece): Mistake | undefined {
  try {
    checkNames(rule, '', all, known)
    return undefined
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    return piece.locate(error.field ?? '', error.message)
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
      const { wanted, remove, dryRun, ifRevision } = parseApply(request.body)
      const author = dryRun ? undefined : authorOf(request, project, ports)
      callerIn(request, project)
      return apply(ports, project, { wanted, remove, ifRevision }, author)
    },
  )
}

type Application = { readonly wanted: readonly Rule[]; readonly remove: boolean; readonly ifRevision: string | undefined }

function parseApply(body: unknown): Application & { readonly dryRun: boolean } {
  const { rules, remove, dryRun, ifRevision } = readObject(body, '', ['rules', 'remove', 'dryRun', 'ifRevision'], 'body')
  const flag = (value: unknown, name: string) => (value === undefined ? false : readBoolean(value, name))
  return {
    wanted: rulesIn(rules, MAX_APPLIED),
    remove: flag(remove, 'remove'),
    dryRun: flag(dryRun, 'dryRun'),
    ifRevision: ifRevision === undefined || ifRevision === '' ? undefined : readString(ifRevision, 'ifRevision', 32),
  }
}

function rulesIn(input: unknown, most: number): Rule[] {
  if (!Array.isArray(input) || input.length > most) throw invalid('rules', `expected a list of at most ${most} rules`)
  const rules = input.map((one: unknown, i) => inside(`rules[${i}]`, () => parseRule(one)))
  const lines = new Map<string, number>()
  for (const [i, { name }] of rules.entries()) {
    const earlier = lines.get(name)
    if (earlier !== undefined) throw invalid(`rules[${i}].name`, `expected another name than that of rules[${earlier}], ${name}`)
    lines.set(name, i)
  }
  return rules
}

/** What is wrong in a part of a document, by its path in the whole. */
function inside<T>(path: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const field = error.field ?? ''
    const said = error.message.startsWith(`${field}: `) ? error.message.slice(field.length + 2) : error.message
    throw invalid(field === '' || field === 'rule' ? path : `${path}.${field}`, said)
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
  const known = await knownNames(ports, project, wanted)
  const all = new Map([...(remove ? [] : snapshot.rules), ...wanted].map(rule => [rule.name, rule]))
  for (const [i, rule] of wanted.entries()) checkNames(rule, `rules[${i}]`, all, known)
  return planRules(snapshot.rules, wanted, remove)
}

function stepsOf(changes: readonly PlannedChange[], wanted: readonly Rule[]): RuleChange[] {
  const byName = new Map(wanted.map(rule => [rule.name, rule]))
  return changes.flatMap(({ rule, action }): RuleChange[] => {
    const save = byName.get(rule)
    if (action === 'same') return []
    return save === undefined ? [{ remove: rule, notify: false }] : [{ save }]
  })
}

function addTesting(app: HttpApp): void {
  app.post(
    verb(RULES, 'test'),
    {
      config: { raw: true },
      schema: {
        operationId: 'testRule',
        summary: 'Runs tests of rules: events in, alarms expected; nothing is saved, and nothing but the body counts',
        tags,
        params: InProject,
        body: described(TestBody),
        response: { 200: TestAnswer },
      },
    },
    async request => {
      callerIn(request, request.params.project)
      return runTests(textOf(request.body))
    },
  )
}

function runTests(text: string) {
  const [piece] = readDocuments(text)
  const [mistake] = piece?.errors ?? [{ field: 'body', message: 'body: expected rules and tests' }]
  if (piece === undefined || mistake !== undefined)
    throw new Failure('invalid', mistake?.message ?? '', { field: mistake?.field || 'body' })
  const { rule, rules } = readObject(piece.value, '', ['rule', 'rules', 'start', 'interval', 'tests'], 'body')
  const tested = rule === undefined ? rulesIn(rules, MAX_TESTED) : [inside('rule', () => parseRule(rule))]
  if (rule !== undefined && rules !== undefined) throw invalid('rules', 'expected either "rule" or "rules"')
  const tests = parseRuleTests(piece.value, tested).map((test, i) => runRuleTest(test, tested, `tests[${i}]`))
  return {
    passed: tests.every(({ passed }) => passed),
    tests: tests.map(({ failures, changes, ...test }) => ({ ...test, failures: [...failures], changes: [...changes] })),
  }
}

function textOf(body: unknown): string {
  return Buffer.isBuffer(body) ? body.toString('utf8') : ''
}
