// `telltale rules backtest|explain|suggest|shadow`: rules over what has been, before they hurt.
import type { Command } from 'commander'
import type { BacktestQuery, NamedRule, Telltale } from '../../client/index.ts'
import { checkDevice } from '../../core/event.ts'
import { Failure, invalid } from '../../core/failure.ts'
import { ruleToJson } from '../../core/rule.ts'
import { formatTime } from '../../core/time.ts'
import { explained, openClient } from '../api.ts'
import { addLoginOptions, collect, pastUs, wholeNumber } from '../option.ts'
import { type RuleFile, readRuleFiles } from '../rules/file.ts'
import { resolveTarget, type TargetOptions } from '../target.ts'
import { printable, type Terminal, writeLine } from '../terminal.ts'
import { backtestLines, explanationLines, shadowLines, suggestionLines } from './report.ts'
import { followed } from './run.ts'

type Common = TargetOptions & { readonly json?: boolean }
type SpanOptions = Common & { readonly from?: number; readonly to?: number; readonly device?: readonly string[] }
type BacktestOptions = SpanOptions & { readonly against?: number; readonly againstFile?: string; readonly rule?: string }
const SHOWN_NAMES = 20

type Lines = { readonly document: unknown; readonly lines: readonly string[] }

export function addPast(command: Command, terminal: Terminal, ended: (ok: boolean) => void): void {
  const sub = (name: string, description: string) =>
    addLoginOptions(command.command(name).description(description))
      .option('--http <url>', 'the server (else TELLTALE_HTTP_URL, else http://127.0.0.1:8080)')
      .option('--json', 'print JSON')
  const run = async (what: string, options: Common, work: (client: Telltale) => Promise<Lines>) => {
    await within(terminal, what, options, work)
    ended(true)
  }
  addBacktest(sub, run, terminal)
  sub('explain', 'say why a rule did or did not fire on a device')
    .argument('<rule>')
    .argument('<device>')
    .option('--at <time>', 'then instead of now: 2026-03-01T08:00:00Z, or 10m for ten minutes ago', pastUs('--at'))
    .action((rule: string, device: string, options: Common & { readonly at?: number }) =>
      run(`rules/${rule}:explain`, options, async ({ rules }) => {
        const document = await rules.explain(
          rule,
          checkDevice(device, 'device'),
          options.at === undefined ? undefined : formatTime(options.at),
        )
        return { document, lines: explanationLines(document, terminal) }
      }),
    )
  addSpan(sub('suggest', 'say which dead-band and hold time would have cut the flapping of a rule'))
    .argument('<rule>')
    .action((rule: string, options: SpanOptions) =>
      run(`rules/${rule}:suggest`, options, async ({ rules }) => {
        const document = await rules.suggest(rule, spanOf(options))
        return { document, lines: suggestionLines(document, terminal) }
      }),
    )
  addShadow(sub, run, terminal)
}

type Sub = (name: string, description: string) => Command
type Run = (what: string, options: Common, work: (client: Telltale) => Promise<Lines>) => Promise<void>

function addBacktest(sub: Sub, run: Run, terminal: Terminal): void {
  addSpan(sub('backtest', 'run a rule over stored history: a saved one by its name, or one in a file (*.yaml, *.json)'))
    .argument('<rule>', 'name of a rule, or a file')
    .option('--rule <name>', 'which one, if the file has several')
    .option('--against <version>', 'tell the difference to this version of it', wholeNumber('--against', 1))
    .option('--against-file <file>', 'tell the difference to the rule in this file')
    .action((rule: string, options: BacktestOptions) =>
      run('rules:backtest', options, async ({ rules }) => {
        if (options.rule !== undefined && !isFile(rule)) throw invalid('--rule', `expected with a file, ${printable(rule)} is a name`)
        const draft = isFile(rule) ? ruleIn(rule, options.rule) : undefined
        const query: BacktestQuery = { ...spanOf(options), ...againstOf(options, draft?.name ?? rule) }
        const signal = terminal.stopped
        const lines = draft ? rules.backtest({ ...query, rule: draft }, { signal }) : rules.backtest(rule, query, { signal })
        const document = await followed(lines, terminal)
        return { document, lines: backtestLines(document, terminal) }
      }),
    )
}

