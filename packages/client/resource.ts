// The documents of the management API, as they stand on the wire. Names are resource names: `projects/{project}/devices/{device}`.

export type * from './pastresource.ts'
export type * from './streamresource.ts'

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
  /** Whether all of them must hold or any is enough; unless given as the server is set. */
  readonly labelMatch?: 'all' | 'any'
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

export type Rung = { readonly at: number; readonly severity: Severity }
export type Inhibitor = { readonly rule: string; readonly equal: readonly string[] }
export type NewRule = {
  /** What people call it. */
  readonly title?: string
  readonly enabled?: boolean
  readonly select?: { readonly deviceTypes?: readonly string[]; readonly labels?: readonly string[]; readonly devices?: readonly string[] }
  /** One condition: `{ threshold: { field: 'temperature.value', above: 30 } }`, `{ absent: { for: '10m' } }`. */
  readonly when: { readonly [condition: string]: unknown }
  /** How long the condition must hold: `5m`. */
  readonly for?: string
  readonly keepActive?: string
  /** One, or a ladder of them over the values. */
  readonly severity?: Severity | readonly Rung[]
  /** When it counts; without it always. */
  readonly schedule?: { readonly [setting: string]: unknown }
  readonly message?: string
  /** Names of channels. */
  readonly notify?: readonly string[]
  /** Keys of labels: devices with the same values share one alarm. */
  readonly groupBy?: readonly string[]
  readonly inhibitedBy?: readonly (string | Inhibitor)[]
  readonly unacknowledgeAfter?: string
  readonly late?: 'ignore' | 'amend'
}
export type NamedRule = NewRule & { readonly name: string }
export type Rule = NamedRule & { readonly resource: string; readonly version: number }
/** `rule: null`: it was removed. */
export type RuleVersion = {
  readonly version: number
  readonly by: string
  readonly time: string | null
  readonly rule: (NamedRule & { readonly version: number }) | null
}
export type RuleProblem = { readonly field: string; readonly message: string; readonly line?: number; readonly column?: number }
export type RuleValidation = {
  readonly valid: boolean
  readonly errors: readonly RuleProblem[]
  readonly rule?: NamedRule
  readonly yaml?: string
}
/** `null` where there was, or will be, nothing. */
export type RuleDifference = { readonly path: string; readonly from: unknown; readonly to: unknown }
export type RuleChange = {
  readonly rule: string
  readonly action: 'create' | 'update' | 'delete' | 'same'
  readonly differences: readonly RuleDifference[]
}
export type RuleSet = {
  readonly rules: readonly NamedRule[]
  /** Rules that are not among these go. */
  readonly remove?: boolean
  /** Only say what would change. */
  readonly dryRun?: boolean
  /** `revision` of a dry run; `conflict` when rules were changed since. */
  readonly ifRevision?: string
}
export type RuleSetAnswer = { readonly changes: readonly RuleChange[]; readonly revision: string }

export type AlarmState = 'pending' | 'active' | 'cleared'
type Said = { readonly by: string; readonly time: string }
/** Acknowledgement, assignee and snooze are of this episode, and null in the next. */
export type Alarm = {
  /** `projects/{project}/alarms/{alarmId}`. */
  readonly name: string
  readonly alarmId: string
  readonly rule: string
  readonly ruleVersion: number
  /** Device id; of a rule with `groupBy` the values of its labels: `site=oslo,zone=cold`. */
  readonly device: string
  readonly deviceType: string
  readonly labels: Labels
  /** Of a rule with `groupBy`. */
  readonly group: Labels | null
  /** How many are in alarm. */
  readonly devices: number
  readonly state: AlarmState
  readonly severity: Severity
  readonly since: string
  readonly activeSince: string | null
  readonly clearedAt: string | null
  /** Event time of the last change, and when the server found it. */
  readonly updateTime: string
  readonly serverTime: string
  readonly value: number | string | null
  readonly limit: number | null
  readonly unit: string | null
  readonly reason: string
  readonly message: string
  /** Found long after the fact. */
  readonly late: boolean
  /** Grows each time the alarm begins anew. */
  readonly episode: number
  /** Grows with each change. */
  readonly version: number
  /** `lapses`: when it counts no longer; null: until the alarm clears. */
  readonly acknowledgement: (Said & { readonly comment: string; readonly lapses: string | null }) | null
  readonly assignee: (Said & { readonly to: string }) | null
  readonly snooze: (Said & { readonly until: string }) | null
  /** Why nobody is told; null: people are. `name`: of the silence or of the alarm that inhibits. */
  readonly suppressedBy: {
    readonly kind: 'silence' | 'snooze' | 'inhibition'
    readonly name: string
    readonly until: string | null
  } | null
}
export type AlarmQuery = PageQuery & {
  readonly state?: readonly AlarmState[]
  /** Names of rules. */
  readonly rule?: readonly string[]
  readonly device?: readonly string[]
  readonly severity?: readonly Severity[]
  readonly acknowledged?: boolean
  /** '': of nobody. */
  readonly assignee?: readonly string[]
  readonly suppressed?: boolean
  /** Changed then or later. */
  readonly startTime?: string | Date
}

