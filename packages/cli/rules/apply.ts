// `telltale rules apply` and `diff`: the server's rules are made those of a folder, after everybody has seen what that changes.
import { createInterface } from 'node:readline'
import type { NamedRule, RuleChange } from '../../client/index.ts'
import { TelltaleError } from '../../client/index.ts'
import { Failure, invalid } from '../../core/failure.ts'
import { type Rule, ruleToJson } from '../../core/rule.ts'
import type { Terminal } from '../terminal.ts'
import { planLines, summaryOf } from './difference.ts'
import { type FileMistake, type FoundRule, readRuleFiles, ruleFilesIn } from './file.ts'
import { type ExitCode, type Run, sayLines, sayMistake, sayMistakes } from './run.ts'

export type ApplyOptions = { readonly remove?: boolean; readonly yes?: boolean; readonly dryRun?: boolean }

export async function apply(run: Run, paths: readonly string[], options: ApplyOptions): Promise<ExitCode> {
  const { remove = false, dryRun = false, yes = false } = options
  const found = await foundIn(run, paths)
  if (found === undefined) return 1
  const rules = found.map(({ rule }) => documentOf(rule))
  const plan = await refusable(run, found, () => run.client.rules.apply({ rules, remove, dryRun: true }))
  if (plan === undefined) return 1
  const different = plan.changes.some(({ action }) => action !== 'same')
  if (run.json && (dryRun || !different)) await run.say(JSON.stringify(plan))
  if (!run.json) await sayLines(run, [...planLines(plan.changes, run.palette), summaryOf(plan.changes, false)])
  if (!different) return 0
  if (dryRun) return 2
  if (!yes && !(await isConfirmed(run, plan.changes))) {
    await run.say('nothing was changed')
    return 1
  }
  const done = await refusable(run, found, () => run.client.rules.apply({ rules, remove, ifRevision: plan.revision }))
  if (done === undefined) return 1
  await run.say(run.json ? JSON.stringify(done) : summaryOf(done.changes, true))
  return 0
}

/** Undefined: there were mistakes, and they were said. */
async function foundIn(run: Run, paths: readonly string[]): Promise<FoundRule[] | undefined> {
  const files = readRuleFiles([...new Set(paths.flatMap(ruleFilesIn))])
  if (await sayMistakes(run, files)) return undefined
  const found = files.flatMap(({ rules }) => rules)
  // A wrong folder must not delete everything.
  if (found.length === 0) throw invalid(paths.join(', '), 'expected rules in it (files that end in .yaml, .yml or .json)')
  return found
}

function documentOf(rule: Rule): NamedRule {
  const { version: _, ...document } = ruleToJson(rule)
  return document as NamedRule
}

/** What the server refuses in a rule stands in a file: it is said with the place there. */
async function refusable<T>(run: Run, found: readonly FoundRule[], ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask()
  } catch (error) {
    const mistake = error instanceof TelltaleError && error.status === 400 ? mistakeOf(error, found) : undefined
    if (mistake === undefined) throw error
    await sayMistake(run, mistake)
    return undefined
  }
}

function mistakeOf({ field = '', message }: TelltaleError, found: readonly FoundRule[]): FileMistake | undefined {
  const [, index, inner = ''] = /^rules\[(\d+)\]\.?(.*)$/.exec(field) ?? []
  const rule = found[Number(index)]
  return index === undefined ? undefined : rule?.locate(inner, message.replace(field, inner).replace(/^: /, ''))
}

/** Asked on a terminal; elsewhere nobody could answer, and only what deletes nothing goes without `--yes`. */
async function isConfirmed({ terminal, json }: Run, changes: readonly RuleChange[]): Promise<boolean> {
  if (terminal.in?.isTTY === true && !json) return confirmed(terminal, 'Apply this?')
  const gone = changes.filter(({ action }) => action === 'delete').length
  if (gone > 0) throw new Failure('conflict', `--yes: expected, because ${gone === 1 ? 'a rule is' : `${gone} rules are`} deleted`)
  return true
}

export async function confirmed({ in: input, out, stopped }: Terminal, question: string): Promise<boolean> {
  if (input?.isTTY !== true) return false
  const lines = createInterface({ input, output: out })
  const close = () => lines.close()
  stopped.addEventListener('abort', close)
  try {
    // Who ends the input, or the program, has not said yes.
    const answer = await new Promise<string>(resolve => {
      lines.once('close', () => resolve(''))
      lines.question(`${question} [y/N] `, resolve)
    })
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    stopped.removeEventListener('abort', close)
    lines.close()
  }
}
