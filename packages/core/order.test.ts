// Any interleaving, doubling and delay within the allowed lateness, for every kind of condition: the alarms are those of the right order,
// and so is the document that people see. With restarts and the clock in between.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { END_US, eventOf, inOrder, known, Line, MINUTE_US, shownOf } from './fixture.ts'
import { parseRule, type Rule } from './rule.ts'
import type { Change } from './step.ts'

const threshold = { field: 'temperature.value', above: 5, clearBelow: 4 }
const humid = { threshold: { field: 'humidity.value', above: 5 } }
const ladder = [
  { at: 6, severity: 'warning' },
  { at: 8, severity: 'critical' },
]
const schedule = {
  timezone: 'Europe/Oslo',
  active: [
    { days: 'mon-sun', from: '13:05', to: '13:25' },
    { days: 'sat', from: '13:40', to: '02:00' },
  ],
}

const RULES: Readonly<Record<string, object>> = {
  threshold: { when: { threshold } },
  'threshold that must hold': { when: { threshold }, for: '3m' },
  'threshold that must hold and stay clear': { when: { threshold }, for: '5m', keepActive: '4m' },
  'threshold with a ladder': { when: { threshold }, keepActive: '2m', severity: ladder },
  'threshold in a schedule': { when: { threshold }, for: '1m', schedule },
  absent: { when: { absent: { eventType: 'temperature', for: '12m' } } },
  'absent with timers': { when: { absent: { eventType: 'temperature', for: '4m' } }, for: '2m', keepActive: '1m' },
  'absent with a learned interval': { when: { absent: { eventType: 'temperature', times: 3, for: '20m' } } },
  state: { when: { state: { field: 'temperature.value', equals: [5, 6] } }, for: '2m' },
  'state, changes': { when: { state: { field: 'temperature.value', changes: { from: 5, to: [6, 7] } } }, keepActive: '1m' },
  rate: { when: { rate: { field: 'temperature.value', over: '5m', above: 1, per: '1m' } }, for: '1m' },
  'window, mean': { when: { window: { field: 'temperature.value', function: 'mean', over: '10m', above: 5, clearBelow: 4.5 } } },
  'window, count': { when: { window: { eventType: 'temperature', function: 'count', over: '6m', below: 3 } }, keepActive: '2m' },
  'window, p95': { when: { window: { field: 'temperature.value', function: 'p95', over: '15m', above: 8 } } },
  deviation: { when: { deviation: { field: 'temperature.value', over: '24m', above: 1.5, atLeast: 6 } } },
  flapping: { when: { flapping: { field: 'temperature.value', changes: 4, within: '6m' } }, for: '1m' },
  stuck: { when: { stuck: { field: 'temperature.value', for: '3m' } }, keepActive: '1m' },
  'expression with previous': {
    when: { expression: { expression: 'previous != null && reading - previous.data.value > 2.0', field: 'temperature.value' } },
    keepActive: '2m',
  },
  'all, of two types': { when: { all: [{ threshold }, humid] }, for: '1m' },
  'any, of two types with silence': { when: { any: [humid, { absent: { eventType: 'temperature', for: '8m' } }] } },
  'not, of two types': { when: { all: [{ threshold }, { not: humid }] }, keepActive: '1m' },
}

/** Readings in order, each with how late it comes, whether it comes twice, and what happens to the worker before. */
const story = fc.array(
  fc.record({
    gap: fc.constantFrom(0, 0, 1, 1, 1, 2, 3, 7, 30),
    value: fc.integer({ min: 2, max: 9 }),
    type: fc.constantFrom('temperature', 'temperature', 'temperature', 'humidity'),
    lateMinutes: fc.constantFrom(0, 0, 0, 1, 2, 5, 9),
    again: fc.boolean(),
    before: fc.constantFrom('nothing', 'nothing', 'restart', 'clock'),
  }),
  { minLength: 1, maxLength: 50 },
)
type Story = typeof story extends fc.Arbitrary<infer T> ? T : never

function check(rule: Rule, readings: Story): void {
  let minute = 0
  const events = readings.map(({ gap, value, type }, index) => {
    minute += gap
    return eventOf({ minute, value, type }, index)
  })
  const arrivals = events
    .flatMap((event, index) => {
      const { lateMinutes, again, before } = readings[index] as Story[number]
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
  expect(toldAgain(line.told)).toEqual([])
}

/** What people had been told of an episode just before. */
function toldAgain(changes: readonly Change[]): Change[] {
  const last = new Map<number, string>()
  return changes.filter(({ kind, episode, sinceUs, activeUs, clearedUs, severity }) => {
    const said = JSON.stringify([kind, sinceUs, activeUs, clearedUs, severity])
    const again = last.get(episode) === said
    last.set(episode, said)
    return again
  })
}

describe('events in any order, twice and late, give the alarms of the right order', () => {
  it.each(Object.entries(RULES))('%s', (_, document) => {
    const rule = parseRule({ name: 'rule', ...document })
    fc.assert(
      fc.property(story, readings => check(rule, readings)),
      { numRuns: 80, seed: 20_261_121 },
    )
  })
})
