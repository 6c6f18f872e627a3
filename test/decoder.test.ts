// Decoders end to end: topics and content types of people's own, what is refused, what the device hears of it, and what is decoded again.
import type { MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  EVENTS,
  eventually,
  type Json,
  removeDirectories,
  startTelltale,
  stored,
  type Telltale,
  temperature,
  temperatureOf,
  until,
} from './world.ts'

const PROJECT = '/v2/projects/default'
const DECODERS = `${PROJECT}/decoders`
const PLANT = { format: 'json', topic: 'plant/+/temperature', device: '{2}', eventType: 'temperature' }

let telltale: Telltale
let client: MqttClient
beforeAll(async () => {
  telltale = await startTelltale()
  client = await telltale.mqtt()
})
afterAll(async () => {
  await client.endAsync()
  await telltale.remove()
  await removeDirectories()
})

async function answer(method: string, path: string, body?: unknown, status = 200): Promise<Json> {
  const answered = body === undefined ? await telltale.http(path, { method }) : await telltale.send(method, path, body)
  expect(`${answered.status} ${answered.status === status ? '' : answered.text}`).toBe(`${status} `)
  return answered.json
}
const publish = (topic: string, payload: string | Buffer) => client.publishAsync(topic, payload, { qos: 1 })
const valuesOf = async (device: string) => (await stored(telltale, device)).map(temperatureOf)

async function quarantined(source: string): Promise<Json[]> {
  const { quarantine } = await answer('GET', `${PROJECT}/quarantine?page_size=1000`)
  return (quarantine as Json[]).filter(record => record['source'] === source)
}

/** Hears everything that is published under a filter. */
async function listen(filter: string): Promise<{ topic: string; text: string }[]> {
  const heard: { topic: string; text: string }[] = []
  client.on('message', (topic, payload) => {
    if (topic.startsWith(filter.replace('/#', ''))) heard.push({ topic, text: payload.toString() })
  })
  await client.subscribeAsync(filter, { qos: 1 })
  return heard
}

describe('a decoder of a project', () => {
  test('makes events of its topic, in the short and in the long form, and the bytes go to subscribers as they are', async () => {
    await answer('POST', DECODERS, { name: 'plant', ...PLANT })
    const heard = await listen('projects/default/topics/plant/#')
    await publish('plant/press-1/temperature', '21.5')
    await publish('projects/default/topics/plant/press-1/temperature', '{"value":22.5}')
    await publish('plant/press-1/temperature', 'not a {number')
    await eventually(async () => expect(await valuesOf('press-1')).toEqual([21.5, 22.5]))
    await until('all were heard', () => heard.length === 3)
    expect(heard.map(({ text }) => text)).toEqual(['21.5', '{"value":22.5}', 'not a {number'])
    const [record] = await quarantined('plant/press-1/temperature')
    expect(record).toMatchObject({
      decoder: { name: 'plant', format: 'json', version: 1 },
      code: 'invalid',
      field: 'payload',
      payload: 'not a {number',
      size: 13,
      encoding: 'utf8',
    })
  })

  test('shows what a sample becomes, by its topic and as a draft, and keeps nothing of it', async () => {
    const sample = { topic: 'plant/press-9/temperature', payload: { value: 3 } }
    const tried = await answer('POST', `${DECODERS}:test`, sample)
    expect(tried).toMatchObject({ decoder: 'plant', format: 'json', version: 1, errors: [] })
    expect((tried['events'] as Json[])[0]).toMatchObject({ targetName: 'projects/default/devices/press-9', eventType: 'temperature' })
    expect(await answer('POST', `${DECODERS}/plant:test`, { ...sample, payload: 'x{' })).toMatchObject({
      events: [],
      errors: [{ code: 'invalid', field: 'payload' }],
    })
    expect(await answer('POST', `${DECODERS}:test`, { format: 'ndjson', payload: JSON.stringify(temperature('n', 1)) })).toMatchObject({
      decoder: '',
      events: [{ eventType: 'temperature' }],
    })
    await answer('POST', `${DECODERS}:test`, { topic: 'nobody/takes/this', payload: 1 }, 404)
    for (const topic of ['d/x/temperature', 'projects/other/topics/plant/press-9/temperature', '$SYS/a'])
      for (const decoder of ['', '/plant'])
        expect(await answer('POST', `${DECODERS}${decoder}:test`, { topic, payload: 1 }, 400)).toMatchObject({ field: 'topic' })
    expect(await answer('POST', `${DECODERS}:test`, { topic: sample.topic }, 400)).toMatchObject({ field: 'payload' })
    expect(await answer('POST', `${DECODERS}:test`, { topic: sample.topic, payload: null })).toMatchObject({
      errors: [{ field: 'payload' }],
    })
    const body = { contentType: 'Text/CSV; charset=utf-8', payload: 'device,temp\nd,1' }
    expect(await answer('POST', `${DECODERS}:test`, body)).toMatchObject({ decoder: 'csv', events: [{ eventType: 'temperature' }] })
    await answer('GET', `${PROJECT}/devices/press-9`, undefined, 404)
  })

  test.each<[what: string, body: Json, field: string, hint: string]>([
    ['an unknown format', { ...PLANT, format: 'jsn' }, 'format', 'did you mean "json"?'],
    ['an unknown option', { ...PLANT, options: { sepparator: ';' } }, 'options.sepparator', 'unknown'],
    ['a filter with # in the middle', { ...PLANT, topic: 'a/#/b' }, 'topics.0', '# is the last level'],
    ['a filter of ingest topics', { ...PLANT, topic: 'd/x/temperature' }, 'topics.0', 'of the project’s own'],
    ['a topic of another project', { ...PLANT, topic: 'projects/other/topics/a' }, 'topics.0', 'expected a topic of project default'],
    ['a topic and topics', { ...PLANT, topics: ['a'] }, 'topic', 'got both'],
    ['a template without an end', { ...PLANT, device: '{2' }, 'device', 'stand for levels'],
  ])('is refused with %s, by name', async (_, body, field, hint) => {
    const refused = await answer('PUT', `${DECODERS}/wrong`, body, 400)
    expect(refused).toMatchObject({ field, error: expect.stringContaining(hint) })
  })

  test('of a format can be switched off, and comes back when that is deleted', async () => {
    expect(await answer('GET', `${DECODERS}/json`)).toMatchObject({ builtIn: true, enabled: true })
    await answer('DELETE', `${DECODERS}/json`, undefined, 409)
    expect(await answer('PUT', `${DECODERS}/json`, { format: 'json', enabled: false })).toMatchObject({ builtIn: false, enabled: false })
    await answer('DELETE', `${DECODERS}/json`)
    expect(await answer('GET', `${DECODERS}/json`)).toMatchObject({ builtIn: true })
    const { records } = await answer('GET', `${PROJECT}/audit`)
    expect((records as Json[]).map(({ path }) => path)).toContain(`${DECODERS}/json`)
  })
})

