// Keys, sessions and what is sealed: who is let in, and that nothing else is.
import { createHmac } from 'node:crypto'
import jsonwebtoken from 'jsonwebtoken'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../core/failure.ts'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { type AccessToken, type Caller, Identity, mayActAs, newSecret, ownProject, requireActAs, requireRole } from './identity.ts'

const KEY = 'k'.repeat(40)
const KEYS = 't:{~registry}:keys'

describe.skipIf(installed === undefined)('identity', () => {
  let server: TestRedis
  let identity: Identity
  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(server.redis, KEY)
  })
  afterAll(() => server.stop())

  it('seals a text so that it reads back, and twice not the same', () => {
    for (const text of ['', 'x', 'æ 😀\n', 'y'.repeat(10_000)]) {
      const sealed = identity.seal(text)
      expect(identity.unseal(sealed)).toBe(text)
      expect(identity.seal(text)).not.toBe(sealed)
      expect(new Identity(server.redis, KEY).unseal(sealed)).toBe(text)
    }
  })

  it('is not opened with a secret key that is shorter than 32 characters, such as none', () => {
    for (const key of ['', ' ', 'k'.repeat(31)])
      expect(() => new Identity(server.redis, key)).toThrow(
        expect.objectContaining({ code: 'setup', message: expect.stringMatching(/^TELL/) }),
      )
    expect(new Identity(server.redis, 'k'.repeat(32))).toBeInstanceOf(Identity)
  })

  it('unseals nothing with another key, and nothing that was changed or cut', () => {
    const sealed = identity.seal('secret')
    const message = 'TELLTALE_SECRET_KEY is not the one with which the stored secrets were sealed'
    expect(() => new Identity(server.redis, `${KEY}x`).unseal(sealed)).toThrow(message)
    const bytes = Buffer.from(sealed, 'base64url')
    for (const at of [0, 12, 28, bytes.length - 1]) {
      const changed = Buffer.from(bytes)
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
      expect(() => identity.unseal(changed.toString('base64url'))).toThrow(message)
    }
    for (const text of ['', 'x', sealed.slice(0, 20), sealed.slice(0, -4)]) expect(() => identity.unseal(text)).toThrow(message)
  })

  it('keeps no secret as text', async () => {
    const secret = newSecret()
    await identity.put('sealed', secret, 'a', {})
    expect(JSON.stringify(await server.redis.hgetall(KEYS))).not.toContain(secret)
    expect(secret).toMatch(/^[0-9a-f]{64}$/)
  })

  it('knows a key by its secret, and nobody else', async () => {
    await identity.put('one', 'secret', 'me', { home: 'user' })
    expect(await identity.verify('one', 'secret')).toEqual({
      keyId: 'one',
      account: 'me',
      roles: { home: 'user' },
      home: 'home',
      proof: expect.stringMatching(/^[\w-]{22}$/),
    })
    for (const [keyId, secret] of [
      ['one', 'Secret'],
      ['one', ''],
      ['one', 'secret '],
      ['two', 'secret'],
      ['__proto__', ''],
      ['', ''],
    ] as const)
      expect(await identity.verify(keyId, secret)).toBeUndefined()
  })

  it('knows which project is the account’s own, whatever the others are called', async () => {
    await identity.put('traveller', 'secret', 'traveller', { zone: 'developer' })
    await identity.put('traveller', 'secret', 'traveller', { 7: 'admin', abroad: 'admin' })
    const caller = await identity.verify('traveller', 'secret')
    expect([Object.keys(caller?.roles ?? {})[0], caller?.home, caller && ownProject(caller)]).toEqual(['7', 'zone', 'zone'])
  })

  it('takes one text for what it looks like, and the bare secret of the first key for nothing else', async () => {
    await identity.put('first', 'plain secret', 'first', { home: 'user' })
    await identity.settleAdminKey('first')
    const caller = await identity.verify('first', 'plain secret')
    const { token } = await identity.startAccess(caller as Caller)
    for (const text of ['plain secret', 'first:plain secret', token])
      expect(await identity.authenticateText(text)).toMatchObject({ keyId: 'first' })
    for (const text of ['plain secret ', '', 'first:', 'other:plain secret', `${token}x`])
      expect(await identity.authenticateText(text)).toBeUndefined()
    // Whoever guesses by such texts is counted by other names.
    for (const secret of ['looks.like.token', 'looks:like key']) {
      await identity.put('first', secret, 'first', { home: 'user' })
      expect(await identity.authenticateText(secret)).toBeUndefined()
      expect(await identity.authenticateText(`first:${secret}`)).toMatchObject({ keyId: 'first' })
    }
  })

  it('knows a key although strangers ask for ids that nobody has, and looks for none that could not be one', async () => {
    const other = new Identity(server.redis, KEY)
    await other.put('honest', 'secret', 'me', {})
    await other.verify('honest', 'secret')
    const lookups = async () => Number(/cmdstat_hget:calls=(\d+)/.exec(await server.redis.info('commandstats'))?.[1])
    const before = await lookups()
    for (const id of ['x'.repeat(65), 'x'.repeat(100_000), 'a b', 'a:b', 'ä', '\0', 'a\n'])
      expect(await other.verify(id, 'secret')).toBeUndefined()
    expect(await lookups()).toBe(before)
    await Promise.all(Array.from({ length: 12_000 }, (_, i) => other.verify(`x${i}`, 'secret')))
    await other.verify('honest', 'secret')
    const asked = await lookups()
    await other.verify('honest', 'secret')
    await other.verify('honest', 'secret')
    expect(await lookups()).toBe(asked)
  })

  it('removes the key that the settings named before', async () => {
    for (const id of ['first', 'second']) {
      await identity.put(id, 'secret', 'boss', { home: 'admin' })
      await identity.settleAdminKey(id)
      await identity.settleAdminKey(id)
    }
    expect([await identity.verify('first', 'secret'), await identity.verify('second', 'secret')]).toEqual([undefined, expect.anything()])
  })

  it('forgets a revoked key within a second', async () => {
    await identity.put('brief', 'secret', 'me', {})
    const other = new Identity(server.redis, KEY)
    expect(await other.verify('brief', 'secret')).toBeDefined()
    await server.redis.hdel(KEYS, 'brief')
    await expect.poll(() => other.verify('brief', 'secret'), { timeout: 1500, interval: 50 }).toBeUndefined()
  })

  it('takes a new secret at once where it was given', async () => {
    await identity.put('turned', 'old', 'me', {})
    await identity.verify('turned', 'old')
    await identity.put('turned', 'new', 'me', {})
    expect([await identity.verify('turned', 'old'), await identity.verify('turned', 'new')]).toEqual([undefined, expect.anything()])
  })

  describe('a session', () => {
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const nowSeconds = Math.floor(Date.now() / 1000)
    const claims = { sub: 'guest', aud: 'console', iat: nowSeconds, exp: nowSeconds + 60 }
    const forged = (header: object, payload: object, key: string) => {
      const body = `${encode(header)}.${encode(payload)}`
      return `${body}.${createHmac('sha256', key).update(body).digest('base64url')}`
    }
    let caller: Caller
    beforeAll(async () => {
      await identity.put('guest', 'secret', 'me', { home: 'admin' })
      caller = (await identity.verify('guest', 'secret')) as Caller
    })

    it('is resumed as its caller for twelve hours', async () => {
      const { token, seconds } = await identity.startSession(caller)
      expect(seconds).toBe(12 * 3600)
      expect(await identity.resumeSession(token)).toEqual({ ...caller, expiresMs: expect.any(Number), session: expect.any(String) })
      const { exp, iat } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
      expect(exp - iat).toBe(seconds)
    })

    it('ends with its key', async () => {
      await identity.put('leaver', 'secret', 'me', {})
      const { token } = await identity.startSession((await identity.verify('leaver', 'secret')) as Caller)
      await server.redis.hdel(KEYS, 'leaver')
      expect(await new Identity(server.redis, KEY).resumeSession(token)).toBeUndefined()
    })

    it('ends with the secret of its key, and so does an access token', async () => {
      await identity.put('rotated', 'old', 'me', {})
      const { token } = await identity.startSession((await identity.verify('rotated', 'old')) as Caller)
      const claims = { iss: 'me', aud: 'here', iat: nowSeconds, exp: nowSeconds + 60 }
      const assertion = jsonwebtoken.sign(claims, 'old', { keyid: 'rotated' })
      const access = (await identity.exchange(assertion, ['here'])) as AccessToken
      await identity.put('rotated', 'old', 'me', {})
      expect([await identity.resumeSession(token), await identity.verifyToken(access.token)]).toMatchObject([{}, {}])
      const caller = (await identity.verifyToken(access.token)) as Caller
      await identity.put('rotated', 'new', 'me', {})
      expect([await identity.resumeSession(token), await identity.verifyToken(access.token)]).toEqual([undefined, undefined])
      expect(await identity.renew(caller)).toBeUndefined()
    })

    it('that was ended is over everywhere within a second, and another of the same key goes on', async () => {
      const [ended, other] = [await identity.startSession(caller), await identity.startSession(caller)]
      const elsewhere = new Identity(server.redis, KEY)
      expect(await elsewhere.resumeSession(ended.token)).toBeDefined()
      await identity.endSession(ended.token)
      expect(await identity.resumeSession(ended.token)).toBeUndefined()
      await expect.poll(() => elsewhere.resumeSession(ended.token), { timeout: 1000, interval: 50 }).toBeUndefined()
      expect(await elsewhere.resumeSession(other.token)).toBeDefined()
      expect(await server.redis.pttl('t:{~registry}:ended:guest')).toBeLessThanOrEqual(12 * 3600 * 1000)
      for (const text of ['', 'x', `${other.token}x`]) await identity.endSession(text)
      expect(await identity.resumeSession(other.token)).toBeDefined()
    })

    it('costs little to end, however often that is done: past a hundred all older ones are over too', async () => {
      await identity.put('restless', 'secret', 'me', {})
      const one = (await identity.verify('restless', 'secret')) as Caller
      const sessions = await Promise.all(Array.from({ length: 250 }, () => identity.startSession(one)))
      for (const { token } of sessions) await identity.endSession(token)
      expect(await server.redis.zcard('t:{~registry}:ended:restless')).toBeLessThanOrEqual(101)
      for (const { token } of sessions) expect(await identity.resumeSession(token)).toBeUndefined()
    })

    it('is not what somebody else signed, or nobody', async () => {
      const { token } = await identity.startSession(caller)
      const [header, payload, signature] = token.split('.') as [string, string, string]
      const tokens = [
        '',
        'a.b.c',
        `${header}.${payload}.`,
        `${header}.${encode({ ...claims, sub: 'one' })}.${signature}`,
        `${encode({ alg: 'none' })}.${payload}.`,
        `${encode({ alg: 'none' })}.${payload}.${signature}`,
        forged({ alg: 'HS256' }, claims, KEY),
        forged({ alg: 'HS512' }, claims, KEY),
        forged({ alg: 'HS256', kid: '../../dev/null' }, claims, ''),
        `\n${token}`,
        'x'.repeat(100_000),
      ]
      for (const text of tokens) expect(await identity.resumeSession(text)).toBeUndefined()
      expect(await new Identity(server.redis, `${KEY}x`).resumeSession(token)).toBeUndefined()
    })

    it('is over when its time is, and is for the console alone', async () => {
      const { SignJWT } = await import('jose')
      const { hkdfSync } = await import('node:crypto')
      const signing = Buffer.from(hkdfSync('sha256', KEY, '', 'telltale console sessions', 32))
      const sign = (audience: string, end: number, extra: object = {}) =>
        new SignJWT({ proof: caller.proof, ...extra })
          .setProtectedHeader({ alg: 'HS256' })
          .setSubject('guest')
          .setAudience(audience)
          .setExpirationTime(end)
          .sign(signing)
      expect(await identity.resumeSession(await sign('console', nowSeconds + 60))).toBeDefined()
      expect(await identity.resumeSession(await sign('console', nowSeconds - 60))).toBeUndefined()
      expect(await identity.resumeSession(await sign('api', nowSeconds + 60))).toBeUndefined()
      for (const proof of ['', 'x', 1, undefined])
        expect(await identity.resumeSession(await sign('console', nowSeconds + 60, { proof }))).toBeUndefined()
    })
  })
})

