// One event, alarm or gap as one line for people, and what devices are called.
import type { Alarm, GapEvent, Telltale } from '../client/index.ts'
import { TelltaleError } from '../client/index.ts'
import { type DeviceEvent, mainField } from '../core/event.ts'
import { Column, type Palette, printable } from './terminal.ts'

const UNITS: ReadonlyMap<string, string> = new Map([
  ['temperature', ' °C'],
  ['humidity', ' %'],
  ['co2', ' ppm'],
  ['pressure', ' Pa'],
  ['batteryStatus', ' %'],
])
const TYPE_CHARS = 14
/** What an event says beside its value: the time stands in front of it already. */
const ASIDE: ReadonlySet<string> = new Set(['updateTime', 'samples', 'isBackfilled'])

/** Of a tail: who it was, in one column. */
export function deviceColumn(): Column {
  return new Column(28, 64)
}

type Colour = 'cyan' | 'blue' | 'green' | 'magenta' | 'yellow' | 'red' | 'gray'

/** What is alike has one colour: climate, presence, doors and water, the device's own condition, changes of the registry. */
const COLOURS: ReadonlyMap<string, Colour> = new Map([
  ...(['temperature', 'humidity', 'co2', 'pressure'] as const).map(type => [type, 'cyan'] as const),
  ...(['touch', 'touchCount', 'objectPresent', 'objectPresentCount', 'motion', 'deskOccupancy'] as const).map(t => [t, 'green'] as const),
  ...(['contact', 'waterPresent', 'probeWireStatus'] as const).map(type => [type, 'magenta'] as const),
  ...(['networkStatus', 'batteryStatus', 'connectionStatus', 'ethernetStatus', 'cellularStatus'] as const).map(t => [t, 'gray'] as const),
  ['labelsChanged', 'yellow'],
])

export function eventLine(event: DeviceEvent, name: string, column: Column, palette: Palette): string {
  const colour = palette[COLOURS.get(event.eventType) ?? 'blue']
  const type = colour(printable(event.eventType).padEnd(TYPE_CHARS))
  return `${timeOf(event.timestamp, palette)}  ${column.fit(nameOf(deviceOf(event), name))}  ${type}  ${palette.bold(printable(mainValue(event)))}`
}

export function alarmLine(alarm: Alarm, name: string, column: Column, palette: Palette): string {
  const { state, severity, rule, acknowledgement } = alarm
  const paint = state === 'cleared' ? palette.green : severity === 'critical' ? palette.red : palette.yellow
  const time = alarm.clearedAt ?? alarm.activeSince ?? alarm.since
  const what = `${state} ${severity}`.padEnd(TYPE_CHARS)
  const by = acknowledgement === null ? '' : ` (acknowledged by ${acknowledgement.by})`
  return `${timeOf(time, palette)}  ${column.fit(nameOf(alarm.device, name))}  ${paint(what)}  ${palette.bold(printable(`${rule}: ${alarm.message}${by}`))}`
}

export function gapLine({ timestamp, data }: GapEvent, palette: Palette): string {
  const range = `after ${data.gap.from}, up to ${data.gap.to}`
  return palette.red(palette.bold(printable(`GAP ${timestamp}: events are missing, the server no longer has them (${range})`)))
}

function timeOf(timestamp: string, palette: Palette): string {
  return palette.dim(printable(`${timestamp.slice(0, 23)}Z`))
}

/** The id always stands there: anybody may call a device what another is called. */
function nameOf(device: string, name: string): string {
  return printable(name === device ? device : `${device} (${name})`)
}

export function deviceOf({ targetName }: { readonly targetName: string }): string {
  return targetName.split('/')[3] ?? targetName
}

/** The main field where there is one, else all that the data says. */
function mainValue({ eventType, data }: DeviceEvent): string {
  const inner = data !== null && Object.hasOwn(data, eventType) ? data[eventType] : data
  if (typeof inner !== 'object' || inner === null) return JSON.stringify(inner)
  const main = mainField(eventType)
  const value = Object.hasOwn(inner, main) ? (inner as Readonly<Record<string, unknown>>)[main] : inner
  const text = typeof value === 'string' ? value : JSON.stringify(value, (key, one: unknown) => (ASIDE.has(key) ? undefined : one))
  return typeof value === 'number' ? `${text}${UNITS.get(eventType) ?? ''}` : text
}

const MAX_NAMES = 10_000
/** A tail must not use up what the server allows its key (25 calls in 5 s): ten at once, then two a second. */
const ASKED_AT_ONCE = 10
const ASK_EVERY_MS = 500
/** A name that takes longer is of no use to a line that has been printed. */
const ASK_LIMIT_MS = 3000

/** The `name` labels of devices, asked for once each. No line waits for one: until it is known the id stands alone. */
export class DeviceNames {
  readonly #client: Telltale
  readonly #names = new Map<string, string>()
  readonly #asked = new Set<string>()
  readonly #closed = new AbortController()
  #mayAskAt = Number.NEGATIVE_INFINITY

  constructor(client: Telltale) {
    this.#client = client
  }

  /** The id, as long as the name is not known. */
  of(device: string): string {
    const known = this.#names.get(device)
    if (known === undefined && this.#mayAsk(device)) void this.#ask(device)
    return known ?? device
  }

  forget(device: string): void {
    this.#names.delete(device)
  }

  /** Nothing is asked any more. */
  close(): void {
    this.#closed.abort()
  }

  #mayAsk(device: string): boolean {
    const now = performance.now()
    if (this.#mayAskAt > now || this.#asked.has(device) || this.#closed.signal.aborted) return false
    this.#mayAskAt = Math.max(this.#mayAskAt, now - ASKED_AT_ONCE * ASK_EVERY_MS) + ASK_EVERY_MS
    return true
  }

  async #ask(device: string): Promise<void> {
    this.#asked.add(device)
    const name = await this.#nameOf(device)
    this.#asked.delete(device)
    if (name === undefined) return
    if (this.#names.size >= MAX_NAMES) this.#names.clear()
    this.#names.set(device, name)
  }

  /** A name is a nicety: where the server gives none the id stands for it, and without an answer a later line asks again. */
  async #nameOf(device: string): Promise<string | undefined> {
    const late = new AbortController()
    const limit = setTimeout(() => late.abort(), ASK_LIMIT_MS)
    const end = () => late.abort()
    this.#closed.signal.addEventListener('abort', end, { once: true })
    try {
      const { labels } = await this.#client.devices.get(device, { attempts: 1, signal: late.signal })
      return labels['name'] || device
    } catch (error) {
      if (!(error instanceof TelltaleError)) throw error
      return error.code === 'unavailable' || error.code === 'too_many' ? undefined : device
    } finally {
      clearTimeout(limit)
      this.#closed.signal.removeEventListener('abort', end)
    }
  }
}
