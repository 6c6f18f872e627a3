// The form of packets, statement by statement of MQTT 3.1.1, asked from outside with raw sockets; and what hostile bytes cost (hazards 1,
// 2, 3, 12, 14 and 39).
import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import mqtt from 'mqtt'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../eventually.ts'
import { removeDirectories, startTelltale, type Telltale } from '../world.ts'

const MAX_PACKET = 256 * 1024

let telltale: Telltale
let idle: Promise<number>
beforeAll(async () => {
  telltale = await startTelltale({ env: { TELLTALE_MQTT_MAX_PACKET: '256kb', TELLTALE_LOG_LEVEL: 'info' } })
  idle = idleMs()
}, 60_000)
afterAll(async () => {
  await telltale?.remove()
  await removeDirectories()
})

// ---- bytes

type Part = Buffer | string | number
const bytesOf = (parts: readonly Part[]) =>
  Buffer.concat(parts.map(part => (typeof part === 'number' ? Buffer.from([part]) : typeof part === 'string' ? text(part) : part)))

/** With its length in front. */
function text(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
}

function packet(first: number, ...parts: Part[]): Buffer {
  const body = bytesOf(parts)
  const length: number[] = []
  for (let rest = body.length; ; rest >>= 7) {
    length.push(rest > 127 ? (rest & 127) | 128 : rest)
    if (rest <= 127) return Buffer.concat([Buffer.from([first, ...length]), body])
  }
}

type Login = { name?: string; level?: number; flags?: number; id?: string | Buffer; rest?: readonly Part[]; keepAlive?: number }
function connectPacket({ name = 'MQTT', level = 4, flags = 0xc2, id = '', rest, keepAlive = 60 }: Login = {}): Buffer {
  const { keyId, secret } = telltale.key
  return packet(0x10, name, level, flags, keepAlive >> 8, keepAlive & 255, text(id), ...(rest ?? [keyId, secret]))
}

const ID = Buffer.from([0, 7])
const NO_ID = Buffer.from([0, 0])
const publish = (topic: string | Buffer, first = 0x30, ...rest: Part[]) => packet(first, text(topic), ...rest)
const MINE = 'projects/default/conformance'

// ---- sockets

type Raw = { readonly socket: Socket; said(): Buffer; write(...parts: Buffer[]): void; ended(limitMs?: number): Promise<Buffer> }

function open(): Raw {
  const socket = connect({ port: telltale.mqttPort(), host: '127.0.0.1', noDelay: true })
  // It may be cut off while it still sends.
  socket.on('error', () => socket.destroy())
  const parts: Buffer[] = []
  socket.on('data', part => void parts.push(part))
  return {
    socket,
    said: () => Buffer.concat(parts),
    write: (...bytes) => void socket.write(Buffer.concat(bytes)),
    ended: async (limitMs = 5000) => {
      await until('the connection is closed', () => socket.closed, limitMs)
      return Buffer.concat(parts)
    },
  }
}

/** Logged in; what is said after CONNACK. */
async function enter(login: Login = {}): Promise<Raw> {
  const raw = open()
  raw.write(connectPacket(login))
  await until('CONNACK', () => raw.said().length >= 4)
  expect([...raw.said().subarray(0, 4)]).toEqual([0x20, 2, 0, 0])
  return { ...raw, said: () => raw.said().subarray(4) }
}

/** Sends it after a login and expects these bytes back. */
async function answers(sent: Buffer, expected: readonly number[]): Promise<void> {
  const raw = await enter()
  raw.write(sent)
  await until(`${expected.join()}, not ${[...raw.said()].join()}`, () => raw.said().length >= expected.length)
  expect([...raw.said()]).toEqual(expected)
  raw.socket.destroy()
}

