// Tasmota: `tele/{topic}/SENSOR`, `STATE` and `LWT`, and what changes in between on `stat/{topic}/…`; the prefix may stand anywhere in the
// topic (tasmota.github.io/docs: MQTT, JSON status responses, the pages of the peripherals).
import { Type } from 'typebox'
import type { Format, Memory, Output } from './format.ts'
import { availability, channelOf, deviceOf, isKnown, reported } from './measure.ts'
import { Parts } from './part.ts'
import { readValue } from './quantity.ts'
import { besideFirst } from './tasmotaowner.ts'
import { type Fields, isObject, isScalar, objectOf, textOf } from './text.ts'
import { eventTime } from './time.ts'

const NOTHING: Output = { decoded: [] }

export const tasmota: Format = {
  name: 'tasmota',
  version: 3,
  title: 'Tasmota: telemetry, switches and buttons',
  options: Type.Object({
    utcOffsetMinutes: Type.Optional(
      Type.Integer({
        minimum: -840,
        maximum: 840,
        description: 'East of UTC, of the `Time` that devices send without a zone. Without it the time of arrival counts.',
      }),
    ),
  }),
  topics: ['tele/#', 'stat/#'],
  contentTypes: [],
  decode({ topic, bytes, memory, options, place }, clock) {
    const at = topic.findIndex(level => level === 'tele' || level === 'stat')
    const name = topic.filter((_, i) => i !== at && i !== topic.length - 1).join('/')
    if (at < 0 || at === topic.length - 1 || name === '' || bytes.length === 0) return NOTHING
    const [device, kind] = [deviceOf(name), topic.at(-1) as string]
    // Other systems publish here too, and not only text.
    if (!KINDS.test(kind)) return NOTHING
    const text = textOf(bytes)
    if (kind === 'LWT' && /^(Online|Offline)$/i.test(text)) {
      const more = [availability(text.toLowerCase() === 'online')]
      return { decoded: reported({ device, measures: [], more }, place.project, clock, text) }
    }
    const found = new Found(device, options['utcOffsetMinutes'] as number | undefined, memory)
    if (topic[at] === 'tele') found.telemetry(kind, text)
    else found.status(kind, text)
    return { decoded: found.parts.reported(found.timeUs, place.project, clock, text) }
  },
}

const KINDS = /^(?:LWT|SENSOR|STATE|RESULT|STATUS(?:8|10|11)|POWER\d{0,2})$/
const POWER = /^POWER(\d{0,2})$/
const ACTION = /^(?:Button|Switch)\d{1,2}$/
const CONTEXT: ReadonlySet<string> = new Set(['Time', 'Epoch', 'TempUnit', 'PressureUnit', 'SpeedUnit', 'ZbReceived'])
const MAX_CHANNELS = 16
/** Of several inputs of the converter the number stands behind the name: `Temperature1`, `CTEnergy2`. */
const ANALOG = /^(\D{2,20})(\d{1,2})$/
/** What some sensors measure distances in. */
const DISTANCES: readonly (readonly [block: RegExp, unit: string])[] = [
  [/^AS3935/, 'km'],
  [/^VL53L/, 'mm'],
]

