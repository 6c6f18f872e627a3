// Revocation while connected: whoever watches learns within a second, in every process, at the price of one look.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Failure } from '../core/failure.ts'
import { installed, openTestRedis, type TestRedis, until } from '../log/fixture.ts'
import { Accounts } from '../state/account.ts'
import { Credentials } from '../state/credential.ts'
import { Members } from '../state/member.ts'
import { Organizations } from '../state/organization.ts'
import { Projects } from '../state/project.ts'
import { type Caller, Identity } from './identity.ts'
import { Watches } from './watch.ts'

const KEY = 'k'.repeat(40)
const DEVICE_KEY = `dev${'0'.repeat(20)}`

describe.skipIf(installed === undefined)('a watch', () => {
  let server: TestRedis
  let here: Identity
  let elsewhere: Identity
  let accounts: Accounts
  let members: Members
  let caller: Caller
  let round = 0

  beforeAll(async () => {
    server = await openTestRedis()
    accounts = new Accounts(server.redis)
    members = new Members(server.redis)
    const organizations = new Organizations(server.redis)
    await organizations.add({ id: 'default', displayName: 'Default' })
    await organizations.add({ id: 'other', displayName: 'Other' })
    const projects = new Projects(server.redis)
    for (const project of ['home', 'second']) await projects.add(project)
  })
  beforeEach(async () => {
    here = new Identity(server.redis, KEY)
    elsewhere = new Identity(await server.connect(), KEY)
    const id = `key-${++round}`
    await here.put(id, 'secret', `${id}@home`, { home: 'developer', second: 'admin' })
    caller = (await elsewhere.verify(id, 'secret')) as Caller
  })
  afterEach(async () => {
    await here.close()
    await elsewhere.close()
  })
  afterAll(() => server.stop())

  /** Resolves with the reason, and how long after `act` it came. */
  const endedAfter = async (act: () => Promise<unknown>, project?: string) => {
    let reason = ''
    elsewhere.watch(
      caller,
      text => {
        reason = text
      },
      project,
    )
    await act()
    const since = performance.now()
    await until('the watch has ended', () => reason !== '', 3000)
    return { reason, ms: performance.now() - since }
  }

  it.each([
    ['the key', () => accounts.removeKey(caller.keyId, caller.keyId), 'the key was revoked'],
    ['the account', async () => accounts.remove(await accounts.one('home', caller.keyId)), 'the key was revoked'],
    [
      'the secret',
      () => here.put(caller.keyId, 'another', caller.account, { home: 'developer', second: 'admin' }),
      'the key has another secret',
    ],
    ['a membership', () => members.remove('projects/home', caller.keyId), 'the role in project home was taken away'],
    [
      'some of a role',
      () => members.change('projects/home', { account: caller.keyId, role: 'user', createTime: '' }),
      'the role in project home was taken away',
    ],
  ])('ends within a second when %s is taken away elsewhere', async (_, act, expected) => {
    const { reason, ms } = await endedAfter(act)
    expect(reason).toBe(expected)
    expect(ms).toBeLessThan(1000)
  })

  it('of who came by HTTP Basic ends when that is switched off for the account elsewhere, and nobody else’s', async () => {
    let said = ''
    elsewhere.watch(caller, reason => {
      said = reason
    })
    const authorization = `Basic ${Buffer.from(`${caller.keyId}:secret`).toString('base64')}`
    caller = (await elsewhere.authenticate({ authorization })) as Caller
    const { reason, ms } = await endedAfter(() => accounts.change('home', caller.keyId, before => ({ ...before, enableBasicAuth: false })))
    expect([reason, said]).toEqual(['HTTP Basic was switched off for the service account', ''])
    expect(ms).toBeLessThan(1000)
  })

  it('of a session ends when that is ended elsewhere, and no other', async () => {
    const resumed = async () => (await elsewhere.resumeSession((await here.startSession(caller)).token)) as Caller
    const other = await resumed()
    const { token } = await here.startSession(caller)
    caller = (await elsewhere.resumeSession(token)) as Caller
    let said = ''
    elsewhere.watch(other, reason => {
      said = reason
    })
    const { reason, ms } = await endedAfter(() => here.endSession(token))
    expect([reason, said]).toEqual(['the session was ended', ''])
    expect(ms).toBeLessThan(1000)
  })

  it('of a key whose record cannot be read ends, and holds up nobody', async () => {
    const troubles: Error[] = []
    const identity = new Identity(await server.connect(), KEY, error => troubles.push(error))
    const bad = `${caller.keyId}-bad`
    await here.put(bad, 'secret', `${bad}@home`, { home: 'user' })
    const ends: string[] = []
    identity.watch((await identity.verify(bad, 'secret')) as Caller, reason => ends.push(`${bad} ${reason}`))
    identity.watch(caller, reason => ends.push(reason))
    await server.redis.hset('t:{~registry}:keys', bad, '{"account":')
    await server.redis.xadd('t:{~registry}:changes', '*', 'keys', bad)
    await accounts.removeKey(caller.keyId, caller.keyId)
    await until('both have ended', () => ends.length === 2, 1000)
    expect(ends.toSorted()).toEqual([`${bad} the key was revoked`, 'the key was revoked'].toSorted())
    expect(troubles).toMatchObject([{ code: 'setup', message: expect.stringContaining(bad) }])
    await identity.close()
  })

  it('ends when what it watches was revoked before it began', async () => {
    await accounts.removeKey(caller.keyId, caller.keyId)
    expect((await endedAfter(async () => undefined)).reason).toBe('the key was revoked')
  })

  it('of one project goes on when a role in another ends, or one grows', async () => {
    let ended = false
    elsewhere.watch(
      caller,
      () => {
        ended = true
      },
      'home',
    )
    await members.change('projects/home', { account: caller.keyId, role: 'admin', createTime: '' })
    expect((await endedAfter(() => members.remove('projects/second', caller.keyId))).reason).toContain('second')
    expect(ended).toBe(false)
    await endedAfter(() => members.remove('projects/home', caller.keyId), 'home')
    expect(ended).toBe(true)
  })

  it('by way of an organisation ends with the role there', async () => {
    await new Projects(server.redis).add('theirs', 'Theirs', 'other')
    for (const account of [caller.keyId, 'somebody']) await members.put('organizations/other', { account, role: 'admin', createTime: '' })
    here.forget()
    caller = (await here.verify(caller.keyId, 'secret')) as Caller
    expect(caller).toMatchObject({ organizations: ['other'], roles: { home: 'developer', second: 'admin', theirs: 'admin' } })
    expect((await endedAfter(() => members.remove('organizations/other', caller.keyId), 'theirs')).reason).toContain('theirs')
  })

  it('of a device ends with its credential, and not before', async () => {
    const credentials = new Credentials(server.redis)
    await credentials.add({ id: DEVICE_KEY, project: 'home', device: 'd', secret: here.seal('secret'), createTime: '' })
    caller = (await elsewhere.login(DEVICE_KEY, 'secret')) as Caller
    const said: string[] = []
    elsewhere.watch(caller, reason => said.push(reason), 'home')
    const since = performance.now()
    await until('two rounds are over', () => performance.now() - since > 1000, 3000)
    expect(said).toEqual([])
    await credentials.remove('home', 'd', DEVICE_KEY)
    await until('the watch has ended', () => said.length > 0, 3000)
    expect(said).toEqual(['the key was revoked'])
  })

  it('of a token ends shortly after it expires, and so does what its caller may', async () => {
    const expiring = { ...caller, expiresMs: Date.now() + 300 }
    const said: unknown[][] = []
    elsewhere.watch(expiring, (...all) => said.push(all), 'home')
    const left = elsewhere.watch(expiring, () => said.push(['who has left']))
    elsewhere.watch({ ...caller, expiresMs: Date.now() + 10 ** 11 }, (...all) => said.push(all))
    expect(await elsewhere.renew(expiring)).toBeDefined()
    left()
    const since = performance.now()
    await until('the watch has ended', () => said.length > 0, 5000)
    expect(performance.now() - since).toBeGreaterThan(250)
    expect(said).toEqual([['the access token expired; come back with a new one', true, true]])
    expect(await elsewhere.renew(expiring)).toBeUndefined()
  })

  it('says nothing after it was ended', async () => {
    let said = 0
    const end = elsewhere.watch(caller, () => said++)
    end()
    await endedAfter(() => accounts.removeKey(caller.keyId, caller.keyId))
    expect(said).toBe(0)
  })

  it('costs one look at Redis each round, and 20,000 of one key end at once', async () => {
    let ended = 0
    for (let i = 0; i < 20_000; i++) elsewhere.watch({ ...caller }, () => ended++)
    const commands = async () => Number(/total_commands_processed:(\d+)/.exec(await server.redis.info('stats'))?.[1])
    await endedAfter(() =>
      members
        .change('projects/home', { account: caller.keyId, role: 'admin', createTime: '' })
        .then(() => members.remove('projects/second', caller.keyId)),
    )
    expect(ended).toBe(20_000)
    await here.put(caller.keyId, 'secret', caller.account, { home: 'developer', second: 'admin' })
    for (let i = 0; i < 20_000; i++) elsewhere.watch(caller, () => ended++)
    const before = await commands()
    const since = performance.now()
    await until('two seconds are over', () => performance.now() - since > 2000, 3000)
    expect((await commands()) - before).toBeLessThan(15)
    const { ms } = await endedAfter(() => accounts.removeKey(caller.keyId, caller.keyId))
    await until('all have ended', () => ended === 40_000, 1000)
    expect(ms).toBeLessThan(1000)
  })

  it('outlasts an absence of Redis, and learns afterwards what happened', async () => {
    const { reason } = await endedAfter(async () => {
      server.signal('SIGSTOP')
      const removed = accounts.removeKey(caller.keyId, caller.keyId)
      const since = performance.now()
      await until('a round has passed', () => performance.now() - since > 600, 1000)
      server.signal('SIGCONT')
      await removed
    })
    expect(reason).toBe('the key was revoked')
  })
})

