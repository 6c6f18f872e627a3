// One stream of the page, kept up by the client: whether it is live, letting go of it while nobody looks, and starting afresh.
import { type EventStream, type GapEvent, type StreamOptions, TelltaleError } from '../../../packages/client/index.ts'
import { backoffMs, pause } from '../../../packages/client/pace.ts'

export type LinkState = 'live' | 'reconnecting' | 'offline'

export type LiveOptions<T> = {
  readonly open: (options: StreamOptions & { readonly gaps: 'yield' }) => EventStream<T | GapEvent>
  /** How often the server says that it is there, such as `10s`. */
  readonly ping: string
  readonly onItem: (item: T | GapEvent) => void
  /** The server's clock. */
  readonly onPing: (timestamp: string) => void
  /** Items follow from here, but what came before is unknown: load the current state. */
  readonly onFresh: () => void
  readonly onLink: () => void
  /** A mistake of the page, not of the server: the stream goes on behind the item. */
  readonly onFault: (error: unknown) => void
  /** Asked when a connection could not be made: is it us, or the server? */
  readonly probe: () => Promise<unknown>
}

// A resume after a longer absence would replay more than loading the current state costs.
const RESUME_WITHIN_MS = 120_000
const OFFLINE_AFTER_MS = 60_000

export function linkState(connected: boolean, silentMs: number, browserOnline: boolean): LinkState {
  if (!browserOnline || (!connected && silentMs > OFFLINE_AFTER_MS)) return 'offline'
  return connected ? 'live' : 'reconnecting'
}

/** One stream, until `close`. */
export class Live<T> {
  readonly #options: LiveOptions<T>
  #running: AbortController | undefined
  #cursor: string | undefined
  #connected = false
  #closed = false
  /** Milliseconds since 1970 of the last sign of life; of the start before there was one. */
  lastFrameAt = Date.now()
  everLive = false

  constructor(options: LiveOptions<T>) {
    this.#options = options
    this.resume()
  }

  state(browserOnline: boolean): LinkState {
    return linkState(this.#connected, Date.now() - this.lastFrameAt, browserOnline)
  }

  /** Lets go of the connection (a hidden page must not hold one of the browser's six). */
  pause(): void {
    this.#running?.abort()
    this.#running = undefined
    this.#drop()
  }

  /** Opens again at once after `pause`. */
  resume(): void {
    if (this.#closed || this.#running) return
    this.#running = new AbortController()
    void this.#run(this.#running)
  }

  close(): void {
    this.#closed = true
    this.pause()
  }

  async #run(running: AbortController): Promise<void> {
    for (let attempt = 1; !running.signal.aborted; attempt++) {
      try {
        await this.#follow(running)
      } catch (error) {
        if (!(error instanceof TelltaleError)) this.#options.onFault(error)
        // A cursor that the server does not take would be refused for ever.
        else if (error.code === 'invalid') this.#cursor = undefined
        if (this.#connected) attempt = 1
        this.#lost(running)
        await pause(backoffMs(attempt), running.signal)
      }
    }
  }

  async #follow(running: AbortController): Promise<void> {
    if (Date.now() - this.lastFrameAt > RESUME_WITHIN_MS) this.#cursor = undefined
    let fresh = this.#cursor === undefined
    const outdated = new AbortController()
    running.signal.addEventListener('abort', () => outdated.abort(), { once: true })
    const stream = this.#options.open({
      cursor: this.#cursor,
      ping: this.#options.ping,
      signal: outdated.signal,
      waitForServer: true,
      gaps: 'yield',
      onOpen: () => {
        if (fresh) this.#options.onFresh()
        fresh = false
      },
      onPing: timestamp => {
        this.#alive(stream.cursor)
        this.#options.onPing(timestamp)
      },
      onLost: () => {
        this.#lost(running)
        // Once: without a cursor the next one is patient by itself.
        if (stream.cursor !== undefined && Date.now() - this.lastFrameAt > RESUME_WITHIN_MS) outdated.abort()
      },
    })
    for await (const item of stream) {
      this.#alive(stream.cursor)
      this.#options.onItem(item)
    }
  }

  #lost(running: AbortController): void {
    if (running.signal.aborted) return
    if (!this.#connected) void this.#options.probe()
    this.#drop()
  }

  /** Only what comes shows that a server is there: one that opens streams and sends nothing is not. */
  #alive(cursor: string | undefined): void {
    this.#cursor = cursor
    this.lastFrameAt = Date.now()
    this.everLive = true
    if (this.#connected) return
    this.#connected = true
    this.#options.onLink()
  }

  #drop(): void {
    if (!this.#connected) return
    this.#connected = false
    this.#options.onLink()
  }
}
