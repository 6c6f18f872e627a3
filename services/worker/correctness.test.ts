// rules.md "Correctness", line by line: each of its sentences is a test, against the real judge on a real Redis. What is said of crashes at
// any instruction is in stopped.test.ts, of any order in packages/core/order.test.ts.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../../packages/log/fixture.ts'
import { projectKey } from '../../packages/log/key.ts'
import { dice, MINUTE, type Said, Story } from './fixture.ts'

const warm = { name: 'warm', when: { threshold: { field: 'temperature.value', above: 6, clearBelow: 5 } }, notify: ['ops'] }
const silent = { name: 'silent', when: { absent: { eventType: 'temperature', for: '10m' } }, notify: ['ops'] }

describe.skipIf(installed === undefined)('alarms', () => {
  let server: TestRedis
  let story: Story
  beforeAll(async () => {
    server = await openTestRedis()
  })
  beforeEach(async () => {
    story = new Story(server.redis)
    for (const device of ['a', 'b']) await story.device(device, { room: 'one', zone: 'cold' })
  })
  afterAll(() => server.stop())

  /** At this minute by the server's clock. */
  async function hear(minute: number, ...said: readonly Said[]): Promise<void> {
    story.nowUs = story.at(minute)
    if (said.length > 0) await story.send(...said)
    await story.until(minute)
  }
  const saying = (minute: number, value: number, more: Partial<Said> = {}) => hear(minute, { minute, value, ...more })

  describe('after a restart or crash at any instruction', () => {
    it('go on with their timers from where those stood', async () => {
      await story.save({ ...warm, for: '10m', keepActive: '5m' })
      await saying(0, 8)
      story.restart()
      await hear(9)
      expect(await story.told()).toEqual([])
      story.restart()
      await hear(11)
      expect(await story.told()).toEqual(['warm a active 10'])
      await saying(12, 2)
      story.restart()
      await hear(18)
      expect(await story.told()).toEqual(['warm a active 10', 'warm a cleared 17'])
    })

    it('are neither told twice nor lost, whatever was being done', async () => {
      await story.save(warm)
      await saying(0, 8)
      for (let i = 0; i < 3; i++) {
        story.restart()
        await hear(1)
      }
      expect(await story.told()).toEqual(['warm a active 0'])
    })
  })

  describe('of an outage of the judge', () => {
    it('are found in the time of the events, as they would have been', async () => {
      await story.save({ ...warm, for: '5m' })
      await hear(0, { minute: 0, value: 2 })
      for (const [minute, value] of [
        [10, 8],
        [20, 2],
        [30, 8],
        [33, 2],
        [50, 8],
      ] as const) {
        story.nowUs = story.at(minute)
        await story.send({ minute, value })
      }
      story.restart()
      await hear(60)
      const active = (await story.history()).filter(text => !text.includes('pending') && !text.includes('dropped'))
      expect(active).toEqual(['warm a active 15 late', 'warm a cleared 20 late', 'warm a active 55 late'])
    })

    it('that began and ended in it are told once, marked late', async () => {
      await story.save(warm)
      await hear(0, { minute: 0, value: 2 })
      story.nowUs = story.at(41)
      await story.send({ minute: 10, value: 8 }, { minute: 12, value: 2 }, { minute: 40, value: 9 })
      await hear(60)
      expect(await story.told()).toEqual(['warm a cleared 12 late', 'warm a active 40 late'])
      expect((await story.outbox())[0]?.alarm).toMatchObject({ activeSince: expect.stringContaining('08:10:00'), late: true })
    })

    it('are told once also where the backlog is cut between two commits', async () => {
      await story.save(warm)
      await hear(0, { minute: 0, value: 2 })
      story.nowUs = story.at(10)
      await story.send({ minute: 10, value: 8 })
      for (let i = 0; i < 45; i++) await story.send({ device: 'b', minute: 10, value: 2 })
      await story.send({ minute: 12, value: 2 })
      await hear(60)
      expect(await story.told()).toEqual(['warm a cleared 12 late'])
    })
  })

  describe('of silence', () => {
    it('are no storm after an outage of the broker: it counts from when the system listened again', async () => {
      await story.save(silent)
      const devices = ['a', 'b', 'c', 'd']
      await hear(0, ...devices.map(device => ({ device, minute: 0 })))
      story.breaks = [{ fromUs: story.at(1), toUs: story.at(60) }]
      await hear(61)
      await hear(62, { device: 'a', minute: 62 }, { device: 'b', minute: 62 })
      await hear(69.9)
      expect(await story.history()).toEqual([])
      await hear(71)
      expect(await story.history()).toEqual(['silent c active 70', 'silent d active 70'])
    })

    it('are no storm after a restart: what was received meanwhile is judged first', async () => {
      await story.save(silent)
      await hear(0, { minute: 0 })
      for (let minute = 5; minute <= 60; minute += 5) {
        story.nowUs = story.at(minute)
        await story.send({ minute })
      }
      story.restart()
      await hear(60)
      expect(await story.history()).toEqual([])
    })

    it('that was listened to are not taken back by a break of the listening after it', async () => {
      await story.save({ ...silent, keepActive: '30m' })
      await hear(0, { minute: 0 })
      await hear(11)
      expect(await story.told()).toEqual(['silent a active 10'])
      story.breaks = [{ fromUs: story.at(12), toUs: story.at(20) }]
      await hear(22, { minute: 22 })
      await hear(23, { minute: 21.5 })
      story.restart()
      await hear(24, { minute: 23.5 })
      expect((await story.history()).filter(text => !text.includes('amended'))).toEqual(['silent a active 10'])
    })

    it('that was not listened to are not found by a restart, or by a late event', async () => {
      await story.save({ ...silent, keepActive: '30m' })
      await hear(0, { minute: 0 })
      story.breaks = [{ fromUs: story.at(1), toUs: story.at(20) }]
      await hear(21, { minute: 21 })
      await hear(22, { minute: 22 })
      story.restart()
      await hear(23, { minute: 21.5 })
      await hear(23.5, { minute: 23.5 })
      story.restart()
      await hear(31, { minute: 31 })
      await hear(70)
      expect(await story.history()).toEqual(['silent a active 41 late'])
      expect((await story.records())[0]?.episode).toBe(1)
    })
  })

  describe('of events that are late, doubled or out of order', () => {
    it('are those of the right order within the allowed lateness', async () => {
      await story.save({ ...warm, for: '1m' })
      await hear(10, { minute: 10, value: 8, id: 'x' })
      await hear(11.5, { minute: 11.5, value: 8 }, { minute: 10, value: 8, id: 'x' })
      await hear(11.6, { minute: 10.5, value: 2 })
      expect(await story.history()).toEqual([
        'warm a pending 10',
        'warm a active 11',
        'warm a withdrawn 10.5 late',
        'warm a pending 11.5 late',
      ])
      expect(await story.told()).toEqual(['warm a active 11', 'warm a withdrawn 10.5 late'])
    })

    it('do not hear of one that is beyond it, unless the rule amends', async () => {
      await story.save(warm)
      await story.save({ ...warm, name: 'amending', late: 'amend' })
      await hear(10, { minute: 10, value: 2 })
      await hear(11, { minute: 1, value: 8 })
      await hear(12, { minute: 3, value: 2 })
      expect(await story.history()).toEqual(['amending a amended 1 late', 'amending a amended 3 late'])
      expect(await story.told()).toEqual([])
    })

    it.each([1, 2, 3, 4])('leave groups as they would be in the right order: seed %i', async seed => {
      const said = (roll: (sides: number) => number) =>
        Array.from({ length: 40 }, (_, i) => ({ device: 'ab'[roll(2)] as string, minute: i / 4, value: 2 + roll(8), id: `e${100 + i}` }))
      const open = async (late: boolean) => {
        const told = new Story(server.redis)
        await told.device('a', { room: 'one' })
        await told.device('b', { room: 'one' })
        await told.save({ ...warm, groupBy: ['room'], for: '30s' })
        const roll = dice(seed)
        const events = said(roll).map(one => ({ ...one, at: one.minute + (late ? roll(8) / 4 : 0) }))
        for (const { at, ...one } of events.toSorted((x, y) => x.at - y.at)) {
          told.nowUs = told.at(at)
          await told.send(one, ...(late && roll(4) === 0 ? [one] : []))
        }
        await told.until(30)
        const { alarms } = await told.alarms.list(told.project, {}, '', 10)
        return alarms.map(({ device, state, devices, severity }) => ({ device, state, devices, severity }))
      }
      expect(await open(true)).toEqual(await open(false))
    })

    it('count two of the same moment, also when the rule is edited between them', async () => {
      await story.save({ name: 'two', when: { window: { eventType: 'temperature', function: 'count', over: '5m', above: 1 } } })
      await hear(1, { minute: 1, id: 'p' }, { minute: 1, id: 'q' })
      expect(await story.history()).toEqual(['two a active 1'])
      await story.save({ ...warm, for: '1m' })
      await hear(20, { minute: 20, value: 2, id: 'p2' })
      await story.save({ ...warm, for: '2m' })
      await hear(20.1, { minute: 20, value: 8, id: 'q2' })
      story.restart()
      await hear(23)
      expect((await story.history()).filter(text => text.startsWith('warm'))).toEqual(['warm a pending 20', 'warm a active 22'])
    })
  })

  describe('of a device whose clock stands at 1970 or in the future', () => {
    it.each([
      ['1970', -Date.UTC(2026, 10, 2, 8) / 60_000],
      ['in a year', 525_600],
    ])('%s are judged by arrival, and move no timer, no other device and no later event', async (_, wrong) => {
      await story.save({ ...warm, for: '5m' })
      await story.save(silent)
      await hear(0, { minute: 0, value: 8 }, { device: 'b', minute: 0, value: 8 })
      await hear(1, { minute: wrong, value: 8 })
      expect((await story.history()).sort()).toEqual(['warm a pending 0', 'warm b pending 0'])
      await hear(2, { minute: 2, value: 2 })
      await hear(6)
      expect((await story.history()).slice(2)).toEqual(['warm a dropped 2', 'warm b active 5'])
      await hear(10.5)
      await hear(12.5)
      expect((await story.history()).slice(4)).toEqual(['silent b active 10', 'silent a active 12'])
    })
  })

  describe('of a rule with a schedule', () => {
    const at = (iso: string) => (Date.parse(iso) * 1000 - story.startUs) / MINUTE
    const scheduled = (timezone: string, from: string, to: string, more: object = {}) => ({
      ...warm,
      schedule: { timezone, active: [{ days: 'mon-sun', from, to }], ...more },
    })

    it.each([
      ['the day of 23 hours', '2026-03-29', '2026-03-29T01:30:00Z', '2026-03-29T02:00:00Z'],
      ['the day of 25 hours', '2026-10-25', '2026-10-25T02:30:00Z', '2026-10-25T03:00:00Z'],
    ])('open and close by the wall clock on %s', async (_, day, opens, closes) => {
      story = new Story(server.redis, Date.parse(`${day}T00:00:00Z`) * 1000)
      await story.save(scheduled('Europe/Oslo', '03:30', '04:00'))
      await hear(0, { minute: 0, value: 8 })
      await hear(300, { minute: 300, value: 8 })
      const changes = (await story.records()).map(({ kind, at: when }) => `${kind} ${when?.slice(0, 19)}Z`)
      expect(changes).toEqual([`active ${opens}`, `cleared ${closes}`])
    })

    it.each([
      ['a zone of half an hour', 'Asia/Kolkata', '09:00', '10:00', '03:30', '04:30'],
      ['a zone of three quarters', 'Asia/Kathmandu', '09:00', '10:00', '03:15', '04:15'],
      ['overnight', 'UTC', '22:00', '02:00', '22:00', '02:00'],
    ])('open and close in %s', async (_, zone, from, to, opens, closes) => {
      story = new Story(server.redis, Date.UTC(2026, 10, 3, 3) * 1000)
      await story.save(scheduled(zone, from, to))
      await hear(0, { minute: 0, value: 8 })
      await hear(1439, { minute: 1439, value: 8 })
      expect((await story.records()).map(({ kind, at: when }) => `${kind} ${when?.slice(11, 16)}`)).toEqual([
        `active ${opens}`,
        `cleared ${closes}`,
      ])
    })

    it('stay closed on a holiday', async () => {
      story = new Story(server.redis, Date.UTC(2026, 11, 24, 20) * 1000)
      await story.save(scheduled('UTC', '08:00', '16:00', { holidays: ['2026-12-25'] }))
      await hear(0, { minute: 0, value: 8 })
      await hear(at('2026-12-26T09:00:00Z'), { minute: at('2026-12-26T09:00:00Z'), value: 8 })
      expect((await story.records()).map(({ kind, at: when }) => `${kind} ${when?.slice(0, 16)}`)).toEqual(['active 2026-12-26T08:00'])
    })
  })

  describe('of a rule that is edited', () => {
    const EDITS: readonly (readonly [string, object])[] = [
      ['its level', { when: { threshold: { field: 'temperature.value', above: 20 } } }],
      ['for', { for: '1h' }],
      ['keepActive', { keepActive: '1h' }],
      ['select', { select: { labels: ['zone'] } }],
      ['severity', { severity: 'critical' }],
      [
        'a ladder',
        {
          severity: [
            { at: 6, severity: 'info' },
            { at: 7, severity: 'critical' },
          ],
        },
      ],
      ['its schedule', { schedule: { timezone: 'UTC', active: [{ days: 'mon-sun', from: '08:00', to: '18:00' }] } }],
      ['its kind', { when: { stuck: { field: 'temperature.value', for: '1h' } } }],
      ['its message', { message: 'look' }],
    ]
    for (const [restarts, word] of [
      [false, 'stay'],
      [true, 'stay, with a restart between'],
    ] as const)
      it.each(EDITS)(`${word}: %s`, async (_, edit) => {
        await story.save(warm)
        await hear(0, { minute: 0, value: 8 }, { device: 'b', minute: 0, value: 2 })
        await story.save({ ...warm, ...edit })
        if (restarts) story.restart()
        await hear(1)
        await hear(2, { device: 'b', minute: 2, value: 2 })
        expect(await story.history()).toEqual(['warm a active 0'])
        expect(await story.told()).toEqual(['warm a active 0'])
      })

    it.each([[false], [true]])('find silence that began before it, restarted between: %s', async restarted => {
      await story.save(silent)
      await hear(0, { minute: 0 })
      await story.save({ ...silent, message: 'gone' })
      if (restarted) story.restart()
      await hear(5)
      await hear(11)
      expect(await story.history()).toEqual(['silent a active 10'])
    })

    it.each([[false], [true]])(
      'end a timer that it made shorter, and not one that it made longer, restarted between: %s',
      async restarted => {
        await story.save({ ...warm, for: '1h' })
        await story.save({ ...warm, name: 'slow', for: '3m' })
        await hear(0, { minute: 0, value: 8 })
        await story.save({ ...warm, for: '3m' })
        await story.save({ ...warm, name: 'slow', for: '20m' })
        if (restarted) story.restart()
        await hear(2)
        expect(await story.told()).toEqual([])
        await hear(4)
        expect(await story.told()).toEqual(['warm a active 3'])
        await hear(21)
        expect(await story.told()).toEqual(['warm a active 3', 'slow a active 20'])
      },
    )

    it.each([
      [[], ['room']],
      [['room'], ['zone']],
      [['room'], []],
    ])('move to the alarm they belong to at once when it groups by others: %j to %j', async (before, after) => {
      await story.save({ ...warm, groupBy: before })
      await hear(0, { minute: 0, value: 8 })
      await story.save({ ...warm, groupBy: after })
      await hear(1)
      const open = (await story.alarms.list(story.project, {}, '', 10)).alarms.filter(({ state }) => state === 'active')
      expect(open.map(({ device }) => device)).toEqual([after.length === 0 ? 'a' : after[0] === 'room' ? 'room=one' : 'zone=cold'])
      expect((await story.told()).filter(text => text.includes('cleared'))).toEqual([])
    })
  })

  describe('of a rule that is deleted', () => {
    it.each([
      [false, []],
      [true, ['warm a cleared 5']],
    ])('clear with the reason, told when that is asked for: %s', async (notify, told) => {
      await story.save(warm)
      await hear(0, { minute: 0, value: 8 })
      await story.rules.remove(story.project, 'warm', notify)
      story.restart()
      await hear(5)
      expect((await story.records()).at(-1)).toMatchObject({ kind: 'cleared', reason: 'rule deleted' })
      expect((await story.told()).slice(1)).toEqual(told)
    })
  })

  describe('of data that vanishes', () => {
    it('stay: silence clears nothing', async () => {
      await story.save({ ...warm, keepActive: '1m' })
      await story.save(silent)
      await hear(0, { minute: 0, value: 8 })
      await hear(24 * 60)
      expect(await story.history()).toEqual(['warm a active 0', 'silent a active 10 late'])
    })

    it('stay also when events go on without the field', async () => {
      await story.save(warm)
      await hear(0, { minute: 0, value: 8 })
      for (const value of [null, 'broken', {}]) await hear(1, { minute: 1, value })
      expect(await story.history()).toEqual(['warm a active 0'])
    })
  })

  describe('of a rule that this version does not take any more', () => {
    it('stay as they are while the others are judged, and go on when it is saved anew', async () => {
      await story.save(warm)
      await story.save({ ...silent, name: 'other' })
      await hear(0, { minute: 0, value: 8 })
      const document = {
        ...(JSON.parse((await server.redis.hget(projectKey(story.project, 'rules'), 'warm')) ?? '') as object),
        for: 'a while',
      }
      await server.redis.hset(projectKey(story.project, 'rules'), 'warm', JSON.stringify(document))
      await story.save({ ...silent, name: 'other', message: 'edited' })
      story.restart()
      await hear(1, { minute: 1, value: 2 })
      await hear(12)
      expect(await story.history()).toEqual(['warm a active 0', 'other a active 11'])
      const [, broken] = await story.rules.all(story.project)
      expect(broken).toMatchObject({ name: 'warm', problem: expect.stringMatching(/^for: /) })
      await story.save(warm)
      await hear(13, { minute: 13, value: 2 })
      expect((await story.history()).filter(text => text.startsWith('warm'))).toEqual(['warm a active 0', 'warm a cleared 13'])
    })
  })

  describe('of states that an earlier version wrote', () => {
    it('go on with their number, are not told again, and clear', async () => {
      await story.save(warm)
      await hear(0, { minute: 0, value: 8 })
      await hear(1, { minute: 1, value: 2 })
      await hear(2, { minute: 2, value: 8 })
      const { project } = story
      const first = { v: 1, phase: 'active', seenUs: story.at(2), sinceUs: story.at(2), cause: { value: 8, limit: 6 } }
      await server.redis.hset(projectKey(project, 'state:warm'), 'a', JSON.stringify(first))
      await server.redis.del(projectKey(project, 'recent:temperature\ta'), projectKey(project, 'ruleSince'))
      story.restart()
      await hear(3, { minute: 3, value: 9 })
      await hear(4, { minute: 4, value: 2 })
      await hear(5, { minute: 5, value: 8 })
      expect((await story.records()).map(({ kind, episode, at }) => `${kind} ${episode} ${at?.slice(14, 16)}`)).toEqual([
        'active 1 00',
        'cleared 1 01',
        'active 2 02',
        'cleared 2 04',
        'active 3 05',
      ])
    })
  })
})
