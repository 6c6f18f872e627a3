// The embedded server through stops, kills, damage and the death of its owner.
import { once } from 'node:events'
import { mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { chooseLeash, type Leash } from './child.ts'
import { connectRedis, type RedisClient } from './connection.ts'
import { installed, keepLog, newDirectory, send, start, startParent, until } from './fixture.ts'
import { probe } from './probe.ts'
import { identify, isAlive, type ProcessIdentity } from './process.ts'

const leashes: Leash[] = (await chooseLeash()) === 'setpriv' ? ['setpriv', 'watcher'] : ['watcher']

async function producer(path: string): Promise<RedisClient> {
  const client = await connectRedis({ path }, { name: 'test', patience: 'producer', log: keepLog() })
  onTestFinished(() => client.disconnect())
  return client
}

const answers = (client: RedisClient) =>
  client.ping().then(
    () => true,
    () => false,
  )
const numberIn = (line: string) => Number(line.split(' ')[1])
const serverOf = (line: string): ProcessIdentity => identify(numberIn(line))

async function lastAppendFile(dir: string): Promise<string> {
  const files = (await readdir(join(dir, 'appendonlydir'))).filter(name => name.endsWith('.incr.aof')).sort()
  return join(dir, 'appendonlydir', files.at(-1) ?? '')
}

describe.skipIf(installed === undefined)('the embedded Redis', () => {
  it('starts on a socket that only its owner can reach, and on no port', async () => {
    const dir = await newDirectory()
    const redis = await start(join(dir, 'redis'))
    expect((await stat(join(dir, 'redis'))).mode & 0o777).toBe(0o700)
    expect((await stat(redis.path)).mode & 0o777).toBe(0o700)
    const client = await producer(redis.path)
    expect(await client.config('GET', 'port')).toEqual(['port', '0'])
    expect(await client.config('GET', 'appendfsync')).toEqual(['appendfsync', 'always'])
    expect(await client.config('GET', 'maxmemory')).toEqual(['maxmemory', '100000000'])
  })

  it('keeps its data over stop and start', async () => {
    const dir = await newDirectory()
    const first = await start(dir)
    await (await producer(first.path)).set('kept', 'yes')
    await Promise.all([first.stop(), first.stop()])
    expect(first.pid()).toBeUndefined()
    const second = await start(dir)
    expect(await (await producer(second.path)).get('kept')).toBe('yes')
  })

  it('works in a directory whose name is too long for a socket', async () => {
    const dir = join(await newDirectory(), 'x'.repeat(120))
    const redis = await start(dir)
    expect(await answers(await producer(redis.path))).toBe(true)
    await redis.stop()
    await expect(stat(join(redis.path, '..'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('is started again after a kill -9, with everything acknowledged, and the same client goes on within 3 s', async () => {
    const log = keepLog()
    const redis = await start(await newDirectory(), { log })
    const client = await producer(redis.path)
    for (let round = 1; round <= 2; round++) {
      const killed = redis.pid()
      await client.set('round', round)
      send(redis, 'SIGKILL')
      await until('the client fails', async () => !(await answers(client)))
      await until('the client works again', () => answers(client), 3000)
      expect(redis.pid()).not.toBe(killed)
      expect(await client.get('round')).toBe(String(round))
    }
    expect(log.lines.filter(line => line.message === 'redis ended unexpectedly, starting it again')).toHaveLength(2)
  })

  it('is not started again when it is stopped while it is down', async () => {
    const log = keepLog()
    const redis = await start(await newDirectory(), { log })
    send(redis, 'SIGKILL')
    await until('it is noticed', () => log.lines.length > 0)
    await redis.stop()
    expect(redis.pid()).toBeUndefined()
    expect(await probe(redis.path)).toEqual({ state: 'away' })
  })

  it('starts with an append-only file that a crash cut in the middle of a record', async () => {
    const dir = await newDirectory()
    const redis = await start(dir)
    const client = await producer(redis.path)
    await client.set('before', 'x')
    await client.set('last', 'y')
    await redis.stop()
    const file = await lastAppendFile(dir)
    await truncate(file, (await stat(file)).size - 5)
    const again = await producer((await start(dir)).path)
    expect(await again.mget('before', 'last')).toEqual(['x', null])
  })

  it('refuses to start, with the reason of Redis, when its data is damaged', async () => {
    const dir = await newDirectory()
    const redis = await start(dir)
    await (await producer(redis.path)).set('a', 'b')
    await redis.stop()
    const file = await lastAppendFile(dir)
    await writeFile(file, `garbage${await readFile(file, 'utf8')}`)
    await expect(start(dir)).rejects.toMatchObject({ code: 'setup', message: expect.stringMatching(/Bad file format/) })
  })

  it('refuses a Redis 6 on the data of a Redis 7, which it would not see', async () => {
    const dir = await newDirectory()
    await mkdir(join(dir, 'appendonlydir'))
    const binary = { command: ['redis-server'], version: '6.2.14' } as const
    await expect(start(dir, { binary })).rejects.toMatchObject({ code: 'setup', message: expect.stringContaining('Redis 7') })
  })

  it('says what is wrong when its program cannot be run', async () => {
    const binary = { command: ['/no/such/redis-server'], version: '7.0.0' } as const
    for (const leash of leashes)
      await expect(start(await newDirectory(), { binary, leash })).rejects.toMatchObject({
        code: 'setup',
        message: expect.stringContaining('/no/such'),
      })
  })

  it('refuses a directory in which a living process runs one', async () => {
    const dir = await newDirectory()
    const redis = await start(dir)
    await expect(start(dir)).rejects.toMatchObject({ code: 'setup', message: expect.stringContaining(`process ${process.pid}`) })
    expect(await answers(await producer(redis.path))).toBe(true)
  })

  it('ends within the limit when it is frozen', { timeout: 20_000 }, async () => {
    const redis = await start(await newDirectory())
    send(redis, 'SIGSTOP')
    const startedAt = performance.now()
    await redis.stop()
    expect(performance.now() - startedAt).toBeLessThan(11_000)
  })
})

describe.skipIf(installed === undefined).each(leashes)('the embedded Redis and its owner, held by %s', leash => {
  it('dies with an owner killed by kill -9, and the next start finds everything that was acknowledged', async () => {
    const dir = await newDirectory()
    const parent = startParent(dir, leash)
    const server = serverOf(await parent.line('server'))
    await parent.line('acked 200')
    parent.process.kill('SIGKILL')
    await once(parent.process, 'close')
    const acked = numberIn(parent.said.at(-1) ?? '')
    const redis = await start(join(dir, 'redis'), { leash })
    expect(isAlive(server)).toBe(false)
    expect(await (await producer(redis.path)).llen('list')).toBeGreaterThanOrEqual(acked)
  })

  it('ends an orphan that does not end by itself', async () => {
    const dir = await newDirectory()
    const parent = startParent(dir, leash)
    const server = serverOf(await parent.line('server'))
    await parent.line('acked 20')
    process.kill(server.pid, 'SIGSTOP')
    parent.process.kill('SIGKILL')
    await once(parent.process, 'exit')
    expect(isAlive(server)).toBe(true)
    const starting = start(join(dir, 'redis'), { leash })
    process.kill(server.pid, 'SIGCONT')
    expect(await answers(await producer((await starting).path))).toBe(true)
    expect(isAlive(server)).toBe(false)
  })

  it('outlives a Ctrl-C, which a terminal sends to the whole process group, until its owner has drained', async () => {
    const parent = startParent(await newDirectory(), leash)
    const server = serverOf(await parent.line('server'))
    await parent.line('acked 10')
    parent.interruptGroup()
    await parent.line('interrupted')
    const before = parent.said.length
    await until('it goes on answering', () => parent.said.length > before + 20)
    parent.process.kill('SIGTERM')
    expect(await once(parent.process, 'exit')).toEqual([0, null])
    expect(isAlive(server)).toBe(false)
  })
})