describe('the project of who names none', () => {
  it.each([
    ['its own', { home: 'zone', roles: { 7: 'user', zone: 'user' } }, 'zone'],
    ['the only one', { roles: { abroad: 'user' } }, 'abroad'],
    ['the only one, when it lost the role in its own', { home: 'zone', roles: { abroad: 'user' } }, 'abroad'],
    ['none of several that are not its own', { roles: { abroad: 'user', else: 'user' } }, undefined],
    ['none without any role', { home: 'zone', roles: {} }, undefined],
    ['that of a device', { roles: {}, device: { project: 'field', id: 'd1' } }, 'field'],
  ] as const)('is %s', (_, caller, project) => expect(ownProject(caller)).toBe(project))
})

describe('who may publish for a device', () => {
  const device = { project: 'home', id: 'd1' }
  it.each([
    ['its developer', { roles: { home: 'developer' } }, true],
    ['an admin', { roles: { home: 'admin' } }, true],
    ['no user', { roles: { home: 'user' } }, false],
    ['no developer of another project', { roles: { other: 'admin' } }, false],
    ['the device', { roles: {}, device }, true],
    ['no other device', { roles: {}, device: { project: 'home', id: 'd2' } }, false],
    ['not the same device elsewhere', { roles: {}, device: { project: 'other', id: 'd1' } }, false],
    ['nobody by an inherited name', { roles: {} }, false],
  ] as const)('is %s', (_, caller, may) => {
    expect(mayActAs(caller, 'home', 'd1')).toBe(may)
    expect(mayActAs(caller, 'constructor', 'd1')).toBe(false)
  })
})

