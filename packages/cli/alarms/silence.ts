// `telltale silences`: who wants not to be told of what, until when and why.
import type { Command } from 'commander'
import type { Silence, SilenceField, SilenceMatcher } from '../../client/index.ts'
import { invalid } from '../../core/failure.ts'
import { formatTime, parseDuration, parseTime } from '../../core/time.ts'
import { oneOf, timeUs } from '../option.ts'
import { addSub, type Common, printTable, type Run, runWith, type Start } from '../run.ts'
import { printable, type Terminal } from '../terminal.ts'

const PAGE = 200
const STATES = ['pending', 'active', 'expired'] as const

type ListOptions = Common & { readonly state?: Silence['state'] }
type CreateOptions = Common & {
  readonly until: number
  readonly start?: number
  readonly reason: string
  readonly preview?: boolean
}

export function addSilences(command: Command, terminal: Terminal, ended: (ok: boolean) => void): void {
  command.description('silences: list, create, end')
  const run: Start = (what, options, work) => runWith(terminal, what, options, work).then(() => ended(true))
  addSub(command, 'list', 'list silences that are not over')
    .option('--state <state>', 'pending, active or expired', oneOf('--state', STATES))
    .action((options: ListOptions) => run('silences', options, one => list(one, options)))
  addSub(command, 'create', 'tell nobody of the alarms that match, until a time; they go on as ever')
    .argument('<matchers...>', 'all must match: rule=NAME, device=ID, severity=critical, labels.KEY=VALUE; VALUE1|VALUE2 is any of them')
    .requiredOption('--until <time>', 'a time, or for how long such as 2h', endOf)
    .option('--start <time>', 'begin later', timeUs('--start'))
    .requiredOption('--reason <text>', 'why: others will read it')
    .option('--preview', 'make nothing: show which alarms would match now')
    .action((matchers: string[], options: CreateOptions) => run('silences', options, one => create(one, matchers.map(matcherOf), options)))
  addSub(command, 'end', 'end a silence now')
    .argument('<silence>')
    .action((silence: string, options: Common) =>
      run(`silence ${silence}`, options, async ({ client, print }) => {
        await client.silences.end(silence)
        await print({ ended: silence }, `ended ${printable(silence)}`)
      }),
    )
}

async function list({ client, terminal, json, print }: Run, { state }: ListOptions): Promise<void> {
  const silences: Silence[] = []
  const states: readonly Silence['state'][] = state === undefined ? ['pending', 'active'] : [state]
  for await (const page of client.silences.pages({ pageSize: PAGE, state: states })) silences.push(...page)
  if (json) for (const silence of silences) await print(silence, '')
  else if (silences.length === 0) await print(undefined, 'no such silences')
  else
    await printTable(
      terminal,
      ['silence', 'state', 'matchers', 'from', 'until', 'author', 'reason'],
      silences.map(({ id, state, matchers, startTime, endTime, author, reason }) => [
        id,
        state,
        matchers.map(matcherText).join(' '),
        startTime,
        endTime,
        author,
        reason,
      ]),
    )
}

async function create({ client, print }: Run, matchers: readonly SilenceMatcher[], options: CreateOptions): Promise<void> {
  if (options.preview === true) {
    const { matching, alarms } = await client.silences.preview(matchers)
    const shown = alarms.map(({ rule, device, state }) => `\n  ${printable(rule)} on ${printable(device)}: ${state}`).join('')
    return print({ matching, alarms }, `${matching} alarms would be silenced now${shown}`)
  }
  const { start } = options
  const made = await client.silences.create({
    matchers,
    reason: options.reason,
    endTime: formatTime(options.until),
    ...(start === undefined ? {} : { startTime: formatTime(start) }),
  })
  await print(made, `${printable(made.id)}: ${made.state}, until ${made.endTime}`)
}

/** `zone=cold`, `rule=a|b`. */
function matcherOf(text: string): SilenceMatcher {
  const at = text.indexOf('=')
  const field = text.slice(0, Math.max(at, 0))
  if (!/^(rule|device|severity|labels\..+)$/.test(field))
    throw invalid('matchers', `expected rule=…, device=…, severity=… or labels.KEY=…, got "${text}"`)
  const values = text.slice(at + 1).split('|')
  return values.length === 1 ? { field: field as SilenceField, equals: values[0] as string } : { field: field as SilenceField, in: values }
}

function matcherText(matcher: SilenceMatcher): string {
  return `${matcher.field}=${'equals' in matcher ? matcher.equals : matcher.in.join('|')}`
}

function endOf(text: string): number {
  const forMs = parseDuration(text)
  const end = forMs === undefined ? parseTime(text) : (Date.now() + forMs) * 1000
  if (end === undefined) throw invalid('--until', `expected a time such as 2026-03-01T08:00:00Z, or for how long such as 2h, got "${text}"`)
  return end
}
