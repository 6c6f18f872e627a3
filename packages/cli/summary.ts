// What a run of sending ends with: every event and every value in one of the counts.
import type { Account } from './csv/replay.ts'
import type { Delivery } from './delivery.ts'
import { type Palette, paletteOf, printable, type Terminal, writeLine } from './terminal.ts'

const MALFORMED_SHOWN = 20

export async function printSummary(
  terminal: Terminal,
  json: boolean,
  facts: object,
  delivery: Delivery,
  extra: readonly string[],
): Promise<void> {
  if (json) return writeLine(terminal.out, JSON.stringify({ ...facts, ...delivery }))
  const palette = paletteOf(terminal.out, terminal.env)
  for (const line of [...extra, ...deliveryLines(delivery, palette)]) await writeLine(terminal.out, line)
}

function deliveryLines(delivery: Delivery, palette: Palette): string[] {
  const { offered, sent, acked, unconfirmed, refused, unacked, retried, reconnects, worstAckMs, seconds, interrupted } = delivery
  const rate = seconds > 0 ? Math.round(offered / seconds) : 0
  const lines = [
    `${interrupted ? 'interrupted after' : 'took'} ${seconds.toFixed(1)} s, ${rate} events/s`,
    `events: ${offered} · sent ${sent} · acked ${acked}${unconfirmed > 0 ? ` · unconfirmed (QoS 0) ${unconfirmed}` : ''} · refused ${refused} · unacked ${unacked}`,
    `retried ${retried} · reconnects ${reconnects} · worst ack ${worstAckMs} ms`,
  ]
  for (const { reason, events } of delivery.refusals) lines.push(palette.yellow(`refused ${events}: ${printable(reason)}`))
  if (delivery.failure !== undefined) lines.push(palette.red(`stopped: ${printable(delivery.failure)}`))
  if (unacked > 0)
    lines.push(palette.red(`${unacked} events have no ack: they may or may not have arrived; sending them again is harmless`))
  return lines
}

export function accountLines(path: string, account: Account, ignored: readonly string[], palette: Palette): string[] {
  const { rows, emptyRows, malformedRows, values, missing, malformedValues, malformed } = account
  const lines = [
    `${printable(path)}: rows ${rows}${emptyRows > 0 ? ` (${emptyRows} empty)` : ''} · malformed rows ${malformedRows}`,
    `values: sent ${values} · missing ${missing} · malformed ${malformedValues}`,
  ]
  if (ignored.length > 0) lines.push(`ignored columns (not numbers): ${printable(ignored.join(', '))}`)
  for (const { line, column, reason } of malformed.slice(0, MALFORMED_SHOWN))
    lines.push(palette.yellow(`line ${line}${column === undefined ? '' : `, ${printable(column)}`}: ${printable(reason)}`))
  const more = malformedRows + malformedValues - Math.min(malformed.length, MALFORMED_SHOWN)
  if (more > 0) lines.push(palette.yellow(`and ${more} more malformed`))
  return lines
}
