// Follows one server-sent event stream: notices silence, reopens, resumes at the last cursor.
import type { DeviceEvent } from '../../../packages/core/event.ts'
import type { Alarm } from './alarm.ts'

export type LinkState = 'live' | 'reconnecting' | 'offline'

export type Frame =
  | { readonly kind: 'event'; readonly event: DeviceEvent }
  | { readonly kind: 'alarm'; readonly alarm: Alarm }
  | { readonly kind: 'ping'; readonly timestamp: string }
  | { readonly kind: 'gap' }
  | { readonly kind: 'error'; readonly message: string }

/** What the page needs of an EventSource. */
export type Source = Pick<EventSource, 'close'> & {
  onopen: ((event: Event) => void) | null
  onmessage: ((event: MessageEvent) => void) | null
  onerror: ((event: Event) => void) | null
}

export type LiveOptions = {
  /** The stream without parameters, for example `/v2/projects/default/devices:stream`. */
  readonly url: string
  readonly pingMs: number
  /** Silence for longer than `pingMs + graceMs` means the connection is dead. */
  readonly graceMs: number
  /** Before the first attempt to reopen. */
  readonly retryMs: number
  readonly openSource: (url: string) => Source
  readonly onFrame: (frame: Frame) => void
  /** Frames follow from here, but what came before is unknown: load the current state. */
  readonly onFresh: () => void
  readonly onLink: () => void
  /** Asked when the stream was refused. `signed-in` means the server is up, so it is this stream it does not want. */
  readonly probe: () => Promise<'signed-in' | 'signed-out' | 'unreachable'>
}

// A resume after a longer absence would replay more than loading the current state costs.
const RESUME_WITHIN_MS = 120_000
const OFFLINE_AFTER_MS = 60_000
const REFUSALS_BEFORE_FRESH = 3
const CHECK_MS = 500
const MAX_RETRY_MS = 10_000

export function readFrame(text: string): Frame {
  const frame: unknown = JSON.parse(text)
  const { result, error } = frame as { result?: { event?: DeviceEvent; alarm?: Alarm }; error?: { message?: string } }
  if (result?.alarm) return { kind: 'alarm', alarm: result.alarm }
  if (result?.event) {
    const { event } = result
    if (event.eventType === 'ping') return { kind: 'ping', timestamp: event.timestamp }
    return event.eventType === 'gap' ? { kind: 'gap' } : { kind: 'event', event }
  }
  return { kind: 'error', message: error?.message ?? 'the stream sent something this page does not know' }
}

export function streamUrl(url: string, pingMs: number, cursor: string): string {
  const parameters = new URLSearchParams({ ping_interval: `${pingMs / 1000}s` })
  if (cursor !== '') parameters.set('cursor', cursor)
  return `${url}?${parameters}`
}

/** The first wait, doubled each time up to 10 s, ± a quarter so that a server's restart does not bring all pages at once. */
export function retryDelayMs(firstMs: number, attempt: number, random: number): number {
  return Math.min(MAX_RETRY_MS, firstMs * 2 ** Math.min(attempt - 1, 16)) * (0.75 + random / 2)
}

export function linkState(connected: boolean, silentMs: number, browserOnline: boolean): LinkState {
  if (!browserOnline || (!connected && silentMs > OFFLINE_AFTER_MS)) return 'offline'
  return connected ? 'live' : 'reconnecting'
}

/** One stream, until `close`. EventSource's own reconnects are not used: they cannot tell silence from quiet. */
export class Live {
  readonly #options: LiveOptions
  readonly #watch: ReturnType<typeof setInterval>
  #source: Source | undefined
  #retry: ReturnType<typeof setTimeout> | undefined
  #cursor = ''
  #connected = false
  #openedAt = 0
  #attempt = 0
  #refusals = 0
  #closed = false
  /** The last connection died of silence: that the server opens another proves nothing until a frame comes. */
  #mute = false
  /** Milliseconds since 1970 of the last sign of life; of the start before there was one. */
  lastFrameAt = Date.now()
  everLive = false

  constructor(options: LiveOptions) {
    this.#options = options
    this.#watch = setInterval(() => this.#check(), Math.min(CHECK_MS, options.pingMs))
    this.#open()
  }

  state(browserOnline: boolean): LinkState {
    return linkState(this.#connected, Date.now() - this.lastFrameAt, browserOnline)
  }

  /** Lets go of the connection (a hidden page must not hold one of the browser's six). */
  pause(): void {
    clearTimeout(this.#retry)
    this.#retry = undefined
    this.#drop()
  }

  /** Opens again at once after `pause`, or instead of waiting for the next attempt. */
  resume(): void {
    if (this.#closed || this.#source) return
    clearTimeout(this.#retry)
    this.#open()
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#watch)
    this.pause()
  }

  #open(): void {
    this.#retry = undefined
    if (Date.now() - this.lastFrameAt > RESUME_WITHIN_MS) this.#cursor = ''
    const fresh = this.#cursor === ''
    this.#openedAt = Date.now()
    const source = this.#options.openSource(streamUrl(this.#options.url, this.#options.pingMs, this.#cursor))
    this.#source = source
    source.onopen = () => this.#opened(fresh)
    source.onmessage = message => this.#receive(message)
    source.onerror = () => this.#fail()
  }

  #opened(fresh: boolean): void {
    if (!this.#mute) this.#alive()
    if (fresh) this.#options.onFresh()
  }

  #receive(message: MessageEvent): void {
    const frame = readFrame(message.data as string)
    if (message.lastEventId !== '') this.#cursor = message.lastEventId
    if (frame.kind === 'error') this.#fail()
    else this.#deliver(frame)
  }

  #deliver(frame: Frame): void {
    this.#attempt = 0
    this.#refusals = 0
    this.#mute = false
    this.#alive()
    this.#options.onFrame(frame)
  }

  #alive(): void {
    this.lastFrameAt = Date.now()
    this.everLive = true
    if (this.#connected) return
    this.#connected = true
    this.#options.onLink()
  }

  #check(): void {
    const silentSince = Math.max(this.lastFrameAt, this.#openedAt)
    if (!this.#source || Date.now() - silentSince <= this.#options.pingMs + this.#options.graceMs) return
    this.#mute = true
    this.#fail()
  }

  #fail(): void {
    const refused = !this.#connected
    this.#drop()
    this.#attempt += 1
    this.#retry = setTimeout(() => this.#open(), retryDelayMs(this.#options.retryMs, this.#attempt, Math.random()))
    if (refused) void this.#askWhy()
  }

  async #askWhy(): Promise<void> {
    const answer = await this.#options.probe()
    if (answer !== 'signed-in') return
    this.#refusals += 1
    // A cursor the server no longer takes would be refused for ever.
    if (this.#refusals >= REFUSALS_BEFORE_FRESH) this.#cursor = ''
  }

  #drop(): void {
    this.#source?.close()
    this.#source = undefined
    if (!this.#connected) return
    this.#connected = false
    this.#options.onLink()
  }
}
