// The dialect of Macrometa (contracts.md 2): streams over REST, and over WebSockets that speak as Pulsar's do.
import { Failure } from '../../../../packages/core/failure.ts'
import { type Ref, refuseDevices } from '../../../../packages/log/durable/record.ts'
import { type HttpApp, shapeErrors } from '../../../../packages/runtime/http.ts'
import { Claims } from '../../../../packages/state/claim.ts'
import { Lifetimes } from '../../../../packages/state/lifetime.ts'
import type { DialectPorts } from '../port.ts'
import { resourceOf } from '../stream.ts'
import { addAccountRoutes } from './account.ts'
import { Consumer } from './consumer.ts'
import { consumerOptions, producerOptions, readerOptions } from './option.ts'
import { Producer } from './producer.ts'
import { Reader } from './reader.ts'
import { addRestRoutes, findRef } from './rest.ts'
import { PATHS, refuse } from './shape.ts'
import { type Opening, type Session, type SocketSettings, Sockets } from './socket.ts'
import { parseTopic } from './topic.ts'

export type MacrometaSettings = {
  /** As people outside call this installation. */
  readonly publicUrl: string | undefined
  /** Open WebSockets that one key may have in this process. */
  readonly streamLimit: number
  readonly sockets?: Omit<SocketSettings, 'maxPerKey'>
}

/** Closes its WebSockets before the server stops listening. */
export function addMacrometa(app: HttpApp, ports: DialectPorts, settings: MacrometaSettings): void {
  const { identity, streams, subscriptions, dispatch, redis, produced, troubled } = ports
  const sockets = new Sockets(ports, { maxPerKey: settings.streamLimit, ...settings.sockets })
  const claims = new Claims(redis, troubled)
  const lifetimes = new Lifetimes(redis)
  shapeErrors(app, PATHS, refuse)
  addAccountRoutes(app, { identity, publicUrl: settings.publicUrl })
  addRestRoutes(app, {
    identity,
    streams,
    subscriptions,
    lifetimes,
    produced,
    settled: (project, stream) => sockets.settled(project, stream),
  })
  sockets.addRoute(app, 'producer', async opening => openProducer(ports, claims, opening))
  sockets.addRoute(app, 'consumer', async opening => {
    const { place, query } = opening
    const ref = await findRef(streams, place.tenant, place.topic)
    const { deadLetter, ...options } = consumerOptions(query)
    const unsubscribed = () => recordUnsubscribed(ports, opening)
    const consumer = new Consumer({ dispatch, subscriptions, troubled, unsubscribed }, ref, place.subscription)
    await consumer.join({ ...options, deadLetter: deadLetter === undefined ? undefined : streamOf(deadLetter, place.topic.local) })
    return consumer
  })
  sockets.addRoute(app, 'reader', async ({ place, query }) => {
    const ref = await findRef(streams, place.tenant, place.topic)
    const reader = new Reader({ streams, dispatch, troubled }, ref)
    await reader.open(readerOptions(query), () => ports.followed(place.tenant, place.topic.stream))
    return reader
  })
  app.addHook('preClose', () => sockets.stop())
}

async function openProducer(ports: DialectPorts, claims: Claims, { caller, place, query }: Opening): Promise<Session> {
  const ref = await findRef(ports.streams, place.tenant, place.topic)
  refuseDevices(ref.record.name)
  const { name, maxPending } = producerOptions(query)
  let producer: Producer | undefined
  const claim = name === undefined ? undefined : await claims.take(place.tenant, claimOf(ref, name), () => producer?.lost())
  if (name !== undefined && !claim) throw new Failure('conflict', `producer ${name} is connected to this stream already`)
  const leave = ports.connected(place.tenant, place.topic.stream)
  producer = new Producer(ports, ref, name ?? caller.keyId, maxPending, async () => {
    leave()
    await claim?.release()
  })
  return producer
}

/** Of a command in a socket there is neither a method nor an answer. */
async function recordUnsubscribed({ audit }: DialectPorts, { caller, place, path, requestId }: Opening): Promise<void> {
  const { keyId, account } = caller
  const resource = resourceOf(place.tenant, place.topic.stream, place.subscription)
  await audit.add(`projects/${place.tenant}`, { keyId, account, method: 'UNSUBSCRIBE', path, resource, status: 200, requestId })
}

function claimOf({ record }: Ref, name: string): string {
  return `producer:${record.uid}:${name}`
}

/** Named as a topic, as Pulsar's whole address of one, or as a stream of the same kind. */
function streamOf(given: string, local: boolean): string {
  const topic = given.replace(/^persistent:\/\/[^/]+\/[^/]+\//, '')
  return parseTopic(topic)?.stream ?? (local ? `c8locals.${topic}` : topic)
}
