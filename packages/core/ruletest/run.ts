// Runs a test of rules through the engine that judges live, and says in words where it did not do what was expected.
import type { Device } from '../device.ts'
import { Recent } from '../recent.ts'
import { eventTypesOf, type Rule, selects } from '../rule.ts'
import type { Severity } from '../severity.ts'
import type { Change, EventInput, RuleState } from '../step.ts'
import { formatDuration, formatTime } from '../time.ts'
import { type Followed, followEvent, followTime, NEW, settle, type Track } from '../track.ts'
import type { ExpectedChange, RuleTest, TestEvent } from './plan.ts'

/** Times are RFC 3339 and, for people, how long after the beginning of the test. */
export type TestChange = {
  readonly time: string
  readonly at: string
  readonly rule: string
  readonly device: string
  readonly kind: Change['kind']
  readonly severity: Severity
  readonly value: number | string | null
  readonly reason: string
}

export type TestFailure = {
  /** Of what was expected, in the document: `tests[0].expect[1]`; of the test when nothing expected it. */
  readonly path: string
  readonly time: string
  readonly at: string
  readonly rule: string
  readonly device: string
  readonly expected: string
  readonly found: string
  /** What the rule said last. */
  readonly reason: string
}

export type TestOutcome = {
  readonly name: string
  readonly passed: boolean
  readonly failures: readonly TestFailure[]
  readonly changes: readonly TestChange[]
}

type Made = { readonly rule: Rule; readonly device: Device; readonly change: Change }

/** One rule on one device; of rules that do not select it nothing ever comes. */
type Pair = {
  readonly rule: Rule
  readonly device: Device
  readonly selected: boolean
  /** Of the types that the rule reads. */
  readonly recents: readonly Recent[]
  track: Track
  last: Followed | undefined
}

/** Live, time passes by the server's clock only after events that are on their way have had this long to arrive. */
const GRACE_US = 2_000_000

export function runRuleTest(test: RuleTest, rules: readonly Rule[], path: string): TestOutcome {
  const course = new Course(test, rules)
  const { untilUs } = test
  const moments = [
    ...test.events.map(event => ({ atUs: event.arrivalUs, act: () => course.take(event) })),
    // After the events of the same moment.
    ...[...test.expect, ...(test.changes ?? [])].map(({ atUs }) => ({ atUs, act: () => course.passTime(atUs) })),
    ...test.expect.map(one => ({ atUs: one.atUs, act: () => course.expect(one) })),
    ...(untilUs === undefined ? [] : [{ atUs: untilUs, act: () => course.passTime(untilUs) }]),
  ]
  for (const { act } of moments.toSorted((a, b) => a.atUs - b.atUs)) act()
  const failures = [...course.failures, ...changeFailures(test, course, path)]
  return { name: test.name, passed: failures.length === 0, failures, changes: course.made.map(one => changeToJson(test, one)) }
}

class Course {
  readonly failures: TestFailure[] = []
  readonly made: Made[] = []
  readonly #test: RuleTest
  readonly #pairs: readonly Pair[]
  readonly #recents = new Map<string, Recent>()

  constructor(test: RuleTest, rules: readonly Rule[]) {
    this.#test = test
    this.#pairs = rules.flatMap(rule => test.devices.map(device => this.#pair(rule, device)))
  }

  #pair(rule: Rule, device: Device): Pair {
    const recents = eventTypesOf(rule).map(eventType => this.#recent(device, eventType))
    return { rule, device, selected: selects(rule, device), recents, track: NEW, last: undefined }
  }

