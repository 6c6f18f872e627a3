// The documents of working with rules on what has been, as they stand on the wire.
import type { Alarm, NewRule, Severity } from './resource.ts'

export type SpanQuery = { readonly startTime?: string; readonly endTime?: string; readonly devices?: readonly string[] }
/** `against`: an older version, or another rule; `versions`: two of a saved rule, the older first. */
export type BacktestQuery = SpanQuery & {
  readonly rule?: NewRule
  readonly against?: number | NewRule
  readonly versions?: readonly [number, number]
}
/** One time that an alarm was active; `clearedAt` is null when it still was at the end. */
export type Episode = {
  readonly device: string
  readonly severity: Severity
  readonly since: string
  readonly activeSince: string
  readonly clearedAt: string | null
  readonly value: number | string | null
  readonly limit: number | null
  readonly reason: string
}
export type Findings = {
  readonly rule: string
  readonly version: number
  readonly startTime: string
  readonly endTime: string
  readonly events: number
  readonly devices: number
  readonly alarms: {
    readonly count: number
    readonly activeAtEnd: number
    /** Held, but not as long as `for`. */
    readonly dropped: number
    readonly list: readonly Episode[]
    readonly truncated: boolean
  }
  readonly minutesInAlarm: number
  readonly notifications: number
  readonly days: readonly {
    readonly day: string
    readonly alarms: number
    readonly minutesInAlarm: number
    readonly notifications: number
  }[]
  readonly worstDevices: readonly { readonly device: string; readonly alarms: number; readonly minutesInAlarm: number }[]
}
export type Disagreement = {
  readonly kind: 'missing' | 'extra' | 'shifted'
  readonly device: string
  readonly old: readonly Episode[]
  readonly new: readonly Episode[]
}
export type Difference = {
  readonly agreements: number
  readonly missing: number
  readonly extra: number
  readonly shifted: number
  readonly truncated: boolean
  readonly disagreements: readonly Disagreement[]
}
export type BacktestResult = Findings & {
  /** Of the older version, when two were run. */
  readonly against?: Findings
  readonly difference?: Difference
  /** When one device was asked for. */
  readonly series?: {
    readonly eventType: string
    readonly field: string
    readonly unit: string | null
    readonly levels: readonly number[]
    readonly points: readonly { readonly time: string; readonly mean: number; readonly min: number; readonly max: number }[]
  }
  readonly elapsedMs: number
  readonly eventsPerSecond: number
}
export type BacktestLine = {
  readonly progress?: { readonly events: number; readonly total: number; readonly share: number; readonly eventsPerSecond: number }
  readonly result?: BacktestResult
}
export type BacktestRun = AsyncGenerator<BacktestLine, undefined>
export type Explanation = {
  readonly time: string
  readonly rule: string
  readonly version: number
  readonly device: string
  readonly enabled: boolean
  readonly selected: boolean
  /** Whether the schedule of the rule is open then. */
  readonly open: boolean
  readonly alarmOf: string
  readonly phase: 'clear' | 'pending' | 'active'
  /** The same as the judge has it now. */
  readonly judged: string | null
  readonly values: readonly {
    readonly time: string
    readonly eventType: string
    readonly eventId: string
    readonly value: number | string | null
    readonly limit: number | null
    readonly holds: boolean | null
    readonly reason: string
  }[]
  readonly timers: readonly { readonly kind: string; readonly end: string; readonly left: string }[]
  readonly changes: readonly { readonly kind: string; readonly time: string; readonly reason: string }[]
  readonly nearest: string
  readonly alarm: Alarm | null
  /** All of it in sentences. */
  readonly words: readonly string[]
}
export type SuggestionFigures = {
  readonly alarms: number
  readonly alarmsPerWeek: number
  readonly flaps: number
  readonly minutesInAlarm: number
  readonly extraMinutes: number
  readonly addedDelay: { readonly median: string; readonly max: string }
  readonly missed: number
  readonly longestMissedMinutes: number
}
export type Suggestions = {
  readonly startTime: string
  readonly endTime: string
  readonly devices: readonly string[]
  readonly events: number
  readonly noise: number | null
  readonly present: SuggestionFigures
  readonly suggestions: readonly { readonly words: string; readonly figures: SuggestionFigures; readonly rule: NewRule }[]
}
export type ShadowReport = Difference & {
  readonly rule: NewRule
  readonly by: string
  readonly startTime: string
  readonly old: { readonly alarms: number; readonly active: number }
  readonly new: { readonly alarms: number; readonly active: number }
}
