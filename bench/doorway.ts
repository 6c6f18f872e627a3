// The MQTT door alone, as a process of its own: everything from the socket to the batch, before a log that is always there at once. What
// it costs is compared with bare parsing of the same bytes by the parser that the broker uses.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Redis } from 'ioredis'
import { parser } from 'mqtt-packet'
import type { Caller } from '../packages/identity/identity.ts'
import { connectRedis, openRedis } from '../packages/redis/index.ts'
import { Guesses } from '../packages/runtime/guess.ts'
import { newId } from '../packages/runtime/id.ts'
import { openLogger } from '../packages/runtime/logger.ts'
import { Accept } from '../services/gateway/accept.ts'
import { UNLIMITED, undecoded } from '../services/gateway/fixture.ts'
import { Frames } from '../services/gateway/guard/frame.ts'
import { bodyFault, headerFault } from '../services/gateway/guard/packet.ts'
import { openMqtt } from '../services/gateway/mqtt/mqtt.ts'
import { generate, type LoadResult } from './generator.ts'
import { EventPacket, monotonicUs } from './wire.ts'

const CONNECTIONS = 50
const WINDOW = 50
const DEVICES = 1000

/** @returns events a second, and a CPU second of the door's process. */
export async function measureDoor(total: number): Promise<{ perSecond: number; perCpuSecond: number }> {
  const child = fork(fileURLToPath(import.meta.url), ['door'], { execArgv: ['--import', 'tsx'] })
  try {
    const [port] = (await once(child, 'message')) as [number]
    const load = {
      port,
      login: { user: 'bench', password: 'bench' },
      project: 'default',
      connections: CONNECTIONS,
      devices: DEVICES,
      window: WINDOW,
    }
    await generate({ ...load, total: total / 4 })
    const spent = () => {
      child.send('cpu')
      return once(child, 'message').then(([seconds]) => seconds as number)
    }
    const before = await spent()
    const result: LoadResult = await generate({ ...load, total })
    const seconds = (await spent()) - before
    return { perSecond: (total / (result.ackedUs - result.startedUs)) * 1e6, perCpuSecond: total / seconds }
  } finally {
    child.disconnect()
  }
}

/** Reads of 64 KiB, as a socket brings them. */
function reads(): Buffer[] {
  const packet = new EventPacket('default')
  const count = 3000
  const bytes = Buffer.alloc(count * packet.length)
  for (let i = 0; i < count; i++) packet.write(bytes, i * packet.length, 1 + i, i % DEVICES, i, monotonicUs())
  return Array.from({ length: Math.ceil(bytes.length / 65_536) }, (_, i) => bytes.subarray(i * 65_536, (i + 1) * 65_536))
}

const ROUNDS = 100

/** Cuts and checks. @returns how many packets. */
export function guardOnly(): number {
  const chunks = reads()
  let count = 0
  for (let round = 0; round < ROUNDS; round++) {
    const frames = new Frames(headerFault)
    for (const chunk of chunks) {
      frames.push(chunk)
      while (frames.next() === true) if (bodyFault(frames.first, frames.bytes, frames.body, frames.end) === undefined) count++
    }
  }
  return count
}

/** What the broker does with the same bytes at the least. */
export function parserOnly(): number {
  const chunks = reads()
  let count = 0
  for (let round = 0; round < ROUNDS; round++) {
    const reading = parser()
    reading.on('packet', () => count++)
    for (const chunk of chunks) reading.parse(chunk)
  }
  return count
}

async function serve(): Promise<void> {
  const caller: Caller = { keyId: 'bench', account: 'bench', roles: { default: 'developer' } }
  const append = async () => ({ duplicates: 0, wake: [] }) as never
  const log = openLogger('warn')
  const dir = await mkdtemp(join(tmpdir(), 'telltale-door-'))
  const redis = await openRedis({
    url: undefined,
    dir,
    binary: undefined,
    fsync: 'always',
    maxMemoryBytes: 1024 ** 3,
    log,
    progress: text => process.stderr.write(text),
  })
  const open = async (name: string, patience: 'producer' | 'worker') => (await connectRedis(redis.target, { name, patience, log })) as Redis
  const door = await openMqtt(
    {
      accept: new Accept({ append, register: async () => {}, wake: () => {}, counted: () => {}, failed: () => {} }),
      quarantine: async () => {},
      rejected: () => {},
      ...UNLIMITED,
      ...undecoded(),
      identity: { login: async () => caller, certified: async () => undefined, renew: async () => caller, watch: () => () => {} },
      guesses: new Guesses(undefined),
      clock: { nowUs: () => Date.now() * 1000, newId: () => newId() },
      log,
      redis: await open('door', 'producer'),
      subscriber: await open('subscriber', 'worker'),
      follow: async () => () => {},
      dropped: () => {},
      limits: { packetBytes: 1024 * 1024, perAddress: 0 },
      cut: () => {},
    },
    '127.0.0.1',
    0,
  )
  const end = async () => {
    await redis.close()
    await rm(dir, { recursive: true, force: true })
    process.exit()
  }
  process.once('disconnect', () => void end())
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    process.send?.((user + system) / 1e6)
  })
  process.send?.(door.port)
}

if (process.send && process.argv[2] === 'door') await serve()
