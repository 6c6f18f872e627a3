// The worker is stopped dead between every two steps of reading, judging and committing, in turn and at random, and others go on from what
// is in Redis: history, alarms, outbox, timers and tracks are those of a telling in which nothing happened.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../../packages/log/fixture.ts'
import type { Drain } from './drain.ts'
import { dice, Story } from './fixture.ts'

const threshold = { field: 'temperature.value', above: 6, clearBelow: 5 }
const ladder = [
  { at: 6, severity: 'warning' },
  { at: 8, severity: 'critical' },
]
const notify = ['ops']
const RULES: readonly object[] = [
  { name: 'hot', when: { threshold }, for: '3m', keepActive: '2m', severity: ladder, notify },
  { name: 'grouped', when: { threshold }, groupBy: ['room'], notify, inhibitedBy: ['silent'] },
  { name: 'in-cold', select: { labels: ['zone=cold'] }, when: { threshold }, notify, inhibitedBy: [{ rule: 'hot', equal: ['room'] }] },
  { name: 'silent', when: { absent: { eventType: 'temperature', for: '6m' } }, notify },
  { name: 'silent-learned', when: { absent: { eventType: 'temperature', times: 3, for: '9m' } }, keepActive: '1m', notify },
  { name: 'state', when: { state: { field: 'temperature.value', equals: [5, 6] } }, for: '1m', late: 'amend', notify },
  { name: 'rate', when: { rate: { field: 'temperature.value', over: '5m', above: 1, per: '1m' } }, notify },
  { name: 'mean', when: { window: { field: 'temperature.value', function: 'mean', over: '10m', above: 5 } }, notify },
  { name: 'few', when: { window: { eventType: 'temperature', function: 'count', over: '6m', below: 2 } }, notify },
  { name: 'odd', when: { deviation: { field: 'temperature.value', over: '24m', above: 1.5, atLeast: 6 } }, notify },
  { name: 'flapping', when: { flapping: { field: 'temperature.value', changes: 4, within: '6m' } }, notify },
  { name: 'stuck', when: { stuck: { field: 'temperature.value', for: '3m' } }, notify },
  {
    name: 'jump',
    when: { expression: { expression: 'previous != null && reading - previous.data.value > 2.0', field: 'temperature.value' } },
    notify,
  },
  {
    name: 'both',
    when: { all: [{ threshold }, { not: { threshold: { field: 'humidity.value', above: 5 } } }] },
    schedule: { timezone: 'Asia/Kolkata', active: [{ days: 'mon-sun', from: '13:45', to: '14:10' }] },
    notify,
  },
]
const MINUTES = 60
const RELABELS = [18, 30]

/** Judges all there is to judge at this moment. */
type Judging = (story: Story) => Promise<void>

async function tell(story: Story, seed: number, judge: Judging): Promise<void> {
  const roll = dice(seed)
  for (const rule of RULES) await story.save(rule)
  for (const [id, room] of [
    ['a', 'one'],
    ['b', 'one'],
    ['c', 'two'],
  ] as const)
    await story.device(id, { room, zone: 'cold' })
  for (let minute = 0; minute < MINUTES; minute++) {
    story.nowUs = story.at(minute)
    const quiet = roll(6) === 0
    for (const device of ['a', 'b', 'c']) {
      if (quiet || roll(4) === 0) continue
      const type = roll(5) === 0 ? 'humidity' : 'temperature'
      const said = { device, type, minute: minute - (roll(4) === 0 ? 1 + roll(5) / 2 : 0), value: 2 + roll(8), id: `${device}${minute}` }
      await story.send(said, ...(roll(5) === 0 ? [said] : []))
    }
    // A worker that was not there asks for labels as they are, so what is said before they change is judged before.
    if (RELABELS.includes(minute)) await judge(story)
    await change(story, minute)
    await judge(story)
  }
  story.nowUs = story.at(MINUTES + 30)
  await judge(story)
}

/** What people do. */
async function change(story: Story, minute: number): Promise<void> {
  if (minute === 15) await story.save({ ...RULES[0], for: '1m' })
  if (minute === 18) await story.relabel('a', { room: 'two' })
  if (minute === 22) await story.save({ ...RULES[1], groupBy: ['zone'] })
  if (minute === 25) await story.silence({ id: 's1', matchers: [{ field: 'rule', values: ['hot', 'rate'] }], endUs: story.at(35) })
  if (minute === 30) await story.relabel('b', {}, ['zone'])
  if (minute === 33) await story.rules.remove(story.project, 'stuck', true)
  if (minute === 37) await story.save({ ...RULES[4], message: 'silent for long', severity: 'critical' })
  if (minute === 40) await story.save({ ...RULES[7], enabled: false })
  if (minute === 44) await story.save(RULES[7] as object)
  if (minute === 47) await story.save({ ...RULES[3], when: { absent: { eventType: 'temperature', for: '4m' } } })
  if (minute === 50) await story.save({ ...RULES[1], groupBy: [] })
}

/** A worker that is stopped for good when it has passed so many points; resolves to whether it came to its end before. */
async function stoppedAfter(story: Story, points: number): Promise<boolean> {
  let left = points
  return new Promise<boolean>((resolve, reject) => {
    const worker = story.worker(async () => {
      if (left-- > 0) return
      resolve(false)
      // As if it had been killed: nothing of it happens any more.
      await new Promise(() => {})
    })
    story.drain(worker).then(() => resolve(true), reject)
  })
}

describe.skipIf(installed === undefined)('a worker that is stopped', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  async function toldWith(seed: number, judge: Judging) {
    const story = new Story(server.redis)
    await tell(story, seed, judge)
    return story.outcome()
  }

  function undisturbed(): Judging {
    let worker: Drain | undefined
    return async story => {
      worker ??= story.worker()
      await story.drain(worker)
    }
  }

  it('between any two steps leaves what an undisturbed one does', async () => {
    const calm = await toldWith(1, undisturbed())
    expect(new Set(calm.history.map(({ rule }) => rule)).size).toBe(RULES.length)
    expect(calm.outbox.length).toBeGreaterThan(50)
    let stops = 0
    const stopped = await toldWith(1, async story => {
      for (let points = 0; !(await stoppedAfter(story, points)); points++) stops++
    })
    expect(stops).toBeGreaterThan(300)
    expect(stopped).toEqual(calm)
  })

  it.each([2, 3, 4])('at random, among others that go on, leaves the same: seed %i', async seed => {
    const calm = await toldWith(seed, undisturbed())
    const roll = dice(seed * 7919)
    const workers: (Drain | undefined)[] = []
    const troubled = await toldWith(seed, async story => {
      while (roll(2) === 0) await stoppedAfter(story, roll(14))
      const which = roll(3)
      const worker = workers[which] ?? story.worker()
      workers[which] = roll(4) === 0 ? undefined : worker
      await story.drain(worker)
    })
    const brief = (o: typeof calm) =>
      o.history.map(
        ({ rule, device, kind, at, time, eventId, episode, late }) =>
          `${rule} ${device} ${kind} ${at} ${episode} ${late} t=${time} ${eventId}`,
      )
    expect(brief(troubled)).toEqual(brief(calm))
    expect(troubled).toEqual(calm)
  })
})
