// Whatever happens to an alarm and around it, what channels were told ends in agreement with what is.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Alarm, type Attendance, alarmIdOf, UNATTENDED } from '../../packages/core/alarm.ts'
import type { Active } from '../../packages/core/attention.ts'
import { parseRule } from '../../packages/core/rule.ts'
import { SEVERITIES, type Severity } from '../../packages/core/severity.ts'
import type { Silence } from '../../packages/core/silence.ts'
import type { Change, ChangeKind } from '../../packages/core/step.ts'
import { formatTime } from '../../packages/core/time.ts'
import type { OutboxEntry } from './commit.ts'
import { Draft } from './draft.ts'
import { Telling } from './telling.ts'

const DEVICE = { id: 'd1', type: 'temperature', labels: {}, productNumber: '' }
const SECOND_US = 1_000_000
const rule = parseRule({
  name: 'warm',
  when: { threshold: { field: 'temperature.value', above: 0 } },
  notify: ['ops'],
  inhibitedBy: ['offline'],
})
const rules = new Map([[rule.name, rule]])
const ID = alarmIdOf(rule.name, DEVICE.id)
const OFFLINE: Active = { alarmId: 'o', rule: 'offline', device: 'd1', labels: {}, group: null }

/** One alarm as the worker keeps it from commit to commit, and what is around it. */
class World {
  nowUs = Date.UTC(2026, 10, 21, 12) * 1000
  alarm: Alarm | undefined
  attendance: Attendance | undefined
  silence: Silence | undefined
  isInhibited = false
  readonly told: string[] = []
  #lookUs = Number.POSITIVE_INFINITY

  /** The `choice`th of what the engine may say next. */
  change(choice: number, severity: Severity): void {
    const kinds = this.#kinds()
    const kind = kinds[choice % kinds.length] as ChangeKind
    const { nowUs: atUs, alarm } = this
    const begins = alarm === undefined || alarm.state === 'cleared'
    const over = kind === 'cleared' || kind === 'dropped' || kind === 'withdrawn'
    const facts = { value: 1, limit: 0, reason: kind, eventId: 'e', late: kind === 'withdrawn' }
    const known = this.#severityOf(kind, severity)
    const episode = (alarm?.episode ?? 0) + (begins ? 1 : 0)
    const activeUs = kind === 'pending' || kind === 'dropped' ? undefined : atUs
    this.#step({ kind, atUs, episode, severity: known, sinceUs: atUs, activeUs, clearedUs: over ? atUs : undefined, ...facts })
  }

  pass(seconds: number): void {
    this.nowUs += seconds * SECOND_US
    if (this.#lookUs <= this.nowUs) this.look()
  }

  look(): void {
    const telling = this.#telling()
    telling.again(ID, this.alarm)
    this.#keep(telling, new Draft(new Map(), new Map(), new Map(), this.nowUs))
  }

  act(more: Partial<Attendance>): void {
    if (this.alarm === undefined || this.alarm.state === 'cleared') return
    const before = this.attendance?.episode === this.alarm.episode ? this.attendance : UNATTENDED
    this.attendance = { ...before, ...more, episode: this.alarm.episode }
    this.look()
  }

  get isSuppressed(): boolean {
    const { alarm, attendance, silence, nowUs } = this
    const snoozedUntil = attendance?.episode === alarm?.episode ? (attendance?.snooze?.until ?? '') : ''
    return (this.isInhibited && alarm?.state !== 'cleared') || (silence?.endUs ?? 0) > nowUs || snoozedUntil > formatTime(nowUs)
  }

  #kinds(): readonly ChangeKind[] {
    if (this.alarm?.state === 'pending') return ['active', 'dropped']
    if (this.alarm?.state !== 'active') return ['active', 'pending']
    const up: ChangeKind[] = this.alarm.severity === 'critical' ? [] : ['escalated']
    const down: ChangeKind[] = this.alarm.severity === 'info' ? [] : ['deescalated']
    return [...up, ...down, 'cleared', 'withdrawn']
  }

  #severityOf(kind: ChangeKind, severity: Severity): Severity {
    const before = this.alarm?.severity ?? severity
    if (kind === 'active' || kind === 'pending') return severity
    const by = kind === 'escalated' ? 1 : kind === 'deescalated' ? -1 : 0
    return SEVERITIES[SEVERITIES.indexOf(before) + by] ?? before
  }

  #step(change: Change): void {
    const draft = new Draft(new Map([[ID, this.alarm]]), new Map(), new Map(), this.nowUs)
    draft.take({ rule, device: DEVICE, change, quiet: false })
    const telling = this.#telling()
    for (const step of draft.steps) telling.step(step)
    this.#keep(telling, draft)
  }

  #telling(): Telling {
    const silences = this.silence === undefined ? [] : [this.silence]
    const inhibitors = this.isInhibited ? [OFFLINE] : []
    return new Telling('p', rules, new Map([[ID, this.attendance]]), { silences, inhibitors, nowUs: this.nowUs })
  }

  #keep(telling: Telling, draft: Draft): void {
    for (const command of telling.commands(draft)) this.#run(command.map(String))
  }

  #run([name, key = '', ...rest]: readonly string[]): void {
    if (name === 'HSET' && key.endsWith(':alarms')) this.alarm = JSON.parse(rest[1] ?? '') as Alarm
    if (key.endsWith(':acknowledgements')) this.attendance = name === 'HDEL' ? undefined : (JSON.parse(rest[1] ?? '') as Attendance)
    if (key.endsWith(':attention')) this.#lookUs = name === 'ZREM' ? Number.POSITIVE_INFINITY : Number(rest[0])
    if (!key.endsWith(':outbox')) return
    const { kind, alarm } = JSON.parse(rest.at(-1) ?? '') as OutboxEntry
    this.told.push(`${kind} ${(alarm as { severity: Severity }).severity}`)
  }
}

