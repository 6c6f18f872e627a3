// The way between gateways, on a real Redis: what each knows of the others' filters, and what happens while Redis is away.
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { Bus, type Packet } from './bus.ts'

describe.skipIf(!installed)('the way between gateways', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server?.stop())

  async function open(node: string) {
    const [redis, subscriber] = [await server.connect('producer'), await server.connect()]
    const none = { heard: () => {}, reconnected: () => {}, missed: () => {} }
    const bus = await Bus.open({ redis, subscriber, node, log: openLogger('silent'), ...none })
    onTestFinished(() => new Promise<void>(resolve => bus.close(resolve)))
    return { bus, redis, subscriber }
  }

  const packet = (topic: string): Packet => ({ topic, payload: Buffer.from('x'), qos: 1, retain: false })

  it('fails for who publishes when Redis does, however long who is subscribed here takes', async () => {
    const [{ bus: here, redis }, { bus: there }] = [await open('one'), await open('two')]
    there.on('a', (_packet, done) => done())
    await until('it is known', () => here.has('a'))
    const unhandled: unknown[] = []
    const note = (reason: unknown) => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.off('unhandledRejection', note))
    const held: (() => void)[] = []
    here.on('a', (_packet, done) => void held.push(done))
    redis.disconnect()
    const failed = new Promise<Error | undefined>(resolve => here.emit(packet('a'), resolve))
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    for (const done of held) done()
    expect(await failed).toBeInstanceOf(Error)
    expect(unhandled).toEqual([])
  })

  it('learns what was subscribed while it did not hear, as soon as it hears again', async () => {
    const [{ bus: here, subscriber }, { bus: there }] = [await open('three'), await open('four')]
    there.on('met', (_packet, done) => done())
    await until('they know each other', () => here.has('met'))
    subscriber.disconnect()
    await once(subscriber, 'end')
    there.on('meanwhile', (_packet, done) => done())
    await server.redis.ping()
    await subscriber.connect()
    await until('it is known', () => here.has('meanwhile'))
  })

  it('learns what it was never told, by the next beat', { timeout: 30_000 }, async () => {
    const [{ bus: here }, { bus: there, redis }] = [await open('five'), await open('six')]
    there.on('met', (_packet, done) => done())
    await until('they know each other', () => here.has('met'))
    redis.disconnect()
    await once(redis, 'end')
    there.on('lost', (_packet, done) => done())
    await redis.connect()
    await until('it is known', () => here.has('lost'), 25_000)
  })
})