describe('a device', () => {
  const caller: Caller = { keyId: 'k', account: 'a', roles: {}, device: { project: 'home', id: 'd' } }
  it.each([
    ['d', true],
    ['d:3', true],
    ['d:plug:1', true],
    ['d::boot', true],
    ['d:', false],
    ['', false],
    ['d2', false],
    ['d2:3', false],
    ['d-3', false],
    ['D:3', false],
    ['e:d', false],
    [':d', false],
  ] as const)('may act as %j: %s', (id, may) => {
    expect([mayActAs(caller, 'home', id), mayActAs(caller, 'other', id)]).toEqual([may, false])
    const act = () => requireActAs(caller, 'home', id)
    if (may) expect(act).not.toThrow()
    else expect(act).toThrow(`device d publishes its own events and those of its channels, d:…, and none of device ${id}`)
  })

  it('that is a channel is not the device that it is a channel of', () => {
    const channel = { roles: {}, device: { project: 'home', id: 'd:3' } }
    expect(['d', 'd:3', 'd:3:b', 'd:4', 'd:33'].map(id => mayActAs(channel, 'home', id))).toEqual([false, true, true, false, false])
  })
})

describe('a role', () => {
  const caller: Caller = { keyId: 'k', account: 'a', roles: { home: 'developer' } }
  const codeOf = (act: () => void) => {
    try {
      act()
    } catch (error) {
      return error instanceof Failure ? error.code : 'other'
    }
    return 'granted'
  }

  it.each([
    ['home', 'user', 'granted'],
    ['home', 'developer', 'granted'],
    ['home', 'admin', 'forbidden'],
    ['other', 'user', 'not_found'],
    ['__proto__', 'user', 'not_found'],
    ['constructor', 'user', 'not_found'],
    ['', 'user', 'not_found'],
  ] as const)('in %s as %s is %s', (project, role, outcome) => {
    expect(codeOf(() => requireRole(caller, project, role))).toBe(outcome)
  })
})