async function rssMb(): Promise<number> {
  const status = await readFile(`/proc/${telltale.program().pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
}

/** How long somebody else takes to get in. */
async function probeMs(): Promise<number> {
  const startedMs = performance.now()
  const raw = await enter()
  raw.socket.destroy()
  return performance.now() - startedMs
}

// ---- what ends the connection

describe('the connection ends, without an answer, at', () => {
  const rows: [statement: string, sent: () => Buffer][] = [
    ['[MQTT-1.5.3-1] a surrogate in a topic', () => publish(Buffer.from([0xed, 0xa0, 0x80]))],
    ['[MQTT-1.5.3-1] an overlong character in a topic', () => publish(Buffer.from([0xc0, 0x80]))],
    ['[MQTT-1.5.3-1] ill-formed UTF-8 in a filter', () => packet(0x82, ID, text(Buffer.from([0xff])), 0)],
    ['[MQTT-1.5.3-2] U+0000 in a topic', () => publish('a\0b')],
    ['[MQTT-1.5.3-2] U+0000 in a filter', () => packet(0x82, ID, 'a\0', 0)],
    ['[MQTT-2.2.2-2] reserved flags of PUBACK', () => packet(0x41, ID)],
    ['[MQTT-2.2.2-2] reserved flags of PINGREQ', () => packet(0xc4)],
    ['[MQTT-2.3.1-1] PUBLISH with packet identifier 0', () => publish(MINE, 0x32, NO_ID)],
    ['[MQTT-2.3.1-1] SUBSCRIBE with packet identifier 0', () => packet(0x82, NO_ID, MINE, 0)],
    ['[MQTT-2.3.1-1] UNSUBSCRIBE with packet identifier 0', () => packet(0xa2, NO_ID, MINE)],
    ['[MQTT-3.1.0-2] a second CONNECT', () => connectPacket()],
    ['[MQTT-3.3.1-2] DUP with QoS 0', () => publish(MINE, 0x38)],
    ['[MQTT-3.3.1-4] both bits of QoS', () => publish(MINE, 0x36, ID)],
    ['[MQTT-3.3.2-1] a topic that is no UTF-8 string', () => packet(0x30, 0, 9, 0x61)],
    ['[MQTT-3.3.2-2] # in a topic', () => publish('a/#')],
    ['[MQTT-3.3.2-2] + in a topic', () => publish('+/a')],
    ['[MQTT-3.6.1-1] PUBREL without its reserved flags', () => packet(0x60, ID)],
    ['[MQTT-3.8.1-1] SUBSCRIBE without its reserved flags', () => packet(0x80, ID, MINE, 0)],
    ['[MQTT-3.8.3-3] SUBSCRIBE without a filter', () => packet(0x82, ID)],
    ['[MQTT-3.8.3-4] a requested QoS of 3', () => packet(0x82, ID, MINE, 3)],
    ['[MQTT-3.8.3-4] reserved bits beside the requested QoS', () => packet(0x82, ID, MINE, 0x41)],
    ['[MQTT-3.10.1-1] UNSUBSCRIBE without its reserved flags', () => packet(0xa0, ID, MINE)],
    ['[MQTT-3.10.3-2] UNSUBSCRIBE without a filter', () => packet(0xa2, ID)],
    ['[MQTT-3.14.1-1] reserved flags of DISCONNECT', () => packet(0xe1)],
    ['[MQTT-4.7.1-2] a # that is not the last level', () => packet(0x82, ID, 'a/#/b', 0)],
    ['[MQTT-4.7.1-3] a + beside other characters', () => packet(0x82, ID, 'a/b+', 0)],
    ['[MQTT-4.7.3-1] an empty topic', () => publish('')],
    ['[MQTT-4.7.3-1] an empty filter', () => packet(0x82, ID, '', 0)],
    ['[MQTT-4.8.0-1] a packet that only servers send: CONNACK', () => packet(0x20, 0, 0)],
    ['[MQTT-4.8.0-1] a packet that only servers send: SUBACK', () => packet(0x90, ID, 0)],
    ['[MQTT-4.8.0-1] a packet that only servers send: UNSUBACK', () => packet(0xb0, ID)],
    ['[MQTT-4.8.0-1] a packet that only servers send: PINGRESP', () => packet(0xd0)],
    ['[MQTT-4.8.0-1] the forbidden type 0', () => packet(0x00)],
    ['[MQTT-4.8.0-1] the forbidden type 15', () => packet(0xf0)],
    ['[MQTT-4.8.0-1] a PUBACK for what was not sent', () => packet(0x40, ID)],
    ['[MQTT-4.8.0-1] a PUBREC for what was not sent', () => packet(0x50, ID)],
    ['[MQTT-4.8.0-1] a PUBCOMP for what was not sent', () => packet(0x70, ID)],
    ['[MQTT-4.8.0-1] a PUBREL that is too short', () => packet(0x62, 1)],
    ['[MQTT-4.8.0-1] a PINGREQ with a body', () => packet(0xc0, 1)],
    ['[MQTT-4.8.0-1] a DISCONNECT with a body', () => packet(0xe0, 1)],
    ['[MQTT-4.8.0-1] a remaining length of five bytes', () => Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 1])],
    ['GHSA-xxqp-5qx8-gj5q a topic of a thousand levels', () => publish('a/'.repeat(1000))],
    ['GHSA-xxqp-5qx8-gj5q a filter of a thousand levels', () => packet(0x82, ID, 'a/'.repeat(1000), 0)],
    ['a packet over the limit', () => publish(MINE, 0x30, Buffer.alloc(MAX_PACKET))],
  ]
  it.each(rows)('%s', async (_statement, sent) => {
    const raw = await enter()
    raw.write(sent())
    expect([...(await raw.ended())].slice(4)).toEqual([])
  })
})

describe('who does not begin well is cut off without CONNACK:', () => {
  const rows: [statement: string, sent: () => Buffer][] = [
    ['[MQTT-3.1.0-1] by another packet than CONNECT', () => packet(0xc0)],
    ['[MQTT-3.1.0-1] by HTTP', () => Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')],
    ['[MQTT-2.2.2-2] by reserved flags of CONNECT', () => Buffer.concat([Buffer.from([0x12]), connectPacket().subarray(1)])],
    ['[MQTT-3.1.2-1] by another protocol name', () => connectPacket({ name: 'MQTX' })],
    ['[MQTT-3.1.2-3] by the reserved connect flag', () => connectPacket({ flags: 0xc3 })],
    ['[MQTT-3.1.2-13] by a QoS for no will', () => connectPacket({ flags: 0xca })],
    ['[MQTT-3.1.2-14] by a will of QoS 3', () => connectPacket({ flags: 0x1e, rest: [MINE, ''] })],
    ['[MQTT-3.1.2-15] by a retained will that is none', () => connectPacket({ flags: 0xe2 })],
    ['[MQTT-3.1.2-22] by a password without user name', () => connectPacket({ flags: 0x42, rest: ['secret'] })],
    ['[MQTT-3.1.3-4] by a client id that is no UTF-8', () => connectPacket({ id: Buffer.from([0xc0, 0xaf]) })],
    ['[MQTT-3.1.3-10] by a will topic that is no UTF-8', () => connectPacket({ flags: 0x06, rest: [text(Buffer.from([0xff])), ''] })],
    [
      '[MQTT-3.1.3-11] by a user name that is no UTF-8',
      () => connectPacket({ flags: 0x82, rest: [text(Buffer.from([0xed, 0xa0, 0x80]))] }),
    ],
    ['[MQTT-1.5.3-2] by a user name with U+0000', () => connectPacket({ flags: 0x82, rest: ['a\0'] })],
    ['[MQTT-3.1.2-20] by more than its flags announce', () => connectPacket({ flags: 2 })],
    [
      'by a CONNECT of more than 64 KiB',
      () => packet(0x10, 'MQTT', 4, 0xc2, 0, 60, text('x'), 'a', text('b'.repeat(65_500)), Buffer.alloc(99)),
    ],
  ]
  it.each(rows)('%s', async (_statement, sent) => {
    const raw = open()
    raw.write(sent())
    expect([...(await raw.ended())]).toEqual([])
  })
})

describe('CONNACK', () => {
  it.each<[statement: string, login: Login, answer: number[]]>([
    ['[MQTT-3.1.2-2] is 1 for another protocol level', { level: 7 }, [0x20, 2, 0, 1]],
    ['[MQTT-3.1.3-8] is 2 for an empty client id that wants its session kept', { flags: 0xc0 }, [0x20, 2, 0, 2]],
    ['is 2 for a client id that is a filter (hazard 7)', { id: '+' }, [0x20, 2, 0, 2]],
    ['[MQTT-3.2.2-4] says no session where it refuses', { rest: ['nobody', 'knows'] }, [0x20, 2, 0, 5]],
  ])('%s, and the connection ends [MQTT-3.2.2-5]', async (_statement, login, answer) => {
    const raw = open()
    raw.write(connectPacket(login))
    expect([...(await raw.ended())]).toEqual(answer)
  })

  it.each<[statement: string, login: Login]>([
    ['[MQTT-3.1.3-6] an empty client id with a clean session', {}],
    ['[MQTT-3.1.3-5] a client id of 23 characters', { id: '0123456789abcdefghijklm' }],
    ['[MQTT-1.5.3-3] a client id that begins with a BOM', { id: '\ufeffa' }],
    ['MQTT 3.1', { name: 'MQIsdp', level: 3, id: 'of-3.1' }],
    ['MQTT 3.1 with a long client id', { name: 'MQIsdp', level: 3, id: 'x'.repeat(60) }],
  ])('is 0, and is the first packet [MQTT-3.2.0-1], for %s', async (_statement, login) => {
    const raw = await enter(login)
    raw.socket.destroy()
  })

  it('of MQTT 5 says by which versions to come again', async () => {
    const url = `mqtt://127.0.0.1:${telltale.mqttPort()}`
    const { keyId: username, secret: password } = telltale.key
    const refused = mqtt.connect(url, { protocolVersion: 5, username, password, reconnectPeriod: 0 })
    const packets: { reasonCode?: number; properties?: { reasonString?: string } }[] = []
    refused.on('packetreceive', one => void packets.push(one as (typeof packets)[number]))
    const error = await new Promise<Error & { code?: number }>(resolve => refused.once('error', resolve))
    expect(error.code).toBe(0x84)
    expect(packets[0]?.properties?.reasonString).toMatch(/3\.1\.1.*3\.1/)
    refused.end(true)
  })
})

