// Pings of the WebSockets: who answers none for long is gone, whoever it is that does not listen.
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { Heartbeat } from './heartbeat.ts'

const EVERY_MS = 20
const sockets: WebSocket[] = []
const servers: WebSocketServer[] = []

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.terminate()
  for (const server of servers.splice(0)) server.close()
})

async function pair(options: { readonly autoPong?: boolean } = {}): Promise<{ client: WebSocket; peer: WebSocket }> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  servers.push(server)
  await once(server, 'listening')
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, options)
  sockets.push(client)
  const [[peer]] = (await Promise.all([once(server, 'connection'), once(client, 'open')])) as [[WebSocket], unknown]
  return { client, peer }
}

/** A heart that beats fast, by a clock that is set, and what it looks at. */
function heart() {
  let now = 0
  const pass = (ms: number) => {
    now += ms
  }
  const outlet = { full: false, sent: 0, taken: 0 }
  const beaten = async (client: WebSocket) => once(client, 'ping')
  return { heartbeat: new Heartbeat(EVERY_MS, () => now), pass, outlet, beaten }
}

/** Far beyond three missed pings. */
const LONG_MS = 1000

test('an idle client that answers is kept', async () => {
  const { client, peer } = await pair()
  const { heartbeat, pass, outlet } = heart()
  heartbeat.watch(peer, { outlet, patienceMs: LONG_MS })
  for (let i = 0; i < 10; i++) {
    pass(50)
    await once(peer, 'pong')
  }
  expect(client.readyState).toBe(client.OPEN)
})

test('a client that has never answered anything is cut off after its patience', async () => {
  const { client, peer } = await pair({ autoPong: false })
  const { heartbeat, pass, outlet, beaten } = heart()
  heartbeat.watch(peer, { outlet, patienceMs: LONG_MS })
  pass(LONG_MS)
  await beaten(client)
  expect(peer.readyState).toBe(peer.OPEN)
  pass(1)
  await once(client, 'close')
})

test('a client that answers nothing is kept as long as it sends something', async () => {
  const { client, peer } = await pair({ autoPong: false })
  const { heartbeat, pass, outlet, beaten } = heart()
  heartbeat.watch(peer, { outlet, patienceMs: 100 })
  for (let i = 0; i < 10; i++) {
    pass(90)
    client.send('x')
    await once(peer, 'message')
    await beaten(client)
  }
  expect(client.readyState).toBe(client.OPEN)
})

test('a consumer that answered, was sent nothing since and misses three pings is gone; one that is at work on a message is not', async () => {
  const { client, peer } = await pair({ autoPong: false })
  const { heartbeat, pass, outlet, beaten } = heart()
  heartbeat.watch(peer, { outlet, patienceMs: LONG_MS })
  await beaten(client)
  client.pong()
  await once(peer, 'pong')
  outlet.sent++
  pass(LONG_MS)
  await beaten(client)
  await beaten(client)
  client.pong()
  await once(peer, 'pong')
  pass(3 * EVERY_MS + 1)
  await once(client, 'close')
})

test('a producer that answers without being owed anything is gone when it misses three pings', async () => {
  const { client, peer } = await pair({ autoPong: false })
  const { heartbeat, pass, outlet, beaten } = heart()
  heartbeat.watch(peer, { outlet, patienceMs: LONG_MS, isOwed: () => false })
  await beaten(client)
  client.pong()
  await once(peer, 'pong')
  pass(3 * EVERY_MS + 1)
  await once(client, 'close')
})

test('a producer that reads only for its answers has its patience, although it has answered pings with that', async () => {
  const { client, peer } = await pair({ autoPong: false })
  const { heartbeat, pass, outlet, beaten } = heart()
  let owed = false
  heartbeat.watch(peer, { outlet, patienceMs: LONG_MS, isOwed: () => owed })
  await beaten(client)
  client.send('x')
  client.pong()
  await once(peer, 'pong')
  owed = true
  await beaten(client)
  await beaten(client)
  client.pong()
  await once(peer, 'pong')
  pass(LONG_MS)
  await beaten(client)
  expect(client.readyState).toBe(client.OPEN)
})

test('a client that takes nothing of what it is sent is cut off, although nobody listens to it', async () => {
  const { client, peer } = await pair()
  const { heartbeat, pass, outlet, beaten } = heart()
  heartbeat.watch(peer, { outlet, patienceMs: LONG_MS })
  outlet.full = true
  peer.pause()
  for (let i = 0; i < 5; i++) {
    outlet.taken++
    pass(LONG_MS)
    await beaten(client)
    await beaten(client)
  }
  pass(LONG_MS + 1)
  await once(client, 'close')
})

test('a client that nobody listens to is not blamed for its silence', async () => {
  const { client, peer } = await pair({ autoPong: false })
  const { heartbeat, pass, outlet, beaten } = heart()
  heartbeat.watch(peer, { outlet, patienceMs: 100 })
  peer.pause()
  for (let i = 0; i < 5; i++) {
    pass(200)
    await beaten(client)
  }
  expect(client.readyState).toBe(client.OPEN)
})
