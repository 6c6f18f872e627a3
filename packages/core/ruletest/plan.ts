// A test of rules as it is written: devices, what they send and when, and what is expected. Parsed once, run by run.ts.
import { nearest, readObject, readString } from '../condition/input.ts'
import { checkDeviceType, type Device } from '../device.ts'
import { checkDevice, checkEventId, type EventData, mainField } from '../event.ts'
import { invalid } from '../failure.ts'
import { eventTypesOf, type Rule } from '../rule.ts'
import { SEVERITIES, type Severity } from '../severity.ts'
import { parseDuration, parseTime } from '../time.ts'
import { parseSeries } from './series.ts'

export type TestEvent = {
  readonly device: Device
  readonly eventType: string
  readonly data: EventData
  readonly timeUs: number
  /** When the server has it; its own time unless it is late. */
  readonly arrivalUs: number
  readonly eventId: string
}

export const PHASES = ['clear', 'pending', 'active'] as const
export const KINDS = ['pending', 'active', 'escalated', 'deescalated', 'cleared', 'dropped', 'amended', 'withdrawn'] as const

/** What is undefined may be anything. */
type Facts = {
  readonly path: string
  readonly atUs: number
  readonly rule: Rule
  readonly device: Device
  readonly severity: Severity | undefined
  readonly value: number | string | undefined
  /** A part of the reason. */
  readonly reason: string | undefined
}
export type Expectation = Facts & { readonly state: (typeof PHASES)[number] }
export type ExpectedChange = Facts & { readonly kind: (typeof KINDS)[number] }

export type RuleTest = {
  readonly name: string
  readonly startUs: number
  /** How late an event may be to be put in order. */
  readonly latenessUs: number
  readonly devices: readonly Device[]
  /** In the order in which they arrive. */
  readonly events: readonly TestEvent[]
  readonly expect: readonly Expectation[]
  /** All that come about, in order; undefined: nobody asks. */
  readonly changes: readonly ExpectedChange[] | undefined
  /** Until then time passes; undefined: until the last moment that is named. */
  readonly untilUs: number | undefined
}

type Defaults = { readonly startUs: number; readonly intervalMs: number; readonly latenessMs: number }

/** A Monday; tests without a time of their own begin here, so that schedules mean the same in all of them. */
const START_US = Date.UTC(2026, 0, 5) * 1000
const INTERVAL_MS = 60_000
/** As TELLTALE_LATENESS has it unless it is set. */
const LATENESS_MS = 120_000
const MAX_SPAN_US = 366 * 86_400_000_000
const MAX_TESTS = 1000
const MAX_ITEMS = 1000
const MAX_EVENTS = 20_000
const SETTINGS = ['start', 'interval', 'lateness']
const KEYS = ['name', 'device', 'devices', 'events', 'series', 'expect', 'changes', 'until', ...SETTINGS]

/** `input`: what stands beside `rules` in a file of tests: `tests`, and `start`, `interval` and `lateness` for those without their own. */
export function parseRuleTests(input: unknown, rules: readonly Rule[]): RuleTest[] {
  const fields = readObject(input, '', ['rules', 'rule', 'tests', ...SETTINGS], 'tests')
  const defaults = defaultsIn(fields, '', { startUs: START_US, intervalMs: INTERVAL_MS, latenessMs: LATENESS_MS })
  const read = [...new Set(rules.flatMap(eventTypesOf))]
  const tests = listIn(fields['tests'], 'tests', MAX_TESTS).map((one, i) => parseTest(one, `tests[${i}]`, { rules, read }, defaults))
  if (tests.length === 0) throw invalid('tests', 'expected at least one')
  if (tests.reduce((sum, { events }) => sum + events.length, 0) > MAX_EVENTS)
    throw invalid('tests', `expected at most ${MAX_EVENTS} events in all of them`)
  return tests
}

function defaultsIn(fields: { readonly [key: string]: unknown }, path: string, outer: Defaults): Defaults {
  const at = (key: string) => (path === '' ? key : `${path}.${key}`)
  const { start } = fields
  const startUs = start === undefined ? outer.startUs : typeof start === 'string' ? parseTime(start) : undefined
  if (startUs === undefined) throw invalid(at('start'), 'expected a time such as 2026-01-05T08:00:00Z')
  const durationOf = (key: string, otherwise: number) => {
    const given = fields[key]
    const ms = given === undefined ? otherwise : typeof given === 'string' ? parseDuration(given) : undefined
    if (ms === undefined || (ms === 0 && key === 'interval')) throw invalid(at(key), 'expected a duration such as 1m')
    return ms
  }
  return { startUs, intervalMs: durationOf('interval', outer.intervalMs), latenessMs: durationOf('lateness', outer.latenessMs) }
}

