// One subscription as this process serves it: its consumers here, and turns, one after the other.
import type { Redis } from 'ioredis'
import { Failure } from '../../core/failure.ts'
import type { Consumer, ConsumerOptions, Delivery, Receiver, TurnReply, TurnScripts } from './dispatch.ts'
import { streamKey, subscriptionKey } from './key.ts'
import { parseRow, type Row } from './message.ts'
import type { Ref } from './stream.ts'
import { missingSubscription, NACK_DELAY_MS } from './subscription.ts'

/** Defaults and bounds of one turn. */
const MAX_MESSAGES = 500
const MAX_BYTES = 2 * 1024 * 1024
/** Of all consumers of a subscription: beyond this nothing new is given. */
const MAX_UNACKED = 200_000
const ACKS_AT_ONCE = 500
const JOINS_AT_ONCE = 100
/** Of the silence after which one is taken for dead, a sign of life comes after this share. */
const BEAT_SHARE = 0.2
const RETRY_MS = 100
const NO_LIMIT = 1_000_000_000

export type LinePorts = {
  readonly redis: Redis & TurnScripts
  listen(heard: () => void): Promise<() => void>
  troubled(error: Error): void
  /** Nobody is left. */
  over(): void
  readonly goneMs: number
}

type Member = {
  readonly options: ConsumerOptions
  readonly dead: Ref | undefined
  readonly receiver: Receiver
  permits: number
  paused: boolean
  active: boolean
}
type Joining = { readonly member: Member; resolve(id: string): void; reject(error: Error): void }
/** Without an id: only wants to know when a turn has been made. */
type Leaving = { readonly id: string | undefined; resolve(): void }
/** What goes with one turn. */
type Said = {
  readonly joins: readonly Joining[]
  readonly acks: readonly number[]
  readonly nacks: ReadonlyMap<number, number[]>
  readonly leaves: readonly Leaving[]
  readonly unsure: ReadonlySet<string>
  readonly members: readonly (readonly [string, Member])[]
}

