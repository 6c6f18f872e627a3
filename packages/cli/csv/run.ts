// The run of a replay: survey the file, send its values at their own pace or faster, account for every row.

import { pause } from '../../client/pace.ts'
import { invalid } from '../../core/failure.ts'
import { deliver, isComplete, type Plan } from '../delivery.ts'
import type { Draft } from '../fleet/fleet.ts'
import { createRandom } from '../fleet/random.ts'
import { eventIdOf, outgoing } from '../shape.ts'
import type { SimulateOptions } from '../simulate.ts'
import { startStorm } from '../storm.ts'
import { accountLines, printSummary } from '../summary.ts'
import type { Target } from '../target.ts'
import { paletteOf, type Terminal } from '../terminal.ts'
import type { Transport } from '../transport/transport.ts'
import { missingWhen, parseMapping, surveyFile } from './column.ts'
import { delimiterOf } from './csv.ts'
import { parseZone } from './moment.ts'
import { type Account, openAccount, type Recording, timedRows } from './replay.ts'

/** True when every row was read, well-formed, and every event of it acknowledged. */
export async function replayFile(target: Target, options: SimulateOptions, plan: Plan, terminal: Terminal): Promise<boolean> {
  const recording = await openRecording(options)
  const account = openAccount()
  const { ignored, rows } = recording.layout
  const course = { done: () => account.rows, total: rows }
  const delivery = await deliver(target, plan, terminal, course, async transport => {
    const storm = startStorm(transport, options.fault?.['reconnect-storm'], createRandom(recording.path, 'storm'))
    await feed(target, recording, account, options.speed, transport, terminal.stopped)
    storm.stop()
  })
  const unread = rows - account.rows
  const facts = {
    project: target.project,
    protocol: options.protocol,
    file: recording.path,
    ...account,
    unreadRows: unread,
    ignoredColumns: ignored,
  }
  const lines = accountLines(recording.path, account, ignored, paletteOf(terminal.out, terminal.env))
  if (unread > 0) lines.push(`${unread} rows were not read`)
  await printSummary(terminal, options.json === true, facts, delivery, lines)
  return isComplete(delivery) && account.malformedRows + account.malformedValues === 0
}

async function openRecording(options: SimulateOptions): Promise<Recording> {
  const path = options.replay ?? ''
  const zone = parseZone(options.timeZone)
  if (zone === undefined) throw invalid('--time-zone', `expected UTC or an offset such as +02:00, got "${options.timeZone}"`)
  const mappings = (options.map ?? []).map(parseMapping)
  const missing = missingWhen(options.missing ?? [])
  const delimiter = await delimiterOf(path)
  const layout = await surveyFile(path, delimiter, { mappings, device: options.device, missing })
  return { path, delimiter, layout, zone, missing }
}

async function feed(
  target: Target,
  recording: Recording,
  account: Account,
  speed: number,
  transport: Transport,
  stopped: AbortSignal,
): Promise<void> {
  const startMs = performance.now()
  let firstUs: number | undefined
  for await (const row of timedRows(recording, account)) {
    firstUs ??= row.timeUs
    const aheadMs = (row.timeUs - firstUs) / 1000 / speed - (performance.now() - startMs)
    if (aheadMs >= 1) await untilDue(aheadMs, stopped)
    if (stopped.aborted || transport.ledger.failure !== undefined) return
    // A row that was taken is handed over whole, so that its values and events add up.
    for (const draft of row.take()) await sendDraft(target, transport, draft)
  }
}

/** A timer holds 24 days; a gap in a recording can be longer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

async function untilDue(ms: number, stopped: AbortSignal): Promise<void> {
  for (let left = ms; left > 0 && !stopped.aborted; left -= LONGEST_TIMER_MS) await pause(Math.min(left, LONGEST_TIMER_MS), stopped)
}

/** The values are part of the id: the same row again is the same event, another value at the same time is another event. */
function sendDraft(target: Target, transport: Transport, draft: Draft): Promise<void> | undefined {
  const eventId = eventIdOf(draft.device, draft.eventType, draft.timeUs, JSON.stringify(draft.fields))
  return transport.send(outgoing(target.project, draft, eventId))
}
