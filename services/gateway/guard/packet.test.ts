// Each rule of MQTT 3.1.1 on the form of packets, by its clause, and what is right beside it.
import { generate } from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { firstFault, readConnect } from './connect.ts'
import { Frames } from './frame.ts'
import { bodyFault, headerFault } from './packet.ts'

const text = (...codes: (number | string)[]) => {
  const bytes = Buffer.concat(codes.map(code => (typeof code === 'string' ? Buffer.from(code) : Buffer.from([code]))))
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
}
const packet = (first: number, ...parts: (Buffer | number)[]) => {
  const body = Buffer.concat(parts.map(part => (typeof part === 'number' ? Buffer.from([part]) : part)))
  const length = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7]
  return Buffer.from([first, ...length, ...body])
}
const ID = Buffer.from([0, 1])
const NO_ID = Buffer.from([0, 0])

function faultOf(bytes: Buffer, level = 4): string | undefined {
  const frames = new Frames(first => headerFault(first, level))
  frames.push(bytes)
  const found = frames.next()
  if (found === false) return 'incomplete'
  if (typeof found === 'string') return found
  return bodyFault(frames.first, frames.bytes, frames.body, frames.end)
}

const GOOD: readonly [name: string, bytes: Buffer][] = [
  ['PUBLISH with QoS 0', packet(0x30, text('a/b'), 1)],
  ['PUBLISH without payload', packet(0x30, text('a'))],
  ['PUBLISH with QoS 1 and DUP', packet(0x3a, text('a'), ID)],
  ['PUBLISH with QoS 2, retained', packet(0x35, text('a'), ID, 1)],
  ['PUBLISH on a topic of empty levels', packet(0x30, text('//'))],
  ['PUBLISH on a topic with a BOM [MQTT-1.5.3-3]', packet(0x30, text('\ufeffa'))],
  ['PUBLISH on a topic of four-byte characters', packet(0x30, text('😀'))],
  ['PUBACK', packet(0x40, ID)],
  ['PUBREC', packet(0x50, ID)],
  ['PUBREL', packet(0x62, ID)],
  ['PUBCOMP', packet(0x70, ID)],
  ['SUBSCRIBE', packet(0x82, ID, text('+/a/#'), 2, text('#'), 0, text('+'), 1)],
  ['UNSUBSCRIBE', packet(0xa2, ID, text('a/+/b'))],
  ['PINGREQ', packet(0xc0)],
  ['DISCONNECT', packet(0xe0)],
]

