// Which gateway each client is connected to, and what is to be published when it is gone: in Redis, so that whoever the client comes to next
// sees to it first. Of clients that leave nothing behind, neither a session nor a will, nothing is kept.
import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { Failure } from '../../../packages/core/failure.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { defineOwnerScripts, type OwnerScripts } from './ownerscript.ts'
import { PREFIX } from './script.ts'
import { decodeWill, encodeWill, type Will } from './will.ts'

export type OwnersPorts = {
  /** Fails at once while Redis is away. */
  readonly redis: Redis
  /** A connection of its own, for SUBSCRIBE. */
  readonly subscriber: Redis
  readonly node: string
  readonly log: Logger
  newId(): string
  /** Ends the connection of a client of this gateway: it has come to another one. */
  close(id: string): void
  /** The will of a connection that is gone. Resolves also when it may not be published at all; rejects when it cannot be now. */
  publish(id: string, will: Will): Promise<void>
}

/** One connection, as Redis has it. */
export type Owned = {
  readonly id: string
  readonly value: string
  readonly will: Will | undefined
}

export type OwnerTimes = {
  readonly beatMs: number
  /** Without a beat for so long it may be gone. */
  readonly aliveMs: number
  readonly sweepMs: number
  /** Time for one that is there to say so: after an outage of Redis everybody's last beat is long ago. */
  readonly againMs: number
  /** Who said that it publishes a will, and did not, is waited for no more. */
  readonly claimMs: number
  /** For another gateway to let go of a client that has come here. */
  readonly handOverMs: number
  /** For all that comes before a CONNACK. */
  readonly enterMs: number
}

const TIMES: OwnerTimes = {
  beatMs: 5000,
  aliveMs: 30_000,
  sweepMs: 30_000,
  againMs: 15_000,
  claimMs: 15_000,
  handOverMs: 2000,
  enterMs: 5000,
}
const LOOK_MS = 25
const MAX_OWNERS = 200_000
/** In one round; the next goes on where it ended. */
const MAX_ORPHANS = 10_000
const AT_ONCE = 8
const PAGE = 500
const MAX_SILENT = 1000
const FULL = new Failure('unavailable', 'too many mqtt clients have a session or a will', { retryAfterMs: 10_000 })
const STILL_THERE = new Failure('unavailable', 'the connection that this client had before still ends', { retryAfterMs: 1000 })

type Orphan = readonly [id: string, value: string]

export class Owners {
  readonly #redis: Redis & OwnerScripts
  readonly #ports: OwnersPorts
  readonly #times: OwnerTimes
  readonly #live = new Map<string, string>()
  /** By value: wills of this gateway that could not be published yet. */
  readonly #due = new Map<string, string>()
  /** By value: what is to be removed when Redis is there again. */
  readonly #left = new Map<string, string>()
  /** Gateways that did not let go of a client in time, and since when: nobody waits for them for a while. */
  readonly #silent = new Map<string, number>()
  readonly #timers: readonly NodeJS.Timeout[]
  readonly #stopped = new AbortController()
  #saying: Promise<unknown> | undefined
  #working: Promise<void> | undefined
  #sweeping: Promise<void> | undefined
  #cursor = '0'

  private constructor(ports: OwnersPorts, times: Partial<OwnerTimes>) {
    this.#redis = defineOwnerScripts(ports.redis)
    this.#ports = ports
    this.#times = { ...TIMES, ...times }
    const { beatMs, sweepMs } = this.#times
    this.#timers = [setInterval(() => this.#beat(), beatMs).unref(), setInterval(() => this.#sweep(), sweepMs).unref()]
  }

