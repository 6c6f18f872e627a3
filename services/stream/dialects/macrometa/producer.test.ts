// A producer where its ports do what they hardly ever do.
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { DEFAULT_RETENTION } from '../../../../packages/log/durable/stream.ts'
import { Ears } from './ear.ts'
import { Outlet } from './outlet.ts'
import { Producer } from './producer.ts'

const servers: WebSocketServer[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

const REF = { project: 'p', record: { name: 's', uid: '010203040506', createTime: '', retention: DEFAULT_RETENTION } }

/** One whose appends come to nothing at all. */
function open() {
  const troubles: unknown[] = []
  const ports = { streams: { append: async () => [] }, troubled: (error: unknown) => void troubles.push(error) }
  return { producer: new Producer(ports, REF, 'n', 100, async () => undefined), troubles }
}

async function connect() {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  servers.push(server)
  await once(server, 'listening')
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const closed = once(client, 'close').then(([code]) => code as number)
  const [[peer, request]] = (await Promise.all([once(server, 'connection'), once(client, 'open')])) as [
    [WebSocket, IncomingMessage],
    unknown,
  ]
  const outlet = new Outlet({ peer, socket: request.socket as Socket }, () => undefined)
  return { outlet, ear: new Ears().open(outlet, 100), closed }
}

test('that loses its name before its handshake is answered is told so as soon as it is', async () => {
  const { producer } = open()
  const { outlet, ear, closed } = await connect()
  producer.lost()
  producer.begin(outlet, ear)
  expect(await closed).toBe(4001)
})

test('that meets what cannot be is closed, and the process goes on', async () => {
  const { producer, troubles } = open()
  const { outlet, ear, closed } = await connect()
  producer.begin(outlet, ear)
  ear.heard(1)
  producer.hear('{"payload":"AA=="}')
  expect(await closed).toBe(4008)
  expect(troubles).toHaveLength(1)
  await producer.end()
})
