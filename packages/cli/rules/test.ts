// `telltale rules test` and `validate`: no server is needed; the rules are judged by the engine that judges live.
import { dirname, resolve } from 'node:path'
import type { Piece } from '../../core/document.ts'
import { Failure, invalid } from '../../core/failure.ts'
import type { Rule } from '../../core/rule.ts'
import { parseRuleTests, type RuleTest } from '../../core/ruletest/plan.ts'
import { runRuleTest, type TestOutcome } from '../../core/ruletest/run.ts'
import { printable } from '../terminal.ts'
import { type FileMistake, filesIn, isTestFile, type RuleFile, readPiece, readRuleFiles, ruleFilesIn } from './file.ts'
import { counted, type ExitCode, type Local, sayLines, sayMistakes } from './run.ts'

type TestFile = {
  readonly file: string
  readonly rules: readonly Rule[]
  readonly tests: readonly RuleTest[]
  readonly errors: readonly FileMistake[]
  lineOf(path: string): number
}

export async function validate(run: Local, paths: readonly string[]): Promise<ExitCode> {
  const files = [...new Set(paths.flatMap(path => filesIn(path, () => true)))]
  const rules = readRuleFiles(files.filter(file => !isTestFile(file)))
  const tests = files.filter(isTestFile).map(readTestFile)
  if (await sayMistakes(run, [...rules, ...tests])) return 1
  const count = rules.reduce((sum, file) => sum + file.rules.length, 0)
  if (!run.json) await run.say(`${counted(count, 'rule')} in ${counted(files.length, 'file')}: no mistakes`)
  return 0
}

export async function test(run: Local, paths: readonly string[], { verbose = false }: { readonly verbose?: boolean }): Promise<ExitCode> {
  const files = [...new Set(paths.flatMap(path => filesIn(path, isTestFile)))]
  if (files.length === 0) throw invalid(paths.join(', '), 'expected files of tests in it (they end in .test.yaml)')
  let count = 0
  let failed = 0
  let broken = false
  for (const file of files.map(readTestFile)) {
    broken = (await sayMistakes(run, [file])) || broken
    for (const [i, one] of file.tests.entries()) {
      const outcome = runRuleTest(one, file.rules, `tests[${i}]`)
      count++
      if (!outcome.passed) failed++
      await sayOutcome(run, file, outcome, verbose)
    }
  }
  if (!run.json) await run.say(`${counted(count, 'test')}, ${failed === 0 ? 'all passed' : `${failed} failed`}`)
  return failed > 0 || broken ? 1 : 0
}

async function sayOutcome(run: Local, file: TestFile, outcome: TestOutcome, verbose: boolean): Promise<void> {
  const { palette } = run
  const { name, passed, failures, changes } = outcome
  if (run.json) return run.say(JSON.stringify({ file: file.file, ...outcome }))
  await run.say(`${passed ? palette.green('✓') : palette.red('✗')} ${printable(name)}`)
  for (const { path, at, rule, device, expected, found, reason } of failures)
    await sayLines(run, [
      `    ${palette.bold(`${printable(file.file)}:${file.lineOf(path)}`)} at ${at}, ${printable(rule)} on ${printable(device)}`,
      `      expected  ${printable(expected)}`,
      `      found     ${palette.red(printable(found))}`,
      `      because   ${printable(reason)}`,
    ])
  if (!verbose) return
  for (const { at, rule, device, kind, severity, reason } of changes)
    await run.say(
      palette.dim(`    ${at.padStart(8)}  ${kind}, ${severity}  ${printable(rule)} on ${printable(device)}: ${printable(reason)}`),
    )
}

/** With the rules that it names, which stand in files beside it. */
function readTestFile(file: string): TestFile {
  const { text, piece } = readPiece(file)
  const none = { file, rules: [], tests: [], lineOf: () => 1 }
  const mistake = (field: string, message: string): FileMistake => ({
    ...(piece?.locate(field, message) ?? { field, message, line: 1, column: 1 }),
    file,
    text,
  })
  if (piece === undefined) return { ...none, errors: [mistake('', 'expected "rules" and "tests"')] }
  if (piece.errors.length > 0) return { ...none, errors: piece.errors.map(error => ({ ...error, file, text })) }
  try {
    const beside = rulesBeside(file, piece)
    const errors = beside.flatMap(one => one.errors)
    if (errors.length > 0) return { ...none, errors }
    const rules = beside.flatMap(one => one.rules.map(({ rule }) => rule))
    return { file, rules, tests: parseRuleTests(piece.value, rules), errors: [], lineOf: path => piece.locate(path, '').line }
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'invalid') throw error
    return { ...none, errors: [mistake(error.field ?? '', error.message)] }
  }
}

function rulesBeside(file: string, { value }: Piece): RuleFile[] {
  const { rules } = Object(value) as { readonly rules?: unknown }
  const named = Array.isArray(rules) ? (rules as unknown[]) : []
  if (named.length === 0) throw invalid('rules', 'expected a list of files or folders of rules, such as [freezer.yaml]')
  const paths = named.map((path, i) => {
    if (typeof path !== 'string' || path === '') throw invalid(`rules[${i}]`, 'expected a file or folder of rules, such as freezer.yaml')
    return resolved(file, path, i)
  })
  return readRuleFiles([...new Set(paths.flat())])
}

function resolved(file: string, path: string, index: number): string[] {
  try {
    return ruleFilesIn(resolve(dirname(file), path))
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    throw new Failure('invalid', `rules[${index}]: ${error.message}`, { field: `rules[${index}]`, cause: error })
  }
}
