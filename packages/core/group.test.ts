// Alarms that devices share, by tables: what the group's alarm does when its devices change.
import { describe, expect, it } from 'vitest'
import type { Alarm } from './alarm.ts'
import type { Device } from './device.ts'
import { groupNameOf, groupOf, type Member, memberOf, nextGroup, nextMember, recounted, sharedAlarmIdOf } from './group.ts'
import { parseRule, type Severity } from './rule.ts'
import type { Change } from './step.ts'
import { formatTime } from './time.ts'

const NOON_US = Date.UTC(2026, 10, 21, 12) * 1000
const rule = parseRule({
  name: 'silent',
  when: { threshold: { field: 'temperature.value', above: 0 } },
  groupBy: ['gateway'],
  severity: [
    { at: 0, severity: 'warning' },
    { at: 10, severity: 'critical' },
  ],
})
const deviceOf = (id: string): Device => ({ id, type: 'temperature', productNumber: '', labels: { gateway: 'g1', name: id } })

/** `{second} {device} {kind} {severity}`, each as the engine would say it of its device. */
function story(lines: readonly string[]) {
  const members = new Map<string, Member>()
  let alarm: Alarm | undefined
  const seen: string[] = []
  for (const line of lines) {
    const [second, id, kind, severity = 'warning'] = line.split(' ') as [string, string, Change['kind'], Severity | undefined]
    const atUs = NOON_US + Number(second) * 1_000_000
    const over = kind === 'cleared' || kind === 'dropped' || kind === 'withdrawn'
    const known = members.get(id)
    const facts = {
      episode: known?.episode ?? 1,
      sinceUs: known?.sinceUs ?? atUs,
      activeUs: kind === 'pending' ? undefined : atUs,
      late: false,
    }
    const told = { value: 1, limit: 0, reason: line, eventId: 'e', clearedUs: over ? atUs : undefined }
    const change: Change = { kind, atUs, severity, ...facts, ...told }
    const device = deviceOf(id)
    const [before, after] = [members.get(id), nextMember(members.get(id), change)]
    if (after) members.set(id, after)
    else members.delete(id)
    const next = nextGroup(alarm, before, after, rule, { type: device.type, group: groupOf(rule, device) ?? {} }, change, atUs)
    if (next) seen.push(`${next.kind} ${next.alarm.state} ${next.alarm.devices} ${next.alarm.severity} #${next.alarm.episode}`)
    alarm = next?.alarm ?? (alarm && recounted(alarm, before, after))
  }
  return { alarm, seen }
}

