// Opens the Redis that everything else stands on: the server named by TELLTALE_REDIS_URL, or one of our own.
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { findRedis, isSupported, MIN_VERSION_TEXT } from './binary.ts'
import { connectRedis, type RedisClient } from './connection.ts'
import { type EmbeddedOptions, type EmbeddedRedis, startRedis } from './embedded.ts'
import { translate } from './failure.ts'
import type { Log } from './log.ts'
import { describeTarget, parseRedisUrl, type RedisTarget } from './target.ts'

export type OpenOptions = Pick<EmbeddedOptions, 'fsync' | 'maxMemoryBytes' | 'log'> & {
  /** TELLTALE_REDIS_URL; not given: embedded. */
  readonly url?: string | undefined
  /** The data directory, locked by the caller; the embedded server keeps to `redis/` and `bin/` in it. */
  readonly dir: string
  readonly binary?: string | undefined
  readonly progress: (text: string) => void
}

export type OpenRedis = {
  readonly target: RedisTarget
  readonly version: string
  /** The server of embedded mode, for whoever wants its pid. */
  readonly embedded: EmbeddedRedis | undefined
  /** Close the clients first. Stops the embedded server; does nothing to another. Idempotent. */
  close(): Promise<void>
}

/** Rejects with a `setup` failure that names the setting. Clients are made with `connectRedis(target, …)`. */
export async function openRedis(options: OpenOptions): Promise<OpenRedis> {
  if (options.url !== undefined) return openRemote(options.url, options.log)
  const binary = await findRedis({ dir: join(options.dir, 'bin'), binary: options.binary, progress: options.progress })
  const { fsync, maxMemoryBytes, log } = options
  const embedded = await startRedis({ dir: join(options.dir, 'redis'), binary, fsync, maxMemoryBytes, log })
  log.info({ pid: embedded.pid(), path: embedded.path, version: binary.version }, 'redis started')
  return { target: { path: embedded.path }, version: binary.version, embedded, close: () => embedded.stop() }
}

async function openRemote(url: string, log: Log): Promise<OpenRedis> {
  const target = parseRedisUrl(url)
  const client = await reach(target, log)
  try {
    const version = await checkServers(client, target, log)
    log.info({ address: describeTarget(target), version }, 'redis connected')
    return { target, version, embedded: undefined, close: () => Promise.resolve() }
  } finally {
    client.disconnect()
  }
}

async function reach(target: RedisTarget, log: Log): Promise<RedisClient> {
  try {
    return await connectRedis(target, { name: 'check', patience: 'producer', log })
  } catch (error) {
    const { cause } = translate(error)
    const why = cause instanceof Error ? cause.message : String(error)
    throw new Failure(
      'setup',
      `TELLTALE_REDIS_URL: cannot connect to ${describeTarget(target)} (${why}). Is the server running, and are user and password right?`,
      {
        cause: error,
      },
    )
  }
}

/** Every primary of a Cluster is held to the same. Returns the version of the first. */
async function checkServers(client: RedisClient, target: RedisTarget, log: Log): Promise<string> {
  const servers = client.isCluster ? (client as Exclude<RedisClient, Redis>).nodes('master') : [client as Redis]
  const versions = await Promise.all(servers.map(server => checkServer(server, target, log)))
  const [first] = versions
  if (first === undefined) throw new Failure('setup', `TELLTALE_REDIS_URL: the Cluster at ${describeTarget(target)} has no primaries.`)
  return first
}

async function checkServer(server: Redis, target: RedisTarget, log: Log): Promise<string> {
  const address = describeTarget(target)
  const info = await server.info()
  const version = /^redis_version:(\S+)/m.exec(info)?.[1] ?? '0'
  if (!isSupported(version))
    throw new Failure('setup', `TELLTALE_REDIS_URL: ${address} is Redis ${version}; at least ${MIN_VERSION_TEXT} is needed.`)
  if (/^cluster_enabled:1/m.test(info) && 'addresses' in target && target.addresses.length === 1)
    throw new Failure(
      'setup',
      `TELLTALE_REDIS_URL: ${address} belongs to a Cluster. Give several addresses, separated by commas (the same one twice will do).`,
    )
  await warnUnlessDurable(server, address, log)
  return version
}

async function warnUnlessDurable(server: Redis, address: string, log: Log): Promise<void> {
  const settings = await configOf(server)
  if (settings === undefined) {
    log.warn({ address }, 'redis does not show its settings: make sure of appendonly yes and maxmemory-policy noeviction')
    return
  }
  if (settings.get('appendonly') === 'no') log.warn({ address }, 'redis has appendonly off: acknowledged events are lost when it ends')
  else if (settings.get('appendfsync') !== 'always')
    log.warn(
      { address, appendfsync: settings.get('appendfsync') },
      'redis does not fsync always: a crash may lose a second of acknowledged events',
    )
  const policy = settings.get('maxmemory-policy')
  if (policy !== undefined && policy !== 'noeviction')
    log.warn({ address, policy }, 'redis may evict data: set maxmemory-policy to noeviction')
}

/** Managed servers rename or forbid CONFIG: undefined. */
async function configOf(server: Redis): Promise<Map<string, string> | undefined> {
  const settings = new Map<string, string>()
  for (const name of ['appendonly', 'appendfsync', 'maxmemory-policy']) {
    try {
      const answer = (await server.call('CONFIG', 'GET', name)) as string[]
      if (answer[1] !== undefined) settings.set(name, answer[1])
    } catch (error) {
      if (error instanceof Error && /^(NOPERM|ERR unknown command)/.test(error.message)) return undefined
      throw translate(error)
    }
  }
  return settings
}
