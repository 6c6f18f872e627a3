// What a device sent at one time, and the rules for its names. Everything downstream of the gateway trusts this shape.
import { invalid } from './failure.ts'

export type EventData = { readonly [key: string]: unknown }

/** One event as it stands on every wire. `data` is keyed by the event type: `{"temperature":{"value":21.5,…}}`. */
export type DeviceEvent = {
  /** 20-character xid, or the client's own id. */
  readonly eventId: string
  /** `projects/{project}/devices/{device}` */
  readonly targetName: string
  readonly eventType: string
  readonly data: EventData
  /** RFC 3339, UTC, six fractional digits. */
  readonly timestamp: string
}

const PROJECT = /^[a-z0-9][a-z0-9_-]{0,62}$/
const EVENT_TYPE = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/
const EVENT_ID = /^[\x21-\x7e]{1,64}$/
// Control characters, the separators of topics and resource names, and lone surrogates cannot stand in a device id.
const DEVICE_FORBIDDEN =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f/+#\u2028\u2029]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/
// `-` stands for all; every URL parser removes `.` and `..`, so such a device could never be addressed.
const DEVICE_RESERVED: ReadonlySet<string> = new Set(['-', '.', '..'])
const MAX_DEVICE_CHARS = 128

export function checkProject(project: string, field = 'project'): string {
  if (!PROJECT.test(project)) throw invalid(field, 'expected 1 to 63 characters of a-z 0-9 _ - that start with a letter or digit')
  return project
}

export function checkDevice(device: string, field = 'device'): string {
  if (device.length === 0 || device.length > MAX_DEVICE_CHARS || DEVICE_RESERVED.has(device) || DEVICE_FORBIDDEN.test(device))
    throw invalid(
      field,
      `expected 1 to ${MAX_DEVICE_CHARS} characters without control characters, "/", "+" or "#", and not "-", "." or ".."`,
    )
  return device
}

export function checkEventType(eventType: string, field = 'eventType'): string {
  if (!EVENT_TYPE.test(eventType)) throw invalid(field, 'expected 1 to 64 characters of A-Z a-z 0-9 _ . - that start with a letter')
  return eventType
}

export function checkEventId(eventId: string, field = 'eventId'): string {
  if (!EVENT_ID.test(eventId)) throw invalid(field, 'expected 1 to 64 printable ASCII characters without spaces')
  return eventId
}

/** The field that stands for an event type when a single value is sent or shown, for example `co2` → `ppm`. */
export function mainField(eventType: string): string {
  return MAIN_FIELDS.get(eventType) ?? 'value'
}

const MAIN_FIELDS: ReadonlyMap<string, string> = new Map([
  ['humidity', 'relativeHumidity'],
  ['objectPresent', 'state'],
  ['objectPresentCount', 'total'],
  ['touchCount', 'total'],
  ['waterPresent', 'state'],
  ['co2', 'ppm'],
  ['pressure', 'pascal'],
  ['motion', 'state'],
  ['deskOccupancy', 'state'],
  ['contact', 'state'],
  ['probeWireStatus', 'state'],
  ['networkStatus', 'signalStrength'],
  ['batteryStatus', 'percentage'],
  ['connectionStatus', 'connection'],
  ['ethernetStatus', 'ipAddress'],
  ['cellularStatus', 'signalStrength'],
  ...['smoke', 'gas', 'carbonMonoxide', 'vibration', 'tamper', 'sound', 'overheat', 'problem'].map(type => [type, 'state'] as const),
  ...['occupancy', 'batteryLow', 'charging', 'switch', 'lock', 'availability'].map(type => [type, 'state'] as const),
])

/**
 * The numeric readings in an event's data: dotted path below the event type, value. Arrays are not readings
 * (their newest value stands beside them), nor are strings and fields with an empty name
 * (their path would be that of another field); `labelsChanged` has none.
 */
export function readingsOf(eventType: string, data: EventData): [field: string, value: number][] {
  const found: [string, number][] = []
  const inner = Object.hasOwn(data, eventType) ? data[eventType] : undefined
  if (inner !== undefined) collect('', inner, found)
  return found
}

function collect(path: string, value: unknown, into: [string, number][]): void {
  if (typeof value === 'number') into.push([path === '' ? 'value' : path, value])
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return
  for (const [key, inner] of Object.entries(value)) if (key !== '') collect(path === '' ? key : `${path}.${key}`, inner, into)
}
