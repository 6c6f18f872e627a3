// Calls to the server's HTTP API: credentials, time limits, and answers turned into failures that say what to do.
import type { Device } from '../core/device.ts'
import { Failure, type FailureCode } from '../core/failure.ts'
import { backoffMs, pause, within } from './pace.ts'
import type { Target } from './target.ts'

export type Answer = { readonly status: number; readonly body: unknown; readonly retryAfterMs: number | undefined }

const TIMEOUT_MS = 30_000
const MAX_ERROR_CHARS = 300

export function authorization(target: Target): string {
  return `Basic ${Buffer.from(`${target.keyId}:${target.secret}`).toString('base64')}`
}

export function projectUrl(target: Target, path: string): string {
  return `${target.httpUrl}/v2/projects/${target.project}/${path}`
}

/** Any status is an answer; rejects with a Failure `unavailable` when there was none. */
export async function call(target: Target, method: string, path: string, stopped: AbortSignal, body?: Body): Promise<Answer> {
  const headers: Record<string, string> = { authorization: authorization(target), accept: 'application/json' }
  if (body !== undefined) headers['content-type'] = body.type
  return within(TIMEOUT_MS, stopped, async signal => {
    try {
      const response = await fetch(projectUrl(target, path), { method, headers, body: body?.text ?? null, signal, redirect: 'manual' })
      const text = await response.text()
      return { status: response.status, body: jsonOr(text), retryAfterMs: retryAfterMs(response.headers.get('retry-after')) }
    } catch (error) {
      throw unreachable(target, error)
    }
  })
}
export type Body = { readonly type: 'application/json' | 'application/x-ndjson'; readonly text: string }

/** The same, tried again while the server is busy; anything but success is a failure. */
async function request(target: Target, method: string, path: string, stopped: AbortSignal, body?: Body): Promise<unknown> {
  for (let attempt = 1; ; attempt++) {
    const answer = await call(target, method, path, stopped, body)
    if (answer.status >= 200 && answer.status < 300) return answer.body
    if (!isBusy(answer.status) || attempt === 10 || stopped.aborted) throw refused(target, `${method} ${path}`, answer.status, answer.body)
    await pause(answer.retryAfterMs ?? backoffMs(attempt), stopped)
  }
}

/** "Later", not "no". */
export function isBusy(status: number): boolean {
  return status === 429 || status === 503
}

export async function registerDevice(target: Target, device: Device, stopped: AbortSignal): Promise<void> {
  const text = JSON.stringify({ type: device.type, labels: device.labels })
  await request(target, 'PUT', `devices/${encodeURIComponent(device.id)}`, stopped, { type: 'application/json', text })
}

export function refused(target: Target, what: string, status: number, body: unknown): Failure {
  if (status === 401) return new Failure('unauthenticated', `${target.httpUrl} does not accept the key ${target.keyId} and its secret`)
  const codes: Readonly<Record<number, FailureCode>> = {
    403: 'forbidden',
    404: 'not_found',
    409: 'conflict',
    413: 'too_large',
    415: 'unsupported',
  }
  const said = messageOf(body)
  return new Failure(codes[status] ?? 'unavailable', `${target.httpUrl} answered ${status} to ${what}${said === '' ? '' : `: ${said}`}`)
}

/** The words in an error body, whichever of the shapes it has. */
export function messageOf(body: unknown): string {
  if (typeof body === 'string') return body.slice(0, MAX_ERROR_CHARS)
  const { message, error } = Object(body) as { readonly message?: unknown; readonly error?: unknown }
  if (typeof message === 'string') return message.slice(0, MAX_ERROR_CHARS)
  return error === undefined || error === null ? '' : messageOf(error)
}

export function unreachable(target: Target, error: unknown): Failure {
  const { name, cause, message } = error as Error
  const inner = cause as NodeJS.ErrnoException | undefined
  const why = name === 'TimeoutError' ? 'no answer in time' : (inner?.code ?? inner?.message ?? message)
  return new Failure('unavailable', `no Telltale server answers at ${target.httpUrl} (${why}): start it, or name it with --http`, {
    cause: error,
  })
}

/** Seconds or an HTTP date. */
export function retryAfterMs(header: string | null): number | undefined {
  if (header === null) return undefined
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}

/** Parsed, or the text itself. */
export function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // A proxy's error page: the status decides, and the words are shown as they are.
    return text
  }
}
