// A Redis for the tests of one file, and connections to it: starting one takes longer than most tests, so they share it.
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { formatTime } from '../core/time.ts'
import { installed, keepLog, send } from '../redis/fixture.ts'
import { connectRedis, type Patience, startRedis } from '../redis/index.ts'
import { indexLine } from './entry.ts'
import type { AppendBatch } from './log.ts'

export { installed, until } from '../redis/fixture.ts'

export type TestRedis = {
  /** Waits while the server is away, as a worker's does. */
  readonly redis: Redis
  connect(patience?: Patience): Promise<Redis>
  signal(signal: NodeJS.Signals): void
  stop(): Promise<void>
}

export async function openTestRedis(): Promise<TestRedis> {
  if (installed === undefined) throw new Error('no redis-server')
  const dir = await mkdtemp(join(tmpdir(), 'telltale-test-'))
  const log = keepLog()
  const server = await startRedis({ dir, binary: installed, maxMemoryBytes: 200_000_000, fsync: 'always', log })
  const clients: Redis[] = []
  const connect = async (patience: Patience = 'worker') => {
    const client = (await connectRedis({ path: server.path }, { name: 'test', patience, log })) as Redis
    clients.push(client)
    return client
  }
  return {
    redis: await connect(),
    connect,
    signal: name => send(server, name),
    async stop() {
      for (const client of clients) client.disconnect()
      await server.stop()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** A project that no other test uses. */
export function freshProject(): string {
  return `p${randomUUID().slice(0, 8)}`
}

export type Sent = {
  readonly device: string
  readonly eventType?: string
  readonly timeUs: number
  readonly data?: object
  readonly id?: string
}

/** A batch as the gateway makes it; each event is its own key unless it has an id. */
export function batchOf(project: string, events: readonly Sent[], mode: 'c' | 'a' = 'c'): AppendBatch {
  const named = events.map(event => ({ eventType: 'temperature', data: { value: 20 }, id: randomUUID(), ...event }))
  return {
    index: named.map(({ device, eventType, timeUs }) => indexLine(device, eventType, timeUs)),
    frames: named.map(({ device, eventType, data, id, timeUs }) => {
      const targetName = `projects/${project}/devices/${device}`
      return JSON.stringify({ eventId: id, targetName, eventType, data: { [eventType]: data }, timestamp: formatTime(timeUs) })
    }),
    keys: named.map(({ id }) => id),
    modes: mode.repeat(named.length),
  }
}
