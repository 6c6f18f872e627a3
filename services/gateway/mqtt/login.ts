// Who an MQTT client is: by user name and password, or by the certificate of its connection; and the CONNACK code of who is nobody.
import type { AuthenticateError } from 'aedes'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import type { Caller, Identity } from '../../../packages/identity/identity.ts'
import { siteOf } from '../../../packages/runtime/caller.ts'
import type { Guesses } from '../../../packages/runtime/guess.ts'
import type { PeerDevice } from '../../../packages/runtime/peer.ts'
import type { From } from '../guard/inside.ts'

export type LoginPorts = {
  readonly identity: Pick<Identity, 'login' | 'certified'>
  /** The same as for HTTP: whoever guessed there is held up here too. */
  readonly guesses: Pick<Guesses, 'attempt'>
}

/** Of a CONNECT. */
export type Shown = {
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Buffer | undefined
}

/** How long who guessed too often waits for its refusal: it asks again the moment it has one. */
const REFUSED_AFTER_MS = 1000

/**
 * @param decided called before whoever guessed too often has to wait: others log in meanwhile.
 * @throws Failure `invalid` (client id, user name or password), `unauthenticated`, `too_many`, or whatever keeps identity from being looked up.
 */
export async function login(ports: LoginPorts, from: From, shown: Shown, decided: () => void): Promise<Caller> {
  try {
    return await callerOf(ports, from, shown)
  } catch (error) {
    if (error instanceof Failure && error.code === 'too_many') {
      decided()
      await new Promise(resolve => setTimeout(resolve, REFUSED_AFTER_MS))
    }
    throw error
  }
}

async function callerOf(ports: LoginPorts, from: From, shown: Shown): Promise<Caller> {
  // Some who read logs and topics put client ids into filters (hazard 7).
  if (/[+#]/.test(shown.clientId)) throw invalid('clientId', 'expected no + and no #')
  if (from.device) return certified(ports, from.device, from, shown)
  const proven = await prove(ports, from, shown)
  if (!proven) throw new Failure('unauthenticated', 'user name and password: expected the id of a key or device credential and its secret')
  return proven
}

/** A user name that is given besides has to be the same device: its name, its id, or a credential of it. */
async function certified(ports: LoginPorts, { project, id }: PeerDevice, from: From, shown: Shown): Promise<Caller> {
  const caller = await ports.identity.certified(project, id)
  if (!caller) throw new Failure('unauthenticated', `client certificate: project ${project} does not exist`)
  if (shown.username === undefined || shown.username === id || shown.username === caller.account) return caller
  const proven = await prove(ports, from, shown)
  if (proven?.device?.project === project && proven.device.id === id) return proven
  throw new Failure('unauthenticated', `user name: expected ${id}, which the client certificate is for, a credential of it, or none`)
}

async function prove({ identity, guesses }: LoginPorts, { address }: From, { username, password }: Shown): Promise<Caller | undefined> {
  // Nobody claims to be anybody: nothing to guess at.
  if (username === undefined && password === undefined) return undefined
  if (!username) throw invalid('username', 'expected the id of a key or device credential')
  const secret = textOf(password)
  return guesses.attempt(
    siteOf(address),
    username,
    () => identity.login(username, secret),
    found => found === undefined,
  )
}

function textOf(password: Buffer | undefined): string {
  if (!password) throw invalid('password', 'expected the secret')
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(password)
  } catch (error) {
    throw new Failure('invalid', 'password: expected UTF-8', { field: 'password', cause: error })
  }
}

const IDENTIFIER_REJECTED = 2
const SERVER_UNAVAILABLE = 3
const MALFORMED = 4
const NOT_AUTHORISED = 5

/** [MQTT-3.2.2-3] */
function codeOf(error: unknown): number {
  if (!(error instanceof Failure)) return SERVER_UNAVAILABLE
  if (error.code === 'invalid') return error.field === 'clientId' ? IDENTIFIER_REJECTED : MALFORMED
  return error.code === 'unauthenticated' || error.code === 'too_many' ? NOT_AUTHORISED : SERVER_UNAVAILABLE
}

export function loginRefusal(error: unknown): AuthenticateError {
  // Of who was let in and asked for more than that, such as a will elsewhere.
  if (error instanceof Error && 'returnCode' in error) return error as AuthenticateError
  return Object.assign(error instanceof Error ? error : new Error('login failed'), { returnCode: codeOf(error) }) as AuthenticateError
}
