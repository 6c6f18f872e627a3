// Silence: when a device counts as silent, when it does not, and that an outage of ours is not one of the devices.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseRule } from '../rule.ts'
import { type Change, type RuleState, renewed, type StepInput, step } from '../step.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }

const HOUR_US = 3_600_000_000
const ALWAYS = Number.NEGATIVE_INFINITY
const rule = parseRule({ name: 'silent', when: { absent: { eventType: 'temperature', for: '1h' } } })

function event(hours: number, listeningSince?: number): StepInput {
  const listening = listeningSince === undefined ? {} : { listeningSinceUs: listeningSince * HOUR_US }
  return {
    kind: 'event',
    device: DEVICE,
    eventType: 'temperature',
    data: {},
    timeUs: Math.round(hours * HOUR_US),
    eventId: `e${hours}`,
    ...listening,
  }
}

function clock(hours: number, listeningSince = ALWAYS): StepInput {
  return { kind: 'time', timeUs: hours * HOUR_US, listeningSinceUs: listeningSince * HOUR_US }
}

function run(inputs: readonly StepInput[]) {
  let state: RuleState | undefined
  const changes: Change[] = []
  let reason = ''
  for (const input of inputs) {
    const outcome = step(rule, state, input)
    state = JSON.parse(JSON.stringify(outcome.state)) as RuleState
    changes.push(...outcome.changes)
    reason = outcome.reason
  }
  const brief = changes.map(change => `${change.kind}@${change.atUs / HOUR_US}`).join(' ')
  return { brief, changes, reason, dueHour: state?.dueUs === undefined ? undefined : state.dueUs / HOUR_US }
}

