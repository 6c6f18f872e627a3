// Hostile names and broken neighbours at the doors (hazards 13, 27, 28, 30, 39, and the faults that ingest has to stand): what is named as
// in an attack is data like any other, in the real store too, and nobody is worse off for a client that stalls, storms or repeats itself.
import { connect } from 'node:net'
import { generate, type Packet } from 'mqtt-packet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasInfluxd, type Influxd, startInfluxd } from '../packages/store/influxd.ts'
import { openWire, type Wire } from './wire.ts'
import {
  EVENTS,
  eventually,
  redisPid,
  removeDirectories,
  startTelltale,
  stored,
  type Telltale,
  target,
  temperature,
  until,
} from './world.ts'

let influxd: Influxd | undefined
let telltale: Telltale
beforeAll(async () => {
  influxd = hasInfluxd() ? await startInfluxd() : undefined
  const store: Record<string, string> = influxd ? { TELLTALE_INFLUX_URL: influxd.url, TELLTALE_INFLUX_DATABASE: 'hazard' } : {}
  telltale = await startTelltale({ env: { TELLTALE_LOG_LEVEL: 'info', ...store } })
}, 60_000)
afterAll(async () => {
  await telltale?.remove()
  await influxd?.stop()
  await removeDirectories()
})

const open = (clientId: string, clean = true) => openWire(telltale.mqttPort(), telltale.key, clientId, clean)
const LINES = { 'content-type': 'text/plain' }
const write = (lines: string) => telltale.http('/api/v2/write?bucket=default&precision=us', { method: 'POST', body: lines, headers: LINES })

/** What is stored of a device, in any order. */
async function dataOf(device: string): Promise<unknown[]> {
  return (await stored(telltale, device)).map(({ eventType, data }) => data[eventType])
}

/** The same by main value, the smallest first. */
async function valuesOf(device: string): Promise<number[]> {
  const values = (await dataOf(device)).map(data => (data as { value: number }).value)
  return values.toSorted((a, b) => a - b)
}

async function metric(name: string): Promise<number> {
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec((await telltale.http('/metrics')).text)?.[1])
}

function publish(topic: string, payload: string, qos: 0 | 1 | 2, messageId: number, dup = false): Packet {
  return { cmd: 'publish', qos, dup, retain: false, messageId, topic, payload }
}

async function answered(wire: Wire, cmd: Packet['cmd'], messageId: number): Promise<void> {
  await until(`${cmd} ${messageId}`, () => wire.received.some(one => one.cmd === cmd && 'messageId' in one && one.messageId === messageId))
}

async function subscribe(wire: Wire, topic: string, qos: 0 | 1 = 1): Promise<void> {
  wire.send({ cmd: 'subscribe', messageId: 1000, subscriptions: [{ topic, qos }] })
  await answered(wire, 'suback', 1000)
}

const heard = (wire: Wire) => wire.received.flatMap(one => (one.cmd === 'publish' ? [String(one.payload)] : []))

const NAMES = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  "x' OR 1=1 --",
  '") |> drop()',
  '"; DROP MEASUREMENT x; --',
  'temperature,device=other value=1 1',
  'a,b c=d"e\\f',
  'a:b*c?[d]',
  '{tag}',
  '%0d%0a',
  '=SUM(A1)',
  '<img src=x onerror=alert(1)>',
  '$(id)',
  'é😀',
]
const escaped = (name: string) => name.replace(/[,= ]/g, '\\$&')

/** Of the store, as it answers: event types, and its own. */
async function measurements(): Promise<string[]> {
  if (!influxd) return []
  const answer = await fetch(`${influxd.url}/query?db=hazard&q=SHOW%20MEASUREMENTS`)
  const { results } = (await answer.json()) as { results: { series?: { values: string[][] }[] }[] }
  return results.flatMap(({ series }) => series?.[0]?.values.flat() ?? [])
}

const TYPES = ['constructor', 'toString', 'hasOwnProperty', 'valueOf']

