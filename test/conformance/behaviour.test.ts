// How a broker has to behave: the normative statements of MQTT 3.1.1 (OASIS, mqtt-v3.1.1-os) that it can be asked from outside, one by
// one. docs/mqtt.md lists those that are not met; format.test.ts has those about the form of packets.
import { generate, type IConnectPacket } from 'mqtt-packet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectPacket, openRaw, openWire, type Wire } from '../wire.ts'
import { eventually, removeDirectories, startTelltale, stored, type Telltale, temperatureOf, until } from '../world.ts'
import { arrived, exactlyOnce, fresh, has, publish, publishes, settled, subscribe, texts, unsubscribe } from './client.ts'
import { statementsOnTopics } from './topic.ts'

let telltale: Telltale
const open: Wire[] = []

beforeAll(async () => {
  telltale = await startTelltale()
})
afterAll(async () => {
  for (const wire of open) if (!wire.hasEnded()) await wire.cut()
  await telltale.remove()
  await removeDirectories()
})

async function client(clientId = fresh(), clean = true, more: Partial<IConnectPacket> = {}): Promise<Wire> {
  const wire = await openWire(telltale.mqttPort(), telltale.key, clientId, clean, more)
  open.push(wire)
  return wire
}

/** What the server says to a CONNECT, and whether it goes on. */
async function knock(more: Partial<IConnectPacket>, clientId = fresh(), clean = true): Promise<number | undefined> {
  const wire = await openRaw(telltale.mqttPort())
  open.push(wire)
  wire.send(connectPacket(telltale.key, clientId, clean, more))
  await until('an answer or the end', () => wire.received.length > 0 || wire.hasEnded())
  const [answer] = wire.received
  return answer?.cmd === 'connack' ? answer.returnCode : undefined
}

