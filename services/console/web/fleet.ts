// The devices the page knows: one row each, kept current by the list and the stream, whichever is newer.

import type { Device } from '../../../packages/client/index.ts'
import { type DeviceEvent, mainField, readingsOf } from '../../../packages/core/event.ts'
import { deviceIdOf, formatReading, formatState, unitOf } from './format.ts'

type Reported = { readonly value: unknown; readonly timeMs: number }

/** A row is replaced, never changed, so that an unchanged row is the same object. */
export type DeviceRow = {
  readonly id: string
  /** The label `name`, else the id. */
  readonly name: string
  readonly type: string
  readonly labels: ReadonlyMap<string, string>
  /** The newest event of each type. */
  readonly reported: ReadonlyMap<string, Reported>
  readonly latest: Latest | undefined
  /** What the filter box looks through, lower case. */
  readonly search: string
}

/** The value in the table: of the event type the device is there for, so that a battery report does not replace a temperature. */
export type Latest = { readonly eventType: string; readonly timeMs: number; readonly value: number | undefined; readonly text: string }

export type NumericReading = { readonly eventType: string; readonly field: string; readonly value: number; readonly timeMs: number }

const MAIN_EVENT_TYPES: ReadonlyMap<string, string> = new Map([
  ['proximity', 'objectPresent'],
  ['proximityCounter', 'objectPresentCount'],
  ['touchCounter', 'touchCount'],
  ['waterDetector', 'waterPresent'],
  ['ccon', 'connectionStatus'],
])
const HOUSEKEEPING: ReadonlySet<string> = new Set([
  'batteryStatus',
  'networkStatus',
  'connectionStatus',
  'ethernetStatus',
  'cellularStatus',
])

export class Fleet {
  readonly #rows = new Map<string, DeviceRow>()
  /** Grows when a device comes, goes or gets another type, name or label: then the order of the table may differ. */
  membership = 0

  get size(): number {
    return this.#rows.size
  }

  row(id: string): DeviceRow | undefined {
    return this.#rows.get(id)
  }

