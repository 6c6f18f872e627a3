// What the broker keeps of sessions that outlive their connections (clean session 0), in memory: their subscriptions and what waits
// for them, for a day. aedes would keep all of it for ever.
import { Readable } from 'node:stream'
import type { Aedes, Client, Subscription } from 'aedes'
import type { Logger } from '../../packages/runtime/logger.ts'
import { clientIdOf, keyIdOf } from './session.ts'
import { type Message, Waiting } from './waiting.ts'

type Named = { readonly id: string }

/** The part of aedes' persistence that is changed or used here; aedes asks for each of these by name, each time. */
type Store = {
  addSubscriptions(client: Named, subscriptions: readonly Subscription[]): Promise<void>
  removeSubscriptions(client: Named, topics: readonly string[]): Promise<void>
  cleanSubscriptions(client: Named): Promise<void>
  cleanIncoming(client: Named): Promise<void>
}

/** The rest of what is changed, as the persistence that comes with aedes has it. */
type Outgoing = {
  outgoingEnqueue(to: { readonly clientId: string }, packet: Message): Promise<void>
  outgoingEnqueueCombi(to: readonly { readonly clientId: string }[], packet: Message): Promise<void>
  outgoingUpdate(client: Named, packet: Message): Promise<void>
  outgoingClearMessageId(client: Named, packet: Message): Promise<Message | undefined>
  outgoingStream(client: Named): Readable
}

export type KeptPorts = {
  readonly log: Logger
  /** Told of each message that was dropped. */
  dropped(): void
  nowMs(): number
}

export type KeptLimits = { readonly awayMs: number; readonly sessionsOfKey: number; readonly sessions: number }

const LIMITS: KeptLimits = { awayMs: 24 * 3_600_000, sessionsOfKey: 10_000, sessions: 50_000 }
const LOOK_MS = 60_000

export class Kept {
  readonly #store: Store
  readonly #ports: KeptPorts
  readonly #limits: KeptLimits
  readonly #waiting: Waiting
  readonly #granted = new WeakSet<Subscription>()
  /** Since when, by key and session; of each key the longest away first. */
  readonly #away = new Map<string, Map<string, number>>()
  readonly #timer: NodeJS.Timeout
  #awayCount = 0

  constructor(broker: Aedes, ports: KeptPorts, limits: KeptLimits = LIMITS) {
    const { persistence: store } = broker as unknown as { persistence: Store }
    const overfull = (facts: object) => ports.log.warn(facts, 'too many messages wait for an mqtt session: its oldest are dropped')
    this.#store = store
    this.#ports = ports
    this.#limits = limits
    this.#waiting = new Waiting({ dropped: ports.dropped, overfull })
    const add = store.addSubscriptions.bind(store)
    // For each subscription that is granted aedes keeps all of its packet, so that messages are queued for the refused ones too.
    store.addSubscriptions = (client, subscriptions) =>
      add(
        client,
        subscriptions.filter(one => this.#granted.has(one)),
      )
    Object.assign(store, this.#outgoing())
    broker.on('client', client => this.#isBack(client.id))
    broker.on('clientDisconnect', client => {
      if (!client.clean) this.#goes(client.id)
    })
    this.#timer = setInterval(() => this.expire(), LOOK_MS).unref()
  }

  granted(subscription: Subscription): void {
    this.#granted.add(subscription)
  }

  /** One that was granted before is for nothing now but to fill a queue. */
  refused(client: Client, { topic }: Subscription): Promise<void> {
    return this.#store.removeSubscriptions(client, [topic])
  }

  /** Forgets the sessions that nobody came back to; done every minute. */
  expire(): void {
    const latestMs = this.#ports.nowMs() - this.#limits.awayMs
    for (const sessions of this.#away.values())
      for (const [id, sinceMs] of sessions) {
        if (sinceMs > latestMs) break
        this.#forget(id, 'nobody came back')
      }
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #outgoing(): Outgoing {
    const waiting = this.#waiting
    return {
      outgoingEnqueue: async ({ clientId }, packet) => waiting.add(clientId, packet),
      outgoingEnqueueCombi: async (to, packet) => {
        for (const { clientId } of to) waiting.add(clientId, packet)
      },
      outgoingUpdate: async ({ id }, packet) => waiting.sent(id, packet),
      outgoingClearMessageId: async ({ id }, { messageId }) => waiting.take(id, messageId),
      outgoingStream: ({ id }) => Readable.from(waiting.all(id)),
    }
  }

  #goes(id: string): void {
    this.#isBack(id)
    const keyId = keyIdOf(id)
    const sessions = this.#away.get(keyId) ?? new Map<string, number>()
    this.#away.set(keyId, sessions.set(id, this.#ports.nowMs()))
    this.#awayCount++
    if (sessions.size > this.#limits.sessionsOfKey) this.#forgetOldest(sessions)
    if (this.#awayCount > this.#limits.sessions) this.#forgetOldest(this.#largest())
  }

  #isBack(id: string): void {
    const keyId = keyIdOf(id)
    const sessions = this.#away.get(keyId)
    if (!sessions?.delete(id)) return
    this.#awayCount--
    if (sessions.size === 0) this.#away.delete(keyId)
  }

  /** Nobody loses a session for what another key keeps, unless that keeps less. */
  #largest(): Map<string, number> {
    return [...this.#away.values()].reduce((largest, one) => (one.size > largest.size ? one : largest))
  }

  #forgetOldest(sessions: Map<string, number>): void {
    const [oldest] = sessions.keys()
    if (oldest !== undefined) this.#forget(oldest, 'too many sessions are away')
  }

  #forget(id: string, reason: string): void {
    this.#isBack(id)
    this.#waiting.forget(id)
    this.#ports.log.info({ client: clientIdOf(id), keyId: keyIdOf(id), reason }, 'mqtt session forgotten')
    const failed = (error: unknown) => this.#ports.log.error({ err: error }, 'mqtt session not forgotten')
    Promise.all([this.#store.cleanSubscriptions({ id }), this.#store.cleanIncoming({ id })]).catch(failed)
  }
}