describe('what is refused', () => {
  test('is told to the device', async () => {
    const heard = await listen('projects/default/devices/deaf-1/rejected/#')
    await publish('d/deaf-1/temperature', '{"value":"warm"}')
    await until('it was told', () => heard.length === 1)
    expect(JSON.parse(heard[0]?.text ?? '')).toMatchObject({
      source: 'd/deaf-1/temperature',
      code: 'invalid',
      payload: '{"value":"warm"}',
      encoding: 'utf8',
      field: expect.stringContaining('temperature'),
    })
  })

  test('is kept whole, however large it is', async () => {
    const payload = `[${'1,'.repeat(50_000)}1`
    await publish('d/large-1/temperature', payload)
    const [listed] = await quarantined('d/large-1/temperature')
    expect(listed).toMatchObject({ size: payload.length, payload: payload.slice(0, 1024) })
    expect(await answer('GET', `${PROJECT}/quarantine/${String(listed?.['id'])}`)).toMatchObject({ payload })
  })

  test('is decoded again after a fix, at the time it arrived, once', async () => {
    const source = 'fix/me/now'
    await answer('PUT', `${DECODERS}/fix`, { format: 'json', topic: 'fix/#' })
    for (const value of [1, 2, 3]) await publish(source, `{"temperature":{"value":${value}}}`)
    const records = await quarantined(source)
    expect(records).toHaveLength(3)
    await answer('PUT', `${DECODERS}/fix`, { format: 'json', topic: 'fix/#', device: 'fixed-{2}' })
    const dry = await answer('POST', `${PROJECT}/quarantine:replay`, { source, dryRun: true })
    expect(dry).toMatchObject({ records: 3, accepted: 3, refused: 0 })
    expect(await quarantined(source)).toHaveLength(3)
    // Two at once, as impatient people do.
    const both = await Promise.all([1, 2].map(() => answer('POST', `${PROJECT}/quarantine:replay`, { source })))
    expect(both[0]).toMatchObject({ refused: 0, errors: [], nextPageToken: '' })
    expect(await quarantined(source)).toEqual([])
    await eventually(async () => expect(await valuesOf('fixed-me')).toEqual([1, 2, 3]))
    const events = await stored(telltale, 'fixed-me')
    const times = records.map(({ time }) => Date.parse(String(time))).toReversed()
    expect(events.map(({ timestamp }) => Date.parse(timestamp))).toEqual(times)
  })

  test('stays with its reason while it is still wrong', async () => {
    const source = 'd/wrong-1/temperature'
    await publish(source, '{"value":"warm"}')
    const replayed = await answer('POST', `${PROJECT}/quarantine:replay`, { source })
    expect(replayed).toMatchObject({ records: 1, accepted: 0, refused: 1, errors: [{ source, code: 'invalid' }] })
    expect(await quarantined(source)).toHaveLength(1)
  })
})

