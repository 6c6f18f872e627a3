// A backtest as it runs: a bar at the bottom of the terminal, and at its end the result.
import type { BacktestResult, BacktestRun } from '../../client/index.ts'
import { Failure } from '../../core/failure.ts'
import { StatusLine, type Terminal } from '../terminal.ts'

const BAR_CHARS = 24
const NUMBER = new Intl.NumberFormat('en')

export async function followed(run: BacktestRun, terminal: Terminal): Promise<BacktestResult> {
  const status = new StatusLine(terminal.err)
  try {
    for await (const { progress, result } of run) {
      if (result) return result
      if (!progress) continue
      const { share, events, eventsPerSecond } = progress
      const filled = Math.round(share * BAR_CHARS)
      const bar = `${'━'.repeat(filled)}${'─'.repeat(BAR_CHARS - filled)}`
      status.show(`${bar} ${Math.floor(share * 100)} % · ${NUMBER.format(events)} events · ${NUMBER.format(eventsPerSecond)}/s`)
    }
  } finally {
    status.clear()
  }
  throw new Failure('unavailable', 'the backtest ended without a result')
}
