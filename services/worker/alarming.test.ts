// What follows a change of the engine, on a real Redis: groups, suppression and its end, lapses, the history, and who was quicker.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { GENESIS, verify } from '../../packages/core/chain.ts'
import type { Device } from '../../packages/core/device.ts'
import { parseRule, type Rule } from '../../packages/core/rule.ts'
import { parseSilence } from '../../packages/core/silence.ts'
import type { Change } from '../../packages/core/step.ts'
import { formatTime } from '../../packages/core/time.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../../packages/log/fixture.ts'
import { Log } from '../../packages/log/log.ts'
import { type AlarmDocument, Alarms } from '../../packages/state/alarm.ts'
import { Attentions } from '../../packages/state/attention.ts'
import { digest, History } from '../../packages/state/history.ts'
import { Outbox } from '../../packages/state/outbox.ts'
import { Rules } from '../../packages/state/rule.ts'
import { newSilenceId, Silences } from '../../packages/state/silence.ts'
import { type Alarming, alarmingOn, type Written } from './alarming.ts'
import type { OutboxEntry } from './commit.ts'

const T0 = Date.UTC(2026, 10, 21, 12) * 1_000
const at = (second: number) => T0 + second * 1_000_000
const time = (second: number) => formatTime(at(second))
const threshold = { threshold: { field: 'temperature.value', above: 0 } }
const plain = { name: 'warm', when: threshold, notify: ['ops'] }
const act = (second: number, comment = '') => ({ by: 'kari', time: time(second), comment })

