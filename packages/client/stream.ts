// A live stream as an async iterator that goes on by itself: it notices silence, opens again and resumes at its cursor.
import { parseDuration } from '../core/time.ts'
import type { Api, Query } from './api.ts'
import { jsonOr } from './auth.ts'
import { errorOf, GapError, messageOf, TelltaleError, unreachable } from './error.ts'
import type { GapEvent } from './event.ts'
import { LineReader } from './line.ts'
import { backoffMs, pause, retryAfterMs } from './pace.ts'

/** Which items: OR inside one list, AND between them. Empty or absent: no restriction. */
export type StreamFilter = {
  /** Device ids. */
  readonly devices?: readonly string[]
  readonly deviceTypes?: readonly string[]
  readonly eventTypes?: readonly string[]
  /** `key`, or `key=value`. */
  readonly labels?: readonly string[]
  /** Whether all `labels` must hold or any is enough; unless given as the server is set, which is `all` for most. */
  readonly labelMatch?: 'all' | 'any'
  readonly productNumbers?: readonly string[]
}

export type SlowPolicy = 'disconnect' | 'drop' | 'latest'

export type StreamOptions = StreamFilter & {
  /** Begin after this place: `stream.cursor` of an earlier stream with the same project. */
  readonly cursor?: string | undefined
  /** Begin at this time instead of now. */
  readonly since?: string | Date | undefined
  /**
   * What becomes of what is sent faster than it is taken. `disconnect`, the default: it waits in the server's log, and whoever takes
   * nothing at all is cut off, and resumes. `drop`: it is left out, which is a gap (ask for `gaps: 'yield'`, or it is an error). `latest`: of
   * each device and event type only the newest is kept.
   */
  readonly slow?: SlowPolicy
  /** How often the server says that it is there, from `1s` to `1h`; `10s`. Silence for 2 s longer is a lost connection. */
  readonly ping?: string
  /** Ends the iteration, without an error. */
  readonly signal?: AbortSignal
  /** Try the first connection until it succeeds, as later ones are. Otherwise a server that is away is an error at the start. */
  readonly waitForServer?: boolean
  /** A connection is open and the server has begun to answer. */
  readonly onOpen?: () => void
  /** A connection is gone; another is tried after `retryMs`, from the last cursor on. */
  readonly onLost?: (error: TelltaleError, retryMs: number) => void
  /** The server's clock, RFC 3339. */
  readonly onPing?: (timestamp: string) => void
}

/** A gap throws a GapError, unless it is asked for as an item (`eventType: 'gap'`) in its place. */
export type Gaps = { readonly gaps?: 'throw' | 'yield' }

/** Silence for longer than a ping and this means that the connection is dead. */
const GRACE_MS = 2000
/** What was sent at the same time as a ping may have been behind it. */
const OVERLAP_MS = 10_000

type Frame = { readonly item?: unknown; readonly cursor?: string }

/**
 * Every item after the start, in the stream's order, once each, until it is told to stop: by `break`, `return()` or the signal, all of
 * which close the connection. Rejects with a TelltaleError when the server refuses for good (credentials, an unknown project, a cursor
 * that is not one), when the first connection cannot be made, and with a GapError.
 */
export class EventStream<T> implements AsyncIterableIterator<T> {
  /** The place after the last item that was handed out. Keep it, and a later program goes on there. */
  cursor: string | undefined
  readonly #api: Api
  readonly #path: string
  readonly #options: StreamOptions & Gaps
  readonly #pingMs: number
  readonly #ended = new AbortController()
  readonly #end = () => {
    this.#ended.abort()
    for (const signal of this.#signals) signal.removeEventListener('abort', this.#end)
  }
  readonly #signals: readonly AbortSignal[]
  readonly #items: AsyncGenerator<T, undefined>
  #pingTime: string | undefined
  #opened = false
  #attempt = 0

