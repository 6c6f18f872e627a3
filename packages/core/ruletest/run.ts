// Runs a test of rules through the engine that judges live, and says in words where it did not do what was expected.
import type { Device } from '../device.ts'
import { invalid } from '../failure.ts'
import { Recent } from '../recent.ts'
import { eventTypesOf, type Rule, selects } from '../rule.ts'
import type { Severity } from '../severity.ts'
import type { Change, EventInput, RuleState } from '../step.ts'
import { formatDuration, formatTime } from '../time.ts'
import { type Followed, followEvent, followTime, NEW, settle, type Track } from '../track.ts'
import { Due } from './due.ts'
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
  /** Among all of a test. */
  readonly order: number
  readonly selected: boolean
  /** Of the types that the rule reads. */
  readonly recents: readonly Recent[]
  track: Track
  last: Followed | undefined
  /** What it stands among those that wait for; undefined: it does not, or what it waited for has come. */
  waitsUs: number | undefined
}

/** Live, time passes by the server's clock only after events that are on their way have had this long to arrive. */
const GRACE_US = 2_000_000

/** Nobody reads more, and each is kept until the end. */
const MAX_CHANGES = 50_000

export function runRuleTest(test: RuleTest, rules: readonly Rule[], path: string): TestOutcome {
  const run = runInSteps(test, rules, path)
  for (let step = run.next(); ; step = run.next()) if (step.done) return step.value
}

/** The same bit by bit, for who has others to let go first: each step is a judgement or two. */
export function* runInSteps(test: RuleTest, rules: readonly Rule[], path: string): Generator<undefined, TestOutcome> {
  const course = new Course(test, path)
  yield* course.seat(rules)
  const { untilUs } = test
  const moments = [
    ...test.events.map(event => ({ atUs: event.arrivalUs, act: () => course.take(event) })),
    // After the events of the same moment.
    ...[...test.expect, ...(test.changes ?? [])].map(({ atUs }) => ({ atUs, act: () => course.passTime(atUs) })),
    ...test.expect.map(one => ({ atUs: one.atUs, act: () => course.expect(one) })),
    ...(untilUs === undefined ? [] : [{ atUs: untilUs, act: () => course.passTime(untilUs) }]),
  ]
  for (const { act } of moments.toSorted((a, b) => a.atUs - b.atUs)) yield* act()
  const failures = [...course.failures, ...changeFailures(test, course, path)]
  return { name: test.name, passed: failures.length === 0, failures, changes: course.made.map(one => changeToJson(test, one)) }
}

class Course {
  readonly failures: TestFailure[] = []
  readonly made: Made[] = []
  readonly #test: RuleTest
  readonly #path: string
  readonly #pairs = new Map<Rule, Map<Device, Pair>>()
  readonly #byRecent = new Map<Recent, Pair[]>()
  readonly #due = new Due<Pair>()
  readonly #recents = new Map<string, Recent>()

  constructor(test: RuleTest, path: string) {
    this.#test = test
    this.#path = path
  }

  *seat(rules: readonly Rule[]): Generator<undefined> {
    let order = 0
    for (const rule of rules) {
      const byDevice = new Map<Device, Pair>()
      this.#pairs.set(rule, byDevice)
      for (const device of this.#test.devices) byDevice.set(device, this.#pair(rule, device, order++))
      yield
    }
  }

  #pair(rule: Rule, device: Device, order: number): Pair {
    const recents = eventTypesOf(rule).map(eventType => this.#recent(device, eventType))
    const pair: Pair = { rule, device, order, selected: selects(rule, device), recents, track: NEW, last: undefined, waitsUs: undefined }
    if (!pair.selected) return pair
    for (const recent of recents) {
      const list = this.#byRecent.get(recent)
      if (list) list.push(pair)
      else this.#byRecent.set(recent, [pair])
    }
    this.#wait(pair)
    return pair
  }

  #recent(device: Device, eventType: string): Recent {
    const key = `${eventType}\t${device.id}`
    const recent = this.#recents.get(key) ?? new Recent()
    this.#recents.set(key, recent)
    return recent
  }

