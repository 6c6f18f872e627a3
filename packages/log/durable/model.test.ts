// Subscriptions against a model: consumers that come, go, ack, refuse, let time pass and die with their process, at random. Nothing is
// lost, what is acked never comes again, redeliveries are counted right, and the order of each key is kept.
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../fixture.ts'
import { type Consumer, type Delivery, Dispatch } from './dispatch.ts'
import { DurableStreams, type Ref } from './stream.ts'
import { Subscriptions, type SubscriptionType } from './subscription.ts'

const KEYS = 5
const GONE_MS = 500
const ACK_TIMEOUT_MS = 150

type Step =
  | { readonly kind: 'append'; readonly count: number }
  | { readonly kind: 'join'; readonly node: number; readonly window: number; readonly timed: boolean; readonly priority: number }
  | { readonly kind: 'leave'; readonly who: number; readonly quietly: boolean }
  | { readonly kind: 'die'; readonly who: number }
  | { readonly kind: 'ack'; readonly who: number; readonly share: number }
  | { readonly kind: 'nack'; readonly who: number; readonly share: number; readonly delayMs: number }
  | { readonly kind: 'settle' }

const who = fc.nat(9)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('append' as const), count: fc.integer({ min: 1, max: 60 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('join' as const),
      node: fc.nat(1),
      window: fc.constantFrom(1, 7, 40, 1000),
      timed: fc.boolean(),
      priority: fc.constantFrom(0, 0, 5),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('leave' as const), who, quietly: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('die' as const), who }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('ack' as const), who, share: fc.constantFrom(0.2, 0.5, 1) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('nack' as const), who, share: fc.constantFrom(0.2, 1), delayMs: fc.constantFrom(0, 30) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
)

describe.skipIf(installed === undefined)('a subscription against a model', () => {
  let server: TestRedis
  let streams: DurableStreams
  let subscriptions: Subscriptions

  beforeAll(async () => {
    server = await openTestRedis()
    streams = new DurableStreams(server.redis)
    subscriptions = new Subscriptions(server.redis, streams)
  })
  afterAll(() => server.stop())

  for (const type of ['shared', 'key_shared', 'failover', 'exclusive'] as const)
    test(`of type ${type} keeps its promises whatever its consumers do`, async () => {
      const property = fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 40 }), async steps => {
        const world = new World(server, streams, subscriptions, type)
        try {
          await world.begin()
          for (const one of steps) await world.run(one)
          await world.finish()
        } finally {
          await world.end()
        }
      })
      await fc.assert(property, { numRuns: 8, seed: 20_261_121, endOnFailure: true })
    }, 120_000)
})

type Held = { readonly seq: number; readonly key: string }
type Actor = { consumer: Consumer | undefined; readonly node: Node; readonly held: Map<number, Held>; gone: boolean }
type Node = { readonly dispatch: Dispatch; readonly connections: { disconnect(): void }[]; dead: boolean }

/** What was seen from outside, and what must hold of it. */
class World {
  readonly #server: TestRedis
  readonly #streams: DurableStreams
  readonly #subscriptions: Subscriptions
  readonly #type: SubscriptionType
  readonly #nodes: Node[] = []
  readonly #dying: Node[] = []
  readonly #actors: Actor[] = []
  readonly #seen = new Map<number, number>()
  readonly #acked = new Set<number>()
  readonly #newest = new Map<string, number>()
  readonly #wrong: string[] = []
  #appended = 0
  /** What was given to one that had just gone was never seen: it counts as given all the same. */
  #unseen = false
  /** An ack may have been on its way, when a time was over or a process died. */
  #crossed = false
  #ref: Ref | undefined

  constructor(server: TestRedis, streams: DurableStreams, subscriptions: Subscriptions, type: SubscriptionType) {
    this.#server = server
    this.#streams = streams
    this.#subscriptions = subscriptions
    this.#type = type
  }

  async begin(): Promise<void> {
    const project = freshProject()
    this.#ref = { project, record: await this.#streams.create(project, 'model') }
    this.#nodes.push(this.#node(), this.#node())
  }

