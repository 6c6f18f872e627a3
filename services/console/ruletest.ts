// Tests of rules by the server, for those who write rules in a browser: a few milliseconds of the thread at a time, and not for ever.
import { readObject } from '../../packages/core/condition/input.ts'
import { readDocuments } from '../../packages/core/document.ts'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { parseRule, type Rule } from '../../packages/core/rule.ts'
import { parseRuleTests, type RuleTest } from '../../packages/core/ruletest/plan.ts'
import { runInSteps, type TestOutcome } from '../../packages/core/ruletest/run.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { described } from '../../packages/runtime/schema.ts'
import { REQUEST_TURN_MS, Turns } from '../../packages/state/turn.ts'
import { inside, rulesIn, textOf } from './ruledocument.ts'
import { InProject, RULES, TestAnswer, TestBody, tags } from './ruleschema.ts'
import { Running } from './running.ts'

const MAX_RULES = 100
/** Rules times devices, and rules times events, of all tests. */
const MAX_PAIRS = 100_000
const MAX_JUDGEMENTS = 1_000_000
const LIMIT_MS = 10_000
const STEPS_A_LOOK = 16
/** Of changes and of failures each: in a test, and in all of them. */
const MOST_LISTED = 1000
const MOST_LISTED_IN_ALL = 10_000

export function addRuleTestRoute(app: HttpApp): void {
  const running = new Running()
  app.addHook('preClose', async () => running.stop())
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
    async (request, reply) => {
      const { project } = request.params
      callerIn(request, project)
      return running.within(reply, project, signal => runTests(textOf(request.body), signal))
    },
  )
}

async function runTests(text: string, signal: AbortSignal) {
  const [piece] = readDocuments(text)
  const [mistake] = piece?.errors ?? [{ field: 'body', message: 'body: expected rules and tests' }]
  if (piece === undefined || mistake !== undefined)
    throw new Failure('invalid', mistake?.message ?? '', { field: mistake?.field || 'body' })
  const { rule, rules } = readObject(piece.value, '', ['rule', 'rules', 'start', 'interval', 'lateness', 'tests'], 'body')
  const tested = rule === undefined ? await rulesIn(rules, MAX_RULES) : [inside('rule', () => parseRule(rule))]
  if (rule !== undefined && rules !== undefined) throw invalid('rules', 'expected either "rule" or "rules"')
  const tests = parseRuleTests(piece.value, tested)
  checkEffort(tests, tested)
  const untilMs = performance.now() + LIMIT_MS
  const outcomes: TestOutcome[] = []
  for (const [i, test] of tests.entries()) outcomes.push(await runTest(test, tested, `tests[${i}]`, untilMs, signal))
  return { passed: outcomes.every(({ passed }) => passed), tests: listed(outcomes) }
}

function checkEffort(tests: readonly RuleTest[], rules: readonly Rule[]): void {
  const sum = (count: (test: RuleTest) => number) => tests.reduce((all, test) => all + count(test), 0) * rules.length
  const expected = 'expected less in one request; `telltale rules test` runs them without a server'
  const pairs = sum(({ devices }) => devices.length)
  if (pairs > MAX_PAIRS) throw invalid('tests', `rules times devices are ${pairs} in all, more than ${MAX_PAIRS}: ${expected}`)
  const judgements = sum(({ events }) => events.length)
  if (judgements > MAX_JUDGEMENTS)
    throw invalid('tests', `rules times events are ${judgements} in all, more than ${MAX_JUDGEMENTS}: ${expected}`)
}

async function runTest(test: RuleTest, rules: readonly Rule[], path: string, untilMs: number, signal: AbortSignal): Promise<TestOutcome> {
  const run = runInSteps(test, rules, path)
  const turns = new Turns(REQUEST_TURN_MS)
  for (let steps = 1; ; steps++) {
    const step = run.next()
    if (step.done) return step.value
    if (steps % STEPS_A_LOOK !== 0 || !turns.isOver) continue
    if (performance.now() > untilMs) throw invalid(path, `was not over after ${LIMIT_MS / 1000} s; expected fewer events, rules or devices`)
    await turns.giveWay(signal)
  }
}

function listed(outcomes: readonly TestOutcome[]) {
  let left = MOST_LISTED_IN_ALL
  return outcomes.map(({ failures, changes, ...test }) => {
    const most = Math.min(MOST_LISTED, left)
    left -= Math.min(most, Math.max(failures.length, changes.length))
    const truncated = Math.max(failures.length, changes.length) > most
    return { ...test, failures: failures.slice(0, most), changes: changes.slice(0, most), truncated }
  })
}
