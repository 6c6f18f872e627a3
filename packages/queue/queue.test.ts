// Wakes, leases, the sweep and deliveries on a real Redis, with several holders of which one is killed.
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../log/fixture.ts'
import { openLogger } from '../runtime/logger.ts'
import { Leases } from './lease.ts'
import { Deliveries, type DeliveryJob, type DeliveryVerdict, drainQueueName, partitionOf, startDrains, startSweep, Wakes } from './queue.ts'

describe('a partition', () => {
  it('is the same for a project at any time, and none is left out', () => {
    expect(partitionOf('default', 4)).toBe(partitionOf('default', 4))
    expect(new Set(Array.from({ length: 200 }, (_, i) => partitionOf(`p${i}`, 4)))).toEqual(new Set([0, 1, 2, 3]))
  })
})

describe.skipIf(installed === undefined)('the queue', () => {
  let server: TestRedis
  const log = openLogger('silent')
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())
  const ports = () => ({ redis: server.redis, log })

  async function wakesOf(consumer: string, paceMs = 0) {
    const wakes = new Wakes(ports(), { [consumer]: paceMs }, 1)
    await wakes.prepare()
    onTestFinished(() => wakes.close())
    return wakes
  }

  it('runs a drain for a wake', async () => {
    const wakes = await wakesOf('one')
    const drained: string[] = []
    const running = startDrains(ports(), drainQueueName('one', 0), async project => void drained.push(project))
    onTestFinished(() => running.stop())
    wakes.wake('p', 'one')
    wakes.again('q', 'one')
    await until('both', () => drained.length === 2)
    expect(drained.toSorted()).toEqual(['p', 'q'])
  })

  it('wakes one project no more often than its pace, and loses no wake', async () => {
    const wakes = await wakesOf('paced', 300)
    const drainedMs: number[] = []
    const running = startDrains(ports(), drainQueueName('paced', 0), async () => void drainedMs.push(performance.now()))
    onTestFinished(() => running.stop())
    wakes.wake('p', 'paced')
    await until('the first', () => drainedMs.length === 1)
    wakes.wake('p', 'paced')
    await until('the second', () => drainedMs.length === 2)
    expect((drainedMs[1] as number) - (drainedMs[0] as number)).toBeGreaterThan(200)
  })

  it('drains one queue in one place at a time, whoever works on it', async () => {
    const wakes = await wakesOf('single')
    let inside = 0
    let most = 0
    let drained = 0
    const work = async () => {
      most = Math.max(most, ++inside)
      await server.redis.ping()
      inside--
      drained++
    }
    const workers = [1, 2, 3].map(() => startDrains(ports(), drainQueueName('single', 0), work))
    onTestFinished(() => Promise.all(workers.map(worker => worker.stop())).then(() => undefined))
    for (let i = 0; i < 30; i++) wakes.wake(`p${i}`, 'single')
    await until('all', () => drained === 30, 10_000)
    expect(most).toBe(1)
  })

  it('goes on after a drain that failed', async () => {
    const wakes = await wakesOf('failing')
    const drained: string[] = []
    const running = startDrains(ports(), drainQueueName('failing', 0), async project => {
      drained.push(project)
      if (project === 'bad') throw new Error('no')
    })
    onTestFinished(() => running.stop())
    wakes.wake('bad', 'failing')
    wakes.wake('good', 'failing')
    await until('both', () => drained.length === 2)
  })

  it('sweeps again and again, in one place of several', async () => {
    const swept: number[] = []
    let inside = 0
    const sweep = async () => {
      expect(++inside).toBe(1)
      swept.push(performance.now())
      await server.redis.ping()
      inside--
    }
    const sweeps = [await startSweep(ports(), 100, sweep), await startSweep(ports(), 100, sweep)]
    onTestFinished(() => Promise.all(sweeps.map(one => one.stop())).then(() => undefined))
    await until('five rounds', () => swept.length >= 5)
    expect((swept[4] as number) - (swept[0] as number)).toBeGreaterThan(250)
  })

  describe('a delivery', () => {
    function start(attempt: (job: DeliveryJob) => Promise<DeliveryVerdict | undefined>) {
      const deliveries = new Deliveries(ports())
      const running = deliveries.start(attempt, 10)
      onTestFinished(async () => {
        await running.stop()
        await deliveries.close()
      })
      return deliveries
    }
    const job = (id: string) => ({ id, data: { project: 'p', delivery: id } })

    it('is attempted once however often it is added, and again after the time it was given', async () => {
      const name = freshProject()
      const attempts: string[] = []
      const times: number[] = []
      const deliveries = start(async ({ delivery }) => {
        attempts.push(delivery)
        if (delivery !== name) return undefined
        times.push(performance.now())
        return times.length === 1 ? { retry: true, afterMs: 300 } : undefined
      })
      for (let i = 0; i < 3; i++) await deliveries.add([job(name), job(`${name}-other`)])
      await until('the second attempt', () => times.length === 2)
      expect((times[1] as number) - (times[0] as number)).toBeGreaterThan(250)
      await deliveries.add([job(name), job(`${name}-other`), job(`${name}-last`)])
      await until('the last', () => attempts.includes(`${name}-last`))
      expect(attempts.toSorted()).toEqual([name, name, `${name}-last`, `${name}-other`])
    })

    it('that failed for good is not attempted again', async () => {
      const name = freshProject()
      const attempts: string[] = []
      const deliveries = start(async ({ delivery }) => {
        attempts.push(delivery)
        return delivery === name ? { retry: false, reason: 'gone' } : undefined
      })
      await deliveries.add([job(name)])
      await until('the attempt', () => attempts.length === 1)
      await deliveries.add([job(name), job(`${name}-next`)])
      await until('the next', () => attempts.includes(`${name}-next`))
      expect(attempts.filter(id => id === name)).toHaveLength(1)
    })

    it('that waits can be hastened', async () => {
      const name = freshProject()
      let attempts = 0
      const deliveries = start(async ({ delivery }) => {
        if (delivery !== name) return undefined
        return ++attempts === 1 ? { retry: true, afterMs: 60_000 } : undefined
      })
      await deliveries.add([job(name)])
      await until('the second attempt', async () => {
        await deliveries.hasten(name)
        return attempts === 2
      })
    })
  })
})