describe('CONNECT', () => {
  test('of a known version is accepted, also of 3.1 [MQTT-3.1.2-1] [MQTT-3.1.4-4]', async () => {
    expect(await knock({})).toBe(0)
    expect(await knock({ protocolId: 'MQIsdp', protocolVersion: 3 })).toBe(0)
  })

  test('a second one ends the connection [MQTT-3.1.0-2]', async () => {
    const wire = await client()
    wire.send(connectPacket(telltale.key, fresh(), true))
    await until('the end', () => wire.hasEnded())
  })

  test('other than first ends the connection [MQTT-3.1.0-1]', async () => {
    const wire = await openRaw(telltale.mqttPort())
    wire.send({ cmd: 'pingreq' })
    await until('the end', () => wire.hasEnded())
    expect(wire.received).toEqual([])
  })

  test('goes on with a stored session, and says so, also where it has no subscriptions [MQTT-3.1.2-4] [MQTT-3.2.2-2]', async () => {
    const id = fresh()
    const present = async () => {
      const wire = await client(id, false)
      const [connack] = wire.received
      await wire.leave()
      return connack?.cmd === 'connack' && connack.sessionPresent
    }
    expect([await present(), await present()]).toEqual([false, true])
  })

  test('with clean session 1 begins anew, and leaves nothing [MQTT-3.1.2-6] [MQTT-3.2.2-1] [MQTT-3.2.2-3]', async () => {
    const [id, topic] = [fresh(), fresh('t')]
    const first = await client(id, false)
    await subscribe(first, [topic, 1])
    await first.leave()
    const sender = await client()
    const clean = await client(id, true)
    expect(clean.received[0]).toMatchObject({ cmd: 'connack', sessionPresent: false })
    await sender.publish(1, topic, 'nobody')
    await clean.leave()
    const again = await client(id, false)
    expect(again.received[0]).toMatchObject({ sessionPresent: false })
    await settled(again, sender)
    expect(texts(again)).toEqual(['fence'])
  })

  test('keeps QoS 1 and 2 for a client that is away [MQTT-3.1.2-5]', async () => {
    const [id, topic] = [fresh(), fresh('t')]
    const first = await client(id, false)
    await subscribe(first, [topic, 2])
    await first.leave()
    const sender = await client()
    await sender.publish(1, topic, 'one')
    await exactlyOnce(sender, 2, topic, 'two')
    const again = await client(id, false)
    expect((await arrived(again, 2)).map(({ payload, qos, dup }) => [payload.toString(), qos, dup])).toEqual([
      ['one', 1, false],
      ['two', 2, false],
    ])
  })

  test('with an empty client id is given a name of its own, where the session is clean [MQTT-3.1.3-6]', async () => {
    expect([await knock({}, ''), await knock({}, '')]).toEqual([0, 0])
  })

  test('with an empty client id and clean session 0 is answered with 2 [MQTT-3.1.3-8] [MQTT-3.1.3-9]', async () => {
    const wire = await openRaw(telltale.mqttPort())
    const bytes = generate(connectPacket(telltale.key, '', true))
    // The flags, behind a length of one byte, the name of the protocol and its level.
    bytes.writeUInt8(bytes.readUInt8(9) & ~0x02, 9)
    wire.write(bytes)
    await until('the end', () => wire.hasEnded())
    expect(wire.received).toMatchObject([{ cmd: 'connack', returnCode: 2, sessionPresent: false }])
  })

  test('with client ids of 23 letters and digits, and longer, is accepted [MQTT-3.1.3-5]', async () => {
    expect(await knock({}, 'aZ09'.repeat(5).concat('abc'))).toBe(0)
    expect(await knock({}, 'x'.repeat(200))).toBe(0)
  })

  test('of somebody unknown is refused, and the connection ends [MQTT-3.2.2-4] [MQTT-3.2.2-5]', async () => {
    const wire = await openRaw(telltale.mqttPort())
    wire.send(connectPacket({ ...telltale.key, secret: 'wrong' }, fresh(), true))
    await until('the end', () => wire.hasEnded())
    expect(wire.received).toHaveLength(1)
    expect(wire.received[0]).toMatchObject({ cmd: 'connack', sessionPresent: false })
  })

  test('is answered before anything else [MQTT-3.2.0-1]', async () => {
    const wire = await openRaw(telltale.mqttPort())
    wire.send(connectPacket(telltale.key, fresh(), true))
    wire.send({ cmd: 'pingreq' })
    await until('both are there', () => wire.received.length >= 2)
    expect(wire.received.map(({ cmd }) => cmd)).toEqual(['connack', 'pingresp'])
  })

  test('with the client id of another takes its place [MQTT-3.1.4-2]', async () => {
    const id = fresh()
    const first = await client(id)
    const second = await client(id)
    await until('the first is cut off', () => first.hasEnded())
    second.send({ cmd: 'pingreq' })
    await until('PINGRESP', () => has(second, 'pingresp'))
  })

  test.each(['__proto__', 'constructor', 'toString'])('with the client id %s is like any other', async id => {
    const wire = await client(id, false)
    const topic = fresh('t')
    await subscribe(wire, [topic, 1])
    await wire.leave()
    const again = await client(id, false)
    expect(again.received[0]).toMatchObject({ sessionPresent: true })
    await (await client()).publish(1, topic, 'x')
    await arrived(again, 1)
    await (await client(id, true)).leave()
  })

  test('a client that says nothing for one and a half times its keep-alive is cut off [MQTT-3.1.2-24]', async () => {
    const wire = await client(fresh(), true, { keepalive: 1 })
    const startedMs = performance.now()
    await until('the end', () => wire.hasEnded())
    expect(performance.now() - startedMs).toBeGreaterThan(1400)
  })
})

describe('a will', () => {
  const willTo = (topic: string, more: object = {}) => ({
    will: { topic, payload: Buffer.from('gone'), qos: 1 as const, retain: false, ...more },
  })

  test('is published when the connection ends without DISCONNECT [MQTT-3.1.2-8]', async () => {
    const topic = fresh('will')
    const watching = await client()
    await subscribe(watching, [topic, 1])
    await (await client(fresh(), true, willTo(topic))).cut()
    expect(await arrived(watching, 1)).toMatchObject([{ topic, qos: 1, retain: false }])
  })

  test('is forgotten at DISCONNECT [MQTT-3.1.2-10] [MQTT-3.14.4-3]', async () => {
    const topic = fresh('will')
    const [watching, sender] = [await client(), await client()]
    await subscribe(watching, [topic, 1])
    await (await client(fresh(), true, willTo(topic))).leave()
    await settled(watching, sender)
    expect(texts(watching)).toEqual(['fence'])
  })

  test('is retained when it says so [MQTT-3.1.2-17]', async () => {
    const topic = fresh('will')
    await (await client(fresh(), true, willTo(topic, { retain: true }))).cut()
    await eventually(async () => {
      const late = await client()
      await subscribe(late, [topic, 1])
      expect(await arrived(late, 1)).toMatchObject([{ topic, retain: true }])
    })
  })

  test('on an ingest topic is an event', async () => {
    const device = fresh('will')
    const will = { topic: `d/${device}/temperature`, payload: Buffer.from('4'), qos: 1 as const, retain: false }
    await (await client(fresh(), true, { will })).cut()
    await eventually(async () => expect((await stored(telltale, device)).map(temperatureOf)).toEqual([4]))
  })

  test.each(['projects/other/x', '$SYS/x', 'projects/default/alarms/a/b'])('outside of what the key may is refused: %s', async topic => {
    expect(await knock(willTo(topic))).toBe(5)
  })

  test('of a login that is refused is never published', async () => {
    const topic = fresh('will')
    const [watching, sender] = [await client(), await client()]
    await subscribe(watching, [topic, 1])
    expect(await knock({ ...willTo(topic), password: Buffer.from('wrong') })).not.toBe(0)
    await settled(watching, sender)
    expect(texts(watching)).toEqual(['fence'])
  })
})

