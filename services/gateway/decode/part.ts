// One payload that speaks of several devices (relays, phases, probes): what was found of each, in the order of finding.
import { type Clock, type Decoded, oncePerElement } from './event.ts'
import { isKnown, type Measure, type Measured, reported } from './measure.ts'
import { isScalar } from './text.ts'

type Part = { readonly measures: Measure[]; readonly rest: Record<string, unknown>; readonly more: Measured[] }

export class Parts {
  readonly #parts = new Map<string, Part>()

  get isEmpty(): boolean {
    return this.#parts.size === 0
  }

  measure(device: string, measure: Measure): void {
    this.#of(device).measures.push(measure)
  }

  /** What is an event already. */
  event(device: string, measured: Measured): void {
    this.#of(device).more.push(measured)
  }

  /** What no other device has goes with the rest, under its own name. */
  put(device: string, name: string, value: unknown, unit?: string): void {
    if (value === null || value === undefined || value === '') return
    const measure = isScalar(value) ? { name, value, unit } : undefined
    if (measure && isKnown(measure)) this.measure(device, measure)
    else this.rest(device, name, value)
  }

  rest(device: string, name: string, value: unknown): void {
    // By an assignment `__proto__` would vanish; so it is refused by its name.
    Object.defineProperty(this.#of(device).rest, name, { value, enumerable: true, configurable: true, writable: true })
  }

  reported(timeUs: number | undefined, project: string, clock: Clock, element: string): Decoded[] {
    return oncePerElement([...this.#parts].flatMap(([device, part]) => reported({ device, timeUs, ...part }, project, clock, element)))
  }

  #of(device: string): Part {
    const part = this.#parts.get(device) ?? { measures: [], rest: {}, more: [] }
    this.#parts.set(device, part)
    return part
  }
}
