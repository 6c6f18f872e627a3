// Following the stream: its bytes, its filters, and that nothing is missing or doubled whatever happens to a reader (P4, P5).
import { EventSource } from 'eventsource'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { DeviceEvent } from '../packages/core/event.ts'
import { publishOn } from './load.ts'
import type { Reader, ReaderOptions } from './reader.ts'
import { eventually, removeDirectories, startTelltale, type Telltale, temperatureOf, until } from './world.ts'

const PROJECT = '/v2/projects/default'
const TIME = '2026-03-02T06:41:09.104000Z'

let telltale: Telltale
const readers: Reader[] = []

beforeAll(async () => {
  telltale = await startTelltale({ env: { TELLTALE_STREAM_PATIENCE: '8s' } })
})
afterAll(async () => {
  for (const reader of readers) reader.close()
  await telltale.remove()
  await removeDirectories()
})

async function follow(parameters = '', options: ReaderOptions = {}): Promise<Reader> {
  const reader = await telltale.stream(parameters, options)
  readers.push(reader)
  return reader
}

const eventOf = (device: string, value: unknown, more: object = {}) => ({
  targetName: `projects/default/devices/${device}`,
  eventType: 'temperature',
  data: { temperature: { value } },
  ...more,
})

/** In one request, so in one batch. */
async function publish(events: readonly object[], to: Telltale = telltale): Promise<void> {
  const { status, text } = await to.send('POST', `${PROJECT}/events`, events)
  if (status !== 200) throw new Error(text)
}

const series = (device: string, first: number, count: number) => Array.from({ length: count }, (_, i) => eventOf(device, first + i))
const deviceOf = ({ targetName }: DeviceEvent) => targetName.split('/')[3]

describe('the bytes', () => {
  const device = 'café\u{1f321}'
  const text = 'é \u2028 \u{1f525} \u0085 "\\'
  const event = { ...eventOf(device, 1), eventId: 'bytes', eventType: 'note', data: { note: { text } }, timestamp: TIME }
  const ascii =
    '{"eventId":"%","targetName":"projects/default/devices/caf\\u00e9\\ud83c\\udf21","eventType":"note",' +
    `"data":{"note":{"text":"\\u00e9 \\u2028 \\ud83d\\udd25 \\u0085 \\"\\\\","updateTime":"${TIME}"}},"timestamp":"${TIME}"}`

  test('NDJSON is one ASCII line per event, in a chunked answer that is never compressed', async () => {
    const reader = await follow(`device_ids=${encodeURIComponent(device)}`, { headers: { 'accept-encoding': 'gzip, deflate, br' } })
    expect(reader.headers).toMatchObject({ 'content-type': 'application/json', 'transfer-encoding': 'chunked' })
    expect(reader.headers['content-encoding']).toBeUndefined()
    await publish([
      { ...event, eventId: 'bytes-1' },
      { ...event, eventId: 'bytes-2' },
    ])
    await reader.have(2)
    const cursors = reader.frames().map(({ result }) => result?.cursor)
    expect(reader.text()).toBe(
      [1, 2].map((n, i) => `{"result":{"event":${ascii.replace('%', `bytes-${n}`)},"cursor":"${cursors[i]}"}}\n`).join(''),
    )
    expect(reader.events()[0]).toEqual({ ...event, eventId: 'bytes-1', data: { note: { text, updateTime: TIME } } })
  })

  test('SSE is an id line, a data line and an empty line per event, under exactly text/event-stream', async () => {
    const reader = await follow(`device_ids=${encodeURIComponent(device)}`, { sse: true })
    expect(reader.headers).toMatchObject({ 'content-type': 'text/event-stream', 'transfer-encoding': 'chunked' })
    await publish([{ ...event, eventId: 'bytes-3' }])
    await reader.have(1)
    expect(reader.text().replace(/^retry: \d{4}\n\n/, '')).toBe(
      `id: ${reader.cursor()}\ndata: {"result":{"event":${ascii.replace('%', 'bytes-3')}}}\n\n`,
    )
  })

  test.each([false, true])('a ping comes at once and then at the interval, SSE %s', async sse => {
    const reader = await follow('ping_interval=1s&device_ids=nobody', { sse })
    await until('the first ping is there at once', () => reader.frames().length === 1, 500)
    const firstMs = performance.now()
    await until('the second ping', () => reader.frames().length === 2, 3000)
    expect(performance.now() - firstMs).toBeGreaterThan(700)
    expect(performance.now() - firstMs).toBeLessThan(2000)
    const ping =
      /^\{"result":\{"event":\{"eventId":"[0-9a-v]{20}","targetName":"projects\/default","eventType":"ping","data":null,"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"\}(,"cursor":"[0-9a-z.-]+")?\}\}$/
    const end = sse ? '\n\n' : '\n'
    const parts = reader
      .text()
      .replace(/^retry: \d{4}\n\n/, '')
      .split(end)
    expect(parts.pop()).toBe('')
    for (const part of parts) expect(sse ? part.replace(/^id: [0-9a-z.-]+\ndata: /, '') : part).toMatch(ping)
    expect(reader.cursor()).not.toBe('')
  })

  test('without an interval there are no pings', async () => {
    const reader = await follow('device_ids=unpinged')
    await publish(series('unpinged', 1, 1))
    await reader.have(1)
    expect(reader.frames()).toHaveLength(1)
  })

  test('an error before the stream is an object under error, as its clients read it', async () => {
    const ask = (path: string, headers = {}) => telltale.http(path, { headers })
    const { code, help } = { code: 404, help: expect.stringContaining('404') }
    const missing = await ask('/v2/projects/other/devices:stream')
    expect([missing.status, missing.json]).toEqual([
      404,
      { error: { code: 404, message: 'project other does not exist', details: [] }, code, help },
    ])
    const unknown = await ask(`${PROJECT}/devices:stream`, { authorization: 'Basic eDp5' })
    expect([unknown.status, unknown.json]).toMatchObject([401, { error: { code: 401 }, code: 401 }])
  })
})

