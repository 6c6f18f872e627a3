// The audit in Redis: bounded, newest first, and what was refused pushes nothing out that was done.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { projectKey } from '../log/key.ts'
import { Audit, isRecordId } from './audit.ts'
import type { Scope } from './registry.ts'

describe.skipIf(installed === undefined)('the audit', () => {
  let server: TestRedis
  let audit: Audit
  let project: string
  let scope: Scope
  beforeAll(async () => {
    server = await openTestRedis()
    audit = new Audit(server.redis)
  })
  beforeEach(() => {
    project = freshProject()
    scope = `projects/${project}`
  })
  afterAll(() => server.stop())

  const entry = (path: string, status = 200) => ({
    keyId: 'k',
    account: 'me',
    method: 'POST',
    path,
    resource: '',
    status,
    requestId: 'r',
  })
  const pages = async (limit: number) => {
    const found: string[] = []
    for (let before = ''; ; ) {
      const page = await audit.list(scope, before, limit)
      found.push(...page.map(({ path }) => path))
      if (page.length < limit) return found
      before = page.at(-1)?.id ?? ''
      expect(isRecordId(before)).toBe(true)
    }
  }

  it('keeps what was done, however much is refused', async () => {
    await audit.add(scope, entry('/done'))
    await Promise.all(Array.from({ length: 15_000 }, (_, i) => audit.add(scope, entry(`/refused/${i}`, 403))))
    const found = await pages(100)
    expect(found).toContain('/done')
    expect(found.length).toBeLessThan(1300)
  })

  it('lists what was done and what was refused in the order of time, each once, on pages of any size', async () => {
    const all: string[] = []
    for (let i = 0; i < 30; i++) {
      await audit.add(scope, entry(`/${i}`, i % 3 === 0 ? 404 : 200))
      all.unshift(`/${i}`)
    }
    for (const limit of [1, 2, 7, 100]) {
      const found = await pages(limit)
      expect(found).toHaveLength(30)
      expect(new Set(found)).toEqual(new Set(all))
    }
    const times = (await audit.list(scope, '', 100)).map(({ time }) => time)
    expect(times).toEqual(times.toSorted().toReversed())
  })

  it('loses none of two that have the same place', async () => {
    const fields = (path: string, status: string) => ['path', path, 'status', status]
    for (const place of ['5-0', '6-0']) {
      await server.redis.xadd(projectKey(project, 'audit'), place, ...fields(`/done/${place}`, '200'))
      await server.redis.xadd(projectKey(project, 'frequent'), place, ...fields(`/refused/${place}`, '403'))
    }
    for (const limit of [1, 2, 3]) expect(await pages(limit)).toEqual(['/done/6-0', '/refused/6-0', '/done/5-0', '/refused/5-0'])
  })
})