const BAD: readonly [clause: string, name: string, bytes: Buffer][] = [
  ['MQTT-1.5.3-1', 'a surrogate in a topic', packet(0x30, text(0xed, 0xa0, 0x80))],
  ['MQTT-1.5.3-1', 'an overlong slash in a topic', packet(0x30, text(0xc0, 0xaf))],
  ['MQTT-1.5.3-1', 'a byte alone in a filter', packet(0x82, ID, text(0xff), 0)],
  ['MQTT-1.5.3-2', 'U+0000 in a filter', packet(0x82, ID, text('a', 0), 0)],
  ['MQTT-1.5.3-2', 'U+0000 in a filter to leave', packet(0xa2, ID, text(0))],
  ['MQTT-2.2.1', 'type 0', packet(0x00)],
  ['MQTT-2.2.1', 'type 15', packet(0xf0)],
  ['MQTT-2.2.1', 'CONNACK from a client', packet(0x20, ID)],
  ['MQTT-2.2.1', 'SUBACK from a client', packet(0x90, ID, 0)],
  ['MQTT-2.2.1', 'UNSUBACK from a client', packet(0xb0, ID)],
  ['MQTT-2.2.1', 'PINGRESP from a client', packet(0xd0)],
  ['MQTT-2.2.2-2', 'flags of PUBACK', packet(0x41, ID)],
  ['MQTT-2.2.2-2', 'flags of PUBREC', packet(0x58, ID)],
  ['MQTT-2.2.2-2', 'flags of PUBCOMP', packet(0x72, ID)],
  ['MQTT-2.2.2-2', 'flags of PINGREQ', packet(0xc1)],
  ['MQTT-2.2.3', 'a length of five bytes', Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x01])],
  ['MQTT-2.3.1-1', 'PUBLISH with QoS 1 and id 0', packet(0x32, text('a'), NO_ID)],
  ['MQTT-2.3.1-1', 'PUBLISH with QoS 1 without id', packet(0x32, text('a'), 1)],
  ['MQTT-2.3.1-1', 'SUBSCRIBE with id 0', packet(0x82, NO_ID, text('a'), 0)],
  ['MQTT-2.3.1-1', 'SUBSCRIBE without id', packet(0x82)],
  ['MQTT-2.3.1-1', 'UNSUBSCRIBE with id 0', packet(0xa2, NO_ID, text('a'))],
  ['MQTT-2.3.1-1', 'PUBACK with id 0', packet(0x40, NO_ID)],
  ['MQTT-3.1.0-2', 'a second CONNECT', packet(0x10)],
  ['MQTT-3.3.1-2', 'DUP with QoS 0', packet(0x38, text('a'))],
  ['MQTT-3.3.1-4', 'QoS 3', packet(0x36, text('a'), ID)],
  ['MQTT-3.3.2-1', 'PUBLISH without topic', packet(0x30)],
  ['MQTT-3.3.2-1', 'a topic longer than its packet', packet(0x30, 0, 5, 0x61)],
  ['MQTT-3.3.2-2', '# in a topic', packet(0x30, text('a/#'))],
  ['MQTT-3.3.2-2', '+ in a topic', packet(0x30, text('a+'))],
  ['MQTT-3.4.2', 'PUBACK of one byte', packet(0x40, 1)],
  ['MQTT-3.4.2', 'PUBREC of three bytes', packet(0x50, ID, 0)],
  ['MQTT-3.4.2', 'PUBREL of no byte', packet(0x62)],
  ['MQTT-3.6.1-1', 'flags of PUBREL', packet(0x60, ID)],
  ['MQTT-3.8.1-1', 'flags of SUBSCRIBE', packet(0x80, ID, text('a'), 0)],
  ['MQTT-3.8.3-1', 'a filter longer than its packet', packet(0x82, ID, 0, 9, 0x61)],
  ['MQTT-3.8.3-1', 'a filter without QoS', packet(0x82, ID, text('a'))],
  ['MQTT-3.8.3-3', 'SUBSCRIBE without filters', packet(0x82, ID)],
  ['MQTT-3.8.3-4', 'QoS 3 asked for', packet(0x82, ID, text('a'), 3)],
  ['MQTT-3.8.3-4', 'reserved bits beside the QoS', packet(0x82, ID, text('a'), 0x10)],
  ['MQTT-3.10.1-1', 'flags of UNSUBSCRIBE', packet(0xa0, ID, text('a'))],
  ['MQTT-3.10.3-1', 'a filter to leave that is cut short', packet(0xa2, ID, 0)],
  ['MQTT-3.10.3-2', 'UNSUBSCRIBE without filters', packet(0xa2, ID)],
  ['MQTT-3.12', 'PINGREQ with a body', packet(0xc0, 0)],
  ['MQTT-3.14', 'DISCONNECT with a body', packet(0xe0, 0)],
  ['MQTT-3.14.1-1', 'flags of DISCONNECT', packet(0xe8)],
  ['MQTT-4.7.1-2', 'a/#/b', packet(0x82, ID, text('a/#/b'), 0)],
  ['MQTT-4.7.1-2', 'a#', packet(0x82, ID, text('a#'), 0)],
  ['MQTT-4.7.1-3', 'a+/b', packet(0x82, ID, text('a+/b'), 0)],
  ['MQTT-4.7.1-3', '++', packet(0xa2, ID, text('++'))],
  ['MQTT-4.7.3-1', 'an empty topic', packet(0x30, text(''))],
  ['MQTT-4.7.3-1', 'an empty filter', packet(0x82, ID, text(''), 0)],
  ['MQTT-4.7.3-2', 'U+0000 in a topic', packet(0x30, text('a', 0, 'b'))],
  ['levels', 'a topic of 97 levels', packet(0x30, text('/'.repeat(96)))],
  ['levels', 'a filter of 97 levels', packet(0x82, ID, text('/'.repeat(96)), 0)],
]

describe('a packet', () => {
  it.each(GOOD)('is taken: %s', (_name, bytes) => {
    expect(faultOf(bytes)).toBeUndefined()
  })

  it.each(BAD)('ends its connection [%s]: %s', (clause, _name, bytes) => {
    expect(faultOf(bytes)).toContain(clause)
  })
})

