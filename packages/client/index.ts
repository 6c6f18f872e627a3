// @telltale/client: publish to, follow and manage a Telltale server, from Node and from browsers.

export type { Alarms, Silences } from './alarm.ts'
export type { Query, RequestOptions } from './api.ts'
export type { BasicLogin, GivenToken, Login, SessionLogin, TokenLogin, TokenSource } from './auth.ts'
export type { PullOptions, Streams, Subscriptions } from './durable.ts'
export { GapError, TelltaleError } from './error.ts'
export type { EventFields, EventType, GapEvent, LabelsChanged, NewEvent, TelltaleEvent } from './event.ts'
export type { Channels, Connectors, Devices, History, Rules, ServiceAccounts } from './manage.ts'
export type { Publisher, PublishSettings, PublishWatch, Settled } from './publish.ts'
export type * from './resource.ts'
export type { EventStream, Gaps, SlowPolicy, StreamFilter, StreamOptions } from './stream.ts'
export { type Receipt, Telltale, type TelltaleOptions } from './telltale.ts'
