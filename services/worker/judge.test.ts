// The judge on a real Redis: state, alarms, outbox and place move together, and no accident shows in the history of the alarms.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Alarm } from '../../packages/core/alarm.ts'
import { parseRule } from '../../packages/core/rule.ts'
import { indexLine, type LogEntry } from '../../packages/log/entry.ts'
import { batchOf, freshProject, installed, openTestRedis, type Sent, type TestRedis } from '../../packages/log/fixture.ts'
import { projectKey, stateKey } from '../../packages/log/key.ts'
import { Log } from '../../packages/log/log.ts'
import { Devices } from '../../packages/state/device.ts'
import { Judgements, judgementsOn } from '../../packages/state/judgement.ts'
import { Outbox } from '../../packages/state/outbox.ts'
import { Rules } from '../../packages/state/rule.ts'
import { alarmingOn } from './alarming.ts'
import { Drain, entryIdOf } from './drain.ts'
import { Judge, type JudgePorts } from './judge.ts'

const SECOND = 1_000_000
/** The log's ids are Redis' own, so events are sent by a clock near its own. */
const T0 = (Math.floor(Date.now() / 1000) - 3600) * SECOND

const hot = { name: 'hot', select: { labels: [] as string[] }, when: { threshold: { field: 'temperature.value', above: 30 } } }

