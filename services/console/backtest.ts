// Backtests: a rule, saved or not, or two versions of one, over stored history; progress while it runs, then what would have come of it.
import { Type } from 'typebox'
import { Backtest, type Episode, type Findings, type Range } from '../../packages/core/backtest.ts'
import { Chart } from '../../packages/core/chart.ts'
import { chartedField } from '../../packages/core/column.ts'
import { kindOf } from '../../packages/core/condition/condition.ts'
import type { Field } from '../../packages/core/condition/field.ts'
import type { Device } from '../../packages/core/device.ts'
import { compareEpisodes, type Disagreement } from '../../packages/core/disagreement.ts'
import { checkDevice, type EventData } from '../../packages/core/event.ts'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { parseRule, type Rule } from '../../packages/core/rule.ts'
import { checkTime, formatTime } from '../../packages/core/time.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { described, ProjectId } from '../../packages/runtime/schema.ts'
import type { Rules } from '../../packages/state/rule.ts'
import { type ReplayPorts, replay } from './replay.ts'
import type { Line, Running } from './running.ts'

export type BacktestPorts = ReplayPorts & {
  readonly rules: Versions
  readonly running: Running
  nowUs(): number
}

type Versions = Pick<Rules, 'one' | 'versions'>

/** What is tested: one rule, or the difference between two. */
type Asked = {
  readonly rules: readonly [Rule] | readonly [old: Rule, new: Rule]
  readonly range: Range
  readonly devices: string[] | undefined
}

const WEEK_US = 7 * 86_400_000_000
const MOST_DEVICES = 10_000
const MOST_LISTED = 1000
const CHART_POINTS = 500
const PROGRESS_MS = 250
export const project = ProjectId
export const ruleName = Type.String({ examples: ['freezer-too-warm'] })
const time = (description: string, example: string) =>
  Type.Optional(Type.String({ description: `RFC 3339; ${description}`, examples: [example] }))
export const Span = {
  startTime: time('a week before the end unless given', '2026-03-01T00:00:00Z'),
  endTime: time('not included; now unless given', '2026-03-08T00:00:00Z'),
  devices: Type.Optional(
    Type.Array(Type.String(), { description: 'only these of the devices that the rule selects', examples: [['freezer-1']] }),
  ),
}
const RuleDocument = Type.Record(Type.String(), Type.Unknown(), { description: 'a rule as in PUT rules/{rule}; it need not be saved' })
const against = Type.Optional(
  Type.Union([RuleDocument, Type.Integer()], { description: 'an older version, or another rule: the result then is the difference to it' }),
)
const draft = { name: 'freezer-too-warm', when: { threshold: { field: 'temperature.value', above: -15, clearBelow: -16 } }, for: '10m' }
const DraftBody = described(
  Type.Object(
    { rule: RuleDocument, against, ...Span },
    { examples: [{ rule: draft, startTime: '2026-03-01T00:00:00Z', endTime: '2026-03-08T00:00:00Z' }] },
  ),
)
const SavedBody = described(
  Type.Object(
    {
      rule: Type.Optional(RuleDocument),
      versions: Type.Optional(Type.Array(Type.Integer(), { minItems: 2, maxItems: 2 })),
      against,
      ...Span,
    },
    { examples: [{ startTime: '2026-03-01T00:00:00Z', endTime: '2026-03-08T00:00:00Z' }] },
  ),
)
const LineAnswer = Type.Object(
  {
    progress: Type.Optional(
      Type.Object({ events: Type.Integer(), total: Type.Integer(), share: Type.Number(), eventsPerSecond: Type.Number() }),
    ),
    result: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'the last line' })),
    error: Type.Optional(
      Type.Object({ code: Type.Integer(), message: Type.String() }, { description: 'the last line, when it failed on the way' }),
    ),
  },
  { description: 'lines of progress, then one with the result' },
)
const produces = ['application/x-ndjson', 'text/event-stream']

