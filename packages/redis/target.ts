// Where Redis is: our own socket, one server, or a Cluster; and how TELLTALE_REDIS_URL says so.
import { Failure } from '../core/failure.ts'

export type RedisAddress = { readonly host: string; readonly port: number }

export type RedisServers = {
  /** Several: a Cluster, of which these are the ones to ask first. */
  readonly addresses: readonly [RedisAddress, ...RedisAddress[]]
  readonly username: string | undefined
  readonly password: string | undefined
  readonly db: number
  readonly tls: boolean
}

export type RedisTarget = { readonly path: string } | RedisServers

const DEFAULT_PORT = 6379

/**
 * `redis://[user[:password]@]host[:port][/db]`, `rediss://` for TLS; a Cluster as several of them or several `host:port`,
 * separated by commas, with the same credentials. What is wrong is said without repeating the text: it may hold a password.
 */
export function parseRedisUrl(text: string): RedisTarget {
  const [first, ...rest] = text.split(',').map(part => part.trim())
  if (first === undefined || first === '') throw malformed('is empty')
  const scheme = /^rediss?:\/\//.exec(first)?.[0]
  if (scheme === undefined) throw malformed('does not start with redis:// or rediss://')
  const head = parseOne(first, 1)
  const others = rest.map((part, i) => parseOne(part.includes('://') ? part : scheme + part, i + 2))
  for (const [i, other] of others.entries()) agree(head, other, i + 2)
  if (others.length > 0 && head.db !== 0) throw malformed('names a database, and a Cluster has only database 0')
  return { ...head, addresses: [head.addresses[0], ...others.map(other => other.addresses[0])] }
}

/** For logs: never holds credentials. */
export function describeTarget(target: RedisTarget): string {
  if ('path' in target) return target.path
  return target.addresses.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',')
}

function parseOne(text: string, nth: number): RedisServers {
  if (!URL.canParse(text)) throw malformed(`is not a URL (address ${nth}; write @ : / and % of a password as %40 %3A %2F %25)`)
  const url = new URL(text)
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') throw malformed(`does not start with redis:// or rediss:// (address ${nth})`)
  if (url.hostname === '') throw malformed(`names no host (address ${nth})`)
  if (url.search !== '' || url.hash !== '') throw malformed(`has something after ? or # (address ${nth}), which has no meaning here`)
  const db = /^\/?(\d{0,5})$/.exec(url.pathname)?.[1]
  if (db === undefined) throw malformed(`has a path that is not a database number (address ${nth})`)
  return {
    addresses: [{ host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? DEFAULT_PORT : Number(url.port) }],
    username: credential(url.username, nth),
    password: credential(url.password, nth),
    db: Number(db),
    tls: url.protocol === 'rediss:',
  }
}

function credential(text: string, nth: number): string | undefined {
  if (text === '') return undefined
  try {
    return decodeURIComponent(text)
  } catch (error) {
    if (error instanceof URIError) throw malformed(`has a wrong % sequence in user or password (address ${nth})`)
    throw error
  }
}

/** Where a later address leaves out credentials or database, those of the first hold. */
function agree(first: RedisServers, other: RedisServers, nth: number): void {
  if (other.tls !== first.tls) throw malformed(`mixes redis:// and rediss:// (address ${nth})`)
  if ((other.username ?? first.username) !== first.username || (other.password ?? first.password) !== first.password)
    throw malformed(`has other credentials at address ${nth} than at the first; a Cluster has one set`)
  if (other.db !== 0) throw malformed(`names a database at address ${nth}, and a Cluster has only database 0`)
}

function malformed(what: string): Failure {
  return new Failure('setup', `TELLTALE_REDIS_URL ${what}. Expected redis://user:password@host:6379, or several separated by commas.`)
}
