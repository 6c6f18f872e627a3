// One connection over MQTT that has proved who it is: its rights as they are now, and what is remembered between its packets.
import { type Caller, covers, type Identity, ownProject, type Role, roleIn } from '../../packages/identity/identity.ts'
import type { Place } from './decode/event.ts'
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

export type SessionPorts = {
  readonly identity: Pick<Identity, 'renew' | 'watch'>
  /** Told once, when the caller may do less than before. */
  ended(reason: string): void
}

export class Session {
  readonly deliveries: Deliveries
  readonly sequence = new Sequence()
  readonly #ports: SessionPorts
  readonly #places = new Map<string, Place | undefined>()
  #caller: Caller
  #project: string
  #unwatch: () => void
  #closed = false

  constructor(ports: SessionPorts, caller: Caller, deliveries: Deliveries) {
    this.#ports = ports
    this.deliveries = deliveries
    this.#caller = caller
    this.#project = ownProject(caller) ?? ''
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

  /** What the caller may now, for one who may not by what was known: a role that was given since needs no new connection. */
  async renew(): Promise<Caller> {
    const now = await this.#ports.identity.renew(this.#caller)
    if (!now) return { ...this.#caller, roles: {}, organizations: [] }
    // One who lost something is about to be told by the watch, which compares with what was.
    if (now.roles !== this.#caller.roles && holdsAll(now, this.#caller)) this.#adopt(now)
    return now
  }

  close(): void {
    this.#closed = true
    this.#unwatch()
  }

  #adopt(now: Caller): void {
    this.#caller = now
    this.#project = ownProject(now) ?? ''
    this.#places.clear()
    if (this.#closed) return
    this.#unwatch()
    this.#unwatch = this.#watch()
  }

  #watch(): () => void {
    return this.#ports.identity.watch(this.#caller, reason => this.#ports.ended(reason))
  }
}

function holdsAll(now: Caller, before: Caller): boolean {
  return Object.entries(before.roles).every(([project, role]) => covers(roleIn(now, project), role as Role))
}
