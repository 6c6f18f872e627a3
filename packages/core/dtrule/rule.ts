// A rule of DT's alerting API to one of ours and back (contracts.md 1.a.12), so that both APIs see one object. What it cannot say of a rule,
// and what we cannot do of what it says, is refused by name and never left out in silence.
import { type Fields, readBoolean, readObject, readString } from '../condition/input.ts'
import { checkDevice } from '../event.ts'
import { invalid } from '../failure.ts'
import { MAX_TITLE_CHARS, parseRule, type Rule, ruleToJson } from '../rule.ts'
import { formatDuration } from '../time.ts'
import { formatSeconds, given, readSeconds } from './input.ts'
import { LEVELS, type Level, parseLevels } from './level.ts'
import { parseSlots, type SlotSchedule, slotsOf } from './schedule.ts'
import { TITLED_MESSAGE, templateFrom, templateOf } from './template.ts'
import { fieldOf, parseTrigger, type Trigger, triggerOf } from './trigger.ts'

/** What it says of a rule, but for its name and whom it tells. */
export type DtRule = {
  readonly enabled: boolean
  readonly displayName: string
  readonly devices: readonly string[]
  readonly deviceLabels: Readonly<Record<string, string>>
  readonly projectLabels: Readonly<Record<string, string>>
  readonly trigger: Trigger
  readonly triggerDelay: string | null
  readonly reminderNotifications: false
  readonly resolvedNotifications: true
  readonly unacknowledgesAfter: string
  readonly schedule: SlotSchedule | null
  /** An addition: of the texts that DT has in its actions. */
  readonly message: string | null
}

const KEYS = [LEVELS].concat(
  'name enabled displayName devices deviceLabels projectLabels trigger schedule triggerDelay'.split(' '),
  'reminderNotifications resolvedNotifications unacknowledgesAfter actions message'.split(' '),
)
const UNACKNOWLEDGES_AFTER_MS = 4 * 3_600_000
const MAX_LIST = 1000
const MAX_CHARS = 256
const MAX_MESSAGE_CHARS = 2000

/**
 * The rule that is meant, without channels, and the level whose actions become these.
 * @param before the rule that it takes the place of; what DT has no word for stays as it is there
 */
export function parseDtRule(
  input: unknown,
  project: string,
  name: string,
  before: Rule | undefined,
): { readonly rule: Rule; readonly level: Level | undefined } {
  const fields = readObject(input, '', KEYS, 'rule')
  checkName(fields.name, before === undefined ? undefined : `projects/${project}/rules/${name}`)
  checkNotOurs(fields)
  const when = parseTrigger(fields.trigger, 'trigger')
  const duration = (key: string, fallbackMs: number) => formatDuration(readSeconds(fields[key], key) ?? fallbackMs)
  const document = {
    ...(before === undefined ? {} : ruleToJson(before)),
    name,
    title: readString(fields.displayName, 'displayName', MAX_TITLE_CHARS),
    enabled: given(fields.enabled) === undefined ? true : readBoolean(fields.enabled, 'enabled'),
    select: {
      devices: parseDevices(given(fields.devices) ?? [], project),
      labels: parseLabels(given(fields.deviceLabels) ?? {}),
    },
    when,
    for: duration('triggerDelay', 0),
    schedule: given(fields.schedule) === undefined ? undefined : parseSlots(fields.schedule, 'schedule'),
    unacknowledgeAfter: duration('unacknowledgesAfter', UNACKNOWLEDGES_AFTER_MS),
    notify: [],
  }
  // The condition is needed to know what `$celsius` is.
  const rule = parseRule({ ...document, message: before?.message.text ?? TITLED_MESSAGE })
  const message = parseTemplate(given(fields.message), rule)
  const level = parseLevels(fields[LEVELS])
  return { rule: message === undefined ? rule : parseRule({ ...document, message }), level }
}

