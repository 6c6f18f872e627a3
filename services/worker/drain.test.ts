// Draining a real log with consumers made for it: the place moves with the effects, and accidents change nothing twice.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import type { LogEntry } from '../../packages/log/entry.ts'
import { batchOf, freshProject, installed, openTestRedis, type TestRedis } from '../../packages/log/fixture.ts'
import { projectKey } from '../../packages/log/key.ts'
import { type CommitCommand, Log } from '../../packages/log/log.ts'
import type { ReadingStore } from '../../packages/store/store.ts'
import { type Consumer, Drain, type DrainPorts, entryIdOf } from './drain.ts'
import { storeConsumer } from './store.ts'

describe.skipIf(installed === undefined)('draining', () => {
  let server: TestRedis
  let log: Log
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
    log = new Log(server.redis, ['list'])
  })
  beforeEach(() => {
    project = freshProject()
  })
  afterAll(() => server.stop())

  const append = (...devices: string[]) =>
    log.append(
      project,
      batchOf(
        project,
        devices.map(device => ({ device, timeUs: 1 })),
      ),
    )
  const effects = () => server.redis.lrange(projectKey(project, 'effects'), 0, -1)
  const devicesOf = (entries: readonly LogEntry[]) => entries.flatMap(({ events }) => events.map(({ device }) => device))

  /** Its effect is a list of the devices, and it remembers how many it has taken. */
  function lister(change: Partial<Consumer> = {}): Consumer & { forgotten: number } {
    const consumer = {
      name: 'list',
      forgotten: 0,
      async take(_: string, entries: readonly LogEntry[]): Promise<CommitCommand[]> {
        const devices = devicesOf(entries)
        return devices.length === 0 ? [] : [['RPUSH', projectKey(project, 'effects'), ...devices]]
      },
      forget() {
        consumer.forgotten++
      },
      ...change,
    }
    return consumer
  }

  function portsOf(change: Partial<DrainPorts> = {}) {
    const seen = { wakes: 0, quarantined: [] as string[], reasons: [] as string[], consumed: 0 }
    const ports: DrainPorts = {
      log,
      quarantine: async (_, refused) => {
        for (const { source, reason } of refused) {
          seen.quarantined.push(source.replace('log of device ', ''))
          seen.reasons.push(reason)
        }
      },
      again: () => void seen.wakes++,
      committed: (_, events) => {
        seen.consumed += events
      },
      poisoned: () => {},
      ...change,
    }
    return { ports, seen }
  }

  it('takes everything in the order of the log and leaves its place at the end', async () => {
    for (let i = 0; i < 45; i++) await append(`a${i}`, `b${i}`)
    const { ports, seen } = portsOf()
    const drain = new Drain(ports, lister())
    // On a busy machine it takes more than one slice.
    do await drain.run(project)
    while (entryIdOf(await log.place(project, 'list')) !== (await log.last(project)))
    expect(await effects()).toEqual(Array.from({ length: 45 }, (_, i) => [`a${i}`, `b${i}`]).flat())
    expect(entryIdOf(await log.place(project, 'list'))).toBe(await log.last(project))
    expect(seen.consumed).toBe(90)
  })

  it('goes on from its committed place', async () => {
    const { ports } = portsOf()
    await append('a')
    await new Drain(ports, lister()).run(project)
    await append('b')
    await new Drain(ports, lister()).run(project)
    expect(await effects()).toEqual(['a', 'b'])
  })

  it('lets itself be woken by what is appended while it works', async () => {
    await append('a')
    const woken: string[][] = []
    const consumer = lister({
      async take() {
        if (woken.length === 0) woken.push([...(await append('more')).wake])
        return []
      },
    })
    await new Drain(portsOf().ports, consumer).run(project)
    expect(woken).toEqual([['list']])
  })

  it('goes to the back of the line when its slice is over', async () => {
    for (let i = 0; i < 60; i++) await append(`d${i}`)
    const { ports, seen } = portsOf()
    const busy = lister()
    const take = busy.take
    busy.take = async (...args) => {
      const endMs = performance.now() + 60
      while (performance.now() < endMs);
      return take(...args)
    }
    const drain = new Drain(ports, busy)
    await drain.run(project)
    expect(await effects()).toHaveLength(40)
    expect(seen.wakes).toBe(1)
    await drain.run(project)
    expect(await effects()).toHaveLength(60)
  })

  it('asks for what time brings when the log is drained, until there is nothing', async () => {
    await append('a')
    const rest = ['late', 'later']
    const consumer = lister({
      async idle() {
        const next = rest.shift()
        return next === undefined ? [] : [['RPUSH', projectKey(project, 'effects'), next]]
      },
    })
    await new Drain(portsOf().ports, consumer).run(project)
    expect(await effects()).toEqual(['a', 'late', 'later'])
  })

  it('leaves everything as it is while its store is away, and is not woken again at once', async () => {
    await append('a')
    const { ports, seen } = portsOf()
    const consumer = lister({ take: () => Promise.reject(new Failure('unavailable', 'the store is away')) })
    await expect(new Drain(ports, consumer).run(project)).rejects.toThrow('the store is away')
    expect(await log.place(project, 'list')).toBe('')
    expect(seen.quarantined).toEqual([])
    expect(consumer.forgotten).toBeGreaterThan(0)
    expect((await append('b')).wake).toEqual([])
  })

  it('blames no event for a store that refuses our credentials', async () => {
    await append('a')
    const { ports, seen } = portsOf()
    const store = { write: () => Promise.reject(new Failure('setup', 'TELLTALE_INFLUX_TOKEN: refused')) } as unknown as ReadingStore
    await expect(
      new Drain(
        ports,
        storeConsumer(store, () => {}),
      ).run(project),
    ).rejects.toThrow('refused')
    expect(seen.quarantined).toEqual([])
    expect(await log.place(project, 'store')).toBe('')
  })

  it('blames no event for an outage of Redis', async () => {
    await append('a')
    const { ports, seen } = portsOf()
    const consumer = lister({ take: () => Promise.reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })) })
    await expect(new Drain(ports, consumer).run(project)).rejects.toThrow('ECONNREFUSED')
    expect(seen.quarantined).toEqual([])
    expect(await log.place(project, 'list')).toBe('')
  })

  it('blames no event for what is wrong without any', async () => {
    await append('a')
    const { ports, seen } = portsOf()
    await expect(new Drain(ports, lister({ take: () => Promise.reject(new Error('bad rule')) })).run(project)).rejects.toThrow('bad rule')
    expect(seen.quarantined).toEqual([])
  })

  const poisonedBy = (isBad: (devices: readonly string[]) => boolean) => {
    const consumer = lister()
    const take = consumer.take
    let memory: string[] = []
    consumer.forget = () => {
      memory = []
    }
    // Like the judge it changes what it remembers before it throws.
    consumer.take = async (name, entries, read) => {
      memory.push(...devicesOf(entries))
      if (isBad(memory)) throw new Error('indigestible')
      return take(name, entries, read)
    }
    return consumer
  }

  it.each([
    ['in the middle', ['a', 'x1', 'b', 'c'], ['x1']],
    ['first', ['x1', 'a'], ['x1']],
    ['last', ['a', 'b', 'x1'], ['x1']],
    ['several', ['a', 'x1', 'x2', 'b', 'c', 'd', 'e', 'x3', 'f'], ['x1', 'x2', 'x3']],
    ['the only one', ['x1'], ['x1']],
    ['all', ['x1', 'x2', 'x3'], ['x1', 'x2', 'x3']],
  ])('puts an event that cannot be digested aside, %s, and its neighbours go through', async (_, devices, culprits) => {
    await append(...devices.slice(0, 2))
    if (devices.length > 2) await append(...devices.slice(2))
    const { ports, seen } = portsOf()
    await new Drain(
      ports,
      poisonedBy(taken => taken.some(name => name.startsWith('x'))),
    ).run(project)
    expect(await effects()).toEqual(devices.filter(name => !culprits.includes(name)))
    expect(seen.quarantined).toEqual(culprits)
    expect(seen.reasons[0]).toBe('list could not digest this event: indigestible')
    expect(entryIdOf(await log.place(project, 'list'))).toBe(await log.last(project))
  })

  it('finds an event that is only indigestible after another', async () => {
    await append('a', 'b', 'c', 'd')
    const { ports, seen } = portsOf()
    await new Drain(
      ports,
      poisonedBy(taken => taken.includes('a') && taken.includes('c')),
    ).run(project)
    expect(seen.quarantined).toEqual(['c'])
    expect(await effects()).toEqual(['a', 'b', 'd'])
  })

  it('finds one of 500 without taking each of them alone', async () => {
    await append(...Array.from({ length: 500 }, (_, i) => (i === 321 ? 'x' : `d${i}`)))
    let takes = 0
    const consumer = poisonedBy(taken => taken.includes('x'))
    const take = consumer.take
    consumer.take = (...args) => {
      takes++
      return take(...args)
    }
    const { ports, seen } = portsOf()
    await new Drain(ports, consumer).run(project)
    expect(seen.quarantined).toEqual(['x'])
    expect(await effects()).toHaveLength(499)
    expect(takes).toBeLessThan(40)
  })

  it('has effects once when two workers drain one project at the same time', async () => {
    for (let i = 0; i < 60; i++) await append(`d${i}`)
    const { ports } = portsOf()
    const slow = () => {
      const consumer = lister()
      const take = consumer.take
      consumer.take = async (...args) => {
        await server.redis.ping()
        return take(...args)
      }
      return new Drain(ports, consumer)
    }
    const workers = [slow(), slow(), slow()]
    await Promise.all(workers.map(worker => worker.run(project)))
    for (const worker of workers) await worker.run(project)
    expect(await effects()).toEqual(Array.from({ length: 60 }, (_, i) => `d${i}`))
  })

  it('forgets what it remembers when another worker has committed since', async () => {
    const { ports } = portsOf()
    const [one, other] = [lister(), lister()]
    const [first, second] = [new Drain(ports, one), new Drain(ports, other)]
    await append('a')
    await first.run(project)
    await append('b')
    await first.run(project)
    const before = one.forgotten
    expect(before).toBe(1)
    await append('c')
    await second.run(project)
    await append('d')
    await first.run(project)
    expect(one.forgotten).toBe(before + 1)
    expect(await effects()).toEqual(['a', 'b', 'c', 'd'])
  })

  it('does not say that it committed what another worker has', async () => {
    await append('a')
    const { ports, seen } = portsOf()
    let told = 0
    const consumer = lister({
      async committed() {
        told++
      },
      async take() {
        await log.commit(project, 'list', '', '1-1 1')
        return [['RPUSH', projectKey(project, 'effects'), 'twice']]
      },
    })
    await new Drain(ports, consumer).run(project)
    expect([told, seen.consumed, await effects()]).toEqual([0, 0, []])
  })
})
