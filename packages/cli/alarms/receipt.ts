// `telltale alarms receipts`: how each change of an alarm came about and reached people, step by step with the times between.
import type { AlarmDelivery, AlarmReceipt } from '../../client/index.ts'
import { parseTime } from '../../core/time.ts'
import type { Run } from '../run.ts'
import { paletteOf, printable, type Terminal, writeLine } from '../terminal.ts'

const PAGE = 100
const INDENT = '  '

export async function printReceipts({ client, terminal, json, print }: Run, alarm: string): Promise<void> {
  const receipts: AlarmReceipt[] = []
  for await (const page of client.alarms.receiptPages(alarm, { pageSize: PAGE })) receipts.push(...page)
  if (json) for (const receipt of receipts) await print(receipt, '')
  else if (receipts.length === 0) await print(undefined, 'nothing is recorded of this alarm')
  else for (const receipt of receipts) await printReceipt(terminal, receipt)
}

async function printReceipt({ out, env }: Terminal, receipt: AlarmReceipt): Promise<void> {
  const [title = '', ...steps] = linesOf(receipt)
  for (const line of [paletteOf(out, env).bold(title), ...steps]) await writeLine(out, line)
}

function linesOf({ seq, kind, episode, event, judgedTime, deliveries, acknowledged }: AlarmReceipt): string[] {
  const step = (title: string, time: string | null | undefined, more = '') =>
    `${INDENT}${title.padEnd(13)} ${time ?? 'not known'}${more === '' ? '' : `  ${printable(more)}`}`
  const caused = event
    ? [
        step('event', event.timestamp, event.eventId),
        step('accepted', event.acceptedTime, sinceText(event.timestamp, event.acceptedTime)),
        `${INDENT}${'stored'.padEnd(13)} ${event.stored ? 'yes' : 'not yet, or not kept any more'}`,
      ]
    : []
  return [
    `${kind} (episode ${episode}, record ${seq})`,
    ...caused,
    step('judged', judgedTime, sinceText(event?.acceptedTime, judgedTime)),
    ...deliveries.flatMap(delivery => deliveryLines(delivery, judgedTime)),
    ...(acknowledged ? [step('acknowledged', acknowledged.time, `by ${acknowledged.by} ${acknowledged.comment}`.trim())] : []),
  ]
}

function deliveryLines({ channel, state, attempts }: AlarmDelivery, judgedTime: string): string[] {
  return [
    `${INDENT}${'channel'.padEnd(13)} ${printable(channel)}: ${state}, ${attempts.length} attempts`,
    ...attempts.map(({ time, outcome, durationMs, detail, providerId }) =>
      [
        `${INDENT}${INDENT}${outcome.padEnd(11)} ${time}`,
        sinceText(judgedTime, time),
        `took ${durationMs} ms`,
        printable(detail),
        providerId === null ? '' : `id ${printable(providerId)}`,
      ]
        .filter(part => part !== '')
        .join('  '),
    ),
  ]
}

/** `+0.412 s`; '' when one of them is not known. */
function sinceText(from: string | null | undefined, to: string | null | undefined): string {
  const fromUs = parseTime(from ?? '')
  const toUs = parseTime(to ?? '')
  return fromUs === undefined || toUs === undefined ? '' : `${toUs < fromUs ? '−' : '+'}${(Math.abs(toUs - fromUs) / 1e6).toFixed(3)} s`
}