/** What has happened to an alarm, one link of the project's chain. Which other fields it has depends on its kind. */
export type AlarmRecord = {
  /** Of the project, from 1, without gaps. */
  readonly seq: number
  /** Of the server. */
  readonly time: string
  /** `active`, `escalated`, `cleared` …, `acknowledged`, `commented`, `snoozed` … */
  readonly kind: string
  readonly alarmId: string
  readonly rule: string
  readonly ruleVersion: number
  readonly device: string
  readonly episode: number
  /** SHA-256, hex, of the hash before it, a line break, and the JSON of this record without `hash`: keys in order, no spaces. */
  readonly hash: string
  readonly [field: string]: unknown
}
/** A record's place in the chain. */
export type ChainPlace = { readonly seq: number; readonly hash: string }
export type AlarmHistoryPage = Page<'records', AlarmRecord> & {
  /** What is before the first record of this page; with 0 and 64 zeros nothing ever was. */
  readonly base: ChainPlace
  /** Where the chain ended when this was asked. */
  readonly head: ChainPlace
}

/** How a change of an alarm came about and reached people: what is not known is null. */
export type AlarmReceipt = {
  readonly seq: number
  readonly kind: string
  readonly episode: number
  /** Of the event that caused it; null: silence did, or a person. */
  readonly event: {
    readonly eventId: string
    /** The event's own time. */
    readonly timestamp: string | null
    /** On the server's disk. */
    readonly acceptedTime: string | null
    /** False: not yet, or not kept any more. */
    readonly stored: boolean
  } | null
  readonly judgedTime: string
  readonly deliveries: readonly AlarmDelivery[]
  /** First acknowledgement of the episode that came after this. */
  readonly acknowledged: { readonly by: string; readonly time: string; readonly comment: string } | null
}
export type AlarmDelivery = {
  /** What the receiver knows it by. */
  readonly id: string
  readonly channel: string
  readonly state: 'open' | 'delivered' | 'dead'
  readonly createTime: string
  readonly attempts: readonly {
    readonly time: string
    readonly outcome: 'delivered' | 'retry' | 'refused'
    readonly status: number | null
    readonly durationMs: number
    readonly providerId: string | null
    readonly detail: string
  }[]
}

export type SilenceField = 'rule' | 'device' | 'severity' | `labels.${string}`
export type SilenceMatcher = { readonly field: SilenceField } & ({ readonly equals: string } | { readonly in: readonly string[] })
export type NewSilence = {
  /** All of them must match. */
  readonly matchers: readonly SilenceMatcher[]
  readonly reason: string
  /** Now unless said. */
  readonly startTime?: string | Date
  readonly endTime: string | Date
}
export type Silence = {
  readonly name: string
  readonly id: string
  readonly matchers: readonly SilenceMatcher[]
  readonly author: string
  readonly reason: string
  readonly startTime: string
  readonly endTime: string
  readonly state: 'pending' | 'active' | 'expired'
}

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
