// What was stored of a device, page by page, on both stores: nothing missing or doubled, whatever the ties.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { DeviceEvent } from '../packages/core/event.ts'
import { hasInfluxd, type Influxd, startInfluxd } from '../packages/store/influxd.ts'
import { eventually, removeDirectories, startTelltale, type Telltale } from './world.ts'

const T0 = Date.UTC(2026, 2, 2, 6)
const DEVICES = '/v2/projects/default/devices'

type Page = {
  readonly events: readonly DeviceEvent[]
  readonly readings: readonly { readonly timestamp: string; readonly eventId: string; readonly value: number }[]
  readonly nextPageToken: string
}

const at = (ms: number) => new Date(T0 + ms).toISOString()

function eventOf(device: string, eventType: string, eventId: string, ms: number, value: number) {
  const targetName = `projects/default/devices/${device}`
  return { eventId, targetName, eventType, data: { [eventType]: { value } }, timestamp: at(ms) }
}

/** Of three types, many of one time, some also of one id. */
const MIXED = Array.from({ length: 60 }, (_, i) =>
  eventOf('mixed', ['temperature', 'level', 'turns'][i % 3] as string, `e-${Math.floor(i / 6)}-${i % 2}`, 1000 * Math.floor(i / 30), i),
)

const byNewest = (a: DeviceEvent, b: DeviceEvent) => {
  const [one, other] = [a, b].map(({ timestamp, eventId, eventType }) => [timestamp.slice(0, 23), eventId, eventType].join(' '))
  return (one as string) < (other as string) ? 1 : -1
}
const nameOf = ({ eventId, eventType, timestamp }: DeviceEvent) => `${timestamp.slice(0, 23)} ${eventId} ${eventType}`

afterAll(removeDirectories)

