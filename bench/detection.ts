// `npm run bench -- detection`: which rules find which incidents in recorded series, how late, and how often they cry wolf. No clock and no
// dice: the same table on every machine (docs/detection.md).
import { Recent } from '../packages/core/recent.ts'
import { parseRule, type Rule } from '../packages/core/rule.ts'
import type { Change, EventInput } from '../packages/core/step.ts'
import { type Followed, followEvent, followTime, NEW, settle } from '../packages/core/track.ts'
import { type Incident, recordAll, type Series } from './series.ts'
import { aligned } from './table.ts'

export type DetectionReport = {
  readonly series: string
  readonly rule: string
  readonly when: object
  readonly labelled: number
  readonly detected: number
  readonly missed: readonly string[]
  /** Of those detected; undefined when none was. */
  readonly medianDelayMinutes: number | undefined
  readonly falseAlarmsPerWeek: number
}

type Candidate = readonly [name: string, when: object]
type Alarm = { readonly fromUs: number }

const DEVICE = { id: 'sensor', type: 'sensor', labels: {}, productNumber: '' }
const MINUTE_US = 60_000_000
/** As a server has them without a setting: how late events may be, and how long time waits for those that are on their way. */
const LATENESS_US = 2 * MINUTE_US
const GRACE_US = 2_000_000
/** What still rings so long after an incident belongs to it. */
const ECHO_US = 120 * MINUTE_US
const FIELD = { field: 'sensor.value' }
const CALM = { for: '20m', keepActive: '30m' }
/** Their conditions wait long enough themselves. */
const AT_ONCE: ReadonlySet<string> = new Set(['cellar, %RH'])

/** Round numbers, set once and not tuned to the result; but whoever set them knew the incidents. */
const CANDIDATES: { readonly [series: string]: readonly Candidate[] } = {
  'freezer, °C': [
    ['threshold', { threshold: { ...FIELD, above: -13, clearBelow: -15 } }],
    ['rate', { rate: { ...FIELD, per: '1h', over: '1h', above: 2.5, clearBelow: 1.5 } }],
    ['window mean', { window: { ...FIELD, function: 'mean', over: '1h', above: -15.5, clearBelow: -16.5 } }],
    ['deviation', { deviation: { ...FIELD, above: 5, clearBelow: 3, direction: 'up', minChange: 2 } }],
    ['seasonal', { deviation: { ...FIELD, season: 'daily', above: 5, clearBelow: 3, direction: 'up', minChange: 2 } }],
  ],
  'office, °C': [
    ['threshold', { threshold: { ...FIELD, below: 15, above: 24 } }],
    ['rate', { rate: { ...FIELD, per: '1h', over: '1h', above: 4, below: -4 } }],
    ['window mean', { window: { ...FIELD, function: 'mean', over: '1h', below: 15.5, above: 23.5 } }],
    ['deviation', { deviation: { ...FIELD, above: 4, clearBelow: 3 } }],
    ['seasonal daily', { deviation: { ...FIELD, season: 'daily', above: 5, clearBelow: 3, minChange: 2 } }],
    ['seasonal weekly', { deviation: { ...FIELD, season: 'weekly', above: 5, clearBelow: 3, minChange: 2 } }],
  ],
  'pump, bar': [
    ['threshold', { threshold: { ...FIELD, below: 5.6, above: 6.6 } }],
    ['rate', { rate: { ...FIELD, per: '1h', over: '1h', above: 0.4, below: -0.4 } }],
    ['window stddev', { window: { ...FIELD, function: 'stddev', over: '30m', above: 0.2, clearBelow: 0.1, atLeast: 10 } }],
    ['deviation', { deviation: { ...FIELD, above: 4, clearBelow: 3 } }],
    ['seasonal', { deviation: { ...FIELD, season: 'daily', above: 4, clearBelow: 3 } }],
  ],
  'power, kW': [
    ['threshold', { threshold: { ...FIELD, below: 0.6, above: 6 } }],
    ['rate', { rate: { ...FIELD, per: '1h', over: '1h', above: 3, below: -3 } }],
    ['deviation', { deviation: { ...FIELD, above: 5, clearBelow: 3 } }],
    ['seasonal daily', { deviation: { ...FIELD, season: 'daily', above: 5, clearBelow: 2, minChange: 1 } }],
    ['seasonal weekly', { deviation: { ...FIELD, season: 'weekly', above: 5, clearBelow: 2, minChange: 1 } }],
  ],
  'cellar, %RH': [
    ['threshold', { threshold: { ...FIELD, below: 40, above: 80 } }],
    ['deviation', { deviation: { ...FIELD, above: 5, clearBelow: 3 } }],
    ['stuck', { stuck: { ...FIELD, for: '1h', readings: 6 } }],
    ['window stddev', { window: { ...FIELD, function: 'stddev', over: '1h', below: 0.01, atLeast: 6 } }],
    ['absent, 6 intervals', { absent: { eventType: 'sensor', times: 6, min: '20m' } }],
  ],
}