describe('a hostile name', () => {
  afterAll(async () => {
    const known = ['_log', '_span', 'proto', 'temperature', 'vendor', 'x', ...TYPES].toSorted()
    if (influxd) expect((await measurements()).toSorted()).toEqual(known)
  })

  test('of a device comes back as it is, whichever door it came by', async () => {
    const wire = await open('names')
    for (const [i, name] of NAMES.entries()) {
      await wire.publish(2 * i + 1, `d/${name}/temperature`, '1')
      await wire.publish(2 * i + 2, `${target(name)}/events`, JSON.stringify(temperature(name, 2)))
    }
    const http = await telltale.send(
      'POST',
      EVENTS,
      NAMES.map(name => temperature(name, 3)),
    )
    expect(http.json).toEqual({ accepted: NAMES.length, rejected: 0, errors: [] })
    const lines = await write(NAMES.map((name, i) => `temperature,device=${escaped(name)} value=4 ${1_772_433_669_104_000 + i}`).join('\n'))
    expect([lines.status, lines.text]).toEqual([204, ''])
    for (const name of NAMES)
      await eventually(async () => {
        const events = await stored(telltale, name)
        expect(
          events.map(({ targetName }) => targetName),
          name,
        ).toEqual(Array.from({ length: 4 }, () => target(name)))
        expect(await valuesOf(name)).toEqual([1, 2, 3, 4])
      })
    expect((await telltale.http(`/v2/${target('other')}`)).status).toBe(404)
    await wire.leave()
  })

  test('that no device may have is refused in words, by name of the field, and makes no device', async () => {
    const wire = await open('refused-names')
    const refused = ['a\nb', 'a\r\nx: y', 'nul\0', 'a/b', '+', '#', '..', '-', 'x'.repeat(129), '\u2028', '']
    for (const [i, name] of refused.entries()) {
      const { status, json } = await telltale.send('POST', EVENTS, temperature(name, 1))
      expect([status, json['error']], JSON.stringify(name)).toEqual([400, expect.stringMatching(/^(device|targetName): expected /)])
      await wire.publish(i + 1, `${target('refused')}/events`, JSON.stringify(temperature(name, 1)))
    }
    const { json } = await telltale.http('/v2/projects/default/devices?page_size=1000')
    const names = (json['devices'] as { name: string }[]).map(({ name }) => name.slice(target('').length))
    expect(names.filter(name => !NAMES.includes(name))).toEqual([])
    await wire.leave()
  })

  test('of a field or in a text comes back as it is', async () => {
    const texts = [...NAMES, 'line\nbreak', 'cr\r\nx: y', 'tab\t', 'nul\0', '\u2028', '\\', '"', '\\\\"', "a' b", '\u202e']
    const names = texts.filter(name => name !== '__proto__')
    const data = { ...Object.fromEntries(names.map((name, i) => [name, i])), texts: Object.fromEntries(names.map(text => [text, text])) }
    const event = { targetName: target('fields'), eventType: 'vendor', data: { vendor: data } }
    expect((await telltale.send('POST', EVENTS, event)).json).toMatchObject({ accepted: 1 })
    const wire = await open('fields')
    await wire.publish(1, 'd/fields/vendor', JSON.stringify(data))
    const plain = names.filter(name => !/[\n\r\\]/.test(name))
    const points = plain.map((name, i) => `${escaped(name)}=${i},${escaped(`text ${name}`)}="${name.replace(/["\\]/g, '\\$&')}"`)
    expect((await write(`vendor,device=points ${points.join()}`)).status).toBe(204)
    await eventually(async () => expect(await dataOf('fields')).toMatchObject([data, data]))
    const point = Object.fromEntries(plain.flatMap((name, i) => [[name, i] as const, [`text ${name}`, name] as const]))
    await eventually(async () => expect(await dataOf('points')).toMatchObject([point]))
    await wire.leave()
  })

  test('of an event type, or of a field that would be the root of all objects, is data or refused, and changes no other', async () => {
    const wire = await open('types')
    for (const [i, type] of TYPES.entries()) {
      await wire.publish(i + 1, `d/typed-${type}/${type}`, '1')
      expect((await telltale.send('POST', `/v2/${target(`typed-${type}`)}:publish`, { [type]: { value: 2 } })).status).toBe(200)
      expect((await write(`${type},device=typed-${type} value=3`)).status).toBe(204)
      await eventually(async () => expect(await stored(telltale, `typed-${type}`)).toHaveLength(3))
      expect(await valuesOf(`typed-${type}`)).toEqual([1, 2, 3])
    }
    const body = '{"__proto__":{"value":1}}'
    for (const path of [`/v2/${target('proto')}:publish`, EVENTS])
      expect((await telltale.http(path, { method: 'POST', body, headers: { 'content-type': 'application/json' } })).status).toBe(400)
    await wire.publish(9, `${target('proto')}/events`, body)
    // A measurement is made into a name that an event type may have.
    expect((await write('__proto__,device=proto value=1')).status).toBe(204)
    expect((await write('x,device=proto __proto__=1')).status).toBe(400)
    await wire.publish(10, 'd/proto/x', '1')
    await eventually(async () => expect((await stored(telltale, 'proto')).map(({ eventType }) => eventType)).toEqual(['proto', 'x']))
    await wire.leave()
  })

  test('of a client, or in a topic, is one like any other: its session and its messages are its own', async () => {
    const topics = 'projects/default/topics'
    const before = await open('named')
    await subscribe(before, `${topics}/named/#`)
    for (const id of ['__proto__', 'constructor', "x' OR 1=1 --", 'a:b*c', '{x}']) {
      const first = await open(id, false)
      await subscribe(first, `${topics}/named/${id}/#`)
      await first.cut()
      await before.publish(1, `${topics}/named/${id}/${id}`, `waited ${id}`)
      const again = await open(id, false)
      expect(again.received).toContainEqual(expect.objectContaining({ cmd: 'connack', sessionPresent: true }))
      await until(`what waited for ${id}`, () => heard(again).length > 0)
      expect(heard(again)).toEqual([`waited ${id}`])
      await again.leave()
      await until('and everybody else has it', () => heard(before).includes(`waited ${id}`))
    }
    expect(heard(before)).toHaveLength(5)
    await before.leave()
  })
})