describe.skipIf(installed === undefined)('alarming', () => {
  let server: TestRedis
  let log: Log
  let alarming: Alarming
  let alarms: Alarms
  let silences: Silences
  let history: History
  let project: string
  let rules: Map<string, Rule>
  beforeAll(async () => {
    server = await openTestRedis()
    log = new Log(server.redis, [])
    alarms = new Alarms(server.redis)
    silences = new Silences(server.redis)
    history = new History(server.redis)
  })
  beforeEach(() => {
    project = freshProject()
    alarming = alarmingOn(server.redis, () => {})
    rules = new Map()
  })
  afterAll(() => server.stop())

  function rule(document: object): Rule {
    const parsed = parseRule(document)
    rules.set(parsed.name, parsed)
    return parsed
  }
  const device = (id: string, labels: Device['labels'] = {}): Device => ({ id, type: 'temperature', labels, productNumber: '' })
  /** As the engine numbers them: an episode begins with a pending or active change after the end of the one before. */
  let episode = { number: 0, open: false, sinceUs: 0, activeUs: undefined as number | undefined }
  beforeEach(() => {
    episode = { number: 0, open: false, sinceUs: 0, activeUs: undefined }
  })
  function change(kind: Change['kind'], second: number, more: Partial<Change> = {}): Change {
    const atUs = at(second)
    if (!episode.open) episode = { number: episode.number + 1, open: true, sinceUs: atUs, activeUs: undefined }
    if (kind === 'active') episode.activeUs ??= atUs
    const over = kind === 'cleared' || kind === 'dropped' || kind === 'withdrawn'
    if (over) episode.open = false
    const { number, sinceUs, activeUs } = episode
    const facts = { episode: number, severity: 'warning', sinceUs, activeUs, clearedUs: over ? atUs : undefined, late: false } as const
    return { kind, atUs, ...facts, value: 1, limit: 0, reason: kind, eventId: `e${second}`, ...more }
  }

  async function commit({ commands }: Written): Promise<boolean> {
    const place = await log.place(project, 'judge')
    return log.commit(project, 'judge', place, `0-1 ${Number(place.split(' ')[1] ?? 0) + 1}`, commands)
  }
  async function happens(rule: Rule, device: Device, ...changes: Change[]): Promise<void> {
    const nowUs = Math.max(...changes.map(({ atUs }) => atUs))
    await commit(
      await alarming.commands(
        project,
        rules,
        changes.map(one => ({ rule, device, change: one, quiet: false })),
        nowUs,
      ),
    )
  }
  async function moves(rule: Rule, device: Device, second: number): Promise<void> {
    await commit(await alarming.commands(project, rules, [{ rule, device, change: undefined, quiet: true }], at(second)))
  }
  /** Until nothing is due any more. */
  async function passes(second: number): Promise<void> {
    for (let round = 0; round < 10; round++) {
      const written = await alarming.due(project, rules, at(second))
      if (written.commands.length === 0) return
      expect(await commit(written)).toBe(true)
    }
    throw new Error('something is always due')
  }
  const told = async () =>
    (await new Outbox(server.redis).read(project)).map(({ entry }) => {
      const { kind, alarm } = entry as OutboxEntry
      return `${kind} ${alarm.device}`
    })
  const all = async () => (await alarms.list(project, {}, '', 100)).alarms.toSorted((a, b) => (a.device < b.device ? -1 : 1))
  const shown = async () => (await all()).map(({ device, state, devices }) => `${device} ${state} ${devices}`)
  const only = async () => (await all())[0] as AlarmDocument
  const kinds = async () => (await history.page(project, 0, 1000)).records.map(({ kind }) => kind)
  const silence = (second: number, end: number, matchers: object[] = [{ field: 'rule', equals: 'warm' }]) =>
    silences.save(
      project,
      parseSilence({ matchers, endTime: time(end), reason: 'defrosting' }, newSilenceId(at(second)), 'kari', at(second)),
      'kari',
      at(second),
    )

  it('writes what happened into the history, with all that is known of it', async () => {
    await happens(rule(plain), device('a'), change('pending', 0), change('active', 5))
    const { records } = await history.page(project, 0, 10)
    const { alarmId } = await only()
    expect(records[1]).toEqual({
      seq: 2,
      hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      time: time(5),
      kind: 'active',
      alarmId,
      rule: 'warm',
      ruleVersion: 1,
      device: 'a',
      episode: 1,
      state: 'active',
      severity: 'warning',
      since: time(0),
      activeSince: time(5),
      at: time(5),
      value: 1,
      limit: 0,
      reason: 'active',
      eventId: 'e5',
      changeId: `${alarmId}-2`,
    })
    await alarms.acknowledge(project, alarmId, 'kari', 'on my way', time(6))
    await alarms.assign(project, alarmId, act(7), 'ola')
    await alarms.comment(project, alarmId, act(8, 'door was open'))
    await happens(rule(plain), device('a'), change('cleared', 9))
    expect(await kinds()).toEqual(['pending', 'active', 'acknowledged', 'assigned', 'commented', 'cleared'])
    expect((await alarms.history(project, alarmId)).map(({ by, to, comment }) => [by, to, comment]).slice(2, 5)).toEqual([
      ['kari', undefined, 'on my way'],
      ['kari', 'ola', undefined],
      ['kari', undefined, 'door was open'],
    ])
    const page = await history.page(project, 0, 100)
    expect(verify(page.records, GENESIS, digest, await history.head(project)).broken).toBeUndefined()
    await happens(rule(plain), device('a'), change('active', 20))
    expect(await only()).toMatchObject({ acknowledgement: null, assignee: null, episode: 2 })
  })

  it('refuses what was made before somebody acted, and makes it anew', async () => {
    const warm = rule(plain)
    await happens(warm, device('a'), change('active', 0))
    const { alarmId } = await only()
    const cleared = change('cleared', 5)
    const late = await alarming.commands(project, rules, [{ rule: warm, device: device('a'), change: cleared, quiet: false }], at(5))
    await alarms.acknowledge(project, alarmId, 'kari', '', time(4))
    expect(await commit(late)).toBe(false)
    await happens(warm, device('a'), cleared)
    expect(await kinds()).toEqual(['active', 'acknowledged', 'cleared'])
    expect((await only()).acknowledgement).toMatchObject({ by: 'kari', lapses: null })
  })

  it('tells of an active alarm when its rule is given a channel', async () => {
    await happens(rule({ ...plain, notify: [] }), device('a'), change('active', 0))
    expect(await told()).toEqual([])
    await moves(rule(plain), device('a'), 5)
    await passes(6)
    expect(await told()).toEqual(['active a'])
  })

  it('tells of a silenced alarm when the silence ends, and never of one that came and went', async () => {
    const warm = rule(plain)
    await silence(0, 60)
    await passes(1)
    await happens(warm, device('a'), change('active', 2))
    await happens(warm, device('b'), change('active', 3))
    await happens(warm, device('b'), change('cleared', 4))
    await passes(59)
    expect(await told()).toEqual([])
    expect((await only()).suppressedBy).toEqual({ kind: 'silence', name: expect.any(String), until: time(60) })
    await passes(60)
    await passes(61)
    expect(await told()).toEqual(['active a'])
    expect(await only()).toMatchObject({ suppressedBy: null, state: 'active', version: 2 })
    expect(await kinds()).toEqual(['silenced', 'active', 'silenced', 'active', 'silenced', 'cleared', 'unsilenced'])
  })

  it('looks at every active alarm when a silence is made or removed', async () => {
    const warm = rule(plain)
    await happens(warm, device('a'), change('active', 0))
    const { id } = await silence(1, 600)
    await passes(2)
    expect((await only()).suppressedBy).toMatchObject({ kind: 'silence', name: id })
    await happens(warm, device('a'), change('cleared', 3))
    await happens(warm, device('b'), change('active', 3))
    await silences.remove(project, id, 'kari', at(4))
    await passes(5)
    expect((await told()).toSorted()).toEqual(['active a', 'active b', 'cleared a'])
  })

  it('snoozes one episode for a time', async () => {
    const warm = rule(plain)
    await happens(warm, device('a'), change('active', 0))
    const { alarmId } = await only()
    const document = await alarms.snooze(project, alarmId, act(1), time(30))
    expect(document).toMatchObject({
      snooze: { by: 'kari', until: time(30) },
      suppressedBy: { kind: 'snooze', name: 'kari', until: time(30) },
    })
    await happens(warm, device('a'), change('escalated', 2, { severity: 'critical' }))
    expect(await told()).toEqual(['active a'])
    await happens(warm, device('a'), change('cleared', 3))
    await passes(30)
    expect(await told()).toEqual(['active a', 'cleared a'])
    expect(await only()).toMatchObject({ snooze: null, suppressedBy: null })
    expect(await kinds()).toEqual(['active', 'snoozed', 'escalated', 'cleared', 'unsnoozed'])
    await expect(alarms.snooze(project, alarmId, act(31), time(60))).rejects.toThrow('cleared')
  })

  it('tells again when an acknowledgement lapses', async () => {
    const warm = await new Rules(server.redis).save(project, rule({ ...plain, unacknowledgeAfter: '10s' }), true)
    await happens(warm, device('a'), change('active', 0))
    const { alarmId } = await only()
    await alarms.acknowledge(project, alarmId, 'kari', '', time(1))
    await passes(10)
    expect((await only()).acknowledgement).toMatchObject({ lapses: time(11) })
    await passes(11)
    expect((await only()).acknowledgement).toBeNull()
    expect(await told()).toEqual(['active a', 'active a'])
    expect(await kinds()).toEqual(['active', 'acknowledged', 'unacknowledged'])
    const ids = (await new Outbox(server.redis).read(project)).map(({ entry }) => (entry as OutboxEntry).changeId)
    expect(new Set(ids).size).toBe(2)
  })

  it('inhibits while another alarm is active, and tells when that has cleared', async () => {
    const offline = rule({ name: 'offline', when: threshold, groupBy: ['gateway'], notify: ['ops'] })
    const warm = rule({ ...plain, inhibitedBy: ['offline'] })
    const [near, far] = [device('near', { gateway: 'g1' }), device('far', { gateway: 'g2' })]
    const both = [
      { rule: warm, device: near, change: change('active', 0), quiet: false },
      { rule: offline, device: near, change: change('active', 0), quiet: false },
    ]
    await commit(await alarming.commands(project, rules, both, at(0)))
    await happens(warm, far, change('active', 1))
    await passes(2)
    expect(await told()).toEqual(['active gateway=g1', 'active far'])
    expect((await all()).map(({ device, suppressedBy }) => [device, suppressedBy?.kind])).toEqual([
      ['far', undefined],
      ['gateway=g1', undefined],
      ['near', 'inhibition'],
    ])
    await happens(offline, near, change('cleared', 5))
    await passes(5)
    expect(await told()).toEqual(['active gateway=g1', 'active far', 'cleared gateway=g1', 'active near'])
    expect(await kinds()).toEqual(['active', 'inhibited', 'active', 'active', 'cleared', 'uninhibited'])
  })

  it('lets devices share an alarm, told once, and keeps who is in it', async () => {
    const silent = rule({ ...plain, groupBy: ['gateway'] })
    const [a, b] = ['a', 'b'].map(id => device(id, { gateway: 'g1' })) as [Device, Device]
    await happens(silent, a, change('active', 0))
    await happens(silent, b, change('active', 1))
    const { alarmId } = await only()
    expect(await shown()).toEqual(['gateway=g1 active 2'])
    expect(Object.keys(await new Attentions(server.redis).membersOf(project, alarmId)).toSorted()).toEqual(['a', 'b'])
    await happens(silent, a, change('cleared', 2))
    await happens(silent, b, change('cleared', 3))
    expect(await shown()).toEqual(['gateway=g1 cleared 0'])
    expect(await told()).toEqual(['active gateway=g1', 'cleared gateway=g1'])
    expect((await alarms.history(project, alarmId)).map(({ kind, member, devices }) => [kind, member, devices])).toEqual([
      ['active', 'a', 1],
      ['joined', 'b', 2],
      ['left', 'a', 1],
      ['cleared', 'b', 0],
    ])
  })

  it('moves a relabelled device to its new group, and says nothing of the old one', async () => {
    const silent = rule({ ...plain, groupBy: ['gateway'] })
    await happens(silent, device('a', { gateway: 'g1' }), change('active', 0))
    await moves(silent, device('a', { gateway: 'g2' }), 5)
    expect(await shown()).toEqual(['gateway=g1 cleared 0', 'gateway=g2 active 1'])
    expect((await all())[1]?.since).toBe(time(0))
    await moves(silent, device('a', { gateway: 'g2' }), 6)
    await happens(silent, device('a', { gateway: 'g2' }), change('cleared', 7))
    expect(await told()).toEqual(['active gateway=g1', 'active gateway=g2', 'cleared gateway=g2'])
    expect((await all()).map(({ state }) => state)).toEqual(['cleared', 'cleared'])
  })

  it('takes alarms along when a rule begins or ceases to group', async () => {
    const a = device('a', { gateway: 'g1' })
    await happens(rule(plain), a, change('active', 0))
    const grouped = rule({ ...plain, groupBy: ['gateway'] })
    await moves(grouped, a, 1)
    expect(await shown()).toEqual(['a cleared 0', 'gateway=g1 active 1'])
    await moves(rule(plain), a, 2)
    expect(await shown()).toEqual(['a active 1', 'gateway=g1 cleared 0'])
  })

  it('reports once, with its end, what began and ended while nobody could look', async () => {
    const warm = rule(plain)
    const changes = [change('active', 0, { late: true }), change('cleared', 60, { late: true })]
    await happens(warm, device('a'), ...changes)
    expect(await told()).toEqual(['cleared a'])
    expect(await only()).toMatchObject({ late: true, activeSince: time(0), clearedAt: time(60) })
    expect(await kinds()).toEqual(['active', 'cleared'])
    await happens(warm, device('b'), change('active', 100), change('cleared', 101))
    expect(await told()).toEqual(['cleared a', 'active b', 'cleared b'])
  })

  it('corrects an earlier episode without touching the one that is open', async () => {
    const warm = rule(plain)
    const a = device('a')
    const first = { episode: 1, sinceUs: at(0), activeUs: at(0) }
    await happens(warm, a, change('active', 0, first), change('cleared', 10, first), change('active', 20, { episode: 2, sinceUs: at(20) }))
    await happens(warm, a, change('amended', 8, { ...first, clearedUs: at(8), late: true }))
    expect(await only()).toMatchObject({ state: 'active', episode: 2, since: time(20), version: 4 })
    expect((await history.page(project, 0, 10)).records.at(-1)).toMatchObject({ kind: 'amended', episode: 1, clearedAt: time(8) })
    await happens(warm, a, change('withdrawn', 8, { episode: 1, sinceUs: at(0), late: true }))
    await happens(warm, a, change('cleared', 30, { episode: 2, sinceUs: at(20), activeUs: at(20) }))
    expect(await told()).toEqual(['active a', 'cleared a', 'active a', 'withdrawn a', 'cleared a'])
    expect(await only()).toMatchObject({ state: 'cleared', episode: 2, activeSince: time(20), version: 6 })
  })

  it('goes on with alarms and acknowledgements of the version before', async () => {
    const warm = rule(plain)
    await happens(warm, device('a'), change('active', 0))
    const { alarmId, ...rest } = await only()
    const { name: _n, group: _g, devices: _d, suppressedBy: _s, acknowledgement: _a, assignee: _i, snooze: _z, ...old } = rest
    await server.redis.hset(`t:{${project}}:alarms`, alarmId, JSON.stringify({ alarmId, ...old }))
    await server.redis.hset(
      `t:{${project}}:acknowledgements`,
      alarmId,
      JSON.stringify({ episode: 1, by: 'ola', time: time(1), comment: '' }),
    )
    expect(await only()).toMatchObject({ group: null, devices: 1, acknowledgement: { by: 'ola', lapses: null }, suppressedBy: null })
    await happens(warm, device('a'), change('cleared', 2))
    expect(await told()).toEqual(['active a', 'cleared a'])
  })

  it('ends an alarm whose episode the engine counts anew', async () => {
    const warm = rule(plain)
    for (const second of [0, 10, 20]) await happens(warm, device('a'), change('active', second), change('cleared', second + 5))
    await happens(warm, device('a'), change('active', 30))
    await happens(warm, device('a'), change('cleared', 31, { episode: 1, sinceUs: at(30), activeUs: at(30) }))
    expect(await only()).toMatchObject({ state: 'cleared', episode: 1, activeSince: time(30) })
    expect((await told()).slice(-2)).toEqual(['active a', 'cleared a'])
  })
})