export class Line {
  readonly #name: string
  readonly #keys: readonly string[]
  readonly #ports: LinePorts
  readonly #members = new Map<string, Member>()
  #joins: Joining[] = []
  #leaves: Leaving[] = []
  #acks: number[] = []
  #nacks = new Map<number, number[]>()
  /** Those to whom something may have been given that never came. */
  #unsure = new Set<string>()
  #due = false
  #running: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #unlisten: Promise<() => void> | undefined
  #cuts = 0
  #entering = 0
  readonly #beatMs: number
  #stopped = false
  readonly #cut = () => {
    this.#cuts++
  }

  constructor(ref: Ref, { name, uid }: { readonly name: string; readonly uid: string }, ports: LinePorts) {
    this.#name = name
    const own = ['', 'open', 'due', 'wait', 'seen', 'members', 'locks', 'delayed'].map(part => subscriptionKey(ref, uid, part))
    this.#keys = [...own, streamKey(ref, 'log'), streamKey(ref)]
    this.#ports = ports
    this.#beatMs = ports.goneMs * BEAT_SHARE
    ports.redis.on('close', this.#cut)
  }

  /** Consumers here. */
  get size(): number {
    return this.#members.size
  }

  async join(options: ConsumerOptions, dead: Ref | undefined, receiver: Receiver): Promise<Consumer> {
    const permits = options.pull ? 0 : NO_LIMIT
    const member: Member = { options, dead, receiver, permits, paused: false, active: false }
    this.#entering++
    try {
      this.#unlisten ??= this.#ports.listen(() => this.#poke())
      await this.#unlisten
      const id = await new Promise<string>((resolve, reject) => {
        this.#joins.push({ member, resolve, reject })
        this.#poke()
      })
      return this.#consumer(id, member)
    } finally {
      this.#entering--
      if (!this.#running) await this.#close()
    }
  }

  /** Those here leave; while Redis is away they are found gone by others, in a few seconds. */
  async stop(): Promise<void> {
    this.#stopped = true
    const leaving = [...this.#members.keys()].map(id => this.#leave(id))
    await Promise.all(leaving)
    await this.#running
  }

  #consumer(id: string, member: Member): Consumer {
    const poke = () => this.#poke()
    return {
      id,
      get active() {
        return member.active
      },
      ack: seqs => {
        this.#acks.push(...seqs)
        poke()
      },
      nack: (seqs, delayMs = member.options.nackDelayMs ?? NACK_DELAY_MS) => {
        const same = this.#nacks.get(delayMs) ?? []
        this.#nacks.set(delayMs, same)
        same.push(...seqs)
        poke()
      },
      permit: messages => {
        member.permits = Math.min(NO_LIMIT, member.permits + messages)
        poke()
      },
      pause: () => {
        member.paused = true
      },
      resume: () => {
        member.paused = false
        poke()
      },
      settled: () => this.#left(undefined),
      leave: () => this.#leave(id),
    }
  }

  #leave(id: string): Promise<void> {
    if (!this.#members.has(id)) return Promise.resolve()
    // Nothing is given to it from now on; what a turn under way gives it goes back with the leave.
    this.#members.delete(id)
    return this.#left(id)
  }

  #left(id: string | undefined): Promise<void> {
    return new Promise(resolve => {
      this.#leaves.push({ id, resolve })
      this.#poke()
    })
  }

  #poke(): void {
    this.#due = true
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    // What is done in the same moment goes with one turn.
    await new Promise(resolve => setImmediate(resolve))
    clearTimeout(this.#timer)
    let waitMs = this.#beatMs
    while (this.#due) {
      this.#due = false
      waitMs = await this.#turn()
    }
    this.#running = undefined
    if (this.#members.size > 0) this.#timer = setTimeout(() => this.#poke(), waitMs)
    else await this.#close()
  }

  async #close(): Promise<void> {
    const unlisten = await this.#unlisten
    if (this.#members.size > 0 || this.#entering > 0 || this.#running) return
    this.#unlisten = undefined
    this.#ports.redis.off('close', this.#cut)
    this.#ports.over()
    unlisten?.()
  }

  /** Returns after how long the next one is due. */
  async #turn(): Promise<number> {
    const said = this.#collect()
    const cuts = this.#cuts
    try {
      const reply = await this.#ports.redis.streamTurnBuffer(this.#keys.length, ...this.#keys, ...this.#argsOf(said))
      // The command may have been sent twice, and what the first one gave be lost with its reply.
      if (cuts !== this.#cuts) for (const [id] of said.members) this.#unsure.add(id)
      for (const { resolve } of said.leaves) resolve()
      return this.#take(reply, said.joins)
    } catch (error) {
      return this.#failed(error as Error, said)
    }
  }

  #collect(): Said {
    const said = {
      joins: this.#joins.splice(0, JOINS_AT_ONCE),
      acks: this.#acks,
      nacks: this.#nacks,
      leaves: this.#leaves,
      unsure: this.#unsure,
    }
    this.#acks = []
    this.#nacks = new Map()
    this.#leaves = []
    this.#unsure = new Set()
    return { ...said, members: [...this.#members] }
  }

  #argsOf({ joins, acks, nacks, leaves, unsure, members }: Said): (string | number)[] {
    const args = [MAX_MESSAGES, MAX_BYTES, this.#ports.goneMs, MAX_UNACKED, ...joins.flatMap(joinOf), ...acksOf(acks), ...nacksOf(nacks)]
    for (const { id } of leaves) if (id !== undefined) args.push('l', id)
    for (const id of unsure) args.push('r', id)
    for (const [id, member] of members) args.push(...this.#takeOf(id, member))
    return args
  }

  async #failed(error: Error, { joins, acks, nacks, leaves, members }: Said): Promise<number> {
    const isGone = /\bGONE$/.test(error.message)
    const failure = isGone ? missingSubscription(this.#name) : error
    for (const { reject } of joins) reject(failure)
    if (!isGone) this.#ports.troubled(error)
    if (isGone || this.#stopped) {
      for (const { resolve } of leaves) resolve()
      this.#end(failure)
      return this.#beatMs
    }
    this.#putBack(acks, nacks, leaves)
    for (const [id] of members) this.#unsure.add(id)
    await new Promise(resolve => setTimeout(resolve, RETRY_MS))
    this.#due = true
    return 0
  }

  /** Acking twice does no harm. */
  #putBack(acks: readonly number[], nacks: ReadonlyMap<number, number[]>, leaves: readonly Leaving[]): void {
    this.#acks.unshift(...acks)
    this.#leaves.unshift(...leaves)
    for (const [delayMs, seqs] of nacks) this.#nacks.set(delayMs, [...seqs, ...(this.#nacks.get(delayMs) ?? [])])
  }

  #takeOf(id: string, { options, dead, permits, paused }: Member): (string | number)[] {
    const { window, ackTimeoutMs = 0, maxRedeliveries = 0, subscription } = options
    const [deadLog, deadMeta] = dead ? [streamKey(dead, 'log'), streamKey(dead)] : ['', '']
    return ['t', id, paused ? 0 : permits, window, ackTimeoutMs, dead ? maxRedeliveries : 0, deadLog, deadMeta, subscription]
  }

  #take([joined, lost, more, dueMs, active, given]: TurnReply, joins: readonly Joining[]): number {
    for (const [i, joining] of joins.entries()) this.#joined(String(joined[i]), joining)
    const only = active.toString()
    for (const [id, member] of this.#members) member.active = only === '' || only === id
    this.#give(given)
    for (const id of lost) this.#lose(id.toString())
    if (more === 1 || this.#joins.length > 0 || this.#unsure.size > 0 || joins.length > 0) this.#due = true
    return dueMs < 0 ? this.#beatMs : Math.min(this.#beatMs, Math.max(1, dueMs))
  }

  #joined(answer: string, { member, resolve, reject }: Joining): void {
    if (/^\d+$/.test(answer)) {
      this.#members.set(answer, member)
      resolve(answer)
    } else if (answer === 'TAKEN')
      reject(new Failure('conflict', `subscription ${this.#name} is exclusive and has a consumer`, { field: 'consumers' }))
    else reject(new Failure('conflict', `subscription ${this.#name} has consumers of another type: ${answer.slice(5)}`, { field: 'type' }))
  }

  #give(given: readonly unknown[]): void {
    const perMember = new Map<Member, Delivery[]>()
    for (let i = 0; i < given.length; i += 3) {
      const member = this.#members.get(String(given[i]))
      // It has left meanwhile: what it was given goes back with that.
      if (!member) continue
      const deliveries = perMember.get(member) ?? []
      perMember.set(member, deliveries)
      deliveries.push({ message: parseRow(given[i + 2] as Row), redeliveries: given[i + 1] as number })
    }
    for (const [member, deliveries] of perMember) {
      if (member.options.pull) member.permits -= deliveries.length
      member.receiver.receive(deliveries)
    }
  }

  #lose(id: string): void {
    const member = this.#members.get(id)
    this.#members.delete(id)
    member?.receiver.ended(new Failure('unavailable', 'this server was silent for too long: come back', { retryAfterMs: 0 }))
  }

  #end(failure: Error): void {
    const members = [...this.#members.values()]
    this.#members.clear()
    for (const { reject } of this.#joins.splice(0)) reject(failure)
    const told = failure instanceof Failure ? failure : new Failure('unavailable', 'the server is stopping', { cause: failure })
    for (const { receiver } of members) receiver.ended(told)
  }
}

function joinOf({ member }: Joining): (string | number)[] {
  const { type, priority = 0, name = '' } = member.options
  return ['j', type, priority, name]
}

function acksOf(acks: readonly number[]): (string | number)[] {
  const args: (string | number)[] = []
  for (let i = 0; i < acks.length; i += ACKS_AT_ONCE) {
    const some = acks.slice(i, i + ACKS_AT_ONCE)
    args.push('a', some.length, ...some)
  }
  return args
}

function nacksOf(nacks: ReadonlyMap<number, readonly number[]>): (string | number)[] {
  return [...nacks].flatMap(([delayMs, seqs]) => ['n', delayMs, seqs.length, ...seqs])
}