function parseTest(input: unknown, path: string, { rules, read }: Pick<Place, 'rules' | 'read'>, outer: Defaults): RuleTest {
  const fields = readObject(input, path, KEYS)
  const { startUs, intervalMs, latenessMs } = defaultsIn(fields, path, outer)
  const devices = parseDevices(fields, path)
  const place = { rules, read, devices, startUs }
  const events = [
    ...seriesEvents(fields['series'], `${path}.series`, place, intervalMs),
    ...listIn(fields['events'], `${path}.events`, MAX_EVENTS).flatMap((one, i) => parseEvents(one, `${path}.events[${i}]`, place)),
  ]
  const { changes, until } = fields
  const test: RuleTest = {
    name: readString(fields['name'], `${path}.name`, 200),
    startUs,
    latenessUs: latenessMs * 1000,
    devices,
    events: events.toSorted((a, b) => a.arrivalUs - b.arrivalUs),
    expect: listIn(fields['expect'], `${path}.expect`, MAX_ITEMS).map((one, i) => parseExpectation(one, `${path}.expect[${i}]`, place)),
    changes:
      changes === undefined
        ? undefined
        : listIn(changes, `${path}.changes`, MAX_ITEMS).map((one, i) => parseChange(one, `${path}.changes[${i}]`, place)),
    untilUs: until === undefined ? undefined : parseMoment(until, `${path}.until`, startUs),
  }
  if (test.expect.length === 0 && test.changes === undefined) throw invalid(path, 'expected "expect", "changes" or both')
  return test
}

/** `read`: event types that the rules read. */
type Place = {
  readonly rules: readonly Rule[]
  readonly read: readonly string[]
  readonly devices: readonly Device[]
  readonly startUs: number
}

function listIn(input: unknown, path: string, most: number): readonly unknown[] {
  if (input === undefined) return []
  if (!Array.isArray(input) || input.length > most) throw invalid(path, `expected a list of at most ${most}`)
  return input as unknown[]
}

function parseDevices(fields: { readonly [key: string]: unknown }, path: string): Device[] {
  const { device, devices } = fields
  if (device !== undefined && devices !== undefined) throw invalid(`${path}.devices`, 'expected either "device" or "devices"')
  if (devices === undefined) return [parseDevice(device ?? {}, `${path}.device`)]
  const found = listIn(devices, `${path}.devices`, MAX_ITEMS).map((one, i) => parseDevice(one, `${path}.devices[${i}]`))
  const twice = found.findIndex(({ id }, i) => found.findIndex(one => one.id === id) !== i)
  if (twice >= 0) throw invalid(`${path}.devices[${twice}].id`, 'expected another id than those before')
  if (found.length === 0) throw invalid(`${path}.devices`, 'expected at least one')
  return found
}

function parseDevice(input: unknown, path: string): Device {
  const { id = 'device', type = '', labels = {}, productNumber = '' } = readObject(input, path, ['id', 'type', 'labels', 'productNumber'])
  const texts = Object.entries(readObject(labels, `${path}.labels`, Object.keys(Object(labels) as object)))
  for (const [key, value] of texts)
    if (typeof value !== 'string') throw invalid(`${path}.labels.${key}`, 'expected a text, if need be in quotes')
  return {
    id: checkDevice(readString(id, `${path}.id`, 128), `${path}.id`),
    type: type === '' ? '' : checkDeviceType(readString(type, `${path}.type`, 64), `${path}.type`),
    labels: Object.fromEntries(texts) as Device['labels'],
    productNumber: productNumber === '' ? '' : readString(productNumber, `${path}.productNumber`, 64),
  }
}

/** `10m`, `+1h30m` or `0s` after the beginning of the test, or a time. */
function parseMoment(input: unknown, path: string, startUs: number): number {
  const timeUs = input === 0 ? startUs : typeof input === 'string' ? (offsetUs(input, startUs) ?? parseTime(input)) : undefined
  if (timeUs === undefined)
    throw invalid(path, 'expected how long after the beginning, such as 10m or 1h30m, or a time such as 2026-01-05T08:00:00Z')
  if (timeUs < startUs || timeUs > startUs + MAX_SPAN_US)
    throw invalid(path, 'expected a moment within 366d after the beginning of the test')
  return timeUs
}

function offsetUs(text: string, startUs: number): number | undefined {
  const parts = text
    .replace(/^\+/, '')
    .match(/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/)?.[0]
    .match(/\d+(?:\.\d+)?(?:ms|s|m|h|d)/g)
  const durations = parts?.map(parseDuration)
  return durations?.reduce<number | undefined>((sum, ms) => (sum === undefined || ms === undefined ? undefined : sum + ms * 1000), startUs)
}

function parseEvents(input: unknown, path: string, place: Place): TestEvent[] {
  const { at, arrives, device, eventId, ...types } = readObject(input, path, Object.keys(Object(input) as object))
  const timeUs = parseMoment(at, `${path}.at`, place.startUs)
  const arrivalUs = arrives === undefined ? timeUs : parseMoment(arrives, `${path}.arrives`, place.startUs)
  if (arrivalUs < timeUs) throw invalid(`${path}.arrives`, 'expected not before the time of the event itself')
  const from = deviceIn(device, `${path}.device`, place)
  const sent = Object.entries(types)
  if (sent.length === 0) throw invalid(path, 'expected what was sent, such as "temperature: -10"')
  return sent.map(([eventType, value]) => ({
    device: from,
    eventType: knownType(eventType, `${path}.${eventType}`, place),
    data: { [eventType]: inner(eventType, value) },
    timeUs,
    arrivalUs,
    eventId: eventId === undefined ? idOf(path, eventType) : checkEventId(readString(eventId, `${path}.eventId`, 64), `${path}.eventId`),
  }))
}