  *take(event: TestEvent): Generator<undefined> {
    const { device, eventType, data, timeUs, eventId } = event
    const { latenessUs, startUs } = this.#test
    yield* this.passTime(event.arrivalUs - GRACE_US)
    const recent = this.#recent(device, eventType)
    const input: EventInput = { kind: 'event', device, eventType, data, timeUs, eventId, listeningSinceUs: startUs }
    const arrival = recent.arrive({ eventType, timeUs, eventId, data, entryId: '', listeningSinceUs: Number.NEGATIVE_INFINITY }, latenessUs)
    const pairs = this.#byRecent.get(recent) ?? []
    for (const pair of pairs) {
      this.#moved(pair, followEvent(pair.rule, pair.track, input, arrival, pair.recents))
      yield
    }
    const overdueUs = recent.overdueUs(latenessUs)
    if (overdueUs === undefined) return
    for (const pair of pairs) {
      pair.track = settle(pair.rule, pair.track, pair.recents, overdueUs, input)
      this.#wait(pair)
      yield
    }
    recent.drop(overdueUs)
  }

  /** To each moment that something waits for, one after the other. */
  *passTime(untilUs: number): Generator<undefined> {
    for (let pair = this.#due.take(untilUs); pair !== undefined; pair = this.#due.take(untilUs)) {
      const dueUs = dueOf(pair)
      const followed = followTime(pair.rule, pair.track, dueUs, this.#test.startUs)
      // That nothing came of it explains nothing.
      if (followed.changes.length > 0) this.#moved(pair, followed)
      pair.track = followed.track
      if (dueOf(pair) > dueUs) this.#wait(pair)
      yield
    }
  }

  #wait(pair: Pair): void {
    const dueUs = dueOf(pair)
    if (dueUs !== pair.waitsUs && dueUs !== Number.POSITIVE_INFINITY) this.#due.add(pair, dueUs)
    pair.waitsUs = dueUs
  }

  #moved(pair: Pair, followed: Followed): void {
    pair.track = followed.track
    pair.last = followed
    this.#wait(pair)
    for (const change of followed.changes) this.made.push({ rule: pair.rule, device: pair.device, change })
    if (this.made.length > MAX_CHANGES) throw invalid(this.#path, `gives more than ${MAX_CHANGES} changes; expected fewer events or rules`)
  }

  *expect(one: RuleTest['expect'][number]): Generator<undefined> {
    const pair = this.#pairs.get(one.rule)?.get(one.device)
    if (pair === undefined) return
    yield
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
    const pair = this.#pairs.get(rule)?.get(device)
    return pair === undefined ? '' : this.reasonOf(pair)
  }
}

/** All changes, each as it was expected, and no other. */
function changeFailures(test: RuleTest, course: Course, path: string): TestFailure[] {
  if (test.changes === undefined) return []
  const left = new Set(course.made)
  const byMoment = grouped(course.made, ({ rule, device, change }) => keyOf(rule, device, change.kind, change.atUs))
  const missing = test.changes.filter(expected => {
    const { rule, device, kind, atUs } = expected
    const made = byMoment.get(keyOf(rule, device, kind, atUs))?.find(one => left.has(one) && isChange(expected, one))
    return made === undefined || !left.delete(made)
  })
  const byKind = grouped([...left], ({ rule, device, change }) => keyOf(rule, device, change.kind))
  return [
    ...missing.map(one => {
      const near = byKind.get(keyOf(one.rule, one.device, one.kind))?.[0]
      return {
        path: one.path,
        ...placeOf(test, one.atUs, one.rule, one.device),
        expected: wanted(one.kind, one),
        found: near === undefined ? 'no such change' : `${said(near)} at ${offsetText(test, near.change.atUs)}`,
        reason: near === undefined ? course.reasonAt(one.rule, one.device) : near.change.reason,
      }
    }),
    ...[...left].map(made => ({
      path: `${path}.changes`,
      ...placeOf(test, made.change.atUs, made.rule, made.device),
      expected: 'no other change',
      found: said(made),
      reason: made.change.reason,
    })),
  ]
}

function keyOf(rule: Rule, device: Device, kind: string, atUs?: number): string {
  return [rule.name, device.id, kind, atUs].join('\t')
}

function grouped(all: readonly Made[], key: (made: Made) => string): Map<string, Made[]> {
  const groups = new Map<string, Made[]>()
  for (const made of all) {
    const group = groups.get(key(made))
    if (group) group.push(made)
    else groups.set(key(made), [made])
  }
  return groups
}

/** Of one rule and device, of one kind and moment. */
function isChange(expected: ExpectedChange, { change }: Made): boolean {
  return (
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
