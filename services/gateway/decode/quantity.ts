// The vocabulary of sensors: which names of many makers are one event type, in which unit it stands and in which words its states. Beyond
// the field's own types (contracts.md 1.a.5) the names are those that most home systems share.
import { numberIn } from './text.ts'

/** What a number of some name becomes. */
export type Quantity = { readonly eventType: string; readonly field: string; readonly unit: string | undefined }

/** What true and false of some name become. */
export type State = { readonly eventType: string; readonly yes: string; readonly no: string }

/** Event type, field, standard unit, other names (letters and digits only, lower case; others as they are). */
export const NUMBERS: readonly (readonly [eventType: string, field: string, unit: string | undefined, names: string])[] = [
  ['temperature', 'value', '°C', 'temperature temp airtemperature localtemperature currenttemperature'],
  ['deviceTemperature', 'value', '°C', 'devicetemperature internaltemperature chiptemperature cputemperature'],
  ['dewPoint', 'value', '°C', 'dewpoint dewpointtemperature'],
  ['relativeHumidity', 'value', '%', 'humidity hum relativehumidity rh airhumidity'],
  ['absoluteHumidity', 'value', 'g/m³', 'absolutehumidity'],
  ['pressure', 'pascal', 'Pa', 'pressure airpressure barometricpressure barometer atmosphericpressure'],
  ['co2', 'ppm', 'ppm', 'co2 carbondioxide'],
  ['eco2', 'value', 'ppm', 'eco2 co2equivalent'],
  ['batteryStatus', 'percentage', '%', 'battery batterylevel batterypercentage batterypct batterystatus'],
  ['voltage', 'value', 'V', 'voltage volt'],
  ['batteryVoltage', 'value', 'V', 'batteryvoltage batv vbat'],
  ['current', 'value', 'A', 'current amps'],
  ['power', 'value', 'W', 'power activepower apower'],
  ['apparentPower', 'value', 'VA', 'apparentpower powerapparent aprtpower'],
  ['reactivePower', 'value', 'var', 'reactivepower powerreactive'],
  ['powerFactor', 'value', undefined, 'powerfactor pf'],
  ['energy', 'value', 'kWh', 'energy totalenergy aenergy energyconsumed'],
  ['energyReturned', 'value', 'kWh', 'energyreturned retaenergy producedenergy energyproduced'],
  ['frequency', 'value', 'Hz', 'frequency freq acfrequency'],
  ['illuminance', 'value', 'lx', 'illuminance lux light'],
  ['irradiance', 'value', 'W/m²', 'irradiance solarradiation'],
  ['uvIndex', 'value', undefined, 'uvindex uv'],
  ['pm1', 'value', 'µg/m³', 'pm1'],
  ['pm25', 'value', 'µg/m³', 'pm25'],
  ['pm4', 'value', 'µg/m³', 'pm4'],
  ['pm10', 'value', 'µg/m³', 'pm10 pm100'],
  // Some say it in µg/m³, some in ppb, and what it is made of would have to be known to convert one into the other.
  ['tvoc', 'value', undefined, 'tvoc voc volatileorganiccompounds volatileorganiccompoundsparts'],
  ['vocIndex', 'value', undefined, 'vocindex'],
  ['noxIndex', 'value', undefined, 'noxindex'],
  ['airQualityIndex', 'value', undefined, 'airqualityindex aqi iaq'],
  ['radon', 'value', 'Bq/m³', 'radon'],
  ['soundLevel', 'value', undefined, 'soundlevel soundpressure noise'],
  ['distance', 'value', 'm', 'distance'],
  ['speed', 'value', 'm/s', 'speed'],
  ['windSpeed', 'value', 'm/s', 'windspeed'],
  ['windGust', 'value', 'm/s', 'windgust gust gustspeed'],
  ['windDirection', 'value', '°', 'winddirection direction'],
  ['precipitation', 'value', 'mm', 'precipitation rain rainfall'],
  ['precipitationRate', 'value', 'mm/h', 'precipitationrate precipitationintensity rainrate rainfallrate'],
  ['soilMoisture', 'value', '%', 'soilmoisture moisture'],
  ['conductivity', 'value', 'µS/cm', 'conductivity soilconductivity'],
  ['ph', 'value', undefined, 'ph'],
  ['mass', 'value', 'kg', 'mass weight'],
  ['volume', 'value', 'm³', 'volume waterconsumed waterconsumption'],
  ['gasVolume', 'value', 'm³', 'gasvolume gasconsumption'],
  ['flow', 'value', 'm³/h', 'flow flowrate volumeflowrate'],
  ['position', 'value', '%', 'position coverposition'],
  ['uptime', 'value', 's', 'uptime uptimesec'],
  ['rssi', 'value', 'dBm', 'rssi wifirssi signaldbm'],
  ['linkQuality', 'value', undefined, 'linkquality lqi'],
]

/** Of these a number above 1 says how often or how many: it is a `motionCount`. */
export const COUNTED: ReadonlySet<string> = new Set(['motion', 'occupancy', 'contact', 'waterPresent'])

