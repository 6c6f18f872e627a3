// Late, doubled and shuffled events: what people end up knowing is what the right order would have told them.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Alarm, currentAlarm, nextAlarm } from './alarm.ts'
import { Recent, type RecentEvent } from './recent.ts'
import { eventTypesOf, parseRule, type Rule } from './rule.ts'
import { type Change, type EventInput, type RuleState, step } from './step.ts'
import { followEvent, followTime, NEW, restore, settle, settleAll, type Track } from './track.ts'
import { parseTrackRow, trackToJson } from './trackrow.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }
const MINUTE_US = 60_000_000
const NOON_US = Date.UTC(2026, 10, 21, 12) * 1000
const LATENESS_US = 10 * MINUTE_US
const ALWAYS = Number.NEGATIVE_INFINITY
const END_US = NOON_US + 5000 * MINUTE_US

type Reading = { readonly minute: number; readonly value: number; readonly type?: string }

function eventOf({ minute, value, type = 'temperature' }: Reading, index: number): EventInput {
  const timeUs = NOON_US + minute * MINUTE_US
  return {
    kind: 'event',
    device: DEVICE,
    eventType: type,
    data: { [type]: { value } },
    timeUs,
    eventId: `e${String(index).padStart(4, '0')}`,
  }
}

/** One rule on one device, as a worker has it. */
class Line {
  readonly rule: Rule
  readonly told: Change[] = []
  track: Track = NEW
  reason = ''
  #recents: Recent[]

  constructor(rule: Rule) {
    this.rule = rule
    this.#recents = eventTypesOf(rule).map(() => new Recent())
  }