describe('filters', () => {
  const devices: Record<string, { type: string; labels: Record<string, string> }> = {
    'f-cold': { type: 'temperature', labels: { zone: 'north', cold: '' } },
    'f-warm': { type: 'temperature', labels: { zone: 'south' } },
    'f-door': { type: 'contact', labels: { zone: 'north' } },
    'f-bare': { type: 'humidity', labels: {} },
  }
  const all = Object.keys(devices)
  const scope = all.map(id => `device_ids=${id}`).join('&')
  const cases: [parameters: string, expected: string[]][] = [
    [scope, all],
    ['deviceIds=f-cold&device_ids=f-bare', ['f-cold', 'f-bare']],
    [`device_types=contact&${scope}`, ['f-door']],
    [`deviceTypes=contact&deviceTypes=humidity&${scope}`, ['f-door', 'f-bare']],
    ['event_types=f.second', ['f-cold', 'f-warm', 'f-door', 'f-bare']],
    ['eventTypes=f.second&device_types=temperature', ['f-cold', 'f-warm']],
    [`label_filters=zone&${scope}`, ['f-cold', 'f-warm', 'f-door']],
    [`labelFilters=zone%3Dnorth&${scope}`, ['f-cold', 'f-door']],
    [`label_filters=zone=north&labelFilters=cold&${scope}`, ['f-cold']],
    [`label_filters=zone=north&labelFilters=cold&label_match=any&${scope}`, ['f-cold', 'f-door']],
    [`label_filters=zone%3Dsouth&label_filters=cold&labelMatch=any&${scope}`, ['f-cold', 'f-warm']],
    [`label_filters=cold%3D&${scope}`, ['f-cold']],
    [`label_filters=zone=west&${scope}`, []],
    ['device_ids=f-nobody', []],
  ]

  test('pick by device, device type, event type and label, in either spelling, repeated', async () => {
    for (const [id, body] of Object.entries(devices))
      expect((await telltale.send('PUT', `${PROJECT}/devices/${id}`, body)).status).toBe(200)
    const open = await Promise.all(cases.map(([parameters]) => follow(parameters)))
    const one = await follow('', { path: `${PROJECT}/devices/f-warm:stream` })
    const everything = await follow()
    await publish(all.map(id => ({ ...eventOf(id, 1), eventType: 'f.second', data: { value: 1 } })))
    await everything.have(all.length)
    for (const [i, [parameters, expected]] of cases.entries())
      await eventually(() => expect(open[i]?.events().map(deviceOf), parameters).toEqual(expected))
    await eventually(() => expect(one.events().map(deviceOf)).toEqual(['f-warm']))
  })

  test('a change of labels takes effect in the streams that are open', async () => {
    await publish(series('moving', 0, 1))
    const reader = await follow('label_filters=room=kitchen')
    const every = await follow('device_ids=moving&event_types=temperature')
    const relabel = (body: object) =>
      telltale.send('POST', `${PROJECT}/devices:batchUpdate`, { devices: ['projects/default/devices/moving'], ...body })
    await publish(series('moving', 1, 1))
    await relabel({ addLabels: { room: 'kitchen' } })
    await publish(series('moving', 2, 1))
    await relabel({ removeLabels: ['room'] })
    await publish(series('moving', 3, 1))
    await relabel({ addLabels: { room: 'kitchen' } })
    await publish(series('moving', 4, 1))
    await every.have(4)
    const seen = () =>
      reader
        .events()
        .filter(({ eventType }) => eventType === 'temperature')
        .map(temperatureOf)
    await eventually(() => expect(seen()).toEqual([2, 4]))
    expect(reader.events()[0]).toMatchObject({
      eventType: 'labelsChanged',
      data: { added: { room: 'kitchen' }, modified: {}, removed: [] },
    })
  })

  test.each(['0.5s', '0s', '3601s', '10', '1e1s', '-1s', '10m', '', ' 10s', '10s&pingInterval=10s'])(
    'ping_interval=%s is refused',
    async text => {
      const { status, json } = await telltale.http(`${PROJECT}/devices:stream?ping_interval=${text}`)
      expect(status).toBe(400)
      expect(json['error']).toMatchObject({ code: 400, message: expect.stringMatching(/^pingInterval: expected/) })
    },
  )

  test.each(['1s', '3600s', '1.5s'])('ping_interval=%s is accepted', async text => {
    const reader = await follow(`ping_interval=${text}`)
    expect(reader.status).toBe(200)
    reader.close()
  })

  test('of one device follow a device that there is, and no other', async () => {
    const refused = async (path: string) => {
      const { status, json } = await telltale.http(path)
      return [status, (json['error'] as { message: string }).message]
    }
    await publish(series('one-only', 0, 1))
    expect(await refused(`${PROJECT}/devices/nope:stream`)).toEqual([404, 'device nope does not exist in project default'])
    expect(await refused('/v2/projects/-/devices/nope:stream')).toEqual([404, expect.stringMatching(/^device nope does not exist in/)])
    expect(await refused(`${PROJECT}/devices/one-only:stream?device_ids=other`)).toEqual([400, expect.stringMatching(/^deviceIds: /)])
    for (const path of [`${PROJECT}/devices/one-only:stream`, '/v2/projects/-/devices/one-only:stream'])
      expect((await follow('device_ids=one-only', { path })).status).toBe(200)
  })

  test.each([
    'event_types=a%20b',
    'since=2099-01-01T00:00:00Z',
    'since=9999-12-31T23:59:59Z',
    'since=yesterday',
    'cursor=',
    'event_types=',
  ])('%s is refused with its name', async parameters => {
    const { status, json } = await telltale.http(`${PROJECT}/devices:stream?${parameters}`)
    expect(status).toBe(400)
    expect((json['error'] as { message: string }).message).toMatch(
      new RegExp(`^${(parameters.split('=')[0] ?? '').replace('_t', 'T')}(\\.0)?: `),
    )
  })
})

