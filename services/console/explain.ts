// Why a rule did (or did not) fire on a device, now or at a time: the stored events up to then through the engine, beside what the judge
// has of it and what keeps people from being told.
import { Type } from 'typebox'
import { alarmIdOf } from '../../packages/core/alarm.ts'
import type { Device } from '../../packages/core/device.ts'
import type { DeviceEvent } from '../../packages/core/event.ts'
import { type Explanation, explain, type SeenEvent } from '../../packages/core/explain.ts'
import { Failure } from '../../packages/core/failure.ts'
import { eventTypesOf, type Rule } from '../../packages/core/rule.ts'
import { checkTime, counted, durationWords, formatDuration, formatTime } from '../../packages/core/time.ts'
import { standing, type TrackRow } from '../../packages/core/trackrow.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { DeviceId } from '../../packages/runtime/schema.ts'
import type { AlarmDocument, Alarms } from '../../packages/state/alarm.ts'
import type { Devices } from '../../packages/state/device.ts'
import type { Judgements } from '../../packages/state/judgement.ts'
import type { Rules } from '../../packages/state/rule.ts'
import { Turns } from '../../packages/state/turn.ts'
import type { EventRecord, ReadingStore } from '../../packages/store/store.ts'
import { project, ruleName } from './backtest.ts'
import type { Running } from './running.ts'

export type ExplainPorts = {
  readonly store: Pick<ReadingStore, 'events'>
  readonly devices: Pick<Devices, 'one'>
  readonly rules: Pick<Rules, 'one'>
  readonly alarms: Pick<Alarms, 'one'>
  readonly judgements: Pick<Judgements, 'tracks'>
  readonly running: Running
  /** How far events may be behind the newest of their type for the judge to put them in order. */
  readonly latenessMs: number
  nowUs(): number
}

/** So much of the past is judged: what a condition remembers is rarely from before it. */
const EVENTS = 2000
const PAST_US = 40 * 86_400_000_000
const MAX_BYTES = 8_000_000
/** Of events as large as they may be this is a few times MAX_BYTES. */
const MOST_A_PAGE = 400

const ExplainAnswer = Type.Object({
  time: Type.String(),
  rule: Type.String(),
  version: Type.Integer(),
  device: Type.String(),
  enabled: Type.Boolean(),
  selected: Type.Boolean(),
  open: Type.Boolean({ description: 'whether the schedule of the rule is open then' }),
  alarmOf: Type.String({ description: 'the device, or the group that shares one alarm' }),
  phase: Type.String({ description: 'clear, pending or active, from the stored events' }),
  judged: Type.Union([Type.String(), Type.Null()], {
    description: 'the same as the judge has it now; null for a past time, or when it has nothing',
  }),
  values: Type.Array(Type.Record(Type.String(), Type.Unknown()), { description: 'what was seen, newest first, with what was said of it' }),
  timers: Type.Array(Type.Record(Type.String(), Type.Unknown())),
  changes: Type.Array(Type.Record(Type.String(), Type.Unknown())),
  nearest: Type.String({ description: 'the nearest change that would have turned it over' }),
  alarm: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]),
  words: Type.Array(Type.String(), { description: 'all of it in sentences' }),
})

export function addExplainRoute(app: HttpApp, ports: ExplainPorts): void {
  app.get(
    verb('/v2/projects/:project/rules/:rule', 'explain'),
    {
      schema: {
        operationId: 'explainRule',
        summary: 'Why a rule did or did not fire on a device, now or at a time',
        tags: ['rules'],
        params: Type.Object({ project, rule: ruleName }),
        querystring: Type.Object({
          device: DeviceId,
          time: Type.Optional(Type.String({ description: 'RFC 3339; now unless given', examples: ['2027-03-02T07:00:00Z'] })),
        }),
        response: { 200: ExplainAnswer },
      },
    },
    async (request, reply) => {
      const { project, rule: name } = request.params
      callerIn(request, project)
      const { device: id, time } = request.query
      const nowUs = ports.nowUs()
      const atUs = time === undefined ? nowUs : checkTime(time.replace(/ (?=\d\d:\d\d$)/, '+'), 'time')
      const [rule, device] = await Promise.all([ports.rules.one(project, name), ports.devices.one(project, id)])
      return ports.running.within(reply, project, async signal => {
        const past = await newest(ports.store, project, id, rule, atUs, signal)
        const explained = await explainInTurns(rule, device, past.records, atUs, signal)
        const live = atUs >= nowUs ? await liveOf(ports, project, rule, id, explained, past.records) : NOT_LIVE
        return { ...toJson(rule, id, explained), ...live, words: [...explained.words, ...cutWords(past), ...live.words] }
      })
    },
  )
}

