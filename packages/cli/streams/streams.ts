// `telltale streams`: durable streams from the command line; tables for people, one JSON document a line with --json.
import type { Command } from 'commander'
import type { Stream, Subscription, SubscriptionPosition, Telltale } from '../../client/index.ts'
import { invalid } from '../../core/failure.ts'
import { formatTime, parseDuration, parseTime } from '../../core/time.ts'
import { wholeNumber } from '../option.ts'
import { addSub, type Common, printTable, type Run, runWith, type Start } from '../run.ts'
import { ageText, bytesText } from '../table.ts'
import { printable, type Terminal, writeLine } from '../terminal.ts'
import { type AppendOptions, addAppend, append } from './append.ts'
import { addRead, type ReadOptions, read } from './read.ts'
import { type SettingOptions, settingsOf } from './setting.ts'

const PAGE = 100

export function addStreams(command: Command, terminal: Terminal, ended: (ok: boolean) => void): void {
  command.description('durable streams: list, create, show, delete, append, read, subscriptions, reset')
  const sub = (name: string, description: string) => addSub(command, name, description)
  const run: Start = (what, options, work) => runWith(terminal, what, options, work).then(() => ended(true))
  addManaging(sub, run)
  addRead(sub('read', 'print messages, oldest first; nothing is consumed by that')).action((stream: string, options: ReadOptions) =>
    run('messages', options, one => read(one, stream, options)),
  )
  addAppend(sub('append', 'append a message, or each line of a file as one')).action(
    (stream: string, payload: string | undefined, options: AppendOptions) =>
      run('messages', options, one => append(one, stream, payload, options)),
  )
}

type Sub = (name: string, description: string) => Command

function addManaging(sub: Sub, run: Start): void {
  sub('list', 'list streams with their rates, consumers and backlog').action((options: Common) => run('streams', options, list))
  sub('create', 'create a stream')
    .argument('<stream>')
    .option('--description <text>')
    .option('--max-age <time>', 'drop messages older than this, such as 72h; 0s: never (default: 3d)')
    .option('--max-bytes <n>', 'drop the oldest messages beyond this; 0: never', wholeNumber('--max-bytes', 0))
    .option('--keep-acked', 'keep messages that all subscriptions have acked')
    .option('--schema <file>', 'payloads have to be as it says: a JSON Schema, or a .proto with --message')
    .option('--message <name>', 'which message of the .proto')
    .option('--decoder <name>', 'makes device events of its messages')
    .action((stream: string, options: Common & SettingOptions) =>
      run(`streams/${stream}`, options, async ({ client, print }) => {
        const made = await client.streams.create(stream, settingsOf(options))
        await print(made, `created ${printable(made.name)}`)
      }),
    )
  sub('show', 'show a stream and its subscriptions')
    .argument('<stream>')
    .action((stream: string, options: Common) => run(`streams/${stream}`, options, one => show(one, stream)))
  sub('delete', 'delete a stream with its messages and subscriptions')
    .argument('<stream>')
    .option('--yes', 'that is meant')
    .option('--force', 'even while consumers are connected')
    .action((stream: string, options: Common & { readonly yes?: boolean; readonly force?: boolean }) =>
      run(`streams/${stream}`, options, async ({ client, print }) => {
        const { stats } = await client.streams.get(stream)
        if (options.yes !== true) throw invalid('--yes', `expected, because ${stats.messageCount} messages are deleted with the stream`)
        await client.streams.remove(stream, { force: options.force === true })
        await print(
          { deleted: stream, messageCount: stats.messageCount },
          `deleted ${printable(stream)}, with ${stats.messageCount} messages`,
        )
      }),
    )
  sub('subscriptions', 'list the subscriptions of a stream')
    .argument('<stream>')
    .action((stream: string, options: Common) =>
      run(`streams/${stream}`, options, async one => {
        await printSubscriptions(one, await subscriptionsOf(one.client, stream))
      }),
    )
  sub('reset', 'let a subscription go on from another place')
    .argument('<stream>')
    .argument('<subscription>')
    .requiredOption(
      '--to <place>',
      'oldest, latest, the place of a message to go on behind, a time, or how long ago such as 10m',
      positionOf,
    )
    .action((stream: string, subscription: string, options: Common & { readonly to: SubscriptionPosition }) =>
      run(`streams/${stream}`, options, async ({ client, print }) => {
        const { stats, ...rest } = await client.streams.subscriptions.reset(stream, subscription, options.to)
        await print({ ...rest, stats }, `subscription ${printable(subscription)} has ${stats.backlogCount} messages before it`)
      }),
    )
}

