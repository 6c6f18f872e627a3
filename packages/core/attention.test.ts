// Who is told, by tables: changes, suppressions and what follows when they end.
import { describe, expect, it } from 'vitest'
import { type Alarm, type Attendance, UNATTENDED } from './alarm.ts'
import { type Active, attend, type Circumstances, inhibits, knownOf } from './attention.ts'
import type { GroupKind } from './group.ts'
import type { Silence } from './silence.ts'
import { formatTime } from './time.ts'

const NOON_US = Date.UTC(2026, 10, 21, 12) * 1000
const at = (second: number) => NOON_US + second * 1_000_000
const time = (second: number) => formatTime(at(second))

const alarm: Alarm = {
  alarmId: 'a',
  rule: 'warm',
  device: 'd1',
  deviceType: 'temperature',
  labels: { zone: 'cold', gateway: 'g1' },
  group: null,
  devices: 1,
  state: 'active',
  severity: 'warning',
  ruleVersion: 1,
  episode: 3,
  version: 7,
  since: time(0),
  activeSince: time(0),
  clearedAt: null,
  updateTime: time(0),
  serverTime: time(0),
  value: 1,
  limit: 0,
  unit: null,
  reason: '',
  message: '',
  late: false,
  suppressedBy: null,
  told: null,
  tally: null,
}
const told = { ...alarm, told: 'active' as const, toldSeverity: 'warning' as const }
const cleared = { ...alarm, state: 'cleared' as const }
const silence: Silence = {
  id: 's',
  matchers: [{ field: 'labels.zone', values: ['warm', 'cold'] }],
  author: 'kari',
  reason: '',
  startUs: at(0),
  endUs: at(60),
}
const offline: Active = { alarmId: 'o', rule: 'offline', device: 'g1', labels: { gateway: 'g1' }, group: null }
const rule = { notify: ['ops'], inhibitedBy: [{ rule: 'offline', equal: ['gateway'] }] }
const attendance = (more: Partial<Attendance>): Attendance => ({ episode: 3, ...UNATTENDED, ...more })
const snoozed = attendance({ snooze: { by: 'kari', time: time(0), until: time(30) } })
const acknowledged = attendance({ acknowledgement: { by: 'kari', time: time(0), comment: '', lapses: time(20) } })
const around = (more: Partial<Circumstances> = {}): Circumstances => ({
  attendance: undefined,
  silences: [],
  inhibitors: [],
  rule,
  nowUs: at(1),
  ...more,
})
const silenced = around({ silences: [silence] })

