// Rules of DT's alerting API and ours, by tables: what each becomes in the other, and what is refused by its name.
import { describe, expect, it } from 'vitest'
import type { Condition } from '../condition/condition.ts'
import { conditionToJson } from '../condition/condition.ts'
import { Failure } from '../failure.ts'
import { parseRule, type Rule, ruleToJson } from '../rule.ts'
import { dtRuleOf, parseDtRule } from './rule.ts'

const FREEZER = {
  name: '',
  enabled: true,
  displayName: 'freezer too warm',
  devices: ['projects/p/devices/f1'],
  deviceLabels: { zone: 'north', site: '' },
  projectLabels: {},
  trigger: { field: 'temperature', range: { lower: -30, upper: -15, type: 'OUTSIDE', filter: null }, triggerCount: 0 },
  triggerDelay: '900s',
  reminderNotifications: false,
  resolvedNotifications: true,
  unacknowledgesAfter: null,
  schedule: {
    timezone: 'Europe/Oslo',
    inverse: false,
    slots: [{ days: ['Monday'], times: [{ start: { hour: 8, minute: 0 }, end: { hour: 20, minute: 0 } }] }],
  },
  escalationLevels: [
    {
      displayName: 'L1',
      escalateAfter: '1800s',
      actions: [{ type: 'WEBHOOK', webhook: { url: 'https://ops.example/h', signatureSecret: 'x', headers: {} }, sms: null }],
    },
  ],
  actions: [],
}
const ID = 'cr22v0p8d2kq0f5m3n7a'
const parse = (more: object = {}, before?: Rule) => parseDtRule({ ...FREEZER, ...more }, 'p', ID, before)
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
const when = ({ when }: { readonly when: Condition }) => plain(conditionToJson(when))

function refusal(more: object): string {
  try {
    parse(more)
  } catch (error) {
    if (error instanceof Failure) return error.message
    throw error
  }
  return 'taken'
}