describe('a silent device', () => {
  it.each<[string, StepInput[], string, number | undefined]>([
    ['is not missed before it was ever heard', [clock(100)], '', undefined],
    ['is waited for from its first event', [event(0)], '', 1],
    ['is waited for anew from every event', [event(0), event(0.5), event(0.75)], '', 1.75],
    ['is not missed a moment too early', [event(0), clock(0.999)], '', 1],
    ['is missed exactly after the duration', [event(0), clock(1)], 'active@1', undefined],
    ['is missed at the same moment when found later', [event(0), clock(7)], 'active@1', undefined],
    ['is missed once', [event(0), clock(7), clock(70)], 'active@1', undefined],
    ['is back with its next event and waited for again', [event(0), clock(7), event(8)], 'active@1 cleared@8', 9],
    ['is missed again', [event(0), clock(7), event(8), clock(9)], 'active@1 cleared@8 active@9', undefined],
    ['is seen to have been silent by the event that ends it', [event(0), event(3)], 'active@1 cleared@3', 4],
    ['has been silent when it speaks at the very moment', [event(0), event(1)], 'active@1 cleared@1', 2],
    ['is missed after an outage only when it had its time to speak', [event(0), clock(1, 3)], '', 4],
    ['is missed after an outage in which it fell silent', [event(0), clock(1, 3), clock(4, 3)], 'active@4', undefined],
    ['makes no alarm by speaking first thing after an outage', [event(0), clock(1, 3), event(3.25)], '', 4.25],
    ['makes none either where the event itself tells of the outage', [event(0), event(3.25, 3)], '', 4.25],
    ['is waited for longer after a second outage', [event(0), clock(1, 3), clock(4, 5)], '', 6],
    ['is waited for from an event newer than the outage', [event(0), clock(1, 3), event(3.5), clock(4.5, 3)], 'active@4.5', undefined],
  ])('%s', (_, inputs, expected, dueHour) => expect(run(inputs)).toMatchObject({ brief: expected, dueHour }))

  it('is spoken of in plain words', () => {
    expect(run([clock(1)]).reason).toBe('nothing is due')
    expect(run([event(0)]).reason).toBe('a temperature event has come')
    expect(run([event(0), clock(1, 3)]).reason).toBe(
      'temperature: the last one was at 1970-01-01T00:00:00.000000Z, listening since 1970-01-01T03:00:00.000000Z',
    )
    expect(run([event(0), clock(1), event(2)]).changes).toMatchObject([
      {
        kind: 'active',
        atUs: HOUR_US,
        reason: 'no temperature event for 1h, the last one was at 1970-01-01T00:00:00.000000Z',
      },
      { kind: 'cleared', atUs: 2 * HOUR_US, reason: 'a temperature event has come', eventId: 'e2' },
    ])
  })

  it.each([
    [{ for: '1h' }, { for: '1h' }],
    [{ for: '1h' }, { for: '10m', times: 3 }],
    [{ for: '1h', times: 3 }, { for: '1h' }],
  ])('is not missed for a type that never came, after an edit: %j, then %j', (was, is) => {
    const edited = parseRule({ name: 'silent', when: { absent: { eventType: 'humidity', ...is } } })
    const { state } = step(parseRule({ name: 'silent', when: { absent: { eventType: 'temperature', ...was } } }), undefined, event(0))
    const outcome = step(edited, renewed(edited, state), clock(100))
    expect(outcome).toMatchObject({ changes: [], state: { phase: 'clear' } })
    expect(outcome.state.dueUs).toBeUndefined()
    const other = { ...event(100), eventType: 'humidity' } as StepInput
    expect(step(edited, outcome.state, other).state.dueUs).toBeGreaterThan(100 * HOUR_US)
  })

  it('stays missed when the type is edited, until one of that type comes', () => {
    const edited = parseRule({ name: 'silent', when: { absent: { eventType: 'humidity', for: '1h' } } })
    const { state } = step(rule, step(rule, undefined, event(0)).state, clock(2))
    const passed = step(edited, renewed(edited, state), clock(50))
    expect([state.phase, passed.state.phase]).toEqual(['active', 'active'])
    expect(step(edited, passed.state, { ...event(51), eventType: 'humidity' } as StepInput).changes).toMatchObject([{ kind: 'cleared' }])
  })

  it('is waited for as before by what a version that kept no type remembered', () => {
    const memory = { kind: 'absent', lastUs: 0 }
    const old = { v: 2, phase: 'clear', episode: 0, memory } as RuleState
    expect(step(rule, renewed(rule, old), clock(2)).changes).toMatchObject([{ kind: 'active', atUs: HOUR_US }])
  })

  it('may have a hold time and a keepActive beside', () => {
    const patient = parseRule({ name: 'silent', when: { absent: { eventType: 'temperature', for: '1h' } }, for: '30m', keepActive: '15m' })
    let state: RuleState | undefined
    const changes = [event(0), event(3), event(3.1), clock(3.25)].flatMap(input => {
      const outcome = step(patient, state, input)
      state = outcome.state
      return outcome.changes
    })
    expect(changes.map(({ kind, atUs, reason }) => [kind, atUs / HOUR_US, reason])).toEqual([
      ['pending', 1, 'no temperature event for 1h, the last one was at 1970-01-01T00:00:00.000000Z'],
      ['active', 1.5, 'no temperature event for 1h, and for another 30m'],
      ['cleared', 3.25, 'temperature events have come again for 15m'],
    ])
  })
})

