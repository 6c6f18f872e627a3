// What the tests of this package share: directories of their own, a log that is kept, waiting for a condition, a process to kill.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { onTestFinished } from 'vitest'
import { findRedis, type RedisBinary } from './binary.ts'
import type { Leash } from './child.ts'
import { type EmbeddedOptions, type EmbeddedRedis, startRedis } from './embedded.ts'
import type { Log } from './log.ts'

export type KeptLog = Log & { readonly lines: { readonly level: string; readonly message: string; readonly facts: object }[] }

/** Undefined without a redis-server on the PATH: said out loud on a laptop, a failure in CI. */
export const installed: RedisBinary | undefined = await findRedis({ dir: tmpdir(), binary: 'redis-server', progress: () => {} }).catch(
  (error: unknown) => {
    if (process.env.CI === 'true') throw error
    console.warn('no redis-server on the PATH: the tests that need one are skipped')
    return undefined
  },
)

export async function newDirectory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'telltale-redis-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

export function keepLog(): KeptLog {
  const lines: KeptLog['lines'] = []
  const at = (level: string) => (facts: object, message: string) => void lines.push({ level, message, facts })
  return { lines, info: at('info'), warn: at('warn'), error: at('error') }
}

export async function start(dir: string, options: Partial<EmbeddedOptions> = {}): Promise<EmbeddedRedis> {
  if (installed === undefined) throw new Error('no redis-server')
  const redis = await startRedis({ dir, binary: installed, maxMemoryBytes: 100_000_000, fsync: 'always', log: keepLog(), ...options })
  onTestFinished(() => redis.stop())
  return redis
}

export function send(redis: EmbeddedRedis, signal: NodeJS.Signals): void {
  const pid = redis.pid()
  if (pid === undefined) throw new Error('redis is not running')
  process.kill(pid, signal)
}

export async function until(what: string, done: () => boolean | Promise<boolean>, limitMs = 5000): Promise<void> {
  const deadline = performance.now() + limitMs
  while (!(await done())) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`)
    await delay(10)
  }
}

export type Parent = {
  readonly process: ChildProcess
  readonly said: string[]
  line(prefix: string): Promise<string>
  interruptGroup(): void
}

/**
 * A process of its own that takes the directory, starts Redis in it, says `server {pid}`, appends to a list without end and says
 * `acked {n}` after each answer. On SIGINT it says `interrupted`, on SIGTERM it stops Redis and ends.
 */
export function startParent(dir: string, leash?: Leash): Parent {
  const here = import.meta.url
  const code = `
    const { connectRedis, findRedis, lockDirectory } = await import(new URL('./index.ts', ${JSON.stringify(here)}))
    const { startRedis } = await import(new URL('./embedded.ts', ${JSON.stringify(here)}))
    const log = { info() {}, warn() {}, error() {} }
    const dir = ${JSON.stringify(dir)}
    const lock = await lockDirectory(dir)
    const binary = await findRedis({ dir, binary: 'redis-server', progress() {} })
    const redis = await startRedis({ dir: dir + '/redis', binary, maxMemoryBytes: 1e8, fsync: 'always', log, leash: ${JSON.stringify(leash)} })
    console.log('server ' + redis.pid())
    const client = await connectRedis({ path: redis.path }, { name: 'parent', patience: 'producer', log })
    let ending = false
    process.on('SIGINT', () => console.log('interrupted'))
    process.on('SIGTERM', () => { ending = true })
    while (!ending) console.log('acked ' + await client.rpush('list', 'x'))
    await client.quit()
    await redis.stop()
    await lock.release()`
  // A group of its own, so that a test can do what a terminal does to all of one.
  const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void parent.kill('SIGKILL'))
  const said: string[] = []
  for (const input of [parent.stdout, parent.stderr]) createInterface({ input }).on('line', line => said.push(line))
  const line = async (prefix: string) => {
    await until(`the parent says ${prefix}: ${said.slice(-5).join(' | ')}`, () => said.some(text => text.startsWith(prefix)), 15_000)
    return said.findLast(text => text.startsWith(prefix)) ?? ''
  }
  const interruptGroup = () => {
    if (parent.pid === undefined) throw new Error('the parent does not run')
    process.kill(-parent.pid, 'SIGINT')
  }
  return { process: parent, said, line, interruptGroup }
}