describe('PUBLISH', () => {
  test('is answered by its QoS: nothing, PUBACK, PUBREC [MQTT-3.3.4-1] [MQTT-4.3.2-2]', async () => {
    const wire = await client()
    publish(wire, fresh('t'), 'x')
    publish(wire, fresh('t'), 'x', { qos: 1, messageId: 7 })
    publish(wire, fresh('t'), 'x', { qos: 2, messageId: 8 })
    await until('both', () => has(wire, 'puback', 7) && has(wire, 'pubrec', 8))
    expect(wire.received.slice(1).map(({ cmd }) => cmd)).toEqual(['puback', 'pubrec'])
  })

  test('is delivered with DUP 0, whatever its sender said [MQTT-3.3.1-3]', async () => {
    const [wire, sender, topic] = [await client(), await client(), fresh('t')]
    await subscribe(wire, [topic, 1])
    await sender.publish(1, topic, 'x', true)
    expect(await arrived(wire, 1)).toMatchObject([{ dup: false }])
  })

  test('is retained, and sent with RETAIN 1 to who subscribes later [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8]', async () => {
    const [sender, topic] = [await client(), fresh('r')]
    publish(sender, topic, 'first', { qos: 1, messageId: 1, retain: true })
    publish(sender, topic, 'second', { qos: 1, messageId: 2, retain: true })
    await until('PUBACK', () => has(sender, 'puback', 2))
    const late = await client()
    await subscribe(late, [topic, 1])
    expect(await arrived(late, 1)).toMatchObject([{ topic, retain: true, qos: 1 }])
    expect(texts(late)).toEqual(['second'])
  })

  test('is sent with RETAIN 0 to who has subscribed already [MQTT-3.3.1-9]', async () => {
    const [wire, sender, topic] = [await client(), await client(), fresh('r')]
    await subscribe(wire, [topic, 1])
    publish(sender, topic, 'x', { qos: 1, messageId: 1, retain: true })
    expect(await arrived(wire, 1)).toMatchObject([{ retain: false }])
  })

  test.each([
    ['of any kind', (name: string) => name],
    ['of events', (name: string) => `projects/default/devices/${name}/events/temperature`],
  ])('without a payload ends what is retained on a topic %s [MQTT-3.3.1-10] [MQTT-3.3.1-11]', async (_, topicOf) => {
    const [sender, topic] = [await client(), topicOf(fresh('r'))]
    publish(sender, topic, '21.5', { qos: 1, messageId: 1, retain: true })
    publish(sender, topic, '', { qos: 1, messageId: 2, retain: true })
    await until('PUBACK', () => has(sender, 'puback', 2))
    const late = await client()
    await subscribe(late, [topic, 1])
    await settled(late, sender)
    expect(texts(late)).toEqual(['fence'])
  })

  test('without RETAIN leaves what is retained [MQTT-3.3.1-12]', async () => {
    const [sender, topic] = [await client(), fresh('r')]
    publish(sender, topic, 'kept', { qos: 1, messageId: 1, retain: true })
    publish(sender, topic, 'passing', { qos: 1, messageId: 2 })
    await until('PUBACK', () => has(sender, 'puback', 2))
    const late = await client()
    await subscribe(late, [topic, 1])
    await arrived(late, 1)
    expect(texts(late)).toEqual(['kept'])
  })

  test('that overlapping filters match is sent once, with the highest QoS of them [MQTT-3.3.5-1]', async () => {
    const [wire, sender, topic] = [await client(), await client(), fresh('t')]
    await subscribe(wire, [`${topic}/#`, 0], [`${topic}/+`, 2], [`${topic}/a`, 1])
    await exactlyOnce(sender, 1, `${topic}/a`, 'x')
    await settled(wire, sender)
    expect(publishes(wire).map(({ qos, payload }) => [payload.toString(), qos])).toEqual([
      ['x', 2],
      ['fence', 0],
    ])
  })

  test('of what the sender may not is refused by the end of the connection, QoS 1 unacknowledged [MQTT-3.3.5-2]', async () => {
    const wire = await client()
    publish(wire, 'projects/other/x', 'x', { qos: 1, messageId: 1 })
    await until('the end', () => wire.hasEnded())
    expect(has(wire, 'puback')).toBe(false)
  })

  test('of `$SYS` kicks nobody', async () => {
    const id = fresh()
    const victim = await client(id)
    const liar = await client()
    publish(liar, '$SYS/other/new/clients', `${telltale.key.keyId}\n${id}`)
    await until('the liar is cut off', () => liar.hasEnded())
    victim.send({ cmd: 'pingreq' })
    await until('PINGRESP', () => has(victim, 'pingresp'))
  })
})

