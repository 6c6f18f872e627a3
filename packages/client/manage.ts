// The management calls: one short method per route, grouped as the addresses are. What they refuse is a TelltaleError.
import type { Api, Query, RequestOptions } from './api.ts'
import type { TelltaleEvent } from './event.ts'
import { backtestLines } from './past.ts'
import type * as Wire from './resource.ts'

const id = encodeURIComponent

/** All pages of a list, one after the other. */
export async function* pagesOf<T>(api: Api, path: string, name: string, query: Query): AsyncGenerator<readonly T[], undefined> {
  for (let pageToken = query['pageToken']; ; ) {
    const page = await api.request<Readonly<Record<string, readonly T[]>> & { readonly nextPageToken: string }>('GET', path, {
      query: { ...query, pageToken },
    })
    yield page[name] ?? []
    pageToken = page.nextPageToken
    if (pageToken === '') return
  }
}

export class Devices {
  readonly #api: Api
  constructor(api: Api) {
    this.#api = api
  }

  /** One page; `pages` has them all. */
  list(query: Wire.DeviceQuery = {}): Promise<Wire.Page<'devices', Wire.Device>> {
    return this.#api.request('GET', this.#api.path('devices'), { query })
  }

  pages(query: Wire.DeviceQuery = {}): AsyncGenerator<readonly Wire.Device[], undefined> {
    return pagesOf(this.#api, this.#api.path('devices'), 'devices', query)
  }

  get(device: string, options: Pick<RequestOptions, 'signal' | 'attempts'> = {}): Promise<Wire.Device> {
    return this.#api.request('GET', this.#api.path(`devices/${id(device)}`), options)
  }

  /** Makes the device, or replaces its type and labels. */
  put(device: string, body: Wire.NewDevice): Promise<Wire.Device> {
    return this.#api.request('PUT', this.#api.path(`devices/${id(device)}`), { body })
  }

  /** Changes labels of many devices. What went wrong with single ones is in the answer. */
  async relabel(devices: readonly string[], change: Wire.LabelChange): Promise<readonly Wire.BatchError[]> {
    const body = { devices: devices.map(device => this.#name(device)), ...change }
    const answer = await this.#api.request<{ batchErrors: Wire.BatchError[] }>('POST', this.#api.path('devices:batchUpdate'), { body })
    return answer.batchErrors
  }

  /** Adds a label; `conflict` when the device has one of this key. */
  addLabel(device: string, key: string, value: string): Promise<unknown> {
    return this.#api.request('POST', this.#api.path(`devices/${id(device)}/labels`), { body: { key, value } })
  }

  changeLabel(device: string, key: string, value: string): Promise<unknown> {
    return this.#api.request('PATCH', this.#api.path(`devices/${id(device)}/labels/${id(key)}`), { body: { value } })
  }

  removeLabel(device: string, key: string): Promise<unknown> {
    return this.#api.request('DELETE', this.#api.path(`devices/${id(device)}/labels/${id(key)}`))
  }

  /** Its history stays; a sensor that goes on sending comes back as a new device. For admins of the project. */
  remove(device: string): Promise<unknown> {
    return this.#api.request('DELETE', this.#api.path(`devices/${id(device)}`))
  }

  /** Moves devices of this project to another. */
  transfer(devices: readonly string[], toProject: string): Promise<Wire.Transfer> {
    const body = { devices: devices.map(device => this.#name(device)) }
    return this.#api.request('POST', `/v2/projects/${id(toProject)}/devices:transfer`, { body })
  }

  #name(device: string): string {
    return `projects/${this.#api.project}/devices/${device}`
  }
}

/** What was kept of a device. */
export class History {
  readonly #api: Api
  constructor(api: Api) {
    this.#api = api
  }

  /** Whole events, newest first. */
  events(device: string, query: Wire.HistoryQuery = {}): Promise<Wire.Page<'events', TelltaleEvent>> {
    return this.#api.request('GET', this.#path(device, 'events'), { query })
  }

  eventPages(device: string, query: Wire.HistoryQuery = {}): AsyncGenerator<readonly TelltaleEvent[], undefined> {
    return pagesOf(this.#api, this.#path(device, 'events'), 'events', query)
  }

  /** Single values, oldest first. */
  readings(device: string, query: Wire.ReadingQuery): Promise<Wire.Page<'readings', Wire.Reading>> {
    return this.#api.request('GET', this.#path(device, 'readings'), { query })
  }

  readingPages(device: string, query: Wire.ReadingQuery): AsyncGenerator<readonly Wire.Reading[], undefined> {
    return pagesOf(this.#api, this.#path(device, 'readings'), 'readings', query)
  }

  /** Mean, least, greatest and number of the values in each window of time. */
  windowPages(device: string, query: Wire.WindowQuery): AsyncGenerator<readonly Wire.Window[], undefined> {
    return pagesOf(this.#api, this.#path(device, 'readings'), 'readings', query)
  }

  #path(device: string, what: 'events' | 'readings'): string {
    return this.#api.path(`devices/${id(device)}/${what}`)
  }
}

export class Rules {
  readonly #api: Api
  constructor(api: Api) {
    this.#api = api
  }

  async list(): Promise<readonly Wire.Rule[]> {
    const all: Wire.Rule[] = []
    for await (const page of pagesOf<Wire.Rule>(this.#api, this.#api.path('rules'), 'rules', {})) all.push(...page)
    return all
  }

  get(rule: string): Promise<Wire.Rule> {
    return this.#api.request('GET', this.#api.path(`rules/${id(rule)}`))
  }

  /** A rule over stored history: progress while it runs, then the result. `rule` need not be saved; leaving the loop ends it. */
  backtest(body: Wire.BacktestQuery & { readonly rule: Wire.NewRule }, options?: Pick<RequestOptions, 'signal'>): Wire.BacktestRun
  backtest(rule: string, body?: Wire.BacktestQuery, options?: Pick<RequestOptions, 'signal'>): Wire.BacktestRun
  backtest(first: string | Wire.BacktestQuery, second: object = {}, third: Pick<RequestOptions, 'signal'> = {}): Wire.BacktestRun {
    const isSaved = typeof first === 'string'
    const { signal = new AbortController().signal } = isSaved ? third : (second as Pick<RequestOptions, 'signal'>)
    const path = this.#api.path(isSaved ? `rules/${id(first)}:backtest` : 'rules:backtest')
    return backtestLines(this.#api, path, isSaved ? (second as Wire.BacktestQuery) : first, signal)
  }

  /** Why it did or did not fire on a device, now or at a time. */
  explain(rule: string, device: string, time?: Date | string): Promise<Wire.Explanation> {
    return this.#api.request('GET', this.#api.path(`rules/${id(rule)}:explain`), { query: { device, time } })
  }

  /** Dead-bands and hold times that would have cut the flapping. */
  suggest(rule: string, body: Wire.SpanQuery = {}): Promise<Wire.Suggestions> {
    return this.#api.request('POST', this.#api.path(`rules/${id(rule)}:suggest`), { body })
  }

  /** Runs a new version beside the rule; it raises no alarm. */
  putShadow(rule: string, body: Wire.NewRule): Promise<Wire.ShadowReport> {
    return this.#api.request('PUT', this.#api.path(`rules/${id(rule)}:shadow`), { body })
  }

  /** Where the rule and its shadow have disagreed. */
  shadow(rule: string): Promise<Wire.ShadowReport> {
    return this.#api.request('GET', this.#api.path(`rules/${id(rule)}:shadow`))
  }

  removeShadow(rule: string): Promise<unknown> {
    return this.#api.request('DELETE', this.#api.path(`rules/${id(rule)}:shadow`))
  }

  /** `conflict` when there is a rule of this name; `put` replaces it. */
  create(rule: string, body: Wire.NewRule): Promise<Wire.Rule> {
    return this.#api.request('POST', this.#api.path('rules'), { body: { ...body, name: rule } })
  }

  /** `ifVersion`: the version that you have seen, 0 for none; `conflict` when it is another by now. */
  put(rule: string, body: Wire.NewRule, options: { readonly ifVersion?: number } = {}): Promise<Wire.Rule> {
    return this.#api.request('PUT', this.#api.path(`rules/${id(rule)}`), { body, query: options })
  }

  /** Its alarms clear; `notify`: channels are told. */
  remove(rule: string, options: { readonly notify?: boolean } = {}): Promise<unknown> {
    return this.#api.request('DELETE', this.#api.path(`rules/${id(rule)}`), { query: options })
  }

  /** Newest first, with who saved them and when; also of a rule that is gone. */
  versionPages(rule: string, query: Wire.PageQuery = {}): AsyncGenerator<readonly Wire.RuleVersion[], undefined> {
    return pagesOf(this.#api, this.#api.path(`rules/${id(rule)}/versions`), 'versions', query)
  }

  /** What is wrong with a rule; nothing is saved. */
  validate(rule: unknown): Promise<Wire.RuleValidation> {
    return this.#api.request('POST', this.#api.path('rules:validate'), { body: rule })
  }

  /** Puts a set of rules in place, all or none. */
  apply(set: Wire.RuleSet): Promise<Wire.RuleSetAnswer> {
    return this.#api.request('POST', this.#api.path('rules:apply'), { body: set })
  }
}

/** Where notifications of alarms go. */
export class Channels {
  readonly #api: Api
  constructor(api: Api) {
    this.#api = api
  }

  async list(): Promise<readonly Wire.Channel[]> {
    return (await this.#api.request<Wire.Page<'channels', Wire.Channel>>('GET', this.#api.path('channels'))).channels
  }

  /** The answer has the secret that signs; it is not shown again. */
  put(channel: string, body: Wire.NewChannel): Promise<Wire.Channel & { readonly secret: string }> {
    return this.#api.request('PUT', this.#api.path(`channels/${id(channel)}`), { body })
  }

  remove(channel: string): Promise<unknown> {
    return this.#api.request('DELETE', this.#api.path(`channels/${id(channel)}`))
  }
}

/** Data connectors: every event of the project pushed to an address of yours. */
export class Connectors {
  readonly #api: Api
  constructor(api: Api) {
    this.#api = api
  }

  list(query: Wire.PageQuery = {}): Promise<Wire.Page<'dataConnectors', Wire.Connector>> {
    return this.#api.request('GET', this.#api.path('dataconnectors'), { query })
  }

  get(connector: string): Promise<Wire.Connector> {
    return this.#api.request('GET', this.#path(connector))
  }

  create(body: Wire.NewConnector): Promise<Wire.Connector> {
    return this.#api.request('POST', this.#api.path('dataconnectors'), { body })
  }

  update(connector: string, body: Partial<Wire.NewConnector>): Promise<Wire.Connector> {
    return this.#api.request('PATCH', this.#path(connector), { body })
  }

  remove(connector: string): Promise<unknown> {
    return this.#api.request('DELETE', this.#path(connector))
  }

  /** Of the last three hours. */
  async metrics(connector: string): Promise<Wire.ConnectorMetrics['metrics']> {
    return (await this.#api.request<Wire.ConnectorMetrics>('GET', this.#path(connector, ':metrics'))).metrics
  }

  /** Pushes the newest event of each type of every device. */
  sync(connector: string): Promise<unknown> {
    return this.#api.request('POST', this.#path(connector, ':sync'))
  }

  /** Pushes what was kept of a time again, in the background. */
  replay(connector: string, range: Wire.TimeRange): Promise<unknown> {
    return this.#api.request('POST', this.#path(connector, ':replay'), { body: range })
  }

  #path(connector: string, verb = ''): string {
    return this.#api.path(`dataconnectors/${id(connector)}${verb}`)
  }
}

export class ServiceAccounts {
  readonly #api: Api
  constructor(api: Api) {
    this.#api = api
  }

  list(query: Wire.PageQuery = {}): Promise<Wire.Page<'serviceAccounts', Wire.ServiceAccount>> {
    return this.#api.request('GET', this.#path(), { query })
  }

  get(account: string): Promise<Wire.ServiceAccount> {
    return this.#api.request('GET', this.#path(account))
  }

  create(body: Wire.NewServiceAccount): Promise<Wire.ServiceAccount> {
    return this.#api.request('POST', this.#path(), { body })
  }

  update(account: string, body: Partial<Wire.NewServiceAccount>): Promise<Wire.ServiceAccount> {
    return this.#api.request('PATCH', this.#path(account), { body })
  }

  remove(account: string): Promise<unknown> {
    return this.#api.request('DELETE', this.#path(account))
  }

  async keys(account: string): Promise<readonly Wire.ServiceAccountKey[]> {
    return (await this.#api.request<Wire.Page<'keys', Wire.ServiceAccountKey>>('GET', `${this.#path(account)}/keys`)).keys
  }

  /** The secret is in this answer and never shown again. */
  createKey(account: string): Promise<{ readonly key: Wire.ServiceAccountKey; readonly secret: string }> {
    return this.#api.request('POST', `${this.#path(account)}/keys`)
  }

  removeKey(account: string, key: string): Promise<unknown> {
    return this.#api.request('DELETE', `${this.#path(account)}/keys/${id(key)}`)
  }

  #path(account?: string): string {
    return this.#api.path(account === undefined ? 'serviceaccounts' : `serviceaccounts/${id(account)}`)
  }
}
