// Durable streams: messages that are kept for subscriptions until they are acked. The live events of devices are in stream.ts.
import type { Api, Query } from './api.ts'
import { pagesOf } from './manage.ts'
import type * as Wire from './resource.ts'

const id = encodeURIComponent

/** `pull`: how many, how long to wait for the first, and how long they are ours to ack. */
export type PullOptions = {
  readonly maxMessages?: number
  readonly waitMs?: number
  readonly leaseMs?: number
  readonly signal?: AbortSignal
}

export class Streams {
  readonly subscriptions: Subscriptions
  readonly #api: Api
  constructor(api: Api) {
    this.#api = api
    this.subscriptions = new Subscriptions(api)
  }

  /** One page; `pages` has them all. */
  list(query: Wire.StreamQuery = {}): Promise<Wire.Page<'streams', Wire.Stream>> {
    return this.#api.request('GET', this.#api.path('streams'), { query })
  }

  pages(query: Wire.StreamQuery = {}): AsyncGenerator<readonly Wire.Stream[], undefined> {
    return pagesOf(this.#api, this.#api.path('streams'), 'streams', query)
  }

  get(stream: string): Promise<Wire.Stream> {
    return this.#api.request('GET', this.#path(stream))
  }

  /** `conflict` when there is one of this name; `put` gives it these settings. */
  create(stream: string, settings: Wire.StreamSettings = {}): Promise<Wire.Stream> {
    return this.#api.request('POST', this.#api.path('streams'), { body: { ...settings, name: stream } })
  }

  put(stream: string, settings: Wire.StreamSettings = {}): Promise<Wire.Stream> {
    return this.#api.request('PUT', this.#path(stream), { body: settings })
  }

  /** Changes what is given. */
  update(stream: string, settings: Wire.StreamSettings): Promise<Wire.Stream> {
    return this.#api.request('PATCH', this.#path(stream), { body: settings })
  }

  /** With its messages and subscriptions. `conflict` while consumers are connected, unless it is forced. */
  remove(stream: string, { force = false }: { readonly force?: boolean } = {}): Promise<unknown> {
    return this.#api.request('DELETE', this.#path(stream), { query: force ? { force } : {} })
  }

  /**
   * Resolves when they are on disk, all or none, with their places in their order. Sent again while the server says "later", and appended
   * once; with an `idempotencyKey` of your own also when you call again.
   */
  async append(
    stream: string,
    messages: Wire.NewMessage | readonly Wire.NewMessage[],
    { idempotencyKey = randomKey() }: { readonly idempotencyKey?: string } = {},
  ): Promise<readonly Wire.AppendedMessage[]> {
    const many: readonly Wire.NewMessage[] = 'payload' in messages ? [messages] : messages
    if (many.length === 0) return []
    const answer = await this.#api.request<{ readonly messages: readonly Wire.AppendedMessage[] }>(
      'POST',
      `${this.#path(stream)}/messages`,
      {
        body: { messages: many.map(draftOf) },
        headers: { 'idempotency-key': idempotencyKey },
      },
    )
    return answer.messages
  }

  /** What is kept; nothing is consumed by looking. One page; `messagePages` has them all. */
  messages(stream: string, query: Wire.MessageQuery = {}): Promise<Wire.Page<'messages', Wire.Message>> {
    return this.#api.request('GET', `${this.#path(stream)}/messages`, { query: query as Query })
  }

  messagePages(stream: string, query: Wire.MessageQuery = {}): AsyncGenerator<readonly Wire.Message[], undefined> {
    return pagesOf(this.#api, `${this.#path(stream)}/messages`, 'messages', query as Query)
  }

  #path(stream: string): string {
    return this.#api.path(`streams/${id(stream)}`)
  }
}

/** The places of consumers in durable streams, and consuming from them by asking. */
export class Subscriptions {
  readonly #api: Api
  constructor(api: Api) {
    this.#api = api
  }

  list(stream: string, query: Wire.PageQuery = {}): Promise<Wire.Page<'subscriptions', Wire.Subscription>> {
    return this.#api.request('GET', this.#path(stream), { query })
  }

  pages(stream: string, query: Wire.PageQuery = {}): AsyncGenerator<readonly Wire.Subscription[], undefined> {
    return pagesOf(this.#api, this.#path(stream), 'subscriptions', query)
  }

  get(stream: string, subscription: string): Promise<Wire.Subscription> {
    return this.#api.request('GET', this.#path(stream, subscription))
  }

  /** One that is there stays as it is; `conflict` when it is of another type. */
  create(
    stream: string,
    subscription: string,
    options: { readonly type?: Wire.SubscriptionType; readonly position?: Wire.SubscriptionPosition } = {},
  ): Promise<Wire.Subscription> {
    return this.#api.request('POST', this.#path(stream), { body: { ...options, name: subscription } })
  }

  /** `conflict` while consumers are connected, unless it is forced. */
  remove(stream: string, subscription: string, { force = false }: { readonly force?: boolean } = {}): Promise<unknown> {
    return this.#api.request('DELETE', this.#path(stream, subscription), { query: force ? { force } : {} })
  }

  /** It goes on from there, back or forward; what was delivered and not acked is forgotten. */
  reset(stream: string, subscription: string, position: Wire.SubscriptionPosition): Promise<Wire.Subscription> {
    return this.#api.request('POST', `${this.#path(stream, subscription)}:reset`, { body: { position } })
  }

  /** Its backlog is dropped. */
  clear(stream: string, subscription: string): Promise<Wire.Subscription> {
    return this.#api.request('POST', `${this.#path(stream, subscription)}:clear`)
  }

  /** The next messages, as soon as there are any. What is not acked before its lease ends is delivered again. */
  async pull(stream: string, subscription: string, { signal, ...options }: PullOptions = {}): Promise<readonly Wire.PulledMessage[]> {
    const answer = await this.#api.request<{ readonly messages: readonly Wire.PulledMessage[] }>(
      'POST',
      `${this.#path(stream, subscription)}:pull`,
      { body: options, ...(signal === undefined ? {} : { signal }) },
    )
    return answer.messages
  }

  ack(stream: string, subscription: string, messageIds: readonly string[]): Promise<unknown> {
    return this.#api.request('POST', `${this.#path(stream, subscription)}:ack`, { body: { messageIds } })
  }

  /** They are delivered again, after the delay. */
  nack(stream: string, subscription: string, messageIds: readonly string[], options: { readonly delayMs?: number } = {}): Promise<unknown> {
    return this.#api.request('POST', `${this.#path(stream, subscription)}:nack`, { body: { ...options, messageIds } })
  }

  #path(stream: string, subscription?: string): string {
    return this.#api.path(`streams/${id(stream)}/subscriptions${subscription === undefined ? '' : `/${id(subscription)}`}`)
  }
}

function draftOf({ payload, eventTime, ...rest }: Wire.NewMessage) {
  const time = eventTime instanceof Date ? eventTime.toISOString() : eventTime
  return { ...rest, ...contentOf(payload), ...(time === undefined ? {} : { eventTime: time }) }
}

function contentOf(payload: unknown): { text: string } | { payload: string } | { json: unknown } {
  if (typeof payload === 'string') return { text: payload }
  if (!(payload instanceof Uint8Array)) return { json: payload ?? null }
  return { payload: btoa(Array.from(payload, byte => String.fromCharCode(byte)).join('')) }
}

/** A page that was not loaded by TLS has no `randomUUID`. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), part => part.toString(36)).join('-')
}
