// Suggestions: from the devices that flapped most, a dead-band and a hold time that would have cut it, tried through the same engine.
import { Type } from 'typebox'
import { Backtest, type Findings, type Range } from '../../packages/core/backtest.ts'
import { numberIn, valueIn } from '../../packages/core/condition/field.ts'
import type { Device } from '../../packages/core/device.ts'
import type { EventData } from '../../packages/core/event.ts'
import { invalid } from '../../packages/core/failure.ts'
import { type Rule, ruleToJson } from '../../packages/core/rule.ts'
import { candidatesOf, type Figures, figuresOf, noiseOf, ranked } from '../../packages/core/suggest.ts'
import { formatDuration, formatTime } from '../../packages/core/time.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { described } from '../../packages/runtime/schema.ts'
import type { Rules } from '../../packages/state/rule.ts'
import { Turns } from '../../packages/state/turn.ts'
import { fieldsOf, project, ruleName, Span, spanOf } from './backtest.ts'
import { type ReplayPorts, replay } from './replay.ts'
import type { Running } from './running.ts'

export type SuggestPorts = ReplayPorts & { readonly rules: Pick<Rules, 'one'>; readonly running: Running; nowUs(): number }

const SAMPLED_DEVICES = 20
const SAMPLED_EVENTS = 100_000
/** Of their data as JSON: in memory it is a few times that. */
const SAMPLED_BYTES = 16_000_000
const MOST = 5

const Body = described(
  Type.Object(
    { device: Type.Optional(Type.String({ examples: ['freezer-1'] })), ...Span },
    { examples: [{ startTime: '2026-03-01T00:00:00Z', endTime: '2026-03-08T00:00:00Z' }] },
  ),
)
const FiguresAnswer = Type.Object({
  alarms: Type.Integer(),
  alarmsPerWeek: Type.Number(),
  flaps: Type.Integer({ description: 'alarms within an hour after the last one of the same device' }),
  minutesInAlarm: Type.Number(),
  extraMinutes: Type.Number({ description: 'in alarm for longer than the incidents of the present rule took' }),
  addedDelay: Type.Object({ median: Type.String(), max: Type.String() }),
  missed: Type.Integer({ description: 'incidents of the present rule that would not have been found' }),
  longestMissedMinutes: Type.Number(),
})
const SuggestAnswer = Type.Object({
  startTime: Type.String(),
  endTime: Type.String(),
  devices: Type.Array(Type.String(), { description: 'that it was tried on: those with most alarms' }),
  events: Type.Integer(),
  noise: Type.Union([Type.Number(), Type.Null()], { description: 'how much the value moves from one reading to the next' }),
  present: FiguresAnswer,
  suggestions: Type.Array(
    Type.Object({
      words: Type.String(),
      figures: FiguresAnswer,
      rule: Type.Record(Type.String(), Type.Unknown(), { description: 'ready to be saved' }),
    }),
  ),
})

export function addSuggestRoute(app: HttpApp, ports: SuggestPorts): void {
  app.post(
    verb('/v2/projects/:project/rules/:rule', 'suggest'),
    {
      schema: {
        operationId: 'suggestRule',
        summary: 'Which dead-band and hold time would have cut the flapping of a rule, and at what cost',
        tags: ['rules'],
        params: Type.Object({ project, rule: ruleName }),
        body: Body,
        response: { 200: SuggestAnswer },
      },
    },
    async (request, reply) => {
      const { project, rule: name } = request.params
      callerIn(request, project)
      const { device, ...body } = fieldsOf(request.body, ['device', 'devices', 'startTime', 'endTime'])
      if (device !== undefined && body['devices'] !== undefined) throw invalid('device', 'expected without "devices"')
      const span = spanOf(device === undefined ? body : { ...body, devices: [device] }, ports.nowUs())
      const rule = await ports.rules.one(project, name)
      return ports.running.within(reply, project, signal => suggest(ports, project, rule, span, signal))
    },
  )
}

type Asked = { readonly range: Range; readonly devices: string[] | undefined }
type Sampled = {
  readonly device: Device
  readonly eventType: string
  readonly timeUs: number
  readonly eventId: string
  readonly data: EventData
}

async function suggest(ports: SuggestPorts, project: string, rule: Rule, { range, devices }: Asked, signal: AbortSignal) {
  const ids = devices ?? (await worstDevices(ports, project, rule, range, signal))
  const sample = new Sample(rule, ids)
  for await (const _ of replay(ports, { project, sides: [sample], range, devices: ids }, signal)) signal.throwIfAborted()
  const noise = sample.noise()
  const [now, ...others] = candidatesOf({ ...rule, groupBy: [] }, noise)
  const covered = { ...range, toUs: sample.endUs(range) }
  const present = await tried(sample.events, now?.rule ?? rule, covered, signal)
  const figures = figuresOf(present, present)
  const found = []
  for (const one of others) found.push({ ...one, figures: figuresOf(present, await tried(sample.events, one.rule, covered, signal)) })
  return {
    startTime: formatTime(covered.fromUs),
    endTime: formatTime(covered.toUs),
    devices: ids,
    events: sample.events.length,
    noise: noise === 0 ? null : Number(noise.toPrecision(3)),
    present: figuresToJson(figures),
    suggestions: ranked(figures, found, MOST).map(({ words, figures: its, rule: suggested }) => ({
      words,
      figures: figuresToJson(its),
      rule: documentOf({ ...suggested, groupBy: rule.groupBy }),
    })),
  }
}

