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
    const guest = await account(`${project}-guest`, 'elsewhere')
    for (const { id } of [made, guest]) {
      await accounts.addKey(key(`${id}-k`, id))
      await members.add(`projects/${project}`, member(id))
    }
    for (let i = 0; i < 3000; i++) void server.redis.set(projectKey(project, `reported:${i}`), 'x')
    await server.redis.set(projectKey(`${project}x`, 'log'), 'of another')
    await projects.remove(project)
    expect(await projects.list()).not.toContain(project)
    expect(await keysOf(`t:{${project}*`)).toEqual([projectKey(`${project}x`, 'log')])
    expect(await accounts.holder(`${made.id}-k`)).toBeUndefined()
    expect(await accounts.holder(`${guest.id}-k`)).toMatchObject({ account: { email: guest.email }, grants: [] })
    await expect(projects.remove(project)).rejects.toMatchObject({ code: 'not_found' })
  })

  it('takes no project whose account is a member elsewhere, and then changes nothing', async () => {
    const made = await account(`${project}-a`)
    const other = freshProject()
    await projects.add(other)
    for (const one of [project, other]) await members.add(`projects/${one}`, member(made.id))
    await expect(projects.remove(project)).rejects.toMatchObject({ code: 'conflict' })
    expect(await members.list(`projects/${project}`)).toHaveLength(1)
    await members.remove(`projects/${other}`, made.id)
    await projects.remove(project)
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
