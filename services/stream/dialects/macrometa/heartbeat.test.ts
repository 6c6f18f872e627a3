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

/** A heart that beats fast, by a clock that is set. */
function heart() {
  let now = 0
  const pass = (ms: number) => {
    now += ms
  }
  return { heartbeat: new Heartbeat(EVERY_MS, () => now), pass }
}

test('an idle client that answers is kept', async () => {
  const { client, peer } = await pair()
  const { heartbeat, pass } = heart()
  heartbeat.watch(peer, 100)
  for (let i = 0; i < 10; i++) {
    pass(90)
    await once(peer, 'pong')
  }
  expect(client.readyState).toBe(client.OPEN)
})

test('a client that answers nothing is cut off', async () => {
  const { client, peer } = await pair({ autoPong: false })
  const { heartbeat, pass } = heart()
  heartbeat.watch(peer, 100)
  pass(101)
  await once(client, 'close')
  expect(peer.readyState).not.toBe(peer.OPEN)
})

test('a client that answers nothing is kept as long as it sends something', async () => {
  const { client, peer } = await pair({ autoPong: false })
  const { heartbeat, pass } = heart()
  heartbeat.watch(peer, 100)
  for (let i = 0; i < 10; i++) {
    pass(90)
    client.send('x')
    await once(peer, 'message')
    await once(client, 'ping')
  }
  expect(client.readyState).toBe(client.OPEN)
})

test('a client that nobody listens to is not blamed for its silence', async () => {
  const { client, peer } = await pair({ autoPong: false })
  const { heartbeat, pass } = heart()
  heartbeat.watch(peer, 100)
  peer.pause()
  for (let i = 0; i < 5; i++) {
    pass(200)
    await once(client, 'ping')
  }
  expect(client.readyState).toBe(client.OPEN)
})
