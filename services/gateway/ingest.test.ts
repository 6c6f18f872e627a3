// Between a door and accept: what is good goes to the log, what is bad is set aside, and the sender hears of all of it once.
import { describe, expect, it } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import type { Refused } from '../../packages/state/quarantine.ts'
import { Accept } from './accept.ts'
import type { Decoded, Unfit } from './decode/event.ts'
import { NO_MEMORY } from './decode/fixture.ts'
import type { Output } from './decode/format.ts'
import { influx } from './decode/influx.ts'
import { decodeJson, decodeLines } from './decode/json.ts'
import { UNLIMITED } from './fixture.ts'
import { type IngestPorts, ingest, type Outcome, type Source } from './ingest.ts'

const good = (device: string, key?: string): Decoded => ({
  event: { project: 'p', device, eventType: 't', timeUs: 1, frame: '{}', sent: {}, key, sentUs: undefined, arrivedUs: 0, shape: 't' },
})
const bad = (field: string): Decoded => ({ failure: new Failure('invalid', `${field}: no`, { field }), element: `"${field}"` })
const from = { project: 'p', source: 'POST /x', keyId: 'k', deliveryKey: (index: number) => `delivery ${index}`, mayRepeat: () => false }

const place = { project: 'p' }
const clock = { nowUs: () => 1_800_000_000_000_000, newId: () => 'id' }

function influxLines(text: string): Decoded[] {
  return [...(influx.decode({ bytes: Buffer.from(text), topic: [], place, options: {}, memory: NO_MEMORY }, clock) as Output).decoded]
}

function run(
  decoded: readonly Decoded[],
  change: { append?: Error; quarantine?: Error; from?: Partial<Source>; ports?: Partial<IngestPorts> } = {},
) {
  const seen = { keys: [] as string[], modes: '', refused: [] as Refused[], rejected: 0, settled: 0 }
  const accept = new Accept({
    append: async (_, batch) => {
      if (change.append) throw change.append
      seen.keys.push(...batch.keys)
      seen.modes += batch.modes
      return { entryId: '1-1', duplicates: 0, wake: [] }
    },
    register: async () => {},
    wake: () => {},
    counted: () => {},
    failed: () => {},
  })
  const ports: IngestPorts = {
    accept,
    ...UNLIMITED,
    ...change.ports,
    quarantine: async (_, refused) => {
      if (change.quarantine) throw change.quarantine
      seen.refused.push(...refused)
    },
    rejected: count => {
      seen.rejected += count
    },
  }
  return new Promise<typeof seen & { failure: Failure | undefined; outcomes: readonly Outcome[] }>(resolve => {
    ingest(ports, decoded, { ...from, ...change.from }, (failure, outcomes) => {
      seen.settled++
      resolve({ ...seen, failure, outcomes })
    })
  })
}

describe('a delivery', () => {
  it('of good and bad elements is settled once, with an outcome for each', async () => {
    const { settled, failure, outcomes, keys, refused, rejected } = await run([good('a', 'own'), bad('x'), good('b'), bad('y')])
    expect([settled, failure, rejected]).toEqual([1, undefined, 2])
    expect(outcomes.map(outcome => outcome?.field)).toEqual([undefined, 'x', undefined, 'y'])
    expect(keys).toEqual(['own', 'delivery 2'])
    expect(refused.map(({ field, payload }) => `${field} ${payload.toString()}`)).toEqual(['x "x"', 'y "y"'])
  })

  it.each([
    ['good', [good('a'), good('b')], 0],
    ['bad', [bad('x'), bad('y')], 2],
    ['one good', [good('a')], 0],
    ['one bad', [bad('x')], 1],
  ])('of nothing but %s elements is settled once', async (_, decoded, refusals) => {
    const { settled, refused, outcomes } = await run(decoded)
    expect([settled, refused.length, outcomes.length]).toEqual([1, refusals, decoded.length])
  })

  it('is sent again as a whole when the log or the quarantine is away', async () => {
    const away = new Failure('unavailable', 'away')
    for (const change of [{ append: away }, { quarantine: away }, { append: away, quarantine: away }])
      expect((await run([good('a'), bad('x')], change)).failure).toBe(away)
  })

  it('suspects only what has an identity of its own', async () => {
    expect((await run([good('a', 'own'), good('b')])).modes).toBe('ca')
  })

  it('keeps of each element that is refused its own key, and of a whole payload that of the delivery', async () => {
    const from = { again: { place: {} }, deliveryKey: (index: number) => `delivery.${index}`, isTold: true, mayRepeat: () => true }
    const { refused } = await run([good('a'), bad('x'), bad('y')], { from })
    expect(refused.map(({ again }) => again)).toEqual(
      [1, 2].map(index => ({ place: {}, delivery: `delivery.${index}`, isElement: true, isTold: true, mayRepeat: true })),
    )
    const [whole] = (await run([good('a'), bad('x')], { from: { ...from, payload: Buffer.from('x') } })).refused
    expect(whole?.again).toEqual({ place: {}, delivery: 'delivery', mayRepeat: true, isTold: true })
    const other = { ...from, isTold: false, payload: Buffer.from('x') }
    expect((await run([bad('x')], { from: other })).refused[0]?.again).toEqual({ place: {}, delivery: 'delivery', mayRepeat: true })
  })

  it('asks for the keys of a delivery in their order', async () => {
    const asked: number[] = []
    const deliveryKey = (index: number) => `${asked.push(index)}`
    await run([good('a'), bad('x'), good('b'), bad('y')], { from: { again: { place: {} }, deliveryKey } })
    expect(asked).toEqual([0, 1, 2, 3])
  })

  it('that holds one thing which its sender may not send is kept as that', async () => {
    const forbidden: Decoded = { failure: new Failure('forbidden', 'device: no', { field: 'device' }), element: '' }
    const { refused } = await run([bad('x'), forbidden], { from: { again: { place: {} }, payload: Buffer.from('x') } })
    expect(refused.map(({ code, field }) => [code, field])).toEqual([['forbidden', 'x']])
  })

  it('of which a line was cut is not decoded again', async () => {
    const { refused } = await run([good('a'), { ...(bad('x') as Unfit), isCut: true }, bad('y')], { from: { again: { place: {} } } })
    expect(refused.map(({ again }) => again !== undefined)).toEqual([false, true])
  })

  it.each<[string, string | Buffer, ReturnType<typeof decodeJson>]>([
    [
      'an element of an array',
      '{"device":"a","data":{"t":{"t":1}}}',
      decodeJson(Buffer.from('[{"device":"a","data":{"t":{"t":1}}}]'), place, clock),
    ],
    ['a line of JSON', '{"t": {"t": 1}} ', decodeLines(Buffer.from('{"t": {"t": 1}} '), { ...place, device: 'a' }, clock)],
    ['a line of Influx', 't,device=a t=1 5', influxLines('t,device=a t=1 5\n')],
  ])('keeps %s as it was sent when there is no room for it', async (_, sent, decoded) => {
    const ask: IngestPorts['budget']['ask'] = async events =>
      events.map(() => new Failure('quota_exceeded', 'device a: no', { field: 'device' }))
    const { refused } = await run([...decoded, bad('x')], { ports: { budget: { admits: () => false, ask } } })
    expect(refused[0]).toMatchObject({ device: 'a', payload: Buffer.from(sent) })
  })
})