describe('a rule of the alerting API', () => {
  it('is a rule of ours that says the same', () => {
    const { rule, level } = parse()
    expect(plain(ruleToJson(rule))).toEqual({
      name: ID,
      version: 1,
      title: 'freezer too warm',
      enabled: true,
      select: { deviceTypes: [], labels: ['zone=north', 'site'], devices: ['f1'] },
      when: { threshold: { field: 'temperature.value', outside: [-30, -15], unit: '°C' } },
      for: '15m',
      keepActive: '0ms',
      severity: 'warning',
      schedule: { timezone: 'Europe/Oslo', active: [{ days: 'mon', from: '08:00', to: '20:00' }], holidays: [], inverse: false },
      message: '{{device.labels.name}}: {{title}} is {{state}}, {{reason}}',
      notify: [],
      groupBy: [],
      inhibitedBy: [],
      unacknowledgeAfter: '4h',
      late: 'ignore',
    })
    expect(level).toEqual({
      displayName: 'L1',
      escalateAfter: '1800s',
      actions: [{ url: 'https://ops.example/h', signatureSecret: 'x', headers: {} }],
    })
  })

  it('comes back as it was, with every default said', () => {
    const { name: _name, escalationLevels: _levels, actions: _actions, ...said } = FREEZER
    expect(dtRuleOf('p', parse().rule)).toEqual({
      ...said,
      trigger: { ...FREEZER.trigger, triggerCount: 1 },
      unacknowledgesAfter: '14400s',
      message: '$name: {{title}} is {{state}}, {{reason}}',
    })
    const least = { displayName: 'a', trigger: { field: 'contact' }, escalationLevels: [] }
    const { rule, level } = parseDtRule(least, 'p', ID, undefined)
    expect([level, dtRuleOf('p', rule)]).toMatchObject([
      undefined,
      { enabled: true, devices: [], deviceLabels: {}, triggerDelay: null, schedule: null, unacknowledgesAfter: '14400s' },
    ])
  })

  it.each<[trigger: object, when: object, back?: object]>([
    [{ field: 'temperature', range: { lower: 2, upper: 8 } }, { threshold: { field: 'temperature.value', inside: [2, 8], unit: '°C' } }],
    [{ field: 'temperature', range: { upper: 30, type: 'OUTSIDE' } }, { threshold: { field: 'temperature.value', above: 30, unit: '°C' } }],
    [{ field: 'temperature', range: { lower: 0, type: 'OUTSIDE' } }, { threshold: { field: 'temperature.value', below: 0, unit: '°C' } }],
    [
      { field: 'temperature', range: { lower: 30, type: 'WITHIN' } },
      { not: { threshold: { field: 'temperature.value', below: 30, unit: '°C' } } },
    ],
    [{ field: 'co2', range: { upper: 800 } }, { not: { threshold: { field: 'co2.ppm', above: 800, unit: 'ppm' } } }],
    [
      { field: 'humidity', range: { lower: 30, upper: 70, type: 'OUTSIDE' } },
      { threshold: { field: 'humidity.relativeHumidity', outside: [30, 70], unit: '%' } },
      { field: 'relativeHumidity', range: { lower: 30, upper: 70, type: 'OUTSIDE' } },
    ],
    [{ field: 'objectPresentCount', range: { lower: 9, type: 'OUTSIDE' } }, { threshold: { field: 'objectPresentCount.total', below: 9 } }],
    [{ field: 'waterPresent', presence: null }, { state: { field: 'waterPresent.state', equals: 'PRESENT' } }, { presence: 'PRESENT' }],
    [{ field: 'objectPresent', presence: 'ABSENT' }, { state: { field: 'objectPresent.state', equals: 'NOT_PRESENT' } }],
    [{ field: 'motion', motion: 'NO_MOTION_DETECTED' }, { state: { field: 'motion.state', equals: 'NO_MOTION_DETECTED' } }],
    [{ field: 'deskOccupancy', occupancy: 'NOT_OCCUPIED' }, { state: { field: 'deskOccupancy.state', equals: 'NOT_OCCUPIED' } }],
    [{ field: 'contact', contact: 'CLOSED', triggerCount: 1 }, { state: { field: 'contact.state', equals: 'CLOSED' } }],
    [
      { field: 'connectionStatus' },
      { state: { field: 'connectionStatus.connection', equals: 'OFFLINE' } },
      { connection: 'CLOUD_CONNECTOR_OFFLINE' },
    ],
    [{ field: 'connectionStatus', connection: 'SENSOR_OFFLINE' }, { absent: { eventType: 'networkStatus', for: '1h' } }],
  ])('with the trigger %j fires when %j', (trigger, condition, back = trigger) => {
    const { rule } = parse({ trigger })
    expect(when(rule)).toEqual(condition)
    expect(dtRuleOf('p', rule)?.trigger).toMatchObject(back)
  })

  const slots = (...list: object[]) => ({ schedule: { timezone: 'Europe/Oslo', slots: list } })
  const clock = (hour: number, minute = 0) => ({ hour, minute })
  it.each<[string, object, object[], object?]>([
    [
      'several times of a day',
      slots({
        days: ['Friday'],
        times: [
          { start: clock(8), end: clock(9) },
          { start: clock(10, 30), end: clock(11) },
        ],
      }),
      [
        { days: 'fri', from: '08:00', to: '09:00' },
        { days: 'fri', from: '10:30', to: '11:00' },
      ],
    ],
    ['whole days', slots({ days: ['Saturday', 'Sunday'], times: [] }), [{ days: 'sat-sun', from: '00:00', to: '24:00' }]],
    ['a night', slots({ days: ['Saturday'], times: [{ start: clock(22), end: clock(4) }] }), [{ days: 'sat', from: '22:00', to: '04:00' }]],
    [
      'until midnight',
      slots({ days: ['Monday'], times: [{ start: clock(22), end: clock(0) }] }),
      [{ days: 'mon', from: '22:00', to: '24:00' }],
    ],
  ])('has a schedule with %s, and gives it back', (_, more, active) => {
    const { rule } = parse(more)
    expect(plain(ruleToJson(rule).schedule)).toMatchObject({ active })
    expect(dtRuleOf('p', rule)?.schedule).toMatchObject((more as { schedule: object }).schedule)
  })

  it.each<[string, object, string]>([
    ['$name is $celsius°C', {}, '{{device.labels.name}} is {{value}}°C'],
    [
      '$relativeHumidity% since {{since}}, costs $5',
      { trigger: { field: 'humidity', range: { lower: 1 } } },
      '{{value}}% since {{since}}, costs $5',
    ],
    ['$name is open', { trigger: { field: 'contact' } }, '{{device.labels.name}} is open'],
  ])('has the message %j, and gives it back', (message, more, text) => {
    const { rule } = parse({ ...more, message })
    expect([rule.message.text, dtRuleOf('p', rule)?.message]).toEqual([text, message])
  })

  it.each<[string, object, string]>([
    ['an unknown key', { triggerDelai: '1s' }, 'triggerDelai: is unknown here; did you mean "triggerDelay"?'],
    ['no name for people', { displayName: '' }, 'displayName: expected a text'],
    ['another name', { name: 7, trigger: {} }, 'trigger.field: expected one of temperature'],
    ['a mistyped field', { trigger: { field: 'temprature' } }, 'did you mean "temperature"?'],
    ['touches', { trigger: { field: 'touch' } }, 'trigger.field: a touch is a moment'],
    ['a range of nothing', { trigger: { field: 'temperature', range: {} } }, 'trigger.range: expected "lower"'],
    ['no range', { trigger: { field: 'temperature' } }, 'trigger.range: expected an object'],
    [
      'an empty range',
      { trigger: { field: 'temperature', range: { lower: 8, upper: 2 } } },
      'trigger.range.upper: expected more than lower (8)',
    ],
    ['a kind of range', { trigger: { field: 'co2', range: { lower: 8, type: 'IN' } } }, 'trigger.range.type: expected one of WITHIN'],
    [
      'a filter',
      { trigger: { field: 'temperature', range: { lower: 8, filter: { productEquivalentTemperature: {} } } } },
      'trigger.range.filter: expected null',
    ],
    ['a count', { trigger: { field: 'contact', triggerCount: 3 } }, 'trigger.triggerCount: expected 0 or 1'],
    [
      'the state of something else',
      { trigger: { field: 'contact', motion: 'MOTION_DETECTED' } },
      'trigger.motion: expected none: with field contact',
    ],
    ['a range of states', { trigger: { field: 'contact', range: { lower: 1 } } }, 'trigger.range: expected none'],
    ['an unknown state', { trigger: { field: 'contact', contact: 'AJAR' } }, 'trigger.contact: expected one of OPEN, CLOSED'],
    ['a bare number of seconds', { triggerDelay: '900' }, 'triggerDelay: expected a duration in seconds'],
    ['minutes', { unacknowledgesAfter: '15m' }, 'unacknowledgesAfter: expected a duration in seconds'],
    ['years', { triggerDelay: '99999999s' }, 'triggerDelay: expected a duration such as'],
    ['reminders', { reminderNotifications: true }, 'reminderNotifications: expected false'],
    ['silence at the end', { resolvedNotifications: false }, 'resolvedNotifications: expected true'],
    ['labels of projects', { projectLabels: { StoreID: '' } }, 'projectLabels: expected none'],
    ['actions of old', { actions: [{}] }, 'actions: expected none: they stand in escalationLevels'],
    ['a device of others', { devices: ['projects/q/devices/a'] }, 'devices[0]: expected a device of this project, such as projects/p/'],
    ['no device', { devices: ['projects/p/devices/'] }, 'devices[0]: expected 1 to 128'],
    ['a label that is no text', { deviceLabels: { zone: 1 } }, 'deviceLabels.zone: expected a text'],
    ['a key with =', { deviceLabels: { 'a=b': '' } }, 'deviceLabels.a=b: expected the key'],
    ['nobody to tell', { escalationLevels: undefined }, 'escalationLevels: expected a list of one level'],
    ['no action', { escalationLevels: [{ displayName: 'a', actions: [] }] }, 'escalationLevels[0].actions: expected a list of 1 to'],
    ['a further level', { escalationLevels: [{}, {}] }, 'escalationLevels[1]: expected one level'],
    [
      'an e-mail',
      { escalationLevels: [{ displayName: 'a', actions: [{ type: 'EMAIL', email: {} }] }] },
      'escalationLevels[0].actions[0].type: expected WEBHOOK',
    ],
    [
      'an e-mail in a webhook',
      { escalationLevels: [{ displayName: 'a', actions: [{ type: 'WEBHOOK', email: {} }] }] },
      'escalationLevels[0].actions[0].email: expected none',
    ],
    [
      'no address',
      { escalationLevels: [{ displayName: 'a', actions: [{ type: 'WEBHOOK', webhook: {} }] }] },
      'escalationLevels[0].actions[0].webhook.url: expected',
    ],
    ['a time zone', { schedule: { timezone: 'Oslo', slots: [{ days: [] }] } }, 'schedule.timezone: expected the IANA name'],
    ['no slot', slots(), 'schedule.slots: expected 1 to 50'],
    ['a day', slots({ days: ['mon'] }), 'schedule.slots[0].days[0]: expected one of Monday'],
    [
      'a time of day',
      slots({ times: [{ start: clock(25), end: clock(1) }] }),
      'schedule.slots[0].times[0].start.hour: expected a whole number',
    ],
    ['a moment', slots({ times: [{ start: clock(8), end: clock(8) }] }), 'schedule.slots[0].times[0].end: expected another time'],
    ['an unknown name in a message', { message: '$fahrenheit' }, 'message: expected no "$fahrenheit"; valid in this rule: $name, $celsius'],
    ['a name of something else', { trigger: { field: 'contact' }, message: '$celsius' }, 'message: expected no "$celsius"'],
    ['braces of nothing', { message: '{{foo}}' }, 'message: expected no "{{foo}}"'],
  ])('is refused with %s', (_, more, message) => expect(refusal(more)).toContain(message))

  it('keeps of the rule whose place it takes what it has no word for', () => {
    const before = parseRule({ ...ruleToJson(parse().rule), severity: 'critical', late: 'amend', message: '{{value}} now', version: 4 })
    const { rule } = parse({ name: `projects/p/rules/${ID}`, displayName: 'colder', schedule: null }, before)
    expect(rule).toMatchObject({
      severity: 'critical',
      late: 'amend',
      title: 'colder',
      schedule: undefined,
      message: { text: '{{value}} now' },
    })
    expect(() => parse({ name: 'projects/p/rules/other' }, before)).toThrow(`name: expected projects/p/rules/${ID}`)
  })
})