  event(event: EventInput): void {
    const recent = this.#recents[eventTypesOf(this.rule).indexOf(event.eventType)]
    if (!recent) return
    const arrival = recent.arrive({ ...event, entryId: '1-0' }, LATENESS_US)
    this.#take(followEvent(this.rule, this.track, event, arrival, this.#recents))
    const overdueUs = recent.overdueUs(LATENESS_US)
    if (overdueUs === undefined) return
    this.track = settle(this.rule, this.track, this.#recents, overdueUs, event)
    recent.drop(overdueUs)
  }

  clock(timeUs: number): void {
    const { dueUs = Number.POSITIVE_INFINITY } = this.track.current
    if (dueUs <= timeUs) this.#take(followTime(this.rule, this.track, timeUs, ALWAYS))
  }

  /** Everything but what is written is lost. */
  restart(): void {
    const row = parseTrackRow(JSON.stringify(trackToJson(this.rule, this.track)))
    const events = this.#recents.map(recent => JSON.parse(JSON.stringify(recent.events)) as RecentEvent[])
    this.#recents = this.#recents.map((recent, i) => new Recent(events[i], recent.newestUs))
    this.track = restore(this.rule, row, this.#recents, { device: DEVICE }, () => false)
  }

  #take({ track, changes, reason }: { track: Track; changes: readonly Change[]; reason: string }): void {
    this.told.push(...changes)
    this.track = track
    this.reason = reason
  }
}

/** The alarms that were active, as whoever was told all this knows them. */
function known(changes: readonly Change[]) {
  const episodes = new Map<number, Pick<Change, 'sinceUs' | 'activeUs' | 'clearedUs' | 'severity'>>()
  for (const { kind, episode, sinceUs, activeUs, clearedUs, severity } of changes)
    if (kind === 'withdrawn' || activeUs === undefined) episodes.delete(episode)
    else episodes.set(episode, { sinceUs, activeUs, clearedUs, severity })
  return [...episodes].sort(([a], [b]) => a - b)
}

/** The alarm document after all that was told. */
function shownOf(rule: Rule, changes: readonly Change[]) {
  let alarm: Alarm | undefined
  for (const change of changes) alarm = currentAlarm(alarm, nextAlarm(alarm, rule, DEVICE, change, END_US), change.late)
  const { state, since, activeSince, severity } = alarm ?? {}
  return state === 'active' || state === 'pending' ? { state, since, activeSince, severity } : { state: 'cleared' }
}

function inOrder(rule: Rule, events: readonly EventInput[]): { changes: Change[]; state: RuleState | undefined } {
  const changes: Change[] = []
  let state: RuleState | undefined
  const end = { kind: 'time', timeUs: END_US, listeningSinceUs: ALWAYS } as const
  for (const input of [...events, end]) {
    const outcome = step(rule, state, input)
    state = outcome.state
    changes.push(...outcome.changes)
  }
  return { changes, state }
}

const threshold = { field: 'temperature.value', above: 5, clearBelow: 4 }
const RULES: readonly Rule[] = [
  { when: { threshold } },
  { when: { threshold }, for: '3m' },
  { when: { threshold }, for: '5m', keepActive: '4m' },
  {
    when: { threshold },
    keepActive: '2m',
    severity: [
      { at: 6, severity: 'warning' },
      { at: 8, severity: 'critical' },
    ],
  },
  { when: { absent: { eventType: 'temperature', for: '4m' } }, for: '2m', keepActive: '1m' },
  { when: { absent: { eventType: 'temperature', for: '12m' } } },
  {
    when: { threshold },
    for: '1m',
    schedule: {
      timezone: 'Europe/Oslo',
      active: [
        { days: 'mon-sun', from: '13:05', to: '13:25' },
        { days: 'sat', from: '13:40', to: '02:00' },
      ],
    },
  },
].map((rule, index) => parseRule({ name: `rule-${index}`, ...rule }))

/** Readings in order, each with how late it comes, whether it comes twice, and what happens to the worker before. */
const story = fc.array(
  fc.record({
    gap: fc.constantFrom(0, 0, 1, 1, 1, 2, 3, 7, 30),
    value: fc.integer({ min: 2, max: 9 }),
    lateMinutes: fc.constantFrom(0, 0, 0, 1, 2, 5, 9),
    again: fc.boolean(),
    before: fc.constantFrom('nothing', 'nothing', 'restart', 'clock'),
  }),
  { minLength: 1, maxLength: 60 },
)

describe('events in any order, twice and late', () => {
  it.each(RULES.map(rule => [rule.when.kind, rule] as const))('give the alarms of the right order: %s', (_, rule) => {
    fc.assert(
      fc.property(story, readings => {
        let minute = 0
        const events = readings.map(({ gap, value }, index) => {
          minute += gap
          return eventOf({ minute, value }, index)
        })
        const arrivals = events
          .flatMap((event, index) => {
            const { lateMinutes, again, before } = readings[index] as (typeof readings)[number]
            const atUs = event.timeUs + lateMinutes * MINUTE_US
            return [{ event, atUs, before }, ...(again ? [{ event, atUs: atUs + MINUTE_US, before: 'nothing' }] : [])]
          })
          .sort((a, b) => a.atUs - b.atUs)
        const line = new Line(rule)
        for (const { event, atUs, before } of arrivals) {
          if (before === 'restart') line.restart()
          if (before === 'clock') line.clock(atUs)
          line.event(event)
        }
        line.clock(END_US)
        line.restart()
        const right = inOrder(rule, events)
        expect(known(line.told)).toEqual(known(right.changes))
        expect(shownOf(rule, line.told)).toEqual(shownOf(rule, right.changes))
        expect(line.track.current).toEqual(right.state)
      }),
      { numRuns: 150, seed: 20_261_121 },
    )
  })
})

describe('a late event', () => {
  const warm = parseRule({ name: 'warm', when: { threshold }, for: '5m' })
  const at = (minute: number, value: number, index = minute) => eventOf({ minute, value }, index)
  const told = (line: Line) => line.told.map(({ kind, atUs, late }) => `${kind}@${(atUs - NOON_US) / MINUTE_US}${late ? ' late' : ''}`)

  it('takes an alarm back that it shows never was', () => {
    const line = new Line(warm)
    for (const event of [at(0, 8), at(6, 8), at(3, 2)]) line.event(event)
    expect(told(line)).toEqual(['pending@0', 'active@5', 'withdrawn@3 late', 'pending@6 late'])
    expect(line.told.at(-2)?.reason).toContain('came late: it was not active')
    expect(known(line.told)).toEqual([])
  })

  it('brings an alarm to light that had seemed not to be', () => {
    const line = new Line(warm)
    for (const event of [at(0, 2), at(7, 2), at(1, 8)]) line.event(event)
    expect(told(line)).toEqual(['pending@1 late', 'active@6 late', 'cleared@7 late'])
  })

  it('lets an alarm begin earlier, which nobody needs to be told', () => {
    const line = new Line(warm)
    for (const event of [at(2, 8), at(8, 8), at(1, 8)]) line.event(event)
    expect(told(line)).toEqual(['pending@2', 'active@7', 'amended@3'].map((text, i) => (i === 2 ? 'amended@6 late' : text)))
    expect(known(line.told)[0]?.[1]).toMatchObject({ sinceUs: NOON_US + MINUTE_US, activeUs: NOON_US + 6 * MINUTE_US })
  })

  it('that came before is judged once', () => {
    const line = new Line(warm)
    for (const event of [at(0, 8), at(0, 8)]) line.event(event)
    expect(line.reason).toBe('this event has been judged already')
    expect(told(line)).toEqual(['pending@0'])
  })

  it('beyond the allowed lateness changes nothing, and says so', () => {
    const line = new Line(parseRule({ name: 'warm', when: { threshold } }))
    for (const event of [at(30, 2), at(5, 8)]) line.event(event)
    expect(line.told).toEqual([])
    expect(line.reason).toMatch(/^older than late events may be.*ignored$/)
  })

  it('beyond the allowed lateness amends where the rule says so', () => {
    const line = new Line(parseRule({ name: 'warm', when: { threshold }, late: 'amend' }))
    for (const event of [at(60, 2), at(5, 8), at(15, 8), at(20, 2)]) line.event(event)
    expect(told(line)).toEqual(['amended@5 late', 'amended@20 late'])
    expect(line.told.at(-1)).toMatchObject({ activeUs: NOON_US + 5 * MINUTE_US, clearedUs: NOON_US + 20 * MINUTE_US })
    expect(line.track.current.phase).toBe('clear')
  })

  it('at the same moment as another counts too, whichever came first', () => {
    const rule = parseRule({ name: 'warm', when: { threshold } })
    const [low, high] = [at(1, 2, 1), at(1, 8, 2)]
    for (const order of [
      [low, high],
      [high, low],
    ]) {
      const line = new Line(rule)
      for (const event of order) line.event(event)
      expect(line.track.current.phase).toBe('active')
    }
  })
})

describe('an edited rule', () => {
  const held = (hold: string, version: number) =>
    parseRule({ name: 'warm', version, when: { threshold: { field: 'temperature.value', above: 5 } }, for: hold })
  const at = (minute: number, value: number) => eventOf({ minute, value }, minute)
  const edited = (written: boolean): Track => {
    const line = new Line(held('30m', 1))
    for (const minute of [0, 1]) line.event(at(minute, 8))
    const after = held('10m', 2)
    const track = settleAll(after, line.track, [])
    if (!written) return track
    return restore(after, parseTrackRow(JSON.stringify(trackToJson(after, track))), [], { device: DEVICE }, () => false)
  }

  it.each([
    ['at its next event', false],
    ['at its next event, also when it was restarted in between', true],
  ])('waits for what it says now %s', (_, written) => {
    const { changes, track } = followEvent(held('10m', 2), edited(written), at(12, 8), 'newest', [new Recent()])
    expect(changes.map(({ kind, atUs }) => [kind, (atUs - NOON_US) / MINUTE_US])).toEqual([['active', 10]])
    expect(track.edited).toBe(false)
  })

  it('waits for what it says now when only time passes', () => {
    const { changes } = followTime(held('10m', 2), edited(true), NOON_US + 30 * MINUTE_US, ALWAYS)
    expect(changes.map(({ kind, atUs }) => [kind, (atUs - NOON_US) / MINUTE_US])).toEqual([['active', 10]])
  })

  it('keeps when it is due until then, by which its timer is put into the time of the server', () => {
    for (const written of [false, true]) expect(edited(written).current.dueUs).toBe(NOON_US + 30 * MINUTE_US)
  })
})
