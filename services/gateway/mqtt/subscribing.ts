// SUBSCRIBE, filter by filter: whether it is granted, with which QoS, and what is kept of it for a session that lasts.
import type { Client, Subscription } from 'aedes'
import { Failure } from '../../../packages/core/failure.ts'
import type { Qos } from '../broker/message.ts'
import { NO_FILTER } from '../broker/persistence.ts'
import type { Sessions } from '../broker/sessions.ts'
import { Asking, type Decision } from './asking.ts'
import type { Live } from './live.ts'
import type { Refused } from './publishing.ts'
import type { Session } from './session.ts'
import { isShort, maySubscribe, mounted, refusalOf, streamTopic } from './topic.ts'

export type Subscribing = { readonly live: Live; readonly sessions: Sessions; readonly refused: Refused }

/** As it comes from a client, or from a session that is restored. */
type Asked = Subscription & { short?: boolean; readonly restored?: true }

const TOO_MANY_STREAMS = 'too many stream topics of one connection, or it is gone'
const TOO_MANY = 'a session has 1000 filters at most'
/** All is delivered by the way of QoS 1 and 2, where `forward` decides: aedes goes by the first filter that matches, and only if it is no wildcard. */
const HIGHEST = 2

/** Every gateway has all of them in memory. */
const MAX_FILTER_CHARS = 1024
const TOO_LONG = `a filter has at most ${MAX_FILTER_CHARS} characters`
const NO_ROOM = 'the lasting sessions of the project have as many filters as they may'

/** @returns what aedes is to subscribe to, or null when it is refused. */
export async function subscribe(inside: Subscribing, client: Client, session: Session, asked: Asked): Promise<Subscription | null> {
  if (asked.topic === NO_FILTER) return null
  const short = asked.restored ? asked.short === true : isShort(asked.topic)
  asked.topic = mounted(asked.topic, session.project)
  if (session.asking?.hasBegun !== false)
    session.asking = new Asking(session.asking, decisions =>
      settle(inside.sessions, session, decisions, topics => inside.refused(client, session, topics.join(' ').slice(0, 1000), NO_ROOM)),
    )
  try {
    const decision = await session.asking.add(decide(inside, client, session, asked, short))
    return decision?.grant ? { ...asked, qos: HIGHEST } : null
  } finally {
    session.grants.release(asked.topic)
  }
}

async function decide(inside: Subscribing, client: Client, session: Session, asked: Asked, short: boolean): Promise<Decision | undefined> {
  const { topic, qos } = asked
  const isRestored = asked.restored === true
  const refusal = await refusalFor(inside.live, client, session, asked)
  if (refusal === undefined) return { topic, grant: { qos: qos as Qos, short }, isRestored }
  inside.refused(client, session, topic, refusal)
  // A stream is had another time; what was granted before is for nothing now but to fill a queue.
  return streamTopic(topic) ? undefined : { topic, grant: undefined, isRestored }
}

/** What is granted is stored before, in one step; what stands there already is not. */
async function settle(
  sessions: Sessions,
  { grants, lasting }: Session,
  decisions: readonly Decision[],
  refused: (topics: readonly string[]) => void,
): Promise<void> {
  // Of a filter that is there several times the last counts.
  const last = [...new Map(decisions.map(decision => [decision.topic, decision])).values()]
  const changed = last.filter(({ topic, grant, isRestored }) => (isRestored ? !grant : !grants.has(topic, grant)))
  for (const { topic, grant } of last) if (!grant) grants.delete(topic)
  const stored = changed.map(({ topic, grant }) => [topic, grant] as const)
  if (lasting && !(await sessions.subscribe(lasting.id, stored))) {
    // Answered with 0x80: what there was before stays.
    for (const decision of decisions) if (changed.some(({ topic }) => topic === decision.topic)) decision.grant = undefined
    refused(changed.map(({ topic }) => topic))
  }
  for (const { topic, grant } of last) if (grant) grants.set(topic, grant)
}

/** @returns why not, or nothing. */
async function refusalFor(live: Live, client: Client, session: Session, { topic, qos }: Asked): Promise<string | undefined> {
  if (topic.length > MAX_FILTER_CHARS) return TOO_LONG
  const wanted = streamTopic(topic)
  const caller = maySubscribe(session.caller, topic) ? session.caller : await session.renew()
  if (!wanted) {
    if (!maySubscribe(caller, topic)) return refusalOf(topic)
    return session.grants.reserve(topic) ? undefined : TOO_MANY
  }
  try {
    return (await live.enter(client, caller, topic, wanted, qos > 0 ? 1 : 0)) ? undefined : TOO_MANY_STREAMS
  } catch (error) {
    if (error instanceof Failure) return error.message
    throw error
  }
}