  constructor(api: Api, path: string, options: StreamOptions & Gaps, closed: AbortSignal) {
    this.#api = api
    this.#path = path
    this.#options = options
    this.#pingMs = parseDuration(options.ping ?? '10s') ?? Number.NaN
    if (!(this.#pingMs > 0)) throw new TelltaleError(400, `ping: expected a duration such as 10s, got ${options.ping}`, { field: 'ping' })
    this.cursor = options.cursor
    this.#signals = options.signal === undefined ? [closed] : [options.signal, closed]
    for (const signal of this.#signals) signal.addEventListener('abort', this.#end)
    if (this.#signals.some(({ aborted }) => aborted)) this.#end()
    this.#items = this.#follow()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return this.#ended.signal.aborted ? this.return() : this.#items.next()
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#end()
    return this.#items.return(undefined)
  }

  async *#follow(): AsyncGenerator<T, undefined> {
    const { signal } = this.#ended
    while (!signal.aborted) {
      const reader = new LineReader(this.#pingMs + GRACE_MS, signal)
      let lost = new TelltaleError(0, 'the server ended the stream')
      try {
        await this.#open(reader)
        for (let lines = await reader.next(); lines !== undefined; lines = await reader.next())
          for (const line of lines) {
            const item = this.#take(line)
            if (item !== undefined) yield item as T
          }
      } catch (error) {
        lost = this.#lost(error, reader)
      } finally {
        reader.close()
      }
      if (!signal.aborted) await this.#wait(lost)
    }
  }

  async #wait(lost: TelltaleError): Promise<void> {
    const waitMs = lost.retryAfterMs ?? backoffMs(this.#attempt)
    this.#options.onLost?.(lost, waitMs)
    await pause(waitMs, this.#ended.signal)
  }

  async #open(reader: LineReader): Promise<void> {
    this.#attempt++
    const response = await this.#api.open('GET', this.#path, { query: this.#query(), signal: reader.signal })
    if (response.status !== 200) {
      const later = retryAfterMs(response.headers.get('retry-after'))
      throw errorOf(response.status, jsonOr(await response.text()), later)
    }
    this.#opened = true
    reader.read(response)
    this.#options.onOpen?.()
  }

  #query(): Query {
    const { devices, deviceTypes, eventTypes, labels, labelMatch, productNumbers, since, slow } = this.#options
    return {
      ping_interval: `${this.#pingMs / 1000}s`,
      device_ids: devices,
      device_types: deviceTypes,
      event_types: eventTypes,
      label_filters: labels,
      label_match: labelMatch,
      product_numbers: productNumbers,
      slow_policy: slow,
      ...(this.cursor === undefined ? { since: since ?? this.#heardAt() } : { cursor: this.cursor }),
    }
  }

  /** A stream that was lost before it brought anything has no cursor; what came meanwhile is behind the time of its last ping. */
  #heardAt(): Date | undefined {
    return this.#pingTime === undefined ? undefined : new Date(Date.parse(this.#pingTime) - OVERLAP_MS)
  }

  /** The item of a line; undefined for a ping. */
  #take(line: string): unknown {
    const { item, cursor } = this.#frame(line)
    this.#attempt = 0
    this.cursor = cursor ?? this.cursor
    return item
  }

  /** `{"result":{"event":…,"cursor":"…"}}`, `{"result":{"alarm":…}}`, or `{"error":{"code":408,…}}` before the server closes. */
  #frame(line: string): Frame {
    const { result, error } = Object(jsonOr(line)) as { readonly result?: unknown; readonly error?: unknown }
    if (error !== undefined) throw this.#ending(error)
    const { event, alarm, cursor } = Object(result) as Readonly<Record<string, unknown>>
    const place = typeof cursor === 'string' ? { cursor } : {}
    if (isObject(alarm)) return { item: alarm, ...place }
    if (!isObject(event)) throw new TelltaleError(0, `not a line of an event stream: ${line.slice(0, 80)}`)
    if (event['eventType'] === 'ping') return this.#ping(event, place)
    return event['eventType'] === 'gap' ? this.#gap(event as GapEvent, place) : { item: event, ...place }
  }

  #ping({ timestamp }: Readonly<Record<string, unknown>>, place: { readonly cursor?: string }): Frame {
    // Everything before a ping has been handed out.
    this.cursor = place.cursor ?? this.cursor
    if (typeof timestamp === 'string') {
      this.#pingTime = timestamp
      this.#options.onPing?.(timestamp)
    }
    return place
  }

  #gap(event: GapEvent, place: { readonly cursor?: string }): Frame {
    const { from, to } = event.data.gap
    // Whoever catches the error goes on behind the gap.
    this.cursor = place.cursor ?? to
    if (this.#options.gaps !== 'yield') throw new GapError(from, to)
    return { item: event, cursor: this.cursor }
  }

  #ending(error: unknown): TelltaleError {
    const { code } = Object(error) as { readonly code?: unknown }
    const status = typeof code === 'number' ? code : 0
    return new TelltaleError(status, messageOf(error) || 'the server ended the stream')
  }

  /** Why the connection is gone; throws when another would not fare better. */
  #lost(error: unknown, { isSilent, isOpen }: LineReader): TelltaleError {
    const where = this.#api.url === '' ? 'the server' : this.#api.url
    const silence = `${where} was silent for ${this.#pingMs + GRACE_MS}ms`
    let lost: TelltaleError
    if (isSilent) lost = new TelltaleError(0, silence, { cause: error })
    else lost = error instanceof TelltaleError ? error : unreachable(this.#api.url, error, isOpen)
    if (this.#ended.signal.aborted || this.#passes(lost)) return lost
    this.#end()
    throw lost
  }

  #passes(lost: TelltaleError): boolean {
    if (lost instanceof GapError) return false
    // The token has ended, or was taken back: the next one will tell.
    if (lost.status === 401 && this.#attempt === 0) return this.#api.renew()
    const mayWait = this.#opened || this.#options.waitForServer === true || lost.retryAfterMs !== undefined
    return (lost.code === 'unavailable' || lost.code === 'too_many') && mayWait
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}
