// Rules on a real Redis: every version is kept, two people lose nothing of each other, a set changes as a whole or not at all.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parseRule, type Rule } from '../core/rule.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { projectKey } from '../log/key.ts'
import { justBefore } from './fixture.ts'
import { Rules } from './rule.ts'

const ANNA = { by: 'anna', timeUs: 1_000_000 }
const BEN = { by: 'ben', timeUs: 2_000_000 }
const hot = (above: number, name = 'hot'): Rule => parseRule({ name, when: { threshold: { field: 'temperature.value', above } } })
const above = (document: unknown) => (document as { when: { threshold: { above: number } } }).when.threshold.above

let server: TestRedis
let rules: Rules
let project: string
beforeAll(async () => {
  if (installed) server = await openTestRedis()
})
afterAll(() => server?.stop())
beforeEach(() => {
  if (installed) rules = new Rules(server.redis)
  project = freshProject()
})

const versionsOf = async (name = 'hot') =>
  (await rules.versions(project, name, undefined, 10)).map(({ version, by, rule }) => [version, by, rule && above(rule)])

describe.skipIf(!installed)('rules', () => {
  test('keep every version with who saved it and when, newest first', async () => {
    await rules.save(project, hot(30), true, ANNA)
    await rules.save(project, hot(40), false, BEN)
    const [newest, first] = await rules.versions(project, 'hot', undefined, 10)
    expect(newest).toMatchObject({ version: 2, by: 'ben', time: '1970-01-01T00:00:02.000000Z', rule: { name: 'hot', version: 2 } })
    expect(first).toMatchObject({ version: 1, by: 'anna', rule: { version: 1 } })
    expect((await rules.versions(project, 'hot', 2, 10)).map(({ version }) => version)).toEqual([1])
  })

  test('a save that changes nothing makes no version, and nobody looks again', async () => {
    await rules.save(project, hot(30), true, ANNA)
    const revision = await rules.version(project)
    expect((await rules.save(project, hot(30), false, BEN)).version).toBe(1)
    expect(await rules.version(project)).toBe(revision)
    expect(await versionsOf()).toEqual([[1, 'anna', 30]])
  })

  test('numbers go on after a removal, which is a version of its own', async () => {
    await rules.save(project, hot(30), true, ANNA)
    await rules.remove(project, 'hot', false, BEN)
    await expect(rules.one(project, 'hot')).rejects.toMatchObject({ code: 'not_found' })
    expect((await rules.save(project, hot(50), true, ANNA)).version).toBe(3)
    expect(await versionsOf()).toEqual([
      [3, 'anna', 50],
      [2, 'ben', null],
      [1, 'anna', 30],
    ])
  })

  test('the version from before versions were kept is not lost', async () => {
    const old = { name: 'hot', version: 7, when: { threshold: { field: 'temperature.value', above: 20 } } }
    await server.redis.hset(projectKey(project, 'rules'), 'hot', JSON.stringify(old))
    expect(await versionsOf()).toEqual([[7, '', 20]])
    await rules.save(project, hot(30), false, ANNA)
    expect(await versionsOf()).toEqual([
      [8, 'anna', 30],
      [7, '', 20],
    ])
  })

  test('a thousand versions are kept, the oldest go', async () => {
    const entries = Array.from({ length: 998 }, (_, i) => JSON.stringify({ version: i + 1, by: 'ben', time: null, rule: null }))
    await server.redis.lpush(projectKey(project, 'ruleVersions:hot'), ...entries)
    for (let i = 0; i < 7; i++) await rules.save(project, hot(i), false, ANNA)
    const all = await rules.versions(project, 'hot', undefined, 2000)
    expect([all.length, all[0]?.version, all.at(-1)?.version]).toEqual([1000, 1005, 6])
  })

  test('two people who save at once make two versions', async () => {
    await rules.save(project, hot(30), true, ANNA)
    const slow = new Rules(justBefore(server.redis, 'telltaleChangeRules', () => rules.save(project, hot(50), false, BEN)))
    expect((await slow.save(project, hot(40), false, ANNA)).version).toBe(3)
    expect(await versionsOf()).toEqual([
      [3, 'anna', 40],
      [2, 'ben', 50],
      [1, 'anna', 30],
    ])
  })

  test('who says what version they have seen does not undo what others did since', async () => {
    await rules.save(project, hot(30), true, ANNA)
    const slow = new Rules(justBefore(server.redis, 'telltaleChangeRules', () => rules.save(project, hot(50), false, BEN)))
    await expect(slow.save(project, hot(40), false, ANNA, 1)).rejects.toMatchObject({ code: 'conflict', field: 'ifVersion' })
    await expect(rules.save(project, hot(40, 'new'), false, ANNA, 1)).rejects.toMatchObject({ code: 'conflict' })
    expect((await rules.save(project, hot(40), false, ANNA, 2)).version).toBe(3)
  })

  test('two people who make the same rule at once are told', async () => {
    const slow = new Rules(justBefore(server.redis, 'telltaleChangeRules', () => rules.save(project, hot(50), true, BEN)))
    await expect(slow.save(project, hot(40), true, ANNA)).rejects.toMatchObject({ code: 'conflict' })
  })

  test('a set changes in one step, and not at all when the rules are others meanwhile', async () => {
    await rules.save(project, hot(30, 'a'), true, ANNA)
    await rules.save(project, hot(30, 'b'), true, ANNA)
    const { revision } = await rules.snapshot(project)
    const changes = [{ save: hot(35, 'a') }, { remove: 'b', notify: false }, { save: hot(1, 'c') }]
    const slow = new Rules(justBefore(server.redis, 'telltaleChangeRules', () => rules.save(project, hot(9, 'd'), true, BEN)))
    await expect(slow.apply(project, revision, changes, ANNA)).rejects.toMatchObject({ code: 'conflict' })
    expect((await rules.list(project)).map(({ name, version }) => `${name}${version}`)).toEqual(['a1', 'b1', 'd1'])
    const next = await rules.apply(project, await rules.version(project), changes, ANNA)
    expect(next).toBe(await rules.version(project))
    expect((await rules.list(project)).map(({ name, version }) => `${name}${version}`)).toEqual(['a2', 'c1', 'd1'])
    expect(await versionsOf('b')).toEqual([
      [2, 'anna', null],
      [1, 'anna', 30],
    ])
  })

  test('what goes is left to the judge while it has alarms, with whether channels are told', async () => {
    await rules.save(project, hot(30), true, ANNA)
    await server.redis.sadd(projectKey(project, 'ruleStates'), 'hot')
    await rules.remove(project, 'hot', true, ANNA)
    const left = await server.redis.hget(projectKey(project, 'removedRules'), 'hot')
    expect(JSON.parse(left ?? '')).toMatchObject({ name: 'hot', version: 1, notifyRemoval: true })
    // The judge clears them; until then nobody takes the name.
    const again = rules.save(project, hot(31), true, ANNA)
    await server.redis.hdel(projectKey(project, 'removedRules'), 'hot')
    expect((await again).version).toBe(3)
  })

  test('of the rules that are gone the versions of the last thousand are kept', async () => {
    await rules.save(project, hot(30, 'first'), true, ANNA)
    await rules.remove(project, 'first', false, ANNA)
    const names = Array.from({ length: 1000 }, (_, i) => `r${i}`)
    await rules.apply(
      project,
      await rules.version(project),
      names.map(name => ({ save: hot(1, name) })),
      ANNA,
    )
    await rules.apply(
      project,
      await rules.version(project),
      names.map(name => ({ remove: name, notify: false })),
      BEN,
    )
    expect(await versionsOf('r999')).toHaveLength(2)
    await expect(rules.versions(project, 'first', undefined, 1)).rejects.toMatchObject({ code: 'not_found' })
  })
})