/** Oldest first, up to and with the moment. */
type Past = { readonly records: readonly EventRecord[]; readonly truncated: boolean }

export async function newest(
  store: ExplainPorts['store'],
  project: string,
  device: string,
  rule: Rule,
  atUs: number,
  signal: AbortSignal,
): Promise<Past> {
  const since = (fromUs: number) => {
    const query = { project, device, eventTypes: eventTypesOf(rule), fromUs, toUs: atUs + 1 }
    return page(store, query, signal)
  }
  const recent = await since(atUs - PAST_US)
  // Of a device that has been silent for long there is only what was before.
  return recent.records.length > 0 ? recent : since(Number.MIN_SAFE_INTEGER)
}

type Query = Omit<Parameters<ReadingStore['events']>[0], 'limit' | 'after'>

/** Page by page, until there are enough of them by number or by bytes. */
async function page(store: ExplainPorts['store'], query: Query, signal: AbortSignal): Promise<Past> {
  const records: EventRecord[] = []
  let bytes = 0
  for (let limit = 100; ; limit = Math.min(2 * limit, MOST_A_PAGE, EVENTS - records.length)) {
    signal.throwIfAborted()
    const found = await store.events({ ...query, limit, after: records.at(-1) })
    for (const one of found) {
      if (bytes > MAX_BYTES) break
      records.push(one)
      bytes += one.frame.length
    }
    if (found.length < limit) return { records: records.reverse(), truncated: false }
    if (bytes > MAX_BYTES || records.length >= EVENTS) return { records: records.reverse(), truncated: true }
  }
}

function* seenIn(records: readonly EventRecord[]): Generator<SeenEvent> {
  for (const { eventType, timeUs, eventId, frame } of records) {
    const { data } = JSON.parse(frame) as DeviceEvent
    yield { eventType, timeUs, eventId, data }
  }
}

export async function explainInTurns(
  rule: Rule,
  device: Device,
  records: readonly EventRecord[],
  atUs: number,
  signal: AbortSignal,
): Promise<Explanation> {
  const turns = new Turns()
  const steps = explain(rule, device, seenIn(records), atUs)
  for (;;) {
    const { done, value } = steps.next()
    if (done === true) return value
    if (!turns.isOver) continue
    await turns.giveWay(signal)
  }
}

function cutWords({ records: [first, ...others], truncated }: Past): string[] {
  if (first === undefined || !truncated) return []
  return [
    `Only its newest ${others.length + 1} events were judged for this, from ${formatTime(first.timeUs)} on: what was before is not known.`,
  ]
}

type Live = { readonly judged: string | null; readonly alarm: AlarmDocument | null; readonly words: readonly string[] }
const NOT_LIVE: Live = { judged: null, alarm: null, words: [] }

async function liveOf(
  ports: ExplainPorts,
  project: string,
  rule: Rule,
  device: string,
  explained: Explanation,
  records: readonly EventRecord[],
): Promise<Live> {
  const [[row], alarm] = await Promise.all([
    ports.judgements.tracks(project, [[rule.name, device]]),
    alarmOf(ports.alarms, project, alarmIdOf(rule.name, explained.alarmOf)),
  ])
  const words: string[] = []
  if (row && explained.selected) words.push(...liveWords(rule, row, explained, records, ports.latenessMs))
  if (alarm) words.push(...toldWords(alarm))
  return { judged: row ? standing(row).phase : null, alarm, words }
}

/** That the judge has it otherwise, and why. */
function liveWords(rule: Rule, row: TrackRow, explained: Explanation, records: readonly EventRecord[], latenessMs: number): string[] {
  const { phase, activeUs, sinceUs } = standing(row)
  const late = rule.late === 'ignore' ? lateOf(records, latenessMs) : []
  const same = phase === explained.phase
  if (same && (phase === 'clear' || late.length === 0 || sinceUs === explained.sinceUs)) return []
  const startUs = activeUs ?? sinceUs
  const since = phase === 'clear' || startUs === undefined ? '' : ` since ${formatTime(startUs)}`
  const why = lateWords(late, latenessMs) ?? editWords(rule, row) ?? clockWords(records.at(-1), latenessMs) ?? UNSEEN
  return [`Live it is ${phase}${since}, because ${why}.`]
}