describe.each(['DuckDB', 'InfluxDB'])('history on %s', kind => {
  const skipped = kind === 'InfluxDB' && !hasInfluxd()
  let influxd: Influxd | undefined
  let telltale: Telltale

  beforeAll(async () => {
    if (skipped) return
    if (kind === 'InfluxDB') influxd = await startInfluxd()
    telltale = await startTelltale({ env: influxd ? { TELLTALE_INFLUX_URL: influxd.url, TELLTALE_INFLUX_DATABASE: 'history' } : {} })
    await publish(MIXED)
    const ties = Array.from({ length: 40 }, (_, i) => eventOf('ties', 'temperature', `t-${String((i * 7) % 40).padStart(2, '0')}`, 0, i))
    await publish([...ties, eventOf('ties', 'temperature', 'before', -5, -5), eventOf('ties', 'temperature', 'behind', 5, 5)])
    await eventually(async () => expect((await get('ties/events', `startTime=${at(-9)}`)).events).toHaveLength(42), 10_000)
  }, 60_000)
  afterAll(async () => {
    await telltale?.remove()
    await influxd?.stop()
  })

  async function publish(events: readonly object[]): Promise<void> {
    const { status, text } = await telltale.send('POST', '/v2/projects/default/events', events)
    if (status !== 200) throw new Error(text)
  }

  async function get(path: string, query = '', project = 'default'): Promise<Page> {
    const { status, text, json } = await telltale.http(`/v2/projects/${project}/devices/${path}?${query}`)
    if (status !== 200) throw new Error(text)
    return json as unknown as Page
  }

  async function all(path: string, query: string, between: () => Promise<void> = async () => {}): Promise<Page[]> {
    const pages: Page[] = []
    for (let token = ''; ; ) {
      const page = await get(path, `${query}${token && `&page_token=${encodeURIComponent(token)}`}`)
      pages.push(page)
      token = page.nextPageToken
      if (token === '') return pages
      await between()
    }
  }

  const range = `startTime=${at(-60_000)}&endTime=${at(60_000)}`

  test.skipIf(skipped).each([1, 7, 20, 60, 1000])(
    'pages of %i hold each event once, the newest first, also among those of one time',
    async size => {
      const pages = await all('mixed/events', `${range}&pageSize=${size}`)
      expect(pages).toHaveLength(Math.ceil(60 / size))
      expect(pages.flatMap(({ events }) => events).map(nameOf)).toEqual([...MIXED].sort(byNewest).map(nameOf))
    },
  )

  test.skipIf(skipped)('pages stay as they are while newer events arrive', async () => {
    let n = 0
    const newer = () => publish([eventOf('mixed', 'temperature', `newer-${kind}-${n++}`, 30_000 + n, 0)])
    const pages = await all('mixed/events', `start_time=${at(-60_000)}&end_time=${at(20_000)}&page_size=7`, newer)
    expect(pages.flatMap(({ events }) => events).map(nameOf)).toEqual([...MIXED].sort(byNewest).map(nameOf))
  })

  test.skipIf(skipped)('event types pick, in either spelling, mixed and repeated', async () => {
    const pages = await all('mixed/events', `${range}&eventTypes=level&event_types=turns&pageSize=9`)
    const expected = MIXED.filter(({ eventType }) => eventType !== 'temperature')
    expect(pages.flatMap(({ events }) => events).map(nameOf)).toEqual(expected.sort(byNewest).map(nameOf))
  })

  test.skipIf(skipped).each([
    ['Z', (ms: number) => at(ms)],
    ['+02:00', (ms: number) => new Date(T0 + ms + 7_200_000).toISOString().replace('Z', '%2B02:00')],
    ['+02:00 with a plus that nobody escaped', (ms: number) => new Date(T0 + ms + 7_200_000).toISOString().replace('Z', '+02:00')],
    ['-03:30', (ms: number) => new Date(T0 + ms - 12_600_000).toISOString().replace('Z', '-03:30')],
  ])('a range is of any offset: %s', async (_, format) => {
    const { events } = await get('mixed/events', `startTime=${format(500)}&endTime=${format(1001)}`)
    expect(events).toHaveLength(30)
  })

  test.skipIf(skipped).each([1, 4, 41, 42])(
    'pages of %i hold each reading once, the oldest first, also among those of one time',
    async size => {
      const pages = await all('ties/readings', `${range}&eventType=temperature&pageSize=${size}`)
      const found = pages.flatMap(({ readings }) => readings)
      expect(found.map(({ eventId }) => eventId)).toEqual([
        'before',
        ...Array.from({ length: 40 }, (_, i) => `t-${String(i).padStart(2, '0')}`),
        'behind',
      ])
    },
  )

  test.skipIf(skipped)('the last 24 hours are answered unless another range is asked for', async () => {
    const now = new Date().toISOString()
    const old = { ...eventOf('recent', 'temperature', 'old', 0, 1), timestamp: new Date(Date.now() - 90_000_000).toISOString() }
    await publish([{ ...eventOf('recent', 'temperature', 'new', 0, 2), timestamp: now }, old])
    await eventually(async () => expect((await get('recent/events')).events.map(({ eventId }) => eventId)).toEqual(['new']), 10_000)
    expect((await get('recent/events', `startTime=${at(0)}`)).events).toHaveLength(2)
  })

  test.skipIf(skipped)('changes of labels are events', async () => {
    expect((await telltale.send('PUT', `${DEVICES}/labelled`, { type: 'temperature', labels: {} })).status).toBe(200)
    const change = { devices: ['projects/default/devices/labelled'], addLabels: { zone: 'north' } }
    expect((await telltale.send('POST', `${DEVICES}:batchUpdate`, change)).status).toBe(200)
    await eventually(
      async () => expect((await get('labelled/events', 'eventTypes=labelsChanged')).events).toMatchObject([{ eventType: 'labelsChanged' }]),
      10_000,
    )
  })

  test.skipIf(skipped)('the project - finds the device where it is; an unknown one is 404', async () => {
    expect((await get('mixed/events', `${range}&pageSize=5`, '-')).events).toHaveLength(5)
    for (const path of ['/v2/projects/-/devices/nobody/events', `${DEVICES}/nobody/events`, `${DEVICES}/nobody/readings?eventType=a`])
      expect((await telltale.http(path)).status, path).toBe(404)
  })

  test.skipIf(skipped).each([
    ['pageToken=x', 'pageToken'],
    [`pageToken=${Buffer.from('1 2 3').toString('base64url')}`, 'pageToken'],
    ['pageSize=0', 'pageSize'],
    ['page_size=1&pageSize=2', 'pageSize'],
    ['startTime=yesterday', 'startTime'],
    [`start_time=${at(5)}&end_time=${at(0)}`, 'startTime'],
    ['eventTypes=a%20b', 'eventTypes'],
    ['device=x', 'device'],
  ])('%s is refused with its name', async (query, field) => {
    const { status, json } = await telltale.http(`${DEVICES}/mixed/events?${query}`)
    expect([status, json['error']]).toEqual([400, expect.stringMatching(new RegExp(`^${field}: `))])
  })

  test.skipIf(skipped || kind !== 'InfluxDB')('while InfluxDB is away, history says so and is to be asked again', async () => {
    await influxd?.kill()
    for (const path of [`${DEVICES}/mixed/events`, `${DEVICES}/mixed/readings?eventType=temperature`]) {
      const { status, text } = await telltale.http(path)
      expect([status, text]).toEqual([503, expect.stringMatching(/InfluxDB at 127\.0\.0\.1/)])
    }
    await influxd?.restart()
    await eventually(async () => expect((await get('mixed/events', range)).events).not.toHaveLength(0), 10_000)
  })
})