/** Undefined when DT's API cannot say when it fires, for which devices, or how it is told. */
export function dtRuleOf(project: string, rule: Rule): DtRule | undefined {
  const { select, groupBy, inhibitedBy, keepActiveMs, ladder } = rule
  const trigger = triggerOf(rule.when)
  const schedule = rule.schedule === undefined ? null : slotsOf(rule.schedule)
  const labels = Object.fromEntries(select.labels.map(({ key, value }) => [key, value ?? '']))
  const isMore = select.deviceTypes.length > 0 || groupBy.length > 0 || inhibitedBy.length > 0 || keepActiveMs > 0 || ladder.length > 0
  if (trigger === undefined || schedule === undefined || isMore || Object.keys(labels).length < select.labels.length) return undefined
  return {
    enabled: rule.enabled,
    displayName: rule.title === '' ? rule.name : rule.title,
    devices: select.devices.map(device => `projects/${project}/devices/${device}`),
    deviceLabels: labels,
    projectLabels: {},
    trigger,
    triggerDelay: rule.holdMs === 0 ? null : formatSeconds(rule.holdMs),
    reminderNotifications: false,
    resolvedNotifications: true,
    unacknowledgesAfter: formatSeconds(rule.unacknowledgeAfterMs),
    schedule,
    message: templateOf(rule.message, fieldOf(trigger)),
  }
}

/** A new rule is named by the server. */
function checkName(input: unknown, expected: string | undefined): void {
  const name = given(input) ?? ''
  if (expected !== undefined && name !== '' && name !== expected) throw invalid('name', `expected ${expected}, which it is saved under`)
}

function checkNotOurs({ projectLabels, reminderNotifications, resolvedNotifications, actions }: Fields): void {
  if (Object.keys(Object(given(projectLabels) ?? {})).length > 0)
    throw invalid('projectLabels', 'expected none: projects have no labels here, and a rule is of one project')
  if ((given(reminderNotifications) ?? false) !== false)
    throw invalid('reminderNotifications', 'expected false: nobody is reminded; once an acknowledgement lapses, people are told again')
  if ((given(resolvedNotifications) ?? true) !== true)
    throw invalid('resolvedNotifications', 'expected true: who was told of an alarm is told when it is over')
  if (!Array.isArray(given(actions) ?? []) || ((given(actions) ?? []) as unknown[]).length > 0)
    throw invalid('actions', `expected none: they stand in ${LEVELS}`)
}

function parseDevices(input: unknown, project: string): string[] {
  if (!Array.isArray(input) || input.length > MAX_LIST) throw invalid('devices', `expected a list of at most ${MAX_LIST} names of devices`)
  const own = `projects/${project}/devices/`
  const ids = input.map((one: unknown, index) => {
    const path = `devices[${index}]`
    if (typeof one !== 'string' || !one.startsWith(own)) throw invalid(path, `expected a device of this project, such as ${own}freezer-1`)
    return checkDevice(one.slice(own.length), path)
  })
  return [...new Set(ids)]
}

/** An empty value stands for any. */
function parseLabels(input: unknown): string[] {
  if (typeof input !== 'object' || input === null || Array.isArray(input) || Object.keys(input).length > MAX_LIST)
    throw invalid('deviceLabels', `expected an object of at most ${MAX_LIST} labels`)
  return Object.entries(input as Fields).map(([key, value]) => {
    const path = `deviceLabels.${key.slice(0, 64)}`
    if (key === '' || key.includes('=')) throw invalid(path, 'expected the key of a label')
    if (typeof value !== 'string' || key.length + value.length >= MAX_CHARS)
      throw invalid(path, `expected a text, with its key of less than ${MAX_CHARS} characters; an empty one stands for any value`)
    return value === '' ? key : `${key}=${value}`
  })
}

function parseTemplate(input: unknown, { when }: Rule): string | undefined {
  if (input === undefined) return undefined
  const trigger = triggerOf(when)
  return templateFrom(readString(input, 'message', MAX_MESSAGE_CHARS), trigger === undefined ? undefined : fieldOf(trigger), 'message')
}
