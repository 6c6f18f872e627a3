// Silence: when a device counts as silent, when it does not, and that an outage of ours is not one of the devices.
import { describe, expect, it } from 'vitest'
import { parseRule } from '../rule.ts'
import { type Change, type RuleState, type StepInput, step } from '../step.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }

const HOUR_US = 3_600_000_000
const ALWAYS = Number.NEGATIVE_INFINITY
const rule = parseRule({ name: 'silent', when: { absent: { eventType: 'temperature', for: '1h' } } })

function event(hours: number, listeningSince?: number): StepInput {
  const listening = listeningSince === undefined ? {} : { listeningSinceUs: listeningSince * HOUR_US }
  return { kind: 'event', device: DEVICE, eventType: 'temperature', data: {}, timeUs: hours * HOUR_US, eventId: `e${hours}`, ...listening }
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
