// Getting events in: every form, over both doors; what is refused and how; what is sent twice; what happens without a log.
import type { MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { DeviceEvent } from '../packages/core/event.ts'
import type { Reader } from './reader.ts'
import { openWire } from './wire.ts'
import {
  EVENTS,
  eventually,
  removeDirectories,
  startTelltale,
  stored,
  type Telltale,
  target,
  temperature,
  temperatureOf,
  until,
} from './world.ts'

const TIME = '2026-03-02T06:41:09.104000Z'
const NDJSON = { 'content-type': 'application/x-ndjson' }

let telltale: Telltale
let client: MqttClient
let reader: Reader

beforeAll(async () => {
  telltale = await startTelltale()
  client = await telltale.mqtt()
  reader = await telltale.stream()
})
afterAll(async () => {
  await client.endAsync()
  reader.close()
  await telltale.remove()
  await removeDirectories()
})

/** What the stream brings of a device, once it has brought that many. */
async function followed(device: string, count: number): Promise<DeviceEvent[]> {
  const own = () => reader.events().filter(({ targetName }) => targetName === target(device))
  await until(`${count} events of ${device} are followed`, () => own().length >= count)
  return own()
}

async function quarantined(source: string): Promise<Record<string, unknown>[]> {
  const { json } = await telltale.http('/v2/projects/default/quarantine?page_size=1000')
  return (json['quarantine'] as Record<string, unknown>[]).filter(record => record['source'] === source)
}

const valuesOf = async (device: string) => (await stored(telltale, device)).map(temperatureOf)

describe('every form of an event', () => {
  const whole = (device: string) => temperature(device, 21.5, { eventId: `id-of-${device}`, timestamp: TIME })
  const full = { temperature: { value: 21.5, samples: [{ value: 21.5 }], isBackfilled: false } }
  type Form = [name: string, topic: (device: string) => string, payload: (device: string) => string, events: object[]]
  const short = (type: string) => (device: string) => `d/${device}/${type}`
  const long = (device: string) => `${target(device)}/events`

  const overMqtt: Form[] = [
    ['a bare number', short('temperature'), () => '21.5', [{ data: full }]],
    ['{"value"}', short('temperature'), () => '{"value":21.5}', [{ data: full }]],
    ['event data keyed by its type', short('temperature'), () => '{"temperature":{"value":21.5}}', [{ data: full }]],
    [
      'event data with more than the value',
      short('co2'),
      () => '{"value":417,"accuracy":2}',
      [{ data: { co2: { ppm: 417, accuracy: 2 } } }],
    ],
    ['a bare word', short('contact'), () => 'OPEN', [{ eventType: 'contact', data: { contact: { state: 'OPEN' } } }]],
    ['a string', short('contact'), () => '"CLOSED"', [{ data: { contact: { state: 'CLOSED' } } }]],
    ['true', short('motion'), () => 'true', [{ data: { motion: { state: 'MOTION_DETECTED' } } }]],
    [
      'a type of the sender’s own',
      short('vendor.thing_1'),
      () => '{"a":{"b":1},"c":"d"}',
      [{ data: { 'vendor.thing_1': { a: { b: 1 }, c: 'd' } } }],
    ],
    ['the long topic', device => `${long(device)}/temperature`, () => '21.5', [{ data: full }]],
    ['a whole event on a typed topic', short('temperature'), device => JSON.stringify(whole(device)), [{ data: full, timestamp: TIME }]],
    ['a whole event', long, device => JSON.stringify(whole(device)), [{ data: full, timestamp: TIME }]],
    [
      'keyed data without a type',
      long,
      () => '{"humidity":{"temperature":20,"relativeHumidity":44}}',
      [{ data: { humidity: { relativeHumidity: 44 } } }],
    ],
    [
      'an array of whole events',
      long,
      device => JSON.stringify([whole(device), temperature(device, 22.5, { timestamp: '2026-03-02T07:41:09.104+01:00' })]),
      [
        { data: full, timestamp: TIME },
        { data: { temperature: { value: 22.5 } }, timestamp: '2026-03-02T06:41:09.104000Z' },
      ],
    ],
  ]
  test.each(overMqtt.map((form, i) => [form[0], i] as const))('over MQTT: %s', async (_name, i) => {
    const [, topic, payload, expected] = overMqtt[i] as Form
    const device = `mqtt-form-${i}`
    await client.publishAsync(topic(device), payload(device), { qos: 1 })
    const events = await followed(device, expected.length)
    expect(events).toHaveLength(expected.length)
    for (const [n, part] of expected.entries()) expect(events[n]).toMatchObject(part)
    await eventually(async () => expect(await stored(telltale, device)).toHaveLength(events.length))
  })

  const overHttp: [
    name: string,
    path: (device: string) => string,
    body: (device: string) => string,
    headers: Record<string, string>,
    values: number[],
  ][] = [
    ['one whole event', () => EVENTS, device => JSON.stringify(whole(device)), {}, [21.5]],
    ['an array', () => EVENTS, device => JSON.stringify([1, 2, 3].map(value => temperature(device, value))), {}, [1, 2, 3]],
    [
      'lines, one empty and the last unfinished',
      () => EVENTS,
      device => `${JSON.stringify(temperature(device, 1))}\n\n${JSON.stringify(temperature(device, 2))}`,
      NDJSON,
      [1, 2],
    ],
    ['keyed data to :publish', device => `/v2/${target(device)}:publish`, () => '{"temperature":{"value":27}}', {}, [27]],
    [
      'JSON under the content type that curl sends',
      () => EVENTS,
      device => JSON.stringify(whole(device)),
      { 'content-type': 'application/x-www-form-urlencoded' },
      [21.5],
    ],
  ]
  test.each(overHttp.map((form, i) => [form[0], i] as const))('over HTTP: %s', async (_name, i) => {
    const [, path, body, headers, values] = overHttp[i] as (typeof overHttp)[number]
    const device = `http-form-${i}`
    const { status, json } = await telltale.http(path(device), {
      method: 'POST',
      body: body(device),
      headers: { 'content-type': 'application/json', ...headers },
    })
    expect(status).toBe(200)
    expect(json).toEqual(path(device) === EVENTS ? { accepted: values.length, rejected: 0, errors: [] } : {})
    expect((await followed(device, values.length)).map(temperatureOf)).toEqual(values)
  })

  test('an event is the same, byte for byte, in the stream and in the store', async () => {
    const device = 'same-everywhere'
    const sent = temperature(device, 4.65, { eventId: 'own-id', timestamp: TIME })
    await telltale.send('POST', EVENTS, sent)
    const [event] = await followed(device, 1)
    const samples = [{ value: 4.65, sampleTime: TIME }]
    expect(event).toEqual({ ...sent, data: { temperature: { value: 4.65, updateTime: TIME, samples, isBackfilled: false } } })
    await eventually(async () => expect(await stored(telltale, device)).toEqual([event]))
  })
})

describe('names', () => {
  const hostile = [
    'Wohnzimmer süd',
    '温度計-1',
    '🌡️ roof',
    '"quoted" \'twice\'',
    'back\\slash\\n',
    '<img src=x onerror=alert(1)>',
    "'; DROP TABLE events; --",
    '__proto__',
    'constructor',
    '{t:default}:log',
    '%2e%2e%2f',
    '*',
    'with,comma=and space',
    '\u202egnp.exe',
    'x'.repeat(128),
  ]
  test.each(hostile)('a device may be called %j', async device => {
    await client.publishAsync(`d/${device}/temperature`, '20.5', { qos: 1 })
    expect((await followed(device, 1)).map(temperatureOf)).toEqual([20.5])
    await eventually(async () => expect(await valuesOf(device)).toEqual([20.5]))
    const { status, json } = await telltale.http(`/v2/projects/default/devices/${encodeURIComponent(device)}`)
    expect([status, json['name'], json['type']]).toEqual([200, target(device), 'temperature'])
  })

  test.each(['', '-', '.', '..', 'a\u2028b', 'bell\u0007', 'x'.repeat(129), 'a+b', 'a#b'])(
    'a device may not be called %j',
    async device => {
      const { status, json } = await telltale.send('POST', EVENTS, { ...temperature('x', 1), targetName: undefined, device })
      expect(status).toBe(400)
      expect(json['error']).toMatch(/^device: expected 1 to 128 characters/)
    },
  )
})

describe('what is refused', () => {
  const good = temperature('refusals', 1)
  const bad: [what: string, body: string, message: RegExp][] = [
    ['what is not JSON', '{"value":', /^payload: not JSON/],
    ['nothing', '', /^body: expected one event/],
    ['an empty array', '[]', /^events: expected at least one event/],
    ['a bare number where nothing says whose it is', '21.5', /^payload: expected a whole event/],
    ['an event of nobody', '{"eventType":"temperature","data":{"value":1}}', /^targetName: missing/],
    [
      'an event of another project',
      JSON.stringify({ ...good, targetName: 'projects/other/devices/x' }),
      /^targetName: expected project default, got other/,
    ],
    ['an event with an unknown field', JSON.stringify({ ...good, vaule: 1 }), /^vaule: unknown field/],
    ['an event without data', JSON.stringify({ ...good, data: undefined }), /^data: expected an object/],
    ['an event with empty data', JSON.stringify({ ...good, data: {} }), /^data\.temperature: expected at least one field/],
    ['a type that is none', JSON.stringify({ ...good, eventType: '1st type' }), /^eventType: expected 1 to 64 characters/],
    ['a time that is none', JSON.stringify({ ...good, timestamp: 'yesterday' }), /^timestamp: expected an RFC 3339 time/],
    [
      'a reading’s time that is none',
      JSON.stringify({ ...good, data: { temperature: { value: 1, updateTime: 7 } } }),
      /^data\.temperature\.updateTime: expected an RFC 3339 time/,
    ],
    ['an id with spaces', JSON.stringify({ ...good, eventId: 'a b' }), /^eventId: expected 1 to 64 printable ASCII/],
    [
      'a number that is not finite',
      '{"targetName":"projects/default/devices/x","eventType":"t","data":{"t":{"a":{"b":1e999}}}}',
      /^data\.t\.a\.b: expected a finite number/,
    ],
    [
      'a field called __proto__',
      '{"targetName":"projects/default/devices/x","eventType":"t","data":{"t":{"__proto__":1}}}',
      /^data\.t\.__proto__: not a field name/,
    ],
    [
      'a labelsChanged of the sender’s own',
      JSON.stringify({ ...good, eventType: 'labelsChanged' }),
      /^eventType: labelsChanged is written by Telltale itself/,
    ],
  ]
  test.each(bad)('over HTTP %s is 400 with a message that names the field', async (_what, body, message) => {
    const { status, json } = await telltale.http(EVENTS, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
    expect(status).toBe(400)
    expect(json).toMatchObject({ code: 400, help: expect.stringContaining('400') })
    expect(json['error']).toMatch(message)
  })

  test('of an array with good and bad events the good ones are accepted, and 207 says which were not and why', async () => {
    const { status, json } = await telltale.send('POST', EVENTS, [
      temperature('mixed', 1),
      temperature('mixed', 2, { timestamp: 'x' }),
      temperature('mixed', 3),
    ])
    expect(status).toBe(207)
    expect(json).toEqual({
      accepted: 2,
      rejected: 1,
      errors: [{ index: 1, code: 'invalid', field: 'timestamp', message: expect.stringMatching(/^timestamp: expected an RFC 3339 time/) }],
    })
    expect((await followed('mixed', 2)).map(temperatureOf)).toEqual([1, 3])
  })

  test('of lines with a bad one the others are accepted, and 207 says which', async () => {
    const body = `${JSON.stringify(temperature('lines', 1))}\n{oops\n${JSON.stringify(temperature('lines', 3))}\n`
    const { status, json } = await telltale.http(EVENTS, { method: 'POST', body, headers: NDJSON })
    expect([status, json['accepted'], json['rejected']]).toEqual([207, 2, 1])
    expect(json['errors']).toEqual([expect.objectContaining({ index: 1, message: expect.stringContaining('not JSON') })])
  })

  test('a content type that nobody decodes is 415', async () => {
    const { status, json } = await telltale.http(EVENTS, { method: 'POST', body: 'GIF89a', headers: { 'content-type': 'image/gif' } })
    expect([status, json['error']]).toEqual([
      415,
      expect.stringMatching(/^content-type image\/gif: expected one of .*application\/json, .*application\/x-ndjson/),
    ])
  })

  test('over HTTP the quarantine keeps what was refused, with its reason, its source and its own bytes', async () => {
    const body = '{"eventType": "temperature", "data": {"value" : 1.50}}'
    await telltale.http(EVENTS, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
    const [newest] = await quarantined(`POST ${EVENTS}`)
    expect(newest).toMatchObject({ field: 'targetName', reason: expect.stringContaining('targetName: missing'), keyId: telltale.key.keyId })
    expect(newest).toMatchObject({ payload: body, encoding: 'utf8' })
  })

  test.each([
    ['gap', '{"from":"a","to":"b"}', /^eventType: gap is written by Telltale itself/],
    ['ping', '1', /^eventType: ping is written by Telltale itself/],
    ['labelsChanged', '1', /^eventType: labelsChanged is written by Telltale itself/],
    ['humidity', '40', /^data\.humidity\.temperature: expected a number/],
  ])('over MQTT %s that followers would take for something else, or fail at, is quarantined', async (eventType, payload, reason) => {
    await client.publishAsync(`d/not-${eventType}/${eventType}`, payload, { qos: 1 })
    const records = await quarantined(`d/not-${eventType}/${eventType}`)
    expect(records).toEqual([expect.objectContaining({ payload, reason: expect.stringMatching(reason) })])
    expect((await telltale.http(`/v2/projects/default/devices/not-${eventType}`)).status).toBe(404)
  })

  test('over MQTT a refused publish is acknowledged and quarantined, and the next good one goes through on the same connection', async () => {
    const own = await telltale.mqtt()
    await own.publishAsync('d/refused/temperature', '{"value":}', { qos: 1 })
    await own.publishAsync('d/refused/temperature', Buffer.from([0xff, 0x00, 0xfe]), { qos: 1 })
    await own.publishAsync('d/refused/temperature', '23.5', { qos: 1 })
    expect(own.connected).toBe(true)
    await own.endAsync()
    expect((await followed('refused', 1)).map(temperatureOf)).toEqual([23.5])
    const records = await quarantined('d/refused/temperature')
    expect(records).toHaveLength(2)
    expect(records[1]).toMatchObject({ payload: '{"value":}', encoding: 'utf8', reason: expect.stringContaining('not JSON') })
    expect(records[0]).toMatchObject({ payload: '/wD+', encoding: 'base64', reason: 'payload: not UTF-8 text' })
  })
})

describe('who may', () => {
  test('nobody sends more than a few kilobytes without a key', async () => {
    const { status } = await telltale.send('POST', '/console/session', { keyId: 'k', secret: 'x'.repeat(5000) })
    expect(status).toBe(413)
  })

  test('wrong or missing credentials are CONNACK 5', async () => {
    await expect(telltale.mqtt({ password: 'wrong' })).rejects.toMatchObject({ code: 5 })
    await expect(telltale.mqtt({ username: 'nobody' })).rejects.toMatchObject({ code: 5 })
  })

  test.each([`Basic ${Buffer.from('nobody:wrong').toString('base64')}`, 'Basic', 'Bearer x', ''])(
    'credentials %j are 401 over HTTP',
    async authorization => {
      for (const [method, path] of [
        ['POST', EVENTS],
        ['GET', '/v2/projects/default/devices'],
        ['GET', '/v2/projects/default/devices:stream'],
      ] as const) {
        const { status, headers } = await telltale.http(path, { method, headers: { authorization } })
        expect([status, headers.get('www-authenticate')]).toEqual([401, 'Basic realm="telltale"'])
      }
    },
  )

  test('another project is not there, over HTTP and over MQTT', async () => {
    const { status, json } = await telltale.send('POST', '/v2/projects/other/events', temperature('x', 1))
    expect([status, json['error']]).toEqual([404, 'project other does not exist'])
    const topic = 'projects/other/devices/x/events/temperature'
    await client.publishAsync(topic, '1', { qos: 1 })
    expect(await quarantined(topic)).toMatchObject([{ reason: 'project other does not exist', payload: '1' }])
  })

  test.each(['$SYS/broker', '$telltale/refused', 'projects/other/things', 'projects/default/alarms/rule/device', 'd/device'])(
    'publishing to %s ends the connection',
    async topic => {
      const own = await telltale.mqtt()
      const gone = new Promise<void>(resolve => own.once('close', () => resolve()))
      own.publish(topic, 'x', { qos: 1 })
      await gone
      expect(own.connected).toBe(false)
    },
  )

  test.each(['#', '+/x', '$SYS/#', '$telltale/#', 'projects/#', 'projects/+/alarms/#', 'projects/other/alarms/#', '+'])(
    'subscribing to %s is refused',
    async filter => {
      const wire = await openWire(telltale.mqttPort(), telltale.key, `watcher-${filter.length}`, true)
      wire.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: filter, qos: 0 }] })
      await until('SUBACK', () => wire.received.some(({ cmd }) => cmd === 'suback'))
      expect(wire.received.find(({ cmd }) => cmd === 'suback')).toMatchObject({ granted: [128] })
      await wire.leave()
    },
  )

  test('what a project publishes reaches those who subscribe to it, except what was refused', async () => {
    const own = await telltale.mqtt()
    const heard: string[] = []
    own.on('message', (topic, payload) => void heard.push(`${topic} ${payload.toString()}`))
    await own.subscribeAsync('projects/default/devices/heard/events/#', { qos: 1 })
    await client.publishAsync('d/heard/temperature', 'not json {', { qos: 1 })
    await client.publishAsync('d/heard/temperature', '1', { qos: 1 })
    await client.publishAsync(`${target('heard')}/events/temperature`, '2', { qos: 1 })
    await eventually(() => expect(heard).toEqual([1, 2].map(value => `${target('heard')}/events/temperature ${value}`)))
    await own.endAsync()
  })
})

