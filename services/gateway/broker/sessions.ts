// All sessions that outlive their connections, of every gateway: in Redis, with an index in memory of who waits for which topics. Nobody
// who stays away may keep the memory of all: sessions are forgotten after a day, and too much that waits loses its oldest.
import type { Redis } from 'ioredis'
import { Failure } from '../../../packages/core/failure.ts'
import { contentKey } from '../../../packages/core/id.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { clientIdOf, keyIdOf } from '../mqtt/session.ts'
import { FilterTree } from './filter.ts'
import { Gather } from './gather.ts'
import { defineInOrder, type InOrder } from './inorder.ts'
import { type Grant, Lasting, type Tell } from './lasting.ts'
import { encodeMessage, type Message } from './message.ts'
import { type IsNews, News } from './news.ts'
import type { Step } from './queue.ts'
import { defineScripts, FULL, PREFIX, renewLayout, type Scripts } from './script.ts'

export type SessionLimits = {
  readonly awayMs: number
  readonly sessionsOfKey: number
  readonly sessions: number
  readonly messages: number
  readonly sessionBytes: number
  readonly holderBytes: number
  readonly allBytes: number
  /** Of the filters of a holder, which every gateway has in memory. */
  readonly filterBytes: number
}

export type SessionsPorts = {
  readonly redis: Redis
  readonly log: Logger
  /** Told of each message that was dropped. */
  dropped(): void
  /** A session of this id is no more; there may be another one. */
  forgotten?(id: string): void
  nowMs(): number
}

const MIB = 1024 * 1024
const LIMITS: SessionLimits = {
  awayMs: 24 * 3_600_000,
  sessionsOfKey: 10_000,
  sessions: 50_000,
  messages: 10_000,
  sessionBytes: 8 * MIB,
  holderBytes: 64 * MIB,
  allBytes: 256 * MIB,
  filterBytes: 64 * MIB,
}
const LOOK_MS = 60_000
/** Of a session that is connected somewhere: it is told once in LOOK_MS. */
const UNSEEN_MS = 2.5 * LOOK_MS
const AT_ONCE = 500
const EXPIRE_AT_ONCE = 200
/** Messages of forgotten sessions that are let go of at once. */
const CLEAN_AT_ONCE = 500
const FILTER = 'f:'
/** Sessions that were warned of; beyond it some are again. */
const MAX_WARNED = 10_000

export class Sessions {
  readonly #redis: Redis & Scripts & InOrder
  readonly #ports: SessionsPorts
  readonly #limits: SessionLimits
  /** Of filters with QoS 1 and 2: for others nothing waits. */
  readonly #tree = new FilterTree<string>()
  readonly #filters = new Map<string, Set<string>>()
  readonly #news = new News()
  readonly #connected = new Set<Lasting>()
  readonly #warned = new Set<string>()
  /** One for each reading that is under way. */
  readonly #changes = new Set<Changed>()
  readonly #timer: NodeJS.Timeout
  readonly #steps: Gather<readonly [Step, string, number, string]>
  #cleaning: Promise<void> | undefined
  #isDirty = false
  #looking: Promise<void> | undefined

  constructor(ports: SessionsPorts, limits: Partial<SessionLimits> = {}) {
    this.#redis = defineInOrder(defineScripts(ports.redis))
    this.#ports = ports
    this.#limits = { ...LIMITS, ...limits }
    this.#steps = new Gather(AT_ONCE, steps => this.#redis.mqttSteps(1, PREFIX, ...steps.flat()))
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref()
  }

