// Streams over REST (contracts.md 2.a.2), under both spellings of their address.
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyRequest, HTTPMethods } from 'fastify'
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { DEVICES, isOwnSubscription } from '../../../../packages/core/stream.ts'
import { type Caller, type Identity, type Role, requireRole, roleIn } from '../../../../packages/identity/identity.ts'
import { formatMessageId, MAX_PAYLOAD_BYTES } from '../../../../packages/log/durable/message.ts'
import { DEFAULT_RETENTION, type DurableStreams, type Ref } from '../../../../packages/log/durable/stream.ts'
import type { Subscriptions } from '../../../../packages/log/durable/subscription.ts'
import type { HttpApp, Limit } from '../../../../packages/runtime/http.ts'
import type { Lifetimes } from '../../../../packages/state/lifetime.ts'
import { noteChange } from '../stream.ts'
import { callerOf } from './account.ts'
import { byHeader, tenantOf } from './credential.ts'
import { boolean, type Query } from './option.ts'
import { unknownTopic } from './place.ts'
import { envelope, IN_USE } from './shape.ts'
import { backlogOf, statsOf } from './stats.ts'
import { FABRIC, newTopic, parseTopic, type Topic, topicOf } from './topic.ts'

export type RestPorts = {
  readonly identity: Identity
  readonly streams: DurableStreams
  readonly subscriptions: Subscriptions
  readonly lifetimes: Lifetimes
  /** A directory of live streams wants to know. */
  produced(project: string, stream: string): void
  /** Resolves when those who have just left this stream have given back what they had. */
  settled(project: string, stream: string): Promise<void>
}

/** Four pages of the vendor's documentation leave `_api` out. */
const BASES = ['/_fabric/:fabric/_api/streams', '/_fabric/:fabric/streams']
/** Clients close a consumer and remove its subscription at once (contracts.md 2.b.9). */
const GRACE_MS = 1000
const LOOK_EVERY_MS = 50
/** Ten years. */
const MAX_SECONDS = 315_360_000
const PERSISTENT = 4

type Asked = {
  readonly caller: Caller
  readonly project: string
  readonly query: Query
  readonly body: Buffer
  /** Of the address; empty when it has none of this name. */
  part(name: string): string
  /** What is changed, if anything is: it stands in the audit. */
  note(...names: readonly string[]): void
}
type Answer = (asked: Asked) => Promise<object>
type Route = readonly [method: HTTPMethods, path: string, role: Role, answer: Answer, limit?: Limit]

/** Clients look before each WebSocket that they open, so to look counts as to consume. */
const LOOK: Limit = 'ingest'

export function addRestRoutes(app: HttpApp, ports: RestPorts): void {
  const rest = new Rest(ports)
  const routes: readonly Route[] = [
    ['GET', '', 'user', asked => rest.list(asked)],
    ['GET', '/persistent', 'user', asked => rest.list(asked)],
    ['GET', '/ttl', 'user', asked => rest.lifetime(asked)],
    ['POST', '/ttl/:seconds', 'developer', asked => rest.setLifetime(asked)],
    ['POST', '/clearbacklog', 'developer', asked => rest.clearBacklogs(asked)],
    ['POST', '/clearbacklog/:subscription', 'developer', asked => rest.clearBacklogs(asked)],
    ['DELETE', '/subscription/:subscription', 'developer', asked => rest.unsubscribeAll(asked)],
    ['POST', '/unsubscribe/:subscription', 'developer', asked => rest.unsubscribeAll(asked)],
    ['POST', '/:topic', 'developer', asked => rest.create(asked)],
    ['DELETE', '/:topic', 'developer', asked => rest.remove(asked)],
    ['POST', '/:topic/publish', 'developer', asked => rest.publish(asked), 'ingest'],
    ['GET', '/:topic/backlog', 'user', asked => rest.backlog(asked)],
    ['GET', '/:topic/stats', 'user', asked => rest.stats(asked)],
    ['GET', '/:topic/subscriptions', 'user', asked => rest.subscriptions(asked)],
    ['DELETE', '/:topic/subscriptions/:subscription', 'developer', asked => rest.unsubscribe(asked)],
    ['POST', '/:topic/expiry/:seconds', 'developer', asked => rest.expire(asked)],
  ]
  for (const [method, path, role, answer, limit = method === 'GET' ? LOOK : 'manage'] of routes)
    for (const base of BASES)
      app.route({
        method,
        url: `${base}${path}`,
        config: { raw: true, limit, authenticate: byHeader(ports.identity) },
        bodyLimit: MAX_PAYLOAD_BYTES,
        handler: request => answer(askedBy(request, role)),
      })
}