/** As many of those with most alarms as a sample can hold; all events of all devices are judged for that. */
async function worstDevices(ports: SuggestPorts, project: string, rule: Rule, range: Range, signal: AbortSignal): Promise<string[]> {
  const all = new Backtest({ ...rule, groupBy: [] }, range)
  const side = { rule, take: all.take.bind(all) }
  for await (const _ of replay(ports, { project, sides: [side], range, devices: undefined }, signal)) signal.throwIfAborted()
  const { worst, events, devices } = all.finish()
  const fit = Math.max(1, Math.min(SAMPLED_DEVICES, Math.floor((SAMPLED_EVENTS * devices) / Math.max(1, events))))
  return worst.slice(0, fit).map(({ device }) => device)
}

export class Sample {
  readonly rule: Rule
  readonly events: Sampled[] = []
  readonly #wanted: ReadonlySet<string>
  readonly #last = new Map<string, number>()
  readonly #differences: number[] = []
  readonly #maxBytes: number
  #bytes = 0
  #isFull = false

  constructor(rule: Rule, devices: readonly string[], maxBytes = SAMPLED_BYTES) {
    this.rule = rule
    this.#maxBytes = maxBytes
    this.#wanted = new Set(devices)
  }

  take(device: Device, eventType: string, timeUs: number, eventId: string, data: EventData): void {
    if (this.#isFull || !this.#wanted.has(device.id)) return
    const read = readOf(this.rule, eventType, data)
    this.events.push({ device, eventType, timeUs, eventId, data: read })
    this.#bytes += JSON.stringify(read).length
    this.#isFull = this.events.length >= SAMPLED_EVENTS || this.#bytes >= this.#maxBytes
    const { when } = this.rule
    // As the rule has it: in its unit.
    const value = when.kind === 'threshold' ? numberIn(when.field, eventType, data) : undefined
    if (typeof value !== 'number') return
    const before = this.#last.get(device.id)
    if (before !== undefined) this.#differences.push(Math.abs(value - before))
    this.#last.set(device.id, value)
  }

  noise(): number {
    return noiseOf(Float64Array.from(this.#differences))
  }

  /** A full sample ends earlier than what was asked for. */
  endUs({ toUs }: Range): number {
    return !this.#isFull ? toUs : Math.min(toUs, (this.events.at(-1)?.timeUs ?? toUs) + 1)
  }
}

/** Of an event's data what the rule reads, where that is known without judging it: a number, and without a unit beside it. */
function readOf({ when }: Rule, eventType: string, data: EventData): EventData {
  if (when.kind !== 'threshold' || when.field.measure !== undefined) return data
  const path = when.field.sources.find(source => source.eventType === eventType)?.path ?? []
  const found = valueIn(when.field, eventType, data)
  // What is no number is only described.
  if (typeof found !== 'number') return typeof found === 'object' ? data : { [eventType]: nested(path, found) }
  return { [eventType]: nested(path, found) }
}

function nested(path: readonly string[], value: unknown): EventData[string] {
  return path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as EventData[string]
}

async function tried(events: readonly Sampled[], rule: Rule, range: Range, signal: AbortSignal): Promise<Findings> {
  const backtest = new Backtest(rule, range)
  const turns = new Turns()
  for (const { device, eventType, timeUs, eventId, data } of events) {
    backtest.take(device, eventType, timeUs, eventId, data)
    if (!turns.isOver) continue
    await turns.giveWay(signal)
  }
  return backtest.finish()
}

function figuresToJson(figures: Figures) {
  const { alarms, flaps, missed } = figures
  const duration = (ms: number) => formatDuration(Math.round(ms))
  const round = (value: number) => Math.round(value * 100) / 100
  return {
    alarms,
    alarmsPerWeek: round(figures.alarmsPerWeek),
    flaps,
    minutesInAlarm: round(figures.minutesInAlarm),
    extraMinutes: round(figures.extraMinutes),
    addedDelay: { median: duration(figures.addedDelayMedianMs), max: duration(figures.addedDelayMaxMs) },
    missed,
    longestMissedMinutes: round(figures.longestMissedMinutes),
  }
}

/** The version is the registry's. */
function documentOf(rule: Rule): Readonly<Record<string, unknown>> {
  const { version: _, ...document } = ruleToJson(rule)
  return document
}
