// When a receiver counts as down, and how soon it is asked again.
import { describe, expect, it } from 'vitest'
import { Circuit, retryMs } from './circuit.ts'

/** Fails at each of these times, attempts having begun a moment before. */
function failing(circuit: Circuit, timesMs: readonly number[]): void {
  for (const ms of timesMs) circuit.failed(ms - 10, ms, undefined, 1)
}

describe('a circuit', () => {
  it('lets everything through while only some fail', () => {
    const circuit = new Circuit(undefined)
    failing(circuit, [1000, 1001, 1002, 1003])
    circuit.succeeded()
    failing(circuit, [1004, 1005, 1006, 1007])
    expect([circuit.down, circuit.limit(1008, 10)]).toEqual([false, 10])
  })

  it('opens after five failures in a row, and then lets one attempt through at a time', () => {
    const circuit = new Circuit(undefined)
    failing(circuit, [1000, 1001, 1002, 1003, 1004])
    expect([circuit.down, circuit.limit(1005, 10), circuit.untilMs]).toEqual([true, 0, 2004])
    expect(circuit.limit(2004, 10)).toBe(1)
  })

  it('is not made to wait longer by attempts that were under way when it opened', () => {
    const circuit = new Circuit(undefined)
    failing(circuit, [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008])
    expect(circuit.untilMs).toBe(2004)
  })

  it('waits twice as long after each probe, and never longer than half a minute', () => {
    const circuit = new Circuit(undefined)
    failing(circuit, [1000, 1000, 1000, 1000, 1000])
    const pauses: number[] = []
    for (let i = 0; i < 7; i++) {
      const nowMs = circuit.untilMs + 10
      failing(circuit, [nowMs])
      pauses.push(circuit.untilMs - nowMs)
    }
    expect(pauses).toEqual([2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  })

  it('honours what the receiver asks for, up to ten minutes', () => {
    const circuit = new Circuit(undefined)
    circuit.failed(0, 1000, 5000, 0)
    expect([circuit.limit(5999, 10), circuit.limit(6000, 10)]).toEqual([0, 10])
    circuit.failed(6000, 7000, 86_400_000, 0)
    expect(circuit.untilMs).toBe(607_000)
  })

  it('remembers since when nothing has succeeded, also from an earlier life', () => {
    const circuit = new Circuit(77)
    failing(circuit, [1000, 2000])
    expect(circuit.sinceMs).toBe(77)
    expect(circuit.succeeded()).toBe(false)
    expect(circuit.sinceMs).toBeUndefined()
    failing(circuit, [3000, 4000])
    expect(circuit.sinceMs).toBe(3000)
  })

  it('is up again when an event is refused for itself, though nothing has succeeded', () => {
    const circuit = new Circuit(undefined)
    failing(circuit, [1000, 1001, 1002, 1003, 1004])
    expect([circuit.refused(3000, undefined), circuit.down, circuit.limit(3000, 10)]).toEqual([true, false, 10])
    for (let i = 0; i < 20; i++) expect(circuit.refused(3001, undefined)).toBe(false)
    expect([circuit.down, circuit.sinceMs]).toEqual([false, 1000])
  })
})

it('an event alone is tried after 1, 2, 4 … 600 seconds, each between half and the whole', () => {
  expect([1, 2, 3, 4, 20].map(attempts => retryMs(attempts, 1))).toEqual([1000, 2000, 4000, 8000, 600_000])
  expect(retryMs(1, 0)).toBe(500)
})