/** What one payload says of one device and those behind it. */
class Found {
  readonly parts = new Parts()
  timeUs: number | undefined
  readonly #device: string
  readonly #offset: number | undefined
  readonly #memory: Memory
  /** By what a field ends in: where they are not those of the vocabulary (docs of SR04 and SGP30). */
  readonly #units = new Map([
    ['Pressure', 'hPa'],
    ['Distance', 'cm'],
    ['TVOC', 'ppb'],
  ])

  constructor(device: string, offset: number | undefined, memory: Memory) {
    this.#memory = memory
    this.#device = device
    this.#offset = offset
  }

  telemetry(kind: string, text: string): void {
    if ((kind === 'SENSOR' || kind === 'STATE') && text.startsWith('{')) this.#sensors(objectOf(text))
  }

  /** `POWER` says plainly what `RESULT` repeats; of that, buttons and switches count that have nothing else. */
  status(kind: string, text: string): void {
    if (POWER.test(kind) && /^O(N|FF)$/.test(text)) this.#single(kind, text)
    if (!text.startsWith('{')) return
    if (kind === 'STATUS8' || kind === 'STATUS10') this.#inside(objectOf(text)['StatusSNS'])
    else if (kind === 'STATUS11') this.#inside(objectOf(text)['StatusSTS'])
    else if (kind === 'RESULT') this.#actions(objectOf(text))
  }

  #inside(fields: unknown): void {
    if (isObject(fields)) this.#sensors(fields)
  }

  #actions(fields: Fields): void {
    for (const [key, value] of Object.entries(fields)) {
      const action = ACTION.test(key) && isObject(value) ? value['Action'] : undefined
      if (typeof action === 'string' && action !== '') this.#act(key, action)
    }
  }

  #act(key: string, action: string): void {
    this.parts.measure(channelOf(this.#device, key.toLowerCase()), { name: 'action', value: action.toLowerCase() })
  }

  #sensors(fields: Fields): void {
    this.timeUs = timeOf(fields, this.#offset)
    const { TempUnit: degrees, PressureUnit: pressure, SpeedUnit: speed, ZbReceived: zigbee } = fields
    if (typeof degrees === 'string') for (const name of ['Temperature', 'DewPoint', 'DeviceTemperature']) this.#units.set(name, degrees)
    if (typeof pressure === 'string') this.#units.set('Pressure', pressure)
    if (typeof speed === 'string') this.#units.set('Speed', speed)
    const beside = besideFirst(fields, measuredIn(fields), this.#memory, this.#device)
    for (const [key, value] of Object.entries(fields)) {
      if (CONTEXT.has(key)) continue
      if (isObject(value)) this.#block(key, value, beside.has(key))
      else this.#single(key, value)
    }
    if (isObject(zigbee)) this.#zigbee(zigbee)
  }

  #single(key: string, value: unknown): void {
    const power = POWER.exec(key)
    if (power) this.parts.put(power[1] ? channelOf(this.#device, power[1]) : this.#device, 'switch', value)
    else if (ACTION.test(key)) this.parts.put(channelOf(this.#device, key.toLowerCase()), 'switch', value)
    else this.#put(this.#device, key, value)
  }

  /** `{"Temperature":21.7,…}` of one sensor. Probes have an id, doubles an index or address; both are devices of their own. */
  #block(key: string, fields: Fields, isBeside: boolean): void {
    const device = this.#deviceOf(key, fields, isBeside)
    const rest: [string, unknown][] = []
    for (const [name, value] of Object.entries(fields)) {
      if (name === 'Id' || name === 'TotalStartTime' || value === null) continue
      if (!this.#value(device, key, name, value)) rest.push([named(key, name), value])
    }
    if (rest.length > 0) this.parts.rest(device, key, Object.fromEntries(rest))
  }

  /** @returns false for what no other device has. */
  #value(device: string, block: string, name: string, value: unknown): boolean {
    const [, input = '', number = ''] = (block === 'ANALOG' && ANALOG.exec(name)) || []
    if (number !== '') return this.#value(channelOf(this.#device, `analog${number}`), block, input, value)
    if (block === 'ANALOG' && name === 'CTEnergy' && isObject(value)) {
      for (const [field, one] of Object.entries(value)) if (isScalar(one)) this.#put(device, field, one)
      return true
    }
    // Of radars and lightning it is how strong they saw something.
    if (name === 'Energy') return false
    const own = named(block, name)
    if (Array.isArray(value)) this.#eachOf(own, value)
    else if (isScalar(value) && isKnown({ name: own, value, unit: this.#unitOf(own, value, block) })) this.#put(device, own, value, block)
    else return false
    return true
  }

  /** `"Power":[1,2,3]`: a channel or phase each, counted from 1 as relays are. */
  #eachOf(name: string, values: readonly unknown[]): void {
    for (const [i, value] of values.slice(0, MAX_CHANNELS).entries()) this.#put(channelOf(this.#device, i + 1), name, value)
  }

  #deviceOf(key: string, { Id: id }: Fields, isBeside: boolean): string {
    if (isNumbered(key)) return channelOf(this.#device, typeof id === 'string' && id !== '' ? id : key)
    return isBeside ? channelOf(this.#device, key) : this.#device
  }

  /** Devices of a Zigbee bridge by the name that they were given, else by their address. */
  #zigbee(devices: Fields): void {
    for (const [address, fields] of Object.entries(devices)) {
      if (!isObject(fields)) continue
      const { Device: _, Name: name, Power: power, ...others } = fields
      const device = channelOf(this.#device, typeof name === 'string' && name !== '' ? name : address)
      if (power !== undefined) this.parts.put(device, 'switch', power)
      for (const [key, value] of Object.entries(others)) this.#put(device, key, value)
    }
  }

  #put(device: string, name: string, value: unknown, block = ''): void {
    this.parts.put(device, name, value, this.#unitOf(name, value, block))
  }

  #unitOf(name: string, value: unknown, block: string): string | undefined {
    if (typeof readValue(name, value) !== 'number') return undefined
    const distance = name === 'Distance' ? DISTANCES.find(([pattern]) => pattern.test(block))?.[1] : undefined
    return distance ?? this.#units.get(name)
  }
}

/** What sensors measure that have no number. */
function measuredIn(fields: Fields): Map<string, string[]> {
  const measured = new Map<string, string[]>()
  for (const [key, block] of Object.entries(fields)) {
    if (!isObject(block) || CONTEXT.has(key) || isNumbered(key)) continue
    const names = Object.entries(block).flatMap(([name, value]) => (isMeasured(key, name, value) ? [named(key, name)] : []))
    if (names.length > 0) measured.set(key, [...new Set(names)])
  }
  return measured
}

function isNumbered(block: string): boolean {
  return /[-_]\w{1,4}$/.test(block)
}

/** Also while it is null: what it measures is its own all the same. */
function isMeasured(block: string, name: string, value: unknown): boolean {
  const isOne = value === null || typeof value === 'number'
  return isOne && name !== 'Energy' && block !== 'ANALOG' && isKnown({ name: named(block, name), value: 1 })
}

/** A local time without its zone may be hours away: without being told, the time of arrival is nearer. */
function timeOf({ Time: time, Epoch: epoch }: Fields, offset: number | undefined): number | undefined {
  if (typeof epoch === 'number') return eventTime(epoch, 'Epoch')
  if (typeof time !== 'string') return undefined
  if (/(Z|[+-]\d\d:\d\d)$/.test(time)) return eventTime(time, 'Time')
  return offset === undefined ? undefined : eventTime(time.replace(/^(\d{4})\.(\d\d)\.(\d\d)/, '$1-$2-$3'), 'Time', offset)
}

/** Some names mean something else in some blocks. */
function named(block: string, name: string): string {
  if (block === 'ESP32' && name === 'Temperature') return 'DeviceTemperature'
  if (block === 'Wifi') return name === 'Signal' ? 'rssi' : name === 'RSSI' ? 'Quality' : name
  if (block === 'ENERGY') return name === 'Total' ? 'energy' : name === 'Factor' ? 'powerFactor' : name
  return name
}
