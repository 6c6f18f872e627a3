// An acknowledgement means on disk, and stored means once, whoever is killed (P1, P2, P4). `npm run chaos` does the same for longer.
import { expect, test } from 'vitest'
import { crash, VICTIMS } from '../bench/crash.ts'

const NOTHING = { missing: 0, doubled: 0, wrong: 0 }
const LIMIT_MS = 60_000

test('what was acknowledged is stored once and streamed once, whoever is killed under load', { timeout: LIMIT_MS }, async () => {
  const seed = String(Date.now())
  const options = { victims: VICTIMS, seconds: 9, rate: 2000, publishers: 4, seed } as const
  const report = await crash({ ...options, say: text => console.log(text) })
  expect(report.acked).toBeGreaterThan(1000)
  expect(report.resent, 'publishes that a kill interrupted').toBeGreaterThan(0)
  expect(report, `seed ${seed}`).toMatchObject({ stored: NOTHING, streamed: { ...NOTHING, gaps: 0 } })
})