export function detectAll(): readonly DetectionReport[] {
  return recordAll().flatMap(series => (CANDIDATES[series.name] ?? []).map(candidate => detect(series, candidate)))
}

function detect(series: Series, [name, when]: Candidate): DetectionReport {
  const alarms = alarmsOf(parseRule({ name: 'candidate', when, ...(AT_ONCE.has(series.name) ? {} : CALM) }), series)
  const found = series.incidents.map(incident => ({ incident, alarm: alarms.find(alarm => within(alarm, incident, 0)) }))
  const delays = found.flatMap(({ incident, alarm }) => (alarm === undefined ? [] : [(alarm.fromUs - incident.fromUs) / MINUTE_US]))
  const wolves = alarms.filter(alarm => !series.incidents.some(incident => within(alarm, incident, ECHO_US)))
  return {
    series: series.name,
    rule: name,
    when,
    labelled: series.incidents.length,
    detected: delays.length,
    missed: found.filter(({ alarm }) => alarm === undefined).map(({ incident }) => incident.name),
    medianDelayMinutes: medianOf(delays),
    falseAlarmsPerWeek: wolves.length / series.weeks,
  }
}

/** It began during the incident: one that rang already before is no detection. */
function within(alarm: Alarm, incident: Incident, echoUs: number): boolean {
  return alarm.fromUs >= incident.fromUs && alarm.fromUs < incident.toUs + echoUs
}

/** Of an even number the mean of the middle two. */
export function medianOf(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return low === undefined || high === undefined ? undefined : (low + high) / 2
}

/** As a server judges them: each when it arrives, time passing in between, late ones in order, and those that come too late not at all. */
function alarmsOf(rule: Rule, { readings }: Series): readonly Alarm[] {
  const alarms = new Map<number, Alarm>()
  const recents = [new Recent()] as const
  const listeningSinceUs = readings[0]?.timeUs ?? 0
  let track = NEW
  const take = (followed: Followed) => {
    track = followed.track
    for (const change of followed.changes) note(alarms, change)
  }
  for (const [index, { timeUs, arrivalUs, value }] of readings.entries()) {
    for (let dueUs = 0; (track.current.dueUs ?? Number.POSITIVE_INFINITY) <= arrivalUs - GRACE_US; ) {
      if (track.current.dueUs === dueUs) break
      dueUs = track.current.dueUs ?? 0
      take(followTime(rule, track, dueUs, listeningSinceUs))
    }
    const data = { sensor: { value } }
    const event: EventInput = { kind: 'event', device: DEVICE, eventType: 'sensor', data, timeUs, eventId: `${index}`, listeningSinceUs }
    const [recent] = recents
    take(followEvent(rule, track, event, recent.arrive({ ...event, listeningSinceUs, entryId: '' }, LATENESS_US), recents))
    const overdueUs = recent.overdueUs(LATENESS_US)
    if (overdueUs === undefined) continue
    track = settle(rule, track, recents, overdueUs, event)
    recent.drop(overdueUs)
  }
  return [...alarms.values()]
}

function note(alarms: Map<number, Alarm>, { kind, episode, activeUs }: Change): void {
  if (kind === 'withdrawn' || activeUs === undefined) alarms.delete(episode)
  else alarms.set(episode, { fromUs: activeUs })
}

export function renderDetection(reports: readonly DetectionReport[]): string {
  const rows = reports.map(({ series, rule, labelled, detected, medianDelayMinutes, falseAlarmsPerWeek, missed }) => [
    series,
    rule,
    `${detected} of ${labelled}`,
    medianDelayMinutes === undefined ? '-' : `${Math.round(medianDelayMinutes)} min`,
    falseAlarmsPerWeek.toFixed(2),
    [...new Set(missed)].join(', '),
  ])
  return aligned([['series', 'rule', 'detected', 'median delay', 'false alarms a week', 'missed'], ...rows])
}
