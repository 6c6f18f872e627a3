// Which events a subscriber asked for: either spelling of each parameter, repeated keys (contracts.md 1.a.4, §0.7, §0.8).
import { type Device, type LabelFilter, matchesLabels, parseLabelFilter } from '../../packages/core/device.ts'
import { checkEventType } from '../../packages/core/event.ts'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { parseTime } from '../../packages/core/time.ts'
import type { LogEvent } from '../../packages/log/entry.ts'

/** OR inside one list, AND between them; labels AND (contracts.md §7.1). An undefined list asks for nothing. */
export type Filter = {
  readonly deviceIds: ReadonlySet<string> | undefined
  readonly deviceTypes: ReadonlySet<string> | undefined
  readonly eventTypes: ReadonlySet<string> | undefined
  readonly productNumbers: ReadonlySet<string> | undefined
  readonly labels: readonly LabelFilter[]
}

export type StreamQuery = {
  readonly filter: Filter | undefined
  readonly pingMs: number | undefined
  readonly cursor: string | undefined
  readonly sinceUs: number | undefined
}

type Query = Readonly<Record<string, string | string[] | undefined>>

const MIN_PING_MS = 1000
const MAX_PING_MS = 3_600_000
const MAX_VALUES = 1000

export function parseStreamQuery(query: Query, device?: string): StreamQuery {
  const eventTypes = setOf(query, 'event_types', 'eventTypes')
  for (const type of eventTypes ?? []) checkEventType(type, 'event_types')
  const filter: Filter = {
    deviceIds: device === undefined ? setOf(query, 'device_ids', 'deviceIds') : new Set([device]),
    deviceTypes: setOf(query, 'device_types', 'deviceTypes'),
    eventTypes,
    productNumbers: setOf(query, 'product_numbers', 'productNumbers'),
    labels: listOf(query, 'label_filters', 'labelFilters').map(parseLabelFilter),
  }
  const open =
    filter.labels.length === 0 &&
    [filter.deviceIds, filter.deviceTypes, filter.eventTypes, filter.productNumbers].every(set => set === undefined)
  return {
    filter: open ? undefined : filter,
    pingMs: pingOf(one(query, 'ping_interval', 'pingInterval')),
    cursor: one(query, 'cursor', 'cursor'),
    sinceUs: sinceOf(one(query, 'since', 'since')),
  }
}

function listOf(query: Query, snake: string, camel: string): string[] {
  const values = [query[snake], snake === camel ? undefined : query[camel]].flat().filter(value => value !== undefined)
  if (values.length > MAX_VALUES) throw invalid(snake, `at most ${MAX_VALUES} values, got ${values.length}`)
  if (values.includes('')) throw invalid(snake, 'expected a value, got an empty one')
  return values
}

function setOf(query: Query, snake: string, camel: string): ReadonlySet<string> | undefined {
  const values = listOf(query, snake, camel)
  return values.length === 0 ? undefined : new Set(values)
}

function one(query: Query, snake: string, camel: string): string | undefined {
  const values = listOf(query, snake, camel)
  if (values.length > 1) throw invalid(snake, `expected one value, got ${values.length}`)
  return values[0]
}

/** Protobuf-JSON durations only: decimal seconds with an `s`. */
function pingOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = /^\d+(\.\d{1,9})?s$/.test(text) ? Number(text.slice(0, -1)) * 1000 : Number.NaN
  if (!(ms >= MIN_PING_MS && ms <= MAX_PING_MS))
    throw invalid('ping_interval', `expected seconds from 1s to 3600s such as 10s, got ${text}`)
  return ms
}

function sinceOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const timeUs = parseTime(text)
  if (timeUs === undefined)
    throw new Failure('invalid', 'since: expected an RFC 3339 time such as 2026-01-31T12:00:00Z', { field: 'since' })
  return timeUs
}

/** Whether the registry must be asked to answer `matches`. */
export function needsDevice(filter: Filter): boolean {
  return filter.deviceTypes !== undefined || filter.productNumbers !== undefined || filter.labels.length > 0
}

export function matches(filter: Filter, event: LogEvent, device: Device | undefined): boolean {
  if (filter.eventTypes && !filter.eventTypes.has(event.eventType)) return false
  if (filter.deviceIds && !filter.deviceIds.has(event.device)) return false
  if (!needsDevice(filter)) return true
  if (!device) return false
  if (filter.deviceTypes && !filter.deviceTypes.has(device.type)) return false
  if (filter.productNumbers && !filter.productNumbers.has(device.productNumber)) return false
  return matchesLabels(filter.labels, device.labels)
}
