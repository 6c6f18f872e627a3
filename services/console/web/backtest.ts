// A rule over stored history, as the server answers it: lines of progress, then the result.
import { type BacktestResult, TelltaleError } from '../../../packages/client/index.ts'
import { isObject, type Json } from './draft.ts'
import type { Feed } from './feed.ts'
import { pathOf } from './rule-call.ts'
import type { Band } from './trial-plot.ts'

export type Progress = { readonly events: number; readonly total: number; readonly share: number }
export type Result = Pick<
  BacktestResult,
  'startTime' | 'endTime' | 'events' | 'devices' | 'alarms' | 'minutesInAlarm' | 'notifications' | 'worstDevices'
>

export type Asked = { readonly rule: Json; readonly startTime: string; readonly endTime: string; readonly devices?: readonly string[] }

/** Ends early, with a failure, when the signal says so: the server then stops as well. */
export async function runBacktest(
  feed: Feed,
  asked: Asked,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Result> {
  const headers = { 'content-type': 'application/json', accept: 'application/x-ndjson', 'x-telltale-console': '1' }
  const path = pathOf(feed, 'rules:backtest')
  const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(asked), redirect: 'error', signal }).catch(
    (cause: unknown) => {
      throw lost(signal, cause)
    },
  )
  if (!response.ok || !response.body) throw await refused(response)
  for await (const line of linesOf(response.body, signal)) {
    const { progress, result, error } = line
    if (isObject(progress)) onProgress(progress as unknown as Progress)
    if (isObject(error)) throw new TelltaleError(Number(error['code']), String(error['message']))
    if (isObject(result)) return result as unknown as Result
  }
  throw new TelltaleError(0, 'the server hung up before there was a result')
}

function lost(signal: AbortSignal, cause: unknown): TelltaleError {
  return new TelltaleError(0, signal.aborted ? 'stopped' : 'no answer from the server', { cause })
}

async function refused(response: Response): Promise<TelltaleError> {
  const text = await response.text()
  return new TelltaleError(response.status, messageIn(text) ?? `the server answered ${response.status}`)
}

function messageIn(text: string): string | undefined {
  if (!text.startsWith('{')) return undefined
  const body: unknown = JSON.parse(text)
  const message = isObject(body) ? (body['message'] ?? body['error']) : undefined
  return typeof message === 'string' ? message : undefined
}

async function* linesOf(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<Json> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      const lines = (rest + decoder.decode(value, { stream: !done })).split('\n')
      rest = done ? '' : (lines.pop() ?? '')
      for (const line of lines) if (line !== '') yield JSON.parse(line) as Json
      if (done) return
    }
  } catch (cause) {
    throw cause instanceof TelltaleError || cause instanceof SyntaxError ? cause : lost(signal, cause)
  }
}

/** When it would have been active in the range; what is active at the end stays so until then. */
export function bandsOf({ alarms, endTime }: Pick<Result, 'alarms' | 'endTime'>): Band[] {
  return alarms.list.map(({ since, activeSince, clearedAt, severity }) => ({
    sinceMs: Date.parse(since),
    activeMs: Date.parse(activeSince),
    endMs: Date.parse(clearedAt ?? endTime),
    severity,
  }))
}

/** `3 alarms, 42 minutes in alarm, 6 notifications`. */
export function resultWords({ alarms, minutesInAlarm, notifications, events, devices }: Result): string {
  if (events === 0) return 'No event that this rule looks at in this range.'
  const count = (n: number, one: string, many: string) => `${n.toLocaleString('en')} ${n === 1 ? one : many}`
  const minutes = Math.round(minutesInAlarm)
  const parts = [
    count(alarms.count, 'alarm', 'alarms'),
    ...(alarms.count > 0 ? [count(minutes, 'minute in alarm', 'minutes in alarm')] : []),
    ...(notifications > 0 ? [count(notifications, 'notification', 'notifications')] : []),
    ...(alarms.dropped > 0 ? [`${count(alarms.dropped, 'time', 'times')} it held too briefly`] : []),
  ]
  return `${parts.join(', ')}, of ${count(events, 'event', 'events')}${devices === 1 ? '' : ` of ${count(devices, 'device', 'devices')}`}.`
}