describe('going on where one was', () => {
  test.each([false, true])('resumes in the middle of a batch, and then lives on, SSE %s', async sse => {
    const device = `resumed-${sse}`
    const first = await follow(`device_ids=${device}`, { sse })
    await publish(series(device, 0, 5))
    await first.have(5)
    const frames = sse
      ? first
          .text()
          .replace(/^retry: \d{4}\n\n/, '')
          .split('\n\n')
          .map(part => part.split('\n')[0]?.slice(4))
      : first.frames().map(({ result }) => result?.cursor)
    for (const [i, cursor] of frames.slice(0, 5).entries()) {
      const again = await (sse
        ? follow(`device_ids=${device}`, { sse, headers: { 'last-event-id': String(cursor) } })
        : follow(`device_ids=${device}&cursor=${cursor}`))
      await eventually(() => expect(again.events().map(temperatureOf)).toEqual([0, 1, 2, 3, 4].slice(i + 1)))
    }
    const last = await follow(`device_ids=${device}&cursor=${frames[1]}`)
    await publish(series(device, 5, 2))
    await last.have(5)
    expect(last.events().map(temperatureOf)).toEqual([2, 3, 4, 5, 6])
  })

  test('replays from a time', async () => {
    await publish(series('replayed', 0, 3))
    const reader = await follow(`device_ids=replayed&since=${new Date(Date.now() - 60_000).toISOString()}`)
    await reader.have(3)
    expect(reader.events().map(temperatureOf)).toEqual([0, 1, 2])
  })

  test('resumes after a restart of the server', async () => {
    const first = await follow('device_ids=restarted')
    await publish(series('restarted', 0, 3))
    await first.have(3)
    const cursor = first.frames()[0]?.result?.cursor
    expect(await telltale.stop()).toBe(0)
    await telltale.restart()
    const again = await follow(`device_ids=restarted&cursor=${cursor}`)
    await publish(series('restarted', 3, 1))
    await again.have(3)
    expect(again.events().map(temperatureOf)).toEqual([1, 2, 3])
  })

  test('a cursor of another stream, or one that nobody gave out, is refused', async () => {
    const reader = await follow('device_ids=cursor')
    await publish(series('cursor', 0, 1))
    await reader.have(1)
    const cursor = reader.cursor()
    for (const wrong of ['x', '1-1', `9${cursor}`, `${cursor}0`, cursor.replace(/\.\w+$/, '.abc'), `${cursor}%0d%0a`, '%F0%9F%94%A5']) {
      const { status, json } = await telltale.http(`${PROJECT}/devices:stream?cursor=${wrong}`)
      expect([status, json['error']], wrong).toEqual([400, expect.objectContaining({ message: expect.stringMatching(/^cursor: /) })])
    }
    const { status, json } = await telltale.http(`${PROJECT}/alarms:stream`, { headers: { 'last-event-id': cursor } })
    expect([status, json['error']]).toEqual([
      400,
      expect.objectContaining({ message: expect.stringMatching(/^cursor: it belongs to another stream/) }),
    ])
  })

  test('200 disconnects at random moments under load lose nothing and double nothing', async () => {
    const client = await telltale.mqtt()
    const values: unknown[] = []
    // A reader that was closed before its first frame has no cursor: it goes on from a time before all of it.
    const since = new Date(Date.now() - 1000).toISOString()
    let cursor = ''
    let reader = await follow('device_ids=torn')
    const load = publishOn(client, 'torn', { window: 20 })
    for (let i = 0; i < 200; i++) {
      // Also with nothing read at all; the sequence is the same in every run.
      const wanted = (i * 7919) % 61
      await until('the reader has some', () => reader.events().length >= wanted || reader.hasEnded())
      reader.close()
      values.push(...reader.events().map(temperatureOf))
      cursor = reader.cursor() || cursor
      reader = await telltale.stream(cursor === '' ? `device_ids=torn&since=${since}` : `device_ids=torn&cursor=${cursor}`, {
        sse: i % 2 === 0,
      })
    }
    await load.end()
    await client.endAsync()
    await eventually(() => expect(values.length + reader.events().length).toBeGreaterThanOrEqual(load.acked.size))
    reader.close()
    values.push(...reader.events().map(temperatureOf))
    const missing = [...load.acked].filter(value => !values.includes(value))
    expect({ missing, doubled: values.length - new Set(values).size }).toEqual({ missing: [], doubled: 0 })
    expect(values).toEqual(Array.from({ length: values.length }, (_, i) => i))
  })

  test('the eventsource package resumes over a restart by itself, with nothing lost or doubled', async () => {
    const { keyId, secret } = telltale.key
    const authorization = `Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}`
    const source = new EventSource(`${telltale.url()}${PROJECT}/devices:stream?device_ids=source`, {
      fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, authorization } }),
    })
    const values: unknown[] = []
    source.onmessage = ({ data }) => {
      const { result } = JSON.parse(String(data)) as { result?: { event: DeviceEvent } }
      if (result) values.push(temperatureOf(result.event))
    }
    try {
      await until('it is open', () => source.readyState === EventSource.OPEN)
      await publish(series('source', 0, 3))
      await eventually(() => expect(values).toEqual([0, 1, 2]))
      expect(await telltale.stop()).toBe(0)
      await telltale.restart()
      await publish(series('source', 3, 3))
      await eventually(() => expect(values).toEqual([0, 1, 2, 3, 4, 5]), 15_000)
    } finally {
      source.close()
    }
  })
})

