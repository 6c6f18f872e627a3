// What readers of the stream may rely on in each type of event (contracts.md 1.a.5): checked here, and filled in where it is missing.
// A client of the dialect reads these fields unconditionally; one event without them ends its stream.
import { invalid } from '../../../packages/core/failure.ts'
import { checkTime, formatTime } from '../../../packages/core/time.ts'
import { STATES } from './quantity.ts'

type Fields = Readonly<Record<string, unknown>>
type Completion = (fields: Fields, updateTime: string, at: string) => Fields

/** The data of one event under its type, whole; types that the dialect does not know are left as they are. */
export function completed(eventType: string, fields: Fields, updateTime: string): Fields {
  const completion = COMPLETIONS.get(eventType)
  const whole = completion ? completion(fields, updateTime, `data.${eventType}`) : fields
  return { ...whole, updateTime }
}

const DIALECT_STATES: ReadonlySet<string> = new Set(['motion', 'waterPresent', 'contact'])

const COMPLETIONS: ReadonlyMap<string, Completion> = new Map<string, Completion>([
  ['temperature', temperature],
  ['humidity', humidity],
  ['objectPresent', choice('PRESENT', 'NOT_PRESENT')],
  ['waterPresent', choice('PRESENT', 'NOT_PRESENT')],
  ['motion', choice('MOTION_DETECTED', 'NO_MOTION_DETECTED')],
  ['contact', choice('OPEN', 'CLOSED')],
  ['deskOccupancy', both(choice('OCCUPIED', 'NOT_OCCUPIED'), listed('remarks'))],
  ['probeWireStatus', choice('INVALID_WIRE_CONFIGURATION', 'INVALID_COEFFICIENT_CONFIGURATION', 'TWO_WIRE', 'THREE_WIRE', 'FOUR_WIRE')],
  ['objectPresentCount', measured('total')],
  ['touchCount', measured('total')],
  ['co2', measured('ppm')],
  ['pressure', measured('pascal')],
  ['batteryStatus', measured('percentage')],
  ['cellularStatus', both(measured('signalStrength'), listed('errors'))],
  ['networkStatus', networkStatus],
  ['connectionStatus', connectionStatus],
  ['ethernetStatus', ethernetStatus],
  ...STATES.filter(([eventType]) => !DIALECT_STATES.has(eventType)).map(([eventType, yes, no]) => [eventType, words(yes, no)] as const),
])

/** As `choice`, for types that the dialect does not know: other words are the sender's own. */
function words(yes: string, no: string): Completion {
  return fields => (typeof fields['state'] === 'boolean' ? { ...fields, state: fields['state'] ? yes : no } : fields)
}

function both(first: Completion, second: Completion): Completion {
  return (fields, updateTime, at) => second(first(fields, updateTime, at), updateTime, at)
}

function temperature(fields: Fields, updateTime: string, at: string): Fields {
  const value = numberIn(fields, 'value', at)
  if (fields['samples'] === undefined && fields['isBackfilled'] === undefined)
    return { samples: [{ value, sampleTime: updateTime }], isBackfilled: false, ...fields }
  const sample = (one: Fields, where: string) => ({
    ...one,
    value: numberIn(one, 'value', where),
    sampleTime: timeIn(one, updateTime, where),
  })
  return { ...fields, samples: samplesIn(fields, { value }, sample, updateTime, at), isBackfilled: backfilled(fields, at) }
}

function humidity(all: Fields, updateTime: string, at: string): Fields {
  const fields = celsiusNamed(all)
  const relativeHumidity = numberIn(fields, 'relativeHumidity', at)
  const degrees = numberIn(fields, 'temperature', at)
  const sample = (given: Fields, where: string) => {
    const one = celsiusNamed(given)
    numberIn(one, 'temperature', where)
    numberIn(one, 'relativeHumidity', where)
    return { ...one, sampleTime: timeIn(one, updateTime, where) }
  }
  const samples = samplesIn(fields, { temperature: degrees, relativeHumidity }, sample, updateTime, at)
  return { ...fields, samples, isBackfilled: backfilled(fields, at) }
}

/** One client calls it so where it writes (contracts.md 1.a.8), and everywhere when it reads. */
function celsiusNamed({ celsius, ...fields }: Fields): Fields {
  return celsius === undefined ? fields : { temperature: celsius, ...fields }
}

function samplesIn(
  fields: Fields,
  newest: Fields,
  complete: (one: Fields, where: string) => Fields,
  sampleTime: string,
  at: string,
): readonly Fields[] {
  if (fields['samples'] === undefined) return [{ ...newest, sampleTime }]
  return objectsIn(fields, 'samples', at).map((one, i) => complete(one, `${at}.samples.${i}`))
}