describe('the alarm of a group', () => {
  it.each<[string, string[], string[]]>([
    [
      'begins with the first and ends with the last',
      ['0 a active', '1 b active', '2 a cleared', '3 b cleared'],
      ['active active 1 warning #1', 'joined active 2 warning #1', 'left active 1 warning #1', 'cleared cleared 0 warning #1'],
    ],
    [
      'is pending until one of them is active',
      ['0 a pending', '1 b pending', '2 b active', '3 a active', '4 b cleared', '5 a cleared'],
      [
        'pending pending 0 warning #1',
        'joined pending 0 warning #1',
        'active active 1 warning #1',
        'joined active 2 warning #1',
        'left active 1 warning #1',
        'cleared cleared 0 warning #1',
      ],
    ],
    [
      'is dropped with the last that is pending',
      ['0 a pending', '1 b pending', '2 a dropped', '3 b dropped'],
      ['pending pending 0 warning #1', 'joined pending 0 warning #1', 'left pending 0 warning #1', 'dropped cleared 0 warning #1'],
    ],
    [
      'is as grave as its gravest',
      ['0 a active warning', '1 b active critical', '2 b deescalated warning', '3 a escalated critical', '4 a cleared'],
      [
        'active active 1 warning #1',
        'escalated active 2 critical #1',
        'deescalated active 2 warning #1',
        'escalated active 2 critical #1',
        'deescalated active 1 warning #1',
      ],
    ],
    [
      'ends with its last active one, and begins anew with one that was pending',
      ['0 a active', '1 b pending', '2 a cleared', '3 b active'],
      ['active active 1 warning #1', 'cleared cleared 0 warning #1', 'active active 1 warning #2'],
    ],
    [
      'begins anew with an episode of its own',
      ['0 a active', '1 a cleared', '2 b active'],
      ['active active 1 warning #1', 'cleared cleared 0 warning #1', 'active active 1 warning #2'],
    ],
    [
      'has been active, though its last one is withdrawn, when another one was',
      ['0 a active', '20 b active', '30 a cleared', '25 b withdrawn'],
      ['active active 1 warning #1', 'joined active 2 warning #1', 'left active 1 warning #1', 'cleared cleared 0 warning #1'],
    ],
    [
      'is withdrawn when all of this episode are',
      ['0 a active', '1 a cleared', '2 a active', '3 b active', '4 a withdrawn', '5 b withdrawn'],
      [
        'active active 1 warning #1',
        'cleared cleared 0 warning #1',
        'active active 1 warning #2',
        'joined active 2 warning #2',
        'left active 1 warning #2',
        'withdrawn cleared 0 warning #2',
      ],
    ],
    [
      'is not told to be graver by an edit',
      ['0 a active', '1 a amended critical'],
      ['active active 1 warning #1', 'amended active 1 critical #1'],
    ],
    ['is withdrawn with its only one', ['0 a active', '1 a withdrawn'], ['active active 1 warning #1', 'withdrawn cleared 0 warning #1']],
  ])('%s', (_, lines, expected) => expect(story(lines).seen).toEqual(expected))

  it('was active until the last of those that truly were', () => {
    const { alarm } = story(['0 a active', '20 b active', '30 a cleared', '25 b withdrawn'])
    expect(alarm).toMatchObject({ activeSince: formatTime(NOON_US), clearedAt: formatTime(NOON_US + 30_000_000) })
  })

  it('is of what its devices share', () => {
    const { alarm } = story(['0 a active', '1 b active', '5 a cleared'])
    expect(alarm).toMatchObject({
      alarmId: sharedAlarmIdOf(rule, deviceOf('a')),
      device: 'gateway=g1',
      labels: { gateway: 'g1' },
      group: { gateway: 'g1' },
      devices: 1,
      since: formatTime(NOON_US),
      activeSince: formatTime(NOON_US),
      updateTime: formatTime(NOON_US + 5_000_000),
      clearedAt: null,
      version: 3,
      tally: { pending: 0, info: 0, warning: 1, critical: 0 },
    })
    expect(alarm && memberOf(alarm)).toMatchObject({ state: 'active' })
  })

  it.each([
    [{ gateway: 'g1' }, 'gateway=g1'],
    [{ a: '1', b: '2' }, 'a=1,b=2'],
    [{ a: '1,b=2' }, 'a=1%2Cb%3D2'],
    [{ zone: 'a/+#\t' }, 'zone=a%2F%2B%23%09'],
    [{ zone: '' }, 'zone='],
  ])('of %j is called %s', (group, name) => expect(groupNameOf(group)).toBe(name))

  it('has a name that fits into a topic, whatever its labels are', () => {
    const names = ['a', 'b'].map(end => groupNameOf({ zone: `${'/'.repeat(60_000)}${end}` }))
    expect(names.map(name => name.length <= 1000)).toEqual([true, true])
    expect(new Set(names).size).toBe(2)
  })

  it('takes devices without the label together', () => {
    expect(groupOf(rule, { ...deviceOf('a'), labels: {} })).toEqual({ gateway: '' })
    expect(groupOf(parseRule({ name: 'x', when: { absent: { eventType: 'touch', for: '1m' } } }), deviceOf('a'))).toBeNull()
  })
})
