// The Redis of embedded mode: a child process of ours on a Unix socket, supervised, with everything acknowledged on disk.
import { access, chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure } from '../core/failure.ts'
import type { RedisBinary } from './binary.ts'
import { type Child, type ChildEnd, chooseLeash, type Leash, launch } from './child.ts'
import type { Log } from './log.ts'
import { endOrphan, leaveNote, removeNote } from './orphan.ts'
import { probe } from './probe.ts'
import { codeOf } from './process.ts'

export type EmbeddedOptions = {
  /** Its own directory, made 0700. The caller holds the lock of the data directory (`lockDirectory`). */
  readonly dir: string
  readonly binary: RedisBinary
  readonly maxMemoryBytes: number
  readonly fsync: 'always' | 'everysec'
  readonly log: Log
  /** How the server is made to die with this process; found out when not given. */
  readonly leash?: Leash | undefined
}

export interface EmbeddedRedis {
  /** The Unix socket; stays the same when the server is started again. */
  readonly path: string
  /** Undefined while there is no server. */
  pid(): number | undefined
  /** Idempotent. Redis writes what it has and ends; after 10 s it is killed. */
  stop(): Promise<void>
}

const SOCKET = 'redis.sock'
// sun_path is 108 bytes on Linux and 104 on macOS, with the closing zero.
const MAX_SOCKET_BYTES = 103
const STOP_LIMIT_MS = 10_000
const SILENT_LIMIT_MS = 60_000
const LOADING_REPORT_MS = 3_000
const FIRST_PAUSE_MS = 50
const MAX_PAUSE_MS = 2_000
const STEADY_MS = 10_000

/**
 * Resolves when the server answers and its data is loaded, however long that takes. From then on a server that ends is
 * started again, for ever; before that it is a `setup` failure with the server's own words.
 */
export async function startRedis(options: EmbeddedOptions): Promise<EmbeddedRedis> {
  const dir = resolve(options.dir)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  await refuseOlderServer(dir, options.binary)
  await endOrphan(dir, join(dir, SOCKET), options.log)
  const socketDir = await shortDirectory(dir)
  const redis = new Supervised({ ...options, dir }, socketDir, options.leash ?? (await chooseLeash()))
  await redis.start()
  return redis
}

class Supervised implements EmbeddedRedis {
  readonly path: string
  readonly #options: EmbeddedOptions
  readonly #socketDir: string
  readonly #leash: Leash
  readonly #stopping = new AbortController()
  #child: Child | undefined
  #supervision: Promise<void> = Promise.resolve()
  #stopped: Promise<void> | undefined

  constructor(options: EmbeddedOptions, socketDir: string, leash: Leash) {
    this.#options = options
    this.#socketDir = socketDir
    this.#leash = leash
    this.path = join(socketDir, SOCKET)
  }

  pid(): number | undefined {
    return this.#child?.end() === undefined ? this.#child?.identity.pid : undefined
  }

  async start(): Promise<void> {
    const child = this.#launch()
    if (await this.#untilReady(child)) {
      this.#supervision = this.#supervise(child)
      return
    }
    await this.stop()
    throw didNotStart(this.#options.dir, await child.ended)
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#end()
    return this.#stopped
  }

  #launch(): Child {
    const { binary, dir, log } = this.#options
    const child = launch(this.#leash, binary.command, serverArgs(this.#options, this.path), dir)
    this.#child = child
    try {
      leaveNote(dir, child.identity, this.path)
    } catch (error) {
      // A full disk is when Redis ends and is started again: without the note an orphan is still found by its socket.
      log.warn({ dir, error: String(error) }, 'redis is started without a note of its process')
    }
    return child
  }

  /** False when it ended, or was silent for a minute, before it was ready. */
  async #untilReady(child: Child): Promise<boolean> {
    const { log, dir } = this.#options
    const startedAt = performance.now()
    let heardAt = startedAt
    let reportedAt = startedAt
    for (let pauseMs = 2; child.end() === undefined; pauseMs = Math.min(pauseMs * 1.5, 100)) {
      const readiness = await probe(this.path)
      const now = performance.now()
      if (readiness.state === 'ready') return true
      if (readiness.state === 'loading') heardAt = now
      if (now - heardAt > SILENT_LIMIT_MS) return false
      if (now - reportedAt > LOADING_REPORT_MS) {
        log.info({ dir, seconds: Math.round((now - startedAt) / 1000), ...readiness }, 'redis is loading its data')
        reportedAt = now
      }
      await Promise.race([delay(pauseMs), child.ended])
    }
    return false
  }