  static async open(ports: OwnersPorts, times: Partial<OwnerTimes> = {}): Promise<Owners> {
    const owners = new Owners(ports, times)
    const channel = Buffer.from(channelOf(ports.node))
    ports.subscriber.on('messageBuffer', (from: Buffer, message: Buffer) => {
      if (from.equals(channel)) owners.#asked(message.toString())
    })
    // Whoever asks meanwhile goes on without an answer.
    ports.subscriber.on('ready', () => {
      ports.subscriber.subscribe(channel).catch((error: Error) => owners.#note(error, 'not heard by other gateways'))
      owners.#beat()
    })
    await ports.subscriber.subscribe(channel)
    return owners
  }

  /**
   * When it resolves, nobody else has the client, and the will of the connection before this one is published, as far as it may be.
   * @param leaves whether there is anything to see to when this connection ends.
   * @param waits called before another gateway is waited for.
   * @throws Failure `unavailable`, or what Redis says.
   */
  async enter(id: string, leaves: boolean, will: Will | undefined, waits: () => void): Promise<Owned | undefined> {
    const value = `${this.#ports.node}\n${this.#ports.newId()}`
    const untilMs = performance.now() + this.#times.enterMs
    const args = [id, leaves ? value : '', will ? encodeWill(will) : '', this.#ports.node, this.#times.aliveMs, MAX_OWNERS]
    try {
      for (let before = await this.#enter(args); before !== null; before = await this.#enter(args)) {
        waits()
        await this.#pass(id, before)
        if (performance.now() > untilMs) throw STILL_THERE
      }
    } catch (error) {
      // Redis may have it and have failed to say so.
      if (leaves && this.#left.size < MAX_OWNERS) this.#left.set(value, id)
      throw error
    }
    if (!leaves) return undefined
    this.#live.set(id, value)
    return { id, value, will }
  }

  /**
   * A connection has ended. Never fails: what cannot be done now is done when it can.
   * @param publish its will; absent: it goes with the connection.
   */
  async leave({ id, value, will }: Owned, publish?: (will: Will) => Promise<void>): Promise<void> {
    const isDue = will !== undefined && publish !== undefined
    try {
      if (isDue) await this.#settle(id, value, publish)
      else await this.#remove(id, value)
    } catch (error) {
      this.#note(error as Error, isDue ? 'an mqtt will waits' : 'an mqtt will is removed later')
      ;(isDue ? this.#due : this.#left).set(value, id)
    }
    if (this.#live.get(id) === value) this.#live.delete(id)
  }

  /** Publishes the wills of gateways that are gone; done twice a minute, by one of all gateways. */
  async sweep(): Promise<void> {
    const { sweepMs, againMs } = this.#times
    const lockMs = Math.floor(sweepMs * 0.9)
    if ((await this.#redis.set(`${PREFIX}sweep`, this.#ports.node, 'PX', lockMs, 'NX')) === null) return
    const found = await this.#orphans()
    if (found.length === 0) return
    // Whatever fails in between, nobody is gone.
    await pause(againMs, undefined, { signal: this.#stopped.signal, ref: false })
    const absent = await this.#absent(new Set(found.map(([, value]) => nodeOf(value))))
    const orphans = found.filter(([, value]) => absent.has(nodeOf(value)))
    await this.#each(orphans, ([id, value]) => this.#settle(id, value))
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    this.#stopped.abort()
    await Promise.all([this.#saying, this.#working, this.#sweeping])
  }

  async #enter(args: readonly (string | number | Buffer)[]): Promise<string | null> {
    const before = await this.#redis.mqttEnter(1, PREFIX, ...args)
    if (before === '') throw FULL
    return before
  }

  /** Whoever has the client lets go of it, or has had the time to. */
  async #pass(id: string, value: string): Promise<void> {
    const node = nodeOf(value)
    if (this.#left.has(value)) return this.#removeLeft(id, value)
    if (node !== this.#ports.node) {
      // Also one that nobody waits for: it may only be slow, and would go on sending to its client.
      await this.#redis.publish(channelOf(node), JSON.stringify({ kind: 'end', id, value }))
      if (!this.#isSilent(node) && (await this.#answers(node, id, value))) return
    }
    if (!(await this.#settle(id, value))) await pause(LOOK_MS)
  }

  #isSilent(node: string): boolean {
    return performance.now() - (this.#silent.get(node) ?? Number.NEGATIVE_INFINITY) < this.#times.aliveMs
  }

  async #answers(node: string, id: string, value: string): Promise<boolean> {
    const isHandedOver = await this.#handsOver(id, value)
    if (isHandedOver) this.#silent.delete(node)
    else {
      if (this.#silent.size >= MAX_SILENT) this.#silent.clear()
      this.#silent.set(node, performance.now())
    }
    return isHandedOver
  }

  async #handsOver(id: string, value: string): Promise<boolean> {
    for (const untilMs = performance.now() + this.#times.handOverMs; performance.now() < untilMs; ) {
      if ((await this.#redis.hget(`${PREFIX}owner`, id)) !== value) return true
      await pause(LOOK_MS)
    }
    return false
  }

  #asked(message: string): void {
    const { id, value } = JSON.parse(message) as { readonly id: string; readonly value: string }
    const failed = (error: Error) => this.#note(error, 'a client that came to another gateway is not let go of yet')
    if (this.#live.get(id) === value) this.#ports.close(id)
    else if (this.#left.has(value)) this.#removeLeft(id, value).catch(failed)
    else if (this.#due.has(value)) this.#settleDue(id, value).catch(failed)
  }

  /** @returns whether it is done; else somebody else is at it. */
  async #settle(id: string, value: string, publish = (will: Will) => this.#ports.publish(id, will)): Promise<boolean> {
    const claimed = await this.#redis.mqttClaimBuffer(1, PREFIX, id, value, this.#ports.node, this.#times.claimMs)
    if (!Buffer.isBuffer(claimed)) return claimed === null
    try {
      if (claimed.length > 0) await publish(decodeWill(claimed))
    } catch (error) {
      await this.#redis.del(`${PREFIX}claim:${id}`)
      throw error
    }
    await this.#remove(id, value)
    return true
  }

  async #remove(id: string, value: string): Promise<void> {
    await this.#redis.mqttRemove(1, PREFIX, id, value)
  }

  async #removeLeft(id: string, value: string): Promise<void> {
    await this.#remove(id, value)
    this.#left.delete(value)
  }

  async #settleDue(id: string, value: string): Promise<void> {
    if (await this.#settle(id, value)) this.#due.delete(value)
  }

  /** What there is to do may take long, and must not keep this gateway from saying that it lives: others would take all its clients for gone. */
  #beat(): void {
    if (this.#live.size + this.#due.size + this.#left.size === 0) return
    this.#saying ??= this.#redis
      .set(`${PREFIX}node:${this.#ports.node}`, 1, 'PX', this.#times.aliveMs)
      .catch((error: Error) => this.#note(error, 'not said that this gateway lives'))
      .finally(() => {
        this.#saying = undefined
      })
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined
    })
  }

  async #work(): Promise<void> {
    await this.#each([...this.#left], ([value, id]) => this.#removeLeft(id, value))
    await this.#each([...this.#due], ([value, id]) => this.#settleDue(id, value))
  }

  #sweep(): void {
    this.#sweeping ??= this.sweep()
      .catch((error: Error) => this.#note(error, 'wills of gateways that are gone not looked for'))
      .finally(() => {
        this.#sweeping = undefined
      })
  }

  /** One that fails keeps no other waiting. */
  async #each<T>(all: readonly T[], settle: (one: T) => Promise<unknown>): Promise<void> {
    for (let at = 0; at < all.length && !this.#stopped.signal.aborted; at += AT_ONCE) {
      const some = all.slice(at, at + AT_ONCE)
      for (const { reason } of (await Promise.allSettled(some.map(settle))).filter(one => one.status === 'rejected'))
        this.#note(reason as Error, 'an mqtt will waits')
    }
  }

  async #orphans(): Promise<Orphan[]> {
    const found: Orphan[] = []
    const isGone = new Map<string, boolean>()
    do {
      const [cursor, flat] = await this.#redis.hscan(`${PREFIX}owner`, this.#cursor, 'COUNT', PAGE)
      this.#cursor = cursor
      const page = Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]] as [string, string])
      const unknown = new Set(page.map(([, value]) => nodeOf(value)).filter(node => !isGone.has(node)))
      const absent = await this.#absent(unknown)
      for (const node of unknown) isGone.set(node, absent.has(node))
      found.push(...page.filter(([, value]) => isGone.get(nodeOf(value))))
    } while (this.#cursor !== '0' && found.length < MAX_ORPHANS)
    return found
  }

  async #absent(nodes: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    const absent = new Set<string>()
    for (const node of nodes) if (node !== this.#ports.node && (await this.#redis.exists(`${PREFIX}node:${node}`)) === 0) absent.add(node)
    return absent
  }

  #note({ message }: Error, what: string): void {
    this.#ports.log.debug({ reason: message }, what)
  }
}

function nodeOf(value: string): string {
  return value.slice(0, value.indexOf('\n'))
}

/** Where a gateway is told that a client of it has come to another one. */
function channelOf(node: string): string {
  return `${PREFIX}end:${node}`
}
