// Rules on a real Redis: every version is kept, two people lose nothing of each other, a set changes as a whole or not at all.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parseRule, type Rule, ruleToJson } from '../core/rule.ts'
import { checkNames, inhibitorsOf } from '../core/ruleplan.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { projectKey } from '../log/key.ts'
import { justBefore } from './fixture.ts'
import { ParsedRules } from './parsed.ts'
import { Rules, readRule } from './rule.ts'
import { Shadows } from './shadow.ts'

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

  test('what is looked at while others save is looked at again: two rules never inhibit each other', async () => {
    const dependant = (name: string, on: string): Rule => ({ ...hot(30, name), inhibitedBy: [{ rule: on, equal: [] }] })
    await rules.save(project, hot(30, 'a'), true, ANNA)
    await rules.save(project, hot(30, 'b'), true, ANNA)
    const saved = (on: Rules, one: Rule) =>
      on.save(project, one, false, ANNA, undefined, async () => {
        const { inhibition } = await rules.namesFrom(project, [])
        const others = (await rules.namesFrom(project, inhibitorsOf(one))).inhibition
        checkNames([{ rule: one, path: '' }], new Map([...inhibition, ...others]), { channels: [], labelKeys: [] })
      })
    const slow = new Rules(justBefore(server.redis, 'telltaleChangeRules', () => saved(rules, dependant('b', 'a'))))
    await expect(saved(slow, dependant('a', 'b'))).rejects.toMatchObject({ code: 'invalid', field: 'inhibitedBy[0]' })
    expect((await rules.one(project, 'a')).inhibitedBy).toEqual([])
  })

  test('what rules hang on is found without the others, and what was removed is known to have been there', async () => {
    const dependant = (name: string, ...on: string[]): Rule => ({ ...hot(30, name), inhibitedBy: on.map(rule => ({ rule, equal: [] })) })
    for (const one of [hot(1, 'gone'), hot(1, 'c'), dependant('b', 'c'), dependant('a', 'b', 'gone'), hot(1, 'other')])
      await rules.save(project, one, true, ANNA)
    await rules.remove(project, 'gone', false, ANNA)
    const { inhibition, names, removed } = await rules.namesFrom(project, ['a', 'nobody'])
    expect([...inhibition]).toEqual([
      ['a', ['b', 'gone']],
      ['b', ['c']],
      ['c', []],
    ])
    expect([names, [...removed]]).toEqual([['a', 'b', 'c', 'other'], ['gone']])
    expect((await rules.namesFrom(project, ['b'])).names).toEqual([])
  })

  test('a rule that goes takes its shadow along, in a set as well', async () => {
    const shadows = new Shadows(server.redis)
    for (const name of ['a', 'b']) {
      await rules.save(project, hot(30, name), true, ANNA)
      await shadows.put(project, { rule: hot(40, name), by: 'anna', time: '1970-01-01T00:00:00Z' })
    }
    await rules.remove(project, 'a', false, ANNA)
    await rules.apply(project, await rules.version(project), [{ remove: 'b', notify: false }], ANNA)
    for (const name of ['a', 'b']) {
      await expect(shadows.get(project, name)).rejects.toMatchObject({ code: 'not_found' })
      expect(await shadows.log(project, name)).toEqual({ changes: [], truncated: false })
    }
  })

  test('versions of all rules together are kept up to so many bytes; the oldest go, whosever they are', async () => {
    const small = new Rules(server.redis, 2500)
    for (let i = 0; i < 10; i++) {
      await small.save(project, hot(i, 'often'), false, ANNA)
      if (i < 2) await small.save(project, hot(i, 'seldom'), false, BEN)
    }
    const [often, seldom] = await Promise.all(['often', 'seldom'].map(name => small.versions(project, name, undefined, 50)))
    expect(often?.map(({ version }) => version)[0]).toBe(10)
    expect(often?.length).toBeGreaterThan(3)
    expect(JSON.stringify(often).length).toBeLessThan(3000)
    // None of its versions is kept, but what it is now.
    expect(seldom?.map(({ version, by }) => [version, by])).toEqual([[2, '']])
    expect((await small.save(project, hot(9, 'seldom'), false, BEN)).version).toBe(3)
    const bytes = Number(await server.redis.get(projectKey(project, 'ruleVersionBytes')))
    const kept = await server.redis.zcard(projectKey(project, 'ruleVersionOrder'))
    const lists = await Promise.all(
      ['often', 'seldom'].map(name => server.redis.lrange(projectKey(project, `ruleVersions:${name}`), 0, -1)),
    )
    expect([bytes, kept]).toEqual([lists.flat().join('').length, lists.flat().length])
  })

  test('a page is of the names that come after, and of versions those before, whatever there is besides', async () => {
    for (const name of ['a', 'b', 'c', 'd']) await rules.save(project, hot(1, name), true, ANNA)
    expect((await rules.page(project, 'a', 2)).map(({ name }) => name)).toEqual(['b', 'c'])
    for (let i = 2; i < 9; i++) await rules.save(project, hot(i, 'a'), false, ANNA)
    expect((await rules.versions(project, 'a', 5, 2)).map(({ version }) => version)).toEqual([4, 3])
    expect((await rules.versions(project, 'a', 2, 5)).map(({ version }) => version)).toEqual([1])
    expect(await rules.versions(project, 'a', 1, 5)).toEqual([])
  })

  test('a rule is parsed once, and anew when it is another', async () => {
    await rules.save(project, hot(1), true, ANNA)
    const [first] = await rules.list(project)
    expect((await rules.list(project))[0]).toBe(first)
    expect((await rules.page(project, '', 1))[0]).toBe(first)
    await new Rules(server.redis).save(project, hot(2), false, BEN)
    expect((await rules.list(project))[0]).toMatchObject({ version: 2, when: { above: 2 } })
    expect((await rules.list(project))[0]).not.toBe(first)
  })
})

test('of parsed rules those are forgotten that were not asked for longest', () => {
  const texts = Array.from({ length: 4 }, (_, i) => JSON.stringify(ruleToJson(hot(i, `r${i}`))))
  const parsed = new ParsedRules(readRule, (texts[0] as string).length * 3)
  const read = (i: number) => parsed.read('p', `r${i}`, texts[i] as string)
  const [first, second] = [read(0), read(1), read(2)]
  expect(read(0)).toBe(first)
  read(3)
  expect(read(0)).toBe(first)
  expect(read(1)).not.toBe(second)
  expect(parsed.read('other', 'r0', texts[0] as string)).not.toBe(read(0))
})