describe('an answer', () => {
  it.each<[statement: string, sent: () => Buffer, answer: number[]]>([
    ['[MQTT-3.12.4-1] PINGRESP to PINGREQ', () => packet(0xc0), [0xd0, 0]],
    ['[MQTT-2.3.1-6] PUBACK with the identifier of the PUBLISH', () => publish(MINE, 0x32, ID), [0x40, 2, 0, 7]],
    ['[MQTT-2.3.1-6] PUBREC with the identifier of the PUBLISH', () => publish(MINE, 0x34, ID), [0x50, 2, 0, 7]],
    ['[MQTT-2.3.1-6] PUBCOMP with the identifier of the PUBREL', () => packet(0x62, ID), [0x70, 2, 0, 7]],
    ['[MQTT-2.3.1-7] SUBACK with the identifier of the SUBSCRIBE', () => packet(0x82, ID, MINE, 1), [0x90, 3, 0, 7, 1]],
    [
      '[MQTT-3.8.4-5] SUBACK with a code for each filter',
      () => packet(0x82, ID, MINE, 0, '#', 0, `${MINE}/+`, 2),
      [0x90, 5, 0, 7, 0, 0x80, 2],
    ],
    ['[MQTT-3.10.4-5] UNSUBACK also where nothing was subscribed', () => packet(0xa2, ID, MINE), [0xb0, 2, 0, 7]],
    ['[MQTT-4.7.1-1] PUBACK for a topic with a space and an empty level', () => publish(`${MINE}// x`, 0x32, ID), [0x40, 2, 0, 7]],
  ])('is %s', async (_statement, sent, answer) => {
    await answers(sent(), answer)
  })

  it('comes in the order of the publishes, whichever way they go [MQTT-4.6.0-2]', async () => {
    const topics = [
      'd/ordered/temperature',
      MINE,
      'd/ordered/temperature',
      'projects/default/devices/ordered/events',
      MINE,
      'd/ordered/humidity',
    ]
    const sent = Array.from({ length: 300 }, (_, i) =>
      publish(
        topics[i % topics.length] as string,
        0x32,
        Buffer.from([1, i & 255].map((byte, at) => (at === 0 ? 1 + (i >> 8) : byte))),
        Buffer.from('20'),
      ),
    )
    const raw = await enter()
    raw.write(...sent)
    await until('all are acknowledged', () => raw.said().length >= 1200)
    const ids = Array.from({ length: 300 }, (_, i) => raw.said().readUInt16BE(i * 4 + 2))
    expect(ids).toEqual(Array.from({ length: 300 }, (_, i) => 256 + i))
    raw.socket.destroy()
  })

  it('goes out before the end that the client itself asks for in the same breath [MQTT-3.14.4-2]', async () => {
    const raw = open()
    raw.write(connectPacket(), publish('d/brief/temperature', 0x32, ID, Buffer.from('20')), packet(0xe0))
    expect([...(await raw.ended())]).toEqual([0x20, 2, 0, 0, 0x40, 2, 0, 7])
  })

  it('is PINGRESP, and no end, as long as a client is heard within its keep alive; silence ends it [MQTT-3.1.2-24]', async () => {
    const raw = await enter({ keepAlive: 1 })
    const startedMs = performance.now()
    await raw.ended(10_000)
    expect(performance.now() - startedMs).toBeGreaterThan(1400)
  })
})

