// Going on where one was, however long ago (P4): first from the reading store, then from the log, then live.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resume, told } from '../bench/resume.ts'
import { hasInfluxd, startInfluxd } from '../packages/store/influxd.ts'
import { LONG } from './long.ts'
import type { Reader } from './reader.ts'
import { eventually, removeDirectories, startTelltale, type Telltale, temperatureOf, until } from './world.ts'

const EVENTS = '/v2/projects/default/events'
const LOAD = LONG ? { disconnects: 200, readers: 12, rate: 1500, kills: 2 } : { disconnects: 100, readers: 9, rate: 800, kills: 1 }
const INFLUX_LOAD = { disconnects: LONG ? 100 : 50, readers: LONG ? 9 : 6, rate: LONG ? 1000 : 600, kills: 1 }
const FILLER = 'x'.repeat(20_000)

const series = (device: string, first: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    targetName: `projects/default/devices/${device}`,
    eventType: 'temperature',
    data: { temperature: { value: first + i, filler: FILLER } },
  }))

async function publish(telltale: Telltale, device: string, count: number): Promise<void> {
  for (let first = 0; first < count; first += 10) {
    const { status, text } = await telltale.send('POST', EVENTS, series(device, first, 10))
    if (status !== 200) throw new Error(text)
  }
}

const values = (reader: Reader) => reader.events().map(temperatureOf)
const upTo = (first: number, end: number) => Array.from({ length: end - first }, (_, i) => first + i)

/** What the stream says to a reader's first frames. */
async function firstFrame(telltale: Telltale, parameters: string) {
  const reader = await telltale.stream(parameters)
  await until('something comes', () => reader.frames().length > 0)
  reader.close()
  return reader.frames()[0]?.result?.event
}

describe('a log that keeps next to nothing', () => {
  const readers: Reader[] = []
  let telltale: Telltale
  let cursors: string[]
  let started: string

  const follow = async (...asked: Parameters<Telltale['stream']>) => {
    const reader = await telltale.stream(...asked)
    readers.push(reader)
    return reader
  }

  beforeAll(async () => {
    telltale = await startTelltale({ env: { TELLTALE_LOG_MAX_SIZE: '1mb' } })
    started = new Date().toISOString()
    const first = await follow('')
    await publish(telltale, 'gone', 200)
    await first.have(200)
    cursors = first.frames().map(({ result }) => String(result?.cursor))
    const logBytes = async () => Number(/^telltale_log_bytes (\S+)/m.exec((await telltale.http('/metrics')).text)?.[1])
    await until('the log was filled and trimmed', async () => ((b: number) => b > 0 && b < 1_100_000)(await logBytes()), 25_000)
  }, 60_000)
  afterAll(async () => {
    for (const reader of readers) reader.close()
    await telltale.remove()
    await removeDirectories()
  })

  test.each([0, 4, 9, 57, 150, 199])('goes on behind event %i by cursor, header or parameter, in either format', async n => {
    const cursor = cursors[n] as string
    for (const sse of [false, true])
      for (const [parameters, headers] of [
        [`cursor=${cursor}`, {}],
        [`lastEventId=${cursor}`, {}],
        ['', { 'last-event-id': cursor }],
      ] as const) {
        const reader = await follow(parameters, { sse, headers })
        await until('the last one comes', () => reader.events().length >= 199 - n)
        expect(values(reader)).toEqual(upTo(n + 1, 200))
        expect(reader.frames().filter(({ result }) => result?.event?.eventType === 'gap')).toEqual([])
        reader.close()
      }
  })

  test('goes on from a time that the log no longer knows', async () => {
    const reader = await follow(`since=${started}`)
    await reader.have(200)
    expect(values(reader)).toEqual(upTo(0, 200))
    const early = await follow('since=1999-01-01T00:00:00Z&device_ids=gone')
    await early.have(200)
    expect(values(early)).toEqual(upTo(0, 200))
  })

  test('gives the same cursors from the store as from the log', async () => {
    const reader = await follow(`cursor=${cursors[0]}`)
    await reader.have(199)
    expect(reader.frames().map(({ result }) => result?.cursor)).toEqual(cursors.slice(1))
  })

  test('says what is gone from the store too, exactly, and goes on after it', async () => {
    const [first, half] = [cursors[0] as string, cursors[4] as string]
    await telltale.stop()
    await telltale.restart({ TELLTALE_RETENTION: '1s' })
    const gap = await eventually(async () => {
      const event = await firstFrame(telltale, `cursor=${half}`)
      expect(event?.eventType).toBe('gap')
      return event
    }, 20_000)
    const { from, to } = (gap?.data['gap'] ?? {}) as { from?: string; to?: string }
    expect(gap?.targetName).toBe('projects/default')
    expect(from).toBe(half)
    const after = await follow(`cursor=${to}`)
    await until('the newest event comes', () => values(after).includes(199))
    const left = values(after)
    expect(left.length).toBeLessThan(200)
    expect(left).toEqual(upTo(200 - left.length, 200))
    // Cursor and index of the last that is gone.
    expect(to?.split('.')[0]).toBe((cursors[199 - left.length] as string).split('.')[0])
    const same = await firstFrame(telltale, `cursor=${first}`)
    expect(same?.data).toMatchObject({ gap: { from: first, to } })
    expect((await firstFrame(telltale, `since=${started}`))?.data).toMatchObject({ gap: { to } })
  })
})

test('readers that are cut off at random under load, and a server that is killed, lose and double nothing', {
  timeout: 90_000,
}, async () => {
  const seed = String(Date.now())
  const options = { ...LOAD, publishers: 6, killEveryMs: 3500, retention: '4s', seed }
  const report = await resume({ ...options, say: text => console.log(text) })
  expect(report.acked).toBeGreaterThan(1000)
  expect(told(report), JSON.stringify({ seed, report })).toBe(true)
})

test.skipIf(!hasInfluxd())('so do they on InfluxDB', { timeout: 90_000 }, async () => {
  const influxd = await startInfluxd()
  try {
    const seed = String(Date.now())
    const options = { ...INFLUX_LOAD, publishers: 6, killEveryMs: 3500, retention: '4s', seed }
    const report = await resume({ ...options, influxUrl: influxd.url, say: text => console.log(text) })
    expect(report.acked).toBeGreaterThan(500)
    expect(told(report), JSON.stringify({ seed, report })).toBe(true)
  } finally {
    await influxd.stop()
  }
})
