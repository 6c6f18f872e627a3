// The server's live stream as items: opens it, watches that it is alive, and opens it again at the last cursor.
import type { DeviceEvent } from '../core/event.ts'
import { Failure } from '../core/failure.ts'
import { formatDuration } from '../core/time.ts'
import { authorization, isBusy, jsonOr, messageOf, projectUrl, refused, retryAfterMs, unreachable } from './api.ts'
import { backoffMs, pause } from './pace.ts'
import type { Target } from './target.ts'

export type StreamFilter = {
  readonly devices: readonly string[]
  readonly deviceTypes: readonly string[]
  readonly eventTypes: readonly string[]
  readonly labels: readonly string[]
  readonly pingMs: number
}

export type StreamItem =
  | { readonly kind: 'event'; readonly event: DeviceEvent; readonly line: string }
  | { readonly kind: 'lost'; readonly reason: string }

/** Silence for longer than a ping and this means that the connection is dead. */
const GRACE_MS = 2000
const MAX_LINE_CHARS = 8 * 1024 * 1024

/**
 * Every event after the cursor (or from now on), in the stream's order, until stopped. `lost` stands where a connection ended and
 * another follows. Throws a Failure when the first connection cannot be made, and at any time when the server refuses for good.
 */
export async function* follow(
  target: Target,
  filter: StreamFilter,
  from: string | undefined,
  stopped: AbortSignal,
): AsyncGenerator<StreamItem> {
  const place: Place = { cursor: from, answered: false, attempt: 0 }
  while (!stopped.aborted) {
    place.attempt++
    const connection = new Connection(filter.pingMs + GRACE_MS, stopped)
    let lost: Failure
    try {
      yield* eventsOf(target, filter, place, connection)
      lost = new Failure('unavailable', 'the server ended the stream')
    } catch (error) {
      if (stopped.aborted) return
      lost = connection.explain(target, error)
      const passes = lost.code === 'unavailable' && (place.answered || lost.retryAfterMs !== undefined)
      if (!passes) throw lost
    } finally {
      connection.close()
    }
    if (stopped.aborted) return
    yield { kind: 'lost', reason: lost.message }
    await pause(lost.retryAfterMs ?? backoffMs(place.attempt), stopped)
  }
}

type Place = { cursor: string | undefined; answered: boolean; attempt: number }

async function* eventsOf(target: Target, filter: StreamFilter, place: Place, connection: Connection): AsyncGenerator<StreamItem> {
  const headers = { authorization: authorization(target), accept: 'application/json' }
  const response = await fetch(urlOf(target, filter, place.cursor), { headers, signal: connection.signal, redirect: 'manual' })
  if (response.status !== 200) throw await refusalOf(target, response)
  place.answered = true
  for await (const line of linesOf(response, connection)) {
    const { event, cursor, error } = frameOf(target, line)
    if (error !== undefined) throw error
    place.attempt = 1
    place.cursor = cursor ?? place.cursor
    if (event !== undefined && event.eventType !== 'ping') yield { kind: 'event', event, line }
  }
}

/** The life of one connection: aborted when stopped, and after a silence. */
class Connection {
  readonly #controller = new AbortController()
  readonly #silenceMs: number
  readonly #timer: NodeJS.Timeout
  readonly #stopped: AbortSignal
  readonly #stop = () => this.#controller.abort()
  #silent = false

  constructor(silenceMs: number, stopped: AbortSignal) {
    this.#silenceMs = silenceMs
    this.#stopped = stopped
    this.#timer = setTimeout(() => {
      this.#silent = true
      this.#controller.abort()
    }, silenceMs)
    stopped.addEventListener('abort', this.#stop)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  heard(): void {
    this.#timer.refresh()
  }

  explain(target: Target, error: unknown): Failure {
    if (error instanceof Failure) return error
    if (this.#silent)
      return new Failure('unavailable', `${target.httpUrl} was silent for ${formatDuration(this.#silenceMs)}`, { cause: error })
    return unreachable(target, error)
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#stopped.removeEventListener('abort', this.#stop)
    this.#controller.abort()
  }
}

function urlOf(target: Target, filter: StreamFilter, cursor: string | undefined): string {
  const query = new URLSearchParams({ ping_interval: `${filter.pingMs / 1000}s` })
  for (const device of filter.devices) query.append('device_ids', device)
  for (const type of filter.deviceTypes) query.append('device_types', type)
  for (const type of filter.eventTypes) query.append('event_types', type)
  for (const label of filter.labels) query.append('label_filters', label)
  if (cursor !== undefined) query.set('cursor', cursor)
  return projectUrl(target, `devices:stream?${query.toString()}`)
}

async function refusalOf(target: Target, response: Response): Promise<Failure> {
  const text = await response.text()
  const body = jsonOr(text)
  if (!isBusy(response.status)) return refused(target, 'devices:stream', response.status, body)
  const later = retryAfterMs(response.headers.get('retry-after')) ?? 1000
  return new Failure('unavailable', `the server is busy: ${messageOf(body)}`, { retryAfterMs: later })
}

async function* linesOf(response: Response, connection: Connection): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of response.body ?? []) {
    connection.heard()
    const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > MAX_LINE_CHARS) throw new Failure('unavailable', `a line of the stream is longer than ${MAX_LINE_CHARS} characters`)
    for (const line of lines) if (line.trim() !== '') yield line
  }
}

type Frame = { readonly event?: DeviceEvent; readonly cursor?: string; readonly error?: Failure }

/** `{"result":{"event":…,"cursor":"…"}}`, or `{"error":{"code":408,…}}` before the server closes. */
function frameOf(target: Target, line: string): Frame {
  const { result, error } = Object(jsonOr(line)) as { readonly result?: unknown; readonly error?: unknown }
  if (error !== undefined) return { error: streamError(target, error) }
  const { event, cursor } = Object(result) as { readonly event?: unknown; readonly cursor?: unknown }
  if (!isEvent(event)) return { error: new Failure('unavailable', `not a line of an event stream: ${line.slice(0, 80)}`) }
  return typeof cursor === 'string' ? { event, cursor } : { event }
}

function streamError(target: Target, error: unknown): Failure {
  const { code } = Object(error) as { readonly code?: unknown }
  const refuses = typeof code === 'number' && code >= 400 && code < 500 && code !== 408 && code !== 429
  return refuses
    ? refused(target, 'devices:stream', code, error)
    : new Failure('unavailable', messageOf(error) || 'the server ended the stream')
}

function isEvent(value: unknown): value is DeviceEvent {
  const { eventType, targetName, timestamp } = Object(value) as { readonly [key in keyof DeviceEvent]?: unknown }
  return typeof eventType === 'string' && typeof targetName === 'string' && typeof timestamp === 'string'
}
