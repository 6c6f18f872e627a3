// One connection over MQTT that has proved who it is: its rights as they are now, and what is remembered between its packets.
import { type Caller, covers, type Identity, ownProject, type Role, roleIn } from '../../../packages/identity/identity.ts'
import { Grants } from '../broker/grant.ts'
import type { Lasting } from '../broker/lasting.ts'
import type { Author } from '../broker/message.ts'
import type { Place } from '../decode/event.ts'
import type { Asking } from './asking.ts'
import type { Deliveries } from './redelivery.ts'
import { Sequence } from './sequence.ts'
import { ingestPlace } from './topic.ts'

/** A client publishes to the same few topics again and again. */
const MAX_PLACES = 50
/** In neither key ids nor what most clients call themselves. */
const BEHIND_KEY = '\n'

/**
 * What the broker knows a client as. A client id alone is anybody's to choose: whoever connected with it would take over the
 * session, and what is queued for it, of another key [MQTT-3.1.4-2].
 */
export function sessionId(keyId: string, clientId: string): string {
  return `${keyId}${BEHIND_KEY}${clientId}`
}

/** Empty before the login. */
export function keyIdOf(id: string): string {
  return id.slice(0, Math.max(0, id.indexOf(BEHIND_KEY)))
}

/** As the client calls itself. */
export function clientIdOf(id: string): string {
  return id.slice(id.indexOf(BEHIND_KEY) + 1)
}

/** The one that short topics mean; empty: none. */
export function ownProjectOf(caller: Caller): string {
  return ownProject(caller) ?? ''
}

export function authorOf({ caller: { keyId, account, device } }: { readonly caller: Caller }): Author {
  return { keyId, account, ...(device ? { device } : {}) }
}

export type SessionPorts = {
  readonly identity: Pick<Identity, 'renew' | 'watch'>
  /** Told once, when the caller may do less than before. */
  ended(reason: string): void
}

export class Session {
  readonly deliveries: Deliveries
  readonly sequence = new Sequence()
  readonly grants = new Grants()
  /** The SUBSCRIBE that came last. */
  asking: Asking | undefined
  /** Of a session that outlives the connection. */
  lasting: Lasting | undefined
  /** DISCONNECT has come. */
  hasLeft = false
  /** Of the message that was forwarded last: a message is sent once, however many filters match it. */
  forwarded: object | undefined
  readonly #ports: SessionPorts
  readonly #places = new Map<string, Place | undefined>()
  #caller: Caller
  #project: string
  #unwatch: () => void
  #closed = false
  /** Packet ids that came with QoS 2 and wait for PUBREL, where the session ends with the connection. */
  readonly #got = new Set<number>()

  constructor(ports: SessionPorts, caller: Caller, deliveries: Deliveries) {
    this.#ports = ports
    this.deliveries = deliveries
    this.#caller = caller
    this.#project = ownProjectOf(caller)
    this.#unwatch = this.#watch()
  }

  get caller(): Caller {
    return this.#caller
  }

  /** The one that short topics (`d/{device}/{eventType}`) mean. */
  get project(): string {
    return this.#project
  }

  placeOf(topic: string): Place | undefined {
    if (this.#places.has(topic)) return this.#places.get(topic)
    const place = ingestPlace(topic, this.#project)
    if (this.#places.size < MAX_PLACES) this.#places.set(topic, place)
    return place
  }

  /** @returns whether a message under this packet id came before [MQTT-4.3.3-2]. */
  comesAgain(packetId: number): boolean {
    if (this.lasting) return this.lasting.comesAgain(packetId)
    if (this.#got.has(packetId)) return true
    this.#got.add(packetId)
    return false
  }

  async released(packetId: number): Promise<void> {
    this.#got.delete(packetId)
    await this.lasting?.released(packetId)
  }

  /** What the caller may now, for one who may not by what was known: a role that was given since needs no new connection. */
  async renew(): Promise<Caller> {
    const now = await this.#ports.identity.renew(this.#caller)
    if (!now) return nobody(this.#caller)
    // One who lost something is about to be told by the watch, which compares with what was.
    if (now.roles !== this.#caller.roles && holdsAll(now, this.#caller)) this.#adopt(now)
    return now
  }

  /** All publishes that came are answered. */
  settled(): Promise<void> {
    return new Promise(resolve => this.sequence.answer(() => resolve())(null))
  }

  close(): void {
    this.#closed = true
    this.#unwatch()
  }

  #adopt(now: Caller): void {
    this.#caller = now
    this.#project = ownProjectOf(now)
    this.#places.clear()
    if (this.#closed) return
    this.#unwatch()
    this.#unwatch = this.#watch()
  }

  #watch(): () => void {
    return this.#ports.identity.watch(this.#caller, reason => this.#ports.ended(reason))
  }
}

function nobody({ keyId, account }: Caller): Caller {
  return { keyId, account, roles: {} }
}

function holdsAll(now: Caller, before: Caller): boolean {
  return Object.entries(before.roles).every(([project, role]) => covers(roleIn(now, project), role as Role))
}
