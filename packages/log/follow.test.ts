// Following the log of a real Redis that is killed meanwhile: everything once, in order.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { LogEntry } from './entry.ts'
import { batchOf, freshProject, installed, openTestRedis, type TestRedis, until } from './fixture.ts'
import { type Follower, Followers, type FollowPorts } from './follow.ts'
import { projectKey } from './key.ts'
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

  async function start(project: string, change: Partial<Follower & FollowPorts> = {}, from?: string) {
    const seen: string[] = []
    const troubles: string[] = []
    const { log: itsLog, retryMs, connect, ...rest } = change
    const followers = new Followers({
      log: itsLog ?? log,
      connect: connect ?? (() => server.connect()),
      troubled: error => void troubles.push(error.message),
      ...(retryMs === undefined ? {} : { retryMs }),
    })
    const follower: Follower = {
      arrived: entries => void seen.push(...entries.flatMap(({ events }) => events.map(({ device }) => device))),
      jumped: to => void seen.push(`jumped ${to}`),
      ...rest,
    }
    const followed = await followers.follow(project, 'log', follower, from)
    onTestFinished(() => followed.stop())
    return { seen, troubles, followed, followers }
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
    expect(troubles).toEqual(['not now'])
  })

  it('is told what was trimmed before it could read it', async () => {
    const project = freshProject()
    let go = () => {}
    const held = new Promise<void>(resolve => {
      go = resolve
    })
    const seen: string[] = []
    const arrived = async (entries: readonly LogEntry[]) => {
      for (const { events } of entries) seen.push(...events.map(({ device }) => device))
      await held
    }
    await start(project, { arrived, jumped: to => void seen.push(to) })
    await append(project, 'a')
    await until('the first', () => seen.length === 1)
    const gone = await append(project, 'b')
    await log.trim(project, (await append(project, 'c')) as string)
    go()
    await until('the last', () => seen.includes('c'))
    expect(seen).toEqual(['a', gone, 'c'])
  })

  it('is told of it also when more is trimmed right behind its read', async () => {
    const project = freshProject()
    const from = (await append(project, 'a')) as string
    await append(project, 'b')
    await log.trim(project, (await append(project, 'c')) as string)
    let isTrimmed = false
    const trimming = {
      last: log.last.bind(log),
      unblock: log.unblock.bind(log),
      trimmed: async (...asked: Parameters<Log['trimmed']>) => {
        if (!isTrimmed) await log.trim(project, (await append(project, 'd')) as string)
        isTrimmed = true
        return log.trimmed(...asked)
      },
    }
    const { seen } = await start(project, { log: trimming }, from)
    await until('the last', () => seen.includes('d'))
    expect(seen).toEqual([`jumped ${await log.trimmed(project)}`, 'd'])
  })

  it('says each reason once, and that it is stuck when it fails again and again at one place', async () => {
    const project = freshProject()
    const stuck: string[] = []
    const { troubles } = await start(project, { stuck: error => void stuck.push(error.message), retryMs: 1 })
    await server.redis.xadd(projectKey(project, 'log'), '*', 'no', 'entry')
    await until('it is stuck', () => stuck.length > 1)
    expect(troubles).toEqual([expect.stringMatching(/^log entry .* has no field i$/)])
    expect(new Set(stuck)).toEqual(new Set(troubles))
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

  describe('of many streams', () => {
    async function startMany(count: number) {
      let connections = 0
      const seen = new Map<string, string[]>()
      const followers = new Followers({
        log,
        connect: () => {
          connections++
          return server.connect()
        },
        troubled: error => expect(error).toBeUndefined(),
      })
      const start = async (project: string, hold: () => Promise<void> | void = () => {}) => {
        const own: string[] = []
        seen.set(project, own)
        const arrived = async (entries: readonly LogEntry[]) => {
          own.push(...entries.flatMap(({ events }) => events.map(({ device }) => device)))
          await hold()
        }
        const followed = await followers.follow(project, 'log', { arrived, jumped: () => {} })
        onTestFinished(() => followed.stop())
        return followed
      }
      const projects = Array.from({ length: count }, () => freshProject())
      const follows = await Promise.all(projects.map(project => start(project)))
      return { projects, follows, start, seen, connections: () => connections }
    }

    it('reads them on few connections, each in order', async () => {
      const { projects, seen, connections } = await startMany(120)
      expect(connections()).toBe(3)
      const names = Array.from({ length: 10 }, (_, i) => `d${i}`)
      await Promise.all(
        projects.map(async project => {
          for (const name of names) await append(project, name)
        }),
      )
      await until('all of them', () => projects.every(project => seen.get(project)?.length === 10), 10_000)
      for (const project of projects) expect(seen.get(project)).toEqual(names)
    })

    it('goes on at once with one that came later, and is not held up by one that takes its time', async () => {
      const { projects, start, seen } = await startMany(3)
      let go = () => {}
      const held = new Promise<void>(resolve => {
        go = resolve
      })
      const [slow, late] = [freshProject(), freshProject()]
      await start(slow, () => held)
      await append(slow, 'first')
      await until('the slow one has it', () => seen.get(slow)?.length === 1)
      await append(slow, 'second')
      const startedMs = performance.now()
      await start(late)
      for (const project of [...projects, late]) {
        await append(project, 'quick')
        await until('the others have it', () => seen.get(project)?.length === 1, 1000)
      }
      go()
      await until('and then the slow one', () => seen.get(slow)?.length === 2, 1000)
      // Each wait would else last until the read returns by itself.
      expect(performance.now() - startedMs).toBeLessThan(1900)
    })

    it('gives one that has stopped nothing, and closes a connection with the last on it', async () => {
      const { projects, follows, seen, connections, start } = await startMany(2)
      await follows[0]?.stop()
      for (const project of projects) await append(project, 'late')
      await until('the other has it', () => seen.get(projects[1] ?? '')?.length === 1)
      expect(seen.get(projects[0] ?? '')).toEqual([])
      await follows[1]?.stop()
      const again = freshProject()
      await start(again)
      await append(again, 'new')
      await until('it is read', () => seen.get(again)?.length === 1)
      expect(connections()).toBe(2)
    })

    it('loses and repeats nothing when Redis is killed and comes back', async () => {
      const { projects, seen } = await startMany(5)
      const sent: string[] = []
      for (let i = 0; i < 12; i++) {
        for (const project of projects) await append(project, `d${i}`)
        sent.push(`d${i}`)
        if (i === 4 || i === 8) server.signal('SIGKILL')
      }
      await until('all of them', () => projects.every(project => (seen.get(project)?.length ?? 0) >= 12), 10_000)
      for (const project of projects) expect(seen.get(project)).toEqual(sent)
    })
  })
})
