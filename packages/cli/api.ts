// The server as the commands see it: the client with the login they were given, and its errors in words that say what to do.
import { Telltale, TelltaleError } from '../client/index.ts'
import { Failure } from '../core/failure.ts'
import type { Target } from './target.ts'

export function openClient({ httpUrl, project, keyId, secret }: Target): Telltale {
  return new Telltale({ url: httpUrl, project, keyId, secret })
}

/** `what` was asked for. Other errors than the client's are returned as they are. */
export function explained(target: Target, what: string, error: unknown): unknown {
  if (!(error instanceof TelltaleError)) return error
  const { status, code, message, cause } = error
  if (status === 0) return cause === undefined ? error : new Failure(code, `${message}: start it, or name it with --http`, { cause: error })
  if (status === 401) return new Failure(code, `${target.httpUrl} does not accept the key ${target.keyId} and its secret`, { cause: error })
  return new Failure(code, `${target.httpUrl} answered ${status} to ${what}: ${message}`, { cause: error })
}
