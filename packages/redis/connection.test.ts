// The connection policy against a real server that is stopped, killed, frozen and full.
import { Queue, Worker } from 'bullmq'
import type { Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connectRedis, type Patience, type RedisClient } from './connection.ts'
import { translate } from './failure.ts'
import { installed, keepLog, newDirectory, send, start, until } from './fixture.ts'

const failed = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no failure',
    error => translate(error),
  )

async function connect(path: string, patience: Patience, log = keepLog()): Promise<RedisClient> {
  const client = await connectRedis({ path }, { name: patience, patience, log })
  onTestFinished(() => client.disconnect())
  return client
}

async function timed<T>(work: Promise<T>): Promise<[T, number]> {
  const startedAt = performance.now()
  return [await work, performance.now() - startedAt]
}

const UNAVAILABLE = { name: 'Failure', code: 'unavailable', retryAfterMs: expect.any(Number) }

describe.skipIf(installed === undefined)('a producer', () => {
  it('fails at once while Redis is away, and says so once in the log however often it tries', async () => {
    const log = keepLog()
    const redis = await start(await newDirectory())
    const client = await connect(redis.path, 'producer', log)
    let attempts = 0
    client.on('reconnecting', () => attempts++)
    await redis.stop()
    await until('the connection is lost', () => client.status !== 'ready')
    for (let i = 0; i < 50; i++) {
      const [failure, tookMs] = await timed(failed(client.set('a', 'b')))
      expect(failure).toMatchObject(UNAVAILABLE)
      expect(tookMs).toBeLessThan(100)
    }
    await until('it has tried again several times', () => attempts > 4)
    expect(log.lines.map(line => line.message)).toEqual(['redis connection lost, trying again'])
  })

  it('fails what is under way when Redis is killed, and does not send it again', async () => {
    const redis = await start(await newDirectory())
    const client = await connect(redis.path, 'producer')
    send(redis, 'SIGSTOP')
    const appends = Array.from({ length: 20 }, () => failed(client.rpush('list', 'x')))
    send(redis, 'SIGKILL')
    for (const failure of await Promise.all(appends)) expect(failure).toMatchObject(UNAVAILABLE)
    await until('it works again', async () => (await failed(client.ping())) === 'no failure', 3000)
    expect(await client.llen('list')).toBe(0)
  })

  it('fails within about 2 s while Redis is frozen, then at once, queues nothing, and works again after the thaw', async () => {
    const redis = await start(await newDirectory())
    const client = (await connect(redis.path, 'producer')) as Redis
    send(redis, 'SIGSTOP')
    onTestFinished(() => send(redis, 'SIGCONT'))
    const [failures, tookMs] = await timed(Promise.all(Array.from({ length: 100 }, () => failed(client.set('a', 'b')))))
    for (const failure of failures) expect(failure).toMatchObject(UNAVAILABLE)
    expect(tookMs).toBeLessThan(2500)
    await until('it has given up the connection', () => client.status !== 'ready')
    const [failure, againMs] = await timed(failed(client.set('a', 'b')))
    expect(failure).toMatchObject(UNAVAILABLE)
    expect(againMs).toBeLessThan(100)
    send(redis, 'SIGCONT')
    await until('it works again', async () => (await failed(client.ping())) === 'no failure', 3000)
  })

  it('is told that the memory is full, also from a script and a transaction', async () => {
    const redis = await start(await newDirectory())
    const client = (await connect(redis.path, 'producer')) as Redis
    await client.config('SET', 'maxmemory', '1')
    const full = { ...UNAVAILABLE, message: expect.stringContaining('memory') }
    expect(await failed(client.set('a', 'b'))).toMatchObject(full)
    expect(await failed(client.eval('return redis.call("SET", KEYS[1], 1)', 1, 'a'))).toMatchObject(full)
    expect(await failed(client.multi().set('a', 'b').exec())).toMatchObject(full)
  })

  it('gets an error of its own making back as it is', async () => {
    const client = await connect((await start(await newDirectory())).path, 'producer')
    await client.set('text', 'x')
    const error = await failed(client.rpush('text', 'y'))
    expect(error).toMatchObject({ name: 'ReplyError', message: expect.stringContaining('WRONGTYPE') })
  })
})

describe.skipIf(installed === undefined)('those that wait', () => {
  it('a worker gets its answer after Redis is back', async () => {
    const redis = await start(await newDirectory())
    const client = await connect(redis.path, 'worker')
    await client.set('a', 'b')
    send(redis, 'SIGKILL')
    await until('the connection is lost', () => client.status !== 'ready')
    expect(await client.get('a')).toBe('b')
  })

  it('a worker that blocks is not taken for dead', async () => {
    const client = await connect((await start(await newDirectory())).path, 'worker')
    expect(await client.blpop('empty', 3)).toBeNull()
  })

  it('a subscriber hears again after Redis is back', async () => {
    const redis = await start(await newDirectory())
    const subscriber = await connect(redis.path, 'subscriber')
    const client = await connect(redis.path, 'worker')
    const heard: string[] = []
    subscriber.on('message', (_channel: string, text: string) => heard.push(text))
    await subscriber.subscribe('news')
    send(redis, 'SIGKILL')
    await until('it hears', async () => {
      await client.publish('news', 'x')
      return heard.length > 0
    })
  })

  it('BullMQ works on a producer and a worker, through a kill -9 of Redis', async () => {
    const redis = await start(await newDirectory())
    const queue = new Queue('q', { connection: await connect(redis.path, 'producer') })
    const complaints: Error[] = []
    queue.on('error', error => complaints.push(error))
    const seen: unknown[] = []
    const worker = new Worker('q', async job => void seen.push(job.data), { connection: await connect(redis.path, 'worker') })
    worker.on('error', error => complaints.push(error))
    onTestFinished(async () => {
      await worker.close(true)
      await queue.close()
    })
    await queue.add('a', 1)
    await until('the first job is done', () => seen.length === 1)
    send(redis, 'SIGKILL')
    await until('a job is accepted again', async () => (await failed(queue.add('a', 2))) === 'no failure', 3000)
    await until('it is done', () => seen.includes(2))
    // A worker whose answer came after its lock had run out is told so: the job runs once more, as BullMQ promises.
    const others = complaints.filter(({ message }) => !message.startsWith('Missing lock for job'))
    for (const complaint of others) expect(translate(complaint)).toMatchObject(UNAVAILABLE)
  })
})
