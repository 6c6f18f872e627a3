// Sessions at random, on a real Redis: what waits for whom, and in which order, is what a few lines of memory say; the counts are right after
// every step; and when all are forgotten nothing is left.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../../../packages/log/fixture.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { sessionId } from '../mqtt/session.ts'
import { audit, leftOver } from './fixture.ts'
import type { Lasting } from './lasting.ts'
import { PREFIX } from './lua.ts'
import { type SessionLimits, Sessions } from './sessions.ts'

const HOUR_MS = 3_600_000
const AWAY_MS = 24 * HOUR_MS
const MESSAGES = 6
const TOPICS = 4
const HOLDERS = 3
const CLIENTS = 8
const PACKET_IDS = 20
const STEPS = 150
const LIMITS: SessionLimits = {
  awayMs: AWAY_MS,
  sessionsOfKey: 100,
  sessions: 100,
  messages: MESSAGES,
  sessionBytes: 1_000_000,
  holderBytes: 1_000_000,
  allBytes: 1_000_000,
  filterBytes: 100_000_000,
}

/** What Redis should say of a session. */
type Told = {
  readonly holder: string
  readonly topics: readonly string[]
  queue: string[]
  readonly sent: Map<string, number>
  readonly received: number[]
  seenMs: number
}

/** mulberry32: small, seeded. @returns a whole number below `sides`. */
function dice(seed: number): (sides: number) => number {
  let state = seed
  return sides => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides
  }
}

class Life {
  readonly told = new Map<string, Told>()
  nowMs = 0
  readonly #server: TestRedis
  readonly #roll: (sides: number) => number
  readonly #open = new Map<string, Lasting>()
  readonly sessions: Sessions
  #published = 0

  constructor(server: TestRedis, seed: number, limits: SessionLimits) {
    this.#server = server
    this.#roll = dice(seed)
    this.sessions = new Sessions({ redis: server.redis, log: openLogger('silent'), dropped: () => {}, nowMs: () => this.nowMs }, limits)
  }

