// Who an MQTT client is: its user name and password, and the CONNACK code of who is none.
import type { AuthenticateError } from 'aedes'
import { Failure } from '../../packages/core/failure.ts'
import type { Caller, Identity } from '../../packages/identity/identity.ts'

export type LoginPorts = { readonly identity: Pick<Identity, 'verify'> }

const NOT_AUTHORISED = 5
const SERVER_UNAVAILABLE = 3

/** @throws Failure `unauthenticated`, or whatever keeps identity from being looked up. */
export async function login(
  ports: LoginPorts,
  username: Readonly<string | undefined>,
  password: Readonly<Buffer | undefined>,
): Promise<Caller> {
  const caller = username && password ? await ports.identity.verify(username, password.toString('utf8')) : undefined
  if (!caller) throw new Failure('unauthenticated', 'user name and password: expected a key id and its secret')
  return caller
}

export function loginRefusal(error: unknown): AuthenticateError {
  if (error instanceof Error && 'returnCode' in error) return error as AuthenticateError
  const known = error instanceof Failure && error.code === 'unauthenticated'
  const returnCode = known ? NOT_AUTHORISED : SERVER_UNAVAILABLE
  return Object.assign(error instanceof Error ? error : new Error('login failed'), { returnCode }) as AuthenticateError
}
