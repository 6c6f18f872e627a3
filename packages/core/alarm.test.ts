// The alarm document through its life: pending, active, cleared, dropped, acknowledged, late.
import { describe, expect, it } from 'vitest'
import { type Alarm, alarmIdOf, alarmToJson, changeIdOf, LATE_AFTER_US, nextAlarm } from './alarm.ts'
import type { Device } from './device.ts'
import { parseRule } from './rule.ts'
import type { Change } from './step.ts'

const NOON_US = Date.UTC(2026, 10, 21, 12) * 1000
const device: Device = { id: 'd1', type: 'temperature', productNumber: '', labels: JSON.parse('{"name":"Freezer 3","__proto__":"x"}') }
const rule = parseRule({
  name: 'freezer-warm',
  version: 4,
  when: { threshold: { field: 'temperature.value', above: -15, unit: '°C' } },
  severity: 'critical',
  message: '{{device.labels.name}} is {{value}}{{unit}} (limit {{limit}}) since {{since}}',
})

function change(kind: Change['kind'], second: number, more: Partial<Change> = {}): Change {
  const atUs = NOON_US + second * 1_000_000
  const over = kind === 'cleared' || kind === 'dropped'
  return {
    kind,
    atUs,
    episode: 1,
    severity: 'critical',
    sinceUs: NOON_US,
    value: -12.4,
    limit: -15,
    reason: kind,
    eventId: 'e',
    late: false,
    activeUs: kind === 'active' ? atUs : undefined,
    clearedUs: over ? atUs : undefined,
    ...more,
  }
}

/** As the engine would tell it: of the episode that goes on, or of the next. */
function numbered(before: Alarm | undefined, one: Change): Change {
  const begins = before === undefined || before.state === 'cleared'
  const timeOf = (text: string | null | undefined) => (text ? Date.parse(text) * 1000 : undefined)
  return {
    ...one,
    episode: (before?.episode ?? 0) + (begins ? 1 : 0),
    sinceUs: begins ? one.atUs : (timeOf(before.since) ?? one.atUs),
    activeUs: one.activeUs ?? (begins ? undefined : timeOf(before.activeSince)),
  }
}

function alarmAfter(changes: readonly Change[], from?: Alarm): Alarm {
  const alarm = changes.reduce<Alarm | undefined>((before, one) => nextAlarm(before, rule, device, numbered(before, one), one.atUs), from)
  if (alarm === undefined) throw new Error('no change was given')
  return JSON.parse(JSON.stringify(alarm))
}

const time = (second: number) => new Date(NOON_US / 1000 + second * 1000).toISOString().replace('Z', '000Z')

