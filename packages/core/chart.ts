// The values of a field over time as a line of so many points, in the unit that its rule compares in.
import { type Field, numberIn } from './condition/field.ts'
import type { EventData } from './event.ts'

type ChartPoint = { readonly startUs: number; readonly mean: number; readonly min: number; readonly max: number }

type Sum = { count: number; sum: number; min: number; max: number }

export class Chart {
  readonly field: Field
  readonly #windowUs: number
  readonly #windows = new Map<number, Sum>()

  /** Windows begin at multiples of their length. */
  constructor(field: Field, windowUs: number) {
    this.field = field
    this.#windowUs = windowUs
  }

  take(eventType: string, timeUs: number, data: EventData): void {
    const value = numberIn(this.field, eventType, data)
    if (typeof value !== 'number') return
    const startUs = Math.floor(timeUs / this.#windowUs) * this.#windowUs
    const window = this.#windows.get(startUs)
    if (window === undefined) {
      this.#windows.set(startUs, { count: 1, sum: value, min: value, max: value })
      return
    }
    window.count++
    window.sum += value
    window.min = Math.min(window.min, value)
    window.max = Math.max(window.max, value)
  }

  /** Oldest first; empty windows are left out. */
  points(): ChartPoint[] {
    const found = [...this.#windows].map(([startUs, { count, sum, min, max }]) => ({ startUs, mean: sum / count, min, max }))
    return found.sort((a, b) => a.startUs - b.startUs)
  }
}
