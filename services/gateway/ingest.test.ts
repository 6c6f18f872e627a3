// Between a door and accept: what is good goes to the log, what is bad is set aside, and the sender hears of all of it once.
import { describe, expect, it } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import type { Refused } from '../../packages/state/quarantine.ts'
import { Accept } from './accept.ts'
import type { Decoded } from './decode/event.ts'
import { UNLIMITED } from './fixture.ts'
import { type IngestPorts, ingest, type Outcome } from './ingest.ts'

const good = (device: string, key?: string): Decoded => ({
  event: { project: 'p', device, eventType: 't', timeUs: 1, frame: '{}', sent: {}, key, sentUs: undefined, arrivedUs: 0, shape: 't' },
})
const bad = (field: string): Decoded => ({ failure: new Failure('invalid', `${field}: no`, { field }), element: `"${field}"` })
const from = { project: 'p', source: 'POST /x', keyId: 'k', deliveryKey: (index: number) => `delivery ${index}`, mayRepeat: () => false }

function run(decoded: readonly Decoded[], change: { append?: Error; quarantine?: Error } = {}) {
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
    quarantine: async (_, refused) => {
      if (change.quarantine) throw change.quarantine
      seen.refused.push(...refused)
    },
    rejected: count => {
      seen.rejected += count
    },
  }
  return new Promise<typeof seen & { failure: Failure | undefined; outcomes: readonly Outcome[] }>(resolve => {
    ingest(ports, decoded, from, (failure, outcomes) => {
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
})
