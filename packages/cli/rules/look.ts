// `telltale rules list`, `get`, `versions`, `delete` and `pull`: what the server has, for people and for files.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RuleVersion, Rule as WireRule } from '../../client/index.ts'
import { differencesOf } from '../../core/difference.ts'
import { ruleToYaml } from '../../core/document.ts'
import { Failure } from '../../core/failure.ts'
import { parseRule, type Rule } from '../../core/rule.ts'
import { isSameRule } from '../../core/ruleplan.ts'
import { tableLines } from '../table.ts'
import { printable } from '../terminal.ts'
import { confirmed } from './apply.ts'
import { valueText } from './difference.ts'
import { type FoundRule, readRuleFiles, ruleFilesIn } from './file.ts'
import { counted, type ExitCode, type Run, sayLines, sayMistakes } from './run.ts'

export async function list(run: Run): Promise<ExitCode> {
  const rules = await run.client.rules.list()
  if (run.json)
    await sayLines(
      run,
      rules.map(rule => JSON.stringify(rule)),
    )
  else if (rules.length === 0) await run.say('no rules yet: telltale rules apply FILE')
  else {
    const rows = rules.map(({ name, version, enabled, severity, when, for: hold, notify }) => [
      name,
      version,
      enabled === false ? 'off' : 'on',
      typeof severity === 'string' ? severity : 'ladder',
      Object.keys(when).join(', '),
      hold === '0ms' ? '' : (hold ?? ''),
      (notify ?? []).join(', '),
    ])
    await sayLines(run, tableLines(['rule', 'version', 'enabled', 'severity', 'condition', 'for', 'notify'], rows, run.palette))
  }
  return 0
}

export async function get(run: Run, name: string, { at }: { readonly at?: number }): Promise<ExitCode> {
  const document = at === undefined ? await run.client.rules.get(name) : await versionOf(run, name, at)
  await run.say(run.json ? JSON.stringify(document) : safeYaml(ruleOf(document)))
  return 0
}

async function versionOf(run: Run, name: string, version: number): Promise<object> {
  for await (const page of run.client.rules.versionPages(name)) {
    const found = page.find(one => one.version === version)
    if (found?.rule) return found.rule
    if (found) throw new Failure('not_found', `version ${version} of rule ${name} is its removal`)
  }
  throw new Failure('not_found', `rule ${name} has no version ${version}, or it is no longer kept`)
}

export async function versions(run: Run, name: string): Promise<ExitCode> {
  const all: RuleVersion[] = []
  for await (const page of run.client.rules.versionPages(name)) all.push(...page)
  if (run.json) {
    await sayLines(
      run,
      all.map(version => JSON.stringify(version)),
    )
    return 0
  }
  const rows = all.map(({ version, time, by }, i) => [version, time?.slice(0, 19) ?? '', by, changeText(all[i + 1], all[i] as RuleVersion)])
  await sayLines(run, tableLines(['version', 'time (UTC)', 'by', 'what changed'], rows, run.palette))
  return 0
}

function changeText(before: RuleVersion | undefined, { rule }: RuleVersion): string {
  if (rule === null) return 'removed'
  if (before === undefined || before.rule === null) return 'made'
  const differences = differencesOf({ ...before.rule, version: 0 }, { ...rule, version: 0 })
  return differences.map(({ path, from, to }) => `${path} ${valueText(from ?? '–')} → ${valueText(to ?? '–')}`).join('; ')
}

export async function remove(run: Run, name: string, options: { readonly notify?: boolean; readonly yes?: boolean }): Promise<ExitCode> {
  if (options.yes !== true) {
    if (run.terminal.in?.isTTY !== true || run.json)
      throw new Failure('conflict', '--yes: expected, because the rule is deleted and its alarms clear')
    await run.client.rules.get(name)
    if (!(await confirmed(run.terminal, `Delete ${printable(name)}? Its alarms clear.`))) {
      await run.say('nothing was changed')
      return 1
    }
  }
  await run.client.rules.remove(name, { notify: options.notify === true })
  await run.say(run.json ? JSON.stringify({ deleted: name }) : `deleted ${printable(name)}`)
  return 0
}

/** Files that say the same already are left as they are, with their comments; what is in none gets a file of its own. */
export async function pull(run: Run, folder: string, { yes = false }: { readonly yes?: boolean }): Promise<ExitCode> {
  mkdirSync(folder, { recursive: true })
  const files = readRuleFiles(ruleFilesIn(folder))
  if (await sayMistakes(run, files)) return 1
  const there = new Map(files.flatMap(({ rules }) => rules.map(found => [found.rule.name, found] as const)))
  const alone = new Set(files.filter(({ rules }) => rules.length === 1).map(({ file }) => file))
  const rules = (await run.client.rules.list()).map(ruleOf)
  const changed = rules.filter(rule => isChanged(there.get(rule.name), rule))
  const shared = changed.flatMap(({ name }) => there.get(name) ?? []).filter(({ file }) => !alone.has(file))
  for (const { file, rule } of shared) await run.say(`! ${printable(rule.name)}: ${printable(file)} holds several rules: change it by hand`)
  const written = changed.filter(({ name }) => !shared.some(({ rule }) => rule.name === name))
  const over = written.flatMap(({ name }) => there.get(name) ?? [])
  await sayLines(
    run,
    written.map(({ name }) => `${there.has(name) ? '~' : '+'} ${pathOf(folder, name, there.get(name))}`),
  )
  if (over.length > 0 && !yes && !(await confirmed(run.terminal, `Write over ${counted(over.length, 'file')}?`)))
    throw new Failure('conflict', `--yes: expected, because ${counted(over.length, 'file')} would be written over`)
  for (const rule of written) writeFileSync(pathOf(folder, rule.name, there.get(rule.name)), ruleToYaml(rule))
  const names = new Set(rules.map(({ name }) => name))
  for (const name of there.keys()) if (!names.has(name)) await run.say(`? ${printable(name)} is not on the server`)
  await run.say(
    `${counted(rules.length, 'rule')}: ${counted(written.length, 'file')} written, ${rules.length - changed.length} the same already`,
  )
  return shared.length > 0 ? 1 : 0
}

function isChanged(found: FoundRule | undefined, rule: Rule): boolean {
  return found === undefined || !isSameRule(found.rule, rule)
}

/** The name of a rule is letters, digits, `-` and `_`: no path. */
function pathOf(folder: string, name: string, found: FoundRule | undefined): string {
  return found?.file ?? join(folder, `${name}.yaml`)
}

function ruleOf(document: object): Rule {
  const { resource: _, ...rule } = document as Partial<WireRule>
  return parseRule(rule)
}

function safeYaml(rule: Rule): string {
  return ruleToYaml(rule).trimEnd().split('\n').map(printable).join('\n')
}