export function addBacktestRoutes(app: HttpApp, ports: BacktestPorts): void {
  const { rules, running } = ports
  app.post(
    verb('/v2/projects/:project/rules', 'backtest'),
    {
      schema: {
        operationId: 'backtestDraft',
        summary: 'Runs a rule that need not be saved over stored history',
        tags: ['rules'],
        params: Type.Object({ project }),
        body: DraftBody,
        produces,
        response: { 200: LineAnswer },
      },
    },
    async (request, reply) => {
      const { project } = request.params
      callerIn(request, project)
      const body = fieldsOf(request.body, ['rule', 'against', 'startTime', 'endTime', 'devices'])
      const rule = ruleIn(body.rule, 'rule')
      const before = body.against === undefined ? undefined : await versionOf(rules, project, rule.name, body.against, 'against')
      const asked: Asked = { rules: before ? [before, rule] : [rule], ...spanOf(body, ports.nowUs()) }
      await running.answer(request, reply, project, signal => backtest(ports, project, asked, signal))
      return reply
    },
  )
  app.post(
    verb('/v2/projects/:project/rules/:rule', 'backtest'),
    {
      schema: {
        operationId: 'backtestRule',
        summary: 'Runs a rule, or the difference between two versions of it, over stored history',
        tags: ['rules'],
        params: Type.Object({ project, rule: ruleName }),
        body: SavedBody,
        produces,
        response: { 200: LineAnswer },
      },
    },
    async (request, reply) => {
      const { project, rule: name } = request.params
      callerIn(request, project)
      const body = fieldsOf(request.body, ['rule', 'versions', 'against', 'startTime', 'endTime', 'devices'])
      const asked: Asked = { rules: await rulesOf(rules, project, name, body), ...spanOf(body, ports.nowUs()) }
      await running.answer(request, reply, project, signal => backtest(ports, project, asked, signal))
      return reply
    },
  )
}

type Fields = Readonly<Record<string, unknown>>

export function fieldsOf(body: unknown, known: readonly string[]): Fields {
  if (body === undefined || body === null) return {}
  if (typeof body !== 'object' || Array.isArray(body)) throw invalid('body', `expected an object of ${known.join(', ')}`)
  for (const key of Object.keys(body))
    if (!known.includes(key)) throw invalid(key.slice(0, 100), `unknown field; known here: ${known.join(', ')}`)
  return body as Fields
}

async function rulesOf(rules: Versions, project: string, name: string, body: Fields): Promise<Asked['rules']> {
  if (body.versions !== undefined) {
    if (body.rule !== undefined || body.against !== undefined) throw invalid('versions', 'expected without "rule" and "against"')
    const [old, next, ...others] = Array.isArray(body.versions) ? (body.versions as unknown[]) : []
    if (next === undefined || others.length > 0) throw invalid('versions', 'expected two numbers of versions')
    return [await versionOf(rules, project, name, old, 'versions[0]'), await versionOf(rules, project, name, next, 'versions[1]')]
  }
  const rule = body.rule === undefined ? await rules.one(project, name) : ruleIn(body.rule, 'rule', name)
  return body.against === undefined ? [rule] : [await versionOf(rules, project, name, body.against, 'against'), rule]
}

async function versionOf(rules: Versions, project: string, name: string, wanted: unknown, field: string): Promise<Rule> {
  if (typeof wanted === 'object') return ruleIn(wanted, field)
  if (typeof wanted !== 'number' || !Number.isSafeInteger(wanted) || wanted < 1)
    throw invalid(field, 'expected the number of a version, or a rule')
  const [kept] = await rules.versions(project, name, wanted + 1, 1)
  if (kept?.version !== wanted) throw new Failure('not_found', `${field}: version ${wanted} of rule ${name} is not kept`, { field })
  if (kept.rule === null) throw new Failure('not_found', `${field}: version ${wanted} of rule ${name} is its removal`, { field })
  return ruleIn(kept.rule, field, name)
}

/** The rule of a request, with the path of what is wrong in it as the request has it. */
export function ruleIn(input: unknown, field: string, name?: string): Rule {
  try {
    return parseRule(input, name)
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const path = error.field === undefined || error.field === '' ? field : `${field}.${error.field}`
    throw new Failure(error.code, `${field}.${error.message}`, { field: path, cause: error })
  }
}

export function spanOf(body: Fields, now: number): Pick<Asked, 'range' | 'devices'> {
  const toUs = body.endTime === undefined ? now : checkTime(body.endTime, 'endTime')
  const fromUs = body.startTime === undefined ? toUs - WEEK_US : checkTime(body.startTime, 'startTime')
  if (fromUs >= toUs) throw invalid('startTime', 'expected a time before endTime')
  return { range: { fromUs, toUs }, devices: devicesIn(body.devices) }
}

function devicesIn(input: unknown): string[] | undefined {
  if (input === undefined) return undefined
  if (!Array.isArray(input) || input.length === 0 || input.length > MOST_DEVICES)
    throw invalid('devices', `expected a list of 1 to ${MOST_DEVICES} ids of devices`)
  return input.map((id: unknown, i) => {
    if (typeof id !== 'string') throw invalid(`devices[${i}]`, 'expected the id of a device')
    return checkDevice(id, `devices[${i}]`)
  })
}

