// A rule: which devices, which condition, how long, how grave. Strictly parsed once, trusted by the engine (step.ts).
import { type Condition, conditionToJson, kindOf, parseCondition } from './condition/condition.ts'
import { type Fields, MAX_SHOWN_KEY, readBoolean, readChoice, readDurationMs, readList, readObject, readString } from './condition/input.ts'
import { type Device, type LabelFilter, matchesLabels, parseLabelFilter } from './device.ts'
import { checkDevice } from './event.ts'
import { Failure, invalid } from './failure.ts'
import { DEFAULT_MESSAGE, type Message, parseMessage } from './message.ts'
import { parseSchedule, type Schedule, scheduleToJson } from './schedule.ts'
import { ladderToJson, parseSeverity, type Rung, type Severity } from './severity.ts'
import { formatDuration } from './time.ts'

export type { Severity } from './severity.ts'

/** AND between the three, OR inside device types and devices, AND inside labels; an empty list leaves all in. */
type Selector = {
  readonly deviceTypes: readonly string[]
  readonly labels: readonly LabelFilter[]
  readonly devices: readonly string[]
}

export type Rule = {
  readonly name: string
  /** Set by the registry; 1 for the first. */
  readonly version: number
  /** What people call it, in any letters; empty: by its name. */
  readonly title: string
  readonly enabled: boolean
  readonly select: Selector
  readonly when: Condition
  /** `for`: how long the condition must hold before the alarm is active; 0 at once. */
  readonly holdMs: number
  /** How long it must be clear before an active alarm clears; 0 at once. */
  readonly keepActiveMs: number
  /** Of its alarms; with a ladder that of the first rung. */
  readonly severity: Severity
  /** From the least to the gravest; empty without a ladder. */
  readonly ladder: readonly Rung[]
  /** When it counts; undefined: always. */
  readonly schedule: Schedule | undefined
  readonly message: Message
  /** Names of channels. */
  readonly notify: readonly string[]
  /** Label keys: devices with the same values of them share one alarm; empty: each device has its own. */
  readonly groupBy: readonly string[]
  /** While an alarm of these rules is active, nobody is told of this one. */
  readonly inhibitedBy: readonly Inhibitor[]
  /** How long an acknowledgement counts; 0 until the alarm clears. */
  readonly unacknowledgeAfterMs: number
  /** What an event beyond the allowed lateness does to alarms. */
  readonly late: 'ignore' | 'amend'
}

/** `equal`: labels in which the device of the other alarm must agree; empty: it is the same device, or its group has this one in it. */
export type Inhibitor = { readonly rule: string; readonly equal: readonly string[] }

const KEYS =
  'name version title enabled select when for keepActive severity schedule message notify groupBy inhibitedBy unacknowledgeAfter late'.split(
    ' ',
  )
const MAX_INHIBITORS = 20
const MAX_EQUAL = 10
export const MAX_TITLE_CHARS = 256
const NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/

/** `name`: what the address calls the rule; the document may leave its own out, but not contradict. */
export function parseRule(input: unknown, name?: string): Rule {
  const fields = readObject(input, '', KEYS, 'rule')
  const when = parseCondition(fields.when, 'when')
  const duration = (key: string) => (fields[key] === undefined ? 0 : readDurationMs(fields[key], key))
  return {
    name: parseName(fields.name, name),
    version: parseVersion(fields.version),
    title: parseTitle(fields.title),
    enabled: fields.enabled === undefined ? true : readBoolean(fields.enabled, 'enabled'),
    select: parseSelector(fields.select),
    when,
    holdMs: duration('for'),
    keepActiveMs: duration('keepActive'),
    ...parseSeverity(fields.severity, when),
    schedule: fields.schedule === undefined ? undefined : parseSchedule(fields.schedule, 'schedule'),
    message: parseTemplate(fields.message),
    notify: fields.notify === undefined ? [] : readList(fields.notify, 'notify', checkName),
    groupBy: fields.groupBy === undefined ? [] : readList(fields.groupBy, 'groupBy', checkKey),
    inhibitedBy: parseInhibitors(fields.inhibitedBy),
    unacknowledgeAfterMs: duration('unacknowledgeAfter'),
    late: fields.late === undefined ? 'ignore' : readChoice(fields.late, 'late', ['ignore', 'amend'] as const),
  }
}

/**
 * What is wrong with a document, at most one mistake for each key of the rule; none when parseRule takes it. A wrong part is left out
 * and the rest read again, so nothing is said of what depends on it.
 */
export function findMistakes(input: unknown, name?: string): Failure[] {
  const mistakes: Failure[] = []
  for (let rest: Fields | undefined; mistakes.length <= KEYS.length; ) {
    const mistake = firstMistake(rest ?? input, name)
    if (mistake === undefined || mistakes.some(({ field }) => field === mistake.field)) return mistakes
    mistakes.push(mistake)
    rest = withoutMistake(rest ?? input, mistake.field ?? '', name)
    if (rest === undefined) return mistakes
  }
  return mistakes
}