  async #supervise(first: Child): Promise<void> {
    const { log } = this.#options
    let child = first
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      const startedAt = performance.now()
      const end = await child.ended
      const endedAt = performance.now()
      if (this.#stopping.signal.aborted) return
      if (endedAt - startedAt > STEADY_MS) pauseMs = FIRST_PAUSE_MS
      log.warn({ ...end, pauseMs }, 'redis ended unexpectedly, starting it again')
      if (!(await this.#pause(pauseMs))) return
      child = this.#launch()
      if (await this.#untilReady(child)) log.info({ pid: this.pid(), awayMs: Math.round(performance.now() - endedAt) }, 'redis is back')
      else child.kill('SIGKILL')
    }
  }

  /** False when it was cut short by `stop`. */
  async #pause(ms: number): Promise<boolean> {
    const stop = new Promise<false>(done => this.#stopping.signal.addEventListener('abort', () => done(false), { once: true }))
    return Promise.race([delay(ms, true), stop])
  }

  async #end(): Promise<void> {
    this.#stopping.abort()
    const child = this.#child
    if (child !== undefined) {
      child.kill('SIGTERM')
      const inTime = await Promise.race([child.ended, delay(STOP_LIMIT_MS, undefined, { ref: false })])
      if (inTime === undefined) {
        this.#options.log.warn({ pid: child.identity.pid }, 'redis does not end, killing it')
        child.kill('SIGKILL')
        await child.ended
      }
    }
    await this.#supervision
    await removeNote(this.#options.dir)
    if (this.#socketDir !== this.#options.dir) await rm(this.#socketDir, { recursive: true, force: true })
  }
}

/**
 * The append-only file is rewritten when it has doubled and passed 1 GiB. At 20 MB/s into a trimmed log of 300 MB that is once in
 * 50 s; with 256 MB it was once in 12 s, each with a fork, a second core for half a second and a command of 96 ms (else 15 ms).
 * What a start has to replay stays small: 1 GB took 0.4 s.
 */
function serverArgs({ dir, maxMemoryBytes, fsync }: EmbeddedOptions, socket: string): string[] {
  return Object.entries({
    port: '0',
    unixsocket: socket,
    unixsocketperm: '700',
    dir,
    appendonly: 'yes',
    appendfsync: fsync,
    'no-appendfsync-on-rewrite': 'no',
    'aof-load-truncated': 'yes',
    'aof-use-rdb-preamble': 'yes',
    'auto-aof-rewrite-percentage': '100',
    'auto-aof-rewrite-min-size': '1gb',
    save: '',
    'maxmemory-policy': 'noeviction',
    maxmemory: String(maxMemoryBytes),
    // Deleting a long log must not stop the world.
    'lazyfree-lazy-user-del': 'yes',
    'lazyfree-lazy-expire': 'yes',
    daemonize: 'no',
    logfile: '',
  }).flatMap(([key, value]) => [`--${key}`, value])
}

/** Redis 6 does not know the files of Redis 7 and would start empty beside them. */
async function refuseOlderServer(dir: string, { version, command }: RedisBinary): Promise<void> {
  if (Number(version.split('.')[0]) >= 7) return
  try {
    await access(join(dir, 'appendonlydir'))
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw error
  }
  throw new Failure(
    'setup',
    `The data in ${dir} was written by Redis 7 or later and ${command.at(-1)} is ${version}. Use Redis 7 or later.`,
  )
}

async function shortDirectory(dir: string): Promise<string> {
  if (Buffer.byteLength(join(dir, SOCKET)) <= MAX_SOCKET_BYTES) return dir
  const short = await mkdtemp(join(tmpdir(), 'telltale-'))
  if (Buffer.byteLength(join(short, SOCKET)) <= MAX_SOCKET_BYTES) return short
  throw new Failure('setup', `TELLTALE_DATA_DIR: ${dir} is too long for a Unix socket, and so is ${tmpdir()}. Use a shorter directory.`)
}

function didNotStart(dir: string, { exitCode, signal, lastWords }: ChildEnd): Failure {
  const how = exitCode === null ? `signal ${signal}` : `exit code ${exitCode}`
  return new Failure('setup', `The embedded Redis did not start in ${dir} (${how}). It said:\n  ${lastWords.join('\n  ')}`)
}
