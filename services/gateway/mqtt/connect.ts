// CONNECT: who it is, whether the client id and the will may be, and the session that is begun or gone on with.
import type { AuthenticateError, Client } from 'aedes'
import { type Caller, mayActAs } from '../../../packages/identity/identity.ts'
import type { Lasting } from '../broker/lasting.ts'
import type { Sessions } from '../broker/sessions.ts'
import { decidedOf, type From } from '../guard/inside.ts'
import { type LoginPorts, login } from './login.ts'
import { ownProjectOf, sessionId } from './session.ts'
import { ingestPlace, mayPublish, mounted } from './topic.ts'

/** What of aedes' client has no type. */
export type Connecting = Client & {
  id: string
  _will?: { topic: string }
}

export type ConnectPorts = LoginPorts & {
  readonly sessions: Sessions
  /** Who is connected to this gateway under that name. */
  connected(id: string): Client | undefined
}

export type Connected = { readonly caller: Caller; readonly lasting: Lasting | undefined }

const IDENTIFIER_REJECTED = 2
const NOT_AUTHORISED = 5

function connectRefusal(returnCode: number, reason: string): AuthenticateError {
  return Object.assign(new Error(reason), { returnCode }) as AuthenticateError
}

/**
 * Gives the client the name that it has here, and its will the topic. Undefined: it went meanwhile.
 * @throws what `login` does, or an error that carries its CONNACK code.
 */
export async function connectClient(
  ports: ConnectPorts,
  client: Connecting,
  from: From,
  isUnnamed: boolean,
  username: string | undefined,
  password: Readonly<Buffer | undefined>,
): Promise<Connected | undefined> {
  // [MQTT-3.1.3-8]
  if (isUnnamed) throw connectRefusal(IDENTIFIER_REJECTED, 'an empty client id needs a clean session')
  const caller = await login(ports, from, { clientId: client.id, username, password }, () => decidedOf(client.conn))
  const will = client._will
  if (will) {
    will.topic = mounted(will.topic, ownProjectOf(caller))
    if (!mayLeave(caller, will.topic)) throw connectRefusal(NOT_AUTHORISED, 'the will is outside of what the key may publish')
  }
  if (client.conn.destroyed) return undefined
  // A device keeps its session when it is given another credential.
  client.id = sessionId(caller.device ? caller.account : caller.keyId, client.id)
  const other = ports.connected(client.id)
  // [MQTT-3.1.4-2]; before its session is read, so that two do not work on one.
  if (other) await new Promise<void>(resolve => other.close(resolve))
  const lasting = client.clean ? undefined : await ports.sessions.open(client.id, ownProjectOf(caller) || caller.account)
  return { caller, lasting }
}

/** The same rule as for what it publishes while it is connected (hazard 8). */
export function mayLeave(caller: Caller, topic: string): boolean {
  const place = ingestPlace(topic, ownProjectOf(caller))
  if (place) return mayActAs(caller, place.project, place.device ?? '')
  // What a device's decoder makes of it is looked at when it is published, and of others it is not.
  return caller.device ? topic.startsWith(`projects/${caller.device.project}/topics/`) : mayPublish(caller, topic)
}
