// The chain of the history of alarms as the command line checks it: what was taken away or changed is named.
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { chained, GENESIS, type Happening, type Head, type HistoryRecord } from '../../core/chain.ts'
import { type HistoryPage, type Report, verifyPages } from './audit.ts'

const digest = (text: string) => createHash('sha256').update(text).digest('hex')
const happening = (i: number): Happening => ({
  time: `2026-03-01T08:00:0${i}.000000Z`,
  kind: i % 2 === 0 ? 'active' : 'cleared',
  alarmId: 'a',
  rule: 'hot',
  ruleVersion: 1,
  device: 'boiler',
  episode: i,
  comment: 'é\u2028',
})
const CHAIN = chained(GENESIS, [0, 1, 2, 3, 4, 5].map(happening), digest)
const headOf = (records: readonly HistoryRecord[]): Head => {
  const { seq, hash } = records.at(-1) ?? GENESIS
  return { seq, hash }
}

async function* pages(records: readonly HistoryRecord[], base: Head, end: Head): AsyncGenerator<HistoryPage, undefined> {
  yield { records: records.slice(0, 2), base, head: end }
  yield { records: records.slice(2), base: headOf(records.slice(0, 2)), head: end }
}
const check = (
  records: readonly HistoryRecord[],
  { base = GENESIS, end = headOf(CHAIN), noted }: { base?: Head; end?: Head; noted?: { seq: number | undefined; hash: string } } = {},
): Promise<Report> => verifyPages(pages(records, base, end), noted)

test('a whole chain is counted, with its first and last record and its head', async () => {
  expect(await check(CHAIN)).toEqual({
    records: 6,
    base: GENESIS,
    broken: null,
    noted: null,
    head: headOf(CHAIN),
    first: { seq: 1, time: '2026-03-01T08:00:00.000000Z' },
    last: { seq: 6, time: '2026-03-01T08:00:05.000000Z' },
  })
})

test('a project without history is whole', async () => {
  expect(await check([], { end: GENESIS })).toMatchObject({ records: 0, first: null, broken: null })
})

describe('what is wrong is named', () => {
  const edited = CHAIN.map(record => (record.seq === 3 ? { ...record, comment: 'never said' } : record))
  test.each<[string, readonly HistoryRecord[], string]>([
    ['an edited record', edited, 'record 3 was changed'],
    ['a removed record', CHAIN.filter(({ seq }) => seq !== 4), 'record 4 is missing'],
    ['a removed first record', CHAIN.slice(1), 'record 1 is missing'],
    ['records cut off at the end', CHAIN.slice(0, 4), 'records 5 to 6 are missing at the end'],
    ['a record that stands twice', [...CHAIN.slice(0, 3), ...CHAIN.slice(2)], 'record 3 stands where record 4 belongs'],
  ])('%s', async (_what, records, reason) => {
    expect((await check(records)).broken?.reason).toContain(reason)
  })
})

test('what came while the pages were read is no mistake', async () => {
  expect(await check(CHAIN, { end: headOf(CHAIN.slice(0, 4)) })).toMatchObject({ records: 6, broken: null })
})

test('of a chain whose beginning is not kept any more the rest is checked', async () => {
  expect(await check(CHAIN.slice(3), { base: headOf(CHAIN.slice(0, 3)) })).toMatchObject({ records: 3, broken: null, base: { seq: 3 } })
})

describe('a head that was noted earlier', () => {
  const rewritten = chained(headOf(CHAIN.slice(0, 2)), [2, 4, 4, 5].map(happening), digest)
  const noted = headOf(CHAIN.slice(0, 4))
  const base = headOf(CHAIN.slice(0, 4))
  test.each<[string, readonly HistoryRecord[], Parameters<typeof check>[1], Report['noted']]>([
    ['is found', CHAIN, { noted }, 'found'],
    ['is found without its number', CHAIN, { noted: { seq: undefined, hash: noted.hash } }, 'found'],
    ['is missing when everything since was rewritten', [...CHAIN.slice(0, 2), ...rewritten], { noted, end: headOf(rewritten) }, 'missing'],
    ['is found when it is the last one that is not kept', CHAIN.slice(4), { base, noted }, 'found'],
    ['may be too old', CHAIN.slice(4), { base, noted: headOf(CHAIN.slice(0, 2)) }, 'too old'],
  ])('%s', async (_what, records, given, expected) => {
    const report = await check(records, given)
    expect([report.broken, report.noted]).toEqual([null, expected])
  })
})
