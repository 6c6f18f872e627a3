// Messages of one decoded stream into the log, a slice after the other: what is refused holds up what is behind it, and nobody else.
import { describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import type { Delivery } from '../../../packages/log/durable/dispatch.ts'
import type { Message } from '../../../packages/log/durable/message.ts'
import { DEFAULT_RETENTION } from '../../../packages/log/durable/stream.ts'
import type { AppendBatch } from '../../../packages/log/log.ts'
import type { Refused } from '../../../packages/state/quarantine.ts'
import { Accept } from '../accept.ts'
import type { Fit } from '../decode/event.ts'
import { decodeJson } from '../decode/json.ts'
import { UNLIMITED } from '../fixture.ts'
import type { IngestPorts } from '../ingest.ts'
import { Intake, Turns } from './intake.ts'

const ref = {
  project: 'p',
  record: { name: 's', uid: '000000000001', createTime: '', retention: DEFAULT_RETENTION, decoder: 'ndjson' },
} as const

const delivery = (seq: number, payload: string): Delivery => {
  const none = { eventTimeUs: undefined, name: undefined, number: undefined, producer: undefined }
  const message: Message = { ...none, seq, publishMs: 1, payload: Buffer.from(payload), key: 'd', properties: {}, bytesTo: 0 }
  return { message, redeliveries: 0 }
}
const lines = (from: number, count: number) => Array.from({ length: count }, (_, i) => `{"temperature":{"value":${from + i}}}`).join('\n')

/** A log that refuses some of what it is given, by its number. */
function intakeOf(refuses: (append: number) => boolean = () => false, change: Partial<IngestPorts> = {}) {
  const seen = { values: [] as number[], sizes: [] as number[], most: 0, refused: [] as Refused[] }
  const acked: number[] = []
  let [appends, underWay] = [0, 0]
  const append = async (_: string, batch: AppendBatch) => {
    const isRefused = refuses(++appends)
    seen.most = Math.max(seen.most, ++underWay)
    // As far away as a log.
    await new Promise(resolve => setImmediate(resolve))
    underWay--
    if (isRefused) throw new Failure('unavailable', 'full', { retryAfterMs: 1 })
    seen.sizes.push(batch.frames.length)
    const frames = batch.frames.map(frame => JSON.parse(frame) as { data: { temperature: { value: number } } })
    seen.values.push(...frames.map(({ data }) => data.temperature.value))
    return { entryId: '1-1', duplicates: 0, wake: [] }
  }
  const accept = new Accept({ append, register: async () => {}, wake: () => {}, counted: () => {}, failed: () => {} })
  const quarantine = async (_: string, refused: readonly Refused[]) => void seen.refused.push(...refused)
  const intake = new Intake({ accept, ...UNLIMITED, quarantine, rejected: () => {}, ...change }, ref, new Turns())
  intake.begin({ ack: seqs => void acked.push(...seqs), pause: () => {}, resume: () => {} })
  const done = (count: number) => expect.poll(() => acked.length, { timeout: 10_000, interval: 1 }).toBe(count)
  return { intake, seen, acked, done }
}

describe('messages on their way to the log', () => {
  it('keep their order when an append fails and those behind it would not', async () => {
    const { intake, seen, acked, done } = intakeOf(append => append === 1)
    intake.receive(Array.from({ length: 20 }, (_, i) => delivery(i + 1, lines(i * 100, 100))))
    await done(20)
    expect(seen.values).toEqual(Array.from({ length: 2000 }, (_, i) => i))
    expect(acked).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
  })

  it('go one batch after the other, also those of one message, and each is tried again until it is in', async () => {
    const { intake, seen, done } = intakeOf(append => append % 2 === 1)
    intake.receive([delivery(1, lines(0, 1700)), delivery(2, lines(1700, 10))])
    await done(2)
    expect(seen).toMatchObject({ values: Array.from({ length: 1710 }, (_, i) => i), most: 1, sizes: [500, 500, 500, 210] })
  })

  it('keep their order when something must be asked of one of them', async () => {
    let asked = 0
    const admits: IngestPorts['budget']['admits'] = () => asked++ !== 0
    const ask = async () => {
      await new Promise(resolve => setImmediate(resolve))
      return []
    }
    const { intake, seen, acked, done } = intakeOf(undefined, { budget: { admits, ask } })
    intake.receive(Array.from({ length: 20 }, (_, i) => delivery(i + 1, lines(i, 1))))
    await done(20)
    expect(seen.values).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(acked).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
  })

  it('wait while it cannot be asked', async () => {
    let isAway = true
    const ask = async () => {
      if (!isAway) return []
      isAway = false
      throw new Failure('unavailable', 'away', { retryAfterMs: 1 })
    }
    const { intake, seen, done } = intakeOf(undefined, { budget: { admits: () => false, ask } })
    intake.receive([delivery(1, lines(1, 2))])
    await done(1)
    expect(seen).toMatchObject({ values: [1, 2], refused: [] })
  })

  it('say how what is refused of them is decoded again', async () => {
    const { intake, seen, done } = intakeOf()
    const { message, redeliveries } = delivery(1, '{"temperature":{"value":"warm"}}\n{"temperature":{"value":1}}')
    intake.receive([{ message: { ...message, eventTimeUs: 1_741_000_000_000_000, properties: { device: 'e' } }, redeliveries }])
    await done(1)
    expect(seen.values).toEqual([1])
    expect(seen.refused).toMatchObject([
      {
        payload: Buffer.from('{"temperature":{"value":"warm"}}'),
        decoder: { name: 'ndjson', format: 'ndjson', version: 1 },
        again: {
          builtIn: 'ndjson',
          place: { device: 'e', elseDevice: 'd' },
          arrivedUs: 1000,
          sentUs: 1_741_000_000_000_000,
          isElement: true,
        },
      },
    ])
  })

  it('leave the process to others in between', async () => {
    const { intake, acked, done } = intakeOf()
    let [turns, sizeOfTurn, most] = [0, 0, 0]
    const look = () => {
      most = Math.max(most, acked.length - sizeOfTurn)
      sizeOfTurn = acked.length
      turns++
      if (acked.length < 40) setImmediate(look)
    }
    setImmediate(look)
    // Of 256 KB each.
    intake.receive(Array.from({ length: 40 }, (_, i) => delivery(i + 1, `${lines(i, 1)}${' '.repeat(256 * 1024)}`)))
    await done(40)
    expect(turns).toBeGreaterThan(40)
    expect(most).toBe(1)
  })

  it('are set aside as they came when nothing in them can be read', async () => {
    const { intake, seen, done } = intakeOf()
    const broken = delivery(1, '')
    intake.receive([{ ...broken, message: { ...broken.message, payload: Buffer.from([0xff, 0xfe]) } }, delivery(2, lines(5, 1))])
    await done(2)
    expect(seen).toMatchObject({ values: [5], refused: [{ reason: 'payload: not UTF-8 text', payload: Buffer.from([0xff, 0xfe]) }] })
  })
})

describe('the event time of a message', () => {
  const arrivedUs = 1_800_000_000_000_000
  it.each([
    ['is that of what gives none', 1_741_000_000_000_000, '2025-03-03T11:06:40.000000Z', undefined],
    ['gives way to the time of its publishing where it cannot be right', arrivedUs * 2, '2027-01-15T08:00:00.000000Z', 'ahead'],
  ])('%s', (_, sentUs, timestamp, state) => {
    const [decoded] = decodeJson(
      Buffer.from('1'),
      { project: 'p', device: 'd', eventType: 'temperature' },
      { nowUs: () => arrivedUs, newId: () => 'id', sentUs },
    )
    const { event } = decoded as Fit
    expect(JSON.parse(event.frame)).toMatchObject({ timestamp, data: { temperature: state ? { deviceClock: { state } } : { value: 1 } } })
    expect([event.key, event.arrivedUs]).toEqual([undefined, arrivedUs])
  })
})

describe('streams that share a process', () => {
  it('decode one in each turn of the event loop', async () => {
    const turns = new Turns()
    let turn = 0
    const count = () => {
      turn++
      if (turn < 20) setImmediate(count)
    }
    setImmediate(count)
    const at = await Promise.all(Array.from({ length: 5 }, async () => turns.next().then(() => turn)))
    expect(new Set(at).size).toBe(5)
  })
})