describe('a slow reader', () => {
  const filler = 'x'.repeat(60_000)
  const events = 500
  const values = Array.from({ length: events + 1 }, (_, i) => i)

  /** A reader that has taken one event and then stops, one that reads on, and far more than sockets hold. */
  async function stalled(device: string): Promise<{ slow: Reader; healthy: Reader }> {
    const slow = await follow(`device_ids=${device}`)
    const healthy = await follow(`device_ids=${device}`)
    await publish(series(device, 0, 1))
    await slow.have(1)
    slow.pause()
    for (let first = 1; first <= events; first += 100)
      await publish(
        Array.from({ length: 100 }, (_, i) => eventOf(device, first + i, { data: { temperature: { value: first + i, filler } } })),
      )
    await healthy.have(events + 1)
    expect(healthy.events().map(temperatureOf)).toEqual(values)
    return { slow, healthy }
  }

  test('slows nobody down, and gets everything when it reads on', async () => {
    const { slow } = await stalled('pausing')
    slow.resume()
    await slow.have(events + 1)
    expect(slow.events().map(temperatureOf)).toEqual(values)
  })

  test('that never reads on is cut off, and may resume where it was', async () => {
    const open = async () => Number(/^telltale_streams_open (\d+)/m.exec((await telltale.http('/metrics')).text)?.[1])
    const { slow } = await stalled('stalling')
    const before = await open()
    await eventually(async () => expect(await open()).toBe(before - 1), 18_000)
    slow.resume()
    await until('it has ended', () => slow.hasEnded())
    const had = slow.events().map(temperatureOf)
    expect(had.length).toBeLessThan(events)
    const again = await follow(`device_ids=stalling&cursor=${slow.cursor()}`)
    await again.have(events + 1 - had.length)
    expect([...had, ...again.events().map(temperatureOf)]).toEqual(values)
  }, 40_000)
})

describe('with a short age', () => {
  let small: Telltale
  beforeAll(async () => {
    small = await startTelltale({ env: { TELLTALE_STREAM_MAX_AGE: '2s' } })
  })
  afterAll(() => small.remove())

  test('a stream ends at its greatest age with a frame that says so', async () => {
    const startedMs = performance.now()
    const reader = await small.stream()
    await until('it was ended', () => reader.hasEnded())
    expect(performance.now() - startedMs).toBeGreaterThan(1700)
    const error = { code: 408, grpcCode: 1, httpCode: 408, httpStatus: 'Request Timeout', message: 'closing stream', details: [] }
    expect(reader.text()).toBe(`${JSON.stringify({ error })}\n`)
  })
})
