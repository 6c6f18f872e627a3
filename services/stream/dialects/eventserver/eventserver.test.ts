// The routes of eventserver that only its second original has, and what strictness changes (contracts.md 4.a.4, and 7 row 21).
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Identity } from '../../../../packages/identity/identity.ts'
import { DurableStreams } from '../../../../packages/log/durable/stream.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../../../../packages/log/fixture.ts'
import { type HttpApp, openHttp } from '../../../../packages/runtime/http.ts'
import { openLogger } from '../../../../packages/runtime/logger.ts'
import { addEventserver } from './eventserver.ts'
import { each, largest, ownedIn } from './owned.ts'

const PRODUCER = '7f3a1c52-0b6d-4c1e-9a57-3d2e8f1b6c40'
const TYPE = 'application/json; charset=utf-8'
const document = (name: string, celsius: number) => ({
  event: { name, version: 1 },
  system: { id: 'gw-7', name: 'cold store', time: '2025-03-02 06:41:09', timezone: 'Europe/Oslo' },
  trigger: { type: 'automatic', name: '/opt/gw/poll' },
  payload: { celsius },
})

describe.skipIf(installed === undefined)('eventserver', () => {
  let server: TestRedis
  let identity: Identity
  let streams: DurableStreams
  let app: HttpApp
  let nowMs = Date.now()
  const consumer: string = randomUUID()
  const produced: string[] = []
  let ids: string[] = []

  async function open(strictDialects: boolean): Promise<HttpApp> {
    const opened = await openHttp({ identity, log: openLogger('silent'), version: '1', limits: { manage: undefined, ingest: undefined } })
    const ports = {
      streams,
      identity,
      cursorKey: 'a secret',
      nowUs: () => nowMs * 1000,
      produced: (...of: string[]) => void produced.push(of.join('/')),
    }
    addEventserver(opened, ports, { strictDialects })
    return opened
  }
  const headers = { authorization: `Basic ${Buffer.from('key:secret-of-key').toString('base64')}`, 'content-type': TYPE }
  const ask = async (method: 'GET' | 'POST', path: string, payload = '', more: object = {}, to = app) => {
    const answer = await to.inject({ method, url: `/api/v1${path}`, payload, headers: { ...headers, ...more } })
    return [answer.statusCode, answer.headers['content-type']?.toString().includes('json') ? answer.json<unknown>() : answer.body] as const
  }
  const record = async (stream: string, body: object, more: object = {}) => {
    const [status, id] = await ask('POST', `/streams/${stream}/events`, JSON.stringify(body), { 'x-producer-id': PRODUCER, ...more })
    expect(status).toBe(200)
    return String(id)
  }
  const form = { 'content-type': 'application/x-www-form-urlencoded', 'x-consumer-id': consumer }

  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(await server.connect('producer'), 'x'.repeat(32))
    await identity.put('key', 'secret-of-key', 'me@example.com', { home: 'developer' })
    streams = new DurableStreams(server.redis)
    app = await open(false)
    ids = [
      await record('shown', document('Shown', 1)),
      await record('shown', document('Shown', 2)),
      await record('shown', document('Shown', 3)),
    ]
    await record('other"name', document('Else', 1))
    expect(await ask('POST', `/streams/shown/events/${ids[0]}`, 'action=ACK', form)).toEqual([200, 'OK'])
    // A stream of another dialect is in none of the counts.
    const stations = await streams.create('home', 'station')
    await streams.append({ project: 'home', record: stations }, [{ payload: Buffer.from('x') }])
  })
  afterAll(async () => {
    await app.close()
    await server.stop()
  })

  it('says of every event that was recorded in which stream it is', () => {
    expect(produced).toEqual(['home/shown', 'home/shown', 'home/shown', 'home/other"name'])
  })

  it('keeps its streams without a limit', async () => {
    expect((await streams.get('home', 'shown')).retention).toEqual({ maxAgeMs: 0, maxBytes: 0, untilAcked: false })
  })

  it('shows how far behind the consumers are, and moves them', async () => {
    const row = { consumerId: consumer, eventName: 'Shown', movedAt: expect.any(String) }
    expect(await ask('GET', '/consumers/shown')).toEqual([200, [{ ...row, offset: 1, consumedPercentage: 33.33, behind: 2 }]])
    const move = (offset: string, event = 'Shown', stream = 'shown', who = consumer) =>
      ask('POST', `/${stream}/${who}/${event}/change/${offset}`)
    expect(await move('3')).toEqual([200, `successfully updated offset to 3 for consumer ${consumer}`])
    expect(await ask('GET', '/consumers/shown')).toEqual([200, [{ ...row, offset: 3, consumedPercentage: 100, behind: 0 }]])
    expect(await move('4')).toEqual([400, 'Bad Request - offset: expected at most 3, the number of messages, got 4'])
    expect(await move('x')).toEqual([400, 'Bad Request - offset: expected a whole number from 0'])
    expect(await move('1', 'Shown', 'shown', 'x')).toEqual([400, 'Bad Request - consumerId: expected a UUID'])
    expect(await move('0', 'Unknown')).toEqual([404, 'Not Found'])
    expect(await move('1', 'Shown', 'nowhere')).toEqual([404, 'Not Found'])
    expect(await ask('GET', '/consumers/nowhere')).toEqual([404, 'Not Found'])
    expect((await move('1'))[0]).toBe(200)
  })

  it('reads one event by its id alone', async () => {
    expect(await ask('GET', `/events/${ids[1]}/payload`)).toEqual([200, document('Shown', 2)])
    expect(await ask('GET', `/events/${randomUUID()}/payload`)).toEqual([404, 'Not Found'])
    expect(await ask('GET', '/events/x/payload')).toEqual([400, 'Bad Request - eventId: expected a UUID'])
  })

  it('counts for charts', async () => {
    expect(await ask('GET', '/stats/events-per-stream')).toEqual([
      200,
      [
        { label: 'shown', value: 3 },
        { label: 'other"name', value: 1 },
      ],
    ])
    expect(await ask('GET', '/stats/stream-data')).toEqual([
      200,
      [
        { streamName: 'shown', eventsCount: 3, consumedEvents: 1, ranking: '✭✭✭✭✭' },
        { streamName: 'other"name', eventsCount: 1, consumedEvents: 0, ranking: '✭✭✭' },
      ],
    ])
  })

  it('counts the days of this month', async () => {
    const now = new Date(nowMs)
    const [status, days] = await ask('GET', '/stats/events-current-month')
    const rows = days as { date: string; eventcount: number; progress: string }[]
    expect([status, rows.length]).toEqual([200, new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 0)).getUTCDate()])
    expect(rows[0]).toMatchObject({ date: `${now.toISOString().slice(0, 7)}-01`, progress: '' })
    const counted = rows.filter(({ eventcount }) => eventcount > 0)
    expect(counted.reduce((sum, { eventcount }) => sum + eventcount, 0)).toBe(4)
    for (const { progress } of counted) expect(progress).toMatch(/^([+-] {2}\d)?$/)
  })

  it('searches by name and by period', async () => {
    const url = '/api/v1/streams/shown/events'
    expect(await ask('POST', '/search?_q=SHO')).toEqual([
      200,
      [
        { search_result: { label: 'shown/Shown', category: 'events', url: `${url}?eventName=Shown` } },
        { search_result: { label: 'shown', category: 'streams', url } },
      ],
    ])
    expect(await ask('POST', '/search')).toEqual([400, 'Bad Request - _q: expected once, but it is missing'])
    const [, events] = await ask('POST', '/event-period-search/shown?period=6hour')
    const row = { eventName: 'Shown', createdAt: expect.any(String) }
    expect(events).toEqual([
      { ...row, eventId: ids[2], consumerids: [] },
      { ...row, eventId: ids[1], consumerids: [] },
      { ...row, eventId: ids[0], consumerids: [consumer] },
    ])
    expect(await ask('POST', '/event-period-search/shown?period=9hour')).toEqual([
      400,
      'Bad Request - period: expected 6hour, 24hour, 2day, 7day, 14day, 1month',
    ])
    expect(await ask('POST', '/event-period-search/nowhere?period=7day')).toEqual([404, 'Not Found'])
    nowMs += 7 * 3_600_000
    expect(await ask('POST', '/event-period-search/shown?period=6hour')).toEqual([200, []])
    expect((await ask('POST', '/event-period-search/shown?period=24hour'))[1]).toHaveLength(3)
    nowMs -= 7 * 3_600_000
  })

  it('is measured by Prometheus, within the project of who asks', async () => {
    const [status, text] = await ask('GET', '/metrics')
    expect(status).toBe(200)
    expect(
      String(text)
        .split('\n')
        .filter(line => !line.startsWith('#')),
    ).toEqual([
      'streams_total 2',
      'producers_total 1',
      `events_total{producerId="${PRODUCER}",streamName="other\\"name"} 1`,
      `events_total{producerId="${PRODUCER}",streamName="shown"} 3`,
      'consumers_total{streamName="other\\"name"} 0',
      'consumers_total{streamName="shown"} 1',
      `consumer_offset_total{consumerId="${consumer}",eventName="Shown",streamName="shown"} 1`,
      '',
    ])
    expect(await ask('GET', '/metrics', '', { authorization: '' })).toEqual([401, 'Unauthorized'])
    await identity.put('stranger', 'secret', 'stranger@example.com', { elsewhere: 'admin' })
    const stranger = { authorization: `Basic ${Buffer.from('stranger:secret').toString('base64')}` }
    expect((await ask('GET', '/metrics', '', stranger))[1]).toContain('streams_total 0\n')
    expect(await ask('GET', '/consumers/shown', '', stranger)).toEqual([404, 'Not Found'])
    expect(await ask('GET', `/events/${ids[1]}/payload`, '', stranger)).toEqual([404, 'Not Found'])
  })

  it('looks at many streams a few at a time, and at no more of them when its client has gone', async () => {
    const project = freshProject()
    for (let i = 0; i < 120; i++)
      await streams.append({ project, record: await streams.create(project, `stream-${i}`) }, [{ payload: Buffer.from('x') }], {
        owner: 'o',
      })
    const seen = { now: 0, most: 0, calls: 0 }
    const counting = new Proxy(streams, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]): Promise<unknown> => {
          seen.calls++
          seen.most = Math.max(seen.most, ++seen.now)
          try {
            return await (value.apply(target, args) as Promise<unknown>)
          } finally {
            seen.now--
          }
        }
      },
    })
    const here = new AbortController()
    expect(await ownedIn(counting, project, here.signal)).toHaveLength(120)
    expect(seen.most).toBe(50)
    here.abort()
    seen.calls = 0
    await expect(ownedIn(counting, project, here.signal)).rejects.toThrow('the client has gone')
    expect(seen.calls).toBe(1)
  })

  it('shows a stream that is removed meanwhile no more, and of very many those with the most events', async () => {
    const project = freshProject()
    const kept = { project, record: await streams.create(project, 'kept') }
    const gone = { project, record: await streams.create(project, 'gone') }
    await streams.remove(project, 'gone')
    const there = new AbortController().signal
    expect(await each([gone, kept], there, stream => streams.stats(stream))).toHaveLength(1)
    const many = Array.from({ length: 1001 }, (_, last) => ({ stream: kept, owner: 'o', last }))
    expect(largest(many).map(({ last }) => last)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1))
  })

  it('reads on where messages are so large that few come at once', async () => {
    const large = { ...document('Wide', 1), payload: { text: 'x'.repeat(600 * 1000) } }
    for (let i = 0; i < 12; i++) await record('wide', large)
    const [, events] = await ask('GET', '/streams/wide/events?eventName=Wide&limit=12', '', { 'x-consumer-id': consumer })
    expect(events).toHaveLength(12)
    expect((await ask('POST', '/event-period-search/wide?period=6hour'))[1]).toHaveLength(12)
  })

  it('gives a consumer no more than fits into an answer', async () => {
    const large = { ...document('Large', 1), payload: { text: 'x'.repeat(1000 * 1000) } }
    for (let i = 0; i < 40; i++) await record('large', large)
    const [status, events] = await ask('GET', '/streams/large/events?eventName=Large&limit=1000', '', { 'x-consumer-id': consumer })
    expect(status).toBe(200)
    expect((events as unknown[]).length).toBeLessThan(40)
    expect((events as unknown[]).length).toBeGreaterThan(0)
  })

  it('is strict about content types where it is told to be', async () => {
    const strict = await open(true)
    const payload = JSON.stringify(document('Strict', 1))
    for (const type of ['application/json', 'text/plain', 'application/json; charset=latin1'])
      expect(await ask('POST', '/streams/strict/events', payload, { 'x-producer-id': PRODUCER, 'content-type': type }, strict)).toEqual([
        400,
        'Bad Request - content-type: expected application/json; charset=utf-8',
      ])
    const [status, id] = await ask('POST', '/streams/strict/events', payload, { 'x-producer-id': PRODUCER }, strict)
    expect(status).toBe(200)
    const json = { ...form, 'content-type': 'application/json' }
    expect(await ask('POST', `/streams/strict/events/${String(id)}`, 'action=ACK', json, strict)).toEqual([
      400,
      'Bad Request - content-type: expected application/x-www-form-urlencoded',
    ])
    expect(await ask('POST', `/streams/strict/events/${String(id)}`, 'action=ACK', form, strict)).toEqual([200, 'OK'])
    await strict.close()
  })
})