function askedBy(request: FastifyRequest, role: Role): Asked {
  const caller = callerOf(request)
  const parts = request.params as Readonly<Record<string, string>>
  if (parts['fabric'] !== FABRIC) throw new Failure('not_found', `there is no such fabric: the only one is ${FABRIC}`)
  const project = tenantOf(request, caller)
  if (project === undefined) throw new Failure('forbidden', 'this key has no role in its own project: name the tenant')
  const { method, routeOptions } = request
  const changes = method !== 'GET' && method !== 'HEAD' && routeOptions.config.limit !== 'ingest'
  const note = (...names: readonly string[]) => (changes ? noteChange(request, project, ...names) : undefined)
  // What is refused is recorded too.
  if (roleIn(caller, project)) note()
  requireRole(caller, project, role)
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
  return { caller, project, query: request.query as Query, body, part: name => parts[name] ?? '', note }
}

class Rest {
  readonly #ports: RestPorts

  constructor(ports: RestPorts) {
    this.#ports = ports
  }

  async list(asked: Asked): Promise<object> {
    const refs = await this.#all(asked)
    return envelope(
      refs.map(({ project, record }) => {
        const { topic, local } = topicOf(record.name)
        return {
          topic,
          type: PERSISTENT,
          local,
          db: FABRIC,
          tenant: project,
          _key: record.uid,
          _id: `_streams/${record.uid}`,
          _rev: record.uid,
        }
      }),
    )
  }

  async create({ project, query, part, note }: Asked): Promise<object> {
    const { topic, local, stream } = newTopic(part('topic'), !globalOf(query, true))
    note(stream)
    const maxAgeMs = await this.#ports.lifetimes.get(project, kindOf(local))
    const retention = maxAgeMs === undefined ? DEFAULT_RETENTION : { ...DEFAULT_RETENTION, maxAgeMs }
    await this.#ports.streams.create(project, stream, { retention })
    return envelope({ 'stream-id': topic })
  }

  async remove(asked: Asked): Promise<object> {
    const { query, project } = asked
    const ref = await this.#ref(asked)
    if (!boolean(query, 'force')) await this.#patiently(ref, () => this.#checkUnused(ref))
    await this.#ports.streams.remove(project, ref.record.name)
    return envelope('')
  }

  async publish(asked: Asked): Promise<object> {
    const ref = await this.#ref(asked)
    const [appended] = await this.#ports.streams.append(ref, [{ payload: asked.body, producer: asked.caller.keyId }])
    if (!appended) throw new Error('one message was appended, and nothing is known of it')
    this.#ports.produced(ref.project, ref.record.name)
    return envelope({ messageId: formatMessageId(ref.record, appended.seq) }, 202)
  }