  #recent(device: Device, eventType: string): Recent {
    const key = `${eventType}\t${device.id}`
    const recent = this.#recents.get(key) ?? new Recent()
    this.#recents.set(key, recent)
    return recent
  }

  take(event: TestEvent): void {
    const { device, eventType, data, timeUs, eventId } = event
    const { latenessUs, startUs } = this.#test
    this.passTime(event.arrivalUs - GRACE_US)
    const recent = this.#recent(device, eventType)
    const input: EventInput = { kind: 'event', device, eventType, data, timeUs, eventId, listeningSinceUs: startUs }
    const arrival = recent.arrive({ eventType, timeUs, eventId, data, entryId: '', listeningSinceUs: Number.NEGATIVE_INFINITY }, latenessUs)
    const pairs = this.#pairs.filter(pair => pair.selected && pair.recents.includes(recent))
    for (const pair of pairs) this.#moved(pair, followEvent(pair.rule, pair.track, input, arrival, pair.recents))
    const overdueUs = recent.overdueUs(latenessUs)
    if (overdueUs === undefined) return
    for (const pair of pairs) pair.track = settle(pair.rule, pair.track, pair.recents, overdueUs, input)
    recent.drop(overdueUs)
  }

  /** To each moment that something waits for, one after the other. */
  passTime(untilUs: number): void {
    for (const pair of this.#pairs) {
      for (let dueUs = dueOf(pair); pair.selected && dueUs <= untilUs; ) {
        const followed = followTime(pair.rule, pair.track, dueUs, this.#test.startUs)
        // That nothing came of it explains nothing.
        if (followed.changes.length > 0) this.#moved(pair, followed)
        pair.track = followed.track
        const nextUs = dueOf(pair)
        if (nextUs <= dueUs) break
        dueUs = nextUs
      }
    }
  }

  #moved(pair: Pair, followed: Followed): void {
    pair.track = followed.track
    pair.last = followed
    for (const change of followed.changes) this.made.push({ rule: pair.rule, device: pair.device, change })
  }

  expect(one: RuleTest['expect'][number]): void {
    const pair = this.#pairs.find(({ rule, device }) => rule === one.rule && device === one.device)
    if (pair === undefined) return
    const { current } = pair.track
    const { phase, cause, severity = pair.rule.severity } = current
    const value = cause?.value
    const wrong =
      phase !== one.state ||
      (one.severity !== undefined && (phase === 'clear' || severity !== one.severity)) ||
      (one.value !== undefined && value !== one.value) ||
      (one.reason !== undefined && !this.reasonOf(pair).includes(one.reason))
    if (!wrong) return
    const found = [phase, phase === 'clear' ? undefined : severity, one.value === undefined ? undefined : `value ${String(value)}`]
    this.failures.push({
      path: one.path,
      ...placeOf(this.#test, one.atUs, pair.rule, pair.device),
      expected: wanted(one.state, one),
      found: found.filter(part => part !== undefined).join(', ') + this.#since(current),
      reason: this.reasonOf(pair),
    })
  }

  #since({ phase, sinceUs, dueUs }: RuleState): string {
    const since = sinceUs === undefined || phase === 'clear' ? '' : ` since ${offsetText(this.#test, sinceUs)}`
    return dueUs === undefined || phase !== 'pending' ? since : `${since}, active at ${offsetText(this.#test, dueUs)}`
  }

  reasonOf({ selected, last }: Pick<Pair, 'selected' | 'last'>): string {
    return selected ? (last?.reason ?? 'no event that it reads has come') : 'the rule does not select the device'
  }

  reasonAt(rule: Rule, device: Device): string {
    const pair = this.#pairs.find(one => one.rule === rule && one.device === device)
    return pair === undefined ? '' : this.reasonOf(pair)
  }
}

/** All changes, each as it was expected, and no other. */
function changeFailures(test: RuleTest, course: Course, path: string): TestFailure[] {
  if (test.changes === undefined) return []
  const left = [...course.made]
  const missing = test.changes.filter(expected => {
    const at = left.findIndex(made => isChange(expected, made))
    if (at >= 0) left.splice(at, 1)
    return at < 0
  })
  return [
    ...missing.map(one => {
      const near = left.find(({ rule, device, change }) => rule === one.rule && device === one.device && change.kind === one.kind)
      return {
        path: one.path,
        ...placeOf(test, one.atUs, one.rule, one.device),
        expected: wanted(one.kind, one),
        found: near === undefined ? 'no such change' : `${said(near)} at ${offsetText(test, near.change.atUs)}`,
        reason: near === undefined ? course.reasonAt(one.rule, one.device) : near.change.reason,
      }
    }),
    ...left.map(made => ({
      path: `${path}.changes`,
      ...placeOf(test, made.change.atUs, made.rule, made.device),
      expected: 'no other change',
      found: said(made),
      reason: made.change.reason,
    })),
  ]
}

function isChange(expected: ExpectedChange, { rule, device, change }: Made): boolean {
  return (
    expected.rule === rule &&
    expected.device === device &&
    expected.atUs === change.atUs &&
    expected.kind === change.kind &&
    (expected.severity === undefined || expected.severity === change.severity) &&
    (expected.value === undefined || expected.value === change.value) &&
    (expected.reason === undefined || change.reason.includes(expected.reason))
  )
}

function wanted(what: string, { severity, value, reason }: Pick<ExpectedChange, 'severity' | 'value' | 'reason'>): string {
  const parts = [
    what,
    severity,
    value === undefined ? undefined : `value ${value}`,
    reason === undefined ? undefined : `because of "${reason}"`,
  ]
  return parts.filter(part => part !== undefined).join(', ')
}

function said({ change }: Pick<Made, 'change'>): string {
  return `${change.kind}, ${change.severity}${change.value === undefined ? '' : `, value ${change.value}`}`
}

function dueOf({ track }: Pair): number {
  return track.current.dueUs ?? Number.POSITIVE_INFINITY
}

function changeToJson(test: RuleTest, { rule, device, change }: Made): TestChange {
  const { kind, value = null, reason } = change
  return { ...placeOf(test, change.atUs, rule, device), kind, severity: change.severity, value, reason }
}

function placeOf(test: RuleTest, atUs: number, rule: Rule, device: Device) {
  return { time: formatTime(atUs), at: offsetText(test, atUs), rule: rule.name, device: device.id }
}

function offsetText(test: RuleTest, timeUs: number): string {
  const ms = Math.round((timeUs - test.startUs) / 1000)
  return ms < 0 ? `-${formatDuration(-ms)}` : ms === 0 ? '0s' : formatDuration(ms)
}