describe('QoS 2', () => {
  test('in is published once, however often it is sent before PUBREL [MQTT-4.3.3-2]', async () => {
    const [wire, sender, topic] = [await client(), await client(), fresh('t')]
    await subscribe(wire, [topic, 2])
    for (const dup of [false, true, true]) publish(sender, topic, 'once', { qos: 2, messageId: 5, dup })
    await until('three PUBRECs', () => sender.received.filter(({ cmd }) => cmd === 'pubrec').length === 3)
    sender.send({ cmd: 'pubrel', messageId: 5 })
    await until('PUBCOMP', () => has(sender, 'pubcomp', 5))
    await settled(wire, sender)
    expect(texts(wire)).toEqual(['once', 'fence'])
  })

  test('in is published once across connections of a session that lasts, and its packet id is free after PUBREL', async () => {
    const [id, away, topic] = [fresh(), fresh(), fresh('t')]
    const waiting = await client(away, false)
    await subscribe(waiting, [topic, 2])
    await waiting.leave()
    const first = await client(id, false)
    publish(first, topic, 'once', { qos: 2, messageId: 5 })
    await until('PUBREC', () => has(first, 'pubrec', 5))
    await first.cut()
    const again = await client(id, false)
    publish(again, topic, 'once', { qos: 2, messageId: 5, dup: true })
    await until('PUBREC', () => has(again, 'pubrec', 5))
    again.send({ cmd: 'pubrel', messageId: 5 })
    await until('PUBCOMP', () => has(again, 'pubcomp', 5))
    await exactlyOnce(again, 5, topic, 'another')
    const back = await client(away, false)
    await arrived(back, 2)
    await settled(back, again)
    expect(texts(back)).toEqual(['once', 'another', 'fence'])
  })

  test('of a clean session that ended half way swallows nothing of the next one', async () => {
    const [id, topic] = [fresh(), fresh('t')]
    const wire = await client()
    await subscribe(wire, [topic, 2])
    const first = await client(id)
    publish(first, topic, 'first', { qos: 2, messageId: 5 })
    await until('PUBREC', () => has(first, 'pubrec', 5))
    await first.cut()
    await exactlyOnce(await client(id), 5, topic, 'second')
    await eventually(() => expect(texts(wire)).toEqual(['first', 'second']))
  })

  test('PUBREL of an unknown packet id is answered with PUBCOMP [MQTT-3.6.4-1]', async () => {
    const wire = await client()
    wire.send({ cmd: 'pubrel', messageId: 77 })
    await until('PUBCOMP', () => has(wire, 'pubcomp', 77))
  })

  test('out goes on where it was: the message, then PUBREL alone, under the same packet id [MQTT-4.3.3-1] [MQTT-4.4.0-1]', async () => {
    const [id, topic] = [fresh(), fresh('t')]
    const first = await client(id, false)
    await subscribe(first, [topic, 2])
    await exactlyOnce(await client(), 1, topic, 'x')
    const [sent] = await arrived(first, 1)
    await first.cut()
    const second = await client(id, false)
    const [repeated] = await arrived(second, 1)
    expect(repeated).toMatchObject({ dup: true, messageId: sent?.messageId, qos: 2 })
    second.send({ cmd: 'pubrec', messageId: sent?.messageId ?? 0 })
    await until('PUBREL', () => has(second, 'pubrel', sent?.messageId))
    await second.cut()
    const third = await client(id, false)
    await until('PUBREL again', () => has(third, 'pubrel', sent?.messageId))
    third.send({ cmd: 'pubcomp', messageId: sent?.messageId ?? 0 })
    await settled(third, await client())
    expect(texts(third)).toEqual(['fence'])
    await third.leave()
    const fourth = await client(id, false)
    await settled(fourth, await client())
    expect(fourth.received.filter(({ cmd }) => cmd === 'pubrel')).toEqual([])
  })
})