describe.skipIf(installed === undefined)('the judge', () => {
  let server: TestRedis
  let log: Log
  let devices: Devices
  let rules: Rules
  let outbox: Outbox
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
    log = new Log(server.redis, ['judge'])
    devices = new Devices(server.redis)
    rules = new Rules(server.redis)
    outbox = new Outbox(server.redis)
  })
  beforeEach(() => {
    project = freshProject()
  })
  afterAll(() => server.stop())

  function judgeOf(change: Partial<JudgePorts> = {}): Judge {
    return new Judge({
      devices,
      rulesVersion: name => rules.version(name),
      rules: name => rules.list(name),
      ...judgementsOn(server.redis),
      latenessMs: 120_000,
      alarming: alarmingOn(server.redis, () => {}),
      breaks: async () => [],
      nowUs: () => T0,
      notify: async () => {},
      ...change,
    })
  }

  function workerOf(change: Partial<JudgePorts> = {}): Drain {
    return new Drain({ log, quarantine: refuse, again: () => {}, committed: () => {}, poisoned: () => {} }, judgeOf(change))
  }

  const refuse = (_: string, refused: readonly unknown[]) =>
    refused.length === 0 ? Promise.resolve() : Promise.reject(new Error('nothing is poison here'))
  const save = (document: object) => rules.save(project, parseRule(document), false)
  const sent = (device: string, second: number, value: number, eventType = 'temperature'): Sent => ({
    device,
    eventType,
    timeUs: T0 + second * SECOND,
    data: { value },
    id: `${device}@${second}=${value}`,
  })
  const append = (name: string, ...events: readonly Sent[]) => log.append(name, batchOf(name, events))

  /** Every change there was, as those see it who follow. */
  async function history(name: string): Promise<Omit<Alarm, 'serverTime'>[]> {
    const entries = await log.read(name, '0-0', 100_000, 'alarmlog')
    return entries.flatMap(({ events }) => events.map(({ frame }) => ({ ...JSON.parse(frame), name: '' })))
  }
  const told = async (name: string) =>
    (await history(name)).map(({ device, state, updateTime }) => `${device} ${state} ${secondOf(updateTime)}`)
  const secondOf = (time: string) => (Date.parse(time) * 1000 - T0) / SECOND

  it('saves state, alarm, outbox and place in one step', async () => {
    await save({ ...hot, notify: ['ops'] })
    await append(project, sent('a', 1, 35))
    const judge = judgeOf()
    const [entry] = await log.read(project, '0-0', 1)
    const commands = await judge.take(project, [entry as LogEntry], { after: '0-0', entries: [] })
    expect(await history(project)).toEqual([])
    expect(await server.redis.hgetall(stateKey(project, 'hot'))).toEqual({})
    await log.commit(project, 'judge', '', '1-1 1', commands)
    expect(await told(project)).toEqual(['a active 1'])
    expect(Object.keys(await server.redis.hgetall(stateKey(project, 'hot')))).toEqual(['a'])
    const [first] = await outbox.read(project)
    expect(first?.entry).toMatchObject({ kind: 'active', channels: ['ops'], alarm: { device: 'a', value: 35, episode: 1 } })
  })

  it('judges each event once however often it is woken', async () => {
    await save(hot)
    const worker = workerOf()
    await append(project, sent('a', 1, 35), sent('a', 2, 25), sent('a', 3, 36))
    for (let i = 0; i < 3; i++) await worker.run(project)
    expect(await told(project)).toEqual(['a active 1', 'a cleared 2', 'a active 3'])
    expect((await history(project)).map(({ version, episode }) => [version, episode])).toEqual([
      [1, 1],
      [2, 1],
      [3, 2],
    ])
  })

  it('goes on from what another worker judged meanwhile, not from what it remembers itself', async () => {
    await save(hot)
    const [one, other] = [workerOf(), workerOf()]
    await append(project, sent('a', 1, 35))
    await one.run(project)
    await append(project, sent('a', 2, 20))
    await other.run(project)
    await append(project, sent('a', 3, 36))
    await one.run(project)
    await append(project, sent('a', 4, 21))
    await other.run(project)
    expect(await told(project)).toEqual(['a active 1', 'a cleared 2', 'a active 3', 'a cleared 4'])
  })

  it('judges by a rule that is named like a part of a program', async () => {
    await save({ ...hot, name: 'constructor' })
    await append(project, sent('a', 1, 35))
    await workerOf().run(project)
    expect(await told(project)).toEqual(['a active 1'])
  })

  it('keeps devices and projects apart, also those named like parts of a program', async () => {
    await save(hot)
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'a:b', '{x}']
    await append(project, ...names.map(name => sent(name, 1, 40)))
    await workerOf().run(project)
    expect((await told(project)).sort()).toEqual(names.map(name => `${name} active 1`).sort())
  })

  it('clears the alarms of a deleted rule with the reason, and tells nobody', async () => {
    await save({ ...hot, notify: ['ops'] })
    const worker = workerOf()
    await append(project, sent('a', 1, 35))
    await worker.run(project)
    const before = (await outbox.read(project)).length
    await rules.remove(project, 'hot')
    await worker.run(project)
    const [, last] = await history(project)
    expect([last?.state, last?.reason]).toEqual(['cleared', 'rule deleted'])
    expect(await outbox.read(project)).toHaveLength(before)
    expect(await server.redis.exists(stateKey(project, 'hot'), projectKey(project, 'ruleStates'))).toBe(0)
  })

  it('clears the alarms of a disabled rule, and raises them anew when it is enabled', async () => {
    await save(hot)
    const worker = workerOf()
    await append(project, sent('a', 1, 35))
    await worker.run(project)
    await save({ ...hot, enabled: false })
    await worker.run(project)
    await save(hot)
    await append(project, sent('a', 2, 36))
    await worker.run(project)
    expect((await history(project)).map(({ state, reason }) => [state, reason.slice(0, 13)])).toEqual([
      ['active', 'temperature.v'],
      ['cleared', 'rule disabled'],
      ['active', 'temperature.v'],
    ])
  })

  it('clears the alarms of a deleted rule before another takes its name', async () => {
    await save(hot)
    const worker = workerOf()
    await append(project, sent('a', 1, 35))
    await worker.run(project)
    await rules.remove(project, 'hot')
    const saving = save({ ...hot, when: { threshold: { field: 'temperature.value', above: 1000 } } })
    await worker.run(project)
    expect((await saving).version).toBe(3)
    await worker.run(project)
    expect((await history(project)).map(({ state, reason }) => [state, reason.slice(0, 12)])).toEqual([
      ['active', 'temperature.'],
      ['cleared', 'rule deleted'],
    ])
  })

  it('clears the alarms of a device that was removed, also of rules that select every device', async () => {
    const telling = new Devices(server.redis, { consumers: [], nowUs: () => T0, newId: () => 'x', wake: () => undefined })
    await telling.register(project, [['a', 'temperature']])
    await save(hot)
    await append(project, sent('a', 1, 35))
    const worker = workerOf()
    await worker.run(project)
    await telling.remove(project, 'a')
    await worker.run(project)
    expect((await history(project)).map(({ device, state }) => `${device} ${state}`)).toEqual(['a active', 'a cleared'])
  })

  it('clears the alarm of a device that its rule no longer selects, and fires nothing for it', async () => {
    await save({ ...hot, select: { labels: ['zone=cold'] } })
    await rules.save(
      project,
      parseRule({ name: 'gone', select: { labels: ['zone=cold'] }, when: { absent: { eventType: 'temperature', for: '10s' } } }),
      true,
    )
    await devices.put(project, { id: 'a', type: 'temperature', labels: { zone: 'cold' }, productNumber: '' })
    let nowUs = T0
    const worker = workerOf({ nowUs: () => nowUs })
    await append(project, sent('a', 1, 35))
    await worker.run(project)
    await devices.relabel(project, 'a', {}, ['zone'])
    const frame = JSON.stringify({ eventId: 'x', targetName: '', eventType: 'labelsChanged', data: {} })
    await log.append(project, { index: [indexLine('a', 'labelsChanged', T0)], frames: [frame], keys: ['x'], modes: 'a' })
    await worker.run(project)
    nowUs = Date.now() * 1000 + 3600 * SECOND
    await worker.run(project)
    expect((await history(project)).map(({ rule, state, reason }) => [rule, state, reason.slice(0, 18)])).toEqual([
      ['hot', 'active', 'temperature.value '],
      ['hot', 'cleared', 'the rule no longer'],
    ])
  })

  it('asks for no states of the many rules that a relabelled device never met', async () => {
    await save({ ...hot, select: { labels: ['zone=cold'] } })
    for (let i = 0; i < 30; i++) await save({ ...hot, name: `other-${i}`, select: { labels: ['zone=other'] } })
    const ids = Array.from({ length: 15 }, (_, i) => `d${i}`)
    for (const id of ids) await devices.put(project, { id, type: 'temperature', labels: { zone: 'cold' }, productNumber: '' })
    const judgements = new Judgements(server.redis)
    let asked = 0
    const worker = workerOf({
      tracks: (name, wanted) => {
        asked += wanted.length
        return judgements.tracks(name, wanted)
      },
    })
    await append(project, ...ids.map(id => sent(id, 1, 35)))
    await worker.run(project)
    expect(asked).toBe(15)
    // As after a restart: nothing is remembered of the device and the rule that it leaves.
    const restarted = workerOf({ tracks: () => Promise.reject(new Error('asked for tracks')) })
    for (const id of ids) {
      await devices.relabel(project, id, { zone: 'warm' }, [])
      const frame = JSON.stringify({ eventId: id, targetName: '', eventType: 'labelsChanged', data: {} })
      await log.append(project, { index: [indexLine(id, 'labelsChanged', T0)], frames: [frame], keys: [id], modes: 'a' })
    }
    await restarted.run(project)
    expect((await history(project)).filter(({ state }) => state === 'cleared')).toHaveLength(15)
  })

  it('remembers nothing of a rule that was deleted while its timer was due, and made again', async () => {
    const slow = { ...hot, for: '10s' }
    await save(slow)
    let nowUs = T0
    const worker = workerOf({ nowUs: () => nowUs })
    await append(project, sent('a', 1, 35))
    await worker.run(project)
    await rules.remove(project, 'hot')
    nowUs = Date.now() * 1000 + 60 * SECOND
    await worker.run(project)
    await save(slow)
    await append(project, sent('a', 100, 35), sent('a', 120, 35))
    await worker.run(project)
    expect(await told(project)).toEqual(['a pending 1', expect.stringMatching(/^a cleared/), 'a pending 100', 'a active 110'])
  })

  it('selects by the labels a device had when the event came, also within one read', async () => {
    await save({ ...hot, select: { labels: ['zone=cold'] } })
    await devices.register(project, [['a', 'temperature']])
    const worker = workerOf()
    await append(project, sent('a', 0, 10))
    await worker.run(project)
    await append(project, sent('a', 1, 35))
    await devices.relabel(project, 'a', { zone: 'cold' }, [])
    const frame = JSON.stringify({ eventId: 'x', targetName: '', eventType: 'labelsChanged', data: {} })
    await log.append(project, { index: [indexLine('a', 'labelsChanged', T0)], frames: [frame], keys: ['x'], modes: 'a' })
    await append(project, sent('a', 2, 36))
    await worker.run(project)
    expect(await told(project)).toEqual(['a active 2'])
  })

  it('ends `for` by the clock for a device that has gone quiet, at the moment it ended', async () => {
    await save({ ...hot, for: '10s' })
    let nowUs = 0
    const worker = workerOf({ nowUs: () => nowUs })
    const { entryId = '' } = await append(project, sent('a', 1, 35))
    const arrivedUs = Number(entryId.split('-')[0]) * 1000
    nowUs = arrivedUs + 9 * SECOND
    await worker.run(project)
    expect(await told(project)).toEqual(['a pending 1'])
    nowUs = arrivedUs + 13 * SECOND
    await worker.run(project)
    expect(await told(project)).toEqual(['a pending 1', 'a active 11'])
    await worker.run(project)
    expect(await server.redis.zcard(projectKey(project, 'timers'))).toBe(0)
  })

  it('ends no timer early for readings of 2004 that are sent today', async () => {
    await save({ ...hot, for: '10m' })
    let nowUs = Date.now() * 1000
    const worker = workerOf({ nowUs: () => nowUs })
    const old = Date.UTC(2004, 1, 28) * 1000
    await append(project, { device: 'a', timeUs: old, data: { value: 35 } })
    await worker.run(project)
    nowUs += 60 * SECOND
    await worker.run(project)
    expect((await history(project)).map(({ state }) => state)).toEqual(['pending'])
    await append(project, { device: 'a', timeUs: old + 600 * SECOND, data: { value: 35 } })
    await worker.run(project)
    const changes = await history(project)
    expect(changes.map(({ state, late }) => [state, late])).toEqual([
      ['pending', true],
      ['active', true],
    ])
    expect(changes[1]?.updateTime).toBe('2004-02-28T00:10:00.000000Z')
  })

  it('finds no silence in the time in which nobody was listening', async () => {
    await save({ name: 'silent', when: { absent: { eventType: 'temperature', for: '30s' } } })
    let nowUs = 0
    let listeningSinceUs = 0
    const worker = workerOf({
      nowUs: () => nowUs,
      breaks: async () => [{ fromUs: listeningSinceUs - 19 * SECOND, toUs: listeningSinceUs }],
    })
    const { entryId = '' } = await append(project, sent('a', 1, 20))
    const arrivedUs = Number(entryId.split('-')[0]) * 1000
    await worker.run(project)
    // The gateways were down until 20 s after the event.
    listeningSinceUs = arrivedUs + 20 * SECOND
    nowUs = arrivedUs + 35 * SECOND
    await worker.run(project)
    expect(await told(project)).toEqual([])
    nowUs = arrivedUs + 53 * SECOND
    await worker.run(project)
    expect(await told(project)).toEqual(['a active 51'])
  })

  it('believes no clock of 1970 and none of the future', async () => {
    await save(hot)
    await append(project, { device: 'a', timeUs: 5, data: { value: 35 } })
    await append(project, { device: 'b', timeUs: (Date.now() + 86_400_000) * 1000, data: { value: 35 } })
    await append(project, { device: 'b', timeUs: (Date.now() + 5000) * 1000, data: { value: 20 } })
    await workerOf().run(project)
    const changes = await history(project)
    expect(changes.map(({ device, state }) => `${device} ${state}`)).toEqual(['a active', 'b active', 'b cleared'])
    for (const { updateTime } of changes) expect(Math.abs(Date.parse(updateTime) - Date.now())).toBeLessThan(60_000)
  })

  it('takes thousands of devices that change at once', async () => {
    await save({ ...hot, for: '1m' })
    const events = Array.from({ length: 5000 }, (_, i) => sent(`d${i}`, 1, 35))
    for (let i = 0; i < 10; i++) await append(project, ...events.slice(i * 500, i * 500 + 500))
    const worker = workerOf()
    while (entryIdOf(await log.place(project, 'judge')) !== (await log.last(project))) await worker.run(project)
    expect(await server.redis.hlen(stateKey(project, 'hot'))).toBe(5000)
    expect(await server.redis.zcard(projectKey(project, 'timers'))).toBe(5000)
  })
})