describe('a rule of ours', () => {
  const rule = (more: object) => parseRule({ name: 'warm', when: { threshold: { field: 'temperature.value', above: 8 } }, ...more })

  it('is seen there by its own name', () => {
    expect(dtRuleOf('p', rule({}))).toMatchObject({
      displayName: 'warm',
      trigger: { field: 'temperature', range: { lower: null, upper: 8, type: 'OUTSIDE' } },
      unacknowledgesAfter: '0s',
      message: '$name: {{rule}} is {{state}}, {{reason}}',
    })
    expect(dtRuleOf('p', rule({ message: 'costs $money' }))?.message).toBeNull()
    expect(dtRuleOf('p', rule({ message: '{{value}}C' }))?.message).toBe('{{value}}C')
  })

  it.each<[string, object]>([
    ['device types', { select: { deviceTypes: ['temperature'] } }],
    ['a label twice', { select: { labels: ['a=b', 'a=c'] } }],
    ['a level at which it clears', { when: { threshold: { field: 'temperature.value', above: 8, clearBelow: 7 } } }],
    ['another unit', { when: { threshold: { field: 'temperature.value', above: 50, unit: '°F' } } }],
    ['another field', { when: { threshold: { field: 'pump.speed', above: 50 } } }],
    ['several states', { when: { state: { field: 'contact.state', equals: ['OPEN', 'AJAR'] } } }],
    ['a change', { when: { state: { field: 'contact.state', changes: { to: 'OPEN' } } } }],
    ['another silence', { when: { absent: { eventType: 'temperature', for: '1h' } } }],
    ['the contrary of a band', { when: { not: { threshold: { field: 'temperature.value', outside: [2, 8] } } } }],
    ['several conditions', { when: { any: [{ threshold: { field: 'temperature.value', above: 8 } }] } }],
    ['a window', { when: { window: { field: 'temperature.value', function: 'mean', over: '1h', above: 8 } } }],
    ['a time for which it stays active', { keepActive: '5m' }],
    ['a ladder', { severity: [{ at: 8, severity: 'warning' }] }],
    ['groups', { groupBy: ['room'] }],
    ['inhibitors', { inhibitedBy: ['other'] }],
    ['holidays', { schedule: { timezone: 'UTC', active: [{}], holidays: ['2026-12-25'] } }],
  ])('with %s is more than can be said there', (_, more) => expect(dtRuleOf('p', rule(more))).toBeUndefined())
})
