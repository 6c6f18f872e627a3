// The client: one object per server and project, from which everything else is reached.
import { Alarms, Silences } from './alarm.ts'
import { Api, type RequestOptions } from './api.ts'
import { authorityFor, type Login } from './auth.ts'
import { Streams } from './durable.ts'
import type { TelltaleError } from './error.ts'
import { type GapEvent, lineOf, type NewEvent, Stamps, type TelltaleEvent } from './event.ts'
import { Channels, Connectors, Devices, History, Rules, ServiceAccounts } from './manage.ts'
import { Publisher, type PublishSettings, type PublishWatch } from './publish.ts'
import { EventStream, type Gaps, type StreamOptions } from './stream.ts'

export type TelltaleOptions = Login & {
  /** Of the server: `http://127.0.0.1:8080`. In a page of the server itself: ''. */
  readonly url: string
  /** Project id; `-` is all that the caller may see, for what only reads. */
  readonly project: string
  readonly publishing?: PublishSettings
}

/** What became of a published event. No `error`: it is on the server's disk. */
export type Receipt = { readonly eventId: string; readonly error?: TelltaleError }

/** How long `close` waits for answers to what was published. */
const CLOSE_LIMIT_MS = 10_000

/**
 * A Telltale server, for Node 20 and for browsers.
 *
 * `new Telltale({ url, project, keyId, secret })` sends HTTP Basic; with `auth: 'token', email` the secret stays here and access tokens
 * are exchanged for signed assertions; `{ token }`, `{ getToken }` take tokens of yours; `auth: 'session'` is for the console's own page.
 * Nothing is connected before it is needed. `close()` when done.
 */
export class Telltale {
  readonly devices: Devices
  readonly history: History
  readonly rules: Rules
  readonly alarms: Alarms
  readonly silences: Silences
  readonly channels: Channels
  readonly connectors: Connectors
  readonly serviceAccounts: ServiceAccounts
  /** Durable streams; `stream` follows the live events of devices. */
  readonly streams: Streams
  readonly #api: Api
  readonly #publisher: Publisher
  readonly #stamps = new Stamps()
  readonly #closed = new AbortController()

  constructor(options: TelltaleOptions) {
    const url = options.url.replace(/\/+$/, '')
    const api = new Api(url, options.project, authorityFor(url, options), this.#closed.signal)
    this.#api = api
    this.#publisher = new Publisher(api, options.publishing)
    this.devices = new Devices(api)
    this.history = new History(api)
    this.rules = new Rules(api)
    this.alarms = new Alarms(api, this.#closed.signal)
    this.silences = new Silences(api)
    this.channels = new Channels(api)
    this.connectors = new Connectors(api)
    this.serviceAccounts = new ServiceAccounts(api)
    this.streams = new Streams(api)
  }

  /**
   * Publishes one event, or many, and resolves when each has its answer: await it, and no more is sent than the server takes.
   * Events share requests, keep their order, and are sent again under the same id while nobody answers, so that each counts once.
   *
   * One event: its receipt, or a rejection with the server's reason. Many: a receipt each, with an `error` for those that were refused.
   */
  publish(events: readonly NewEvent[]): Promise<readonly Receipt[]>
  publish(event: NewEvent): Promise<Receipt>
  async publish(events: NewEvent | readonly NewEvent[]): Promise<Receipt | readonly Receipt[]> {
    const many: readonly NewEvent[] = 'data' in events ? [events] : events
    const receipts = await this.#publish(many)
    if (!('data' in events)) return receipts
    const [receipt] = receipts
    if (receipt?.error !== undefined) throw receipt.error
    return receipt as Receipt
  }

  #publish(events: readonly NewEvent[]): Promise<readonly Receipt[]> {
    const sent = events.map(event => lineOf(this.#api.project, event, this.#stamps))
    const receipts: Receipt[] = sent.map(({ id }) => ({ eventId: id }))
    let open = sent.length
    return new Promise(resolve => {
      if (open === 0) resolve(receipts)
      const lines = sent.map(({ line }) => line)
      this.#publisher.put(lines, (index, error) => {
        if (error !== undefined) receipts[index] = { eventId: sent[index]?.id ?? '', error }
        if (--open === 0) resolve(receipts)
      })
    })
  }

  /** A queue of its own for events that are serialised already, one of several that send at the same time. Close it yourself. */
  publisher(settings?: PublishSettings, watch?: PublishWatch): Publisher {
    return new Publisher(this.#api, settings, watch)
  }

  /** Resolves when everything published so far has its answer. */
  flush(): Promise<void> {
    return this.#publisher.flush()
  }

  /**
   * The live events of the project, `for await (const event of telltale.stream({ eventTypes: ['temperature'] }))`, from now on, or from
   * `since` or `cursor`. It goes on by itself after a lost connection, with nothing missing and nothing twice. Where events are missing
   * because the server no longer has them it throws a GapError; with `gaps: 'yield'` the gap is an item.
   */
  stream(options: StreamOptions & { readonly gaps: 'yield' }): EventStream<TelltaleEvent | GapEvent>
  stream(options?: StreamOptions & Gaps): EventStream<TelltaleEvent>
  stream(options: StreamOptions & Gaps = {}): EventStream<TelltaleEvent> {
    return new EventStream(this.#api, this.#api.path('devices:stream'), options, this.#closed.signal)
  }

  /** Any other call, with the same credentials, patience and errors. `path` from the root: `/v2/projects/default/status`. */
  request<T>(method: string, path: string, options?: RequestOptions): Promise<T> {
    return this.#api.request(method, path, options)
  }

  /** Waits up to 10 s for the answers to what was published, then ends streams and calls. Idempotent. */
  async close(): Promise<void> {
    await this.#publisher.close(CLOSE_LIMIT_MS)
    this.#closed.abort()
  }
}
