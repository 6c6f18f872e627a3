// What Theengs has decoded of Bluetooth sensors (decoder.theengs.io), as OpenMQTTGateway and Theengs Gateway publish it: short names without
// units, of which some mean something else for some models.
import { PRESSES } from './bthomeobject.ts'
import type { Memory } from './format.ts'
import { channelOf } from './measure.ts'
import type { Parts } from './part.ts'
import { isNewPacket } from './recent.ts'
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

type Reading = (value: unknown, fields: Fields) => Named | undefined

/** What depends on the model, or on what stands beside it. */
const READINGS: ReadonlyMap<string, Reading> = new Map<string, Reading>([
  // Of tyres it is what is in them.
  ['pres', (_, { type, model_id: model }) => ['pressure', type === 'TIRE' || model === 'TPMS' ? 'bar' : 'hPa']],
  ['open', value => (typeof value === 'number' ? ['position', '%'] : ['opening'])],
  ['contact', () => ['opening']],
  // Of a blind it is its motor that moves.
  ['motion', (_, { type }) => (type === 'WCVR' ? undefined : ['motion'])],
  ['weight', (_, { unit }) => ['mass', textIn(unit) ?? 'kg']],
  ['lvl_cm', () => ['level', 'cm']],
  ['tempf', (_, { tempc }) => (tempc === undefined ? ['temperature', '°F'] : undefined)],
  ['avg', (_, { avgu }) => (avgu === 'm³' ? ['flow', 'm³/h'] : ['power', textIn(avgu)])],
  ['sum', (_, { sumu }) => (sumu === 'm³' ? ['volume', 'm³'] : ['energy', textIn(sumu)])],
])

/** Of what is in sight without being a sensor (phones, beacons) nothing but their names is told. */
export function relayed(parts: Parts, device: string, fields: Fields, memory: Memory): void {
  const isSensor = typeof fields['model_id'] === 'string' && fields['type'] !== 'RMAC'
  const used = new Set([...SKIPPED, ...accelerated(parts, device, fields), ...acted(parts, device, fields, memory)])
  for (const [field, value] of Object.entries(fields)) {
    if (used.has(field) || !isScalar(value)) continue
    const { own, named } = namedFor(device, field, value, fields)
    if (named) put(parts, own, named, value)
    else if (isSensor && !isRepeated(field, fields)) parts.rest(device, field, value)
  }
}

/** What a value is called, and whose it is; not called anything where only its model knows. */
function namedFor(device: string, field: string, value: unknown, fields: Fields): { own: string; named: Named | undefined } {
  const [, channel] = CHANNEL.exec(field) ?? []
  if (channel !== undefined) return { own: channelOf(device, channel), named: ['temperature', '°C'] }
  const reading = READINGS.get(field)
  return { own: device, named: reading ? reading(value, fields) : NAMES.get(field) }
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

/** @returns the fields that it used. */
function acted(parts: Parts, device: string, fields: Fields, memory: Memory): readonly string[] {
  const buttons = Object.entries(fields).filter(([field, value]) => BUTTON.test(field) && typeof value === 'number')
  const presses = buttons.filter(([, press]) => (press as number) > 0)
  if (presses.length > 0 && isNewPacket(memory, device, fields['packet']))
    for (const [field, press] of presses) {
      const [, number = '1'] = BUTTON.exec(field) ?? []
      const value = BUTTONS[press as number] ?? `press_${String(press)}`
      parts.measure(number === '1' ? device : channelOf(device, number), { name: 'action', value })
    }
  return buttons.map(([field]) => field)
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
