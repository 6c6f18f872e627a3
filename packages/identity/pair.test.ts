// Pairs of tokens: how long each lasts, what gets the next pair, and that neither kind passes for another.
import { createHmac } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { type Caller, Identity } from './identity.ts'

const KEY = 'k'.repeat(40)
const MINUTE_MS = 60_000

describe.skipIf(installed === undefined)('a pair of tokens', () => {
  let server: TestRedis
  let identity: Identity
  let caller: Caller
  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(server.redis, KEY)
    await identity.put('sensor', 'secret of the sensor', 'sensor@home', { home: 'developer' })
    caller = (await identity.verify('sensor', 'secret of the sensor')) as Caller
  })
  afterEach(() => vi.useRealTimers())
  afterAll(() => server.stop())

  const elapse = (ms: number) => vi.useFakeTimers({ now: Date.now() + ms, toFake: ['Date'] })
  const payloadOf = (token: string) =>
    JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<string, unknown>

  it('lasts 15 minutes and 5 hours, or as long as asked, up to ten years', async () => {
    const times = async (accessMinutes?: number, refreshMinutes?: number) => {
      const { accessSeconds, refreshSeconds, access, refresh } = await identity.startPair(caller, undefined, {
        accessMinutes,
        refreshMinutes,
      })
      const [one, two] = [payloadOf(access), payloadOf(refresh)]
      expect([Number(one['exp']) - Number(one['iat']), Number(two['exp']) - Number(two['iat'])]).toEqual([accessSeconds, refreshSeconds])
      return [accessSeconds / 60, refreshSeconds / 60]
    }
    expect(await times()).toEqual([15, 300])
    expect(await times(0, -1)).toEqual([15, 300])
    expect(await times(60, 600)).toEqual([60, 600])
    const most = 10 * 366 * 24 * 60
    expect(await times(123_456_789, 10_000_092)).toEqual([most, most])
  })

  it('lets in by the access token, in every process, and names the project it is for', async () => {
    const { access, refresh } = await identity.startPair(caller, 'other', {})
    const elsewhere = new Identity(server.redis, KEY)
    expect(await elsewhere.verifyPair(access)).toMatchObject({
      caller: { keyId: 'sensor', roles: { home: 'developer' } },
      project: 'other',
    })
    expect(await identity.verifyPair(refresh)).toBeUndefined()
    expect(await identity.verifyToken(access)).toBeUndefined()
    expect(await identity.resumeSession(access)).toBeUndefined()
    expect(await identity.verifyPair((await identity.startSession(caller)).token)).toBeUndefined()
  })

  it('is renewed by the refresh token, by the access token, and by one that ended less than the refresh time ago', async () => {
    const { access, refresh } = await identity.startPair(caller, undefined, { accessMinutes: 1, refreshMinutes: 10 })
    for (const token of [access, refresh]) expect(await identity.verifyRenewable(token)).toMatchObject({ caller: { keyId: 'sensor' } })
    elapse(2 * MINUTE_MS)
    expect(await identity.verifyPair(access)).toBe('ended')
    for (const token of [access, refresh]) expect(await identity.verifyRenewable(token)).toMatchObject({ caller: { keyId: 'sensor' } })
    elapse(8.5 * MINUTE_MS)
    expect(await identity.verifyRenewable(refresh)).toBe('ended')
    expect(await identity.verifyRenewable(access)).toMatchObject({ caller: { keyId: 'sensor' } })
    elapse(MINUTE_MS)
    expect(await identity.verifyRenewable(access)).toBe('ended')
  })

  it('does not renew by an access token of another kind, ended or not', async () => {
    const { token } = await identity.startSession(caller)
    expect(await identity.verifyRenewable(token)).toBeUndefined()
  })

  it('ends with the secret that the key had', async () => {
    await identity.put('turned', 'secret', 'turned@home', { home: 'user' })
    const { access, refresh } = await identity.startPair((await identity.verify('turned', 'secret')) as Caller, undefined, {})
    expect(await identity.verifyPair(access)).toBeDefined()
    await identity.put('turned', 'another secret', 'turned@home', { home: 'user' })
    identity.forget()
    expect(await identity.verifyPair(access)).toBe('ended')
    for (const token of [access, refresh]) expect(await identity.verifyRenewable(token)).toBe('ended')
  })

  it('is not taken with another algorithm, another signature or another installation’s key', async () => {
    const { access } = await identity.startPair(caller, undefined, {})
    const payload = payloadOf(access)
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const body = access.split('.')[1] ?? ''
    const none = `${encode({ alg: 'none', typ: 'JWT' })}.${body}.`
    const longer = `${access.split('.')[0] ?? ''}.${encode({ ...payload, exp: Number(payload['exp']) + 60 })}.${access.split('.')[2] ?? ''}`
    const head = encode({ alg: 'HS256', typ: 'JWT' })
    const guessed = `${head}.${body}.${createHmac('sha256', 'secret of the sensor').update(`${head}.${body}`).digest('base64url')}`
    const { access: foreign } = await new Identity(server.redis, `${KEY}x`).startPair(caller, undefined, {})
    for (const token of [none, longer, guessed, foreign, '', 'a.b.c', `${access}x`]) {
      expect(await identity.verifyPair(token)).toBeUndefined()
      expect(await identity.verifyRenewable(token)).toBeUndefined()
    }
  })
})