describe('QoS 1 out', () => {
  test('is sent again with DUP 1 under the same packet id, until PUBACK [MQTT-3.3.1-1] [MQTT-4.3.2-1] [MQTT-4.4.0-1]', async () => {
    const [id, topic] = [fresh(), fresh('t')]
    const first = await client(id, false)
    await subscribe(first, [topic, 1])
    await (await client()).publish(1, topic, 'x')
    const [sent] = await arrived(first, 1)
    await first.cut()
    const second = await client(id, false)
    expect(await arrived(second, 1)).toMatchObject([{ dup: true, qos: 1, messageId: sent?.messageId }])
    second.send({ cmd: 'puback', messageId: sent?.messageId ?? 0 })
    await second.leave()
    const third = await client(id, false)
    await settled(third, await client())
    expect(texts(third)).toEqual(['fence'])
  })

  test('is sent as a repeat in the order in which it was sent [MQTT-4.6.0-1] [MQTT-4.6.0-6]', async () => {
    const [id, topic] = [fresh(), fresh('t')]
    const first = await client(id, false)
    await subscribe(first, [topic, 1])
    const sender = await client()
    const many = Array.from({ length: 50 }, (_, n) => String(n))
    for (const [n, text] of many.slice(0, 20).entries()) await sender.publish(n + 1, topic, text)
    await arrived(first, 20)
    await first.cut()
    for (const [n, text] of many.slice(20, 40).entries()) await sender.publish(n + 1, topic, text)
    const [second] = await Promise.all([
      client(id, false),
      (async () => {
        for (const [n, text] of many.slice(40).entries()) await sender.publish(n + 1, topic, text)
      })(),
    ])
    await arrived(second, 50)
    expect(texts(second)).toEqual(many)
    const ids = publishes(second).map(({ messageId }) => messageId)
    expect(new Set(ids).size).toBe(50)
  })

  test('takes a packet id that nothing is under way with [MQTT-2.3.1-2] [MQTT-2.3.1-3]', async () => {
    const [wire, sender, topic] = [await client(fresh(), false), await client(), fresh('t')]
    await subscribe(wire, [topic, 1])
    for (let n = 1; n <= 20; n++) await sender.publish(n, topic, 'x')
    const ids = (await arrived(wire, 20)).map(({ messageId }) => messageId)
    expect(new Set(ids).size).toBe(20)
    expect(ids).not.toContain(0)
  })
})

describe('SUBSCRIBE', () => {
  test('is answered with its packet id and a code for each filter, also for repeated ones [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5]', async () => {
    const [wire, topic] = [await client(), fresh('t')]
    const asked = [
      [topic, 2],
      ['#', 1],
      [topic, 1],
      ['projects/other/#', 0],
      [`a/${'x'.repeat(1100)}`, 0],
    ] as const
    expect(await subscribe(wire, ...asked)).toEqual([2, 128, 1, 128, 128])
  })

  test('to a filter that is there takes its place, and sends what is retained again [MQTT-3.8.4-3]', async () => {
    const [wire, sender, topic] = [await client(), await client(), fresh('r')]
    publish(sender, topic, 'kept', { qos: 1, messageId: 1, retain: true })
    await until('PUBACK', () => has(sender, 'puback', 1))
    await subscribe(wire, [topic, 0])
    await arrived(wire, 1)
    await subscribe(wire, [topic, 1])
    await arrived(wire, 2)
    await sender.publish(2, topic, 'live')
    await arrived(wire, 3)
    await settled(wire, sender)
    expect(publishes(wire).map(({ qos, payload }) => [payload.toString(), qos])).toEqual([
      ['kept', 0],
      ['kept', 1],
      ['live', 1],
      ['fence', 0],
    ])
  })

  test('grants the QoS, and no message is sent with more, not to wildcards and not of what is retained [MQTT-3.8.4-6] [MQTT-3.9.3-1]', async () => {
    const [wire, sender, topic] = [await client(), await client(), fresh('r')]
    await exactlyOnce(sender, 1, `${topic}/kept`, 'kept', { retain: true })
    expect(await subscribe(wire, [`${topic}/+`, 1], [`${topic}/a/b`, 0])).toEqual([1, 0])
    await exactlyOnce(sender, 2, `${topic}/live`, 'live')
    await exactlyOnce(sender, 3, `${topic}/a/b`, 'plain')
    await settled(wire, sender)
    expect(publishes(wire).map(({ qos, payload }) => [payload.toString(), qos])).toEqual([
      ['kept', 1],
      ['live', 1],
      ['plain', 0],
      ['fence', 0],
    ])
  })

  test('to many at once is like one after the other [MQTT-3.8.4-4]', async () => {
    const [wire, sender, topic] = [await client(), await client(), fresh('t')]
    await subscribe(wire, [`${topic}/a`, 1], [`${topic}/b`, 1])
    await sender.publish(1, `${topic}/a`, 'a')
    await sender.publish(2, `${topic}/b`, 'b')
    await arrived(wire, 2)
    expect(texts(wire)).toEqual(['a', 'b'])
  })
})

