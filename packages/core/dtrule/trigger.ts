// The trigger of a rule of DT's API to one of our conditions, and back as far as it can say them (contracts.md 1.a.12).
import type { Absent } from '../condition/absent.ts'
import type { Condition } from '../condition/condition.ts'
import { type Fields, joinPath, nearest, readChoice, readNumber, readObject } from '../condition/input.ts'
import type { State } from '../condition/state.ts'
import type { Threshold } from '../condition/threshold.ts'
import { mainField } from '../event.ts'
import { invalid } from '../failure.ts'
import { fieldUnit } from '../unit.ts'
import { given } from './input.ts'

export type Trigger = {
  readonly field: string
  readonly range?: Range
  readonly triggerCount: number
} & { readonly [attribute in Attribute]?: string }

type Range = {
  readonly lower: number | null
  readonly upper: number | null
  readonly type: 'WITHIN' | 'OUTSIDE'
  readonly filter: null
}

/** The key of a condition, and what stands below it. */
type ConditionJson = { readonly [kind: string]: unknown }

const ATTRIBUTES = ['presence', 'motion', 'occupancy', 'connection', 'contact'] as const
type Attribute = (typeof ATTRIBUTES)[number]
const KEYS = ['field', 'range', ...ATTRIBUTES, 'triggerCount']

/** The name of a state there, and what an event says of it; the first is the default. */
type States = { readonly attribute: Attribute; readonly values: readonly (readonly [name: string, value: string])[] }

const same = (attribute: Attribute, ...values: readonly string[]): States => ({
  attribute,
  values: values.map(value => [value, value]),
})
const PRESENCE: States = {
  attribute: 'presence',
  values: [
    ['PRESENT', 'PRESENT'],
    ['ABSENT', 'NOT_PRESENT'],
  ],
}
const STATES: ReadonlyMap<string, States> = new Map([
  ['objectPresent', PRESENCE],
  ['waterPresent', PRESENCE],
  ['motion', same('motion', 'MOTION_DETECTED', 'NO_MOTION_DETECTED')],
  ['deskOccupancy', same('occupancy', 'OCCUPIED', 'NOT_OCCUPIED')],
  ['contact', same('contact', 'OPEN', 'CLOSED')],
])

const NUMBERS = 'co2 pressure touchCount objectPresentCount batteryStatus networkStatus cellularStatus'.split(' ')
/** The first name of each is the one that is given back. */
const RANGES: ReadonlyMap<string, string> = new Map([
  ['temperature', 'temperature.value'],
  ['relativeHumidity', 'humidity.relativeHumidity'],
  ['humidity', 'humidity.relativeHumidity'],
  ...NUMBERS.map(name => [name, `${name}.${mainField(name)}`] as const),
])

const CONNECTION = 'connectionStatus'
const OFFLINE = ['CLOUD_CONNECTOR_OFFLINE', 'SENSOR_OFFLINE'] as const
const HEARTBEAT = 'networkStatus'
/** Four heartbeats of a sensor of the first generation, which has the fewest. */
const SILENCE_MS = 3_600_000
const FIELDS = [...RANGES.keys(), ...STATES.keys(), CONNECTION]

export function parseTrigger(input: unknown, path: string): ConditionJson {
  const fields = readObject(input, path, KEYS)
  checkCount(given(fields.triggerCount) ?? 0, joinPath(path, 'triggerCount'))
  const name = typeof fields.field === 'string' ? fields.field : ''
  const number = RANGES.get(name)
  if (number !== undefined) return parseRange(only(fields, 'range', path), joinPath(path, 'range'), number)
  const states = STATES.get(name)
  if (states !== undefined) {
    const { attribute, values } = states
    const chosen = only(fields, attribute, path) ?? values[0]?.[0]
    const names = values.map(([one]) => one)
    const state = readChoice(chosen, joinPath(path, attribute), names)
    return { state: { field: `${name}.state`, equals: values.find(([one]) => one === state)?.[1] } }
  }
  if (name === CONNECTION) return parseConnection(only(fields, 'connection', path) ?? OFFLINE[0], joinPath(path, 'connection'))
  throw unknownField(name, joinPath(path, 'field'))
}

/** Undefined when a trigger cannot say it. */
export function triggerOf(when: Condition): Trigger | undefined {
  switch (when.kind) {
    case 'threshold':
      return rangeOf(when)
    case 'not': {
      const [part] = when.parts
      return part?.kind === 'threshold' ? withinOf(part) : undefined
    }
    case 'state':
      return stateOf(when)
    case 'absent':
      return absentOf(when)
    default:
      return undefined
  }
}

/** The field that its readings come from, as conditions name it; undefined when it has none. */
export function fieldOf(trigger: Trigger): string | undefined {
  return RANGES.get(trigger.field)
}

