// What a follower may ask for (contracts.md 1.a.4), the same over HTTP, WebSocket and MQTT.
import { type Static, Type } from 'typebox'
import { type LabelMatch, parseLabelFilter } from '../../packages/core/device.ts'
import { checkEventType } from '../../packages/core/event.ts'
import { invalid } from '../../packages/core/failure.ts'
import { checkTime } from '../../packages/core/time.ts'
import { DeviceId, LabelMatchParameter, queryReader } from '../../packages/runtime/schema.ts'
import type { Filter } from './filter.ts'
import type { Policy, Wants } from './hub.ts'

const MAX_VALUES = 1000
const MIN_PING_MS = 1000
const MAX_PING_MS = 3_600_000
const POLICIES: readonly Policy[] = ['disconnect', 'drop', 'latest']

const many = (item: ReturnType<typeof Type.String>, description: string, example: string) =>
  Type.Optional(Type.Array(item, { maxItems: MAX_VALUES, description, examples: [[example]] }))
const name = Type.String({ minLength: 1, maxLength: 512 })

/** Every parameter may be spelled in snake_case too; a list is a parameter that is repeated. */
export const StreamParameters = Type.Object({
  deviceIds: many(DeviceId, 'only these devices; unknown ones match nothing', 'freezer-1'),
  deviceTypes: many(name, 'only devices of these types', 'temperature'),
  eventTypes: many(name, 'only events of these types; pings come always', 'temperature'),
  labelFilters: many(name, '`key`: the device has it; `key=value`: with this value', 'zone=north'),
  labelMatch: LabelMatchParameter,
  productNumbers: many(name, 'only devices with these product numbers', '102058'),
  pingInterval: Type.Optional(
    Type.String({ maxLength: 32, description: 'how often to send a ping, 1s to 3600s; without it there are none', examples: ['10s'] }),
  ),
  cursor: Type.Optional(
    Type.String({ maxLength: 16_000, description: 'go on after the frame that carried this cursor (or SSE id), with nothing missing' }),
  ),
  lastEventId: Type.Optional(Type.String({ maxLength: 16_000, description: 'as the header Last-Event-ID, which wins; as `cursor`' })),
  since: Type.Optional(
    Type.String({ maxLength: 64, description: 'replay from this RFC 3339 time on, then live', examples: ['2026-03-02T06:41:09Z'] }),
  ),
  slowPolicy: Type.Optional(
    Type.String({
      maxLength: 32,
      description:
        'for a reader that does not keep up: `disconnect` (default: it reads on from the log, and is cut off when it takes nothing), ' +
        '`drop` (it misses events, a gap frame says which), `latest` (it gets the newest of each device and event type)',
      examples: ['latest'],
    }),
  ),
})

/** The index line of an alarm has its rule where that of an event has its type. */
export const AlarmStreamParameters = Type.Object({
  ...StreamParameters.properties,
  eventTypes: many(name, 'only alarms of the rules of these names', 'freezer-too-warm'),
})

export type StreamQuery = {
  /** The only one, as the address says: it must exist. */
  readonly device: string | undefined
  readonly wants: Wants
  readonly pingMs: number | undefined
  readonly cursor: string | undefined
  readonly sinceUs: number | undefined
}

type Parameters = Static<typeof StreamParameters>

const read = queryReader(StreamParameters)

/** The query of an address that did not come by HTTP. */
export function parseQueryText(text: string, device?: string, labelMatch: LabelMatch = 'all'): StreamQuery {
  const given: Record<string, string[]> = Object.create(null) as Record<string, string[]>
  for (const [key, value] of new URLSearchParams(text)) given[key] = [...(given[key] ?? []), value]
  const checked = read(given)
  if ('error' in checked) throw checked.error
  return parseStreamQuery(checked.value as Parameters, device, labelMatch)
}

/** @param device the only one, when the address says so. @param labelMatch what several labels mean unless the query says it. */
export function parseStreamQuery(given: Parameters, device?: string, labelMatch: LabelMatch = 'all'): StreamQuery {
  for (const field of ['eventTypes', 'deviceTypes'] as const) for (const type of given[field] ?? []) checkEventType(type, field)
  for (const [field, value] of Object.entries(given))
    if ([value].flat().includes('')) throw invalid(field, 'expected a value, got an empty one')
  if (device !== undefined && given.deviceIds?.includes(device) === false)
    throw invalid('deviceIds', `expected ${device}, the device of the address, or none: no other is followed there`)
  const filter: Filter = {
    deviceIds: device === undefined ? setOf(given.deviceIds) : new Set([device]),
    deviceTypes: setOf(given.deviceTypes),
    eventTypes: setOf(given.eventTypes),
    productNumbers: setOf(given.productNumbers),
    ...labelsOf(given, labelMatch),
  }
  const open =
    filter.labels.length === 0 &&
    [filter.deviceIds, filter.deviceTypes, filter.eventTypes, filter.productNumbers].every(set => set === undefined)
  return {
    device,
    wants: { filter: open ? undefined : filter, policy: policyOf(given.slowPolicy) },
    pingMs: pingOf(given.pingInterval),
    cursor: given.lastEventId ?? given.cursor,
    sinceUs: sinceOf(given.since),
  }
}

function labelsOf({ labelFilters = [], labelMatch }: Parameters, fallback: LabelMatch): Pick<Filter, 'labels' | 'labelMatch'> {
  const keyless = labelFilters.find(text => text.startsWith('='))
  if (keyless !== undefined) throw invalid('labelFilters', `expected a key before the =, got ${keyless}`)
  // One label means the same either way.
  return { labels: labelFilters.map(parseLabelFilter), labelMatch: labelFilters.length > 1 ? (labelMatch ?? fallback) : 'all' }
}

function setOf(values: readonly string[] | undefined): ReadonlySet<string> | undefined {
  return values && values.length > 0 ? new Set(values) : undefined
}

function policyOf(text: string | undefined): Policy {
  const found = POLICIES.find(policy => policy === (text ?? 'disconnect'))
  if (!found) throw invalid('slowPolicy', `expected ${POLICIES.join(', ')}, got ${text}`)
  return found
}

/** Protobuf-JSON durations only: decimal seconds with an `s`. */
function pingOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = /^\d+(\.\d{1,9})?s$/.test(text) ? Number(text.slice(0, -1)) * 1000 : Number.NaN
  if (!(ms >= MIN_PING_MS && ms <= MAX_PING_MS)) throw invalid('pingInterval', `expected seconds from 1s to 3600s such as 10s, got ${text}`)
  return ms
}

function sinceOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const timeUs = checkTime(text, 'since')
  if (timeUs < 0) throw invalid('since', 'expected a time after 1970')
  return timeUs
}
