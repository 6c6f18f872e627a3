// Sessions that outlive their connections, on a broker with raw packets: what they are sent when they come back, and for how long.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { Aedes } from 'aedes'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openLogger } from '../../packages/runtime/logger.ts'
import { until } from '../../test/eventually.ts'
import { openWire, type Wire } from '../../test/wire.ts'
import { Kept } from './kept.ts'
import { sessionId } from './session.ts'

const DAY_MS = 24 * 3_600_000
const REFUSED = 'refused'

let broker: Aedes
let server: Server
let kept: Kept
let nowMs: number

beforeEach(async () => {
  nowMs = 0
  broker = await Aedes.createBroker({
    authenticate: (client, username, _password, done) => {
      client.id = sessionId(username ?? '', client.id)
      done(null, true)
    },
    authorizeSubscribe: (_client, subscription, done) => {
      if (subscription.topic === REFUSED) return done(null, null)
      kept.granted(subscription)
      done(null, subscription)
    },
  })
  const ports = { log: openLogger('silent'), dropped: () => {}, nowMs: () => nowMs }
  kept = new Kept(broker, ports, { awayMs: DAY_MS, sessionsOfKey: 2, sessions: 3 })
  server = createServer(socket => broker.handle(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterEach(async () => {
  kept.stop()
  server.close()
  await new Promise<void>(resolve => broker.close(() => resolve()))
})

const open = (keyId: string, clientId: string) => openWire((server.address() as AddressInfo).port, { keyId, secret: 's' }, clientId, false)
const heard = ({ received }: Wire) => received.flatMap(packet => (packet.cmd === 'publish' ? [packet.payload.toString()] : []))
const isPresent = ({ received }: Wire) => received.some(packet => packet.cmd === 'connack' && packet.sessionPresent)

async function subscribe(wire: Wire, ...topics: string[]): Promise<void> {
  wire.send({ cmd: 'subscribe', messageId: 1, subscriptions: topics.map(topic => ({ topic, qos: 1 as const })) })
  await until('SUBACK', () => wire.received.some(({ cmd }) => cmd === 'suback'))
}

/** Resolves when the broker knows that it went. */
async function leave(wire: Wire): Promise<void> {
  const gone = once(broker, 'clientDisconnect')
  await wire.leave()
  await gone
}

async function comeAndGo(keyId: string, clientId: string, ...topics: string[]): Promise<void> {
  const wire = await open(keyId, clientId)
  await subscribe(wire, ...topics)
  await leave(wire)
}

function publish(topic: string, payload: string): Promise<void> {
  const packet = { cmd: 'publish', topic, payload: Buffer.from(payload), qos: 1, retain: false, dup: false } as const
  return new Promise((resolve, reject) => broker.publish(packet, error => (error ? reject(error) : resolve())))
}

describe('a session that lasts', () => {
  it('is sent what waited for it, once, in order, and again what it did not acknowledge', async () => {
    await comeAndGo('k', 'c', 'a/#', 'a/+', REFUSED)
    for (const text of ['1', '2', '3']) await publish('a/x', text)
    await publish(REFUSED, 'nothing')
    const wire = await open('k', 'c')
    await until('all are there', () => heard(wire).length >= 3)
    expect(heard(wire)).toEqual(['1', '2', '3'])
    const [first] = wire.received.filter(({ cmd }) => cmd === 'publish')
    wire.send({ cmd: 'puback', messageId: first?.messageId })
    // Matched by two of its subscriptions, and none of what waits is lost for that.
    await publish('a/x', '4')
    await until('it is there', () => heard(wire).length >= 4)
    await leave(wire)
    const again = await open('k', 'c')
    await until('the rest is there', () => heard(again).length >= 3)
    expect(heard(again)).toEqual(['2', '3', '4'])
    await leave(again)
  })

  it('is forgotten when nobody came back to it for a day', async () => {
    await comeAndGo('k', 'old', 'a')
    nowMs = DAY_MS - 1
    await comeAndGo('k', 'new', 'a')
    await publish('a', '1')
    kept.expire()
    nowMs = DAY_MS
    await leave(await open('k', 'old'))
    nowMs = 2 * DAY_MS - 1
    kept.expire()
    const [old, recent] = [await open('k', 'old'), await open('k', 'new')]
    expect([isPresent(old), isPresent(recent)]).toEqual([true, false])
    await until('what waited is there', () => heard(old).length > 0)
    await publish('a', '2')
    await until('it is there', () => heard(old).includes('2'))
    expect(heard(recent)).toEqual([])
    for (const wire of [old, recent]) await leave(wire)
  })

  it('is forgotten, the longest away first, when its key keeps too many; or all keys, and its key the most of them', async () => {
    for (const clientId of ['1', '2', '3']) await comeAndGo('k', clientId, 'a')
    for (const clientId of ['1', '2']) await comeAndGo('other', clientId, 'a')
    const present = async (keyId: string, clientId: string) => {
      const wire = await open(keyId, clientId)
      await leave(wire)
      return isPresent(wire)
    }
    expect(await present('k', '3')).toBe(true)
    expect(await present('other', '2')).toBe(true)
    expect([await present('k', '1'), await present('k', '2')]).toEqual([false, false])
  })
})
