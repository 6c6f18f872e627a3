// Bookkeeping of stream topics: a client that goes while a stream opens, the limit of topics, and a start that fails.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { Aedes, type Client } from 'aedes'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import { type Lines, Live } from './live.ts'
import { type StreamTopic, streamTopic } from './topic.ts'

type Opening = { readonly lines: Lines; open(): void; fail(): void; left: number }

const caller = { keyId: 'k', account: 'a', roles: {} }

let broker: Aedes
let server: Server
let openings: Opening[]
let live: Live
let client: Client

beforeEach(async () => {
  broker = await Aedes.createBroker()
  openings = []
  live = new Live(broker, (_caller, _topic, lines) => {
    const { promise, resolve, reject } = withResolvers()
    const opening: Opening = {
      lines,
      open: () => resolve(() => void opening.left++),
      fail: () => reject(new Failure('unavailable', 'the log cannot be read')),
      left: 0,
    }
    openings.push(opening)
    return promise
  })
  server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => socket.destroy())
  const [accepted] = (await once(server, 'connection')) as [Parameters<Aedes['handle']>[0]]
  client = broker.handle(accepted)
})
afterEach(async () => {
  client.conn.destroy()
  server.close()
  await new Promise<void>(resolve => broker.close(() => resolve()))
})

function withResolvers() {
  let resolve: (leave: () => void) => void = () => {}
  let reject: (failure: Failure) => void = () => {}
  const promise = new Promise<() => void>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

function enter(n: number): Promise<boolean> {
  const text = `projects/p/devices:stream?device_ids=${n}`
  return live.enter(client, caller, text, streamTopic(text) as StreamTopic, 0)
}

async function follow(n: number): Promise<boolean> {
  const entering = enter(n)
  openings.at(-1)?.open()
  return entering
}

describe('a client that goes', () => {
  it('while its stream opens leaves it, though it has had no CONNACK', async () => {
    const entering = enter(1)
    client.conn.destroy()
    await once(client.conn, 'close')
    openings[0]?.open()
    await entering
    expect(openings[0]?.left).toBe(1)
    expect(await enter(2)).toBe(false)
    expect(openings).toHaveLength(1)
  })

  it('afterwards leaves all its streams', async () => {
    for (const n of [1, 2]) await follow(n)
    client.conn.destroy()
    await once(client.conn, 'close')
    expect(openings.map(({ left }) => left)).toEqual([1, 1])
  })
})

describe('a client', () => {
  it('follows up to twenty topics, each of which may begin again', async () => {
    for (let n = 1; n <= 20; n++) expect(await follow(n)).toBe(true)
    expect(await follow(21)).toBe(false)
    expect(openings).toHaveLength(20)
    expect(await follow(7)).toBe(true)
    expect(openings[6]?.left).toBe(1)
  })

  it('that subscribes again while a topic opens has the newer stream, whatever becomes of the first', async () => {
    const first = enter(1)
    const second = enter(1)
    openings[1]?.open()
    openings[0]?.fail()
    await expect(first).rejects.toThrow('the log cannot be read')
    expect(await second).toBe(true)
    expect(openings[1]?.left).toBe(0)
    expect(await follow(1)).toBe(true)
    expect(openings[1]?.left).toBe(1)
  })
})