/** Series of one type are fields of the same events. */
function seriesEvents(input: unknown, path: string, place: Place, intervalMs: number): TestEvent[] {
  if (input === undefined) return []
  const device = deviceIn(undefined, path, place)
  const events = new Map<string, { fields: Record<string, unknown>; eventType: string; step: number }>()
  for (const [field, text] of Object.entries(readObject(input, path, Object.keys(Object(input) as object)))) {
    const [type = '', ...rest] = field.split('.')
    const eventType = knownType(type, `${path}.${field}`, place)
    for (const [step, value] of parseSeries(text, `${path}.${field}`).entries()) {
      if (value === undefined) continue
      const event = events.get(`${eventType} ${step}`) ?? { fields: {}, eventType, step }
      event.fields[rest.join('.') || mainField(eventType)] = value
      events.set(`${eventType} ${step}`, event)
    }
  }
  return [...events.values()].map(({ fields, eventType, step }) => {
    const timeUs = place.startUs + step * intervalMs * 1000
    return { device, eventType, data: { [eventType]: fields }, timeUs, arrivalUs: timeUs, eventId: idOf(`series[${step}]`, eventType) }
  })
}

function inner(eventType: string, value: unknown): unknown {
  return typeof value === 'object' && value !== null ? value : { [mainField(eventType)]: value }
}

function idOf(path: string, eventType: string): string {
  return `${path.slice(path.indexOf('.') + 1)}-${eventType}`.slice(-64)
}

/** So that a mistyped `arives` is not taken for an event that no rule ever meets. */
function knownType(eventType: string, path: string, { read }: Place): string {
  if (read.includes(eventType) || mainField(eventType) !== 'value' || eventType === 'temperature' || eventType === 'touch') return eventType
  const near = nearest(eventType, ['at', 'arrives', 'device', 'eventId', ...read])
  throw invalid(
    path,
    `is no event type that the rules read${near === undefined ? '' : `; did you mean "${near}"?`} They read ${read.join(', ')}`,
  )
}

function deviceIn(input: unknown, path: string, { devices }: Place): Device {
  const [first] = devices
  if (input === undefined && devices.length === 1 && first) return first
  const found = devices.find(({ id }) => id === input)
  if (found) return found
  const near =
    typeof input === 'string'
      ? nearest(
          input,
          devices.map(({ id }) => id),
        )
      : undefined
  throw invalid(
    path,
    `expected one of the devices of the test${near === undefined ? '' : `; did you mean "${near}"?`} There are: ${devices.map(({ id }) => id).join(', ')}`,
  )
}

function ruleIn(input: unknown, path: string, { rules }: Place): Rule {
  const [first] = rules
  if (input === undefined && rules.length === 1 && first) return first
  const found = rules.find(({ name }) => name === input)
  if (found) return found
  const names = rules.map(({ name }) => name)
  const near = typeof input === 'string' ? nearest(input, names) : undefined
  throw invalid(
    path,
    `expected one of the rules of the test${near === undefined ? '' : `; did you mean "${near}"?`} There are: ${names.join(', ')}`,
  )
}

const FACTS = ['at', 'rule', 'device', 'severity', 'value', 'reason']

function parseFacts(fields: { readonly [key: string]: unknown }, path: string, place: Place): Facts {
  const { value } = fields
  if (value !== undefined && typeof value !== 'number' && typeof value !== 'string')
    throw invalid(`${path}.value`, 'expected a number or a text')
  return {
    path,
    atUs: parseMoment(fields['at'], `${path}.at`, place.startUs),
    rule: ruleIn(fields['rule'], `${path}.rule`, place),
    device: deviceIn(fields['device'], `${path}.device`, place),
    severity: fields['severity'] === undefined ? undefined : oneOf(fields['severity'], `${path}.severity`, SEVERITIES),
    value,
    reason: fields['reason'] === undefined ? undefined : readString(fields['reason'], `${path}.reason`, 500),
  }
}

function parseExpectation(input: unknown, path: string, place: Place): Expectation {
  const fields = readObject(input, path, [...FACTS, 'state'])
  return { ...parseFacts(fields, path, place), state: oneOf(fields['state'], `${path}.state`, PHASES) }
}

function parseChange(input: unknown, path: string, place: Place): ExpectedChange {
  const fields = readObject(input, path, [...FACTS, 'kind'])
  return { ...parseFacts(fields, path, place), kind: oneOf(fields['kind'], `${path}.kind`, KINDS) }
}

function oneOf<T extends string>(input: unknown, path: string, valid: readonly T[]): T {
  const found = valid.find(one => one === input)
  if (found !== undefined) return found
  const near = typeof input === 'string' ? nearest(input, valid) : undefined
  throw invalid(path, `expected one of ${valid.join(', ')}${near === undefined ? '' : `; did you mean "${near}"?`}`)
}
