// The MQTT door where connections end at awkward moments.
import { once } from 'node:events'
import { connect } from 'node:net'
import { generate, type Packet, parser } from 'mqtt-packet'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import type { Caller } from '../../../packages/identity/identity.ts'
import { installed, openTestRedis, type TestRedis } from '../../../packages/log/fixture.ts'
import { Guesses } from '../../../packages/runtime/guess.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { until } from '../../../test/eventually.ts'
import { Accept } from '../accept.ts'
import { UNLIMITED, undecoded } from '../fixture.ts'
import type { Lines } from './live.ts'
import { openMqtt } from './mqtt.ts'
import type { StreamTopic } from './topic.ts'

let server: TestRedis
beforeAll(async () => {
  if (installed) server = await openTestRedis()
})
afterAll(() => server?.stop())

const caller: Caller = { keyId: 'k', account: 'a', roles: { p: 'user' } }

/** A door at which logins wait until they are let through. */
async function openDoor() {
  const waiting: (() => void)[] = []
  const watching = new Set<object>()
  const followers: Lines[] = []
  const down = () => Promise.reject(new Failure('unavailable', 'there is no log'))
  const ports = {
    accept: new Accept({ append: down, register: down, wake: () => {}, counted: () => {}, failed: () => {} }),
    ...undecoded(),
    quarantine: down,
    rejected: () => {},
    identity: {
      certified: () => Promise.resolve(undefined),
      login: () => new Promise<Caller>(resolve => waiting.push(() => resolve(caller))),
      renew: () => Promise.resolve(caller),
      watch: () => {
        const watch = {}
        watching.add(watch)
        return () => void watching.delete(watch)
      },
    },
    guesses: new Guesses(undefined),
    ...UNLIMITED,
    clock: { nowUs: () => 0, newId: () => 'id' },
    log: openLogger('silent'),
    follow: (_caller: Caller, _topic: StreamTopic, lines: Lines) => {
      followers.push(lines)
      return Promise.resolve(() => {})
    },
    dropped: () => {},
    limits: { packetBytes: 1024 * 1024, perAddress: 0 },
    cut: () => {},
    redis: server.redis,
    subscriber: await server.connect(),
  }
  return { door: await openMqtt(ports, '127.0.0.1', 0), waiting, watching, followers }
}

async function knock(port: number, clientId: string) {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => socket.destroy())
  await once(socket, 'connect')
  const login = { username: 'k', password: Buffer.from('secret'), clientId, clean: true, keepalive: 0 }
  socket.write(generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, ...login }))
  return socket
}

describe.skipIf(!installed)('a client that goes while it logs in', () => {
  it('leaves nothing that watches its rights', async () => {
    const { door, waiting, watching } = await openDoor()
    const gone = await knock(door.port, 'gone')
    await until('it logs in', () => waiting.length === 1)
    gone.resetAndDestroy()
    const stays = await knock(door.port, 'stays')
    await until('the other logs in', () => waiting.length === 2)
    for (const letThrough of waiting) letThrough()
    await once(stays, 'data')
    expect(watching.size).toBe(1)
    stays.destroy()
    await until('nobody is watched', () => watching.size === 0)
    await door.close()
  })
})

describe.skipIf(!installed)('a follower of a stream that reads nothing for a while', () => {
  it('is not cut off for it, however large its frames are', async () => {
    const { door, waiting, followers } = await openDoor()
    const socket = await knock(door.port, 'stalls')
    await until('it logs in', () => waiting.length === 1)
    waiting[0]?.()
    await once(socket, 'data')
    socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'projects/p/devices:stream', qos: 0 }] } as never))
    await once(socket, 'data')
    socket.pause()
    const [lines] = followers
    if (!lines) throw new Error('nobody follows')
    const frame = Buffer.alloc(60_000, 'x')
    let sent = 0
    const more = () => {
      for (; !lines.full && !lines.closed; sent++) lines.take(frame)
    }
    do more()
    while (!lines.closed && (await lines.drained(1500)))
    expect(lines.closed).toBe(false)
    let got = 0
    socket.on('data', part => {
      got += part.length
    })
    socket.resume()
    await until('all of it is there', () => got > sent * frame.length)
    socket.destroy()
    await door.close()
  })
})

describe.skipIf(!installed)('a follower that acknowledges nothing', () => {
  async function logIn(clientId: string) {
    const { door, waiting, followers } = await openDoor()
    const socket = await knock(door.port, clientId)
    const received: Packet[] = []
    const reading = parser()
    reading.on('packet', (packet: Packet) => void received.push(packet))
    socket.on('data', part => void reading.parse(part))
    await until('it logs in', () => waiting.length === 1)
    waiting[0]?.()
    return { door, socket, received, followers }
  }

  it('is sent no more for beginning again', async () => {
    const { door, socket, received, followers } = await logIn('greedy')
    const count = (cmd: string) => received.filter(packet => packet.cmd === cmd).length
    for (const round of [1, 2, 3]) {
      const subscriptions = [{ topic: 'projects/p/devices:stream', qos: 1 }]
      socket.write(generate({ cmd: 'subscribe', messageId: round, subscriptions } as never))
      await until('SUBACK', () => count('suback') === round)
      for (let frame = 0; frame < 150; frame++) followers.at(-1)?.take(Buffer.from('x'))
      await until('all is sent that may be', () => count('publish') >= 100)
      socket.write(generate({ cmd: 'pingreq' }))
      await until('PINGRESP', () => count('pingresp') === round)
    }
    expect(count('publish')).toBe(100)
    for (const packet of received)
      if (packet.cmd === 'publish') socket.write(generate({ cmd: 'puback', messageId: packet.messageId as number }))
    await until('more is sent', () => count('publish') === 200)
    socket.destroy()
    await door.close()
  })

  it('of one topic is sent no more of it for what it acknowledges of another', async () => {
    const { door, socket, received, followers } = await logIn('partial')
    const topics = ['projects/p/devices:stream', 'projects/p/alarms:stream']
    socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions: topics.map(topic => ({ topic, qos: 1 })) } as never))
    await until('SUBACK', () => received.some(({ cmd }) => cmd === 'suback'))
    for (const lines of followers) for (let frame = 0; frame < 250; frame++) lines.take(Buffer.from('x'))
    const of = (topic?: string) =>
      received.flatMap(packet => (packet.cmd === 'publish' && packet.topic === topic ? [packet.messageId as number] : []))
    await until('all is sent that may be', () => topics.every(topic => of(topic).length === 100))
    for (const messageId of of(topics[0])) socket.write(generate({ cmd: 'puback', messageId }))
    await until('more is sent', () => of(topics[0]).length === 200)
    socket.write(generate({ cmd: 'pingreq' }))
    await until('PINGRESP', () => received.some(({ cmd }) => cmd === 'pingresp'))
    expect(of(topics[1]).length).toBe(100)
    socket.destroy()
    await door.close()
  })
})
