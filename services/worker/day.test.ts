// A recorded day with an hour of outage in its middle: what the alarms were is what it would have been, found late where it was.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../../packages/log/fixture.ts'
import { dice, MINUTE, type Said, Story } from './fixture.ts'

const DAY = 1440
const EVERY = 5
const OUTAGE = [720, 780] as const
const notify = ['ops']
const RULES: readonly object[] = [
  { name: 'warm', when: { threshold: { field: 'temperature.value', above: 7, clearBelow: 6 } }, for: '10m', keepActive: '5m', notify },
  { name: 'silent', when: { absent: { eventType: 'temperature', for: '22m' } }, notify },
  { name: 'jump', when: { rate: { field: 'temperature.value', over: '15m', above: 0.2, per: '1m' } }, notify },
  { name: 'mean', when: { window: { field: 'temperature.value', function: 'mean', over: '1h', above: 5.5, atLeast: 3 } }, notify },
]

/** Fridges with the rhythm of a day, doors that are left open, and batteries that fail for a while. Seeded. */
function record(): Said[] {
  const roll = dice(20_261_121)
  const said: Said[] = []
  for (const [number, device] of ['a', 'b', 'c'].entries()) {
    let door = 0
    let silentUntil = 0
    for (let minute = number; minute < DAY; minute += EVERY) {
      if (roll(40) === 0 || minute === 735 + number) door = 4 + roll(4)
      if (roll(90) === 0) silentUntil = minute + 25 + roll(30)
      if (door > 0) door -= 0.7
      if (minute < silentUntil) continue
      const value = Math.round((4 + Math.sin((minute / DAY) * 2 * Math.PI) + Math.max(0, door) + roll(10) / 20) * 100) / 100
      said.push({ device, minute, value, id: `${device}${String(minute).padStart(5, '0')}` })
    }
  }
  return said.toSorted((a, b) => a.minute - b.minute)
}

describe.skipIf(installed === undefined)('a recorded day', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  /** @param isJudged at these minutes; what comes at others waits in the log. @param isHeard what is sent at others is lost. */
  async function live(
    isJudged: (minute: number) => boolean,
    isHeard: (minute: number) => boolean = () => true,
    breaks: Story['breaks'] = [],
  ) {
    const story = new Story(server.redis)
    story.breaks = breaks
    for (const rule of RULES) await story.save(rule)
    const said = record()
    for (let minute = 0; minute <= DAY + EVERY; minute += EVERY) {
      const now = said.filter(one => one.minute > minute - EVERY && one.minute <= minute && isHeard(one.minute))
      story.nowUs = story.at(minute)
      if (now.length > 0) await story.send(...now)
      if (minute === OUTAGE[1] + 60) story.restart()
      if (isJudged(minute)) await story.until(minute)
    }
    return story
  }

  const brief = async (story: Story) =>
    (await story.records())
      .map(({ rule, device, kind, at, value, episode }) => `${rule} ${device} ${episode} ${kind} ${at} ${value}`)
      .sort()

  it('has the alarms it would have had though nothing was judged for an hour, and those of that hour are marked late', async () => {
    const calm = await live(() => true)
    const outage = await live(minute => minute < OUTAGE[0] || minute >= OUTAGE[1])
    const alarms = await brief(calm)
    expect(alarms.length).toBeGreaterThan(40)
    expect(await brief(outage)).toEqual(alarms)
    const [from, to] = OUTAGE.map(minute => outage.at(minute)) as [number, number]
    const found = (await outage.records()).filter(({ at = '' }) => Date.parse(at) * 1000 > from && Date.parse(at) * 1000 < to - 120_000_000)
    expect(found.length).toBeGreaterThan(3)
    expect(found.every(({ late }) => late)).toBe(true)
    // Whoever was in alarm and is not any more is told of once.
    const told = (await outage.outbox()).map(({ alarm, kind }) => `${alarm.rule} ${alarm.device} ${alarm.episode} ${kind}`)
    expect(new Set(told).size).toBe(told.length)
  })

  it('has no storm of silence though nothing was received for an hour', async () => {
    const heard = (minute: number) => minute < OUTAGE[0] || minute >= OUTAGE[1]
    const { startUs } = new Story(server.redis)
    const [fromUs, toUs] = OUTAGE.map(minute => startUs + minute * MINUTE) as [number, number]
    const deaf = await live(() => true, heard)
    const listening = await live(() => true, heard, [{ fromUs, toUs }])
    const silence = async (one: Story) => (await brief(one)).filter(text => text.startsWith('silent') && text.includes('active'))
    const [storm, calm] = [await silence(deaf), await silence(listening)]
    // Without knowing of the outage each device is found silent in it; knowing, no other is than in the rest of the day.
    expect(storm.length).toBeGreaterThan(calm.length)
    expect(calm.filter(text => / \d\d\d\d-\d\d-\d\dT(20|21):(0|1)/.test(text))).toEqual([])
    // A window knows that it saw nothing in the outage, too.
    const others = async (one: Story) => (await brief(one)).filter(text => !/^(silent|mean) /.test(text))
    expect(await others(listening)).toEqual(await others(deaf))
  })
})