  async run(one: Step): Promise<void> {
    if (one.kind === 'append') await this.#append(one.count)
    else if (one.kind === 'join') await this.#join(one.node, one.window, one.timed, one.priority)
    else if (one.kind === 'settle') await this.#settle()
    else {
      const present = this.#actors.filter(({ gone }) => !gone)
      const actor = present[one.who % Math.max(1, present.length)]
      if (actor) await this.#act(one, actor)
    }
    expect(this.#wrong).toEqual([])
  }

  /** Whatever is left comes to one who acks it all. */
  async finish(): Promise<void> {
    for (const actor of this.#actors.filter(({ gone }) => !gone)) await this.#act({ kind: 'leave', who: 0, quietly: true }, actor)
    const eager = await this.#join(0, 1000, false, 0, true)
    await until('everything is acked', async () => (await this.#stats()).backlog === 0, 15_000)
    await eager?.consumer?.leave()
    expect(this.#wrong).toEqual([])
    expect(this.#seen.size).toBe(this.#appended)
  }

  async end(): Promise<void> {
    await Promise.all([...this.#nodes, ...this.#dying].map(({ dispatch }) => dispatch.stop()))
  }

  #node(): Node {
    const connections: { disconnect(): void }[] = []
    const connect = async () => {
      const redis = await this.#server.connect('producer')
      connections.push(redis)
      return redis
    }
    const node: Node = {
      connections,
      dead: false,
      dispatch: new Dispatch({
        streams: this.#streams,
        subscriptions: this.#subscriptions,
        connect,
        troubled: error => {
          if (!node.dead) this.#wrong.push(error.message)
        },
        goneMs: GONE_MS,
      }),
    }
    return node
  }

  #stats() {
    return this.#subscriptions.stats(this.#ref as Ref, 's')
  }

  async #append(count: number): Promise<void> {
    const messages = Array.from({ length: count }, (_, i) => {
      const n = this.#appended + i + 1
      return { payload: Buffer.from(String(n)), key: `k${(n * 7) % KEYS}` }
    })
    await this.#streams.append(this.#ref as Ref, messages)
    this.#appended += count
  }

  async #join(at: number, window: number, timed: boolean, priority: number, eager = false): Promise<Actor | undefined> {
    const node = this.#nodes[at] as Node
    if (timed) this.#crossed = true
    const actor: Actor = { consumer: undefined, node, held: new Map(), gone: false }
    const options = { subscription: 's', type: this.#type, window, priority, ackTimeoutMs: timed ? ACK_TIMEOUT_MS : 0 }
    const join = () =>
      node.dispatch.join(this.#ref as Ref, options, {
        receive: deliveries => {
          for (const delivery of deliveries) this.#received(actor, delivery)
          if (eager) this.#ack(actor, [...actor.held.keys()])
        },
        ended: failure => {
          actor.gone = true
          this.#wrong.push(`ended: ${failure.message}`)
        },
      })
    if (this.#type === 'exclusive' && this.#actors.some(({ gone }) => !gone)) {
      await expect(join()).rejects.toMatchObject({ code: 'conflict' })
      return undefined
    }
    // One that died is still there for a while.
    await until('it can join', async () => {
      const [tried] = await Promise.allSettled([join()])
      if (tried.status === 'fulfilled') actor.consumer = tried.value
      return tried.status === 'fulfilled'
    })
    if (eager) this.#ack(actor, [...actor.held.keys()])
    this.#actors.push(actor)
    return actor
  }

  #received(actor: Actor, { message: { seq, key = '' }, redeliveries }: Delivery): void {
    if (actor.gone || actor.node.dead) return
    const times = this.#seen.get(seq) ?? 0
    this.#seen.set(seq, times + 1)
    if (this.#acked.has(seq) && !this.#crossed) this.#wrong.push(`${seq} comes again after its ack`)
    if (this.#unseen ? redeliveries < times : redeliveries !== times)
      this.#wrong.push(`${seq} comes for the ${times + 1}. time and says ${redeliveries} redeliveries`)
    this.#checkOrder(actor, seq, key, times)
    // What another has held until its time was over is not its any more.
    for (const one of this.#actors) one.held.delete(seq)
    actor.held.set(seq, { seq, key })
  }

  #checkOrder(actor: Actor, seq: number, key: string, times: number): void {
    if (times === 0 && this.#type !== 'shared') {
      if (seq < (this.#newest.get(key) ?? 0)) this.#wrong.push(`${seq} of ${key} comes after ${this.#newest.get(key)}`)
      this.#newest.set(key, seq)
    }
    if (this.#type !== 'key_shared') return
    const other = this.#actors.find(
      one => one !== actor && !one.gone && [...one.held.values()].some(held => held.key === key && held.seq !== seq),
    )
    if (other && !this.#crossed) this.#wrong.push(`${seq} of ${key} comes while another consumer has some of it`)
  }

  #ack(actor: Actor, seqs: readonly number[]): void {
    for (const seq of seqs) {
      actor.held.delete(seq)
      this.#acked.add(seq)
    }
    actor.consumer?.ack(seqs)
  }

  async #act(one: Exclude<Step, { readonly kind: 'append' | 'join' | 'settle' }>, actor: Actor): Promise<void> {
    const seqs = [...actor.held.keys()]
    if (one.kind === 'ack') this.#ack(actor, seqs.slice(0, Math.ceil(seqs.length * one.share)))
    else if (one.kind === 'nack') {
      const some = seqs.slice(0, Math.ceil(seqs.length * one.share))
      for (const seq of some) actor.held.delete(seq)
      actor.consumer?.nack(some, one.delayMs)
    } else if (one.kind === 'leave') {
      if (one.quietly) await this.#settle()
      else this.#unseen = true
      actor.gone = true
      actor.held.clear()
      await actor.consumer?.leave()
    } else this.#die(actor.node)
  }

  #die(node: Node): void {
    this.#unseen = true
    this.#crossed = true
    node.dead = true
    for (const actor of this.#actors.filter(one => one.node === node)) {
      actor.gone = true
      actor.held.clear()
    }
    for (const connection of node.connections) connection.disconnect()
    this.#nodes[this.#nodes.indexOf(node)] = this.#node()
    this.#dying.push(node)
  }

  /** Until everything that can be given is. */
  async #settle(): Promise<void> {
    let before = ''
    await until('it is quiet', async () => {
      const { backlog, unacked } = await this.#stats().catch(() => ({ backlog: 0, unacked: 0 }))
      const now = `${backlog} ${unacked} ${this.#seen.size}`
      const same = now === before
      before = now
      return same
    })
  }
}