  /** Before anything else: sessions in Redis that another version of Telltale wrote another way are forgotten. */
  async renew(): Promise<void> {
    const count = await renewLayout(this.#redis, PREFIX)
    if (count > 0) this.#ports.log.warn({ count }, 'mqtt sessions of an older version forgotten')
  }

  /** Whether a session, connected or not, waits for it. */
  has(topic: string): boolean {
    return this.#tree.has(topic)
  }

  /**
   * A client connects to it; it begins here if there is none, or one of another holder.
   * @param holder whose memory is taken by what waits for it: a project, where there is one.
   */
  async open(id: string, holder: string): Promise<Lasting> {
    const { sessionsOfKey, sessions } = this.#limits
    const args = [id, this.#ports.nowMs(), sessionsOfKey, sessions, holder, UNSEEN_MS]
    const [there, fields, sent, received, got, gone, number] = await this.#redis.mqttOpen(1, PREFIX, ...args)
    if (there === FULL) throw new Failure('unavailable', 'as many sessions are connected as there may be', { retryAfterMs: LOOK_MS })
    for (const one of gone) this.#forgotten(one, number, 'too many sessions are away')
    if (there === -1) this.#forgotten(id, number, 'it belongs to another project')
    if (there === -1 || gone.length > 0) this.#clean()
    const tell: Tell = (...step) => this.#steps.add(step)
    const lasting = new Lasting(this.#redis, tell, id, {
      existed: there === 1,
      filters: filtersOf(fields),
      sent: pairs(sent).map(([message, packetId]) => [message, Number(packetId)] as const),
      received: received.map(Number),
      got: got.map(Number),
    })
    this.#connected.add(lasting)
    return lasting
  }

  /** The connection ended, the session did not. */
  async leave(lasting: Lasting): Promise<void> {
    this.#connected.delete(lasting)
    await this.#seen([lasting.id])
  }

  async forget(id: string): Promise<void> {
    const [hasLeft, number] = await this.#redis.mqttForget(1, PREFIX, id)
    this.#ended(id, this.#news.answered(id, number))
    if (hasLeft) this.#clean()
  }

  async exists(id: string): Promise<boolean> {
    return (await this.#redis.exists(`${PREFIX}session:${id}`)) === 1
  }

  /**
   * Undefined ends what was granted. One step, however many there are: those of one SUBSCRIBE, or as many as a session has. @returns whether
   * there was room for them.
   */
  async subscribe(id: string, granted: Granted): Promise<boolean> {
    if (granted.length === 0) return true
    const args: string[] = granted.flatMap(([filter, grant]) => [filter, grant ? JSON.stringify(grant) : ''])
    const outcome = await this.#redis.mqttSubscribe(1, PREFIX, id, this.#limits.filterBytes, ...args)
    if (outcome === 0) throw new Error('the session is gone')
    const filters = granted.map(([filter]) => filter)
    if (outcome > 0) this.#subscribed(id, granted, this.#news.answered(id, outcome, filters))
    return outcome > 0
  }

  /**
   * On disk when this resolves, for everyone who waits for its topic; `from`: it came with QoS 2 to this session, under this packet id.
   * @returns the id under which it is queued: that of a try before which failed half way; or nothing when it had come already, or is behind one
   * that is later in their order.
   */
  async queue(message: Message, from?: From): Promise<string | undefined> {
    const to = new Set<string>()
    if (message.qos > 0) this.#tree.each(message.topic, id => to.add(id))
    if (to.size === 0 && !from) return message.id
    return this.#queue(message, [...to], from)
  }

  /** Its bytes go to Redis with the first sessions, and again only for those whose holder has them not, or no more. */
  async #queue(message: Message, to: readonly string[], from?: From): Promise<string | undefined> {
    const { messages, sessionBytes, holderBytes, allBytes } = this.#limits
    const bytes = encodeMessage(message)
    const says = from ? contentKey(`${message.topic}\n${message.payload.toString('latin1')}`) : ''
    let [id, left, isNeeded] = [message.id, to, true]
    do {
      const [some, rest] = [left.slice(0, AT_ONCE), left.slice(AT_ONCE)]
      const origin = [from?.id ?? '', from?.packetId ?? '', rest.length === 0 ? 1 : 0, says]
      const limits = [messages, sessionBytes, holderBytes, allBytes]
      const queued = await this.#queueFor(message, [id, isNeeded ? bytes : '', ...limits, ...origin, ...some])
      if (!queued) return undefined
      const [known, lost, again, later] = queued
      id = known
      for (const [one, count] of pairs(lost)) this.#lost(one, Number(count))
      isNeeded = again.length > 0
      left = [...again, ...later, ...rest]
    } while (left.length > 0)
    return id
  }

  /** Those that are connected here. */
  connected(): Lasting[] {
    return [...this.#connected]
  }

  /** Those for which more waits than was sent to them. */
  async ahead(some: readonly Lasting[]): Promise<Lasting[]> {
    const found: Lasting[] = []
    for (let at = 0; at < some.length; at += AT_ONCE) {
      const page = some.slice(at, at + AT_ONCE)
      const ids = new Set(await this.#redis.mqttAhead(1, PREFIX, ...page.flatMap(({ id, sentCount }) => [id, sentCount])))
      found.push(...page.filter(({ id }) => ids.has(id)))
    }
    return found
  }

  #queueFor({ order, topic }: Message, args: readonly (string | number | Buffer)[]): ReturnType<Scripts['mqttQueue']> {
    return order === undefined ? this.#redis.mqttQueue(1, PREFIX, ...args) : this.#redis.mqttQueueInOrder(1, PREFIX, order, topic, ...args)
  }

  /** Forgets the sessions that nobody came back to; done every minute, by every gateway. */
  async expire(): Promise<void> {
    const beforeMs = this.#ports.nowMs() - this.#limits.awayMs
    for (;;) {
      const [gone, number] = await this.#redis.mqttExpire(1, PREFIX, beforeMs, EXPIRE_AT_ONCE)
      for (const id of gone) this.#forgotten(id, number, 'nobody came back')
      if (gone.length > 0) this.#clean()
      if (gone.length < EXPIRE_AT_ONCE) return
    }
  }

  /** Lets go of what forgotten sessions left, a little at a time; whichever gateway forgot them. */
  async clean(): Promise<void> {
    while ((await this.#redis.mqttClean(1, PREFIX, CLEAN_AT_ONCE)) === 1);
  }

  /** A gateway changed something. */
  heard(message: Buffer): void {
    const change = JSON.parse(message.toString('utf8')) as Change
    const isNews = this.#news.told(change.id, Number(change.number))
    if (change.kind === 'forgotten') this.#ended(change.id, isNews)
    else if (change.kind === 'subscribed')
      this.#subscribed(
        change.id,
        change.filters.map(([filter, grant]) => [filter, grant === '' ? undefined : (JSON.parse(grant) as Grant)]),
        isNews,
      )
  }

  /** All that there are, again: changes may have been missed. What is told meanwhile is newer than what is read. */
  async read(): Promise<void> {
    const changed: Changed = new Map()
    this.#changes.add(changed)
    try {
      const number = Number((await this.#redis.get(`${PREFIX}changes`)) ?? 0)
      const ids = await this.#redis.zrange(`${PREFIX}sessions`, 0, '-1')
      const there = new Set(ids)
      for (const id of this.#filters.keys()) if (!there.has(id) && !changed.has(id)) this.#drop(id)
      for (let at = 0; at < ids.length; at += AT_ONCE) {
        const some = ids.slice(at, at + AT_ONCE)
        const found = await Promise.all(some.map(id => this.#redis.hgetall(`${PREFIX}session:${id}`)))
        for (const [index, fields] of found.entries()) this.#readOne(some[index] as string, fields, changed)
      }
      this.#news.read(number)
    } finally {
      this.#changes.delete(changed)
    }
  }

  #readOne(id: string, fields: Readonly<Record<string, string>>, changed: Changed): void {
    const newer = changed.get(id)
    if (newer === 'all') return
    const filters = filtersOf(Object.entries(fields).flat())
    const gone = [...(this.#filters.get(id) ?? [])].filter(filter => !filters.has(filter))
    for (const filter of gone) if (!newer?.has(filter)) this.#index(id, filter, undefined)
    for (const [filter, grant] of filters) if (!newer?.has(filter)) this.#index(id, filter, grant)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#looking
    while (this.#cleaning) await this.#cleaning
  }

  /** What is left while it cleans is cleaned next. */
  #clean(): void {
    this.#isDirty = true
    if (this.#cleaning) return
    this.#isDirty = false
    this.#cleaning = this.clean()
      .catch((error: Error) => this.#ports.log.debug({ reason: error.message }, 'forgotten mqtt sessions not cleaned'))
      .finally(() => {
        this.#cleaning = undefined
        if (this.#isDirty) this.#clean()
      })
  }

  #look(): void {
    const failed = (error: Error) => this.#ports.log.debug({ reason: error.message }, 'mqtt sessions not looked after')
    this.#looking ??= this.#seen([...this.#connected].map(({ id }) => id))
      .then(() => this.expire())
      .then(() => this.clean())
      .catch(failed)
      .finally(() => {
        this.#looking = undefined
      })
  }

  async #seen(ids: readonly string[]): Promise<void> {
    const nowMs = this.#ports.nowMs()
    for (let at = 0; at < ids.length; at += AT_ONCE) await this.#redis.mqttSeen(1, PREFIX, nowMs, ...ids.slice(at, at + AT_ONCE))
  }

  #subscribed(id: string, granted: Granted, isNews: IsNews): void {
    const news = granted.filter(([filter]) => isNews(filter))
    for (const changed of this.#changes) {
      const known = changed.get(id) ?? new Set()
      if (known === 'all') continue
      for (const [filter] of news) known.add(filter)
      changed.set(id, known)
    }
    for (const [filter, grant] of news) this.#index(id, filter, grant)
  }

  #ended(id: string, isNews: IsNews): void {
    if (isNews()) {
      for (const changed of this.#changes) changed.set(id, 'all')
      this.#drop(id, isNews)
    }
    this.#ports.forgotten?.(id)
  }

  #index(id: string, filter: string, grant: Grant | undefined): void {
    const filters = this.#filters.get(id) ?? new Set<string>()
    if (grant && grant.qos > 0) {
      this.#filters.set(id, filters.add(filter))
      this.#tree.add(filter, id)
    } else if (filters.delete(filter)) {
      this.#tree.delete(filter, id)
      if (filters.size === 0) this.#filters.delete(id)
    }
  }

  #drop(id: string, isGone: IsNews = () => true): void {
    for (const filter of this.#filters.get(id) ?? []) if (isGone(filter)) this.#index(id, filter, undefined)
    this.#warned.delete(id)
  }

  #forgotten(id: string, number: number, reason: string): void {
    this.#ended(id, this.#news.answered(id, number))
    this.#ports.log.info({ client: clientIdOf(id), keyId: keyIdOf(id), reason }, 'mqtt session forgotten')
  }

  #lost(id: string, count: number): void {
    for (let n = 0; n < count; n++) this.#ports.dropped()
    if (count === 0 || this.#warned.has(id)) return
    if (this.#warned.size >= MAX_WARNED) this.#warned.clear()
    this.#warned.add(id)
    this.#ports.log.warn(
      { client: clientIdOf(id), keyId: keyIdOf(id) },
      'too many messages wait for an mqtt session: its oldest are dropped',
    )
  }
}

/** By which session and packet id a message with QoS 2 came. */
export type From = { readonly id: string; readonly packetId: number }

type Granted = readonly (readonly [filter: string, grant: Grant | undefined])[]

/** What changed while all of it was read: some filters of a session, or the session itself. */
type Changed = Map<string, Set<string> | 'all'>

type Change =
  | { readonly kind: 'forgotten'; readonly id: string; readonly number: string }
  | { readonly kind: 'subscribed'; readonly id: string; readonly number: string; readonly filters: readonly (readonly [string, string])[] }

function filtersOf(fields: readonly string[]): Map<string, Grant> {
  const found = pairs(fields).filter(([name]) => name.startsWith(FILTER))
  return new Map(found.map(([name, grant]) => [name.slice(FILTER.length), JSON.parse(grant) as Grant]))
}

function pairs(flat: readonly (string | number)[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [String(flat[2 * i]), String(flat[2 * i + 1])])
}
