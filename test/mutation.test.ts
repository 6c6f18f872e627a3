// The short run of `npm run fuzz`: what is mutated breaks nothing, hangs nothing and stays nowhere.
import { expect, test } from 'vitest'
import { fuzz, problems } from '../bench/fuzzing.ts'
import { LONG } from './long.ts'

const COUNTS = LONG ? { packets: 40_000, requests: 3000, payloads: 2000 } : { packets: 12_000, requests: 1000, payloads: 600 }
const SEED = process.env['TELLTALE_FUZZ_SEED'] ?? '20261122'

test('mutated packets, requests and payloads are refused or taken, and that is all', async () => {
  const all = await fuzz({ seed: SEED, ...COUNTS, say: () => undefined })
  expect(all.length).toBeGreaterThan(3)
  expect(all.flatMap(problems)).toEqual([])
}, 120_000)
