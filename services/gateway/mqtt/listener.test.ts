// Connections through the guard to the broker: what a client meets whose log is slow or away, and the way that its events take.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { generate, type IConnectPacket, type Packet, parser } from 'mqtt-packet'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import type { Caller } from '../../../packages/identity/identity.ts'
import { installed, openTestRedis, type TestRedis } from '../../../packages/log/fixture.ts'
import type { AppendBatch, AppendOutcome } from '../../../packages/log/log.ts'
import { Guesses } from '../../../packages/runtime/guess.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { until } from '../../../test/eventually.ts'
import { Accept } from '../accept.ts'
import { UNLIMITED, undecoded } from '../fixture.ts'
import { openMqtt } from './mqtt.ts'

const caller: Caller = { keyId: 'k', account: 'a', roles: { p: 'developer' } }
const TOPIC = 'd/pump/temperature'

let server: TestRedis
beforeAll(async () => {
  if (installed) server = await openTestRedis()
})
afterAll(() => server?.stop())

/** A door before a log that the test holds, releases or takes away. */
async function openDoor() {
  let hold: (() => void)[] | undefined
  let away = false
  const frames: string[] = []
  const counted: string[] = []
  const append = async (_project: string, batch: AppendBatch): Promise<AppendOutcome> => {
    if (hold) await new Promise<void>(resolve => hold?.push(resolve))
    if (away) throw new Failure('unavailable', 'there is no log')
    frames.push(...batch.frames)
    return { duplicates: 0, wake: [] } as unknown as AppendOutcome
  }
  const ports = {
    accept: new Accept({ append, register: async () => {}, wake: () => {}, counted: () => {}, failed: () => {} }),
    quarantine: async () => {},
    rejected: () => {},
    identity: { login: async () => caller, certified: async () => undefined, renew: async () => caller, watch: () => () => {} },
    guesses: new Guesses(undefined),
    ...UNLIMITED,
    ...undecoded(),
    clock: { nowUs: () => Date.now() * 1000, newId: () => 'id' },
    log: openLogger('silent'),
    follow: async () => () => {},
    dropped: () => {},
    redis: await server.connect('producer'),
    subscriber: await server.connect(),
    limits: { packetBytes: 1024 * 1024, perAddress: 3 },
    cut: (why: string) => void counted.push(why),
  }
  const door = await openMqtt(ports, '127.0.0.1', 0)
  onTestFinished(() => door.close())
  return {
    port: door.port,
    frames,
    counted,
    hold: () => {
      hold = []
    },
    loseRedis: () => ports.redis.disconnect(),
    held: () => hold?.length ?? 0,
    release: () => {
      const held = hold ?? []
      hold = undefined
      for (const go of held) go()
    },
    takeAway: () => {
      away = true
    },
  }
}

async function enter(port: number, keepalive = 0, more: Partial<IConnectPacket> = {}): Promise<{ socket: Socket; received: Packet[] }> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => socket.destroy())
  const received: Packet[] = []
  const reading = parser()
  reading.on('packet', (packet: Packet) => void received.push(packet))
  socket.on('data', part => void reading.parse(part))
  await once(socket, 'connect')
  const login = { username: 'k', password: Buffer.from('secret'), clientId: '', clean: true, keepalive }
  socket.write(generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, ...login, ...more }))
  await until('CONNACK', () => received.some(({ cmd }) => cmd === 'connack'))
  return { socket, received }
}

const publish = (qos: 0 | 1, messageId: number, payload = '21', topic = TOPIC) =>
  generate({ cmd: 'publish', qos, dup: false, retain: false, topic, payload, ...(qos > 0 ? { messageId } : {}) })
const acks = (received: readonly Packet[]) => received.filter(({ cmd }) => cmd === 'puback').map(({ messageId }) => messageId)

describe.skipIf(!installed)('a client whose log is slow', () => {
  it('is read no further than the limit, is not cut off for silence meanwhile, and has all acknowledged in order', async () => {
    const door = await openDoor()
    const { socket, received } = await enter(door.port, 1)
    door.hold()
    const count = 20_000
    socket.write(Buffer.concat(Array.from({ length: count }, (_, i) => publish(1, i + 1, String(i)))))
    socket.write(generate({ cmd: 'pingreq' }))
    // More than one and a half times the keep alive.
    const other = await enter(door.port, 1)
    await once(other.socket, 'close')
    expect(door.counted).toEqual(['silent'])
    expect([socket.destroyed, acks(received).length]).toEqual([false, 0])
    door.release()
    await until('all are acknowledged', () => acks(received).length === count)
    expect(acks(received)).toEqual(Array.from({ length: count }, (_, i) => i + 1))
    expect(door.frames.map(frame => (JSON.parse(frame) as { data: { temperature: { value: number } } }).data.temperature.value)).toEqual(
      Array.from({ length: count }, (_, i) => i),
    )
    await until('PINGRESP', () => received.some(({ cmd }) => cmd === 'pingresp'))
    socket.destroy()
  })
})

describe.skipIf(!installed)('a client that has said all, and listens', () => {
  it('has its acknowledgements before the connection ends', async () => {
    const door = await openDoor()
    const { socket, received } = await enter(door.port)
    door.hold()
    socket.end(Buffer.concat([publish(1, 1), publish(1, 2)]))
    await until('the log has them', () => door.held() > 0)
    door.release()
    await once(socket, 'close')
    expect(acks(received)).toEqual([1, 2])
  })

  it('has them also where its publishes go by the broker', async () => {
    const door = await openDoor()
    const reader = await enter(door.port)
    reader.socket.write(
      generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'projects/p/devices/+/events/#', qos: 1 }] } as never),
    )
    await until('SUBACK', () => reader.received.some(({ cmd }) => cmd === 'suback'))
    const { socket, received } = await enter(door.port)
    const exactly = generate({ cmd: 'publish', qos: 2, dup: false, retain: false, topic: TOPIC, payload: '3', messageId: 3 })
    socket.end(Buffer.concat([publish(1, 1), publish(1, 2), exactly]))
    await once(socket, 'close')
    expect(received.slice(1).map(({ cmd, messageId }) => [cmd, messageId])).toEqual([
      ['puback', 1],
      ['puback', 2],
      ['pubrec', 3],
    ])
    reader.socket.destroy()
  })
})