describe('a neighbour', () => {
  const topic = 'projects/default/topics/stalled'

  test('that stops reading, and twenty that send a byte now and then, keep nobody waiting and cost little', async () => {
    const [good, sender, device] = [await open('reads'), await open('sends'), await open('device')]
    await subscribe(good, `${topic}/#`)
    const stalled = await Promise.all(['stalled-0', 'stalled-1'].map((id, qos) => stall(id, `${topic}/#`, qos as 0 | 1)))
    const slow = Array.from({ length: 20 }, (_, i) => drip(`slow-${i}`))
    const connected = async () => Number(/^telltale_mqtt_connections (\d+)$/m.exec((await telltale.http('/metrics')).text)?.[1])
    await until('all are counted', async () => (await connected()) >= 3 + stalled.length + slow.length)
    const before = await connected()
    const text = 'x'.repeat(100_000)
    let slowestMs = 0
    for (let i = 1; i <= 300; i++) {
      sender.send(publish(`${topic}/${i}`, text, 1, i))
      if (i % 10 > 0) continue
      const startedMs = performance.now()
      await device.publish(i, 'd/beside-stalled/temperature', String(i))
      slowestMs = Math.max(slowestMs, performance.now() - startedMs)
      await answered(sender, 'puback', i)
    }
    await until('all of it is there', () => heard(good).length === 300, 20_000)
    expect(slowestMs).toBeLessThan(3000)
    // Nobody reads for longer than is waited for: they are cut off, and hear of it when they read what was sent before.
    await until('who does not read is cut off', async () => (await connected()) <= before - stalled.length, 20_000)
    for (const socket of stalled) socket.resume()
    await until('they hear of it', () => stalled.every(socket => socket.closed), 20_000)
    await eventually(async () => expect(await dataOf('beside-stalled')).toHaveLength(30))
    for (const { socket, timer } of slow) {
      clearInterval(timer)
      socket.destroy()
    }
    for (const wire of [good, sender, device]) await wire.leave()
  }, 60_000)

  test('that comes back with 499 others, all at once, finds its session and what waited, once', async () => {
    const ids = Array.from({ length: 500 }, (_, i) => `storm-${i}`)
    const clients = await Promise.all(ids.map(id => open(id, false)))
    await Promise.all(clients.map((wire, i) => subscribe(wire, `${topic}/storm/${i % 2}`)))
    const sender = await open('storm-sender')
    for (let round = 0; round < 2; round++) {
      await Promise.all(clients.map(wire => wire.cut()))
      for (const i of [0, 1]) await sender.publish(round * 2 + i + 1, `${topic}/storm/${i}`, `round ${round}`)
      const startedMs = performance.now()
      clients.splice(0, 500, ...(await Promise.all(ids.map(id => open(id, false)))))
      expect(performance.now() - startedMs).toBeLessThan(10_000)
      expect(clients.filter(({ received: [first] }) => first?.cmd === 'connack' && first.sessionPresent)).toHaveLength(500)
      for (const wire of clients) {
        await until('what waited is there', () => heard(wire).length > 0)
        const one = wire.received.find(packet => packet.cmd === 'publish')
        wire.send({ cmd: 'puback', messageId: one?.messageId ?? 0 })
      }
      expect(clients.filter(wire => heard(wire).join() !== `round ${round}`)).toEqual([])
      // Acknowledged for good when a ping behind it is answered.
      await Promise.all(clients.map(ping))
    }
    await Promise.all([sender, ...clients].map(wire => wire.leave()))
  }, 60_000)

  test('that asks for thousands of topics of others writes no more than a few lines of our log a second (hazard 39)', async () => {
    const before = telltale.program().complained().length
    const startedMs = performance.now()
    const wire = await open('curious')
    const subscriptions = Array.from({ length: 1000 }, (_, i) => ({ topic: `projects/other-${i}/#`, qos: 0 as const }))
    for (const messageId of [7, 8, 9]) {
      wire.send({ cmd: 'subscribe', messageId, subscriptions })
      await answered(wire, 'suback', messageId)
    }
    await wire.leave()
    for (let i = 0; i < 100; i++) {
      const one = await open('curious')
      one.send(publish(`projects/other-${i}/x`, '1', 1, 1))
      await until('it is cut off', () => one.hasEnded())
    }
    const seconds = (performance.now() - startedMs) / 1000
    const lines = telltale.program().complained().slice(before).split('\n')
    expect(lines.filter(line => line.includes('refused') || line.includes('cut off')).length).toBeLessThan(2 * 10 * (seconds + 2))
  }, 30_000)
})

