// A silence: of which alarms nobody is told for a time, who wants that, and why.
import type { Alarm } from './alarm.ts'
import { readObject } from './condition/input.ts'
import { invalid } from './failure.ts'
import { SEVERITIES } from './severity.ts'
import { checkTime, formatTime } from './time.ts'

/** `field`: `rule`, `device`, `severity` or `labels.KEY`. One of the values must be it; a label that is not there is the empty value. */
export type Matcher = { readonly field: string; readonly values: readonly string[] }

export type Silence = {
  readonly id: string
  /** All must hold. */
  readonly matchers: readonly Matcher[]
  readonly author: string
  readonly reason: string
  /** From the start on, and before the end. */
  readonly startUs: number
  readonly endUs: number
}

export type SilenceState = 'pending' | 'active' | 'expired'

const FIELDS = ['rule', 'device', 'severity'] as const
const LABEL = 'labels.'
const MAX_MATCHERS = 20
const MAX_VALUES = 100
const MAX_CHARS = 2000
const YEAR_US = 366 * 86_400_000_000

/** @param nowUs when the document leaves out its start. */
export function parseSilence(input: unknown, id: string, author: string, nowUs: number): Silence {
  const { matchers, reason, startTime, endTime } = readObject(input, '', ['matchers', 'reason', 'startTime', 'endTime'], 'silence')
  if (!Array.isArray(matchers) || matchers.length === 0 || matchers.length > MAX_MATCHERS)
    throw invalid('matchers', `expected a list of 1 to ${MAX_MATCHERS} of { field, equals } or { field, in }`)
  if (reason !== undefined && (typeof reason !== 'string' || reason.length > MAX_CHARS))
    throw invalid('reason', `expected a text of at most ${MAX_CHARS} characters`)
  const startUs = startTime === undefined ? nowUs : checkTime(startTime, 'startTime')
  const endUs = checkTime(endTime, 'endTime')
  if (endUs <= startUs) throw invalid('endTime', `expected a time after the start, ${formatTime(startUs)}`)
  if (endUs - startUs > YEAR_US) throw invalid('endTime', 'expected at most a year after the start: a rule can be disabled')
  return { id, matchers: matchers.map(parseMatcher), author, reason: reason ?? '', startUs, endUs }
}

function parseMatcher(input: unknown, index: number): Matcher {
  const path = `matchers[${index}]`
  const { field, equals, in: list } = readObject(input, path, ['field', 'equals', 'in'])
  if (typeof field !== 'string' || !(FIELDS.some(one => one === field) || (field.startsWith(LABEL) && field.length > LABEL.length)))
    throw invalid(`${path}.field`, `expected one of ${FIELDS.join(', ')}, ${LABEL}KEY`)
  if ((equals === undefined) === (list === undefined)) throw invalid(path, 'expected either equals or in')
  const values = equals === undefined ? list : [equals]
  const at = equals === undefined ? `${path}.in` : `${path}.equals`
  if (!Array.isArray(values) || values.length === 0 || values.length > MAX_VALUES)
    throw invalid(at, `expected a list of 1 to ${MAX_VALUES} texts`)
  return { field, values: values.map((value: unknown) => checkValue(field, value, at)) }
}

function checkValue(field: string, value: unknown, path: string): string {
  if (typeof value !== 'string' || value.length > MAX_CHARS) throw invalid(path, `expected a text of at most ${MAX_CHARS} characters`)
  if (field === 'severity' && !SEVERITIES.some(one => one === value)) throw invalid(path, `expected one of ${SEVERITIES.join(', ')}`)
  return value
}

export function silenceToJson(silence: Silence, nowUs: number) {
  const { id, matchers, author, reason, startUs, endUs } = silence
  return {
    id,
    matchers: matchers.map(({ field, values }) => (values.length === 1 ? { field, equals: values[0] as string } : { field, in: values })),
    author,
    reason,
    startTime: formatTime(startUs),
    endTime: formatTime(endUs),
    state: silenceStateAt(silence, nowUs),
  }
}

export function silenceStateAt({ startUs, endUs }: Silence, nowUs: number): SilenceState {
  return nowUs < startUs ? 'pending' : nowUs < endUs ? 'active' : 'expired'
}

/** Whenever it is. */
export function isSilencedBy(silence: Silence, alarm: Pick<Alarm, 'rule' | 'device' | 'severity' | 'labels'>): boolean {
  return silence.matchers.every(({ field, values }) => values.includes(fieldOf(field, alarm)))
}

function fieldOf(field: string, alarm: Pick<Alarm, 'rule' | 'device' | 'severity' | 'labels'>): string {
  if (field === 'rule' || field === 'device' || field === 'severity') return alarm[field]
  const key = field.slice(LABEL.length)
  return Object.hasOwn(alarm.labels, key) ? (alarm.labels[key] as string) : ''
}