function firstMistake(input: unknown, name: string | undefined): Failure | undefined {
  try {
    parseRule(input, name)
    return undefined
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}

/** Undefined when there is nothing left to look at. */
function withoutMistake(input: unknown, field: string, name = 'x'): Fields | undefined {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) return undefined
  // What cannot be left out is taken as if it were right.
  const needed: Fields = { name, when: { threshold: { field: 'x.value', above: 0 } } }
  const key = Object.keys({ ...needed, ...input }).find(one => isBelow(field, one.slice(0, MAX_SHOWN_KEY)))
  // A ladder is of the values of the condition.
  const left = Object.entries(input).filter(([one]) => one !== key && !(key === 'when' && one === 'severity'))
  const stands = Object.entries(needed).filter(([one]) => one === key)
  return key === undefined ? undefined : Object.fromEntries([...left, ...stands])
}

function isBelow(field: string, key: string): boolean {
  return field.startsWith(key) && ['', '.', '['].includes(field.charAt(key.length))
}

/** The document of a rule, every setting said; `parseRule` makes the same rule of it. */
export function ruleToJson(rule: Rule): { readonly [key: string]: unknown } {
  const { select } = rule
  return {
    name: rule.name,
    version: rule.version,
    title: rule.title,
    enabled: rule.enabled,
    select: {
      deviceTypes: select.deviceTypes,
      labels: select.labels.map(({ key, value }) => (value === undefined ? key : `${key}=${value}`)),
      devices: select.devices,
    },
    when: conditionToJson(rule.when),
    for: formatDuration(rule.holdMs),
    keepActive: formatDuration(rule.keepActiveMs),
    severity: rule.ladder.length === 0 ? rule.severity : ladderToJson(rule.ladder),
    schedule: rule.schedule === undefined ? undefined : scheduleToJson(rule.schedule),
    message: rule.message.text,
    notify: rule.notify,
    groupBy: rule.groupBy,
    inhibitedBy: rule.inhibitedBy.map(({ rule: name, equal }) => (equal.length === 0 ? name : { rule: name, equal })),
    unacknowledgeAfter: formatDuration(rule.unacknowledgeAfterMs),
    late: rule.late,
  }
}

export function selects(rule: Rule, device: Device): boolean {
  const { deviceTypes, labels, devices } = rule.select
  return (
    (deviceTypes.length === 0 || deviceTypes.includes(device.type)) &&
    (devices.length === 0 || devices.includes(device.id)) &&
    matchesLabels(labels, device.labels)
  )
}

export function eventTypesOf(rule: Rule): readonly string[] {
  return kindOf(rule.when).eventTypes(rule.when)
}

function checkName(name: unknown, path: string): string {
  if (typeof name !== 'string' || !NAME.test(name))
    throw invalid(path, 'expected 1 to 63 characters of a-z 0-9 _ - that start with a letter or digit')
  return name
}

function parseName(own: unknown, given: string | undefined): string {
  if (own !== undefined && given !== undefined && own !== given) throw invalid('name', `expected "${given}", the name it is saved under`)
  return checkName(own ?? given, 'name')
}

function parseVersion(input: unknown): number {
  if (input === undefined) return 1
  if (typeof input !== 'number' || !Number.isSafeInteger(input) || input < 1) throw invalid('version', 'expected a whole number from 1')
  return input
}

function parseTitle(input: unknown): string {
  return input === undefined || input === '' ? '' : readString(input, 'title', MAX_TITLE_CHARS)
}

function parseSelector(input: unknown): Selector {
  if (input === undefined) return { deviceTypes: [], labels: [], devices: [] }
  const fields = readObject(input, 'select', ['deviceTypes', 'labels', 'devices'])
  const list = (key: string, readOne: (text: string, path: string) => string) =>
    fields[key] === undefined ? [] : readList(fields[key], `select.${key}`, readOne)
  return {
    deviceTypes: list('deviceTypes', text => text),
    labels: list('labels', checkLabel).map(parseLabelFilter),
    devices: list('devices', checkDevice),
  }
}

function checkLabel(text: string, path: string): string {
  if (parseLabelFilter(text).key === '') throw invalid(path, 'expected "key" or "key=value"')
  return text
}

function checkKey(key: string, path: string): string {
  if (key.includes('=')) throw invalid(path, 'expected the key of a label')
  return key
}

function parseInhibitors(input: unknown): Inhibitor[] {
  if (input === undefined) return []
  if (!Array.isArray(input) || input.length > MAX_INHIBITORS)
    throw invalid('inhibitedBy', `expected a list of at most ${MAX_INHIBITORS} names of rules`)
  return input.map((one: unknown, index) => {
    const path = `inhibitedBy[${index}]`
    if (typeof one === 'string') return { rule: checkName(one, path), equal: [] }
    const { rule, equal } = readObject(one, path, ['rule', 'equal'])
    const labels = readList(equal, `${path}.equal`, checkKey)
    if (labels.length > MAX_EQUAL) throw invalid(`${path}.equal`, `expected at most ${MAX_EQUAL} keys of labels`)
    return { rule: checkName(rule, `${path}.rule`), equal: labels }
  })
}

function parseTemplate(input: unknown): Message {
  if (input === undefined) return DEFAULT_MESSAGE
  if (typeof input !== 'string') throw invalid('message', 'expected a text')
  return parseMessage(input, 'message')
}
