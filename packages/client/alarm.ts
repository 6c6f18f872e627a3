// Alarms and what people do about them: acknowledge, assign, comment, snooze, silence; and the record of all of it.
import type { Api } from './api.ts'
import type { GapEvent } from './event.ts'
import { pagesOf } from './manage.ts'
import type * as Wire from './resource.ts'
import { EventStream, type Gaps, type StreamOptions } from './stream.ts'

const id = encodeURIComponent

export class Alarms {
  readonly #api: Api
  readonly #closed: AbortSignal

  constructor(api: Api, closed: AbortSignal) {
    this.#api = api
    this.#closed = closed
  }

  /** Most recently changed first. One page; `pages` has them all. */
  list(query: Wire.AlarmQuery = {}): Promise<Wire.Page<'alarms', Wire.Alarm>> {
    return this.#api.request('GET', this.#api.path('alarms'), { query })
  }

  pages(query: Wire.AlarmQuery = {}): AsyncGenerator<readonly Wire.Alarm[], undefined> {
    return pagesOf(this.#api, this.#api.path('alarms'), 'alarms', query)
  }

  get(alarmId: string): Promise<Wire.Alarm> {
    return this.#api.request('GET', this.#path(alarmId))
  }

  /** Somebody has seen this episode. Again replaces who and why. */
  acknowledge(alarmId: string, comment = ''): Promise<Wire.Alarm> {
    return this.#api.request('POST', this.#path(alarmId, ':acknowledge'), { body: { comment } })
  }

  unacknowledge(alarmId: string): Promise<Wire.Alarm> {
    return this.#api.request('POST', this.#path(alarmId, ':unacknowledge'), { body: {} })
  }

  /** To whom, as you call people; null: nobody. */
  assign(alarmId: string, to: string | null, comment = ''): Promise<Wire.Alarm> {
    return this.#api.request('POST', this.#path(alarmId, ':assign'), { body: { to, comment } })
  }

  /** Into its history. */
  comment(alarmId: string, comment: string): Promise<Wire.Alarm> {
    return this.#api.request('POST', this.#path(alarmId, ':comment'), { body: { comment } })
  }

  /** Nobody is told of this episode for a while (`{ for: '2h' }`) or until then; `{ until: null }` ends it. */
  snooze(alarmId: string, time: { readonly for: string } | { readonly until: string | Date | null }, comment = ''): Promise<Wire.Alarm> {
    return this.#api.request('POST', this.#path(alarmId, ':snooze'), { body: { ...time, comment } })
  }

  /** What has happened to one alarm, newest first. */
  history(alarmId: string, query: Wire.PageQuery = {}): Promise<Wire.Page<'records', Wire.AlarmRecord>> {
    return this.#api.request('GET', this.#path(alarmId, '/history'), { query })
  }

  historyPages(alarmId: string, query: Wire.PageQuery = {}): AsyncGenerator<readonly Wire.AlarmRecord[], undefined> {
    return pagesOf(this.#api, this.#path(alarmId, '/history'), 'records', query)
  }

  /** What has happened to all alarms of the project, oldest first: a chain, in which a record that was edited or removed shows. */
  records(query: Wire.PageQuery & { readonly fromSeq?: number } = {}): Promise<Wire.AlarmHistoryPage> {
    return this.#api.request('GET', this.#api.path('alarmhistory'), { query })
  }

  /** For each change, newest first: the event, when it was accepted, stored and judged, each attempt to tell a channel, who acknowledged. */
  receipts(alarmId: string, query: Wire.PageQuery = {}): Promise<Wire.Page<'receipts', Wire.AlarmReceipt>> {
    return this.#api.request('GET', this.#path(alarmId, '/receipts'), { query })
  }

  receiptPages(alarmId: string, query: Wire.PageQuery = {}): AsyncGenerator<readonly Wire.AlarmReceipt[], undefined> {
    return pagesOf(this.#api, this.#path(alarmId, '/receipts'), 'receipts', query)
  }

  /** Changes of alarms as they happen; all that is said of `Telltale.stream` holds. */
  stream(options: StreamOptions & { readonly gaps: 'yield' }): EventStream<Wire.Alarm | GapEvent>
  stream(options?: StreamOptions & Gaps): EventStream<Wire.Alarm>
  stream(options: StreamOptions & Gaps = {}): EventStream<Wire.Alarm> {
    return new EventStream(this.#api, this.#api.path('alarms:stream'), options, this.#closed)
  }

  #path(alarmId: string, below = ''): string {
    return this.#api.path(`alarms/${id(alarmId)}${below}`)
  }
}

/** While one matches an alarm nobody is told of it; the alarm itself goes on. */
export class Silences {
  readonly #api: Api
  constructor(api: Api) {
    this.#api = api
  }

  /** The one that begins last comes first; those that are over are kept for 30 days. */
  list(query: Wire.PageQuery & { readonly state?: readonly Wire.Silence['state'][] } = {}): Promise<Wire.Page<'silences', Wire.Silence>> {
    return this.#api.request('GET', this.#api.path('silences'), { query })
  }

  pages(
    query: Wire.PageQuery & { readonly state?: readonly Wire.Silence['state'][] } = {},
  ): AsyncGenerator<readonly Wire.Silence[], undefined> {
    return pagesOf(this.#api, this.#api.path('silences'), 'silences', query)
  }

  get(silence: string): Promise<Wire.Silence> {
    return this.#api.request('GET', this.#path(silence))
  }

  create(body: Wire.NewSilence): Promise<Wire.Silence> {
    return this.#api.request('POST', this.#api.path('silences'), { body })
  }

  put(silence: string, body: Wire.NewSilence): Promise<Wire.Silence> {
    return this.#api.request('PUT', this.#path(silence), { body })
  }

  /** Ends it now, and whoever it kept from being told is told. */
  end(silence: string): Promise<unknown> {
    return this.#api.request('DELETE', this.#path(silence))
  }

  /** Alarms that are not cleared and would be matched now; nothing is made. */
  preview(matchers: readonly Wire.SilenceMatcher[]): Promise<{ readonly matching: number; readonly alarms: readonly Wire.Alarm[] }> {
    return this.#api.request('POST', this.#api.path('silences:preview'), { body: { matchers } })
  }

  #path(silence: string): string {
    return this.#api.path(`silences/${id(silence)}`)
  }
}
