// `telltale streams read`: messages as they are kept, and with --follow as they come. No subscription is touched.

import type { Command } from 'commander'
import type { Message, MessageQuery } from '../../client/index.ts'
import { pause } from '../../client/pace.ts'
import { invalid } from '../../core/failure.ts'
import { formatTime } from '../../core/time.ts'
import { pastUs, wholeNumber } from '../option.ts'
import type { Common, Run } from '../run.ts'
import { paletteOf, printable, type Terminal } from '../terminal.ts'

export type ReadOptions = Common & { readonly last?: number; readonly since?: number; readonly after?: number; readonly follow?: boolean }

const FOLLOW_MS = 500
const LAST = 10
const PAGE = 100

export function addRead(command: Command): Command {
  return command
    .argument('<stream>')
    .option('--last <n>', `the last so many (default: ${LAST})`, wholeNumber('--last', 1, 1000))
    .option('--since <time>', 'those published since: 2026-03-01T08:00:00Z, or 10m for ten minutes ago', pastUs('--since'))
    .option('--after <place>', 'those behind this place; 0: from the oldest', wholeNumber('--after', 0))
    .option('--follow', 'go on with those that come')
}

export async function read(run: Run, stream: string, options: ReadOptions): Promise<void> {
  const { last, since, after, follow = false } = options
  const { stopped } = run.terminal
  if (last !== undefined && (since !== undefined || after !== undefined)) throw invalid('--last', 'expected without --since and --after')
  let place = since === undefined && after === undefined ? await readLast(run, stream, last ?? LAST) : await readOn(run, stream, options)
  while (follow && !stopped.aborted) {
    await pause(FOLLOW_MS, stopped)
    if (!stopped.aborted) place = await readOn(run, stream, { after: place })
  }
}

/** Returns the place of the last. */
async function readLast(run: Run, stream: string, last: number): Promise<number> {
  const messages: Message[] = []
  for await (const page of run.client.streams.messagePages(stream, { pageSize: last })) {
    messages.push(...page)
    if (messages.length >= last) break
  }
  await print(run, messages.slice(0, last).toReversed())
  return messages[0]?.seq ?? 0
}

async function readOn(run: Run, stream: string, { since, after = 0 }: Pick<ReadOptions, 'since' | 'after'>): Promise<number> {
  const start = since === undefined ? {} : { startTime: formatTime(since) }
  const query: MessageQuery = { order: 'oldest', pageSize: PAGE, afterSeq: after, ...start }
  let place = after
  for await (const page of run.client.streams.messagePages(stream, query)) {
    await print(run, page)
    place = page.at(-1)?.seq ?? place
    if (run.terminal.stopped.aborted) break
  }
  return place
}

async function print(run: Run, messages: readonly Message[]): Promise<void> {
  for (const message of messages) await run.print(message, lineOf(message, run.terminal))
}

function lineOf({ seq, publishTime, key, properties, text, payload, size }: Message, { out, env }: Terminal): string {
  const palette = paletteOf(out, env)
  const aside = [...(key === null ? [] : [`key=${key}`]), ...Object.entries(properties).map(([name, value]) => `${name}=${value}`)]
  const content = text ?? `${size} bytes: ${Buffer.from(payload, 'base64').subarray(0, 32).toString('hex')}`
  const said = aside.length === 0 ? '' : `  ${palette.cyan(printable(aside.join(' ')))}`
  return `${palette.dim(`${seq}  ${printable(publishTime)}`)}${said}  ${printable(content)}`
}