describe('a clock that cannot be right', () => {
  test('is shown at its device, and its events come by their arrival, again after each start that begins in 1970', async () => {
    for (let start = 0; start < 2; start++)
      expect((await telltale.send('POST', EVENTS, temperature('unset-1', 20, { timestamp: 5 }))).status).toBe(200)
    const events = await followed('unset-1', 2)
    for (const { timestamp, data } of events) {
      expect(Math.abs(Date.parse(timestamp) - Date.now())).toBeLessThan(60_000)
      expect(data['temperature']).toMatchObject({ value: 20, deviceClock: { state: 'unset', time: '1970-01-01T00:00:05.000000Z' } })
    }
    const clock = async () => (await telltale.http('/v2/projects/default/devices/unset-1')).json['clock']
    await eventually(async () => expect(await clock()).toMatchObject({ state: 'unset' }))
    for (let i = 0; i < 3; i++) await telltale.send('POST', EVENTS, temperature('unset-1', 20 + i, { timestamp: new Date().toISOString() }))
    await until('its clock is right', async () => (await clock()) === undefined)
  })
})

describe('a budget', () => {
  const BUDGET = '/v2/projects/default/budget'

  test('refuses by name what is new beyond it, and takes what is known', async () => {
    await telltale.send('POST', EVENTS, temperature('counted-1', 20))
    const { used } = (await telltale.http(BUDGET)).json['devices'] as { readonly used: number }
    expect((await telltale.send('PATCH', BUDGET, { devices: used })).status).toBe(200)
    const fresh = temperature('counted-2', 20, { timestamp: TIME })
    const preview = await telltale.send('POST', `${BUDGET}:preview`, [fresh])
    expect(preview.json).toMatchObject({ devices: { used, new: ['counted-2'], fits: false }, fields: { new: [], fits: true } })
    await eventually(async () =>
      expect((await telltale.send('POST', EVENTS, [temperature('counted-1', 21), fresh])).json).toMatchObject({
        accepted: 1,
        rejected: 1,
        errors: [
          { index: 1, code: 'quota_exceeded', field: 'device', message: expect.stringMatching(/^device counted-2: it would be a new one/) },
        ],
      }),
    )
    expect((await telltale.send('PATCH', BUDGET, { devices: used + 1000 })).status).toBe(200)
    await until('there is room', async () => (await telltale.send('POST', EVENTS, fresh)).status === 200)
  })
})
