// Deviations: when something is known of a device, what is far from it, and that incidents do not become usual.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseRule, ruleToJson } from '../rule.ts'
import { type Change, type RuleState, type StepInput, step } from '../step.ts'
import type { History } from './history.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }
const MINUTE_US = 60_000_000

function deviationRule(deviation: object) {
  return parseRule({ name: 'a', when: { deviation: { field: 'temperature.value', over: '24m', above: 4, atLeast: 12, ...deviation } } })
}

function reading(minutes: number, value: unknown): StepInput {
  const event = { device: DEVICE, eventType: 'temperature', data: { temperature: { value } }, eventId: `e${minutes}` }
  return { kind: 'event', timeUs: minutes * MINUTE_US, ...event }
}

function run(rule: ReturnType<typeof deviationRule>, inputs: readonly StepInput[], from?: RuleState) {
  let state = from
  let largest = 0
  const changes: Change[] = []
  const reasons: string[] = []
  for (const input of inputs) {
    const outcome = step(rule, state, input)
    const json = JSON.stringify(outcome.state)
    largest = Math.max(largest, json.length)
    state = JSON.parse(json) as RuleState
    changes.push(...outcome.changes)
    reasons.push(outcome.reason)
  }
  const brief = changes.map(({ kind, atUs }) => `${kind}@${atUs / MINUTE_US}`).join(' ')
  return { state, changes, reasons, largest, brief, reason: reasons.at(-1) }
}

/** 9, 10, 11, 9 … a minute apart: median 10, median distance 1. */
const calm = Array.from({ length: 30 }, (_, at) => reading(at, 10 + ((at % 3) - 1)))

describe('a deviation', () => {
  it.each<[string, object, StepInput[], string]>([
    ['is not known of a new device', {}, [reading(0, 10), reading(1, 1000)], ''],
    ['is not known before there are enough readings', { atLeast: 31 }, [...calm, reading(30, 100)], ''],
    ['is found', {}, [...calm, reading(30, 100)], 'active@30'],
    ['ends', {}, [...calm, reading(30, 100), reading(31, 10)], 'active@30 cleared@31'],
    ['is found below', {}, [...calm, reading(30, -100)], 'active@30'],
    ['up is not one down', { direction: 'up' }, [...calm, reading(30, -100)], ''],
    ['down is not one up', { direction: 'down' }, [...calm, reading(30, 100)], ''],
    ['down is found', { direction: 'down' }, [...calm, reading(30, -100)], 'active@30'],
    ['is not found where it is too small to matter', { minChange: 91 }, [...calm, reading(30, 100)], ''],
    ['is forgotten with the history', {}, [...calm, reading(300, 100)], ''],
    ['of a missing field is none', {}, [...calm, reading(30, undefined)], ''],
    [
      'stays until its clear level',
      { clearBelow: 2 },
      [...calm, reading(30, 20), reading(31, 13.5), reading(32, 10)],
      'active@30 cleared@32',
    ],
  ])('%s', (_, deviation, inputs, expected) => expect(run(deviationRule(deviation), inputs).brief).toBe(expected))

  const constant = Array.from({ length: 30 }, (_, at) => reading(at, 10))
  it('of a value that never differed is told only by a smallest change', () => {
    expect(run(deviationRule({}), [...constant, reading(30, 11)]).brief).toBe('')
    expect(run(deviationRule({ minChange: 2 }), [...constant, reading(30, 11), reading(31, 12)]).brief).toBe('active@31')
  })

  it('does not become usual while it is less than half of the history', () => {
    const incident = Array.from({ length: 10 }, (_, at) => reading(30 + at, 40))
    const { brief, changes } = run(deviationRule({}), [...calm, ...incident, reading(40, 10), reading(41, 40)])
    expect(brief).toBe('active@30 cleared@40 active@41')
    expect(changes[2]?.value).toBeGreaterThan(8)
  })

  it('becomes usual when it has come to stay', () => {
    const shifted = Array.from({ length: 40 }, (_, at) => reading(30 + at, 40 + (at % 3)))
    expect(run(deviationRule({}), [...calm, ...shifted]).brief).toMatch(/^active@30 cleared@4\d$/)
  })

  it('says why', () => {
    expect(run(deviationRule({}), [reading(0, 10)]).reason).toBe('temperature.value: its history has 0 of at least 12 readings that differ')
    expect(run(deviationRule({}), [...calm, reading(30, 'x')]).reason).toBe('temperature.value is "x", not a number')
    expect(run(deviationRule({}), [...calm, reading(30, 100)]).reason).toMatch(
      /^temperature.value 100 is .* standard deviations away from its usual 10$/,
    )
    expect(run(deviationRule({ season: 'daily' }), [reading(0, 10)]).reason).toBe('temperature.value: its daily season is being learned')
  })

  it.each<[object, string]>([
    [{ above: 0 }, 'when.deviation.above: expected more than 0 and less than 1000'],
    [{ clearBelow: 5 }, 'when.deviation.clearBelow: expected at most above (4)'],
    [{ over: '1s' }, 'when.deviation.over: expected at least 1m'],
    [{ season: 'yearly' }, 'when.deviation.season: expected one of daily, weekly'],
    [{ atLeast: 0.5 }, 'when.deviation.atLeast: expected at least 1'],
    [{ minChange: -1 }, 'when.deviation.minChange: expected at least 0'],
    [{ seasonal: true }, 'when.deviation.seasonal: is unknown here; did you mean "season"?'],
  ])('refuses %j', (deviation, message) => expect(() => deviationRule(deviation)).toThrow(message))

  it('is the same after JSON', () => {
    const rule = deviationRule({ season: 'weekly', direction: 'up', clearBelow: 2, minChange: 1, unit: '°C' })
    expect(parseRule(JSON.parse(JSON.stringify(ruleToJson(rule))))).toEqual(rule)
  })
})

