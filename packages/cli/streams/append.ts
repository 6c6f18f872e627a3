// `telltale streams append`: one message from the command line, or each line of a file or of the standard input as one.
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import type { NewMessage } from '../../client/index.ts'
import { Failure, invalid } from '../../core/failure.ts'
import { formatTime } from '../../core/time.ts'
import { collect, timeUs } from '../option.ts'
import type { Common, Run } from '../run.ts'

export type AppendOptions = Common & {
  readonly key?: string
  readonly property?: readonly string[]
  readonly name?: string
  readonly time?: number
  readonly lines?: string
}

const BATCH = 500
const BATCH_CHARS = 1_000_000

export function addAppend(command: Command): Command {
  return command
    .argument('<stream>')
    .argument('[payload]', 'the message, as text')
    .option('--lines <file>', 'instead of a payload: each line of this file is a message; - is the standard input')
    .option('--key <key>', 'messages of one key stay in order for key_shared subscriptions')
    .option('--property <name=value>', 'can be repeated', collect)
    .option('--name <name>', 'messages of one name are numbered')
    .option('--time <time>', 'when it happened', timeUs('--time'))
}

export async function append({ client, terminal, print }: Run, stream: string, payload: string | undefined, options: AppendOptions) {
  const about = aboutOf(options)
  if ((payload === undefined) === (options.lines === undefined)) throw invalid('PAYLOAD', 'expected a payload, or --lines with a file')
  if (payload !== undefined) {
    const [appended] = await client.streams.append(stream, { ...about, payload })
    await print(appended, `appended ${appended?.messageId ?? ''} at place ${appended?.seq ?? 0}`)
    return
  }
  let count = 0
  for await (const lines of batches(options.lines as string, terminal.stopped)) {
    await client.streams.append(
      stream,
      lines.map(line => ({ ...about, payload: line })),
    )
    count += lines.length
  }
  await print({ appended: count }, `appended ${count} messages`)
}

function aboutOf({ key, property = [], name, time }: AppendOptions): Omit<NewMessage, 'payload'> {
  return {
    ...(key === undefined ? {} : { key }),
    ...(property.length === 0 ? {} : { properties: Object.fromEntries(property.map(pairOf)) }),
    ...(name === undefined ? {} : { name }),
    ...(time === undefined ? {} : { eventTime: formatTime(time) }),
  }
}

function pairOf(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at < 1) throw invalid('--property', `expected name=value, got "${text}"`)
  return [text.slice(0, at), text.slice(at + 1)]
}

async function* batches(path: string, stopped: AbortSignal): AsyncGenerator<string[], undefined> {
  let lines: string[] = []
  let chars = 0
  const input = path === '-' ? process.stdin : createReadStream(path)
  try {
    for await (const line of createInterface({ input, signal: stopped })) {
      if (line === '') continue
      lines.push(line)
      chars += line.length
      if (lines.length < BATCH && chars < BATCH_CHARS) continue
      yield lines
      lines = []
      chars = 0
    }
  } catch (cause) {
    if (!(cause instanceof Error && 'syscall' in cause)) throw cause
    throw new Failure('invalid', `--lines: cannot read ${path}: ${cause.message}`, { field: '--lines', cause })
  }
  if (lines.length > 0) yield lines
}
