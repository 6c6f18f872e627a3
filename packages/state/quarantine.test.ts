// The quarantine on a real Redis: what is kept of refused input, and that it cannot fill the memory.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { Quarantine, type Refused } from './quarantine.ts'

describe.skipIf(installed === undefined)('the quarantine', () => {
  let server: TestRedis
  let quarantine: Quarantine
  beforeAll(async () => {
    server = await openTestRedis()
    quarantine = new Quarantine(server.redis, 1024 * 1024)
  })
  afterAll(() => server.stop())

  const refused = (payload: Buffer, more: Partial<Refused> = {}): Refused => ({
    source: 'd/a/temperature',
    keyId: 'key',
    field: 'data',
    reason: 'no',
    payload,
    ...more,
  })

  it('shows text as text and other bytes as base64, the newest first', async () => {
    const project = freshProject()
    await quarantine.add(project, [refused(Buffer.from('æ{')), refused(Buffer.from([0xff, 0x00]))])
    const [bytes, text] = await quarantine.list(project, '', 10)
    expect([text?.encoding, text?.payload, bytes?.encoding, bytes?.payload]).toEqual(['utf8', 'æ{', 'base64', '/wA='])
  })

  it('keeps the whole payload, and lists the beginning of it', async () => {
    const project = freshProject()
    const whole = Buffer.from(`${'x'.repeat(1023)}æ${'y'.repeat(5000)}`)
    const again = { place: { device: 'a' }, topic: 'my/a', delivery: 'k', mayRepeat: false }
    const decoder = { name: 'mine', format: 'csv', version: 3 }
    await quarantine.add(project, [refused(whole, { clientId: 'c', contentType: 't', device: 'a', decoder, again, accepted: ['one'] })])
    const [listed] = await quarantine.list(project, '', 10)
    expect(listed).toMatchObject({
      payload: 'x'.repeat(1023),
      encoding: 'utf8',
      size: 6025,
      clientId: 'c',
      device: 'a',
      decoder,
      code: 'invalid',
    })
    const found = await quarantine.find(project, listed?.id ?? '')
    expect(found).toMatchObject({ record: { payload: whole.toString() }, bytes: whole, again, accepted: ['one'] })
    expect(await quarantine.find(project, '1-1')).toBeUndefined()
  })

  it('lets go of the oldest beyond its share of memory, at once, says so, and keeps the newest however large it is', async () => {
    const project = freshProject()
    const lost = await quarantine.add(
      project,
      Array.from({ length: 200 }, (_, i) => refused(Buffer.from(`${i} ${'x'.repeat(16_000)}`))),
    )
    const left = await quarantine.list(project, '', 1000)
    expect(left.length).toBeGreaterThan(50)
    expect(left.length + lost).toBe(200)
    expect(left[0]?.payload.startsWith('199 ')).toBe(true)
    expect(await quarantine.add(project, [refused(Buffer.alloc(2 * 1024 * 1024))])).toBe(left.length)
    expect((await quarantine.list(project, '', 10)).map(({ size }) => size)).toEqual([2 * 1024 * 1024])
    expect(await server.redis.hlen(`t:{${project}}:quarantine:payloads`)).toBe(1)
  })

  it('knows what it takes also when the limit has become smaller, and forgets by age', async () => {
    const project = freshProject()
    await quarantine.add(
      project,
      Array.from({ length: 50 }, () => refused(Buffer.from('x'.repeat(2000)))),
    )
    expect(await new Quarantine(server.redis, 50_000).trim(project)).toBeGreaterThan(20)
    expect((await quarantine.list(project, '', 100)).length).toBeLessThan(25)
    await quarantine.trim(project, Date.now() - 60_000)
    expect((await quarantine.list(project, '', 100)).length).toBeGreaterThan(10)
    await quarantine.trim(project, Date.now() + 60_000)
    expect(await quarantine.list(project, '', 100)).toEqual([])
    expect(await server.redis.get(`t:{${project}}:quarantine:bytes`)).toBe('0')
    expect(await server.redis.exists(`t:{${project}}:quarantine:payloads`)).toBe(0)
  })

  it('gives what is removed back once', async () => {
    const project = freshProject()
    await quarantine.add(project, [refused(Buffer.from('a')), refused(Buffer.from('b'))])
    const [newest] = await quarantine.list(project, '', 1)
    expect(await quarantine.remove(project, [newest?.id ?? ''])).toBe(1)
    expect(await quarantine.remove(project, [newest?.id ?? ''])).toBe(0)
    expect((await quarantine.after(project, '', 10)).map(({ payload }) => payload)).toEqual(['a'])
  })

  it('keeps what may be a repeat once, and what was sent again as often as it was', async () => {
    const project = freshProject()
    const one = (mayRepeat: boolean, payload = 'a') => refused(Buffer.from(payload), { again: { place: {}, delivery: 'k', mayRepeat } })
    await quarantine.add(project, [one(true), one(true)])
    await quarantine.add(project, [one(false), one(false), one(true)])
    const ids = (await quarantine.list(project, '', 10)).map(({ id }) => id)
    expect(ids).toHaveLength(3)
    // What is gone is no repeat of anything.
    await quarantine.remove(project, ids)
    expect(await server.redis.exists(`t:{${project}}:quarantine:deliveries`)).toBe(0)
    await quarantine.add(project, [one(true)])
    expect(await quarantine.list(project, '', 10)).toHaveLength(1)
  })

  it('writes many in few calls, and lets go of many in several, of which none takes long', async () => {
    const project = freshProject()
    const calls = async () => Number(/cmdstat_evalsha:calls=(\d+)/.exec(await server.redis.info('commandstats'))?.[1] ?? 0)
    const before = await calls()
    const lost = await quarantine.add(
      project,
      Array.from({ length: 10_000 }, () => refused(Buffer.from('x'))),
    )
    const between = await calls()
    expect(between - before).toBeLessThan(150)
    const left = 10_000 - lost
    expect(left).toBeGreaterThan(1000)
    expect(await quarantine.add(project, [refused(Buffer.alloc(2 * 1024 * 1024))])).toBe(left)
    expect((await calls()) - between).toBeGreaterThan(left / 500)
    expect(await quarantine.list(project, '', 10)).toHaveLength(1)
  })
})
