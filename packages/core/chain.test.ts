// A chain of records by tables: whatever is done to it shows.
import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { canonicalJson, chained, GENESIS, type Happening, type HistoryRecord, verify } from './chain.ts'

const digest = (text: string) => createHash('sha256').update(text).digest('hex')
const happening = (n: number): Happening => ({
  time: `2026-11-21T12:00:0${n}.000000Z`,
  kind: n % 2 === 0 ? 'active' : 'cleared',
  alarmId: 'a',
  rule: 'hot',
  ruleVersion: 1,
  device: 'd',
  episode: n,
  value: -0.5,
  reason: 'é "quoted"',
})
const records = chained(GENESIS, [0, 1, 2, 3, 4].map(happening), digest)
const at = (n: number) => records[n] as HistoryRecord
const headAt = (n: number) => ({ seq: at(n).seq, hash: at(n).hash })

describe('a chain', () => {
  it('is the sha256 of the hash before, a line break and the record', () => {
    const { hash, ...record } = at(0)
    expect(hash).toBe(digest(`${'0'.repeat(64)}\n${canonicalJson(record)}`))
    expect(canonicalJson(record)).toBe(
      '{"alarmId":"a","device":"d","episode":0,"kind":"active","reason":"é \\"quoted\\"","rule":"hot","ruleVersion":1,"seq":1,' +
        '"time":"2026-11-21T12:00:00.000000Z","value":-0.5}',
    )
  })

  it('that is whole verifies, in one piece or in parts, with or without its end', () => {
    expect(verify(records, GENESIS, digest, headAt(4))).toEqual({ verified: 5, head: headAt(4), broken: undefined })
    expect(verify(records.slice(2), headAt(1), digest)).toEqual({ verified: 3, head: headAt(4), broken: undefined })
    expect(verify([], GENESIS, digest, GENESIS)).toEqual({ verified: 0, head: GENESIS, broken: undefined })
  })

  it('goes through JSON unharmed, whatever the order of the keys', () => {
    const turned = records.map(record => JSON.parse(JSON.stringify(Object.fromEntries(Object.entries(record).reverse()))))
    expect(verify(turned, GENESIS, digest).broken).toBeUndefined()
  })

  const edited = (n: number, change: Partial<HistoryRecord>) => records.map((record, i) => (i === n ? { ...record, ...change } : record))
  const resealed = () => {
    const [again] = chained(headAt(1), [{ ...happening(2), value: 99 }], digest)
    return records.map((record, i) => (i === 2 ? (again as HistoryRecord) : record))
  }
  it.each<[string, readonly HistoryRecord[], number, RegExp]>([
    ['one removed', records.filter((_, i) => i !== 2), 3, /record 3 is missing/],
    ['several removed', records.filter((_, i) => i !== 1 && i !== 2), 2, /records 2 to 3 are missing/],
    ['cut off at the start', records.slice(2), 1, /records 1 to 2 are missing/],
    ['cut off at the end', records.slice(0, 3), 4, /records 4 to 5 are missing at the end/],
    ['all removed', [], 1, /records 1 to 5 are missing at the end/],
    ['one edited', edited(3, { value: 7 }), 4, /record 4 was changed/],
    ['a field added', edited(0, { comment: 'x' }), 1, /record 1 was changed/],
    ['a hash edited', edited(4, { hash: 'f'.repeat(64) }), 5, /record 5 was changed/],
    ['one edited with its hash', resealed(), 4, /record 4 was changed, or does not follow/],
    ['two exchanged', [at(0), at(2), at(1), at(3), at(4)], 2, /record 2 is missing/],
    ['two exchanged and renumbered', [at(0), { ...at(2), seq: 2 }, { ...at(1), seq: 3 }, at(3), at(4)], 2, /record 2 was changed/],
    ['one twice', [at(0), at(1), at(1), at(2), at(3), at(4)], 3, /record 2 stands where record 3 belongs/],
  ])('shows %s', (_, found, seq, reason) => {
    expect(verify(found, GENESIS, digest, headAt(4)).broken).toEqual({ seq, reason: expect.stringMatching(reason) })
  })
})
