// Accidents at random between taking and committing, with several workers: the history of the alarms and
// what is told to channels are those of a run in which nothing happened (P3).
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import { parseRule } from '../../packages/core/rule.ts'
import { batchOf, freshProject, installed, openTestRedis, type Sent, type TestRedis } from '../../packages/log/fixture.ts'
import { type CommitCommand, Log } from '../../packages/log/log.ts'
import { Devices } from '../../packages/state/device.ts'
import { judgementsOn } from '../../packages/state/judgement.ts'
import { Outbox } from '../../packages/state/outbox.ts'
import { Rules } from '../../packages/state/rule.ts'
import { alarmingOn } from './alarming.ts'
import { Drain } from './drain.ts'
import { Judge } from './judge.ts'

const SECOND = 1_000_000
const T0 = (Math.floor(Date.now() / 1000) - 7200) * SECOND
const RULES = [
  {
    name: 'hot',
    when: { threshold: { field: 'temperature.value', above: 30, clearBelow: 28 } },
    for: '4s',
    keepActive: '3s',
    notify: ['ops', 'chat'],
  },
  { name: 'cold', when: { threshold: { field: 'temperature.value', below: 10 } }, notify: ['ops'] },
  { name: 'silent', when: { absent: { eventType: 'temperature', for: '6s' } }, notify: ['ops'] },
]

type Accident = 'none' | 'before the commit' | 'after the commit' | 'another was quicker'

/** Commits with accidents. */
class TroubledLog extends Log {
  accident: () => Accident = () => 'none'
  other: (project: string) => Promise<void> = async () => {}

  override async commit(project: string, consumer: string, from: string, to: string, commands: readonly CommitCommand[] = []) {
    const accident = this.accident()
    if (accident === 'before the commit') throw new Failure('unavailable', accident)
    if (accident === 'another was quicker') await this.other(project)
    const done = await super.commit(project, consumer, from, to, commands)
    if (accident === 'after the commit') throw new Failure('unavailable', accident)
    return done
  }
}

/** mulberry32: small, seeded. */
function dice(seed: number): (sides: number) => number {
  let state = seed
  return sides => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides
  }
}

function batchesOf(seed: number): Sent[][] {
  const roll = dice(seed)
  let second = 0
  return Array.from({ length: 60 }, (_, batch) =>
    Array.from({ length: 1 + roll(4) }, (_, i) => {
      second += roll(3)
      const late = roll(8) === 0 ? 5 : 0
      return { device: 'abc'[roll(3)] as string, timeUs: T0 + (second - late) * SECOND, data: { value: roll(40) }, id: `${batch}.${i}` }
    }),
  )
}

describe.skipIf(installed === undefined)('accidents', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  function workerOf(log: TroubledLog): Drain {
    const { redis } = server
    const rules = new Rules(redis)
    const judge = new Judge({
      devices: new Devices(redis),
      rulesVersion: name => rules.version(name),
      rules: name => rules.list(name),
      ...judgementsOn(redis),
      latenessMs: 120_000,
      alarming: alarmingOn(server.redis, () => {}),
      breaks: async () => [],
      nowUs: () => T0,
      notify: async () => {},
    })
    const quarantine = async (_: string, refused: readonly unknown[]) => {
      if (refused.length > 0) throw new Error('nothing is poison here')
    }
    return new Drain({ log, quarantine, again: () => {}, committed: () => {}, poisoned: () => {} }, judge)
  }

  async function outcome(project: string) {
    const log = new Log(server.redis, [])
    const changes = (await log.read(project, '0-0', 100_000, 'alarmlog')).flatMap(({ events }) => events.map(({ frame }) => frame))
    const told = (await new Outbox(server.redis).read(project)).map(({ entry }) => JSON.stringify(entry))
    const states = await Promise.all(RULES.map(({ name }) => server.redis.hgetall(`t:{${project}}:state:${name}`)))
    const plain = (text: string) => text.replaceAll(project, 'p')
    return { changes: changes.map(plain), told: told.map(plain), states }
  }

  async function run(seed: number, accident: (roll: (sides: number) => number) => Accident) {
    const project = freshProject()
    const rules = new Rules(server.redis)
    for (const rule of RULES) await rules.save(project, parseRule(rule), true)
    const logs = [1, 2, 3].map(() => new TroubledLog(server.redis, []))
    const workers = logs.map(workerOf)
    const roll = dice(seed * 7919)
    const happened = new Map<Accident, number>()
    for (const [i, log] of logs.entries()) {
      log.accident = () => {
        const kind = accident(roll)
        happened.set(kind, (happened.get(kind) ?? 0) + 1)
        return kind
      }
      // Without accidents of its own, else two would wait for each other.
      const quick = workerOf(new TroubledLog(server.redis, []))
      log.other = name => (i === 2 ? quick.run(name) : (workers[2] as Drain).run(name).catch(unlessAway))
    }
    const batches = batchesOf(seed)
    while (batches.length > 0) {
      for (let n = 1 + roll(3); n > 0; n--) {
        const batch = batches.shift()
        if (batch) await (logs[0] as Log).append(project, batchOf(project, batch))
      }
      await (workers[roll(3)] as Drain).run(project).catch(unlessAway)
    }
    await workerOf(new TroubledLog(server.redis, [])).run(project)
    return { ...(await outcome(project)), happened }
  }

  const unlessAway = (error: unknown) => {
    if (!(error instanceof Failure && error.code === 'unavailable')) throw error
  }

  it.each([1, 2, 3, 4, 5, 6])('leave no trace, with seed %i', async seed => {
    const calm = await run(seed, () => 'none')
    const kinds = ['none', 'before the commit', 'after the commit', 'another was quicker'] as const
    const troubled = await run(seed, roll => kinds[roll(4)] as Accident)
    expect(calm.changes.length).toBeGreaterThan(20)
    expect(calm.told.length).toBeGreaterThan(10)
    expect(troubled.happened.get('another was quicker')).toBeGreaterThan(0)
    expect(troubled.changes).toEqual(calm.changes)
    expect(troubled.told).toEqual(calm.told)
    expect(troubled.states).toEqual(calm.states)
  })
})
