// Calls to the server: credentials, time limits, answers as values or as a TelltaleError, and patience with a busy server.
import { type Authority, jsonOr } from './auth.ts'
import { errorOf, reasonOf, TelltaleError, unreachable } from './error.ts'
import { backoffMs, pause, retryAfterMs, unless, within } from './pace.ts'

/** Lists are repeated keys; what is undefined is left out; a Date is sent as RFC 3339. */
export type Query = { readonly [name: string]: string | number | boolean | Date | readonly string[] | undefined }
export type Answer = { readonly status: number; readonly body: unknown; readonly retryAfterMs: number | undefined }
export type Body = { readonly type: 'application/json' | 'application/x-ndjson'; readonly text: string }

type Ask = {
  readonly query?: Query | undefined
  readonly body?: Body | undefined
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
}

export type RequestOptions = {
  readonly query?: Query
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
  /** How often it is asked at most while the server says "later"; 6. */
  readonly attempts?: number
}

const TIMEOUT_MS = 30_000
const ATTEMPTS = 6
const LONGEST_WAIT_MS = 30_000

export class Api {
  /** Without a slash at the end; '' in a page of the server itself. */
  readonly url: string
  readonly project: string
  readonly #authority: Authority
  readonly #closed: AbortSignal

  constructor(url: string, project: string, authority: Authority, closed: AbortSignal) {
    this.url = url
    this.project = project
    this.#authority = authority
    this.#closed = closed
  }

  /** `devices:stream` → `/v2/projects/default/devices:stream`. */
  path(below: string): string {
    return `/v2/projects/${encodeURIComponent(this.project)}/${below}`
  }

  /** The body of a success. Asked again while the server says "later" (429, 503), as often and as late as makes sense for somebody who waits. */
  async request<T>(
    method: string,
    path: string,
    { query, body, headers = {}, signal = this.#closed, attempts = ATTEMPTS }: RequestOptions = {},
  ): Promise<T> {
    const sent: Body | undefined = body === undefined ? undefined : { type: 'application/json', text: JSON.stringify(body) }
    for (let attempt = 1; ; attempt++) {
      const answer = await this.call(method, path, { query, body: sent, headers, signal })
      if (answer.status >= 200 && answer.status < 300) return answer.body as T
      const waitMs = answer.retryAfterMs ?? backoffMs(attempt)
      const later = answer.status === 429 || answer.status === 503
      if (!later || attempt >= attempts || waitMs > LONGEST_WAIT_MS) throw errorOf(answer.status, answer.body, answer.retryAfterMs)
      await pause(waitMs, signal)
      if (signal.aborted) throw new TelltaleError(0, 'stopped before there was an answer', { cause: signal.reason })
    }
  }

  /** Any status is an answer; rejects with a TelltaleError of status 0 when there was none. */
  call(method: string, path: string, { signal = this.#closed, ...ask }: Ask = {}): Promise<Answer> {
    return within(TIMEOUT_MS, signal, async limited => {
      try {
        const response = await this.open(method, path, { ...ask, signal: limited })
        const text = await response.text()
        return { status: response.status, body: jsonOr(text), retryAfterMs: retryAfterMs(response.headers.get('retry-after')) }
      } catch (error) {
        throw error instanceof TelltaleError ? error : unreachable(this.url, error)
      }
    })
  }

  /** A response whose body has not been read. Once more with fresh credentials when the first are refused and there are others. */
  async open(method: string, path: string, ask: Ask & { readonly signal: AbortSignal }): Promise<Response> {
    const response = await this.#fetch(method, path, ask)
    if (response.status !== 401 || !this.#authority.renew()) return response
    await response.body?.cancel()
    return this.#fetch(method, path, ask)
  }

  /** After a 401 inside a stream. True: another connection may be let in. */
  renew(): boolean {
    return this.#authority.renew()
  }

  async #fetch(method: string, path: string, { query, body, headers, signal }: Ask): Promise<Response> {
    const sent: Record<string, string> = { accept: 'application/json', ...(await this.#credentials(method, signal)), ...headers }
    if (body !== undefined) sent['content-type'] = body.type
    const init = { method, headers: sent, body: body?.text ?? null, signal: signal ?? null, redirect: 'error' } as const
    return fetch(`${this.url}${path}${textOf(query)}`, init)
  }

  /** What the program's own `getToken` throws is no silence of the server: nothing was asked, and asking again is up to `getToken`. */
  async #credentials(method: string, signal: AbortSignal | undefined): Promise<Readonly<Record<string, string>>> {
    try {
      return await unless(signal, this.#authority.headers(method))
    } catch (error) {
      if (error instanceof TelltaleError) throw error
      if (signal?.aborted === true) throw new TelltaleError(0, 'no access token in time', { cause: error })
      throw new TelltaleError(401, `no access token: getToken failed (${reasonOf(error)})`, { cause: error })
    }
  }
}

function textOf(query: Query = {}): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query))
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [value as string | number | boolean | Date | undefined])
      if (one !== undefined) parameters.append(name, one instanceof Date ? one.toISOString() : String(one))
  const text = parameters.toString()
  return text === '' ? '' : `?${text}`
}