function checkCount(count: unknown, path: string): void {
  if (count === 0 || count === 1) return
  throw invalid(
    path,
    'expected 0 or 1: entries are not counted here without a duration in which they are; a rule with `window` and `entering` counts them in one (/v2/projects/{project}/rules)',
  )
}

/** The attribute that goes with the field, and no other. */
function only(fields: Fields, attribute: Attribute | 'range', path: string): unknown {
  for (const other of ['range', ...ATTRIBUTES] as const)
    if (other !== attribute && given(fields[other]) !== undefined)
      throw invalid(joinPath(path, other), `expected none: with field ${fields.field as string} it is "${attribute}" that says when`)
  return given(fields[attribute])
}

function unknownField(name: string, path: string): Error {
  if (name === 'touch')
    return invalid(path, 'a touch is a moment that no alarm can last; a rule with `window` counts touches (/v2/projects/{project}/rules)')
  const near = nearest(name.slice(0, 64), FIELDS)
  return invalid(path, `expected one of ${FIELDS.join(', ')}${near === undefined ? '' : `; did you mean "${near}"?`}`)
}

function parseRange(input: unknown, path: string, field: string): ConditionJson {
  const fields = readObject(input, path, ['lower', 'upper', 'type', 'filter'])
  if (given(fields.filter) !== undefined)
    throw invalid(joinPath(path, 'filter'), 'expected null: readings are compared as they were sent; `triggerDelay` evens out short peaks')
  const bound = (key: string) => (given(fields[key]) === undefined ? undefined : readNumber(fields[key], joinPath(path, key)))
  const [lower, upper] = [bound('lower'), bound('upper')]
  const type = readChoice(given(fields.type) ?? 'WITHIN', joinPath(path, 'type'), ['WITHIN', 'OUTSIDE'] as const)
  if (lower === undefined && upper === undefined) throw invalid(path, 'expected "lower", "upper" or both')
  if (lower !== undefined && upper !== undefined && upper <= lower)
    throw invalid(joinPath(path, 'upper'), `expected more than lower (${lower})`)
  const unit = fieldUnit(field)?.symbol
  if (lower !== undefined && upper !== undefined) {
    const band = type === 'WITHIN' ? { inside: [lower, upper] } : { outside: [lower, upper] }
    return { threshold: { field, ...band, unit } }
  }
  const beyond = { threshold: { field, above: upper, below: lower, unit } }
  // Both ends belong to a range.
  return type === 'WITHIN' ? { not: beyond } : beyond
}

function parseConnection(input: unknown, path: string): ConditionJson {
  const connection = readChoice(input, path, OFFLINE)
  if (connection === 'SENSOR_OFFLINE') return { absent: { eventType: HEARTBEAT, for: `${SILENCE_MS}ms` } }
  return { state: { field: `${CONNECTION}.connection`, equals: 'OFFLINE' } }
}

function rangeOf(threshold: Threshold): Trigger | undefined {
  const { inside, above, below } = threshold
  if (inside === undefined) return trigger(threshold, { lower: below ?? null, upper: above ?? null, type: 'OUTSIDE', filter: null })
  if (inside.clearBelow !== undefined || inside.clearAbove !== undefined) return undefined
  return trigger(threshold, { lower: inside.low, upper: inside.high, type: 'WITHIN', filter: null })
}

/** Of what is denied. */
function withinOf(threshold: Threshold): Trigger | undefined {
  const { inside, above, below } = threshold
  if (inside !== undefined || (above !== undefined && below !== undefined)) return undefined
  return trigger(threshold, { lower: below ?? null, upper: above ?? null, type: 'WITHIN', filter: null })
}

function trigger({ field, clearBelow, clearAbove }: Threshold, range: Range): Trigger | undefined {
  const [name] = [...RANGES].find(([, text]) => text === field.text) ?? []
  const isConverted = field.unit !== undefined && field.unit !== fieldUnit(field.text)?.symbol
  if (name === undefined || isConverted || clearBelow !== undefined || clearAbove !== undefined) return undefined
  return { field: name, range, triggerCount: 1 }
}

function stateOf({ field, equals }: State): Trigger | undefined {
  const [value, ...others] = equals
  if (others.length > 0) return undefined
  if (field.text === `${CONNECTION}.connection` && value === 'OFFLINE')
    return { field: CONNECTION, connection: OFFLINE[0], triggerCount: 1 }
  const name = field.text.replace(/\.state$/, '')
  const states = field.text === name ? undefined : STATES.get(name)
  const [state] = states?.values.find(([, one]) => one === value) ?? []
  return states === undefined || state === undefined ? undefined : { field: name, [states.attribute]: state, triggerCount: 1 }
}

function absentOf({ eventType, silenceMs, times }: Absent): Trigger | undefined {
  if (eventType !== HEARTBEAT || silenceMs !== SILENCE_MS || times !== undefined) return undefined
  return { field: CONNECTION, connection: OFFLINE[1], triggerCount: 1 }
}