describe.skipIf(installed === undefined)('leases', () => {
  const log = openLogger('silent')
  const names = Array.from({ length: 8 }, (_, i) => `lease-${i}`)

  async function openServer(): Promise<TestRedis> {
    const server = await openTestRedis()
    onTestFinished(() => server.stop())
    return server
  }

  function holder(server: TestRedis) {
    const open = new Set<string>()
    const leases = new Leases(server.redis, log, names, name => {
      open.add(name)
      return { stop: async () => void open.delete(name) }
    })
    return { leases, open }
  }

  it('are all held by one, shared with a second, and given back when it stops', async () => {
    const server = await openServer()
    const [one, two] = [holder(server), holder(server)]
    await one.leases.start()
    expect(one.leases.held).toHaveLength(8)
    await two.leases.start()
    await until('equal shares', () => one.open.size === 4 && two.open.size === 4, 5000)
    expect(new Set([...one.open, ...two.open]).size).toBe(8)
    await one.leases.stop()
    expect(one.open.size).toBe(0)
    await until('all of them', () => two.open.size === 8, 4000)
    await two.leases.stop()
    expect(await server.redis.keys('t:lease:*')).toEqual([])
  })

  it('and drains of a process that was killed go to another within about five seconds', async () => {
    const server = await openServer()
    const killed = startHolder(server.redis.options.path as string)
    await killed.says('working')
    const drained: string[] = []
    const ports = { redis: server.redis, log }
    const leases = new Leases(server.redis, log, ['killed-0'], name =>
      startDrains(ports, name, async project => void drained.push(project)),
    )
    await leases.start()
    onTestFinished(() => leases.stop())
    expect(leases.held).toEqual([])
    killed.process.kill('SIGKILL')
    const killedMs = performance.now()
    await until('the drain that was cut off', () => drained.includes('p'), 10_000)
    expect(performance.now() - killedMs).toBeLessThan(6000)
  })

  /** A process that holds the lease of `killed-0` and is in the midst of a drain that never ends. */
  function startHolder(path: string): { process: ChildProcess; says(line: string): Promise<void> } {
    const code = `
      const { Redis } = await import('ioredis')
      const { Leases } = await import(${JSON.stringify(new URL('./lease.ts', import.meta.url).href)})
      const { startDrains, Wakes } = await import(${JSON.stringify(new URL('./queue.ts', import.meta.url).href)})
      const { openLogger } = await import(${JSON.stringify(new URL('../runtime/logger.ts', import.meta.url).href)})
      const redis = new Redis({ path: ${JSON.stringify(path)}, maxRetriesPerRequest: null })
      const ports = { redis, log: openLogger('silent') }
      const leases = new Leases(redis, ports.log, ['killed-0'], name => startDrains(ports, name, () => {
        console.log('working')
        return new Promise(() => {})
      }))
      await leases.start()
      const wakes = new Wakes(ports, { killed: 0 }, 1)
      await wakes.prepare()
      wakes.wake('p', 'killed')`
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
    onTestFinished(() => void child.kill('SIGKILL'))
    const said: string[] = []
    createInterface({ input: child.stdout }).on('line', line => said.push(line))
    return { process: child, says: line => until(`the process says ${line}`, () => said.includes(line), 15_000) }
  }
})
