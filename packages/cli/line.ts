// One event as one line for people: time, the device's name, type, value.
import { type DeviceEvent, mainField } from '../core/event.ts'
import { Failure } from '../core/failure.ts'
import { call } from './api.ts'
import type { Target } from './target.ts'
import { type Palette, printable } from './terminal.ts'

const UNITS: ReadonlyMap<string, string> = new Map([
  ['temperature', ' °C'],
  ['humidity', ' %'],
  ['co2', ' ppm'],
  ['pressure', ' Pa'],
  ['batteryStatus', ' %'],
])
const NAME_CHARS = 28
const TYPE_CHARS = 14

export function eventLine(event: DeviceEvent, name: string, palette: Palette): string {
  const time = palette.dim(printable(`${event.timestamp.slice(0, 23)}Z`))
  const type = palette.cyan(printable(event.eventType).padEnd(TYPE_CHARS))
  return `${time}  ${printable(name).padEnd(NAME_CHARS)}  ${type}  ${palette.bold(printable(mainValue(event)))}`
}

/** The main field where there is one, else the whole of the data. */
function mainValue({ eventType, data }: DeviceEvent): string {
  const inner = data !== null && Object.hasOwn(data, eventType) ? data[eventType] : data
  if (typeof inner !== 'object' || inner === null) return JSON.stringify(inner)
  const main = mainField(eventType)
  const value = Object.hasOwn(inner, main) ? (inner as Readonly<Record<string, unknown>>)[main] : inner
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return typeof value === 'number' ? `${text}${UNITS.get(eventType) ?? ''}` : text
}

const MAX_NAMES = 10_000

/** The `name` labels of devices, asked for once each. */
export class DeviceNames {
  readonly #target: Target
  readonly #stopped: AbortSignal
  readonly #names = new Map<string, string>()

  constructor(target: Target, stopped: AbortSignal) {
    this.#target = target
    this.#stopped = stopped
  }

  async of(event: DeviceEvent): Promise<string> {
    const id = event.targetName.split('/')[3] ?? event.targetName
    if (event.eventType === 'labelsChanged') this.#names.delete(id)
    const known = this.#names.get(id)
    if (known !== undefined) return known
    const name = (await this.#ask(id)) ?? id
    if (this.#names.size >= MAX_NAMES) this.#names.clear()
    this.#names.set(id, name)
    return name
  }

  /** A name is a nicety: without an answer the id stands for it, and the stream's own connection reports what is wrong. */
  async #ask(id: string): Promise<string | undefined> {
    try {
      const { body } = await call(this.#target, 'GET', `devices/${encodeURIComponent(id)}`, this.#stopped)
      const { labels } = Object(body) as { readonly labels?: unknown }
      const { name } = Object(labels) as { readonly name?: unknown }
      return typeof name === 'string' && name !== '' ? name : undefined
    } catch (error) {
      if (error instanceof Failure) return undefined
      throw error
    }
  }
}
