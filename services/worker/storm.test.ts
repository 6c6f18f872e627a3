// Very many alarms at once, and people among them: commits stay small, come through, and lose nothing.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { alarmIdOf } from '../../packages/core/alarm.ts'
import { verify } from '../../packages/core/chain.ts'
import { parseRule } from '../../packages/core/rule.ts'
import { batchOf, freshProject, installed, openTestRedis, type TestRedis } from '../../packages/log/fixture.ts'
import { projectKey, stateKey } from '../../packages/log/key.ts'
import { type CommitCommand, Log } from '../../packages/log/log.ts'
import { Alarms } from '../../packages/state/alarm.ts'
import { Devices } from '../../packages/state/device.ts'
import { digest, History } from '../../packages/state/history.ts'
import { judgementsOn } from '../../packages/state/judgement.ts'
import { Rules } from '../../packages/state/rule.ts'
import { alarmingOn } from './alarming.ts'
import { Drain } from './drain.ts'
import { Judge } from './judge.ts'

const SECOND = 1_000_000
const T0 = (Math.floor(Date.now() / 1000) - 3600) * SECOND
const hot = { name: 'hot', when: { threshold: { field: 'temperature.value', above: 30 } }, notify: ['ops'] }

/** Knows how large its commits were, and how often one was refused. */
class WatchedLog extends Log {
  refused = 0
  readonly sizes: number[] = []
  before: () => Promise<void> = async () => {}

  override async commit(project: string, consumer: string, from: string, to: string, commands: readonly CommitCommand[] = []) {
    await this.before()
    const done = await super.commit(project, consumer, from, to, commands)
    if (done) this.sizes.push(commands.length)
    else this.refused++
    return done
  }
}

