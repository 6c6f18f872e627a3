// One subscription as this process serves it: its consumers here, and turns, one after the other.
import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import { Failure } from '../../core/failure.ts'
import type { Consumer, ConsumerOptions, Delivery, Receiver, TurnReply, TurnScripts } from './dispatch.ts'
import { ackedKey, streamKey, subscriptionKey } from './key.ts'
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
/** Redis does nothing else meanwhile. */
const ACKS_PER_TURN = 5000
const NACKS_PER_TURN = 1000
const LEAVES_PER_TURN = 20
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
/** `l`: what it has goes back; `k`: that stays given. Without an id: only wants to know when a turn has been made. */
type Leaving = { readonly id: string | undefined; readonly how: 'l' | 'k'; resolve(): void; reject(error: Error): void }
/** `n`: is given again after the delay; `h`: unless it is acked before. */
type Nack = { readonly how: 'n' | 'h'; readonly seq: number; readonly delayMs: number }
/** What goes with one turn. */
type Said = {
  readonly joins: readonly Joining[]
  readonly acks: readonly number[]
  readonly nacks: readonly Nack[]
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
  #nacks: Nack[] = []
  /** Those to whom something may have been given that never came. */
  #unsure = new Set<string>()
  #due = false
  #running: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #unlisten: Promise<() => void> | undefined
  /** Of this line, wherever it is. */
  readonly #id = randomUUID()
  #turns = 0
  #entering = 0
  readonly #beatMs: number
  #stopped = false

  constructor(ref: Ref, { name, uid }: { readonly name: string; readonly uid: string }, ports: LinePorts) {
    this.#name = name
    const own = ['', 'open', 'due', 'wait', 'seen', 'members', 'locks', 'delayed'].map(part => subscriptionKey(ref, uid, part))
    this.#keys = [...own, streamKey(ref, 'log'), streamKey(ref), ackedKey(ref.project)]
    this.#ports = ports
    this.#beatMs = ports.goneMs * BEAT_SHARE
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
      await this.#unlisten.catch((error: unknown) => {
        // The next one tries again.
        this.#unlisten = undefined
        throw error
      })
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

  /** Whoever was given them. Resolves when it is on disk. */
  ack(seqs: readonly number[]): Promise<void> {
    for (const seq of seqs) this.#acks.push(seq)
    return this.#left(undefined)
  }

  nack(seqs: readonly number[], delayMs: number): Promise<void> {
    for (const seq of seqs) this.#nacks.push({ how: 'n', seq, delayMs })
    return this.#left(undefined)
  }

  /** Those here leave; while Redis is away they are found gone by others, in a few seconds. */
  async stop(): Promise<void> {
    this.#stopped = true
    const leaving = [...this.#members.keys()].map(id => this.#leave(id, 'l'))
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
        for (const seq of seqs) this.#acks.push(seq)
        poke()
      },
      nack: (seqs, delayMs = member.options.nackDelayMs ?? NACK_DELAY_MS) => {
        for (const seq of seqs) this.#nacks.push({ how: 'n', seq, delayMs })
        poke()
      },
      hold: (seqs, ms) => {
        for (const seq of seqs) this.#nacks.push({ how: 'h', seq, delayMs: ms })
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
      leave: ({ keep = false } = {}) => this.#leave(id, keep && (member.options.ackTimeoutMs ?? 0) > 0 ? 'k' : 'l'),
    }
  }

  #leave(id: string, how: 'l' | 'k'): Promise<void> {
    if (!this.#members.has(id)) return Promise.resolve()
    // Nothing is given to it from now on; what a turn under way gives it goes back with the leave.
    this.#members.delete(id)
    return this.#left(id, how)
  }

  #left(id: string | undefined, how: 'l' | 'k' = 'l'): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#leaves.push({ id, how, resolve, reject })
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
    try {
      while (this.#due) {
        this.#due = false
        waitMs = await this.#turn()
      }
    } catch (error) {
      // Nobody is left behind by what no one has thought of.
      this.#ports.troubled(error as Error)
      this.#end(new Failure('unavailable', 'internal error: come back', { retryAfterMs: 1000, cause: error }))
    }
    this.#running = undefined
    if (this.#members.size > 0) this.#timer = setTimeout(() => this.#poke(), waitMs)
    else await this.#close()
  }

  async #close(): Promise<void> {
    const unlisten = await this.#unlisten
    if (this.#members.size > 0 || this.#entering > 0 || this.#running) return
    this.#unlisten = undefined
    this.#ports.over()
    unlisten?.()
  }

  /** Returns after how long the next one is due. */
  async #turn(): Promise<number> {
    const said = this.#collect()
    try {
      const reply = await this.#ports.redis.streamTurnBuffer(this.#keys.length, ...this.#keys, ...this.#argsOf(said))
      // The connection has sent the command twice: what the first one gave was lost with its reply.
      if (reply[6] === 1) for (const [id] of said.members) this.#unsure.add(id)
      for (const { resolve } of said.leaves) resolve()
      return this.#take(reply, said.joins)
    } catch (error) {
      return this.#failed(error as Error, said)
    }
  }

  #collect(): Said {
    const said = {
      joins: this.#joins.splice(0, JOINS_AT_ONCE),
      acks: this.#acks.splice(0, ACKS_PER_TURN),
      nacks: this.#nacks.splice(0, NACKS_PER_TURN),
      // What is said before somebody goes is taken in before.
      leaves: this.#acks.length + this.#nacks.length > 0 ? [] : this.#leaves.splice(0, this.#leavesOfTurn()),
      unsure: this.#unsure,
    }
    if (this.#acks.length + this.#nacks.length + this.#leaves.length > 0) this.#due = true
    this.#unsure = new Set()
    return { ...said, members: [...this.#members] }
  }

  /** As many as may leave at once, and all who only want to know. */
  #leavesOfTurn(): number {
    let [count, leaving] = [0, 0]
    for (const { id } of this.#leaves) {
      if (id !== undefined && ++leaving > LEAVES_PER_TURN) break
      count++
    }
    return count
  }

  #argsOf({ joins, acks, nacks, leaves, unsure, members }: Said): (string | number)[] {
    const args: (string | number)[] = [MAX_MESSAGES, MAX_BYTES, this.#ports.goneMs, MAX_UNACKED, this.#id, this.#turns++]
    for (const [id, member] of members) args.push(...this.#takeOf(id, member))
    args.push(...acksOf(acks), ...nacksOf(nacks), ...joins.flatMap(joinOf))
    for (const { id, how } of leaves) if (id !== undefined) args.push(how, id)
    for (const id of unsure) args.push('r', id)
    return args
  }

  async #failed(error: Error, { joins, acks, nacks, leaves, members }: Said): Promise<number> {
    const isGone = /\bGONE$/.test(error.message)
    const failure = isGone ? missingSubscription(this.#name) : error
    for (const { reject } of joins) reject(failure)
    if (!isGone) this.#ports.troubled(error)
    if (isGone || this.#stopped) {
      // Who leaves is gone either way; who asks whether its acks are safe is told that they are not.
      for (const { id, resolve, reject } of leaves)
        if (id === undefined) reject(failure)
        else resolve()
      this.#end(failure)
      return this.#beatMs
    }
    this.#putBack(acks, nacks, leaves)
    // What Redis itself refuses was not done.
    if (error.name !== 'ReplyError') for (const [id] of members) this.#unsure.add(id)
    await new Promise(resolve => setTimeout(resolve, RETRY_MS))
    this.#due = true
    return 0
  }

  /** Acking twice does no harm. */
  #putBack(acks: readonly number[], nacks: readonly Nack[], leaves: readonly Leaving[]): void {
    this.#acks = [...acks, ...this.#acks]
    this.#nacks = [...nacks, ...this.#nacks]
    this.#leaves = [...leaves, ...this.#leaves]
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
    for (const { id, resolve, reject } of this.#leaves.splice(0))
      if (id === undefined) reject(failure)
      else resolve()
    this.#acks = []
    this.#nacks = []
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

function nacksOf(nacks: readonly Nack[]): (string | number)[] {
  return nacks.flatMap(({ how, seq, delayMs }) => [how, delayMs, 1, seq])
}
