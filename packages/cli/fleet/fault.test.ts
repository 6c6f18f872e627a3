// What faulty devices do to their events.
import { expect, test } from 'vitest'
import { type Faults, nextFault, noFaults, parseFaults } from './fault.ts'
import type { Draft } from './fleet.ts'
import { createRandom } from './random.ts'

/** A thousand events of one device, a second apart, whose values count up. */
function afflicted(faults: Faults, seed = 'x'): { sent: Draft; original: Draft }[] {
  const random = createRandom(seed, 'fault')
  let memory = noFaults
  const kept: { sent: Draft; original: Draft }[] = []
  for (let i = 0; i < 1000; i++) {
    const original = {
      device: 'd',
      eventType: 'temperature',
      fields: { value: 20 + i / 1000, word: 'same' },
      timeUs: 1_700_000_000e6 + i * 1e6,
    }
    const next = nextFault(faults, memory, original, random)
    memory = next.memory
    if (next.draft !== undefined) kept.push({ sent: next.draft, original })
  }
  return kept
}

test('without faults every event is sent as it is', () => {
  const kept = afflicted({})
  expect(kept.length).toBe(1000)
  for (const { sent, original } of kept) expect(sent).toEqual(original)
})

test('a device that drops out is silent for 10 to 40 events and then goes on', () => {
  const seconds = afflicted({ 'drop-outs': 0.01 }).map(({ sent }) => sent.timeUs / 1e6)
  const gaps = seconds
    .slice(1)
    .map((at, i) => at - Number(seconds[i]))
    .filter(gap => gap > 1)
  expect(gaps.length).toBeGreaterThan(2)
  for (const gap of gaps) expect(gap).toSatisfy((length: number) => length >= 11 && length <= 82)
})

test('a stuck device repeats one value under new times', () => {
  const kept = afflicted({ stuck: 0.01 })
  const frozen = kept.filter(({ sent, original }) => sent.fields.value !== original.fields.value)
  expect(kept.length).toBe(1000)
  expect(frozen.length).toBeGreaterThan(50)
  expect(frozen.length).toBeLessThan(900)
  expect(new Set(kept.map(({ sent }) => sent.timeUs)).size).toBe(1000)
})

test('spikes are rare, far out of range, and leave words alone', () => {
  const spikes = afflicted({ spikes: 0.02 }).filter(({ sent }) => Math.abs(Number(sent.fields.value)) > 100)
  expect(spikes.length).toBeGreaterThan(5)
  expect(spikes.length).toBeLessThan(50)
  for (const { sent } of spikes) expect(sent.fields.word).toBe('same')
})

test('a wrong clock stays wrong by the same amount, or begins at 1970', () => {
  const errors = new Set<string>()
  for (let device = 0; device < 40; device++) {
    const offsets = new Set(afflicted({ 'wrong-clock': 1 }, String(device)).map(({ sent, original }) => sent.timeUs - original.timeUs))
    expect(offsets.size).toBe(1)
    errors.add(String([...offsets][0]))
  }
  expect(errors).toEqual(new Set(['-7200000000', '7200000000', '-1700000000000000']))
})

test('one fault does not move where another strikes', () => {
  const struck = (faults: Faults) =>
    afflicted(faults)
      .filter(({ sent }) => Math.abs(Number(sent.fields.value)) > 100)
      .map(({ original }) => original.timeUs)
  expect(struck({ spikes: 0.02, 'wrong-clock': 1 })).toEqual(struck({ spikes: 0.02 }))
})

test('faults are named with an optional value, and anything else is refused', () => {
  expect(parseFaults('spikes=0.5,drop-outs')).toEqual({ spikes: 0.5, 'drop-outs': 0.01 })
  for (const wrong of ['', 'gremlins', 'spikes=2', 'spikes=', 'spikes=x', 'spikes=-0.1', '__proto__'])
    expect(() => parseFaults(wrong)).toThrow(/^--fault: expected /)
})
