// What devices report, type by type (Disruptive Technologies' event types and our own), as it is read and as it may be sent.
import { checkEventId } from '../core/event.ts'
import { xid } from '../core/id.ts'
import { asciiJson } from '../core/json.ts'
import { formatTime } from '../core/time.ts'
import { TelltaleError } from './error.ts'

type Updated = { readonly updateTime: string }
type Sampled<Sample> = Updated & { readonly samples: readonly (Sample & { readonly sampleTime: string })[]; readonly isBackfilled: boolean }

/**
 * The fields of each event type. Times are RFC 3339. Add your own types by declaration merging:
 * `declare module '@telltale/client' { interface EventFields { vibration: { rms: number } } }`
 */
export interface EventFields {
  touch: Updated
  /** °C */
  temperature: { readonly value: number } & Sampled<{ readonly value: number }>
  /** °C and % */
  humidity: { readonly temperature: number; readonly relativeHumidity: number } & Sampled<{
    readonly temperature: number
    readonly relativeHumidity: number
  }>
  objectPresent: { readonly state: 'PRESENT' | 'NOT_PRESENT' } & Updated
  objectPresentCount: { readonly total: number } & Updated
  touchCount: { readonly total: number } & Updated
  waterPresent: { readonly state: 'PRESENT' | 'NOT_PRESENT' } & Updated
  co2: { readonly ppm: number } & Updated
  pressure: { readonly pascal: number } & Updated
  motion: { readonly state: 'MOTION_DETECTED' | 'NO_MOTION_DETECTED' } & Updated
  deskOccupancy: { readonly state: 'OCCUPIED' | 'NOT_OCCUPIED'; readonly remarks: readonly string[] } & Updated
  contact: { readonly state: 'OPEN' | 'CLOSED' } & Updated
  probeWireStatus: {
    readonly state: 'INVALID_WIRE_CONFIGURATION' | 'INVALID_COEFFICIENT_CONFIGURATION' | 'TWO_WIRE' | 'THREE_WIRE' | 'FOUR_WIRE'
  } & Updated
  /** `signalStrength` 0 to 100, `rssi` in dBm. */
  networkStatus: {
    readonly signalStrength: number
    readonly rssi: number
    readonly transmissionMode: 'LOW_POWER_STANDARD_MODE' | 'HIGH_POWER_BOOST_MODE'
    readonly cloudConnectors: readonly { readonly id: string; readonly signalStrength: number; readonly rssi: number }[]
  } & Updated
  /** 0 to 100 */
  batteryStatus: { readonly percentage: number } & Updated
  connectionStatus: {
    readonly connection: 'SDS' | 'ETHERNET' | 'CELLULAR' | 'OFFLINE'
    readonly available: readonly ('SDS' | 'ETHERNET' | 'CELLULAR')[]
  } & Updated
  ethernetStatus: { readonly macAddress: string; readonly ipAddress: string; readonly errors?: readonly unknown[] } & Updated
  cellularStatus: { readonly signalStrength: number; readonly errors?: readonly unknown[] } & Updated
}

export type EventType = keyof EventFields

type Envelope = {
  readonly eventId: string
  /** `projects/{project}/devices/{device}` */
  readonly targetName: string
  /** When the server or the device says that it was, RFC 3339, UTC, six fractional digits. */
  readonly timestamp: string
}

/** Labels of the device were changed; unlike all others its `data` is not keyed by the event type. */
export type LabelsChanged = Envelope & {
  readonly eventType: 'labelsChanged'
  readonly data: {
    readonly added: Readonly<Record<string, string>>
    readonly modified: Readonly<Record<string, string>>
    readonly removed: readonly string[]
  }
}

/**
 * An event as the stream and the history give it. `eventType` tells them apart: `if (event.eventType === 'co2') event.data.co2.ppm`.
 * Event types that are not in `EventFields` come through as they are.
 */
export type TelltaleEvent =
  | { [T in EventType]: Envelope & { readonly eventType: T; readonly data: { readonly [K in T]: EventFields[T] } } }[EventType]
  | LabelsChanged

/** Stands in a stream where events are missing that the server no longer has: after `data.gap.from`, up to and with `data.gap.to`. */
export type GapEvent = Envelope & {
  readonly eventType: 'gap'
  readonly data: { readonly gap: { readonly from: string; readonly to: string } }
}

/** What the server fills in when it is not sent. */
type Filled = 'updateTime' | 'samples' | 'isBackfilled'
type Sent<Fields> = Omit<Fields, Filled> & Partial<Pick<Fields, Filled & keyof Fields>>

type Draft = {
  /** Device id. */
  readonly device: string
  /** When it was measured; now, when it is not said. */
  readonly timestamp?: string | Date
  /**
   * Of your own, when the same event may be published twice and is to count once: 1 to 64 printable ASCII characters. Give its
   * `timestamp` too, the same each time; without, the server stamps it, and knows a repeat among the last 250,000 events only.
   */
  readonly eventId?: string
}

/** An event to publish: `{ device: 'freezer-1', data: { temperature: { value: -18.4 } } }`. `eventType` is needed for types of your own only. */
export type NewEvent =
  | { [T in EventType]: Draft & { readonly eventType?: T; readonly data: { readonly [K in T]: Sent<EventFields[T]> } } }[EventType]
  | (Draft & { readonly eventType: string; readonly data: { readonly [type: string]: unknown } & { readonly [K in EventType]?: never } })

const LONGEST_LEAD_US = 1_000_000

/** Ids and times for the events of one sender: no two alike, and in order, however many there are in a millisecond. */
export class Stamps {
  readonly #own: number
  #count: number
  #lastUs = 0

  constructor() {
    const [own = 0, first = 0] = crypto.getRandomValues(new Uint32Array(2))
    this.#own = own
    this.#count = first
  }

  /** 20 characters: the second, a random number of this sender, a counter. */
  id(): string {
    this.#count = (this.#count + 1) >>> 0
    return xid(Math.floor(Date.now() / 1000), this.#own, this.#count)
  }

  time(): string {
    const nowUs = Date.now() * 1000
    // A clock that was put back is believed.
    this.#lastUs = this.#lastUs - nowUs > LONGEST_LEAD_US ? nowUs : Math.max(this.#lastUs + 1, nowUs)
    return formatTime(this.#lastUs)
  }
}

/** The event as a line for the wire. Id and time are settled here, so that however often it is sent it is one event. */
export function lineOf(project: string, event: NewEvent, stamps: Stamps): { readonly id: string; readonly line: string } {
  const { device, data, eventId = stamps.id() } = event
  // The server knows a repeat by its id and the time it was sent with: an id of the caller's own must not get another time each time.
  const timestamp = event.timestamp ?? (event.eventId === undefined ? stamps.time() : undefined)
  const [onlyType, another] = Object.keys(data)
  const eventType = event.eventType ?? (another === undefined ? onlyType : undefined)
  if (eventType === undefined) throw new TelltaleError(400, 'eventType: expected when data has not exactly one key', { field: 'eventType' })
  const targetName = `projects/${project}/devices/${device}`
  const time = timestamp instanceof Date ? timestamp.toISOString() : timestamp
  return { id: eventId, line: asciiJson({ eventId: checkEventId(eventId), targetName, eventType, data, timestamp: time }) }
}
