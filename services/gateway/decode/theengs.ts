// What Theengs has decoded of Bluetooth sensors (decoder.theengs.io), as OpenMQTTGateway and Theengs Gateway publish it: short names without
// units, of which some mean something else for some models.
import { PRESSES } from './bthomeobject.ts'
import type { Memory } from './format.ts'
import { channelOf } from './measure.ts'
import type { Parts } from './part.ts'
import { setRecent } from './recent.ts'
import { type Fields, isScalar } from './text.ts'

/** Name in the vocabulary, and unit. */
type Named = readonly [name: string, unit?: string]

const NAMES: ReadonlyMap<string, Named> = new Map<string, Named>([
  ['tempc', ['temperature', '°C']],
  ['tempc2_dp', ['dewPoint', '°C']],
  ['hum', ['humidity']],
  ['batt', ['battery']],
  ['volt', ['batteryVoltage']],
  ['lux', ['illuminance']],
  ['darkness', ['darkness', 'lx']],
  ['moi', ['soilMoisture']],
  ['fer', ['conductivity', 'µS/cm']],
  ['co2', ['co2']],
  ['pm25', ['pm25']],
  ['pm10', ['pm10']],
  ['for', ['formaldehyde', 'mg/m³']],
  ['gravity', ['gravity', 'SG']],
  ['impedance', ['impedance', 'Ω']],
  ['litres', ['volume', 'L']],
  ['level', ['level', '%']],
  ['position', ['position', '%']],
  ['presence', ['presence']],
  ['lowbatt', ['batteryLow']],
  ['alarm', ['problem']],
  ['power', ['power']],
  ['energy', ['energy']],
  ['current', ['current']],
])

/** Of the advertisement and its model, and what stands there in another unit as well. */
const SKIPPED: ReadonlySet<string> = new Set(
  (
    'id mac mac_type adv_type name brand model model_id type rssi uuid servicedata servicedatauuid manufacturerdata txpower cidc acts cont ctrl ' +
    'track encr cipher ctr mic packet mfid major minor rpi aem device prmac distance host time unixtime UTCtime unit avgu sumu lvl_in'
  ).split(' '),
)
const FAHRENHEIT = /^tempf(\d?)$/
const CHANNEL = /^tempc([1-9])$/
const BUTTON = /^button([1-9])?$/
/** Theengs numbers two presses anew. */
const BUTTONS: Readonly<Record<number, string>> = { ...PRESSES, 9: 'long', 11: 'hold' }

/** Of what is in sight without being a sensor (phones, beacons) nothing but their names is told. */
export function relayed(parts: Parts, device: string, fields: Fields, memory: Memory): void {
  const isNew = isNewPress(device, fields, memory)
  const isSensor = typeof fields['model_id'] === 'string' && fields['type'] !== 'RMAC'
  const used = new Set([...SKIPPED, ...accelerated(parts, device, fields)])
  for (const [field, value] of Object.entries(fields)) {
    if (used.has(field) || !isScalar(value)) continue
    const [, channel] = CHANNEL.exec(field) ?? []
    const [isButton, number = '1'] = BUTTON.exec(field) ?? []
    const named = channel === undefined ? namedFor(field, value, fields) : (['temperature', '°C'] as const)
    if (isButton !== undefined && typeof value === 'number') {
      if (isNew) pressed(parts, number === '1' ? device : channelOf(device, number), value)
    } else if (named) put(parts, channel === undefined ? device : channelOf(device, channel), named, value)
    else if (isSensor && !isRepeated(field, fields)) parts.rest(device, field, value)
  }
}

/** What a value is called; undefined for what only its model knows. */
function namedFor(field: string, value: unknown, fields: Fields): Named | undefined {
  const { model_id: model, type } = fields
  const isBlind = type === 'WCVR'
  // Of tyres it is what is in them.
  if (field === 'pres') return ['pressure', model === 'TPMS' || type === 'TIRE' ? 'bar' : 'hPa']
  if (field === 'open') return typeof value === 'number' ? ['position', '%'] : ['opening']
  if (field === 'contact') return ['opening']
  // Of a blind it is its motor that moves.
  if (field === 'motion') return isBlind ? undefined : ['motion']
  if (field === 'weight') return ['mass', textIn(fields['unit']) ?? 'kg']
  if (field === 'lvl_cm') return ['level', 'cm']
  if (field === 'tempf' && fields['tempc'] === undefined) return ['temperature', '°F']
  if (field === 'avg') return fields['avgu'] === 'm³' ? ['flow', 'm³/h'] : ['power', textIn(fields['avgu'])]
  if (field === 'sum') return fields['sumu'] === 'm³' ? ['volume', 'm³'] : ['energy', textIn(fields['sumu'])]
  return NAMES.get(field)
}

function textIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** In °C it stands there as well. */
function isRepeated(field: string, fields: Fields): boolean {
  const [isFahrenheit, number = ''] = FAHRENHEIT.exec(field) ?? []
  return isFahrenheit !== undefined && fields[`tempc${number}`] !== undefined
}

function put(parts: Parts, device: string, [name, unit]: Named, value: string | number | boolean): void {
  if (typeof value === 'number') parts.measure(device, { name, value, unit })
  // A door that nobody closed in time is open.
  else parts.put(device, name, name === 'opening' && value === 'timeout not closed' ? true : value)
}

/** Gateways that hear the same packet say the same press. */
function isNewPress(device: string, fields: Fields, memory: Memory): boolean {
  const { packet } = fields
  const isPress = Object.entries(fields).some(([field, value]) => BUTTON.test(field) && typeof value === 'number' && value > 0)
  if (!isPress || typeof packet !== 'number') return true
  if (memory.get(`packet/${device}`) === packet) return false
  setRecent(memory, 'packet', device, packet)
  return true
}

function pressed(parts: Parts, device: string, press: number): void {
  if (press > 0) parts.measure(device, { name: 'action', value: BUTTONS[press] ?? `press_${press}` })
}

const AXES: readonly (readonly [x: string, y: string, z: string])[] = [
  ['accx', 'accy', 'accz'],
  ['x_axis', 'y_axis', 'z_axis'],
]
/** Others are said to be in m/s² too, and are not. */
const METRIC = /^(ruuvi|mbxpro|mokobeacon)/i

/** @returns the fields that it used. */
function accelerated(parts: Parts, device: string, fields: Fields): readonly string[] {
  const axes = AXES.find(names => names.every(name => typeof fields[name] === 'number'))
  if (!axes) return []
  const [x, y, z] = axes.map(name => fields[name])
  const unit = METRIC.test(String(fields['model_id'])) ? { unit: 'm/s²' } : {}
  parts.event(device, { eventType: 'acceleration', data: { acceleration: { x, y, z, ...unit } } })
  return axes
}
