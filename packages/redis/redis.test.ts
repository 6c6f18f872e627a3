// Opening Redis: our own, somebody else's, a Cluster.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connectRedis } from './connection.ts'
import { translate } from './failure.ts'
import { installed, type KeptLog, keepLog, newDirectory, until } from './fixture.ts'
import { type OpenOptions, type OpenRedis, openRedis } from './redis.ts'

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

type Server = { readonly port: number; kill(signal: NodeJS.Signals): void }

/** A server that is not ours, as somebody else would run it. */
async function foreign(...settings: string[]): Promise<Server> {
  const port = await freePort()
  const dir = await newDirectory()
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', ...settings]
  const server = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = once(server, 'close')
  onTestFinished(async () => {
    server.kill('SIGKILL')
    await closed
  })
  let said = ''
  server.stdout.on('data', chunk => {
    said += String(chunk)
  })
  await until('the server listens', () => said.includes('Ready to accept connections'))
  return { port, kill: signal => void server.kill(signal) }
}

async function opened(options: Partial<OpenOptions>): Promise<OpenRedis> {
  const settings = { dir: await newDirectory(), fsync: 'always', maxMemoryBytes: 50_000_000, log: keepLog(), progress: () => {} } as const
  const redis = await openRedis({ ...settings, ...options })
  onTestFinished(() => redis.close())
  return redis
}

const warnings = (log: KeptLog) => log.lines.filter(line => line.level === 'warn').map(line => line.message)

describe.skipIf(installed === undefined)('opening Redis', () => {
  it('without a URL starts one of our own in the data directory', async () => {
    const dir = await newDirectory()
    const redis = await opened({ dir })
    expect(redis.target).toEqual({ path: join(dir, 'redis', 'redis.sock') })
    expect(redis.embedded?.pid()).toBeGreaterThan(0)
    await Promise.all([redis.close(), redis.close()])
  })

  it('with a URL uses that server, and says what about it may lose data', async () => {
    const { port } = await foreign('--maxmemory-policy', 'allkeys-lru')
    const log = keepLog()
    const redis = await opened({ url: `redis://127.0.0.1:${port}/2`, log })
    expect(redis.embedded).toBeUndefined()
    expect(redis.version).toBe(installed?.version)
    expect(warnings(log)).toEqual([
      'redis has appendonly off: acknowledged events are lost when it ends',
      'redis may evict data: set maxmemory-policy to noeviction',
    ])
    const client = await connectRedis(redis.target, { name: 'test', patience: 'worker', log })
    expect(await client.client('INFO')).toContain(' db=2 ')
    client.disconnect()
  })

  it('has nothing to say about a server with the right settings', async () => {
    const { port } = await foreign('--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory-policy', 'noeviction')
    const log = keepLog()
    await opened({ url: `redis://127.0.0.1:${port}`, log })
    expect(warnings(log)).toEqual([])
  })

  it('says so once when the server does not show its settings', async () => {
    const { port } = await foreign('--rename-command', 'CONFIG', '')
    const log = keepLog()
    await opened({ url: `redis://127.0.0.1:${port}`, log })
    expect(warnings(log)).toEqual([expect.stringContaining('does not show its settings')])
  })

  it('refuses a wrong password at once, without repeating it', async () => {
    const { port } = await foreign('--requirepass', 'right')
    await expect(opened({ url: `redis://:right@127.0.0.1:${port}` })).resolves.toBeDefined()
    for (const url of [`redis://:wrong@127.0.0.1:${port}`, `redis://127.0.0.1:${port}`]) {
      const startedAt = performance.now()
      const failure = expect.objectContaining({
        code: 'setup',
        message: expect.stringMatching(/TELLTALE_REDIS_URL[\s\S]*(WRONGPASS|NOAUTH)/),
      })
      await expect(opened({ url })).rejects.toEqual(failure)
      await expect(opened({ url })).rejects.toThrow(expect.objectContaining({ message: expect.not.stringContaining(':wrong') }))
      expect(performance.now() - startedAt).toBeLessThan(2000)
    }
  })

  it('gives up on a server that cannot be reached, naming the setting and the address', async () => {
    const port = await freePort()
    const failure = { code: 'setup', message: expect.stringMatching(`TELLTALE_REDIS_URL.*127.0.0.1:${port}.*ECONNREFUSED`) }
    await expect(opened({ url: `redis://127.0.0.1:${port}` })).rejects.toMatchObject(failure)
  })
})

describe.skipIf(installed === undefined)('a Redis Cluster', () => {
  async function cluster(): Promise<Server> {
    const server = await foreign(
      '--cluster-enabled',
      'yes',
      '--cluster-port',
      String(await freePort()),
      '--cluster-announce-ip',
      '127.0.0.1',
    )
    const client = await connectRedis(
      { addresses: [{ host: '127.0.0.1', port: server.port }], username: undefined, password: undefined, db: 0, tls: false },
      { name: 'setup', patience: 'worker', log: keepLog() },
    )
    await client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    await until('the cluster is up', async () => String(await client.call('CLUSTER', 'INFO')).includes('cluster_state:ok'))
    client.disconnect()
    return server
  }

  it('is used through several addresses, and a producer fails fast on it too', async () => {
    const server = await cluster()
    const address = `127.0.0.1:${server.port}`
    const redis = await opened({ url: `redis://${address},${address}` })
    const client = await connectRedis(redis.target, { name: 'test', patience: 'producer', log: keepLog() })
    onTestFinished(() => client.disconnect())
    expect(client.isCluster).toBe(true)
    expect(await client.set('{a}b', 'c')).toBe('OK')
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      server.kill(signal)
      const startedAt = performance.now()
      const failure = await client.set('a', 'b').catch(translate)
      expect(failure).toMatchObject({ code: 'unavailable' })
      expect(performance.now() - startedAt).toBeLessThan(2500)
    }
  })

  it('is refused under one address, because that would reach only a part of it', async () => {
    const { port } = await cluster()
    const failure = { code: 'setup', message: expect.stringContaining('several addresses') }
    await expect(opened({ url: `redis://127.0.0.1:${port}` })).rejects.toMatchObject(failure)
  })
})
