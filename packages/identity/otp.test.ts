// One-time passwords: shown once, by whoever holds the key, on any node.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { type Caller, Identity } from './identity.ts'

const KEY = 'k'.repeat(40)

describe.skipIf(installed === undefined)('a one-time password', () => {
  let server: TestRedis
  let identity: Identity
  let caller: Caller
  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(server.redis, KEY)
    await identity.put('one', 'secret', 'me', { home: 'user' })
    caller = (await identity.verify('one', 'secret')) as Caller
  })
  afterAll(() => server.stop())

  it('is its caller once, on another node too', async () => {
    const [otp, other] = [await identity.issueOtp(caller), await identity.issueOtp(caller)]
    const elsewhere = new Identity(server.redis, KEY)
    expect(await elsewhere.redeemOtp(otp)).toEqual(caller)
    expect(await identity.redeemOtp(otp)).toBeUndefined()
    expect(await identity.redeemOtp(other)).toEqual(caller)
  })

  it('shown by many at once lets one in', async () => {
    const otp = await identity.issueOtp(caller)
    const found = await Promise.all(Array.from({ length: 20 }, () => identity.redeemOtp(otp)))
    expect(found.filter(one => one !== undefined)).toHaveLength(1)
  })

  it('is kept for a minute, and not as it is', async () => {
    const otp = await identity.issueOtp(caller)
    const keys = await server.redis.keys('t:otp:*')
    expect(keys.join()).not.toContain(otp)
    for (const key of keys) expect(await server.redis.pttl(key)).toBeGreaterThan(50_000)
    for (const key of keys) expect(await server.redis.pttl(key)).toBeLessThanOrEqual(60_000)
    await server.redis.del(...keys)
    expect(await identity.redeemOtp(otp)).toBeUndefined()
  })

  it('ends with the secret of its key, and with the token that it was asked for by', async () => {
    const before = await identity.issueOtp(caller)
    const expired = await identity.issueOtp({ ...caller, expiresMs: Date.now() - 1 })
    expect(await identity.redeemOtp(expired)).toBeUndefined()
    await identity.put('one', 'other', 'me', { home: 'user' })
    expect(await identity.redeemOtp(before)).toBeUndefined()
  })

  it('is nothing else', async () => {
    for (const text of ['', 'x', 'x'.repeat(43), 'x'.repeat(100_000), '*', '\n']) expect(await identity.redeemOtp(text)).toBeUndefined()
  })
})
