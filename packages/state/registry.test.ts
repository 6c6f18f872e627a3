// Accounts, members, projects and organisations in Redis: what belongs together is changed together, also by several at once.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { projectKey } from '../log/key.ts'
import { type Account, Accounts } from './account.ts'
import { Members } from './member.ts'
import { Organizations } from './organization.ts'
import { Projects } from './project.ts'
import { readChanges } from './registry.ts'

describe.skipIf(installed === undefined)('the registry', () => {
  let server: TestRedis
  let accounts: Accounts
  let members: Members
  let organizations: Organizations
  let projects: Projects
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
    accounts = new Accounts(server.redis)
    members = new Members(server.redis)
    organizations = new Organizations(server.redis)
    projects = new Projects(server.redis)
    await organizations.add({ id: 'default', displayName: 'Default' })
  })
  beforeEach(async () => {
    project = freshProject()
    await projects.add(project)
  })
  afterAll(() => server.stop())

  const account = async (id: string, of = project): Promise<Account> => {
    const made = { id, project: of, email: `${id}@${of}`, displayName: '', enableBasicAuth: false, createTime: '1', updateTime: '1' }
    await accounts.create(made)
    return made
  }
  const key = (id: string, account: string) => ({ id, account, secret: 'sealed', createTime: '1' })
  const member = (account: string, role: 'user' | 'admin' = 'user') => ({ account, role, createTime: '1' })
  const remove = async (id: string, organizationAdmin = true) => {
    await projects.close(id, 'token')
    await projects.remove(id, 'token', organizationAdmin)
    await projects.empty(id)
  }
  const keysOf = async (pattern: string) => (await server.redis.keys(pattern)).toSorted()

  it('never gives an account more keys than it may have, however many ask at once', async () => {
    const { id } = await account(`${project}-a`)
    const outcomes = await Promise.allSettled(Array.from({ length: 30 }, (_, i) => accounts.addKey(key(`${id}-${i}`, id))))
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(10)
    expect(await accounts.keys(id)).toHaveLength(10)
    await expect(accounts.addKey(key('x', 'nobody'))).rejects.toMatchObject({ code: 'not_found' })
  })

  it('loses no change of an account that several make at once', async () => {
    const { id } = await account(`${project}-a`)
    await Promise.all(
      Array.from({ length: 10 }, () => accounts.change(project, id, before => ({ ...before, displayName: `${before.displayName}x` }))),
    )
    expect((await accounts.one(project, id)).displayName).toBe('x'.repeat(10))
  })

  it('keeps one admin of an organisation, also when all leave at once', async () => {
    const ids = await Promise.all(['a', 'b', 'c'].map(async name => (await account(`${project}-${name}`)).id))
    const organization = `o-${project}`
    await organizations.add({ id: organization, displayName: '' })
    for (const id of ids) await members.add(`organizations/${organization}`, member(id, 'admin'))
    const outcomes = await Promise.allSettled(ids.map(id => members.remove(`organizations/${organization}`, id)))
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1)
    expect(await members.list(`organizations/${organization}`)).toHaveLength(1)
  })

  it('takes an account with all that it has', async () => {
    const made = await account(`${project}-a`)
    await accounts.addKey(key(`${project}-k`, made.id))
    await members.add(`projects/${project}`, member(made.id))
    const { last } = await readChanges(server.redis, '')
    await accounts.remove(made)
    expect(await accounts.holder(`${project}-k`)).toBeUndefined()
    expect(await accounts.findByEmail(made.email)).toBeUndefined()
    expect(await members.list(`projects/${project}`)).toEqual([])
    expect(await keysOf(`*${made.id}*`)).toEqual([])
    expect((await readChanges(server.redis, last)).keys).toEqual(new Set([`${project}-k`]))
    await expect(members.add(`projects/${project}`, member(made.id))).rejects.toMatchObject({ code: 'not_found' })
    await expect(accounts.remove(made)).rejects.toMatchObject({ code: 'not_found' })
  })

  it('takes a project with its accounts, members and everything that it kept', async () => {
    const made = await account(`${project}-a`)
    const elsewhere = freshProject()
    await projects.add(elsewhere)
    const guest = await account(`${project}-guest`, elsewhere)
    for (const { id } of [made, guest]) {
      await accounts.addKey(key(`${id}-k`, id))
      await members.add(`projects/${project}`, member(id))
    }
    for (let i = 0; i < 3000; i++) void server.redis.set(projectKey(project, `reported:${i}`), 'x')
    await server.redis.set(projectKey(`${project}x`, 'log'), 'of another')
    await remove(project)
    expect(await projects.list()).not.toContain(project)
    expect(await keysOf(`t:{${project}*`)).toEqual([projectKey(`${project}x`, 'log')])
    expect(await accounts.holder(`${made.id}-k`)).toBeUndefined()
    expect(await accounts.holder(`${guest.id}-k`)).toMatchObject({ account: { email: guest.email }, grants: [] })
    await expect(projects.remove(project, 'token', true)).rejects.toMatchObject({ code: 'not_found' })
  })

  it('takes with a project what its accounts are elsewhere', async () => {
    const made = await account(`${project}-a`)
    const other = freshProject()
    await projects.add(other)
    for (const one of [project, other]) await members.add(`projects/${one}`, member(made.id))
    await remove(project)
    expect(await members.list(`projects/${other}`)).toEqual([])
    expect(await keysOf(`*${made.id}*`)).toEqual([])
  })

  it('takes no project with the last admin of an organisation, and admins of its own only for their equals; then nothing is changed', async () => {
    const [first, second] = [await account(`${project}-a`), await account(`${project}-b`)]
    const [own, foreign] = [`own-${project}`, `foreign-${project}`]
    for (const id of [own, foreign]) await organizations.create({ id, displayName: '' }, first.id, '1')
    const home = freshProject()
    await projects.add(home, home, own)
    const admin = await account(`${home}-admin`, home)
    const guest = await account(`${home}-guest`, home)
    await members.add(`organizations/${own}`, member(admin.id, 'admin'))
    await members.add(`organizations/${foreign}`, member(guest.id, 'admin'))
    await expect(remove(home, false)).rejects.toMatchObject({ code: 'forbidden' })
    await expect(projects.checkRemovable(home, false)).rejects.toMatchObject({ code: 'forbidden' })
    await projects.checkRemovable(home, true)
    for (const scope of [own, foreign]) await members.remove(`organizations/${scope}`, first.id)
    for (const scope of [own, foreign]) {
      await expect(remove(home)).rejects.toMatchObject({ code: 'conflict' })
      expect(await members.list(`organizations/${scope}`)).toHaveLength(1)
      await members.add(`organizations/${scope}`, member(second.id, 'admin'))
    }
    await remove(home)
    expect(await members.list(`organizations/${foreign}`)).toEqual([member(second.id, 'admin')])
  })

  it('gives nobody a role in a project that is closed, until it is opened again or a minute is over', async () => {
    const made = await account(`${project}-a`)
    await accounts.addKey(key(`${project}-k`, made.id))
    await members.add(`projects/${project}`, member(made.id))
    const organization = `o-${project}`
    await organizations.create({ id: organization, displayName: '' }, made.id, '1')
    await projects.add(`${project}-theirs`, '', organization)
    const grants = async () => (await accounts.holder(`${project}-k`))?.grants.map(([scope]) => scope).toSorted()
    const all = await grants()
    expect(all).toHaveLength(3)
    const { last } = await readChanges(server.redis, '')
    for (const id of [project, `${project}-theirs`]) await projects.close(id, 'token')
    expect(await grants()).toEqual([`organizations/${organization}`])
    expect((await readChanges(server.redis, last)).keys).toBe('all')
    expect(await server.redis.pttl('t:{~registry}:closed')).toBeGreaterThan(0)
    for (const id of [project, `${project}-theirs`]) await projects.reopen(id, 'token')
    expect(await grants()).toEqual(all)
  })

  it('is deleted by one at a time: the one who closed it last', async () => {
    await projects.close(project, 'first')
    await projects.close(project, 'second')
    await expect(projects.remove(project, 'first', true)).rejects.toMatchObject({ code: 'conflict' })
    await projects.reopen(project, 'first')
    await projects.remove(project, 'second', true)
    await expect(projects.close(project, 'third')).rejects.toMatchObject({ code: 'not_found' })
  })

  it('empties at the next start what a deletion left that was cut off, and makes no project of that name before', async () => {
    await server.redis.set(projectKey(project, 'log'), 'left')
    await projects.close(project, 'token')
    await projects.remove(project, 'token', true)
    await expect(projects.add(project)).rejects.toMatchObject({ code: 'conflict' })
    await projects.recover()
    expect(await keysOf(`t:{${project}}*`)).toEqual([])
    await projects.add(project)
    expect(await projects.list()).toContain(project)
  })

  it('makes no account in a project that does not exist, and no member of what does not', async () => {
    await expect(account('x', 'nowhere')).rejects.toMatchObject({ code: 'not_found' })
    const { id } = await account(`${project}-a`)
    for (const scope of ['projects/nowhere', 'organizations/nowhere'] as const)
      await expect(members.add(scope, member(id))).rejects.toMatchObject({ code: 'not_found' })
    expect(await keysOf('*nowhere*')).toEqual([])
    expect(await members.of(id)).toEqual({})
  })

  it('makes an organisation with its admin, or not at all', async () => {
    const organization = { id: `o-${project}`, displayName: 'O' }
    await expect(organizations.create(organization, 'nobody', '1')).rejects.toMatchObject({ code: 'not_found' })
    expect(await organizations.several([organization.id])).toEqual([])
    const { id } = await account(`${project}-a`)
    await organizations.create(organization, id, '1')
    expect(await organizations.one(organization.id)).toEqual(organization)
    expect(await members.list(`organizations/${organization.id}`)).toEqual([member(id, 'admin')])
    expect(await members.of(id)).toEqual({ [`organizations/${organization.id}`]: 'admin' })
  })

  it('keeps the last key of who administers the organisation at home, but no foreign one keeps a key', async () => {
    const { id } = await account(`${project}-a`)
    await accounts.addKey(key(`${project}-k`, id))
    await organizations.create({ id: `o-${project}`, displayName: '' }, id, '1')
    await members.put('organizations/default', member(id, 'admin'))
    await expect(accounts.removeKey(id, `${project}-k`)).rejects.toMatchObject({ code: 'conflict' })
    await members.put('organizations/default', member(`${project}-other`, 'admin'))
    await members.remove('organizations/default', id)
    await accounts.removeKey(id, `${project}-k`)
  })

  it('goes on with a page of accounts although some of it were deleted meanwhile', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) await account(`${project}-${name}`)
    // As it is between the two reads of a page.
    await server.redis.hdel('t:{~registry}:accounts', `${project}-b`)
    const seen: string[] = []
    for (let after = ''; ; ) {
      const { accounts: page, next } = await accounts.list(project, after, 2)
      seen.push(...page.map(({ id }) => id))
      if (next === undefined) break
      after = next
    }
    expect(seen).toEqual(['a', 'c', 'd', 'e'].map(name => `${project}-${name}`))
    await server.redis.srem(`t:{~registry}:accountsOf:${project}`, `${project}-b`)
  })

  it('adds a project only to an organisation that exists, and leaves one that exists as it is', async () => {
    await expect(projects.add(freshProject(), 'x', 'nowhere')).rejects.toMatchObject({ code: 'not_found' })
    await projects.rename(project, 'renamed')
    await projects.add(project)
    expect(await projects.one(project)).toMatchObject({ displayName: 'renamed' })
  })

  it('tells of many changes at once as of one that concerns everybody', async () => {
    const { id } = await account(`${project}-a`)
    await accounts.addKey(key(`${project}-k`, id))
    await members.add(`projects/${project}`, member(id))
    const { last } = await readChanges(server.redis, '')
    await Promise.all(Array.from({ length: 1000 }, () => members.change(`projects/${project}`, member(id))))
    expect((await readChanges(server.redis, last)).keys).toBe('all')
  })
})
