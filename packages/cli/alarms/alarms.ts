// `telltale alarms`: look at alarms, see what became of them and who was told, and say what is done about them.
import type { Command } from 'commander'
import type { Alarm, AlarmQuery, AlarmRecord, AlarmState, Severity } from '../../client/index.ts'
import { invalid } from '../../core/failure.ts'
import { formatTime, parseDuration, parseTime } from '../../core/time.ts'
import { collect, oneOf, pastUs, wholeNumber } from '../option.ts'
import { addSub, type Common, printTable, type Run, runWith, type Start } from '../run.ts'
import { printable, type Terminal, writeLine } from '../terminal.ts'
import { printReceipts } from './receipt.ts'

const PAGE = 200
const STATES = ['pending', 'active', 'cleared'] as const
const SEVERITIES = ['info', 'warning', 'critical'] as const

type Commented = Common & { readonly comment?: string }
type Sub = (name: string, description: string) => Command

export function addAlarms(command: Command, terminal: Terminal, ended: (ok: boolean) => void): void {
  command.description('alarms: list, show, history, receipts, acknowledge, unacknowledge, assign, comment, snooze')
  const sub: Sub = (name, description) => addSub(command, name, description)
  const run: Start = (what, options, work) => runWith(terminal, what, options, work).then(() => ended(true))
  addLooking(sub, run)
  addActing(sub, run)
}

type ListOptions = Common & {
  readonly state?: AlarmState[]
  readonly rule?: string[]
  readonly device?: string[]
  readonly severity?: Severity[]
  readonly assignee?: string[]
  readonly acknowledged?: boolean
  readonly unacknowledged?: boolean
  readonly suppressed?: boolean
  readonly unsuppressed?: boolean
  readonly since?: number
  readonly limit: number
}

function addLooking(sub: Sub, run: Start): void {
  const each =
    <T>(read: (text: string) => T) =>
    (text: string, before: readonly T[] | undefined): T[] => [...(before ?? []), read(text)]
  sub('list', 'list alarms, most recently changed first; every option narrows, given again it widens')
    .option('--state <state>', 'pending, active or cleared (default: not cleared)', each(oneOf('--state', STATES)))
    .option('--rule <name>', 'of this rule', collect)
    .option('--device <id>', 'of this device', collect)
    .option('--severity <severity>', 'info, warning or critical', each(oneOf('--severity', SEVERITIES)))
    .option('--assignee <who>', 'assigned to; "" is nobody', collect)
    .option('--acknowledged', 'only those that somebody acknowledged')
    .option('--unacknowledged', 'only those that nobody did')
    .option('--suppressed', 'only those of which nobody is told now')
    .option('--unsuppressed', 'only the others')
    .option('--since <time>', 'changed since this time, or how long ago such as 1h', pastUs('--since'))
    .option('--limit <n>', 'at most so many', wholeNumber('--limit', 1), 1000)
    .action((options: ListOptions) => run('alarms', options, one => list(one, options)))
  const one = (name: string, description: string, work: (run: Run, alarm: string) => Promise<void>) =>
    sub(name, description)
      .argument('<alarm>')
      .action((alarm: string, options: Common) => run(`alarm ${alarm}`, options, it => work(it, alarm)))
  one('show', 'show an alarm', show)
  one('history', 'what has happened to an alarm, newest first', history)
  one('receipts', 'for each change: the event, when it was accepted, stored and judged, and each attempt to tell a channel', printReceipts)
}

function addActing(sub: Sub, run: Start): void {
  const act = (name: string, description: string) => sub(name, description).argument('<alarm>').option('--comment <text>')
  const say = (alarm: string, options: Common, work: (run: Run) => Promise<readonly [alarm: Alarm, done: string]>) =>
    run(`alarm ${alarm}`, options, async one => {
      const [document, done] = await work(one)
      await one.print(document, `${printable(document.rule)} on ${printable(document.device)}: ${printable(done)}`)
    })
  act('acknowledge', 'say that somebody has seen it').action((alarm: string, options: Commented) =>
    say(alarm, options, async ({ client }) => [await client.alarms.acknowledge(alarm, options.comment), 'acknowledged']),
  )
  sub('unacknowledge', 'take that back')
    .argument('<alarm>')
    .action((alarm: string, options: Common) =>
      say(alarm, options, async ({ client }) => [await client.alarms.unacknowledge(alarm), 'not acknowledged any more']),
    )
  act('assign', 'say who takes care of it')
    .argument('[to]', 'nobody when it is left out')
    .action((alarm: string, to: string | undefined, options: Commented) =>
      say(alarm, options, async ({ client }) => [
        await client.alarms.assign(alarm, to ?? null, options.comment),
        to === undefined ? 'assigned to nobody' : `assigned to ${to}`,
      ]),
    )
  sub('comment', 'add a comment to its history')
    .argument('<alarm>')
    .argument('<text>')
    .action((alarm: string, text: string, options: Common) =>
      say(alarm, options, async ({ client }) => [await client.alarms.comment(alarm, text), 'comment added']),
    )
  act('snooze', 'tell nobody of it for a while, or until a time; 0s ends that')
    .argument('<time>', 'a duration such as 2h, or a time')
    .action((alarm: string, time: string, options: Commented) =>
      say(alarm, options, async ({ client }) => {
        const document = await client.alarms.snooze(alarm, spanOf(time), options.comment)
        return [document, document.snooze === null ? 'not snoozed any more' : `snoozed until ${document.snooze.until}`]
      }),
    )
}