// ---- what it costs

const SIZE = 200 * 1024 * 1024
const HUGE = Buffer.from([0x30, 0x80, 0x80, 0x80, 0x64])

/** How long the server keeps two that never say who they are; begun with the file, for it takes ten seconds. */
async function idleMs(): Promise<number> {
  const startedMs = performance.now()
  const [silent, half] = [open(), open()]
  half.write(connectPacket().subarray(0, 9))
  await Promise.all([silent.ended(60_000), half.ended(60_000)])
  return performance.now() - startedMs
}

describe('hostile bytes', () => {
  it('of 200 MB are cut off at the header, before CONNECT and after it (hazard 1)', async () => {
    const beforeMb = await rssMb()
    const startedMs = performance.now()
    const logged = await Promise.all([enter(), enter()])
    const all = [open(), open(), ...logged]
    const chunk = Buffer.alloc(1024 * 1024)
    for (const raw of all) {
      raw.write(HUGE)
      let left = SIZE
      const more = () => {
        while (left > 0 && raw.socket.writable && raw.socket.write(chunk)) left -= chunk.length
      }
      raw.socket.on('drain', more)
      more()
    }
    for (const raw of all) await raw.ended()
    expect(performance.now() - startedMs).toBeLessThan(5000)
    expect((await rssMb()) - beforeMb).toBeLessThan(16)
  })

  it('of 65,535 publishes with QoS 2 in one write are cut off at the limit (hazard 12)', async () => {
    const beforeMb = await rssMb()
    const raw = await enter()
    raw.write(...Array.from({ length: 65_535 }, (_, i) => publish(MINE, 0x34, Buffer.from([(i + 1) >> 8, (i + 1) & 255]))))
    const said = await raw.ended()
    expect(said.length).toBeLessThan(4 * 1002)
    expect((await rssMb()) - beforeMb).toBeLessThan(32)
  })

  it('that are no CONNECT, or half of one, hold no place longer than 10 s (hazard 3)', async () => {
    expect(await idle).toBeGreaterThan(9000)
    expect(await idle).toBeLessThan(20_000)
  }, 30_000)

  it('changed at random, of every kind, harm nobody else and fill no log (hazards 2, 14, 39)', async () => {
    const roll = dice(20_261_122)
    const kinds = [
      connectPacket(),
      publish(MINE, 0x32, ID, Buffer.from('20')),
      publish('d/fuzzed/temperature', 0x30, Buffer.from('20')),
      publish(MINE, 0x34, ID),
      packet(0x40, ID),
      packet(0x62, ID),
      packet(0x82, ID, MINE, 1, `${MINE}/+`, 0),
      packet(0xa2, ID, MINE),
      packet(0xc0),
    ]
    const saidBefore = telltale.program().complained().length
    const startedMs = performance.now()
    let slowestMs = 0
    for (let round = 0; round < 100; round++) {
      const some = Array.from({ length: 20 }, () => open())
      for (const raw of some) {
        const mutated = Array.from({ length: 5 }, () => mutate(kinds[roll(kinds.length)] as Buffer, roll))
        raw.write(...(roll(4) === 0 ? [] : [connectPacket({ id: `f${roll(1000)}` })]), ...mutated)
        raw.socket.end()
      }
      if (round % 10 === 0) slowestMs = Math.max(slowestMs, await probeMs())
      for (const raw of some) await raw.ended()
    }
    const seconds = (performance.now() - startedMs) / 1000
    expect(slowestMs).toBeLessThan(1000)
    const lines = telltale
      .program()
      .complained()
      .slice(saidBefore)
      .split('\n')
      .filter(line => line.includes('mqtt connection cut off') || line.includes('more of the same'))
    expect(lines.length).toBeGreaterThan(0)
    expect(lines.length).toBeLessThan(10 * (seconds + 2))
    expect((await telltale.http('/readyz')).status).toBe(200)
    const metrics = (await telltale.http('/metrics')).text
    expect(Number(/mqtt_connections_cut_total\{reason="malformed"\} (\d+)/.exec(metrics)?.[1])).toBeGreaterThan(500)
  }, 60_000)
})

function dice(seed: number): (sides: number) => number {
  let state = seed
  return sides => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * sides)
  }
}

function mutate(good: Buffer, roll: (sides: number) => number): Buffer {
  const bytes = Buffer.from(good)
  for (let changes = 1 + roll(3); changes > 0; changes--) bytes[roll(bytes.length)] = roll(256)
  return roll(5) === 0 ? bytes.subarray(0, roll(bytes.length)) : bytes
}
