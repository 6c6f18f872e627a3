// A Redis server of its own, as processes of scaled mode share one.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { inject } from 'vitest'
import { newDirectory } from './world.ts'

export type SharedRedis = {
  readonly url: string
  stop(): Promise<void>
}

export async function startSharedRedis(): Promise<SharedRedis> {
  const port = await freePort()
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--dir', await newDirectory()]
  const disk = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--maxmemory-policy', 'noeviction']
  const server = spawn(inject('redisBinary'), [...options, ...disk], { stdio: 'ignore' })
  return {
    url: `redis://127.0.0.1:${port}`,
    stop: async () => {
      const gone = once(server, 'exit')
      server.kill('SIGTERM')
      await gone
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