describe.skipIf(!installed)('a client of MQTT 3.1', () => {
  it('may set DUP on what it sends again: PUBREL, SUBSCRIBE and UNSUBSCRIBE (MQTT 3.1, 2.1)', async () => {
    const door = await openDoor()
    const { socket, received } = await enter(door.port, 0, { protocolId: 'MQIsdp', protocolVersion: 3, clientId: 'old' })
    const again = (packet: Buffer) => Buffer.concat([Buffer.from([(packet[0] as number) | 8]), packet.subarray(1)])
    socket.write(again(generate({ cmd: 'pubrel', messageId: 9 })))
    socket.write(again(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'notes', qos: 1 }] } as never)))
    socket.write(again(generate({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['notes'] })))
    await until('all are answered', () => ['pubcomp', 'suback', 'unsuback'].every(one => received.some(({ cmd }) => cmd === one)))
    const other = await enter(door.port)
    other.socket.write(again(generate({ cmd: 'pubrel', messageId: 9 })))
    await once(other.socket, 'close')
    expect(door.counted).toEqual(['malformed'])
    socket.destroy()
  })
})

describe.skipIf(!installed)('a client whose log is away', () => {
  it('keeps its connection when it publishes with QoS 0, and what is dropped is counted; with QoS 1 it is cut off without PUBACK', async () => {
    const door = await openDoor()
    const { socket, received } = await enter(door.port)
    door.takeAway()
    socket.write(publish(0, 0))
    await until('it is counted', () => door.counted.includes('shed'))
    expect(socket.destroyed).toBe(false)
    socket.write(publish(1, 1))
    await once(socket, 'close')
    expect(acks(received)).toEqual([])
    expect(door.counted).toEqual(['shed', 'unavailable'])
  })
})

describe.skipIf(!installed)('a client whose log is away and whose events somebody is subscribed to', () => {
  it('keeps its connection when it publishes with QoS 0, and what is dropped reaches nobody', async () => {
    const door = await openDoor()
    const { socket, received } = await enter(door.port)
    socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'projects/p/devices/+/events/#', qos: 1 }] } as never))
    await until('SUBACK', () => received.some(({ cmd }) => cmd === 'suback'))
    door.takeAway()
    socket.write(publish(0, 0))
    await until('it is counted', () => door.counted.includes('shed'))
    socket.write(generate({ cmd: 'pingreq' }))
    await until('PINGRESP', () => received.some(({ cmd }) => cmd === 'pingresp'))
    expect(received.some(({ cmd }) => cmd === 'publish')).toBe(false)
    expect(door.counted).toEqual(['shed'])
    socket.destroy()
  })
})

describe.skipIf(!installed)('a client whose broker has lost Redis', () => {
  it('keeps its connection when it publishes with QoS 0; with QoS 1 it is cut off, because Redis is away', async () => {
    const door = await openDoor()
    const { socket } = await enter(door.port)
    door.loseRedis()
    const retained = { cmd: 'publish', topic: 'projects/p/r', payload: 'x', retain: true, dup: false } as const
    socket.write(generate({ ...retained, qos: 0 }))
    await until('it is counted', () => door.counted.length > 0)
    expect(socket.destroyed).toBe(false)
    socket.write(generate({ ...retained, qos: 1, messageId: 1 }))
    await once(socket, 'close')
    expect(door.counted).toEqual(['shed'])
  })
})

describe.skipIf(!installed)('an event', () => {
  it('reaches who is subscribed to it, and only for as long as they are', async () => {
    const door = await openDoor()
    const [one, two] = [await enter(door.port), await enter(door.port)]
    const subscriptions = [{ topic: 'projects/p/devices/+/events/#', qos: 1 }]
    two.socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions } as never))
    await until('SUBACK', () => two.received.some(({ cmd }) => cmd === 'suback'))
    one.socket.write(publish(1, 1))
    await until('it is there', () => two.received.some(({ cmd }) => cmd === 'publish'))
    two.socket.write(generate({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['projects/p/devices/+/events/#'] } as never))
    await until('UNSUBACK', () => two.received.some(({ cmd }) => cmd === 'unsuback'))
    one.socket.write(publish(1, 2))
    await until('both are acknowledged', () => acks(one.received).length === 2)
    expect(two.received.filter(({ cmd }) => cmd === 'publish').length).toBe(1)
    expect(door.frames.length).toBe(2)
    for (const { socket } of [one, two]) socket.destroy()
  })
})

describe.skipIf(!installed)('an address', () => {
  it('that holds its connections gets no more of them, until one ends', async () => {
    const door = await openDoor()
    const held = [await enter(door.port), await enter(door.port), await enter(door.port)]
    const more = connect(door.port, '127.0.0.1')
    more.on('error', () => more.destroy())
    await once(more, 'close')
    expect(door.counted).toEqual(['too many'])
    held[0]?.socket.destroy()
    await until('there is room', async () => {
      const again = connect(door.port, '127.0.0.1')
      again.on('error', () => again.destroy())
      again.write(generate({ cmd: 'pingreq' }))
      await once(again, 'close')
      return door.counted.includes('malformed')
    })
    for (const { socket } of held) socket.destroy()
  })
})