function backfilled(fields: Fields, at: string): boolean {
  const { isBackfilled = false } = fields
  if (typeof isBackfilled !== 'boolean') throw invalid(`${at}.isBackfilled`, 'expected true or false')
  return isBackfilled
}

/** One of these words in `state`; true and false stand for the first and the second of two. */
function choice(...words: readonly string[]): Completion {
  return (fields, _, at) => {
    const { state } = fields
    if (typeof state === 'string' && words.includes(state)) return fields
    if (typeof state === 'boolean' && words.length === 2) return { ...fields, state: words[state ? 0 : 1] }
    throw invalid(`${at}.state`, `expected ${words.join(' or ')}`)
  }
}

function measured(field: string): Completion {
  return (fields, _, at) => {
    numberIn(fields, field, at)
    return fields
  }
}

function listed(field: string): Completion {
  return (fields, _, at) => ({ ...fields, [field]: listIn(fields, field, at) })
}

const MODES: readonly unknown[] = ['LOW_POWER_STANDARD_MODE', 'HIGH_POWER_BOOST_MODE']

/** One client writes `cloud_connectors`, and leaves the rssi of each out (contracts.md 1.a.8). */
function networkStatus(all: Fields, _: string, at: string): Fields {
  const { cloud_connectors: snake, ...fields } = all
  const signalStrength = numberIn(fields, 'signalStrength', at)
  const { transmissionMode = MODES[0] } = fields
  if (!MODES.includes(transmissionMode)) throw invalid(`${at}.transmissionMode`, `expected ${MODES.join(' or ')}`)
  const given = { cloudConnectors: fields['cloudConnectors'] ?? snake ?? [] }
  const connectors = objectsIn(given, 'cloudConnectors', at)
  const rssi = numberIn({ rssi: fields['rssi'] ?? connectors.find(one => one['rssi'] !== undefined)?.['rssi'] }, 'rssi', at)
  const cloudConnectors = connectors.map((one, i) => {
    if (typeof one['id'] !== 'string') throw invalid(`${at}.cloudConnectors.${i}.id`, 'expected a string')
    const whole = { signalStrength, rssi, ...one }
    numberIn(whole, 'rssi', `${at}.cloudConnectors.${i}`)
    numberIn(whole, 'signalStrength', `${at}.cloudConnectors.${i}`)
    return whole
  })
  return { ...fields, rssi, transmissionMode, cloudConnectors }
}

const CONNECTIONS: readonly unknown[] = ['SDS', 'ETHERNET', 'CELLULAR', 'OFFLINE']

function connectionStatus(fields: Fields, _: string, at: string): Fields {
  const { connection } = fields
  if (!CONNECTIONS.includes(connection)) throw invalid(`${at}.connection`, `expected ${CONNECTIONS.join(' or ')}`)
  const given = { available: fields['available'] ?? (connection === 'OFFLINE' ? [] : [connection]) }
  const available = listIn(given, 'available', at)
  const wrong = available.findIndex(one => !CONNECTIONS.includes(one))
  if (wrong >= 0) throw invalid(`${at}.available.${wrong}`, `expected ${CONNECTIONS.join(' or ')}`)
  return { ...fields, available }
}

function ethernetStatus(fields: Fields, _: string, at: string): Fields {
  const { macAddress = '', ipAddress = '' } = fields
  if (typeof macAddress !== 'string') throw invalid(`${at}.macAddress`, 'expected a string')
  if (typeof ipAddress !== 'string') throw invalid(`${at}.ipAddress`, 'expected a string')
  return { ...fields, macAddress, ipAddress, errors: listIn(fields, 'errors', at) }
}

function numberIn(fields: Fields, field: string, at: string): number {
  const value = fields[field]
  if (typeof value !== 'number') throw invalid(`${at}.${field}`, 'expected a number')
  return value
}

function listIn(fields: Fields, field: string, at: string): readonly unknown[] {
  const list = fields[field] ?? []
  if (!Array.isArray(list)) throw invalid(`${at}.${field}`, 'expected a list')
  return list
}

function objectsIn(fields: Fields, field: string, at: string): readonly Fields[] {
  return listIn(fields, field, at).map((one, i) => {
    if (typeof one !== 'object' || one === null || Array.isArray(one)) throw invalid(`${at}.${field}.${i}`, 'expected an object')
    return one as Fields
  })
}

function timeIn(fields: Fields, fallback: string, at: string): string {
  const { sampleTime } = fields
  if (sampleTime === undefined) return fallback
  return formatTime(checkTime(sampleTime, `${at}.sampleTime`))
}
