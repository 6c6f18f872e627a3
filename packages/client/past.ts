// Rules over what has been: backtests as they run, explanations, suggestions, shadows.
import type { Api } from './api.ts'
import { errorOf, TelltaleError, unreachable } from './error.ts'
import { backoffMs, pause, retryAfterMs } from './pace.ts'
import type { BacktestLine, BacktestQuery } from './resource.ts'

const ATTEMPTS = 6

/** Lines as they come; ends with the result, throws what the server says went wrong. */
export async function* backtestLines(
  api: Api,
  path: string,
  body: BacktestQuery,
  signal: AbortSignal,
): AsyncGenerator<BacktestLine, undefined> {
  const response = await begun(api, path, JSON.stringify(body), signal)
  for await (const text of linesOf(api, response)) {
    const line = JSON.parse(text) as BacktestLine & { readonly error?: { readonly code: number; readonly message: string } }
    if (line.error) throw new TelltaleError(line.error.code, line.error.message)
    yield line
    if (line.result) return
  }
  throw new TelltaleError(0, 'the answer ended before its result')
}

/** Waits while others are running. */
async function begun(api: Api, path: string, text: string, signal: AbortSignal): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    const sent = { body: { type: 'application/json', text }, headers: { accept: 'application/x-ndjson' }, signal } as const
    const response = await api.open('POST', path, sent).catch((error: unknown) => {
      throw error instanceof TelltaleError ? error : unreachable(api.url, error)
    })
    if (response.ok) return response
    const waitMs = retryAfterMs(response.headers.get('retry-after')) ?? backoffMs(attempt)
    const body: unknown = await response.json().catch(() => ({ error: `status ${response.status}` }))
    if ((response.status !== 429 && response.status !== 503) || attempt >= ATTEMPTS) throw errorOf(response.status, body, waitMs)
    await pause(waitMs, signal)
    signal.throwIfAborted()
  }
}

async function* linesOf(api: Api, response: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  const reader = response.body?.getReader()
  if (reader === undefined) return
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        throw unreachable(api.url, error)
      })
      if (done) return
      const lines = `${rest}${decoder.decode(value, { stream: true })}`.split('\n')
      rest = lines.pop() ?? ''
      yield* lines
    }
  } finally {
    // Whoever reads no further ends the backtest with this.
    await reader.cancel()
  }
}
