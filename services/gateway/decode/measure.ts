// What most sensors measure, under one name and in one unit: `temp_c`, `Temperature` in °F and `t` become the event type `temperature` with
// its value in °C, and what was sent stays beside it. The table is the field's vocabulary (contracts.md 1.a.5), and beyond it ours.
import type { EventData } from '../../../packages/core/event.ts'
import { invalid } from '../../../packages/core/failure.ts'
import { conversion, convert, parseUnit } from '../../../packages/core/unit.ts'

/** One thing that one payload says of a device. */
export type Measure = { readonly name: string; readonly value: number | string | boolean; readonly unit?: string | undefined }

/** Of one time; `data` is keyed by the event type. */
export type Measured = { readonly eventType: string; readonly data: EventData }

type Quantity = {
  readonly eventType: string
  readonly field: string
  readonly unit?: string
  readonly words?: readonly [yes: string, no: string]
}
type Fields = Record<string, unknown>

/** Event type, field, standard unit, other names (letters and digits only, lower case). */
const NUMBERS: readonly (readonly [eventType: string, field: string, unit: string | undefined, names: string])[] = [
  ['temperature', 'value', '°C', 'temperature temp airtemperature ambienttemperature'],
  ['humidity', 'relativeHumidity', '%', 'humidity hum relativehumidity rh airhumidity'],
  ['pressure', 'pascal', 'Pa', 'pressure airpressure barometricpressure barometer atmosphericpressure'],
  ['co2', 'ppm', 'ppm', 'co2 carbondioxide eco2'],
  ['batteryStatus', 'percentage', '%', 'battery batterylevel batterypercentage batterypct batterystatus'],
  ['voltage', 'value', 'V', 'voltage volt'],
  ['batteryVoltage', 'value', 'V', 'batteryvoltage batv vbat'],
  ['current', 'value', 'A', 'current amps'],
  ['power', 'value', 'W', 'power activepower apower'],
  ['apparentPower', 'value', 'VA', 'apparentpower'],
  ['reactivePower', 'value', 'var', 'reactivepower'],
  ['powerFactor', 'value', undefined, 'powerfactor factor pf'],
  ['energy', 'value', 'Wh', 'energy totalenergy aenergy'],
  ['frequency', 'value', 'Hz', 'frequency freq'],
  ['illuminance', 'value', 'lx', 'illuminance lux illuminancelux light lightlevel'],
  ['pm25', 'value', 'µg/m³', 'pm25'],
  ['pm10', 'value', 'µg/m³', 'pm10'],
  ['pm1', 'value', 'µg/m³', 'pm1'],
  ['soilMoisture', 'value', '%', 'soilmoisture'],
  ['rssi', 'value', 'dBm', 'rssi wifirssi signaldbm'],
  ['linkQuality', 'value', undefined, 'linkquality lqi'],
]

/** Event type, the word for true, the word for false, names. */
const STATES: readonly (readonly [eventType: string, yes: string, no: string, names: string])[] = [
  ['motion', 'MOTION_DETECTED', 'NO_MOTION_DETECTED', 'motion occupancy presence pir'],
  ['waterPresent', 'PRESENT', 'NOT_PRESENT', 'waterleak waterpresent leak flood moisture'],
]

const QUANTITIES: ReadonlyMap<string, Quantity> = new Map([
  ...NUMBERS.flatMap(([eventType, field, unit, names]) =>
    names.split(' ').map(name => [name, { eventType, field, ...(unit === undefined ? {} : { unit }) }] as const),
  ),
  ...STATES.flatMap(([eventType, yes, no, names]) =>
    names.split(' ').map(name => [name, { eventType, field: 'state', words: [yes, no] as const }] as const),
  ),
])

/** The events of what was measured at one time, one of each type. @throws Failure `invalid` that names the measure. */
export function measured(measures: readonly Measure[]): Measured[] {
  const events = new Map<string, Fields>()
  for (const measure of measures) {
    const { eventType, fields } = fieldsOf(measure)
    const known = events.get(eventType)
    events.set(eventType, known ? merged(known, fields) : fields)
  }
  completeHumidity(events)
  return [...events].map(([eventType, fields]) => ({ eventType, data: { [eventType]: fields } }))
}

/** The first of a type counts; later ones stand beside it under their own names only where a format gives them such. */
function merged(known: Fields, fields: Fields): Fields {
  return { ...fields, ...known }
}

/** Readers of `humidity` rely on the temperature beside it; without one it has a type of its own. */
function completeHumidity(events: Map<string, Fields>): void {
  const humidity = events.get('humidity')
  if (humidity === undefined) return
  const degrees = events.get('temperature')?.['value']
  if (typeof degrees === 'number') {
    events.set('humidity', { ...humidity, temperature: degrees })
    return
  }
  events.delete('humidity')
  const { relativeHumidity, ...rest } = humidity
  events.set('relativeHumidity', { value: relativeHumidity, ...rest })
}

function fieldsOf({ name, value, unit }: Measure): { eventType: string; fields: Fields } {
  const quantity = QUANTITIES.get(plain(name))
  if (quantity?.words && typeof value === 'boolean')
    return { eventType: quantity.eventType, fields: { state: quantity.words[value ? 0 : 1] } }
  if (quantity && !quantity.words && typeof value === 'number')
    return { eventType: quantity.eventType, fields: inUnit(name, value, unit, quantity) }
  return { eventType: eventTypeOf(name), fields: unit === undefined ? { value } : { value, unit } }
}

function inUnit(name: string, value: number, unit: string | undefined, quantity: Quantity): Fields {
  const { field, unit: standard } = quantity
  if (unit === undefined || unit === '' || standard === undefined) return { [field]: value }
  const [from, to] = [parseUnit(unit), parseUnit(standard)]
  if (!from || !to) return { [field]: value, unit }
  if (from.dimension !== to.dimension)
    throw invalid(name, `expected a unit of ${to.dimension} such as ${standard}, got ${unit.slice(0, 40)}`)
  const change = conversion(from, to)
  return change ? { [field]: convert(value, change), original: { value, unit } } : { [field]: value }
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
}

/** A name as it may stand as an event type: `PM2.5 (raw)` → `PM2.5_raw`. */
export function eventTypeOf(name: string): string {
  const text = name
    .trim()
    .replaceAll(/[^A-Za-z0-9_.-]+/g, '_')
    .replaceAll(/^_+|_+$/g, '')
    .slice(0, 64)
  return /^[A-Za-z]/.test(text) ? text : `x${text}`.slice(0, 64)
}

/** A name as it may stand as a device id: levels of a topic are joined by `:`. */
export function deviceOf(name: string): string {
  return name.replaceAll('/', ':').replaceAll(/[+#]/g, '_')
}
