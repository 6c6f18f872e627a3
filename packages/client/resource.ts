// The documents of the management API, as they stand on the wire. Names are resource names: `projects/{project}/devices/{device}`.

export type Page<Name extends string, T> = { readonly [K in Name]: readonly T[] } & {
  /** For the next page; '' on the last. */
  readonly nextPageToken: string
}
export type PageQuery = { readonly pageSize?: number; readonly pageToken?: string }

export type Labels = { readonly [key: string]: string }

export type Device = {
  readonly name: string
  readonly type: string
  /** Absent for emulated devices. */
  readonly productNumber?: string
  readonly labels: Labels
  /** The newest event of each type; null where there was none. */
  readonly reported?: { readonly [eventType: string]: unknown }
}
export type DeviceQuery = PageQuery & {
  /** Words in type, labels or id. */
  readonly query?: string
  readonly deviceIds?: readonly string[]
  readonly deviceTypes?: readonly string[]
  readonly labelFilters?: readonly string[]
  readonly productNumbers?: readonly string[]
  /** A dotted path such as `reported.temperature.value` or `labels.name`; `-` before it for the other way round. */
  readonly orderBy?: string
}
export type NewDevice = { readonly type: string; readonly labels?: Labels; readonly productNumber?: string }
export type LabelChange = { readonly addLabels?: Labels; readonly removeLabels?: readonly string[] }
export type BatchError = {
  readonly device: string
  readonly status: { readonly code: 'INVALID_ARGUMENT' | 'NOT_FOUND' | 'INTERNAL_ERROR'; readonly message: string }
}
export type Transfer = { readonly transferredDevices: readonly string[]; readonly transferErrors: readonly BatchError[] }

/** Times are RFC 3339; the last 24 hours unless said. */
export type TimeRange = { readonly startTime?: string | Date; readonly endTime?: string | Date }
export type HistoryQuery = PageQuery & TimeRange & { readonly eventTypes?: readonly string[] }
/** `field`: dotted path below the event type; `value` unless said. */
export type ReadingQuery = PageQuery & TimeRange & { readonly eventType: string; readonly field?: string }
export type Reading = { readonly timestamp: string; readonly value: number; readonly eventId: string }
/** `window`: a duration such as `5m`. */
export type WindowQuery = ReadingQuery & { readonly window: string }
export type Window = {
  readonly startTime: string
  readonly count: number
  readonly mean: number
  readonly min: number
  readonly max: number
}

export type Severity = 'info' | 'warning' | 'critical'

export type NewRule = {
  readonly enabled?: boolean
  readonly select?: { readonly deviceTypes?: readonly string[]; readonly labels?: readonly string[]; readonly devices?: readonly string[] }
  /** One condition: `{ threshold: { field: 'temperature.value', above: 30 } }`, `{ absent: { for: '10m' } }`. */
  readonly when: { readonly [condition: string]: object }
  /** How long the condition must hold: `5m`. */
  readonly for?: string
  readonly keepActive?: string
  readonly severity?: Severity
  readonly message?: string
  /** Names of channels. */
  readonly notify?: readonly string[]
}
export type Rule = NewRule & { readonly name: string; readonly resource: string; readonly version: number }

export type AlarmState = 'pending' | 'active' | 'cleared'
export type Alarm = {
  readonly alarmId: string
  readonly rule: string
  /** Device id. */
  readonly device: string
  readonly labels: Labels
  readonly state: AlarmState
  readonly severity: Severity
  readonly since: string
  readonly activeSince?: string | null
  readonly clearedAt?: string | null
  readonly value?: unknown
  readonly limit?: unknown
  readonly unit?: string | null
  readonly message: string
  /** Grows each time the alarm begins anew. */
  readonly episode: number
  /** Grows with each change. */
  readonly version: number
  readonly acknowledgement: { readonly by: string; readonly time: string; readonly comment: string } | null
}
export type AlarmQuery = PageQuery & { readonly state?: readonly AlarmState[] }

export type NewChannel = { readonly type: 'webhook'; readonly url: string; readonly headers?: Labels; readonly secret?: string }
export type Channel = {
  readonly name: string
  readonly resource: string
  readonly type: 'webhook'
  readonly url: string
  /** Names only. */
  readonly headers: readonly string[]
}

type ConnectorSettings = {
  readonly displayName?: string
  /** Event types; empty: all. */
  readonly events?: readonly string[]
  /** Keys of labels that go along. */
  readonly labels?: readonly string[]
}
type ConnectorTarget =
  | {
      readonly type: 'HTTP_PUSH'
      readonly httpConfig: { readonly url: string; readonly signatureSecret?: string; readonly headers?: Labels }
    }
  /** Copies into a durable stream of the project. */
  | { readonly type: 'STREAM'; readonly streamConfig: { readonly stream: string } }
export type NewConnector = ConnectorSettings & ConnectorTarget & { readonly status?: 'ACTIVE' | 'USER_DISABLED' }
export type Connector = ConnectorSettings &
  ConnectorTarget & { readonly name: string; readonly status: 'ACTIVE' | 'USER_DISABLED' | 'SYSTEM_DISABLED' }
export type ConnectorMetrics = {
  readonly metrics: { readonly successCount: number; readonly errorCount: number; readonly latency99p: string }
}

export type NewServiceAccount = { readonly displayName: string; readonly enableBasicAuth?: boolean }
export type ServiceAccount = NewServiceAccount & {
  readonly name: string
  readonly email: string
  readonly createTime: string
  readonly updateTime: string
}
export type ServiceAccountKey = { readonly name: string; readonly id: string; readonly createTime: string }
