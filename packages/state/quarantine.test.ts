// The quarantine on a real Redis: what is kept of refused input, and that it cannot fill the memory.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { Quarantine } from './quarantine.ts'

describe.skipIf(installed === undefined)('the quarantine', () => {
  let server: TestRedis
  let quarantine: Quarantine
  beforeAll(async () => {
    server = await openTestRedis()
    quarantine = new Quarantine(server.redis)
  })
  afterAll(() => server.stop())

  const refused = (payload: Buffer) => ({ source: 'd/a/temperature', keyId: 'key', field: 'data', reason: 'no', payload })

  it('shows text as text and other bytes as base64, the newest first', async () => {
    const project = freshProject()
    await quarantine.add(project, [refused(Buffer.from('æ{')), refused(Buffer.from([0xff, 0x00]))])
    const [bytes, text] = await quarantine.list(project, '', 10)
    expect([text?.encoding, text?.payload, bytes?.encoding, bytes?.payload]).toEqual(['utf8', 'æ{', 'base64', '/wA='])
  })

  it('lets go of the oldest beyond its share of memory, and of nothing below it', async () => {
    const project = freshProject()
    const payloads = Array.from({ length: 400 }, (_, i) => Buffer.from(`${i} ${'x'.repeat(16_000)}`))
    await quarantine.add(project, payloads.map(refused))
    await quarantine.trim(project, 64 * 1024 * 1024)
    expect(await quarantine.list(project, '', 1000)).toHaveLength(400)
    await quarantine.trim(project, 1024 * 1024)
    const left = await quarantine.list(project, '', 1000)
    expect(left.length).toBeGreaterThan(20)
    expect(left.length).toBeLessThan(100)
    expect(left[0]?.payload.startsWith('399 ')).toBe(true)
  })

  it('knows what it takes also when what is refused has become much larger', async () => {
    const project = freshProject()
    await quarantine.add(
      project,
      Array.from({ length: 2000 }, () => refused(Buffer.from('x'.repeat(100)))),
    )
    await quarantine.add(
      project,
      Array.from({ length: 400 }, () => refused(Buffer.from('x'.repeat(16_000)))),
    )
    await quarantine.trim(project, 1024 * 1024)
    expect((await quarantine.list(project, '', 5000)).length).toBeLessThan(500)
  })
})