describe('an alarm', () => {
  it('says all there is to know', () => {
    expect(nextAlarm(undefined, rule, device, numbered(undefined, change('active', 1)), NOON_US + 1_250_000)).toEqual({
      alarmId: alarmIdOf('freezer-warm', 'd1'),
      rule: 'freezer-warm',
      device: 'd1',
      deviceType: 'temperature',
      labels: device.labels,
      state: 'active',
      severity: 'critical',
      ruleVersion: 4,
      episode: 1,
      version: 1,
      since: time(1),
      activeSince: time(1),
      clearedAt: null,
      updateTime: time(1),
      serverTime: '2026-11-21T12:00:01.250000Z',
      value: -12.4,
      limit: -15,
      unit: '°C',
      reason: 'active',
      message: `Freezer 3 is -12.4°C (limit -15) since ${time(1)}`,
      late: false,
      group: null,
      devices: 1,
      suppressedBy: null,
      told: null,
      tally: null,
    })
  })

  it.each<[string, Change['kind'][], Partial<Alarm>]>([
    ['pending', ['pending'], { state: 'pending', episode: 1, since: time(0), activeSince: null, clearedAt: null }],
    ['active', ['pending', 'active'], { state: 'active', episode: 1, since: time(0), activeSince: time(1), clearedAt: null }],
    [
      'cleared',
      ['pending', 'active', 'cleared'],
      { state: 'cleared', episode: 1, since: time(0), activeSince: time(1), clearedAt: time(2) },
    ],
    ['dropped', ['pending', 'dropped'], { state: 'cleared', episode: 1, since: time(0), activeSince: null, clearedAt: time(1) }],
    [
      'active again',
      ['active', 'cleared', 'active'],
      { state: 'active', episode: 2, since: time(2), activeSince: time(2), clearedAt: null },
    ],
    [
      'pending again',
      ['active', 'cleared', 'pending'],
      { state: 'pending', episode: 2, since: time(2), activeSince: null, clearedAt: null },
    ],
    ['active after a dropped one', ['pending', 'dropped', 'active'], { state: 'active', episode: 2, since: time(2), activeSince: time(2) }],
  ])('is %s', (_, kinds, expected) => {
    const alarm = alarmAfter(kinds.map((kind, second) => change(kind, second)))
    expect(alarm).toMatchObject({ ...expected, version: kinds.length, updateTime: time(kinds.length - 1) })
    expect(changeIdOf(alarm)).toBe(`${alarmIdOf('freezer-warm', 'd1')}-${kinds.length}`)
  })

  it('follows an edited rule and relabelled device', () => {
    const edited = parseRule({ name: 'freezer-warm', version: 5, when: { absent: { eventType: 'temperature', for: '1h' } } })
    const moved = { ...device, labels: { name: 'Freezer 4' } }
    const alarm = nextAlarm(
      alarmAfter([change('active', 0)]),
      edited,
      moved,
      change('cleared', 1, { severity: 'warning', value: undefined, limit: undefined }),
      NOON_US,
    )
    expect(alarm).toMatchObject({ ruleVersion: 5, severity: 'warning', labels: moved.labels, value: null, limit: null, unit: null })
    expect(alarm.message).toBe('Freezer 4: freezer-warm is cleared, cleared')
  })

  it.each([
    [0, false],
    [LATE_AFTER_US, false],
    [LATE_AFTER_US + 1, true],
    [-LATE_AFTER_US, false],
  ])('found %d µs after the fact is late: %s', (afterUs, late) =>
    expect(nextAlarm(undefined, rule, device, change('active', 0), NOON_US + afterUs).late).toBe(late),
  )
})

describe('the document of an alarm', () => {
  const by = { by: 'kari@example.com', time: time(9), comment: 'on my way', lapses: null }
  const seen = { episode: 1, acknowledgement: by, assignee: null, snooze: null }

  it('is named within its project and carries who acknowledged it', () => {
    const alarm = alarmAfter([change('active', 0)])
    const { told: _told, tally: _tally, ...shown } = alarm
    expect(alarmToJson('p', alarm, seen)).toEqual({
      name: `projects/p/alarms/${alarm.alarmId}`,
      ...shown,
      acknowledgement: by,
      assignee: null,
      snooze: null,
    })
  })

  it('carries nobody when nobody did', () =>
    expect(alarmToJson('p', alarmAfter([change('active', 0)]), undefined).acknowledgement).toBeNull())

  it.each<[Change['kind'], boolean]>([
    ['cleared', true],
    ['active', false],
    ['pending', false],
  ])('after an acknowledged alarm is %s carries it: %s', (kind, carried) => {
    const cleared = [change('active', 0), change('cleared', 1)]
    const alarm = alarmAfter(kind === 'cleared' ? cleared : [...cleared, change(kind, 2)])
    expect(alarmToJson('p', alarm, seen).acknowledgement).toEqual(carried ? by : null)
  })
})

describe('the id of an alarm', () => {
  it('never changes: it stands in what was sent', () =>
    expect(alarmIdOf('freezer-warm', 'cr1tqhod2kq0f5m3n7c0')).toBe('jna5iam5prvt3rcjja90'))

  it('is 20 characters, its own for every rule and device', () => {
    const rules = ['a', 'ab', 'freezer-warm', 'constructor']
    const ids = rules.flatMap(name => Array.from({ length: 20_000 }, (_, index) => alarmIdOf(name, `bc${index}`)))
    const odd = [alarmIdOf('a', 'bc'), alarmIdOf('ab', 'c'), alarmIdOf('a', '__proto__'), alarmIdOf('a', '🌡'), alarmIdOf('a', 'a')]
    expect(new Set([...ids, ...odd]).size).toBe(80_005)
    for (const id of [...ids.slice(0, 100), ...odd]) expect(id).toMatch(/^[0-9a-v]{20}$/)
  })
})