  async backlog(asked: Asked): Promise<object> {
    const ref = await this.#ref(asked)
    return envelope(backlogOf(topicOf(ref.record.name), await this.#ports.streams.stats(ref), await this.#stats(ref)))
  }

  async stats(asked: Asked): Promise<object> {
    for (const field of ['getPreciseBacklog', 'subscriptionBacklogSize']) boolean(asked.query, field)
    const ref = await this.#ref(asked)
    return envelope(statsOf(await this.#ports.streams.stats(ref), await this.#stats(ref)))
  }

  async subscriptions(asked: Asked): Promise<object> {
    const all = await this.#ports.subscriptions.listOfClients(await this.#ref(asked))
    return envelope(all.map(({ name }) => name))
  }

  async unsubscribe(asked: Asked): Promise<object> {
    const ref = await this.#ref(asked)
    const name = asked.part('subscription')
    asked.note(ref.record.name, name)
    if (isOwnSubscription(name)) throw new Failure('not_found', `subscription ${name} does not exist`)
    await this.#patiently(ref, () => this.#ports.subscriptions.remove(ref, name))
    return envelope('')
  }

  /** Of all streams that have one of this name; none is as good. */
  async unsubscribeAll(asked: Asked): Promise<object> {
    const name = asked.part('subscription')
    for (const ref of await this.#all(asked)) {
      const all = await this.#ports.subscriptions.listOfClients(ref)
      if (all.some(one => one.name === name)) await this.#patiently(ref, () => this.#ports.subscriptions.remove(ref, name))
    }
    return envelope('')
  }

  async clearBacklogs(asked: Asked): Promise<object> {
    const only = asked.part('subscription')
    for (const ref of await this.#all(asked))
      for (const { name } of await this.#ports.subscriptions.listOfClients(ref))
        if (only === '' || name === only) await this.#ports.subscriptions.clearBacklog(ref, name)
    return envelope('')
  }

  async lifetime({ project, query }: Asked): Promise<object> {
    const ms = await this.#ports.lifetimes.get(project, kindOf(!globalOf(query, true)))
    return envelope(Math.round((ms ?? DEFAULT_RETENTION.maxAgeMs) / 1000))
  }

  async setLifetime(asked: Asked): Promise<object> {
    const { project, query } = asked
    const seconds = secondsOf(asked, 0)
    const kinds = query['global'] === undefined ? ['global', 'local'] : [kindOf(!globalOf(query, true))]
    for (const kind of kinds) await this.#ports.lifetimes.set(project, kind, seconds * 1000)
    // That of the devices is kept as long as their log.
    for (const ref of await this.#all(asked)) if (ref.record.name !== DEVICES) await this.#keep(ref, seconds)
    return envelope(seconds)
  }

  async expire(asked: Asked): Promise<object> {
    const seconds = secondsOf(asked, 1)
    await this.#keep(await this.#ref(asked), seconds)
    return envelope(seconds)
  }

  async #keep({ project, record }: Ref, seconds: number): Promise<void> {
    const maxAgeMs = seconds * 1000
    await this.#ports.streams.update(project, record.name, ({ retention }) => ({ retention: { ...retention, maxAgeMs } }))
  }

  /** All, or those of the one kind that is asked for. */
  async #all({ project, query }: Asked): Promise<Ref[]> {
    const global = query['global'] === undefined ? undefined : globalOf(query, true)
    const records = await this.#ports.streams.list(project)
    return records.flatMap(record => (global === undefined || topicOf(record.name).local === !global ? [{ project, record }] : []))
  }

  async #ref({ project, query, part, note }: Asked): Promise<Ref> {
    // The prefix says it already; some clients say it again.
    globalOf(query, true)
    const ref = await findRef(this.#ports.streams, project, parseTopic(part('topic')))
    note(ref.record.name)
    return ref
  }

  async #stats(ref: Ref) {
    const all = await this.#ports.subscriptions.listOfClients(ref)
    const names = all.map(({ name }) => name)
    return this.#ports.subscriptions.statsOf(ref, names)
  }

  async #checkUnused(ref: Ref): Promise<void> {
    const used = (await this.#stats(ref)).find(({ consumers }) => consumers.length > 0)
    if (used)
      throw new Failure('conflict', `subscription ${used.name} has consumers: close them, or remove it with force`, { field: IN_USE })
  }

  /** Who has just closed a consumer is not told that it is connected. */
  async #patiently<T>({ project, record }: Ref, act: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + GRACE_MS
    for (;;) {
      await this.#ports.settled(project, record.name)
      try {
        return await act()
      } catch (error) {
        const inUse = error instanceof Failure && error.code === 'conflict' && error.field === IN_USE
        if (!inUse || performance.now() > deadline) throw error
      }
      await pause(LOOK_EVERY_MS)
    }
  }
}

/** Rejects with `not_found`. */
export async function findRef(streams: Pick<DurableStreams, 'find'>, project: string, topic: Topic | undefined): Promise<Ref> {
  const record = topic && (await streams.find(project, topic.stream))
  if (!record) throw unknownTopic()
  return { project, record }
}

function globalOf(query: Query, fallback: boolean): boolean {
  return query['global'] === undefined ? fallback : boolean(query, 'global')
}

function kindOf(local: boolean): string {
  return local ? 'local' : 'global'
}

function secondsOf({ part }: Asked, least: number): number {
  const text = part('seconds')
  const seconds = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN
  if (!(seconds >= least && seconds <= MAX_SECONDS)) throw invalid('seconds', `expected a whole number from ${least} to ${MAX_SECONDS}`)
  return seconds
}
