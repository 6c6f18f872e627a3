// What is remembered of many senders is bounded, by the two formats that do so.
import { expect, it } from 'vitest'
import { memoryOf, payloadOf } from './fixture.ts'
import { recent, setRecent } from './recent.ts'
import { shelly } from './shelly.ts'

const clock = { nowUs: () => 1_800_000_000_000_000, newId: () => 'id' }

it('who came first is forgotten first, and who comes again stands once', () => {
  const memory = memoryOf()
  for (let i = 0; i < 2001; i++) setRecent(memory, 'packet', `d${i}`, i)
  setRecent(memory, 'packet', 'd2000', 7)
  const now = ['d0', 'd1', 'd2000'].map(key => recent(memory, 'packet', key))
  expect([now, memory.size()]).toEqual([[undefined, 1, 7], 2000])
})

it('presses of ever new buttons do not fill the memory of a project', async () => {
  const memory = memoryOf()
  for (let i = 0; i < 2100; i++) {
    const sample = [`shellies/button${i}/input_event/0`, '{"event":"S","event_cnt":1}'] as const
    await shelly.decode(payloadOf(shelly, sample, { memory }), clock)
  }
  expect(memory.size()).toBeLessThanOrEqual(2000)
})
