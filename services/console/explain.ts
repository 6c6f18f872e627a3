// Why a rule did (or did not) fire on a device, now or at a time: the stored events up to then through the engine, beside what the judge
// has of it and what keeps people from being told.
import { Type } from 'typebox'
import { alarmIdOf } from '../../packages/core/alarm.ts'
import type { DeviceEvent } from '../../packages/core/event.ts'
import { type Explanation, explain, type SeenEvent } from '../../packages/core/explain.ts'
import { Failure } from '../../packages/core/failure.ts'
import { eventTypesOf, type Rule } from '../../packages/core/rule.ts'
import { checkTime, formatDuration, formatTime } from '../../packages/core/time.ts'
import { standing } from '../../packages/core/trackrow.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { DeviceId } from '../../packages/runtime/schema.ts'
import type { AlarmDocument, Alarms } from '../../packages/state/alarm.ts'
import type { Devices } from '../../packages/state/device.ts'
import type { Judgements } from '../../packages/state/judgement.ts'
import type { Rules } from '../../packages/state/rule.ts'
import type { ReadingStore } from '../../packages/store/store.ts'
import { project, ruleName } from './backtest.ts'

export type ExplainPorts = {
  readonly store: Pick<ReadingStore, 'events'>
  readonly devices: Pick<Devices, 'one'>
  readonly rules: Pick<Rules, 'one'>
  readonly alarms: Pick<Alarms, 'one'>
  readonly judgements: Pick<Judgements, 'tracks'>
  nowUs(): number
}

/** So much of the past is judged: what a condition remembers is rarely from before it. */
const EVENTS = 2000
const PAST_US = 40 * 86_400_000_000

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
    async request => {
      const { project, rule: name } = request.params
      callerIn(request, project)
      const { device: id, time } = request.query
      const nowUs = ports.nowUs()
      const atUs = time === undefined ? nowUs : checkTime(time.replace(/ (?=\d\d:\d\d$)/, '+'), 'time')
      const [rule, device] = await Promise.all([ports.rules.one(project, name), ports.devices.one(project, id)])
      const explained = explain(rule, device, await newest(ports.store, project, id, rule, atUs), atUs)
      const live = atUs >= nowUs ? await liveOf(ports, project, rule, id, explained) : NOT_LIVE
      return { ...toJson(rule, id, explained), ...live, words: [...explained.words, ...live.words] }
    },
  )
}

/** Oldest first, up to and with the moment. */
async function newest(store: ExplainPorts['store'], project: string, device: string, rule: Rule, atUs: number): Promise<SeenEvent[]> {
  const query = { project, device, eventTypes: eventTypesOf(rule), toUs: atUs + 1, limit: EVENTS }
  const recent = await store.events({ ...query, fromUs: atUs - PAST_US })
  // Of a device that has been silent for long there is only what was before.
  const found = recent.length > 0 ? recent : await store.events({ ...query, fromUs: Number.MIN_SAFE_INTEGER })
  return found.reverse().map(({ eventType, timeUs, eventId, frame }) => {
    const { data } = JSON.parse(frame) as DeviceEvent
    return { eventType, timeUs, eventId, data }
  })
}

type Live = { readonly judged: string | null; readonly alarm: AlarmDocument | null; readonly words: readonly string[] }
const NOT_LIVE: Live = { judged: null, alarm: null, words: [] }

async function liveOf(ports: ExplainPorts, project: string, rule: Rule, device: string, explained: Explanation): Promise<Live> {
  const [[row], alarm] = await Promise.all([
    ports.judgements.tracks(project, [[rule.name, device]]),
    alarmOf(ports.alarms, project, alarmIdOf(rule.name, explained.alarmOf)),
  ])
  const judged = row ? standing(row).phase : null
  const words: string[] = []
  if (judged !== null && judged !== explained.phase && explained.selected)
    words.push(`The judge has it as ${judged}: its events are newer or older than what is stored, or the rule was edited meanwhile.`)
  if (alarm) words.push(...toldWords(alarm))
  return { judged, alarm, words }
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