type Parts = { name?: Buffer; level?: number; flags?: number; keepAlive?: number; fields?: readonly Buffer[] }
function connectOf({ name = text('MQTT'), level = 4, flags = 2, keepAlive = 60, fields = [text('id')] }: Parts): Buffer {
  return packet(0x10, name, level, flags, keepAlive >> 8, keepAlive & 255, ...fields)
}
function readOf(bytes: Buffer) {
  const frames = new Frames(firstFault)
  frames.push(bytes)
  const found = frames.next()
  return typeof found === 'boolean' ? readConnect(frames.bytes, frames.body, frames.end) : { fault: found }
}
const ALL = 0xce
const FULL = [text('id'), text('will'), text(0xff), text('user'), text(0xff)]

describe('CONNECT', () => {
  it.each<[string, Parts]>([
    ['of MQTT 3.1.1', {}],
    ['of MQTT 3.1', { name: text('MQIsdp'), level: 3 }],
    ['of a bridge', { level: 0x84 }],
    ['with all there is', { flags: ALL, fields: FULL }],
    ['with a retained will of QoS 2', { flags: 0x36, fields: [text('id'), text('will'), text('')] }],
    ['with an empty client id and a clean session', { fields: [text('')] }],
    ['with a client id of 256 characters', { fields: [text('x'.repeat(256))] }],
  ])('is read: %s', (_name, parts) => {
    expect(readOf(connectOf(parts))).toMatchObject({ keepAliveS: 60, keepAliveAt: expect.any(Number) })
  })

  it('is refused with 2 for a client id that is longer', () => {
    expect(readOf(connectOf({ fields: [text('x'.repeat(257))] }))).toMatchObject({ answer: Buffer.from([0x20, 2, 0, 2]) })
  })

  it.each<[clause: string, name: string, parts: Parts]>([
    ['MQTT-1.5.3-2', 'U+0000 in the client id', { fields: [text('a', 0)] }],
    ['MQTT-1.5.3-1', 'a surrogate in the user name', { flags: 0x82, fields: [text('id'), text(0xed, 0xbf, 0xbf)] }],
    ['MQTT-3.1.2-1', 'another protocol', { name: text('HTTP') }],
    ['MQTT-3.1.2-1', 'mqtt in small letters', { name: text('mqtt') }],
    ['MQTT-3.1.2-1', 'a name of Object', { name: text('constructor') }],
    ['MQTT-3.1.2-3', 'the reserved flag', { flags: 3 }],
    ['MQTT-3.1.2-9', 'a will without message', { flags: 6, fields: [text('id'), text('will')] }],
    ['MQTT-3.1.2-13', 'the QoS of no will', { flags: 0x0a }],
    ['MQTT-3.1.2-14', 'a will of QoS 3', { flags: 0x1e, fields: [text('id'), text('will'), text('')] }],
    ['MQTT-3.1.2-15', 'no will, retained', { flags: 0x22 }],
    ['MQTT-3.1.2-20', 'more than its flags announce', { fields: [text('id'), text('user')] }],
    ['MQTT-3.1.2-21', 'a password that is missing', { flags: 0xc2, fields: [text('id'), text('user')] }],
    ['MQTT-3.1.2-22', 'a password without user name', { flags: 0x42, fields: [text('id'), text('secret')] }],
    ['MQTT-3.1.3-3', 'no client id', { fields: [] }],
    ['MQTT-3.1.3-10', 'a topic of the will that is missing', { flags: 6 }],
    ['MQTT-3.3.2-2', 'a will to a wildcard', { flags: 6, fields: [text('id'), text('#'), text('')] }],
    ['MQTT-3.1.3-11', 'a user name that is missing', { flags: 0x82 }],
  ])('ends its connection without a word [%s]: %s', (clause, _name, parts) => {
    const read = readOf(connectOf(parts))
    expect(read).toMatchObject({ fault: expect.stringContaining(clause) })
    expect(read).not.toHaveProperty('answer')
  })

  it.each<[clause: string, name: string, parts: Parts, code: number]>([
    ['MQTT-3.1.2-2', 'level 6', { level: 6 }, 1],
    ['MQTT-3.1.2-2', 'level 3 under the later name', { level: 3 }, 1],
    ['MQTT-3.1.3-8', 'an empty client id that wants its session kept', { flags: 0, fields: [text('')] }, 2],
    ['+ or #', 'a client id that is a filter', { fields: [text('a/#')] }, 2],
  ])('is refused in words [%s]: %s', (clause, _name, parts, code) => {
    expect(readOf(connectOf(parts))).toEqual({ fault: expect.stringContaining(clause), answer: Buffer.from([0x20, 2, 0, code]) })
  })

  it('of MQTT 5 is answered as MQTT 5 has it, with the versions that are spoken', () => {
    const read = readOf(connectOf({ level: 5 }))
    const { answer } = read as { answer: Buffer }
    expect([...answer.subarray(0, 5)]).toEqual([0x20, answer.length - 2, 0, 0x84, answer.length - 5])
    expect(answer.toString()).toMatch(/3\.1\.1.*3\.1/)
  })

  it('is what comes first, with no flag set', () => {
    expect(firstFault(0x30)).toContain('MQTT-3.1.0-1')
    expect(firstFault(0x11)).toContain('MQTT-2.2.2-2')
  })
})