async function* backtest(
  ports: BacktestPorts,
  project: string,
  { rules, range, devices }: Asked,
  signal: AbortSignal,
): AsyncGenerator<Line> {
  const sides = rules.map(rule => new Side(rule, range, devices?.length === 1))
  const beganMs = performance.now()
  let told = Number.NEGATIVE_INFINITY
  for await (const { events, total } of replay(ports, { project, sides, range, devices }, signal)) {
    if (performance.now() - told < PROGRESS_MS) continue
    told = performance.now()
    const share = total === 0 ? 1 : Math.min(1, events / total)
    yield { progress: { events, total, share, eventsPerSecond: rateOf(events, beganMs) } }
  }
  const [before, after] = sides.map(side => side.finish())
  const latest = after ?? before
  if (latest === undefined) return
  const speed = { elapsedMs: Math.round(performance.now() - beganMs), eventsPerSecond: rateOf(latest.events, beganMs) }
  const series = seriesOf(sides.at(-1) as Side)
  const compared = after && before ? { against: findingsToJson(before), difference: differenceOf(before, after) } : {}
  yield { result: { ...findingsToJson(latest), ...compared, ...(series ? { series } : {}), ...speed } }
}

/** A backtest that knows its rule, as `replay` wants it, and of one device also keeps what to draw. */
class Side extends Backtest {
  readonly rule: Rule
  readonly chart: Chart | undefined

  constructor(rule: Rule, range: Range, drawn: boolean) {
    super(rule, range)
    this.rule = rule
    const field = drawn ? chartedField(rule.when) : undefined
    const windowMs = Math.max(1000, Math.ceil((range.toUs - range.fromUs) / 1000 / CHART_POINTS))
    this.chart = field && new Chart(field, windowMs * 1000)
  }

  override take(device: Device, eventType: string, timeUs: number, eventId: string, data: EventData): void {
    super.take(device, eventType, timeUs, eventId, data)
    this.chart?.take(eventType, timeUs, data)
  }
}

function rateOf(events: number, beganMs: number): number {
  return Math.round((events / Math.max(1, performance.now() - beganMs)) * 1000)
}

export function findingsToJson(findings: Findings): Line {
  const { rule, range, alarms, dropped, activeAtEnd, episodes, truncated } = findings
  const minutes = (value: number) => Math.round(value * 100) / 100
  return {
    rule: rule.name,
    version: rule.version,
    startTime: formatTime(range.fromUs),
    endTime: formatTime(range.toUs),
    events: findings.events,
    devices: findings.devices,
    alarms: {
      count: alarms,
      activeAtEnd,
      /** Held, but not as long as `for`. */
      dropped,
      list: episodes.slice(0, MOST_LISTED).map(episodeToJson),
      truncated: truncated || episodes.length > MOST_LISTED,
    },
    minutesInAlarm: minutes(findings.minutesInAlarm),
    notifications: findings.notifications,
    days: [...findings.days]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([day, { minutesInAlarm, ...counts }]) => ({ day, ...counts, minutesInAlarm: minutes(minutesInAlarm) })),
    worstDevices: findings.worst.map(({ minutesInAlarm, ...one }) => ({ ...one, minutesInAlarm: minutes(minutesInAlarm) })),
  }
}

export function episodeToJson({ device, severity, sinceUs, activeUs, clearedUs, value, limit, reason }: Episode): Line {
  const clearedAt = clearedUs === undefined ? null : formatTime(clearedUs)
  return {
    device,
    severity,
    since: formatTime(sinceUs),
    activeSince: formatTime(activeUs),
    clearedAt,
    value: value ?? null,
    limit: limit ?? null,
    reason,
  }
}

export function disagreementToJson({ kind, device, old, new: after }: Disagreement): Line {
  return { kind, device, old: old.map(episodeToJson), new: after.map(episodeToJson) }
}

function differenceOf(before: Findings, after: Findings): Line {
  const { disagreements, ...counts } = compareEpisodes(before.episodes, after.episodes, MOST_LISTED)
  return { ...counts, truncated: before.truncated || after.truncated, disagreements: disagreements.map(disagreementToJson) }
}

function seriesOf({ rule: { when }, chart }: Side): Line | undefined {
  if (chart === undefined) return undefined
  const { unit, sources } = chart.field
  const { eventType, path } = sources[0] as Field['sources'][number]
  return {
    eventType,
    field: path.join('.'),
    unit: unit ?? null,
    levels: kindOf(when).levels(when),
    points: chart.points().map(({ startUs, ...point }) => ({ time: formatTime(startUs), ...point })),
  }
}