async function list({ client, terminal, json, print }: Run): Promise<void> {
  const all: Stream[] = []
  for await (const page of client.streams.pages({ pageSize: PAGE })) all.push(...page)
  if (json) for (const stream of all) await print(stream, '')
  else if (all.length === 0) await print(undefined, 'no streams yet: telltale streams create NAME')
  else await printStreams(terminal, all)
}

async function printStreams(terminal: Terminal, streams: readonly Stream[]): Promise<void> {
  const headings = ['stream', 'messages', 'size', 'in/s', 'out/s', 'consumers', 'backlog', 'oldest unacked']
  const rows = streams.map(({ name, stats }) => [
    name,
    stats.messageCount,
    bytesText(stats.bytes),
    stats.messagesPerSecond,
    stats.deliveredPerSecond,
    stats.consumerCount,
    stats.backlogCount,
    ageText(stats.backlogAgeMs),
  ])
  await printTable(terminal, headings, rows)
}

async function show(run: Run, name: string): Promise<void> {
  const { client, terminal, json, print } = run
  const [stream, subscriptions] = await Promise.all([client.streams.get(name), subscriptionsOf(client, name)])
  if (json) return print({ ...stream, subscriptions }, '')
  const { stats, retention, schema } = stream
  const kept = [
    retention.maxAge === '0s' ? '' : `for ${retention.maxAge}`,
    retention.maxBytes === 0 ? '' : `up to ${bytesText(retention.maxBytes)}`,
    retention.untilAcked ? 'until all have acked' : '',
  ].filter(part => part !== '')
  const facts: [string, string][] = [
    ['stream', stream.name],
    ['description', stream.description],
    ['created', stream.createTime],
    ['messages', `${stats.messageCount} (${bytesText(stats.bytes)}), ${stats.appendedCount} ever, the last is ${stats.lastSeq}`],
    ['rates', `${stats.messagesPerSecond}/s in, ${stats.deliveredPerSecond}/s out`],
    ['kept', kept.length === 0 ? 'for ever' : kept.join(', ')],
    ['schema', schema === null ? '' : schema.type],
    ['decoder', stream.decoder ?? ''],
    ['owner', stream.owner ?? ''],
  ]
  for (const [title, text] of facts) if (text !== '') await writeLine(terminal.out, `${title.padEnd(12)} ${printable(text)}`)
  await writeLine(terminal.out, '')
  await printSubscriptions(run, subscriptions)
}

async function subscriptionsOf(client: Telltale, stream: string): Promise<readonly Subscription[]> {
  const all: Subscription[] = []
  for await (const page of client.streams.subscriptions.pages(stream, { pageSize: PAGE })) all.push(...page)
  return all
}

async function printSubscriptions({ terminal, json, print }: Run, all: readonly Subscription[]): Promise<void> {
  if (json) for (const subscription of all) await print(subscription, '')
  else if (all.length === 0) await print(undefined, 'no subscriptions: messages wait for the first one')
  else {
    const headings = ['subscription', 'type', 'consumers', 'backlog', 'unacked', 'oldest unacked', 'out/s', 'redelivered', 'dead-lettered']
    const rows = all.map(({ name, type, consumers, stats }) => [
      name,
      type,
      consumers.length,
      stats.backlogCount,
      stats.unackedCount,
      ageText(stats.backlogAgeMs),
      stats.deliveredPerSecond,
      stats.redeliveredCount,
      stats.deadLetteredCount,
    ])
    await printTable(terminal, headings, rows)
  }
}

/** `oldest`, `latest`, a place, a time, or how long ago. */
export function positionOf(text: string): SubscriptionPosition {
  if (text === 'oldest' || text === 'latest') return text
  if (/^\d{1,15}$/.test(text)) return { afterSeq: Number(text) }
  const ago = parseDuration(text)
  const time = ago === undefined ? parseTime(text) : (Date.now() - ago) * 1000
  if (time === undefined)
    throw invalid('--to', `expected oldest, latest, a place such as 1000, a time, or how long ago such as 10m, got "${text}"`)
  return { time: formatTime(time) }
}
