// The MQTT transport against a real broker that withholds acks and hangs up.
import { createServer, type Socket } from 'node:net'
import { Aedes, type AuthenticateError } from 'aedes'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { event, eventually, type Peer, transportContract } from './contract.ts'
import { Ledger } from './ledger.ts'
import { openMqtt } from './mqtt.ts'

type Broker = Peer & { readonly topics: readonly string[]; readonly users: readonly (string | undefined)[]; connections(): number }

async function openBroker(): Promise<Broker> {
  const received: string[] = []
  const topics: string[] = []
  const users: (string | undefined)[] = []
  const held: (() => void)[] = []
  const sockets = new Set<Socket>()
  let holding = false
  const broker = await Aedes.createBroker({
    queueLimit: 1000,
    authenticate(_client, user, password, done) {
      users.push(user)
      if (user === 'key' && password?.toString() === 'secret') return done(null, true)
      const refusal: AuthenticateError = Object.assign(new Error('no'), { returnCode: 4 as const })
      done(refusal, false)
    },
    // The hook before PUBACK.
    authorizePublish(_client, packet, callback) {
      topics.push(packet.topic)
      const events: unknown[] = [JSON.parse(packet.payload.toString())].flat()
      for (const one of events) received.push((one as { eventId: string }).eventId)
      if (holding) held.push(() => callback(null))
      else callback(null)
    },
  })
  // A client that was hung up on while its acks were withheld.
  broker.on('clientError', () => {})
  const server = createServer({ noDelay: true }, socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    broker.handle(socket)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  return {
    target: { httpUrl: 'http://127.0.0.1:1', mqttUrl: `mqtt://127.0.0.1:${port}`, keyId: 'key', secret: 'secret', project: 'default' },
    received,
    topics,
    users,
    connections: () => sockets.size,
    hold() {
      holding = true
    },
    release() {
      holding = false
      for (const go of held.splice(0)) go()
    },
    hangUp() {
      for (const socket of sockets) socket.destroy()
    },
    async close() {
      for (const go of held.splice(0)) go()
      for (const socket of sockets) socket.destroy()
      await new Promise<void>(resolve => broker.close(resolve))
      await new Promise(resolve => server.close(resolve))
    },
  }
}

transportContract('mqtt', openBroker, (target, ledger, stopped) =>
  openMqtt(target, { qos: 1, connections: 2, maxBatch: 1 }, ledger, stopped),
)

let broker: Broker
let signal: AbortSignal

beforeEach(async () => {
  broker = await openBroker()
  signal = new AbortController().signal
})
afterEach(async () => {
  await broker.close()
})

test('each device publishes on its event topic', async () => {
  const transport = await openMqtt(broker.target, { qos: 1, connections: 3, maxBatch: 1 }, new Ledger(100, signal), signal)
  for (const device of ['a', 'b']) await transport.send(event(device, 1))
  await transport.ledger.settle(5000)
  expect(broker.connections()).toBe(3)
  expect([...broker.topics].sort()).toEqual([
    'projects/default/devices/a/events/temperature',
    'projects/default/devices/b/events/temperature',
  ])
  await transport.close()
})

test('events of one device that wait together share a publish where that is wanted', async () => {
  const transport = await openMqtt(broker.target, { qos: 1, connections: 1, maxBatch: 100 }, new Ledger(10_000, signal), signal)
  for (let n = 0; n < 1000; n++) await transport.send(event('a', n))
  await transport.ledger.settle(5000)
  expect(transport.ledger.acked).toBe(1000)
  expect(broker.topics).toEqual(Array.from({ length: 10 }, () => 'projects/default/devices/a/events'))
  await transport.close()
})

test('with QoS 0 events are unconfirmed, never acked', async () => {
  const transport = await openMqtt(broker.target, { qos: 0, connections: 1, maxBatch: 1 }, new Ledger(100, signal), signal)
  for (let n = 0; n < 50; n++) await transport.send(event('a', n))
  await transport.ledger.settle(5000)
  await eventually(() => broker.received.length === 50)
  expect(transport.ledger).toMatchObject({ acked: 0, unconfirmed: 50, outstanding: 0 })
  await transport.close()
})

test('after a reconnect storm every connection is back and nothing is lost', async () => {
  const transport = await openMqtt(broker.target, { qos: 1, connections: 20, maxBatch: 1 }, new Ledger(1000, signal), signal)
  for (let n = 0; n < 100; n++) await transport.send(event(`d${n % 20}`, n))
  transport.disrupt()
  for (let n = 100; n < 200; n++) await transport.send(event(`d${n % 20}`, n))
  await transport.ledger.settle(8000)
  expect(transport.ledger).toMatchObject({ offered: 200, acked: 200, reconnects: 20, outstanding: 0 })
  expect(new Set(broker.received).size).toBe(200)
  await transport.close()
})