describe.skipIf(installed === undefined)('a storm of alarms', () => {
  let server: TestRedis
  let log: WatchedLog
  let rules: Rules
  let alarms: Alarms
  let project: string
  let counted: number
  beforeAll(async () => {
    server = await openTestRedis()
    rules = new Rules(server.redis)
    alarms = new Alarms(await server.connect())
  })
  beforeEach(() => {
    project = freshProject()
    log = new WatchedLog(server.redis, [])
    counted = 0
  })
  afterAll(() => server.stop())

  function worker(): Drain {
    const judge = new Judge({
      devices: new Devices(server.redis),
      rulesVersion: name => rules.version(name),
      rules: name => rules.list(name),
      ...judgementsOn(server.redis),
      latenessMs: 120_000,
      alarming: alarmingOn(server.redis, () => void counted++),
      breaks: async () => [],
      nowUs: () => Date.now() * 1000,
      notify: async () => {},
    })
    const quarantine = async (_: string, refused: readonly unknown[]) => {
      if (refused.length > 0) throw new Error('nothing is poison here')
    }
    return new Drain({ log, quarantine, again: () => {}, committed: () => {}, poisoned: () => {} }, judge)
  }
  const save = (document: object) => rules.save(project, parseRule(document), false)
  const send = async (count: number, second: number, value = 40, perEntry = 500) => {
    for (let from = 0; from < count; from += perEntry) {
      const ids = Array.from({ length: Math.min(perEntry, count - from) }, (_, i) => `d${from + i}`)
      const events = ids.map(device => ({ device, timeUs: T0 + second * SECOND, data: { value } }))
      await log.append(project, batchOf(project, events))
    }
  }
  /** Until the log is drained and nothing is left to do. */
  const drain = async (one: Drain) => {
    for (let before: string | undefined; before !== (await log.place(project, 'judge')); ) {
      before = await log.place(project, 'judge')
      await one.run(project)
    }
  }
  const states = async () => {
    const rows = Object.values(await server.redis.hgetall(projectKey(project, 'alarms')))
    const found = rows.map(row => (JSON.parse(row) as { state: string }).state)
    return { active: found.filter(state => state === 'active').length, cleared: found.filter(state => state === 'cleared').length }
  }
  const expectSound = async () => {
    const history = new History(server.redis)
    for (let from = 0; ; ) {
      const { records, base, next } = await history.page(project, from, 5000)
      expect(verify(records, base, digest).broken).toBeUndefined()
      if (next === undefined) return
      from = next
    }
  }

  it('is committed in small parts, also inside one entry, and each event is judged once', async () => {
    await save(hot)
    await save({ ...hot, name: 'also-hot' })
    await send(1500, 1, 40, 1000)
    await drain(worker())
    expect(await states()).toEqual({ active: 3000, cleared: 0 })
    expect(log.sizes.length).toBeGreaterThan(5)
    expect(Math.max(...log.sizes)).toBeLessThan(4000)
    expect(await server.redis.xlen(projectKey(project, 'alarmlog'))).toBe(3000)
    expect(counted).toBe(3000)
  })

  it('that stops anywhere goes on where it was, with another worker', async () => {
    await save(hot)
    await send(1200, 1, 40, 1000)
    for (let stops = 0; stops < 2; stops++) {
      let commits = 0
      log.before = async () => {
        if (commits++ === 1) throw new Error('stopped')
      }
      await expect(drain(worker())).rejects.toThrow('stopped')
    }
    log.before = async () => {}
    await drain(worker())
    expect(await states()).toEqual({ active: 1200, cleared: 0 })
    expect(await server.redis.xlen(projectKey(project, 'alarmlog'))).toBe(1200)
  })

  it('comes through however fast people act, and no act is lost', async () => {
    await save(hot)
    const one = worker()
    await send(1, 0)
    await drain(one)
    await send(2000, 1)
    let open = true
    let acts = 0
    const id = alarmIdOf('hot', 'd0')
    const people = [1, 2, 3].map(async () => {
      while (open) {
        await alarms.comment(project, id, { by: 'kari', time: new Date().toISOString().replace('Z', '000Z'), comment: 'on my way' })
        acts++
      }
    })
    await drain(one)
    open = false
    await Promise.all(people)
    expect(await states()).toEqual({ active: 2000, cleared: 0 })
    expect(log.refused).toBeLessThanOrEqual(log.sizes.length * 2)
    expect(acts).toBeGreaterThan(0)
    const said = (await alarms.history(project, id)).filter(({ kind }) => kind === 'commented')
    expect(said).toHaveLength(acts)
    expect(counted).toBe(2000)
    await expectSound()
  })

  it('is not what removing a rule makes of its alarms: some of them clear with each commit, and the name is free when all have', async () => {
    await save(hot)
    const one = worker()
    await send(1300, 1)
    await drain(one)
    const alone = log.sizes.length
    await rules.remove(project, 'hot')
    // Half way another worker goes on.
    let commits = 0
    log.before = async () => {
      if (commits++ === 1) throw new Error('stopped')
    }
    await expect(drain(one)).rejects.toThrow('stopped')
    const { cleared } = await states()
    expect(cleared).toBeGreaterThan(300)
    expect(cleared).toBeLessThan(1300)
    log.before = async () => {}
    await drain(worker())
    expect(await states()).toEqual({ active: 0, cleared: 1300 })
    expect(log.sizes.length - alone).toBeGreaterThan(2)
    expect(
      await server.redis.exists(stateKey(project, 'hot'), ...['ruleStates', 'removedRules', 'timers'].map(key => projectKey(project, key))),
    ).toBe(0)
    expect((await save(hot)).version).toBe(3)
  })

  it('is not what an edit makes of alarms of devices that it does not select any more', async () => {
    await save(hot)
    const one = worker()
    await send(2600, 1)
    await drain(one)
    await save({ ...hot, select: { devices: ['d7', 'd2599'] } })
    let commits = 0
    log.before = async () => {
      if (commits++ === 1) throw new Error('stopped')
    }
    await expect(drain(one)).rejects.toThrow('stopped')
    expect((await states()).cleared).toBeLessThan(2598)
    log.before = async () => {}
    await drain(worker())
    expect(await states()).toEqual({ active: 2, cleared: 2598 })
    expect((await server.redis.hget(projectKey(project, 'ruleSince'), 'hot'))?.split(' ')).toHaveLength(2)
  })

  it('leaves no recent events of devices that are removed', async () => {
    await save(hot)
    const devices = new Devices(server.redis, { consumers: [], nowUs: () => T0, newId: () => 'x', wake: () => undefined })
    await devices.create(project, { id: 'd0', type: '', labels: {}, productNumber: '' })
    await send(1, 1)
    await drain(worker())
    const recent = () => server.redis.exists(projectKey(project, 'recent:temperature\td0'))
    expect(await recent()).toBe(1)
    await devices.remove(project, 'd0')
    await drain(worker())
    expect([await recent(), await states()]).toEqual([0, { active: 0, cleared: 1 }])
  })

  it.each([
    ['that was removed while its first states were committed', true],
    ['of which nothing but its states is left', false],
  ])('does not stop the judge: a rule %s is retired', async (_, isKept) => {
    await save(hot)
    await send(2, 1)
    const one = worker()
    log.before = async () => {
      log.before = async () => {}
      await rules.remove(project, 'hot')
    }
    if (!isKept) await server.redis.hdel(projectKey(project, 'removedRules'), 'hot')
    await one.run(project)
    if (!isKept) await server.redis.hdel(projectKey(project, 'removedRules'), 'hot')
    await send(2, 2)
    await drain(one)
    expect(await states()).toEqual({ active: 0, cleared: 2 })
    expect(await server.redis.exists(projectKey(project, 'ruleStates'))).toBe(0)
  })
})