describe('attention', () => {
  it.each<[string, Alarm, GroupKind | 'again', Circumstances, unknown, Alarm['told']]>([
    ['an alarm that becomes active', alarm, 'active', around(), 'active', 'active'],
    ['one that is pending', { ...alarm, state: 'pending' }, 'pending', around(), undefined, null],
    ['one that escalates', told, 'escalated', around(), 'escalated', 'active'],
    ['one that de-escalates', told, 'deescalated', around(), undefined, 'active'],
    ['one that is amended', told, 'amended', around(), undefined, 'active'],
    ['a device that joins', told, 'joined', around(), undefined, 'active'],
    ['the end of one that was told', { ...cleared, told: 'active' }, 'cleared', around(), 'cleared', 'over'],
    ['the end of one that was not', cleared, 'cleared', around(), undefined, null],
    ['a pending one that is dropped', cleared, 'dropped', around(), undefined, null],
    ['one withdrawn that was told', { ...cleared, told: 'active' }, 'withdrawn', around(), 'withdrawn', 'over'],
    ['one withdrawn after its end was told', { ...cleared, told: 'over' }, 'withdrawn', around(), 'withdrawn', 'over'],
    ['one withdrawn that was not', cleared, 'withdrawn', around(), undefined, null],
    ['one of a rule that tells nobody', alarm, 'active', around({ rule: { ...rule, notify: [] } }), undefined, null],
    ['one of a rule that is gone', alarm, 'active', around({ rule: undefined }), undefined, null],
    ['one that nothing has happened to', told, 'again', around(), undefined, 'active'],
    ['one that is silenced', alarm, 'active', silenced, undefined, null],
    ['an escalation that is silenced', told, 'escalated', silenced, undefined, 'active'],
    ['an end that is silenced', { ...cleared, told: 'active' }, 'cleared', silenced, undefined, 'active'],
    ['one whose silence has ended', alarm, 'again', around({ silences: [silence], nowUs: at(60) }), 'active', 'active'],
    ['one whose silence was removed', alarm, 'again', around(), 'active', 'active'],
    [
      'an end whose silence has ended',
      { ...cleared, told: 'active' },
      'again',
      around({ silences: [silence], nowUs: at(60) }),
      'cleared',
      'over',
    ],
    ['one that came and went in a silence', cleared, 'again', around({ silences: [silence], nowUs: at(60) }), undefined, null],
    ['a silence of another zone', { ...alarm, labels: {} }, 'active', silenced, 'active', 'active'],
    ['one that escalates while nobody knows of it', alarm, 'escalated', around(), 'active', 'active'],
    ['one that is snoozed', told, 'escalated', around({ attendance: snoozed }), undefined, 'active'],
    ['one whose snooze is over', alarm, 'again', around({ attendance: snoozed, nowUs: at(30) }), 'active', 'active'],
    ['a snooze of an earlier episode', alarm, 'active', around({ attendance: { ...snoozed, episode: 2 } }), 'active', 'active'],
    ['one that is acknowledged', told, 'again', around({ attendance: acknowledged }), undefined, 'active'],
    ['an escalation of an acknowledged one', told, 'escalated', around({ attendance: acknowledged }), 'escalated', 'active'],
    ['one whose acknowledgement lapses', told, 'again', around({ attendance: acknowledged, nowUs: at(20) }), 'active', 'active'],
    ['one that is inhibited', alarm, 'active', around({ inhibitors: [offline] }), undefined, null],
    ['one whose inhibitor has cleared', alarm, 'again', around(), 'active', 'active'],
    ['an end that is inhibited', { ...cleared, told: 'active' }, 'cleared', around({ inhibitors: [offline] }), 'cleared', 'over'],
    ['one that escalated while it was silenced', { ...told, severity: 'critical' }, 'again', around(), 'escalated', 'active'],
    ['one that is less grave since', { ...told, toldSeverity: 'critical' }, 'again', around(), undefined, 'active'],
    ['one that is owed a repetition', { ...told, owed: true }, 'again', around(), 'active', 'active'],
    ['one that was acknowledged since', { ...told, owed: true }, 'again', around({ attendance: acknowledged }), undefined, 'active'],
    ['the end of an owed one', { ...cleared, told: 'active', owed: true }, 'again', around(), 'cleared', 'over'],
    ['one of before severities were kept', { ...told, toldSeverity: undefined }, 'again', around(), undefined, 'active'],
  ])('tells of %s what it should', (_, one, kind, circumstances, tell, knows) => {
    expect(attend(one, kind, circumstances)).toMatchObject({ tell, told: knows })
  })

  it.each<[string, Partial<Circumstances>, unknown, number | undefined]>([
    ['nothing', {}, null, undefined],
    ['a silence', { silences: [silence] }, { kind: 'silence', name: 's', until: time(60) }, 60],
    ['a silence to come', { silences: [{ ...silence, startUs: at(10) }] }, null, 10],
    ['a silence that is over', { silences: [{ ...silence, endUs: at(1) }] }, null, undefined],
    ['a snooze', { attendance: snoozed }, { kind: 'snooze', name: 'kari', until: time(30) }, 30],
    ['both', { attendance: snoozed, silences: [silence] }, { kind: 'silence', name: 's', until: time(60) }, 30],
    ['an inhibition', { inhibitors: [offline], silences: [silence] }, { kind: 'inhibition', name: 'o', until: null }, 60],
    ['an acknowledgement', { attendance: acknowledged }, null, 20],
  ])('of an alarm with %s says what suppresses it, and when to look again', (_, more, suppressedBy, second) => {
    const { nextUs, ...attention } = attend(told, 'again', around(more))
    expect(attention.suppressedBy).toEqual(suppressedBy)
    expect(nextUs).toBe(second === undefined ? undefined : at(second))
  })

  it.each<[string, Alarm, GroupKind | 'again', Partial<Circumstances>, object]>([
    ['what it was told as', alarm, 'active', {}, { toldSeverity: 'warning', owed: false }],
    ['an escalation for later', { ...told, severity: 'critical' }, 'escalated', { silences: [silence] }, { toldSeverity: 'warning' }],
    ['a beginning for later', told, 'active', { inhibitors: [offline] }, { owed: true }],
    ['a lapse for later', told, 'again', { attendance: acknowledged, silences: [silence], nowUs: at(20) }, { owed: true }],
    ['nothing for later of an alarm that nobody knows', alarm, 'active', { silences: [silence] }, { owed: false }],
  ])('keeps %s', (_, one, kind, more, known) => expect(attend(one, kind, around(more))).toMatchObject(known))

  const both = { attendance: snoozed, silences: [silence] }
  it.each<[string, Partial<Circumstances>, string | undefined]>([
    ['a silence and an inhibition', { silences: [silence], inhibitors: [offline] }, 'inhibition'],
    ['an inhibition when the silence ends', { silences: [silence], inhibitors: [offline], nowUs: at(60) }, 'inhibition'],
    ['a silence when the inhibitor clears', { silences: [silence] }, 'silence'],
    ['a silence and a snooze', both, 'silence'],
    ['a silence when the snooze ends', { ...both, nowUs: at(30) }, 'silence'],
    ['a snooze that ends after the silence', { ...both, silences: [{ ...silence, endUs: at(20) }] }, 'snooze'],
    ['a snooze when the silence ends', { ...both, silences: [{ ...silence, endUs: at(20) }], nowUs: at(20) }, 'snooze'],
    ['a snooze and an inhibition', { attendance: snoozed, inhibitors: [offline] }, 'inhibition'],
    ['a snooze when the inhibitor clears', { attendance: snoozed }, 'snooze'],
    ['an inhibition when the snooze ends', { attendance: snoozed, inhibitors: [offline], nowUs: at(30) }, 'inhibition'],
    ['nothing when all have ended', { ...both, nowUs: at(60) }, undefined],
  ])('is kept back by %s, and told once nothing keeps it back', (_, more, by) => {
    const kept = by !== undefined
    for (const [one, tell, before] of [
      [alarm, 'active', null],
      [{ ...told, severity: 'critical' }, 'escalated', 'active'],
      [{ ...told, owed: true }, 'active', 'active'],
    ] as const) {
      const attention = attend(one, 'again', around(more))
      expect(attention.suppressedBy?.kind).toBe(by)
      expect(attention).toMatchObject({ tell: kept ? undefined : tell, told: kept ? before : 'active' })
    }
  })

  it.each<[string, Alarm | undefined, Partial<Alarm>, GroupKind, boolean, object]>([
    ['nothing of a first episode', undefined, {}, 'active', false, { told: null }],
    ['nothing of a new one when the one before was told to be over', { ...cleared, told: 'over' }, {}, 'active', false, { told: null }],
    [
      'the one before when its end was kept back',
      { ...told, state: 'cleared' },
      {},
      'active',
      false,
      { told: 'active', toldSeverity: 'warning' },
    ],
    ['what was told when it goes on', told, { severity: 'critical' }, 'escalated', true, { told: 'active', toldSeverity: 'warning' }],
    ['a severity that an edit has made', told, { severity: 'critical' }, 'amended', true, { told: 'active', toldSeverity: 'critical' }],
    ['as before what an edit has made less grave', told, { severity: 'info' }, 'amended', true, { toldSeverity: 'warning' }],
  ])('leaves channels to know %s', (_, last, more, kind, goesOn, known) =>
    expect(knownOf(last, { ...alarm, ...more }, kind, goesOn)).toMatchObject(known),
  )

  it('says what of people’s doing has come to its end', () => {
    const both = attendance({ ...acknowledged, snooze: snoozed.snooze, episode: 3 })
    expect([0, 20, 30].map(second => attend(told, 'again', around({ attendance: both, nowUs: at(second) })))).toMatchObject([
      { lapsed: false, awake: false },
      { lapsed: true, awake: false },
      { lapsed: true, awake: true },
    ])
  })
})

describe('inhibition', () => {
  it.each<[string, Partial<Active>, string[], boolean]>([
    ['the same device', { device: 'd1' }, [], true],
    ['another device', {}, [], false],
    ['equal labels', {}, ['gateway'], true],
    ['a label of which one has none', {}, ['gateway', 'zone'], false],
    ['labels that neither has', {}, ['floor'], true],
    ['a group that the device is of', { group: { gateway: 'g1' }, device: 'gateway=g1' }, [], true],
    ['a group of another value', { group: { gateway: 'g2' }, labels: { gateway: 'g2' } }, [], false],
    ['another rule', { rule: 'other', device: 'd1' }, [], false],
    ['itself', { alarmId: 'a', device: 'd1' }, [], false],
  ])('is by %s', (_, other, equal, expected) => {
    expect(inhibits({ rule: 'offline', equal }, { ...offline, ...other }, alarm)).toBe(expected)
  })
})