describe('what is sent again', () => {
  const TIME = '2026-03-02T06:41:09.104000Z'

  test('with its own time is one event, by whichever door and with whichever quality of service it came', async () => {
    const wire = await open('again')
    const event = JSON.stringify(temperature('again', 7, { timestamp: TIME }))
    wire.send(publish(`${target('again')}/events`, event, 0, 0))
    await wire.publish(1, `${target('again')}/events`, event)
    await wire.publish(1, `${target('again')}/events`, event, true)
    wire.send(publish(`${target('again')}/events`, event, 2, 2))
    await answered(wire, 'pubrec', 2)
    wire.send({ cmd: 'pubrel', messageId: 2 })
    await answered(wire, 'pubcomp', 2)
    expect((await telltale.send('POST', EVENTS, [JSON.parse(event), JSON.parse(event)])).json).toMatchObject({ accepted: 2 })
    await wire.publish(3, 'd/again/temperature', '8')
    await eventually(async () => expect((await dataOf('again')).length).toBeGreaterThanOrEqual(2))
    expect(await valuesOf('again')).toEqual([7, 8])
    await wire.leave()
  })

  test('with QoS 2 is one event, also over a connection that broke off; an id that was left behind swallows nothing', async () => {
    const topic = 'd/exactly-once/temperature'
    const first = await open('exactly-once', false)
    first.send(publish(topic, '1', 2, 7))
    await answered(first, 'pubrec', 7)
    await first.cut()
    const second = await open('exactly-once', false)
    second.send(publish(topic, '1', 2, 7, true))
    await answered(second, 'pubrec', 7)
    second.send({ cmd: 'pubrel', messageId: 7 })
    await answered(second, 'pubcomp', 7)
    second.send({ cmd: 'pubrel', messageId: 7 })
    second.send(publish(topic, '2', 2, 8))
    await answered(second, 'pubrec', 8)
    await second.cut()
    // GHSA-p8r9-qf8w-p73r: another session under the same name, which uses the id anew.
    const third = await open('exactly-once', true)
    third.send(publish(topic, '3', 2, 8))
    await answered(third, 'pubrec', 8)
    third.send({ cmd: 'pubrel', messageId: 8 })
    await answered(third, 'pubcomp', 8)
    await third.publish(9, topic, '4')
    await eventually(async () => expect((await dataOf('exactly-once')).length).toBeGreaterThanOrEqual(4))
    expect(await valuesOf('exactly-once')).toEqual([1, 2, 3, 4])
    await third.leave()
  })
})