describe('watches over keys of which some cannot be looked at', () => {
  const callerOf = (keyId: string): Caller => ({ keyId, account: keyId, roles: { home: 'user' } })

  it('end those that are gone, and ask again for those that failed, only for those', async () => {
    const looked: string[] = []
    const troubles: string[] = []
    let away = true
    const watches = new Watches({
      changed: async () => new Set(),
      look: async keyId => {
        looked.push(keyId)
        if (keyId === 'failing' && away) throw new Error('Redis is away')
        if (keyId === 'unreadable') throw new Failure('setup', 'unreadable')
        return undefined
      },
      troubled: error => troubles.push(error.message),
    })
    const ends: string[] = []
    for (const keyId of ['failing', 'unreadable', 'gone']) watches.add(callerOf(keyId), () => ends.push(keyId), undefined)
    await until('two have ended', () => ends.length === 2)
    expect(ends.toSorted()).toEqual(['gone', 'unreadable'])
    await until('it was asked again', () => looked.filter(keyId => keyId === 'failing').length > 1)
    expect(looked.filter(keyId => keyId !== 'failing').toSorted()).toEqual(['gone', 'unreadable'])
    expect(troubles).toEqual(expect.arrayContaining(['unreadable', 'Redis is away']))
    away = false
    await until('it has ended', () => ends.includes('failing'))
    await watches.close()
  })
})