/** Hazen's. */
function plainQuantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const rank = Math.min(Math.max(share * sorted.length - 0.5, 0), sorted.length - 1)
  const [low, high] = [sorted[Math.floor(rank)] as number, sorted[Math.ceil(rank)] as number]
  return low + (high - low) * (rank - Math.floor(rank))
}

/** From all readings there ever were: those of the slots (a minute each) of the last 24 minutes, without the one that runs. */
function plainDeviation(events: readonly { at: number; value: number }[], index: number): number | undefined {
  const { at, value } = events[index] as { at: number; value: number }
  const past = events
    .filter(event => Math.floor(event.at) < Math.floor(at) && Math.floor(event.at) >= Math.floor(at) - 24)
    .map(event => event.value)
  if (past.length < 12) return undefined
  const middle = plainQuantile(past, 0.5)
  const distances = past.map(one => Math.abs(one - middle))
  const median = plainQuantile(distances, 0.5)
  const spread = median > 0 ? 1.4826 * median : (1.2533 * distances.reduce((sum, one) => sum + one, 0)) / distances.length
  return spread === 0 ? undefined : Math.min(1000, Math.abs(value - middle) / spread)
}

describe('a deviation agrees with one that keeps all readings', () => {
  it('while they are few', () =>
    fc.assert(
      fc.property(fc.array(fc.record({ gap: fc.nat(4), value: fc.integer({ min: -20, max: 20 }) }), { maxLength: 80 }), list => {
        let quarter = 0
        const events = list.map(({ gap, value }) => {
          quarter += gap
          return { at: quarter / 4, value }
        })
        // More than eight in a minute are put together, which is another test.
        fc.pre(events.every(({ at }) => events.filter(one => Math.floor(one.at) === Math.floor(at)).length <= 8))
        const expected: string[] = []
        let holds = false
        for (const [index, { at }] of events.entries()) {
          const z = plainDeviation(events, index)
          if (z === undefined || z > 2.0371 === holds) continue
          holds = !holds
          expected.push(`${holds ? 'active' : 'cleared'}@${at}`)
        }
        const inputs = events.map(({ at, value }) => reading(at, value))
        expect(run(deviationRule({ above: 2.0371 }), inputs).brief).toBe(expected.join(' '))
      }),
      { numRuns: 200, seed: 7 },
    ))
})

describe('a deviation of many readings', () => {
  const DAY = 1440
  /** Noise that repeats on every machine: the sum of some uniform ones. */
  function noise(at: number): number {
    let sum = 0
    for (const prime of [7919, 104_729, 1_299_709, 15_485_863]) sum += ((at * prime * 31 + prime) % 10_007) / 10_007 - 0.5
    return sum / Math.sqrt(4 / 12)
  }

  it('stays small, and measures the spread of noise as one standard deviation', () => {
    const inputs = Array.from({ length: 4 * DAY }, (_, at) => reading(at, 20 + 3 * noise(at)))
    const { state, largest } = run(deviationRule({ over: '2d' }), inputs)
    const memory = state?.memory as unknown as { readonly history: History } | undefined
    const usual = memory?.history.usual
    expect(largest).toBeLessThan(4000)
    expect(usual?.middle).toBeGreaterThan(19.5)
    expect(usual?.middle).toBeLessThan(20.5)
    expect(usual?.spread).toBeGreaterThan(2.6)
    expect(usual?.spread).toBeLessThan(3.4)
  })

  it.each([
    ['daily', 8, 5000],
    ['weekly', 28, 8000],
  ])('knows a %s season, and that the value of noon is far off at night', (season, days, most) => {
    const every = 10
    const wave = (at: number) => 20 + 8 * Math.sin((2 * Math.PI * at) / DAY) + 0.3 * noise(at)
    const length = (days * DAY) / every
    const inputs = Array.from({ length }, (_, index) => reading(index * every, wave(index * every)))
    const night = reading(days * DAY + DAY * 0.75, 20)
    const rule = deviationRule({ season, over: '7d', above: 6 })
    const { largest, brief, state } = run(rule, inputs)
    expect(brief).toBe('')
    expect(largest).toBeLessThan(most)
    expect(run(rule, [night], state).brief).toBe(`active@${days * DAY + DAY * 0.75}`)
    expect(run(deviationRule({ over: '7d', above: 6 }), [...inputs, night]).brief).toBe('')
  })
})