function addShadow(sub: Sub, run: Run, terminal: Terminal): void {
  sub('shadow', 'run the rule in a file beside the saved one without alarms; without a file, say where the two disagree')
    .argument('<rule>')
    .argument('[file]')
    .option('--stop', 'end the shadow')
    .action((rule: string, file: string | undefined, options: Common & { readonly stop?: boolean }) =>
      run(`rules/${rule}:shadow`, options, async ({ rules }) => {
        if (options.stop === true && file !== undefined) throw invalid('--stop', 'expected without a file')
        if (options.stop === true)
          return { document: await rules.removeShadow(rule), lines: [`the shadow of ${printable(rule)} has ended`] }
        const document = file === undefined ? await rules.shadow(rule) : await rules.putShadow(rule, ruleNamed(file, rule))
        return { document, lines: shadowLines(document, terminal) }
      }),
    )
}

function addSpan(command: Command): Command {
  return command
    .option(
      '--from <time>',
      'begin here: 2026-03-01T08:00:00Z, or 30d for thirty days ago (default: a week before the end)',
      pastUs('--from'),
    )
    .option('--to <time>', 'end here (default: now)', pastUs('--to'))
    .option('--device <id>', 'only this device; can be repeated', collect)
}

function spanOf({ from, to, device }: SpanOptions): { startTime?: string; endTime?: string; devices?: readonly string[] } {
  return {
    ...(from === undefined ? {} : { startTime: formatTime(from) }),
    ...(to === undefined ? {} : { endTime: formatTime(to) }),
    ...(device === undefined ? {} : { devices: device.map(id => checkDevice(id, '--device')) }),
  }
}

/** In a file of several, the rule of the same name. */
function againstOf({ against, againstFile }: BacktestOptions, name: string): { against?: number | NamedRule } {
  if (against !== undefined && againstFile !== undefined) throw invalid('--against', 'expected without --against-file')
  if (againstFile !== undefined) return { against: ruleNamed(againstFile, name) }
  return against === undefined ? {} : { against }
}

/** No name of a rule has a dot or a slash. */
function isFile(text: string): boolean {
  return /[./\\]/.test(text)
}

/** The one in the file, or of several the one that is named; `version` is the server's. */
function ruleIn(path: string, name: string | undefined): NamedRule {
  const [{ rules, errors }] = readRuleFiles([path]) as [RuleFile]
  const [mistake] = errors
  if (mistake) throw new Failure('invalid', `${path}:${mistake.line}:${mistake.column}: ${mistake.message}`)
  const names = rules.map(({ rule }) => rule.name)
  const found = rules.length === 1 && name === undefined ? rules[0] : rules.find(({ rule }) => rule.name === name)
  if (found === undefined && name === undefined && rules.length > 0)
    throw invalid('--rule', `expected one of the rules in ${path}: ${listed(names)}`)
  if (found === undefined)
    throw invalid(path, name === undefined ? 'expected a rule in it' : `expected a rule ${name} in it, has ${listed(names)}`)
  const { version: _, ...document } = ruleToJson(found.rule)
  return document as NamedRule
}

function ruleNamed(path: string, name: string): NamedRule {
  const [{ rules }] = readRuleFiles([path]) as [RuleFile]
  return ruleIn(path, rules.length > 1 ? name : undefined)
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? 'none' : `${names.slice(0, SHOWN_NAMES).join(', ')}${names.length > SHOWN_NAMES ? ', …' : ''}`
}

async function within(terminal: Terminal, what: string, options: Common, work: (client: Telltale) => Promise<Lines>): Promise<void> {
  const target = resolveTarget(options, terminal.env)
  const client = openClient(target)
  try {
    const { document, lines } = await work(client)
    for (const line of options.json === true ? [JSON.stringify(document)] : lines) await writeLine(terminal.out, line)
  } catch (error) {
    throw explained(target, what, error)
  } finally {
    await client.close()
  }
}