describe('packets', () => {
  const all = Buffer.concat([...GOOD.map(([, bytes]) => bytes), packet(0x30, text('big'), Buffer.alloc(9000, 7))])

  it.each([1, 2, 3, 5, 7, 100, 4096, all.length])('are the same, cut into reads of %i bytes', size => {
    const frames = new Frames(() => undefined)
    const found: Buffer[] = []
    for (let at = 0; at < all.length; at += size) {
      frames.push(all.subarray(at, at + size))
      while (frames.next() === true) found.push(Buffer.from(frames.bytes.subarray(frames.start, frames.end)))
    }
    expect(found.length).toBe(GOOD.length + 1)
    expect(Buffer.concat(found).equals(all)).toBe(true)
    expect(frames.held).toBe(0)
  })

  it('are judged by their header, before the rest of them has come', () => {
    const frames = new Frames((first, length) => `${first} ${length}`)
    frames.push(Buffer.from([0x30]))
    expect(frames.next()).toBe(false)
    frames.push(Buffer.from([0xff, 0xff, 0xff, 0x7f]))
    expect(frames.next()).toBe('48 268435460')
  })
})

describe('packets in small reads', () => {
  const large = (length: number) => {
    const payload = Buffer.alloc(length)
    for (let i = 0; i < length; i++) payload[i] = i % 251
    const bytes = generate({ cmd: 'publish', topic: 'a', payload, qos: 0, dup: false, retain: false })
    return { payload, bytes }
  }

  it('are taken byte by byte at a cost that grows with their length, not with its square', () => {
    const { payload, bytes } = large(1024 * 1024 - 100)
    const frames = new Frames(() => undefined)
    const beganMs = performance.now()
    for (let at = 0; at < bytes.length - 1; at++) {
      frames.push(bytes.subarray(at, at + 1))
      if (frames.next() !== false) expect.unreachable()
    }
    frames.push(bytes.subarray(-1))
    expect(frames.next()).toBe(true)
    expect(frames.bytes.subarray(frames.body + 3, frames.end).equals(payload)).toBe(true)
    // It is about one second, most of it this test's own; it was minutes.
    expect(performance.now() - beganMs).toBeLessThan(20_000)
  })

  it('are the same however they are cut', () => {
    const sizes = [0, 1, 3, 100, 1500, 5000, 20_000]
    const stream = Buffer.concat(sizes.map(size => large(size).bytes))
    for (const step of [1, 2, 7, 100, 1000, 1024, 3000, 5000]) {
      const frames = new Frames(() => undefined)
      const found: number[] = []
      for (let at = 0, n = 0; at < stream.length; n++) {
        // Every few reads a large one, and not all of them are looked at.
        const end = at + (n % 5 === 4 ? 2000 : step)
        frames.push(stream.subarray(at, end))
        at = end
        if (n % 3 === 0) continue
        while (frames.next() === true) {
          const payload = frames.bytes.subarray(frames.body + 3, frames.end)
          expect(payload.equals(large(payload.length).payload)).toBe(true)
          found.push(payload.length)
        }
      }
      while (frames.next() === true) found.push(frames.end - frames.body - 3)
      expect(found).toEqual(sizes)
      expect(frames.held).toBe(0)
    }
  })
})

it('a SUBSCRIBE has no more filters than a session may have', () => {
  const subscribe = (count: number) => {
    const subscriptions = Array.from({ length: count }, (_, n) => ({ topic: `f/${n}`, qos: 0 as const }))
    return generate({ cmd: 'subscribe', messageId: 1, subscriptions })
  }
  expect([faultOf(subscribe(1000)), faultOf(subscribe(1001))]).toEqual([undefined, 'too many: more than 1000 filters in one packet'])
})