  async step(): Promise<string> {
    const steps: readonly (readonly [number, string, (id: string) => Promise<unknown>])[] = [
      [8, 'open', id => this.#comes(id)],
      [24, 'publish', () => this.#publish()],
      [16, 'sent', id => this.#send(id)],
      [8, 'received', id => this.#receive(id)],
      [8, 'done', id => this.#done(id)],
      [4, 'completed', id => this.#complete(id)],
      [4, 'discard', id => this.#discard(id)],
      [3, 'forget', id => this.#forget(id)],
      [2, 'expire', () => this.#expire()],
      [2, 'clean', () => this.sessions.clean()],
    ]
    let left = this.#roll(steps.reduce((sum, [weight]) => sum + weight, 0))
    for (const [weight, name, run] of steps) {
      left -= weight
      if (left >= 0) continue
      const id = sessionId('k', `c${this.#roll(CLIENTS)}`)
      await run(id)
      return `${name} ${id}`
    }
    throw new Error('no step')
  }

  /** One of many comes, acknowledges what it is sent of the first that wait, or is forgotten. */
  async acts(): Promise<void> {
    const id = sessionId('k', `c${this.#roll(CLIENTS)}`)
    if (this.#roll(12) === 0) return this.#forget(id)
    const lasting = await this.#comes(id)
    let left = this.#roll(4)
    for await (const { id: message } of lasting.waiting()) {
      if (left-- === 0) return
      await lasting.discard(message)
    }
  }

  async #comes(id: string): Promise<Lasting> {
    const before = this.told.get(id)
    const holder = this.#roll(10) === 0 || !before ? `p${this.#roll(HOLDERS)}` : before.holder
    const lasting = await this.sessions.open(id, holder)
    const existed = before?.holder === holder
    expect(lasting.existed).toBe(existed)
    if (!existed) {
      const topics = Array.from({ length: TOPICS }, (_, i) => `t${i}`).filter(() => this.#roll(2) === 0)
      await this.sessions.subscribe(
        id,
        topics.map(topic => [topic, { qos: 1, short: false }]),
      )
      this.told.set(id, { holder, topics, queue: [], sent: new Map(), received: [], seenMs: 0 })
    }
    const told = this.told.get(id) as Told
    told.seenMs = this.nowMs
    expect(lasting.received).toEqual(told.received)
    expect([...lasting.restored.keys()].sort()).toEqual(existed ? told.topics : [])
    this.#open.set(id, lasting)
    return lasting
  }

  async #publish(): Promise<void> {
    const [id, topic] = [`m${this.#published++}`, `t${this.#roll(TOPICS)}`]
    await this.sessions.queue({ id, topic, qos: 1, payload: Buffer.alloc(this.#roll(500), 'x') })
    for (const told of this.told.values()) {
      if (!told.topics.includes(topic)) continue
      told.queue.push(id)
      if (told.queue.length > MESSAGES) told.sent.delete(told.queue.shift() ?? '')
    }
  }

  async #send(id: string): Promise<void> {
    const lasting = this.#open.get(id) ?? (await this.#comes(id))
    const told = this.told.get(id) as Told
    const message = told.queue.find(one => !told.sent.has(one))
    if (message === undefined) return
    const packetId = lasting.freePacketId(1 + this.#roll(PACKET_IDS))
    await lasting.sentAs(packetId, message)
    told.sent.set(message, packetId)
  }

  /** With what was sent to it in this connection, or before it. */
  async #withSent(id: string, then: (lasting: Lasting, told: Told, message: string, packetId: number) => Promise<unknown>): Promise<void> {
    const told = this.told.get(id)
    if (!told || told.sent.size === 0) return
    const lasting = this.#open.get(id) ?? (await this.#comes(id))
    const sent = [...(this.told.get(id) as Told).sent]
    const [message, packetId] = sent[this.#roll(Math.max(1, sent.length))] ?? []
    if (message === undefined || packetId === undefined) return
    told.sent.delete(message)
    told.queue = told.queue.filter(one => one !== message)
    await then(lasting, told, message, packetId)
  }

  #receive(id: string): Promise<void> {
    return this.#withSent(id, async (lasting, told, _, packetId) => {
      told.received.push(packetId)
      await lasting.acceptedBy(packetId)
    })
  }

  #done(id: string): Promise<void> {
    return this.#withSent(id, (lasting, _told, _message, packetId) => lasting.done(packetId))
  }

  async #complete(id: string): Promise<void> {
    const told = this.told.get(id)
    const [packetId] = told?.received ?? []
    if (packetId === undefined || !told) return
    const lasting = this.#open.get(id) ?? (await this.#comes(id))
    if (this.told.get(id) !== told) return
    told.received.shift()
    await lasting.done(packetId)
  }

  async #discard(id: string): Promise<void> {
    const told = this.told.get(id)
    const lasting = this.#open.get(id)
    const message = told?.queue[this.#roll(MESSAGES)]
    if (!told || !lasting || message === undefined) return
    await lasting.discard(message)
    told.queue = told.queue.filter(one => one !== message)
    told.sent.delete(message)
  }

  async #forget(id: string): Promise<void> {
    await this.sessions.forget(id)
    this.told.delete(id)
    this.#open.delete(id)
  }

  async #expire(): Promise<void> {
    this.nowMs += this.#roll(10) * HOUR_MS
    await this.sessions.expire()
    for (const [id, { seenMs }] of this.told) {
      if (seenMs > this.nowMs - AWAY_MS) continue
      this.told.delete(id)
      this.#open.delete(id)
    }
  }

  async holds(): Promise<void> {
    const { redis } = this.#server
    expect((await redis.zrange(`${PREFIX}sessions`, 0, '-1')).sort()).toEqual([...this.told.keys()].sort())
    for (const [id, { queue, sent, received }] of this.told) {
      const [waits, under, released] = await Promise.all([
        redis.zrange(`${PREFIX}queue:${id}`, 0, '-1'),
        redis.hgetall(`${PREFIX}sent:${id}`),
        redis.zrange(`${PREFIX}released:${id}`, 0, '-1'),
      ])
      const underway = Object.fromEntries([...sent].map(([message, packetId]) => [message, String(packetId)]))
      expect([waits, under, released], id).toEqual([queue, underway, received.map(String)])
    }
  }

  async end(): Promise<void> {
    for (const id of this.told.keys()) await this.sessions.forget(id)
    await this.sessions.clean()
    await this.sessions.stop()
    expect(await leftOver(this.#server.redis)).toEqual([])
  }
}

describe.skipIf(!installed)('sessions at random', () => {
  let server: TestRedis

  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('have what waits for them in its order, and leave nothing (seed %i)', async seed => {
    const life = new Life(server, seed, LIMITS)
    await life.sessions.renew()
    const steps: string[] = []
    for (let i = 0; i < STEPS; i++) {
      steps.push(await life.step())
      await life.holds().catch((error: Error) => {
        throw new Error(`after ${steps.slice(-5).join(', ')}`, { cause: error })
      })
      if (i % 5 === 0) await audit(server.redis)
    }
    await life.end()
  })

  it.each([1, 2, 3, 4])(
    'without room for all are never counted wrong, never over their limits, and take none from who holds little (seed %i)',
    async seed => {
      const [holderBytes, allBytes] = [8000, 12_000]
      const limits = { ...LIMITS, messages: 20, sessionBytes: 4000, holderBytes, allBytes }
      const life = new Life(server, seed, limits)
      const { sessions } = life
      await sessions.renew()
      const modest = await sessions.open(sessionId('m', 'c'), 'modest')
      await sessions.subscribe(modest.id, [['modest', { qos: 1, short: false }]])
      const roll = dice(seed + 100)
      const kept: string[] = []
      for (let i = 0; i < STEPS; i++) {
        await life.acts()
        await sessions.queue({ id: `x${i}`, topic: `t${roll(TOPICS)}`, qos: 1, payload: Buffer.alloc(roll(1500), 'x') })
        if (i % 20 === 0 && kept.length < 5) {
          kept.push(`m${i}`)
          await sessions.queue({ id: `m${i}`, topic: 'modest', qos: 1, payload: Buffer.alloc(100, 'x') })
        }
        expect((await audit(server.redis)).total).toBeLessThanOrEqual(allBytes)
        for (const [, bytes] of await rows(server)) expect(Number(bytes)).toBeLessThanOrEqual(holderBytes)
        expect(await server.redis.zrange(`${PREFIX}queue:${modest.id}`, 0, '-1')).toEqual(kept)
      }
      await sessions.forget(modest.id)
      await life.end()
    },
  )
})

async function rows(server: TestRedis): Promise<[string, string][]> {
  const flat = await server.redis.zrange(`${PREFIX}holders`, 0, '-1', 'WITHSCORES')
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] ?? '', flat[2 * i + 1] ?? ''])
}
