// What serves streams: Telltale's stream role in processes of its own, so that its CPU is that of the fan-out alone.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findExecutable } from './executable.ts'
import { generate } from './generator.ts'
import { freePort, listening } from './peer.ts'
import { Server } from './server.ts'

/** Events at a fixed rate, each for one of the groups. */
export type Wave = { readonly rate: number; readonly total: number; readonly groups: number }

export type Serving = {
  readonly name: string
  /** Readers are spread over them. */
  readonly ports: readonly number[]
  /** They and their children are what serves. */
  readonly pids: readonly number[]
  /** What readers ask for, `{}` standing for the group of each. */
  path(groups: number): string
  readonly authorization: string | undefined
  /** Resolves when everything is acknowledged. */
  publish(wave: Wave): Promise<void>
  stop(): Promise<void>
}

/** Redis and the gateway run beside them; no worker does, so nothing is judged or stored. */
export async function startTelltale(processes = 1): Promise<Serving> {
  const redisServer = findExecutable('redis-server')
  if (redisServer === undefined) throw new Error('redis-server is needed (apt-get install redis-server)')
  const folder = await mkdtemp(join(tmpdir(), 'telltale-fanout-'))
  const port = await freePort()
  const disk = ['--dir', folder, '--appendonly', 'yes', '--appendfsync', 'always', '--save', '']
  const redis = spawn(redisServer, ['--port', String(port), '--bind', '127.0.0.1', ...disk], { stdio: 'ignore' })
  await listening(port, 'redis-server')
  const env = {
    TELLTALE_REDIS_URL: `redis://127.0.0.1:${port}`,
    // Never asked: there is nobody who stores.
    TELLTALE_INFLUX_URL: 'http://127.0.0.1:9',
    TELLTALE_INFLUX_DATABASE: 'nothing',
    TELLTALE_SECRET_KEY: randomBytes(24).toString('hex'),
    TELLTALE_ADMIN_KEY_ID: 'bench',
    TELLTALE_ADMIN_SECRET: randomBytes(24).toString('hex'),
    TELLTALE_STREAM_MAX_AGE: '0s',
    TELLTALE_STREAM_LIMIT: '1000000',
    TELLTALE_RATE_LIMIT: 'off',
  }
  const gateway = await Server.start({ env, roles: ['gateway'] })
  const streams = await Promise.all(Array.from({ length: processes }, () => Server.start({ env, roles: ['stream'] })))
  const work = { port: gateway.mqttPort, login: gateway.login, project: 'default', connections: 10, window: 50 }
  return {
    name: 'Telltale',
    ports: streams.map(({ httpPort }) => httpPort),
    pids: streams.map(({ pid }) => pid),
    path: groups => `/v2/projects/default/devices:stream${groups === 1 ? '' : '?device_ids=d{}'}`,
    // The same for all, as the settings have it.
    authorization: gateway.authorization,
    publish: async ({ rate, total, groups }) => void (await generate({ ...work, devices: Math.max(groups, 100), total, rate })),
    async stop() {
      await Promise.all(streams.map(stream => stream.stop()))
      await gateway.stop()
      const exit = once(redis, 'exit')
      redis.kill('SIGTERM')
      await exit
      await rm(folder, { recursive: true, force: true })
    },
  }
}
