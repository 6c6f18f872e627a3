// The commands from their arguments to their exit codes, against real servers that keep what they are sent.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { Aedes } from 'aedes'
import Fastify from 'fastify'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { DeviceEvent } from '../core/event.ts'
import { runCommand } from './command.ts'
import { eventually } from './transport/contract.ts'

const folder = mkdtempSync(join(tmpdir(), 'telltale-command-'))
let broker: Aedes
let mqttServer: Server
const app = Fastify({ forceCloseConnections: true })
let env: Record<string, string>
let overMqtt: DeviceEvent[] = []
let overHttp: DeviceEvent[] = []
let registered: Map<string, unknown>
let withholding: boolean

beforeAll(async () => {
  broker = await Aedes.createBroker({ queueLimit: 1000 })
  broker.authorizePublish = (_client, packet, callback) => {
    overMqtt.push(...([JSON.parse(packet.payload.toString())].flat() as DeviceEvent[]))
    if (!withholding) callback(null)
  }
  mqttServer = createServer({ noDelay: true }, socket => {
    broker.handle(socket)
  })
  await new Promise<void>(resolve => mqttServer.listen(0, '127.0.0.1', resolve))
  app.addContentTypeParser('application/x-ndjson', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  app.put('/v2/projects/default/devices/:device', async request => {
    registered.set((request.params as { device: string }).device, request.body)
    return {}
  })
  app.post('/v2/projects/default/events', async (request, reply) => {
    const events = String(request.body)
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as DeviceEvent)
    const bad = events.flatMap(({ eventType }, index) =>
      eventType === 'refuse' ? [{ index, code: 'invalid', message: 'eventType: not here' }] : [],
    )
    overHttp.push(...events)
    return reply.code(bad.length > 0 ? 207 : 200).send({ accepted: events.length - bad.length, rejected: bad.length, errors: bad })
  })
  const httpUrl = await app.listen({ host: '127.0.0.1', port: 0 })
  const address = mqttServer.address()
  const mqttUrl = `mqtt://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  env = { TELLTALE_HTTP_URL: httpUrl, TELLTALE_MQTT_URL: mqttUrl, TELLTALE_KEY_ID: 'k', TELLTALE_SECRET: 's' }
})
afterAll(async () => {
  await app.close()
  await new Promise<void>(resolve => broker.close(resolve))
  mqttServer.close()
  rmSync(folder, { recursive: true })
})
beforeEach(() => {
  overMqtt = []
  overHttp = []
  registered = new Map()
  withholding = false
})

let stopping: AbortController
beforeEach(() => {
  stopping = new AbortController()
})
afterEach(() => stopping.abort())

async function telltale(...args: string[]) {
  const out = new PassThrough()
  const err = new PassThrough()
  const code = await runCommand(args, { out, err, env, stopped: stopping.signal })
  const text = (stream: PassThrough) => String(stream.read() ?? '')
  return { code, out: text(out), err: text(err) }
}

describe('simulate', () => {
  test('registers the fleet, publishes over MQTT and accounts for every event', async () => {
    const { code, out } = await telltale('simulate', '--devices', '5', '--count', '40', '--rate', '1000', '--json')
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ devices: 5, protocol: 'mqtt', offered: 40, sent: 40, acked: 40, refused: 0, unacked: 0 })
    expect(registered.get('sim-1-meeting-room-humidity')).toEqual({
      type: 'humidity',
      labels: { name: 'Meeting room humidity, floor 1', room: 'Meeting room', floor: '1', simulated: 'true' },
    })
    expect(overMqtt.length).toBe(40)
    expect(new Set(overMqtt.map(({ eventId }) => eventId)).size).toBe(40)
    // Each device has a connection of its own, so which event comes first is not said.
    const targetName = 'projects/default/devices/sim-1-meeting-room-temperature'
    expect(overMqtt).toContainEqual(expect.objectContaining({ targetName, eventType: 'temperature' }))
    for (const { eventId, timestamp } of overMqtt) {
      expect(eventId).toMatch(/^[0-9a-v]{20}$/)
      expect(Math.abs(Date.parse(timestamp) - Date.now())).toBeLessThan(10_000)
    }
  })

  test('with a beginning and a seed the same events are sent again', async () => {
    const again = [
      'simulate',
      '--from',
      '2026-03-02T08:00:00Z',
      '--seed',
      's',
      '--rate',
      '1000',
      '--speedup',
      '3600',
      '--count',
      '30',
      '--protocol',
      'http',
    ]
    expect((await telltale(...again)).code).toBe(0)
    const first = overHttp.splice(0)
    expect((await telltale(...again)).code).toBe(0)
    const order = (events: DeviceEvent[]) => events.toSorted((a, b) => a.eventId.localeCompare(b.eventId))
    expect(order(overHttp)).toEqual(order(first))
    expect(
      first
        .map(({ timestamp }) => timestamp)
        .toSorted()
        .at(-1),
    ).toBe('2026-03-02T08:01:44.400000Z')
  })

  test('ends after its duration, in words for people', async () => {
    const { code, out } = await telltale('simulate', '--duration', '200ms', '--rate', '100', '--seed', 'abc')
    expect(code).toBe(0)
    expect(out).toMatch(/12 devices over mqtt · seed abc/)
    expect(out).toMatch(/events: 20 · sent 20 · acked 20 · refused 0 · unacked 0/)
  })

  test('ends with its account when it is interrupted, and with 0 when everything was acked', async () => {
    const running = telltale('simulate', '--rate', '200', '--json')
    await eventually(() => overMqtt.length > 10)
    stopping.abort()
    const { code, out } = await running
    expect(code).toBe(0)
    const { interrupted, offered, acked } = JSON.parse(out)
    expect(interrupted).toBe(true)
    expect(offered).toBeGreaterThan(0)
    expect(acked).toBe(offered)
  })

  test('ends with 1 when acks stay away, after waiting five seconds for them', async () => {
    withholding = true
    const running = telltale('simulate', '--count', '3', '--rate', '1000', '--json')
    await eventually(() => overMqtt.length === 3)
    stopping.abort()
    const { code, out } = await running
    expect(code).toBe(1)
    expect(JSON.parse(out)).toMatchObject({ sent: 3, acked: 0, unacked: 3, interrupted: true })
    expect(JSON.parse(out).seconds).toBeGreaterThan(4.9)
  })

  test('says how many events its drop-outs withheld', async () => {
    const { code, out } = await telltale('simulate', '--count', '60', '--rate', '2000', '--fault', 'drop-outs=1', '--json')
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ withheld: 60, offered: 0 })
  })
})

describe('simulate --replay', () => {
  const path = join(folder, 'road.csv')
  writeFileSync(path, 'Date,Time,CO,T\n10/03/2004,18:00:00,2.6,13.6\n10/03/2004,19:00:00,-200,13.3\n10/03/2004,20:00:00,2.2\n')

  test('accounts for every row, and a second replay sends the same ids', async () => {
    const { code, out } = await telltale('simulate', '--replay', path, '--missing', '-200', '--json')
    const first = overMqtt.splice(0)
    await telltale('simulate', '--replay', path, '--missing', '-200', '--protocol', 'http')
    expect(JSON.parse(out)).toMatchObject({
      rows: 3,
      values: 3,
      missing: 1,
      malformedRows: 1,
      unreadRows: 0,
      sent: 3,
      acked: 3,
      unacked: 0,
    })
    expect(JSON.parse(out).malformed).toEqual([{ line: 4, reason: 'expected 4 columns, found 3' }])
    expect(code).toBe(1)
    expect(overHttp).toEqual(first)
    expect(first[0]).toMatchObject({ targetName: 'projects/default/devices/road', eventType: 'CO', data: { CO: { value: 2.6 } } })
  })

  test('at a speed it keeps the pace of the recording', async () => {
    const short = join(folder, 'short.csv')
    writeFileSync(short, 'time,a\n1078920000,1\n1078920010,2\n1078920030,3\n')
    const { code, out } = await telltale('simulate', '--replay', short, '--speed', '100', '--json')
    expect(code).toBe(0)
    expect(JSON.parse(out).seconds).toBeGreaterThanOrEqual(0.29)
  })

  test('interrupted, it says what it has not read', async () => {
    const slow = join(folder, 'slow.csv')
    writeFileSync(slow, 'time,a,b\n1078920000,1,2\n1078920000,3,4\n1078999999,5,6\n1079999999,7,8\n')
    const running = telltale('simulate', '--replay', slow, '--speed', '1', '--json')
    await eventually(() => overMqtt.length === 4)
    stopping.abort()
    const { code, out } = await running
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ rows: 2, unreadRows: 2, values: 4, acked: 4, interrupted: true })
  })

  test('prints the account for people', async () => {
    const { out } = await telltale('simulate', '--replay', path, '--missing', '-200')
    expect(out).toMatch(/rows 3 · malformed rows 1\nvalues: sent 3 · missing 1 · malformed 0\nline 4: expected 4 columns, found 3\n/)
  })
})

describe('publish', () => {
  test('sends one event over HTTP and says that it was accepted', async () => {
    const { code, out } = await telltale('publish', 'fridge', 'temperature', '-4.5', '--time', '2026-03-02T08:00:00Z')
    expect([code, out]).toEqual([0, expect.stringMatching(/^accepted [0-9a-v]{20} over http in \d+ ms\n$/)])
    const time = '2026-03-02T08:00:00.000000Z'
    expect(overHttp).toEqual([
      {
        eventId: expect.any(String),
        targetName: 'projects/default/devices/fridge',
        eventType: 'temperature',
        data: { temperature: { value: -4.5, samples: [{ value: -4.5, sampleTime: time }], isBackfilled: false, updateTime: time } },
        timestamp: time,
      },
    ])
  })

  test('sends over MQTT when asked to', async () => {
    const { code, out } = await telltale('publish', 'door', 'contact', 'OPEN', '--mqtt', '--json')
    expect([code, JSON.parse(out)]).toEqual([0, { sent: true, eventId: overMqtt[0]?.eventId, protocol: 'mqtt', ms: expect.any(Number) }])
    expect(overMqtt[0]?.data).toMatchObject({ contact: { state: 'OPEN' } })
    const { out: said } = await telltale('publish', 'door', 'contact', 'OPEN', '--mqtt')
    expect(said).toMatch(/^sent [0-9a-v]{20} over mqtt in \d+ ms\n$/)
  })

  test('takes JSON with or without the type around it', async () => {
    await telltale('publish', 'm', 'power', '{"watts":3,"wattHours":7}')
    await telltale('publish', 'm', 'power', '{"power":{"watts":3,"wattHours":7}}')
    expect(overHttp.map(({ data }) => data)).toEqual([{ power: { watts: 3, wattHours: 7 } }, { power: { watts: 3, wattHours: 7 } }])
  })

  test('says why the server refused', async () => {
    expect(await telltale('publish', 'm', 'refuse', '1')).toEqual({ code: 1, out: '', err: 'error: not accepted: eventType: not here\n' })
  })
})

describe('wrong usage is one line that names the option, and exit code 2', () => {
  test.each([
    [['simulate', '--rate', 'fast'], '--rate: expected a number above 0 up to 1000000, got "fast"'],
    [['simulate', '--qos', '2'], '--qos: expected 0 or 1, got "2"'],
    [
      ['simulate', '--fault', 'gremlins'],
      '--fault: expected one of drop-outs, stuck, spikes, wrong-clock, reconnect-storm, got "gremlins"',
    ],
    [['simulate', '--fault', 'reconnect-storm', '--protocol', 'http'], '--fault: expected reconnect-storm only with --protocol mqtt'],
    [['simulate', '--missing', '-200'], '--missing: expected only with --replay FILE'],
    [['simulate', '--replay', 'x.csv', '--devices', '3'], '--devices: expected only without --replay'],
    [['simulate', '--duration', '30'], '--duration: expected a duration such as 500ms, 30s, 5m or 2h, got "30"'],
    [['simulate', '--from', 'monday'], '--from: expected a time such as 2026-03-01T08:00:00Z, got "monday"'],
    [['simulate', '--nonsense'], "unknown option '--nonsense'"],
    [
      ['publish', 'a/b', 'temperature', '1'],
      'DEVICE: expected 1 to 128 characters without control characters, "/", "+" or "#", and not "-", "." or ".."',
    ],
    [['publish', 'a', 'temperature', '{'], 'VALUE: expected JSON, got "{"'],
    [['publish', 'a', 'temperature', '1e999'], 'VALUE: expected a number, a word or a JSON object, got "1e999"'],
    [['publish', '--mqtt', 'a', 'temperature', '1'], '--mqtt: expected a URL or nothing, got "a": put --mqtt after the arguments'],
    [['publish', 'a', 'temperature'], "missing required argument 'value'"],
    [['tail', '--ping', 'often'], '--ping: expected a duration such as 500ms, 30s, 5m or 2h, got "often"'],
    [['dance'], "unknown command 'dance'"],
  ])('%j', async (args, message) => {
    expect(await telltale(...args)).toEqual({ code: 2, out: '', err: `error: ${message}\n` })
  })
})

test('a server that is not there is one line and exit code 1', async () => {
  const gone = createServer()
  await new Promise<void>(resolve => gone.listen(0, '127.0.0.1', resolve))
  const address = gone.address()
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  await new Promise(resolve => gone.close(resolve))
  const { code, err } = await telltale('simulate', '--http', url, '--count', '1')
  expect([code, err]).toEqual([1, `error: no answer from ${url} (ECONNREFUSED): start it, or name it with --http\n`])
})

test('asking for help is no mistake', async () => {
  const { code, out } = await telltale('simulate', '--help')
  expect(code).toBe(0)
  expect(out).toMatch(/--replay <file.csv>/)
})
