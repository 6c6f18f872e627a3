// Rules, records and results in words.
import { expect, test } from 'vitest'
import type { AlarmRecord } from '../../../packages/client/index.ts'
import { bandsOf, resultWords } from './backtest.ts'
import { recordWords } from './record.ts'
import { conditionWords, formatted, selectWords, severityWords, timingWords } from './words.ts'

test.each<[unknown, string]>([
  [{ threshold: { field: 'temperature.value', above: -15, unit: '°C' } }, 'temperature.value above -15\u00a0°C'],
  [{ threshold: { field: 't.v', above: 8, below: 2 } }, 't.v outside 2 to 8'],
  [{ threshold: { field: 't.v', below: -30 } }, 't.v below -30'],
  [{ absent: { eventType: 'temperature', for: '1h' } }, 'no temperature for 1h'],
  [{ threshold: { field: 't.v', inside: [2, 8] } }, 't.v inside 2 to 8'],
  [{ absent: { eventType: 'temperature', times: 5, for: '1h' } }, 'no temperature for 5× its usual interval, else 1h'],
  [{ state: { field: 'contact.state', equals: ['OPEN', 'AJAR'] } }, 'contact.state is OPEN or AJAR'],
  [{ state: { field: 'contact.state', changes: { from: 'CLOSED', to: 'OPEN' } } }, 'contact.state changes from CLOSED to OPEN'],
  [{ rate: { field: 't.v', above: 2, per: '10m', unit: '°C' } }, 't.v changes by more than 2\u00a0°C per 10m'],
  [{ window: { field: 't.v', function: 'mean', over: '1h', above: 8 } }, 'mean of t.v over 1h above 8'],
  [
    { window: { field: 'contact.state', entering: 'OPEN', function: 'count', over: '1h', above: 5 } },
    'how often contact.state becomes OPEN over 1h above 5',
  ],
  [{ deviation: { field: 't.v', above: 4, season: 'weekly' } }, 't.v is 4 deviations from usual (weekly)'],
  [{ flapping: { field: 't.v', changes: 4, within: '1h' } }, 't.v changes 4 times within 1h'],
  [{ expression: { expression: 'reading > 8.0' } }, 'reading > 8.0'],
  [{ not: { threshold: { field: 'a.b', above: 1 } } }, 'not (a.b above 1)'],
  [
    {
      all: [
        { threshold: { field: 'a.b', above: 1 } },
        { any: [{ absent: { eventType: 'c', for: '1m' } }, { stuck: { field: 'd.e', for: '2h' } }] },
      ],
    },
    'a.b above 1 and (no c for 1m or d.e does not change for 2h)',
  ],
  [{ tomorrow: { field: 'x.y', score: 4, over: '7d' } }, 'tomorrow of x.y: score 4, over 7d'],
  [{ expression: 'event.value > 3' }, 'event.value > 3'],
  [{ threshold: {} }, '… '],
  [{}, ''],
  [undefined, ''],
])('%j is said as “%s”', (when, expected) => expect(conditionWords(when)).toBe(expected))

test('a rule is said by whom it watches, how long it waits and how grave it is', () => {
  expect(selectWords({ select: { deviceTypes: ['a', 'b'], labels: ['zone=cold', 'site'], devices: [] } })).toBe(
    'a or b, zone=cold and site',
  )
  expect(selectWords({})).toBe('all devices')
  expect(timingWords({ for: '5m', keepActive: '0ms', groupBy: ['site'], schedule: { timezone: 'UTC' } })).toBe(
    'for 5m · on schedule · one alarm per site',
  )
  expect(
    severityWords({
      severity: [
        { at: -15, severity: 'warning' },
        { at: -5, severity: 'critical' },
      ],
    }),
  ).toBe('warning from -15, critical from -5')
  expect(severityWords({})).toBe('warning')
  expect(formatted([{ at: -15, severity: 'warning' }, { at: 3 }])).toBe('at -15, severity warning; at 3')
})

function record(fields: Partial<AlarmRecord>): AlarmRecord {
  const time = '2026-03-02T06:00:05.000000Z'
  return { seq: 1, time, kind: 'active', alarmId: 'a', rule: 'warm', ruleVersion: 1, device: 'd', episode: 1, hash: '', ...fields }
}

test('a record is said with what happened, when, and by whom', () => {
  expect(recordWords(record({ at: '2026-03-02T06:00:00.000000Z', reason: 't above 1', late: true }))).toEqual({
    what: 'became active',
    detail: 't above 1',
    by: '',
    time: '2026-03-02T06:00:00.000000Z',
    isLate: true,
  })
  expect(recordWords(record({ kind: 'acknowledged', by: 'ann', comment: 'door' }))).toMatchObject({
    what: 'acknowledged',
    detail: 'door',
    by: 'ann',
    time: '2026-03-02T06:00:05.000000Z',
  })
  expect(recordWords(record({ kind: 'assigned', by: 'ann', to: '' })).detail).toBe('to nobody')
  expect(recordWords(record({ kind: 'invented' })).what).toBe('invented')
})

test('a backtest is bands to draw and a sentence', () => {
  const result = {
    startTime: '2026-03-01T00:00:00Z',
    endTime: '2026-03-02T00:00:00Z',
    events: 1200,
    devices: 1,
    alarms: {
      count: 1,
      activeAtEnd: 1,
      dropped: 2,
      truncated: false,
      list: [
        {
          device: 'd',
          severity: 'critical' as const,
          since: '2026-03-01T23:00:00Z',
          activeSince: '2026-03-01T23:05:00Z',
          clearedAt: null,
          value: null,
          limit: null,
          reason: '',
        },
      ],
    },
    minutesInAlarm: 55,
    notifications: 1,
    worstDevices: [],
  }
  const at = (clock: string) => Date.parse(`2026-03-0${clock}Z`)
  expect(bandsOf(result)).toEqual([
    { sinceMs: at('1T23:00:00'), activeMs: at('1T23:05:00'), endMs: at('2T00:00:00'), severity: 'critical' },
  ])
  expect(resultWords(result)).toBe('1 alarm, 55 minutes in alarm, 1 notification, 2 times it held too briefly, of 1,200 events.')
  expect(resultWords({ ...result, events: 0 })).toBe('No event that this rule looks at in this range.')
})