test('while Redis hangs, QoS 2 is not answered and QoS 0 is dropped, counted and said; afterwards all goes on', async () => {
  const [careful, careless] = [await open('careful', false), await open('careless')]
  await careful.publish(1, 'd/careful/temperature', '0')
  await careless.publish(1, 'd/careless/temperature', '0')
  const shed = await metric('telltale_mqtt_publishes_shed_total')
  const pid = await redisPid(telltale.dir)
  process.kill(pid, 'SIGSTOP')
  try {
    careful.send(publish('d/careful/temperature', '1', 2, 7))
    for (let i = 0; i < 50; i++) careless.send(publish('d/careless/temperature', String(i), 0, 0))
    await until('who wants it kept is cut off', () => careful.hasEnded())
    await until('it is said', () => /"level":40.*"client":"careless".*QoS 0 dropped/.test(telltale.program().complained()))
    expect(careful.received.filter(({ cmd }) => cmd === 'pubrec')).toEqual([])
    expect(careless.hasEnded()).toBe(false)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  await eventually(async () => expect((await telltale.http('/readyz')).status).toBe(200))
  expect(await metric('telltale_mqtt_publishes_shed_total')).toBe(shed + 50)
  const again = await open('careful', false)
  again.send(publish('d/careful/temperature', '1', 2, 7, true))
  await answered(again, 'pubrec', 7)
  again.send({ cmd: 'pubrel', messageId: 7 })
  await answered(again, 'pubcomp', 7)
  await careless.publish(2, 'd/careless/temperature', '99')
  await again.publish(8, 'd/careful/temperature', '2')
  await eventually(async () => expect(await dataOf('careful')).toHaveLength(3))
  expect(await valuesOf('careful')).toEqual([0, 1, 2])
  await again.leave()
  await careless.leave()
}, 30_000)

async function ping(wire: Wire): Promise<void> {
  const before = wire.received.filter(({ cmd }) => cmd === 'pingresp').length
  wire.send({ cmd: 'pingreq' })
  await until('PINGRESP', () => wire.received.filter(({ cmd }) => cmd === 'pingresp').length > before)
}

function login(clientId: string): Buffer {
  const { keyId: username, secret } = telltale.key
  const password = Buffer.from(secret)
  return generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId, clean: true, keepalive: 60, username, password })
}

/** Subscribes, and reads nothing from then on. */
async function stall(clientId: string, topic: string, qos: 0 | 1) {
  const socket = connect({ port: telltale.mqttPort(), host: '127.0.0.1', noDelay: true })
  socket.on('error', () => socket.destroy())
  let came = 0
  socket.on('data', part => {
    came += part.length
  })
  socket.write(Buffer.concat([login(clientId), generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos }] })]))
  await until('CONNACK and SUBACK', () => came >= 9)
  socket.pause()
  return socket
}

/** Logs in, and goes on byte by byte. */
function drip(clientId: string) {
  const socket = connect({ port: telltale.mqttPort(), host: '127.0.0.1', noDelay: true })
  socket.on('error', () => socket.destroy()).resume()
  socket.write(login(clientId))
  const bytes = generate(publish(`d/${clientId}/temperature`, '1', 1, 1))
  let at = 0
  const timer = setInterval(() => socket.writable && socket.write(bytes.subarray(at % bytes.length, (at++ % bytes.length) + 1)), 50)
  return { socket, timer }
}