describe('a device that is silent for some times its interval', () => {
  const learning = { eventType: 'temperature', times: 3 }
  const hourly = (count: number) => Array.from({ length: count }, (_, at) => event(at))
  const due = (more: object, inputs: readonly StepInput[]) => {
    let state: RuleState | undefined
    const own = parseRule({ name: 'silent', when: { absent: { ...learning, ...more } } })
    const changes = inputs.flatMap(input => {
      const outcome = step(own, state, input)
      state = JSON.parse(JSON.stringify(outcome.state)) as RuleState
      return outcome.changes
    })
    const brief = changes.map(change => `${change.kind}@${change.atUs / HOUR_US}`).join(' ')
    return { brief, dueHour: state?.dueUs === undefined ? undefined : state.dueUs / HOUR_US, reason: changes[0]?.reason, state }
  }

  it.each<[string, object, StepInput[], string, number | undefined]>([
    ['is not waited for before its interval is known', {}, hourly(5), '', undefined],
    ['is waited for by a fixed duration until then', { for: '7h' }, hourly(5), '', 11],
    ['is waited for from five intervals on', { for: '7h' }, hourly(6), '', 8],
    ['is missed', {}, [...hourly(6), clock(9)], 'active@8', undefined],
    ['is waited for anew when it is back', {}, [...hourly(20), clock(30), event(30)], 'active@22 cleared@30', 33],
    ['is not waited for shorter than min', { min: '5h' }, hourly(6), '', 10],
    ['is not waited for longer than max', { max: '2h' }, hourly(6), '', 7],
    ['does not learn from one outage', {}, [...hourly(20), event(90)], 'active@22 cleared@90', 93],
    ['does not learn from a batch with one time', {}, [...hourly(6), event(5), event(5), event(5)], '', 8],
    ['does not learn from an outage of ours', {}, [...hourly(6), clock(8, 40), event(41, 40)], '', 44],
    ['is not shortened by a burst', {}, [...hourly(20), event(19.01), event(19.02), event(20)], '', 23],
    ['learns a longer interval', {}, [...hourly(20), event(21), event(23), event(25)], '', 31],
  ])('%s', (_, more, inputs, brief, dueHour) => expect(due(more, inputs)).toMatchObject({ brief, dueHour }))

  it('keeps little, and says what it has learned', () => {
    const { state, reason } = due({}, [...hourly(200), clock(500)])
    expect(JSON.stringify(state?.memory).length).toBeLessThan(300)
    expect(reason).toMatch(/^no temperature event for 3h \(its interval is 1h\), the last one was at /)
  })

  it.each<[object, string]>([
    [{ times: 0.5 }, 'when.absent.times: expected 1 to 1000'],
    [{ min: '2h', max: '1h' }, 'when.absent.max: expected at least min (2h)'],
    [{ times: undefined }, 'when.absent.for: expected a duration, or "times" beside it'],
    [{ times: undefined, for: '1h', min: '1h' }, 'when.absent.min: expected only together with "times"'],
  ])('is refused with %j', (more, message) => expect(() => due(more, [])).toThrow(message))
})

describe('a learned interval agrees with one from all events there ever were', () => {
  /** Minutes of silence after which it is missed. */
  function plainWait(times: readonly number[], factor: number): number {
    const gaps = times.slice(1).flatMap((time, index) => (time > (times[index] as number) ? [time - (times[index] as number)] : []))
    const last = gaps.slice(-20).toSorted((a, b) => a - b)
    return last.length < 5 ? 90 : Math.min(Math.max(factor * (last[Math.ceil(last.length * 0.9) - 1] as number), 4), 200)
  }

  it('whatever comes', () =>
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.integer({ min: 0, max: 10 }), fc.integer({ min: 0, max: 150 })), { minLength: 1, maxLength: 60 }),
        gaps => {
          const own = parseRule({
            name: 'a',
            when: { absent: { eventType: 'temperature', for: '90m', times: 2.5, min: '4m', max: '200m' } },
          })
          let minute = 0
          const times = gaps.map(gap => {
            minute += gap
            return minute
          })
          const expected = times.flatMap((time, index) => {
            const dueAt = time + plainWait(times.slice(0, index + 1), 2.5)
            const next = times[index + 1]
            return next === undefined || dueAt > next ? [] : [`active@${dueAt}`, `cleared@${next}`]
          })
          let state: RuleState | undefined
          const found = times.flatMap(time => {
            const outcome = step(own, state, event(time / 60))
            state = JSON.parse(JSON.stringify(outcome.state)) as RuleState
            return outcome.changes.map(({ kind, atUs }) => `${kind}@${atUs / 60_000_000}`)
          })
          expect(found).toEqual(expected)
        },
      ),
      { numRuns: 200, seed: 3 },
    ))
})
