// Following the log of a real Redis that is killed meanwhile: everything once, in order.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { batchOf, freshProject, installed, openTestRedis, type TestRedis, until } from './fixture.ts'
import { type FollowPorts, follow } from './follow.ts'
import { Log } from './log.ts'

describe.skipIf(installed === undefined)('a follower', () => {
  let server: TestRedis
  let log: Log
  beforeAll(async () => {
    server = await openTestRedis()
    log = new Log(server.redis, [])
  })
  afterAll(() => server.stop())

  const append = async (project: string, device: string) => (await log.append(project, batchOf(project, [{ device, timeUs: 1 }]))).entryId

  async function start(project: string, change: Partial<FollowPorts> = {}, from?: string) {
    const seen: string[] = []
    const troubles: string[] = []
    const ports: FollowPorts = {
      log,
      connect: () => server.connect(),
      arrived: entries => void seen.push(...entries.flatMap(({ events }) => events.map(({ device }) => device))),
      troubled: error => void troubles.push(error.message),
      ...change,
    }
    const followed = await follow(ports, project, 'log', from)
    onTestFinished(() => followed.stop())
    return { seen, troubles, followed }
  }

  it('is given each entry once, in order, from the moment it begins', async () => {
    const project = freshProject()
    await append(project, 'before')
    const { seen, followed } = await start(project)
    const names = Array.from({ length: 120 }, (_, i) => `d${i}`)
    let last: string | undefined
    for (const name of names) last = await append(project, name)
    await until('all of them', () => seen.length >= 120)
    expect(seen).toEqual(names)
    expect(followed.position()).toBe(last)
  })

  it('begins after an entry when it is told one', async () => {
    const project = freshProject()
    const first = await append(project, 'a')
    await append(project, 'b')
    const { seen } = await start(project, {}, first)
    await until('the second', () => seen.length === 1)
    expect(seen).toEqual(['b'])
  })

  it('is given again what it could not take, and nothing else before that', async () => {
    const project = freshProject()
    const taken: string[] = []
    let refusals = 2
    const { troubles } = await start(project, {
      arrived: async entries => {
        if (refusals-- > 0) throw new Error('not now')
        taken.push(...entries.flatMap(({ events }) => events.map(({ device }) => device)))
      },
    })
    await append(project, 'a')
    await append(project, 'b')
    await until('both', () => taken.length === 2)
    expect(taken).toEqual(['a', 'b'])
    expect(troubles).toEqual(['not now', 'not now'])
  })

  it('loses nothing and repeats nothing when Redis is killed and comes back', async () => {
    const project = freshProject()
    const { seen } = await start(project)
    const sent: string[] = []
    for (let i = 0; i < 30; i++) {
      await append(project, `d${i}`)
      sent.push(`d${i}`)
      if (i === 10 || i === 20) server.signal('SIGKILL')
    }
    await until('all of them', () => seen.length >= 30, 10_000)
    expect(seen).toEqual(sent)
  })

  it('stops at once while it waits for an entry', async () => {
    const { followed } = await start(freshProject())
    const startedMs = performance.now()
    await followed.stop()
    expect(performance.now() - startedMs).toBeLessThan(500)
  })

  it('hands over nothing after it has stopped', async () => {
    const project = freshProject()
    const { seen, followed } = await start(project)
    await followed.stop()
    await append(project, 'late')
    await append(project, 'later')
    expect(seen).toEqual([])
  })
})