const UNSEEN = 'its events are newer or older than what is stored, or were judged by an earlier version of the rule'

function lateWords([first, ...others]: readonly EventRecord[], latenessMs: number): string | undefined {
  if (first === undefined) return undefined
  const events = counted(others.length + 1, 'event')
  const upTo = others.length === 0 ? '' : ` to ${formatTime(others.at(-1)?.timeUs ?? first.timeUs)}`
  return `${events} of ${formatTime(first.timeUs)}${upTo} came too late to be judged: more than ${durationWords(latenessMs)} behind the newest`
}

function editWords(rule: Rule, { r: version }: TrackRow): string | undefined {
  return version === rule.version ? undefined : `the rule was edited, and it goes on from where version ${version} stood`
}

/** Timers run by the device's clock. */
function clockWords(newest: EventRecord | undefined, latenessMs: number): string | undefined {
  const behindMs = newest?.acceptedMs === undefined ? 0 : newest.acceptedMs - newest.timeUs / 1000
  return behindMs > latenessMs ? `its events come ${durationWords(behindMs)} after their times, and its timers as much later` : undefined
}

/** Those that were further behind the newest of their type than they may be when they were accepted, oldest first. */
export function lateOf(records: readonly EventRecord[], latenessMs: number): EventRecord[] {
  const newestUs = new Map<string, number>()
  const late: EventRecord[] = []
  const arrived = records.filter(({ acceptedMs }) => acceptedMs !== undefined)
  for (const one of arrived.toSorted((a, b) => (a.acceptedMs ?? 0) - (b.acceptedMs ?? 0))) {
    const newest = newestUs.get(one.eventType) ?? Number.NEGATIVE_INFINITY
    if (one.timeUs < newest - latenessMs * 1000) late.push(one)
    newestUs.set(one.eventType, Math.max(newest, one.timeUs))
  }
  return late.sort((a, b) => a.timeUs - b.timeUs)
}

async function alarmOf(alarms: Pick<Alarms, 'one'>, project: string, id: string): Promise<AlarmDocument | null> {
  try {
    return await alarms.one(project, id)
  } catch (error) {
    if (error instanceof Failure && error.code === 'not_found') return null
    throw error
  }
}

type Suppression = { readonly kind: string; readonly name: string; readonly until: string | null }

/** What keeps people from being told. */
function toldWords(alarm: AlarmDocument): string[] {
  const { suppressedBy, acknowledgement, state } = alarm as AlarmDocument & { readonly suppressedBy?: Suppression | null }
  const words = [`Its alarm ${alarm.alarmId} is ${state} since ${alarm.updateTime}: ${alarm.reason}.`]
  if (suppressedBy) {
    const { kind, name, until } = suppressedBy
    words.push(`Nobody is notified because of the ${kind} ${name}${until === null ? '' : ` until ${until}`}.`)
  }
  if (acknowledgement) words.push(`It was acknowledged by ${acknowledgement.by} at ${acknowledgement.time}.`)
  return words
}

function toJson(rule: Rule, device: string, explained: Explanation) {
  const { atUs, selected, open, alarmOf, phase, nearest } = explained
  const plain = (value: unknown) => value ?? null
  return {
    time: formatTime(atUs),
    rule: rule.name,
    version: rule.version,
    device,
    enabled: rule.enabled,
    selected,
    open,
    alarmOf,
    phase,
    values: explained.values.map(({ timeUs, eventType, eventId, value, limit, holds, reason }) => ({
      time: formatTime(timeUs),
      eventType,
      eventId,
      value: plain(value),
      limit: plain(limit),
      holds: plain(holds),
      reason,
    })),
    timers: explained.timers.map(({ kind, endUs, leftMs }) => ({ kind, end: formatTime(endUs), left: formatDuration(leftMs) })),
    changes: explained.changes.map(({ kind, atUs: changedUs, value, limit, reason }) => ({
      kind,
      time: formatTime(changedUs),
      value: plain(value),
      limit: plain(limit),
      reason,
    })),
    nearest,
  }
}