/** Event type, the word for true, the word for false, names. */
export const STATES: readonly (readonly [eventType: string, yes: string, no: string, names: string])[] = [
  ['motion', 'MOTION_DETECTED', 'NO_MOTION_DETECTED', 'motion pir'],
  ['occupancy', 'OCCUPIED', 'NOT_OCCUPIED', 'occupancy presence'],
  ['waterPresent', 'PRESENT', 'NOT_PRESENT', 'waterleak waterpresent leak flood moisture rain'],
  ['contact', 'OPEN', 'CLOSED', 'contact door window opening garagedoor open'],
  ['smoke', 'DETECTED', 'NOT_DETECTED', 'smoke smokealarm smokedetected'],
  ['gas', 'DETECTED', 'NOT_DETECTED', 'gas gasleak gasdetected'],
  ['carbonMonoxide', 'DETECTED', 'NOT_DETECTED', 'carbonmonoxide co'],
  ['vibration', 'DETECTED', 'NOT_DETECTED', 'vibration'],
  ['tamper', 'DETECTED', 'NOT_DETECTED', 'tamper tampered'],
  ['sound', 'DETECTED', 'NOT_DETECTED', 'sound'],
  ['overheat', 'DETECTED', 'NOT_DETECTED', 'overheat overtemperature heat'],
  ['problem', 'DETECTED', 'NOT_DETECTED', 'problem'],
  ['batteryLow', 'LOW', 'NORMAL', 'batterylow lowbattery battery'],
  ['charging', 'CHARGING', 'NOT_CHARGING', 'charging batterycharging'],
  ['switch', 'ON', 'OFF', 'switch relay outlet plug output'],
  ['lock', 'UNLOCKED', 'LOCKED', 'lock'],
  ['availability', 'ONLINE', 'OFFLINE', 'availability available online connectivity reachable'],
]

export const NUMBER_NAMES: ReadonlyMap<string, Quantity> = new Map(
  NUMBERS.flatMap(([eventType, field, unit, names]) => [eventType, ...names.split(' ')].map(name => [name, { eventType, field, unit }])),
)

export const STATE_NAMES: ReadonlyMap<string, State> = new Map(
  STATES.flatMap(([eventType, yes, no, names]) => [eventType, ...names.split(' ')].map(name => [name, { eventType, yes, no }])),
)

/** Names of numbers under which makers also say words: a fan's speed is `high`, a wind is `NW`, an uptime `0T01:02:03`. */
const WORDED: ReadonlySet<string> = new Set(
  (
    'power current frequency freq light uv tvoc voc volatileorganiccompounds volatileorganiccompoundsparts vocindex noxindex airqualityindex ' +
    'aqi iaq noise soundlevel distance speed winddirection direction precipitation rain rainfall soilmoisture moisture weight volume ' +
    'waterconsumption gasconsumption flow position coverposition uptime battery batterylevel batterystatus linkquality'
  ).split(' '),
)

/** Whether only a number can be meant: a temperature that is `err` is no word about it. */
export function isNumberOnly(name: string): boolean {
  const plain = plainName(name)
  if (WORDED.has(plain) || STATE_NAMES.has(name) || STATE_NAMES.has(plain)) return false
  return NUMBER_NAMES.has(name) || NUMBER_NAMES.has(numberName(name))
}

/** Under a name of numbers a text that is a number is one: many decoders write `toFixed(2)`. Anything else stays what it is. */
export function readValue<Value>(name: string, value: Value): Value | number {
  if (typeof value !== 'string' || !(NUMBER_NAMES.has(name) || NUMBER_NAMES.has(numberName(name)))) return value
  return numberIn(value) ?? value
}

/** Types that say more than their name. */
export const STANDARD: ReadonlySet<string> = new Set([...NUMBERS, ...STATES].map(([eventType]) => eventType).concat('humidity'))

/** What a number of some type becomes when its unit is one of something else. */
export const BY_DIMENSION: ReadonlyMap<string, Quantity> = new Map([
  ['batteryStatus voltage', { eventType: 'batteryVoltage', field: 'value', unit: 'V' }],
])

/** Types of 0 to 1, which some send in percent. */
export const SHARES: ReadonlySet<string> = new Set(['powerFactor'])

/** As `plainName`; PM1.0 is no PM10. */
export function numberName(name: string): string {
  const [, size] = /^pm[\s._-]*(1|4|10)[\s._-]0$/i.exec(name.trim()) ?? []
  return size === undefined ? plainName(name) : `pm${size}`
}

/** Who names no unit of a pressure means hPa or kPa where it is that of air; anything else is taken as it stands. */
export function airPressureUnit(name: string, value: unknown): string | undefined {
  if (typeof value !== 'number' || NUMBER_NAMES.get(numberName(name))?.eventType !== 'pressure') return undefined
  if (value >= 300 && value <= 1200) return 'hPa'
  return value >= 30 && value <= 120 ? 'kPa' : undefined
}

/** A name as the tables have it. */
export function plainName(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
}

const TRUE: ReadonlySet<string> = new Set([
  'on',
  'true',
  'yes',
  'open',
  'detected',
  'occupied',
  'trigger',
  'present',
  'wet',
  'alarm',
  'online',
  'low',
  'unlocked',
  '1',
])
const FALSE: ReadonlySet<string> = new Set(
  'off false no closed close clear none dry normal offline locked vacant unoccupied idle 0'.split(' '),
)

/** Whether a state is the one that its table calls the first; undefined for a word that says neither. */
export function truthOf(value: unknown, { yes, no }: State): boolean | undefined {
  if (typeof value === 'boolean') return value
  if (value === 1 || value === 0) return value === 1
  if (typeof value !== 'string' || value.length > 20) return undefined
  const word = value.trim()
  if (word === yes || word === no) return word === yes
  const lower = word.toLowerCase()
  return TRUE.has(lower) ? true : FALSE.has(lower) ? false : undefined
}