type Act = (world: World) => void

function silenced(world: World, seconds: number): void {
  const [startUs, endUs] = [world.nowUs, world.nowUs + seconds * SECOND_US]
  const matchers = [{ field: 'rule', values: ['warm'] }] as const
  world.silence = seconds === 0 ? undefined : { id: 's', matchers, author: 'kari', reason: '', startUs, endUs }
  world.look()
}

function snoozed(world: World, seconds: number): void {
  const [time, until] = [formatTime(world.nowUs), formatTime(world.nowUs + seconds * SECOND_US)]
  world.act({ snooze: seconds === 0 ? null : { by: 'kari', time, until } })
}

function acknowledged(world: World, seconds: number): void {
  const [time, lapses] = [formatTime(world.nowUs), formatTime(world.nowUs + seconds * SECOND_US)]
  world.act({ acknowledgement: { by: 'kari', time, comment: '', lapses } })
}

function inhibited(world: World, isInhibited: boolean): void {
  world.isInhibited = isInhibited
  // Only active alarms are looked at when an inhibitor comes or goes.
  if (world.alarm?.state === 'active') world.look()
}

const seconds = fc.integer({ min: 0, max: 60 })
const act: fc.Arbitrary<readonly [string, Act]> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.nat(3), fc.constantFrom(...SEVERITIES))
      .map(([a, b]) => [`change ${a} ${b}`, (w: World) => w.change(a, b)] as const),
  },
  { weight: 3, arbitrary: seconds.map(s => [`pass ${s}`, (w: World) => w.pass(s)] as const) },
  seconds.map(s => [`silence ${s}`, (w: World) => silenced(w, s)] as const),
  seconds.map(s => [`snooze ${s}`, (w: World) => snoozed(w, s)] as const),
  seconds.map(s => [`acknowledge ${s}`, (w: World) => acknowledged(w, s)] as const),
  fc.boolean().map(b => [`inhibit ${b}`, (w: World) => inhibited(w, b)] as const),
)

function checkAgreement({ alarm, told, isSuppressed }: World): void {
  if (alarm === undefined || isSuppressed) return
  const [kind, severity] = (told.at(-1) ?? '').split(' ')
  if (alarm.state === 'active') {
    expect(['active', 'escalated']).toContain(kind)
    expect(SEVERITIES.indexOf(severity as Severity)).toBeGreaterThanOrEqual(SEVERITIES.indexOf(alarm.severity))
  }
  if (alarm.state === 'cleared') expect(['', 'cleared', 'withdrawn']).toContain(kind)
}

describe('what channels were told', () => {
  it('agrees with what is whenever nothing keeps it back', () => {
    fc.assert(
      fc.property(fc.array(act, { minLength: 5, maxLength: 40 }), acts => {
        const world = new World()
        for (const [, does] of acts) {
          does(world)
          checkAgreement(world)
        }
        world.isInhibited = false
        world.silence = undefined
        world.look()
        world.pass(100)
        world.look()
        checkAgreement(world)
      }),
      { numRuns: 1500, seed: 7 },
    )
  })

  it.each<[string, Act[], string[]]>([
    [
      'an escalation in a silence, when that ends',
      [w => w.change(0, 'warning'), w => silenced(w, 60), w => w.change(0, 'warning'), w => w.pass(60)],
      ['active warning', 'escalated critical'],
    ],
    [
      'an escalation while inhibited, when that ends',
      [w => w.change(0, 'warning'), w => inhibited(w, true), w => w.change(0, 'warning'), w => inhibited(w, false)],
      ['active warning', 'escalated critical'],
    ],
    [
      'a lapse in a snooze, when that ends',
      [w => w.change(0, 'warning'), w => acknowledged(w, 20), w => snoozed(w, 60), w => w.pass(20), w => w.pass(40)],
      ['active warning', 'active warning'],
    ],
    [
      'the end of the second of two episodes in a silence, when that ends',
      [
        w => w.change(0, 'critical'),
        w => silenced(w, 60),
        w => w.change(1, 'info'),
        w => w.change(0, 'critical'),
        w => w.change(1, 'info'),
        w => w.pass(60),
      ],
      ['active critical', 'cleared critical'],
    ],
    [
      'a second episode that began in a silence, when that ends',
      [w => w.change(0, 'critical'), w => silenced(w, 60), w => w.change(1, 'info'), w => w.change(0, 'warning'), w => w.pass(60)],
      ['active critical', 'active warning'],
    ],
    [
      'one that was only pending after it in a silence, when that ends',
      [
        w => w.change(0, 'critical'),
        w => silenced(w, 60),
        w => w.change(1, 'info'),
        w => w.change(1, 'info'),
        w => w.change(1, 'info'),
        w => w.pass(60),
      ],
      ['active critical', 'cleared info'],
    ],
  ])('is %s', (_, acts, told) => {
    const world = new World()
    for (const does of acts) does(world)
    expect(world.told).toEqual(told)
  })
})
