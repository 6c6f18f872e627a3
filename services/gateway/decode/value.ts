// Values under names that somebody chose: which are measures, and in which units, which are places and axes, and which are only words.
import { Failure } from '../../../packages/core/failure.ts'
import { eventTypeOf, isKnown, MAX_NAME_CHARS, type Measure, type Measured, measured } from './measure.ts'
import { airPressureUnit, NUMBER_NAMES, numberName, readValue } from './quantity.ts'
import { type Fields, isObject, isScalar } from './text.ts'

/** What a value is really called, by the name that it has. */
export type Renamed = Readonly<Record<string, { readonly name?: string | undefined; readonly unit?: string | undefined }>>

/** `rest`: words and lists, as they are. */
export type Values = { readonly measures: readonly Measure[]; readonly rest: Fields; readonly more: readonly Measured[] }

/** Units that makers write behind a name: `battery_mv`. */
const SUFFIXES =
  'c °C,f °F,celsius °C,fahrenheit °F,pct %,percent %,v V,mv mV,a A,ma mA,w W,kw kW,wh Wh,kwh kWh,hz Hz,pa Pa,hpa hPa,kpa kPa,mbar mbar,' +
  'lux lx,lx lx,ppm ppm,ppb ppb,m m,cm cm,mm mm,dbm dBm'
const UNITS: ReadonlyMap<string, string> = new Map(SUFFIXES.split(',').map(pair => pair.split(' ') as [string, string]))
/** What stands beside a value without being one: `{"displayName": "Air temperature", "unit": "°C", "value": 21.5}`. */
const ABOUT_VALUE: ReadonlySet<string> = new Set(['value', 'unit', 'displayName', 'display_name', 'name', 'label', 'description'])
const MAX_DEPTH = 8
const MAX_VALUES = 256
/** No percentage: what is called a battery is then its voltage. */
const MAX_PERCENT = 100
/** Of a single cell. */
const [MIN_VOLTS, MAX_VOLTS] = [1, 5]

/** @param taken event types that are there already. @throws Failure `too_large`: of what is left out nobody would know. */
export function valuesIn(decoded: Fields, renamed: Renamed, taken: ReadonlySet<string | undefined> = new Set()): Values {
  const found = new Found(renamed, taken)
  found.object(decoded, '', 0)
  return found
}

class Found implements Values {
  readonly measures: Measure[] = []
  readonly rest: Record<string, unknown> = {}
  readonly more: Measured[] = []
  readonly #renamed: Renamed
  readonly #taken: ReadonlySet<string | undefined>
  #count = 0

  constructor(renamed: Renamed, taken: ReadonlySet<string | undefined>) {
    this.#renamed = renamed
    this.#taken = taken
  }

  object(values: Fields, path: string, depth: number): void {
    for (const [key, value] of Object.entries(values)) {
      if (++this.#count > MAX_VALUES) throw new Failure('too_large', `values: at most ${MAX_VALUES} in one payload`)
      this.#value(path === '' ? key : `${path}_${key}`, value, depth)
    }
  }

  #value(name: string, value: unknown, depth: number): void {
    if (value === null || value === undefined) return
    // Refused by its name when it becomes an event, before anything else looks at that.
    if (name.length > MAX_NAME_CHARS) this.measures.push({ name, value: false })
    else if (isScalar(value)) this.#scalar(name, value)
    else if (!isObject(value)) this.rest[name] = value
    else if (isScalar(value['value']) && Object.keys(value).every(key => ABOUT_VALUE.has(key)))
      this.#scalar(name, value['value'], typeof value['unit'] === 'string' ? value['unit'] : undefined)
    else {
      const vector = vectorIn(name, value)
      if (vector) this.more.push(vector)
      else if (depth < MAX_DEPTH) this.object(value, name, depth + 1)
      else this.rest[name] = value
    }
  }

  #scalar(name: string, value: number | string | boolean, unit?: string): void {
    const said = Object.hasOwn(this.#renamed, name) ? this.#renamed[name] : undefined
    const measure = said ? { name: said.name ?? name, value, unit: said.unit ?? unit } : guessed(name, value, unit)
    if (this.#taken.size > 0 && this.#taken.has(typeOf(measure))) return
    if (typeof measure.value === 'number' || isKnown(measure)) this.measures.push(measure)
    else this.rest[name] = value
  }
}

function guessed(name: string, value: number | string | boolean, unit: string | undefined): Measure {
  const [, short = '', suffix = ''] = /^(.+)_([a-zA-Z]+)$/.exec(name) ?? []
  const behind = UNITS.get(suffix.toLowerCase())
  const measure =
    behind !== undefined && unit === undefined && isKnown({ name: short, value })
      ? { name: short, value, unit: behind }
      : { name, value, unit }
  if (isBattery(measure.name)) return battery(measure)
  return measure.unit === undefined ? unitless(measure) : measure
}

/** Makers of LoRa devices send pressure in hPa and distance in mm, and do not say so. */
function unitless(measure: Measure): Measure {
  const { name, value } = measure
  const number = readValue(name, value)
  if (typeof number !== 'number') return measure
  const pressure = airPressureUnit(name, number)
  if (pressure !== undefined) return { name, value, unit: pressure }
  return NUMBER_NAMES.get(numberName(name))?.eventType === 'distance' ? { name: `${name}_raw`, value: number } : measure
}

function isBattery(name: string): boolean {
  return /^(bat|batt|battery)(_?level)?$/i.test(name)
}

function battery({ value, unit }: Measure): Measure {
  if (unit === 'V' || unit === 'mV') return { name: 'batteryVoltage', value, unit }
  const number = readValue('battery', value)
  if (unit !== undefined || typeof number !== 'number') return { name: 'battery', value, unit }
  if (number > MAX_PERCENT) return { name: 'batteryVoltage', value, unit: 'mV' }
  // 3.6 of one cell; percentages have no fraction there.
  if (number > MIN_VOLTS && number < MAX_VOLTS && !Number.isInteger(number)) return { name: 'batteryVoltage', value, unit: 'V' }
  return { name: 'battery', value, unit }
}

function vectorIn(name: string, value: Fields): Measured | undefined {
  const place = placeIn(value)
  if (place) return { eventType: 'location', data: { location: place } }
  const { x, y, z, ...others } = value
  if (typeof x !== 'number' || typeof y !== 'number' || typeof z !== 'number' || Object.keys(others).length > 0) return undefined
  const eventType = eventTypeOf(name)
  return { eventType, data: { [eventType]: { x, y, z } } }
}

function placeIn({ latitude, longitude, lat, lon, lng, altitude, alt }: Fields): Fields | undefined {
  const [north, east, up] = [latitude ?? lat, longitude ?? lon ?? lng, altitude ?? alt]
  if (typeof north !== 'number' || typeof east !== 'number') return undefined
  return { latitude: north, longitude: east, ...(typeof up === 'number' ? { altitude: up } : {}) }
}

/** What it becomes when it stands alone. @throws Failure `invalid` for a unit of something else. */
export function typeOf(measure: Measure): string | undefined {
  return measured([measure])[0]?.eventType
}
