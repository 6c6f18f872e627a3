// What a failed Redis command means to whoever waits for it. Everything listed here passes by itself; nothing else is translated.
import { Failure } from '../core/failure.ts'
import { codeOf } from './process.ts'

type Meaning = { readonly words: string; readonly retryAfterMs: number }

const AWAY: Meaning = { words: 'Redis cannot be reached', retryAfterMs: 1000 }
const SLOW: Meaning = { words: 'Redis does not answer in time; the command may still be carried out', retryAfterMs: 1000 }

const REPLIES: Readonly<Record<string, Meaning>> = {
  OOM: { words: 'Redis has used all the memory it may', retryAfterMs: 5000 },
  MISCONF: { words: 'Redis cannot write to its disk', retryAfterMs: 5000 },
  LOADING: { words: 'Redis is loading its data', retryAfterMs: 1000 },
  READONLY: { words: 'Redis is read-only at the moment (a replica, or a failover under way)', retryAfterMs: 1000 },
  MASTERDOWN: { words: 'Redis has lost its primary', retryAfterMs: 1000 },
  NOREPLICAS: { words: 'Redis has too few replicas to write', retryAfterMs: 5000 },
  CLUSTERDOWN: { words: 'The Redis Cluster is down', retryAfterMs: 1000 },
  TRYAGAIN: { words: 'The Redis Cluster is moving these keys', retryAfterMs: 1000 },
  BUSY: { words: 'Redis is busy with a script', retryAfterMs: 1000 },
}

// A reply starts with its code; inside an error of a script Redis before 7 repeats it as `…: -OOM …`.
const REPLY = new RegExp(`(?:^|: -?)(${Object.keys(REPLIES).join('|')})\\b`)

const NETWORK: ReadonlySet<string> = new Set(
  'ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ETIMEDOUT EHOSTUNREACH EHOSTDOWN ENETUNREACH ENETDOWN ENOTFOUND EAI_AGAIN EAGAIN'.split(' '),
)
const CLIENT_ERRORS: ReadonlySet<string> = new Set(['MaxRetriesPerRequestError', 'AbortError', 'ClusterAllFailedError'])
// ioredis gives these as plain Errors: their words are all there is to know them by (pinned version; the tests run them all).
const CLIENT_WORDS =
  /^(Connection is closed|Stream isn't writeable|Cluster isn't ready|None of startup nodes|Node is disconnected|Too many Cluster redirections|Cluster is (ended|disconnected|disconnecting))/
const TIMEOUT_WORDS = /^(Command timed out|Socket timeout)/

/**
 * `throw translate(error)`: a Failure `unavailable` for an outage, full memory or disk, loading, failover or timeout. Anything
 * else (a wrong command, a wrong type, a bug of ours) is returned as it is: it is internal and repeating it would not help.
 * Whether the command was carried out is unknown unless Redis itself refused it.
 */
export function translate(error: unknown): Error {
  if (error instanceof Failure) return error
  if (!(error instanceof Error)) return new Error('Redis failed without an error', { cause: error })
  const meaning = meaningOf(error)
  if (meaning === undefined) return error
  return new Failure('unavailable', meaning.words, { retryAfterMs: meaning.retryAfterMs, cause: error })
}

function meaningOf(error: Error): Meaning | undefined {
  if (error.name === 'ReplyError') return REPLIES[REPLY.exec(reply(error))?.[1] ?? '']
  if (TIMEOUT_WORDS.test(error.message)) return SLOW
  if (CLIENT_ERRORS.has(error.name) || CLIENT_WORDS.test(error.message)) return AWAY
  const code = codeOf(error)
  if (code === undefined) return undefined
  // ENOENT is an absent socket only when connecting, else somebody's missing file.
  const connecting = 'syscall' in error && error.syscall === 'connect'
  return NETWORK.has(code) || (connecting && code === 'ENOENT') ? AWAY : undefined
}

/** A refused transaction says EXECABORT and carries the refusals. */
function reply(error: Error): string {
  const earlier = 'previousErrors' in error && Array.isArray(error.previousErrors) ? error.previousErrors[0] : undefined
  return earlier instanceof Error ? earlier.message : error.message
}
