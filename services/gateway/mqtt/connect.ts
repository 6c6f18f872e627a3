// CONNECT: who it is, whether the client id and the will may be, and the session that is begun or gone on with.
import type { AuthenticateError, Client } from 'aedes'
import { type Caller, mayActAs } from '../../../packages/identity/identity.ts'
import type { Lasting } from '../broker/lasting.ts'
import type { Owned, Owners } from '../broker/owner.ts'
import type { Sessions } from '../broker/sessions.ts'
import type { Will } from '../broker/will.ts'
import { decidedOf, type From } from '../guard/inside.ts'
import { type LoginPorts, login } from './login.ts'
import { authorOf, ownProjectOf, sessionId } from './session.ts'
import { ingestPlace, mayPublish, mounted } from './topic.ts'
import type { Turns } from './turn.ts'

/** What of aedes' client has no type. */
export type Connecting = Client & {
  id: string
  _will?: (Omit<Will, 'author' | 'payload'> & { topic: string; readonly payload: Buffer | string }) | undefined
}

export type ConnectPorts = LoginPorts & {
  readonly sessions: Pick<Sessions, 'open' | 'forget'>
  readonly owners: Pick<Owners, 'enter' | 'leave'>
  readonly turns: Pick<Turns, 'take'>
}

export type Connected = {
  readonly caller: Caller
  readonly lasting: Lasting | undefined
  /** Absent: it leaves nothing behind. */
  readonly owned: Owned | undefined
  /** To be called when the connection is over: the next one of this session may begin. */
  done(): void
}

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
  const decided = () => decidedOf(client.conn)
  const caller = await login(ports, from, { clientId: client.id, username, password }, decided)
  const will = willOf(client, caller)
  if (client.conn.destroyed) return undefined
  // A device keeps its session when it is given another credential.
  client.id = sessionId(caller.device ? caller.account : caller.keyId, client.id)
  const done = await ports.turns.take(client.id, () => client.close(), decided)
  try {
    const begun = client.closed ? undefined : await begin(ports, client, caller, will)
    if (begun) return { caller, ...begun, done }
  } catch (error) {
    done()
    throw error
  }
  done()
  return undefined
}

/** aedes is not told of it: it would publish it after a DISCONNECT that has not come to it, and forget it when Redis is away. */
function willOf(client: Connecting, caller: Caller): Will | undefined {
  const will = client._will
  client._will = undefined
  if (!will) return undefined
  const { qos, retain } = will
  const topic = mounted(will.topic, ownProjectOf(caller))
  if (!mayLeave(caller, topic)) throw connectRefusal(NOT_AUTHORISED, 'the will is outside of what the key may publish')
  return { topic, payload: Buffer.from(will.payload), qos, retain, author: authorOf({ caller }) }
}

/** What another gateway has of this client is seen to before its session is read. */
async function begin(
  { owners, sessions }: ConnectPorts,
  client: Client,
  caller: Caller,
  will: Will | undefined,
): Promise<Pick<Connected, 'lasting' | 'owned'>> {
  const leaves = will !== undefined || !client.clean
  const owned = await owners.enter(client.id, leaves, will, () => decidedOf(client.conn))
  try {
    if (!client.clean) return { owned, lasting: await sessions.open(client.id, ownProjectOf(caller) || caller.account) }
    // [MQTT-3.1.2-6]
    await sessions.forget(client.id)
    return { owned, lasting: undefined }
  } catch (error) {
    if (owned) await owners.leave(owned)
    throw error
  }
}

/** The same rule as for what it publishes while it is connected (hazard 8). */
export function mayLeave(caller: Caller, topic: string): boolean {
  const place = ingestPlace(topic, ownProjectOf(caller))
  if (place) return mayActAs(caller, place.project, place.device ?? '')
  // What a device's decoder makes of it is looked at when it is published, and of others it is not.
  return caller.device ? topic.startsWith(`projects/${caller.device.project}/topics/`) : mayPublish(caller, topic)
}
