// Merging and ordering of alarms.
import { expect, test } from 'vitest'
import type { Alarm } from '../../../packages/client/index.ts'
import { announcement, isWanted, mergeAlarms, OPEN_ALARMS, orderAlarms, queryOf, suppressionWords } from './alarm.ts'

function alarm(alarmId: string, change: Partial<Alarm> = {}): Alarm {
  return {
    name: `projects/p/alarms/${alarmId}`,
    alarmId,
    rule: 'warm',
    ruleVersion: 1,
    device: 'd',
    deviceType: 'temperature',
    labels: {},
    group: null,
    devices: 1,
    state: 'active',
    severity: 'warning',
    since: '2026-01-01T00:00:00.000000Z',
    activeSince: null,
    clearedAt: null,
    updateTime: '2026-01-01T00:00:00.000000Z',
    serverTime: '2026-01-01T00:00:00.000000Z',
    value: 31,
    limit: 30,
    unit: null,
    reason: 'temperature.value 31 is above 30',
    late: false,
    message: `${alarmId} is warm`,
    episode: 1,
    version: 1,
    acknowledgement: null,
    assignee: null,
    snooze: null,
    suppressedBy: null,
    ...change,
  }
}

test('an older version that arrives late changes nothing', () => {
  const { alarms } = mergeAlarms(new Map(), [alarm('a', { version: 3, state: 'cleared' })])
  const merged = mergeAlarms(alarms, [alarm('a', { version: 2 })])
  expect(merged.alarms.get('a')?.state).toBe('cleared')
  expect(merged.raised).toEqual([])
})

test('an alarm is raised when it becomes active and in each new episode, not when it is acknowledged', () => {
  const pending = mergeAlarms(new Map(), [alarm('a', { state: 'pending' })])
  expect(pending.raised).toEqual([])
  const active = mergeAlarms(pending.alarms, [alarm('a', { version: 2 })])
  expect(active.raised.map(one => one.alarmId)).toEqual(['a'])
  const acknowledged = mergeAlarms(active.alarms, [
    alarm('a', { version: 2, acknowledgement: { by: 'k', time: '2026-01-01T00:01:00.000000Z', comment: '', lapses: null } }),
  ])
  expect(acknowledged.raised).toEqual([])
  expect(acknowledged.alarms.get('a')?.acknowledgement?.by).toBe('k')
  expect(mergeAlarms(acknowledged.alarms, [alarm('a', { version: 2 })]).alarms.get('a')?.acknowledgement?.by).toBe('k')
  expect(mergeAlarms(acknowledged.alarms, [alarm('a', { version: 5, episode: 2 })]).raised).toHaveLength(1)
})

test('what needs a person comes first: active, then acknowledged, pending, cleared; the gravest first', () => {
  const all = [
    alarm('cleared', { state: 'cleared', severity: 'critical' }),
    alarm('pending', { state: 'pending', severity: 'critical' }),
    alarm('acknowledged', { severity: 'critical', acknowledgement: { by: 'k', time: '', comment: '', lapses: null } }),
    alarm('older', { since: '2025-01-01T00:00:00.000000Z' }),
    alarm('newer'),
    alarm('critical', { severity: 'critical' }),
  ]
  const order = orderAlarms(new Map(all.map(one => [one.alarmId, one]))).map(one => one.alarmId)
  expect(order).toEqual(['critical', 'newer', 'older', 'acknowledged', 'pending', 'cleared'])
})

test('several alarms at once are announced as one sentence', () => {
  expect(announcement([alarm('a')])).toBe('warning alarm: a is warm')
  expect(announcement([alarm('a'), alarm('b')])).toBe('2 new alarms. First: warning alarm: a is warm')
})

test('what was taken back is gone when the alarm itself was asked for', () => {
  const acknowledged = alarm('a', { acknowledgement: { by: 'k', time: '2026-01-01T00:01:00.000000Z', comment: '', lapses: null } })
  const known = mergeAlarms(new Map(), [acknowledged]).alarms
  expect(mergeAlarms(known, [alarm('a')]).alarms.get('a')?.acknowledgement?.by).toBe('k')
  expect(mergeAlarms(known, [alarm('a')], true).alarms.get('a')?.acknowledgement).toBeNull()
  const assigned = alarm('a', { ...acknowledged, assignee: { to: 'ann', by: 'k', time: '2026-01-01T00:02:00.000000Z' } })
  expect(mergeAlarms(known, [assigned]).alarms.get('a')?.assignee?.to).toBe('ann')
})

test('a filter says the same to the page and to the server', () => {
  const mine = alarm('a', { assignee: { to: 'ann', by: 'k', time: '' } })
  expect(isWanted(mine, { ...OPEN_ALARMS, assignee: 'ann', severity: 'warning', rule: 'warm', unacknowledged: true })).toBe(true)
  expect(isWanted(mine, { ...OPEN_ALARMS, assignee: 'bob' })).toBe(false)
  expect(isWanted(mine, { ...OPEN_ALARMS, severity: 'critical' })).toBe(false)
  expect(isWanted(alarm('a', { state: 'cleared' }), OPEN_ALARMS)).toBe(false)
  expect(queryOf({ ...OPEN_ALARMS, unacknowledged: true, rule: 'warm' })).toEqual({
    state: ['pending', 'active'],
    rule: ['warm'],
    acknowledged: false,
  })
  expect(queryOf({ state: '', severity: '', rule: '', unacknowledged: false, assignee: '' })).toEqual({})
})

test('why nobody is told is said in words', () => {
  expect(suppressionWords({ suppressedBy: null })).toBe('')
  expect(suppressionWords({ suppressedBy: { kind: 'inhibition', name: 'gateway-offline', until: null } })).toBe(
    'inhibited by gateway-offline',
  )
})