  rows(): DeviceRow[] {
    return [...this.#rows.values()]
  }

  /** Takes the registry's word for type and labels, and of each reported event the newer one. */
  putDevice(device: Device): void {
    const id = deviceIdOf(device.name)
    const reported = new Map(this.#rows.get(id)?.reported)
    for (const [eventType, value] of Object.entries(device.reported ?? {})) {
      const timeMs = updateTimeOf(value)
      if (value !== null && timeMs >= (reported.get(eventType)?.timeMs ?? 0)) reported.set(eventType, { value, timeMs })
    }
    this.#put(id, device.type, new Map(Object.entries(device.labels)), reported)
  }

  /** False when the device was not known before: its labels must be fetched. */
  putEvent(event: DeviceEvent): boolean {
    const id = deviceIdOf(event.targetName)
    const row = this.#rows.get(id)
    if (event.eventType === 'labelsChanged') {
      if (row) this.#put(id, row.type, changedLabels(row.labels, event.data), row.reported)
      return row !== undefined
    }
    const value = event.data[event.eventType]
    const timeMs = updateTimeOf(value) || Date.parse(event.timestamp)
    if (timeMs >= (row?.reported.get(event.eventType)?.timeMs ?? 0)) {
      const reported = new Map(row?.reported).set(event.eventType, { value, timeMs })
      if (row) this.#rows.set(id, { ...row, reported, latest: latestOf(row.type, reported) })
      else this.#put(id, event.eventType, new Map(), reported)
    }
    return row !== undefined
  }

  forget(ids: readonly string[]): void {
    for (const id of ids) if (this.#rows.delete(id)) this.membership += 1
  }

  #put(id: string, type: string, labels: ReadonlyMap<string, string>, reported: ReadonlyMap<string, Reported>): void {
    const name = labels.get('name') || id
    const words = [...labels].flatMap(([key, value]) => [value, `${key}=${value}`])
    const search = [id, type, ...words].join('\n').toLowerCase()
    if (this.#rows.get(id)?.search !== search) this.membership += 1
    this.#rows.set(id, { id, name, type, labels, reported, latest: latestOf(type, reported), search })
  }
}

/** All numeric readings of a device, its main one first. */
export function numericReadings(row: DeviceRow): NumericReading[] {
  const main = row.latest?.eventType
  const found = [...row.reported].flatMap(([eventType, { value, timeMs }]) =>
    readingsOf(eventType, { [eventType]: value }).map(([field, number]) => ({ eventType, field, value: number, timeMs })),
  )
  const rank = (reading: NumericReading) => (reading.eventType === main ? 0 : 2) + (reading.field === mainField(reading.eventType) ? 0 : 1)
  return found.sort((a, b) => rank(a) - rank(b))
}

function latestOf(type: string, reported: ReadonlyMap<string, Reported>): Latest | undefined {
  const eventType = mainEventType(type, [...reported.keys()])
  const newest = eventType === undefined ? undefined : reported.get(eventType)
  if (eventType === undefined || newest === undefined) return undefined
  const field = mainField(eventType)
  const value = fieldOf(newest.value, field)
  if (typeof value === 'number') return { eventType, timeMs: newest.timeMs, value, text: formatReading(value, unitOf(eventType, field)) }
  if (typeof value === 'string' || typeof value === 'boolean')
    return { eventType, timeMs: newest.timeMs, value: undefined, text: formatState(String(value)) }
  return { eventType, timeMs: newest.timeMs, ...firstReading(eventType, newest.value) }
}

/** For events without their usual field: any number in them, else the event itself (a touch carries no value). */
function firstReading(eventType: string, inner: unknown): { value: number | undefined; text: string } {
  const [reading] = readingsOf(eventType, { [eventType]: inner })
  if (!reading) return { value: undefined, text: eventType }
  const [field, value] = reading
  return { value, text: `${formatReading(value, unitOf(eventType, field))} ${field}` }
}

function mainEventType(type: string, eventTypes: readonly string[]): string | undefined {
  const expected = MAIN_EVENT_TYPES.get(type) ?? type
  if (eventTypes.includes(expected)) return expected
  return eventTypes.find(eventType => !HOUSEKEEPING.has(eventType)) ?? eventTypes[0]
}

function fieldOf(inner: unknown, field: string): unknown {
  if (typeof inner !== 'object' || inner === null) return inner
  return Object.hasOwn(inner, field) ? (inner as Record<string, unknown>)[field] : undefined
}

function updateTimeOf(inner: unknown): number {
  if (typeof inner !== 'object') return 0
  const time = Date.parse(String(fieldOf(inner, 'updateTime')))
  return Number.isNaN(time) ? 0 : time
}

function changedLabels(labels: ReadonlyMap<string, string>, data: DeviceEvent['data']): ReadonlyMap<string, string> {
  const { added, modified, removed } = data as { added?: Record<string, string>; modified?: Record<string, string>; removed?: string[] }
  const changed = new Map([...labels, ...Object.entries(added ?? {}), ...Object.entries(modified ?? {})])
  for (const key of removed ?? []) changed.delete(key)
  return changed
}

export type SortKey = 'name' | 'labels' | 'type' | 'value' | 'age'
export type Sort = { readonly key: SortKey; readonly descending: boolean }

const COLLATOR = new Intl.Collator('en', { numeric: true, sensitivity: 'base' })

/** The rows in which every word of `filter` occurs, sorted; rows that have nothing to compare come last either way. */
export function arrange(rows: readonly DeviceRow[], filter: string, sort: Sort): DeviceRow[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean)
  const sign = sort.descending ? -1 : 1
  return rows
    .filter(row => words.every(word => row.search.includes(word)))
    .sort((a, b) => compare(keyOf(a, sort.key), keyOf(b, sort.key), sign) || COLLATOR.compare(a.name, b.name) || (a.id < b.id ? -1 : 1))
}

function compare(a: string | number | undefined, b: string | number | undefined, sign: number): number {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined)
  if (typeof a === 'number' && typeof b === 'number') return (a - b) * sign
  if (typeof a === 'string' && typeof b === 'string') return COLLATOR.compare(a, b) * sign
  return typeof a === 'number' ? -1 : 1
}

function keyOf(row: DeviceRow, key: SortKey): string | number | undefined {
  if (key === 'name') return row.name
  if (key === 'type') return row.type
  if (key === 'labels') return labelText(row) || undefined
  if (key === 'value') return row.latest?.value ?? row.latest?.text
  return row.latest && -row.latest.timeMs
}

/** The labels other than the name: `room: lab, line: 3`. */
export function labelText(row: DeviceRow): string {
  return [...row.labels]
    .filter(([key]) => key !== 'name')
    .map(([key, value]) => (value === '' ? key : `${key}: ${value}`))
    .join(', ')
}