describe('the schema of an event type', () => {
  const SCHEMA = { type: 'object', properties: { rpm: { type: 'number' }, mode: { type: 'string' } }, required: ['rpm', 'mode'] }

  test('refuses what does not fit by any door, naming all that is wrong, until it is mended', async () => {
    await answer('PUT', `${PROJECT}/schemas/pump`, SCHEMA)
    await publish('d/pump-1/pump', '{"rpm":"fast"}')
    const event = { targetName: 'projects/default/devices/pump-1', eventType: 'pump', data: { pump: { rpm: 'slow' } } }
    const refused = await answer('POST', EVENTS, event, 400)
    expect(JSON.stringify(refused)).toMatch(/mode/)
    const lines = ['pump,device=pump-2 rpm=1i,mode=2i 1741000000', 'pump,device=pump-2 rpm=1i,mode="auto" 1741000001'].join('\n')
    expect((await telltale.http('/write?db=default&precision=s', { method: 'POST', body: lines })).status).toBe(400)
    await publish('d/pump-1/pump', '{"rpm":1500,"mode":"auto"}')
    const [record] = await quarantined('d/pump-1/pump')
    expect(record).toMatchObject({ field: 'data.pump', code: 'invalid', device: 'pump-1', payload: '{"rpm":"fast"}' })
    expect(record?.['reason']).toMatch(/mode.*rpm|rpm.*mode/)
    expect(await answer('PUT', `${PROJECT}/schemas/pump`, { ...SCHEMA, required: [], properties: {} })).toMatchObject({ eventType: 'pump' })
    expect(await answer('POST', `${PROJECT}/quarantine:replay`, { source: 'd/pump-1/pump' })).toMatchObject({ accepted: 1, refused: 0 })
    await eventually(async () => expect(await stored(telltale, 'pump-1')).toHaveLength(2))
    expect(await answer('POST', `${PROJECT}/quarantine:replay`, { source: 'POST /write' })).toMatchObject({ accepted: 1, refused: 0 })
    const times = async () => (await stored(telltale, 'pump-2')).map(({ timestamp }) => Date.parse(timestamp) / 1000)
    await eventually(async () => expect(new Set(await times())).toEqual(new Set([1_741_000_000, 1_741_000_001])))
  })

  test('that is none is refused', async () => {
    await answer('PUT', `${PROJECT}/schemas/pump`, { type: 'strin' }, 400)
    await answer('GET', `${PROJECT}/schemas/nothing`, undefined, 404)
  })
})

describe('code of a project', () => {
  const code = "function decode(input) { return { device: input.topic[1], eventType: 'temperature', value: input.bytes[0] / 10 } }"
  const script = (text: string, topic: string) => ({ format: 'javascript', topic, options: { code: text } })

  test('is refused with its place where it cannot be read, and decodes what it can', async () => {
    const { field, error } = await answer('POST', DECODERS, { name: 'bad', ...script('function decode( {', 'x/+') }, 400)
    expect([field, error]).toEqual(['options.code', expect.stringMatching(/SyntaxError: .*\(line 1, column \d+\)/)])
    await answer('POST', DECODERS, { name: 'script', ...script(code, 'script/+/raw') })
    await publish('script/scripted-1/raw', Buffer.from([215]))
    await eventually(async () => expect(await valuesOf('scripted-1')).toEqual([21.5]))
  })

  test('that never ends is quarantined, and others are decoded meanwhile', async () => {
    await answer('POST', DECODERS, { name: 'endless', ...script('function decode() { for (;;) {} }', 'endless/+') })
    await Promise.all([publish('endless/a', 'x'), publish('script/scripted-2/raw', Buffer.from([200]))])
    await eventually(async () => expect(await valuesOf('scripted-2')).toEqual([20]))
    const [record] = await quarantined('endless/a')
    expect(record?.['reason']).toBe('code: took longer than 50 ms')
  })

  test('decodes what The Things Stack forwards, whose topics need no mapping', async () => {
    const uplink = { f_port: 1, frm_payload: 'AQID', decoded_payload: { temperature: 7.5 }, received_at: '2026-01-31T12:00:00Z' }
    await publish('v3/app1@ttn/devices/lora-1/up', JSON.stringify({ end_device_ids: { device_id: 'lora-1' }, uplink_message: uplink }))
    await eventually(async () => expect(await valuesOf('lora-1')).toEqual([7.5]))
  })
})