function spanOf(text: string): { readonly for: string } | { readonly until: string } {
  if (parseDuration(text) !== undefined) return { for: text }
  const timeUs = parseTime(text)
  if (timeUs === undefined) throw invalid('time', `expected a duration such as 2h, or a time such as 2026-03-01T08:00:00Z, got "${text}"`)
  return { until: formatTime(timeUs) }
}

async function list({ client, terminal, json, print }: Run, options: ListOptions): Promise<void> {
  const found: Alarm[] = []
  for await (const page of client.alarms.pages(queryOf(options))) {
    found.push(...page)
    if (found.length >= options.limit) break
  }
  const shown = found.slice(0, options.limit)
  if (json) for (const alarm of shown) await print(alarm, '')
  else if (shown.length === 0) await print(undefined, 'no such alarms')
  else
    await printTable(
      terminal,
      ['alarm', 'rule', 'device', 'state', 'severity', 'since', 'value', 'seen by', 'assignee', 'suppressed'],
      shown.map(alarm => [
        alarm.alarmId,
        alarm.rule,
        alarm.device,
        alarm.state,
        alarm.severity,
        alarm.since,
        measured(alarm),
        alarm.acknowledgement?.by ?? '',
        alarm.assignee?.to ?? '',
        suppressionOf(alarm),
      ]),
    )
}

function queryOf(options: ListOptions): AlarmQuery {
  const { state = ['pending', 'active'], rule = [], device = [], severity = [], assignee = [], since, limit } = options
  const acknowledged = oneWay('acknowledged', options.acknowledged, options.unacknowledged)
  const suppressed = oneWay('suppressed', options.suppressed, options.unsuppressed)
  return {
    state,
    rule,
    device,
    severity,
    assignee,
    ...(acknowledged === undefined ? {} : { acknowledged }),
    ...(suppressed === undefined ? {} : { suppressed }),
    ...(since === undefined ? {} : { startTime: formatTime(since) }),
    pageSize: Math.min(limit, PAGE),
  }
}

function oneWay(option: string, yes: boolean | undefined, no: boolean | undefined): boolean | undefined {
  if (yes === true && no === true) throw invalid(`--${option}`, `expected without --un${option}: no alarm is both`)
  return yes === true ? true : no === true ? false : undefined
}

function measured({ value, unit }: Alarm): string {
  return value === null ? '' : `${value}${unit === null ? '' : ` ${unit}`}`
}

function suppressionOf({ suppressedBy: by }: Alarm): string {
  return by === null ? '' : `${by.kind} ${by.name}${by.until === null ? '' : ` until ${by.until}`}`
}

async function show({ client, terminal, json, print }: Run, id: string): Promise<void> {
  const alarm = await client.alarms.get(id)
  if (json) return print(alarm, '')
  const { acknowledgement, assignee, snooze } = alarm
  const facts: [string, string | null | undefined][] = [
    ['alarm', alarm.alarmId],
    ['rule', `${alarm.rule} (version ${alarm.ruleVersion})`],
    ['device', `${alarm.device}${alarm.group === null ? '' : ` (${alarm.devices} devices)`}`],
    ['state', `${alarm.state}, ${alarm.severity}${alarm.late ? ', found late' : ''}`],
    ['message', alarm.message],
    ['reason', alarm.reason],
    ['value', `${measured(alarm)}${alarm.limit === null ? '' : `, limit ${alarm.limit}`}`],
    ['since', alarm.since],
    ['active', alarm.activeSince],
    ['cleared', alarm.clearedAt],
    ['acknowledged', acknowledgement && `by ${acknowledgement.by} at ${acknowledgement.time} ${acknowledgement.comment}`],
    ['lapses', acknowledgement?.lapses],
    ['assigned', assignee && `to ${assignee.to} by ${assignee.by} at ${assignee.time}`],
    ['snoozed', snooze && `until ${snooze.until} by ${snooze.by}`],
    ['suppressed', suppressionOf(alarm) && `by ${suppressionOf(alarm)}`],
    ['episode', `${alarm.episode}, change ${alarm.version}`],
  ]
  for (const [title, text] of facts) if (text) await writeLine(terminal.out, `${title.padEnd(12)} ${printable(text.trim())}`)
}

async function history({ client, terminal, json, print }: Run, id: string): Promise<void> {
  const records: AlarmRecord[] = []
  for await (const page of client.alarms.historyPages(id, { pageSize: PAGE })) records.push(...page)
  if (json) for (const record of records) await print(record, '')
  else
    await printTable(
      terminal,
      ['record', 'time', 'episode', 'what', 'by', 'why'],
      records.map(record => [
        `${record.seq}`,
        textOf(record['at'] ?? record.time),
        `${record.episode}`,
        record.kind,
        textOf(record['by']),
        [record['to'], record['until'], record['comment'] ?? record['reason']].map(textOf).filter(Boolean).join(' · '),
      ]),
    )
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