describe('UNSUBSCRIBE', () => {
  test('ends exactly that filter, and is answered also where there was none [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5]', async () => {
    const [wire, sender, topic] = [await client(fresh(), false), await client(), fresh('t')]
    await subscribe(wire, [`${topic}/a`, 1], [`${topic}/+`, 1])
    await unsubscribe(wire, `${topic}/+`, 'never/was')
    await sender.publish(1, `${topic}/b`, 'b')
    await sender.publish(2, `${topic}/a`, 'a')
    await settled(wire, sender)
    expect(texts(wire)).toEqual(['a', 'fence'])
    // [MQTT-3.10.4-6]: many are ended like one after the other.
    await unsubscribe(wire, `${topic}/a`)
    await sender.publish(3, `${topic}/a`, 'a')
    await settled(wire, sender)
    expect(texts(wire)).toEqual(['a', 'fence', 'fence'])
  })

  test('lets be completed what had been started [MQTT-3.10.4-3]', async () => {
    const [id, topic] = [fresh(), fresh('t')]
    const wire = await client(id, false)
    await subscribe(wire, [topic, 1])
    await (await client()).publish(1, topic, 'started')
    await arrived(wire, 1)
    await unsubscribe(wire, topic)
    await wire.cut()
    const again = await client(id, false)
    expect(await arrived(again, 1)).toMatchObject([{ topic, dup: true }])
  })
})

describe('PINGREQ and DISCONNECT', () => {
  test('PINGREQ is answered [MQTT-3.12.4-1]', async () => {
    const wire = await client()
    wire.send({ cmd: 'pingreq' })
    await until('PINGRESP', () => has(wire, 'pingresp'))
  })

  test('DISCONNECT ends the connection [MQTT-3.14.4-2]', async () => {
    const wire = await client()
    wire.send({ cmd: 'disconnect' })
    await until('the end', () => wire.hasEnded())
  })
})

statementsOnTopics({ client })

describe('after kill -9 of everything', () => {
  test('sessions, what waits for them and what is retained are there [MQTT-4.1.0-1] [MQTT-4.1.0-2]', async () => {
    const [id, empty, half, topic] = [fresh(), fresh(), fresh(), fresh('t')]
    const first = await client(id, false)
    await subscribe(first, [`${topic}/#`, 2])
    await first.leave()
    await (await client(empty, false)).leave()
    const sender = await client(half, false)
    await sender.publish(1, `${topic}/1`, 'one')
    await exactlyOnce(sender, 2, `${topic}/2`, 'two')
    publish(sender, `${topic}/3`, 'three', { qos: 2, messageId: 3, retain: true })
    await until('PUBREC', () => has(sender, 'pubrec', 3))
    await telltale.kill()
    await telltale.restart()
    const again = await client(id, false)
    expect(again.received[0]).toMatchObject({ sessionPresent: true })
    await arrived(again, 3)
    expect((await client(empty, false)).received[0]).toMatchObject({ sessionPresent: true })
    const resumed = await client(half, false)
    publish(resumed, `${topic}/3`, 'three', { qos: 2, messageId: 3, retain: true, dup: true })
    await until('PUBREC', () => has(resumed, 'pubrec', 3))
    resumed.send({ cmd: 'pubrel', messageId: 3 })
    await settled(again, resumed)
    expect(texts(again)).toEqual(['one', 'two', 'three', 'fence'])
    const late = await client()
    await subscribe(late, [`${topic}/+`, 1])
    expect(await arrived(late, 1)).toMatchObject([{ topic: `${topic}/3`, retain: true, qos: 1 }])
  })
})
