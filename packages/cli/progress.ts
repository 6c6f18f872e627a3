// The line that moves while events are sent: rate, sent, acked, in flight, reconnects, worst ack.
import { SingleBar } from 'cli-progress'
import type { Terminal } from './terminal.ts'
import type { Ledger } from './transport/ledger.ts'

export type Course = { readonly done: () => number; readonly total: number | undefined }

const REDRAW_MS = 250
const BAR_CHARS = 10
/** Shorter spans say nothing about a rate. */
const LEAST_S = 0.2

/** Draws on a terminal only; elsewhere nothing is written. */
export function startProgress(terminal: Terminal, ledger: Ledger, course: Course): { stop(): void } {
  if (terminal.err.isTTY !== true) return { stop() {} }
  const rate = rateOf(() => ledger.sent)
  const format = () => `${barOf(course)}${lineOf(ledger, rate())}`.slice(0, (terminal.err.columns ?? 120) - 1)
  const bar = new SingleBar({ format, stream: terminal.err, hideCursor: true, clearOnComplete: true, fps: 4 })
  bar.start(course.total ?? 0, 0)
  const timer = setInterval(() => bar.update(course.done()), REDRAW_MS)
  return {
    stop() {
      clearInterval(timer)
      bar.stop()
    },
  }
}

function barOf({ done, total }: Course): string {
  if (total === undefined || total === 0) return ''
  const share = Math.min(1, done() / total)
  const filled = Math.round(share * BAR_CHARS)
  return `${'━'.repeat(filled)}${'─'.repeat(BAR_CHARS - filled)} ${Math.floor(share * 100)} % · `
}

function lineOf(ledger: Ledger, rate: number): string {
  const parts = [
    `${rate.toFixed(rate < 10 ? 1 : 0)} events/s`,
    `sent ${ledger.sent}`,
    ledger.unconfirmed > 0 ? `unconfirmed ${ledger.unconfirmed}` : `acked ${ledger.acked}`,
    `in flight ${ledger.outstanding}`,
    `reconnects ${ledger.reconnects}`,
    `worst ack ${Math.round(ledger.worstAckMs)} ms`,
  ]
  if (ledger.refused > 0) parts.push(`refused ${ledger.refused}`)
  return parts.join(' · ')
}

/** Per second, smoothed over about three seconds of calls. */
export function rateOf(count: () => number): () => number {
  let before = { count: count(), atMs: performance.now() }
  let rate: number | undefined
  return () => {
    const now = { count: count(), atMs: performance.now() }
    const seconds = (now.atMs - before.atMs) / 1000
    if (seconds < LEAST_S) return rate ?? 0
    const latest = (now.count - before.count) / seconds
    const weight = rate === undefined ? 1 : 1 - Math.exp(-seconds / 3)
    rate = (rate ?? 0) + weight * (latest - (rate ?? 0))
    before = now
    return rate
  }
}
