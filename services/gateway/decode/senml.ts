// SenML (RFC 8428), as JSON or CBOR: a list of records that share what stands before them. Every record is one thing measured; those of one
// device and time become events together.
import { type Static, Type } from 'typebox'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { readItem } from './cbor.ts'
import type { Clock, Decoded, Place } from './event.ts'
import type { Format } from './format.ts'
import { gathered, type Sensed } from './gather.ts'
import { isObject, MAX_BATCH, readJson, textOf, tooMany } from './json.ts'
import { deviceOf } from './measure.ts'

const Options = Type.Object({
  device: Type.Optional(
    Type.Union([Type.Literal('split'), Type.Literal('whole')], {
      description: '`split`: the last part of a name is what was measured, the rest is the device. `whole`: the name is the device.',
    }),
  ),
  separator: Type.Optional(
    Type.String({ minLength: 1, maxLength: 8, description: 'What stands between the two, if it is not one of / : _' }),
  ),
})
type Options = Static<typeof Options>

export const senml: Format = {
  name: 'senml',
  version: 1,
  title: 'SenML packs (RFC 8428), JSON or CBOR',
  options: Options,
  topics: [],
  contentTypes: ['application/senml+json', 'application/senml+cbor', 'application/sensml+json', 'application/sensml+cbor'],
  decode: ({ bytes, place, options }, clock) => ({ decoded: decodePack(bytes, place, options as Options, clock) }),
}

/** RFC 8428, table 4. */
const LABELS: ReadonlyMap<number, string> = new Map([
  [-1, 'bver'],
  [-2, 'bn'],
  [-3, 'bt'],
  [-4, 'bu'],
  [-5, 'bv'],
  [-6, 'bs'],
  [0, 'n'],
  [1, 'u'],
  [2, 'v'],
  [3, 'vs'],
  [4, 'vb'],
  [5, 's'],
  [6, 't'],
  [7, 'ut'],
  [8, 'vd'],
])

function decodePack(bytes: Buffer, place: Place, options: Options, clock: Clock): Decoded[] {
  const pack = isCbor(bytes) ? readItem(bytes, LABELS) : readJson(bytes)
  if (!Array.isArray(pack)) throw invalid('payload', 'expected a SenML pack: an array of records')
  if (pack.length === 0) throw invalid('payload', 'expected at least one record, got an empty array')
  if (pack.length > MAX_BATCH) throw tooMany()
  const refused: Decoded[] = []
  const sensed: Sensed[] = []
  const base = new Base()
  // Of one pack, however long it takes to read.
  const arrivedUs = clock.nowUs()
  for (const [i, record] of pack.entries()) {
    try {
      sensed.push(...sensedIn(base.resolved(record, `${i}`), place, options, arrivedUs))
    } catch (error) {
      // Nobody may guess what else it says.
      if (!(error instanceof Failure) || error.code === 'unsupported') throw error
      refused.push({ failure: error, element: textOf(record) })
    }
  }
  return [...gathered(sensed, place.project, clock), ...refused]
}

/** An array or a tag; JSON begins with `[` or white space, which is none of them. */
function isCbor(bytes: Buffer): boolean {
  const major = (bytes[0] ?? 0) >> 5
  return major === 4 || major === 6
}

type Value = number | string | boolean
type Resolved = {
  readonly at: string
  readonly record: object
  readonly baseName: string
  /** Of the base name, where that ends with a separator. */
  readonly baseDevice: string | undefined
  readonly name: string
  readonly unit: string | undefined
  readonly seconds: number | undefined
  readonly value: Value | undefined
  readonly sum: number | undefined
}

const MAX_NAME_CHARS = 256
const MAX_UNIT_CHARS = 64
const NAME = /^[A-Za-z0-9][A-Za-z0-9:./_-]*$/
/** What later records inherit (RFC 8428, 4.1). */
const BASE_FIELDS: ReadonlySet<string> = new Set(['bver', 'bn', 'bt', 'bu', 'bv', 'bs'])
const KNOWN: ReadonlySet<string> = new Set(LABELS.values())

class Base {
  #name = ''
  #device: string | undefined
  /** Why nobody knows any more what later records inherit: they would be of another device, or time. */
  #broken: Failure | undefined
  #unit: string | undefined
  #time: number | undefined
  #value: number | undefined
  #sum: number | undefined

  /** Undefined: it only says something for those that follow. */
  resolved(record: unknown, at: string): Resolved | undefined {
    if (this.#broken) throw new Failure('invalid', `${at}: a base field before it is wrong: ${this.#broken.message}`, { field: at })
    if (!isObject(record)) throw invalid(at, 'expected a SenML record: an object')
    this.#inherit(record, at)
    if (Object.keys(record).every(key => BASE_FIELDS.has(key)) && record['bv'] === undefined && record['bs'] === undefined) return undefined
    const name = this.#name + (textIn(record, 'n', at) ?? '')
    // Inherited by thousands of records, long ones would take seconds.
    if (name.length > MAX_NAME_CHARS) throw invalid(`${at}.n`, `expected a name of at most ${MAX_NAME_CHARS} characters`)
    if (name !== '' && !NAME.test(name))
      throw invalid(`${at}.n`, 'expected a name of A-Z a-z 0-9 - : . / _ that starts with a letter or digit')
    const value = this.#valueOf(record, at)
    const sum = added(this.#sum, numberIn(record, 's', at))
    if (value === undefined && sum === undefined) throw invalid(at, 'expected a value: v, vs, vb, vd or s')
    const unit = textIn(record, 'u', at) ?? this.#unit
    if (unit !== undefined && unit.length > MAX_UNIT_CHARS)
      throw invalid(`${at}.u`, `expected a unit of at most ${MAX_UNIT_CHARS} characters`)
    const seconds = added(this.#time, numberIn(record, 't', at))
    return { at, record, baseName: this.#name, baseDevice: this.#device, name, unit, seconds, value, sum }
  }

  #inherit(record: Record<string, unknown>, at: string): void {
    try {
      checkLabels(record, at)
      this.#takeBase(record, at)
    } catch (error) {
      if (error instanceof Failure) this.#broken = error
      throw error
    }
  }

  #takeBase(record: Record<string, unknown>, at: string): void {
    const name = textIn(record, 'bn', at)
    if (name !== undefined) this.#named(name, at)
    this.#unit = textIn(record, 'bu', at) ?? this.#unit
    this.#time = numberIn(record, 'bt', at) ?? this.#time
    this.#value = numberIn(record, 'bv', at) ?? this.#value
    this.#sum = numberIn(record, 'bs', at) ?? this.#sum
  }

  #named(name: string, at: string): void {
    if (name.length > MAX_NAME_CHARS) throw invalid(`${at}.bn`, `expected a name of at most ${MAX_NAME_CHARS} characters`)
    this.#name = name
    this.#device = withoutSeparators(name)
  }

  #valueOf(record: Record<string, unknown>, at: string): Value | undefined {
    const given = ['v', 'vs', 'vb', 'vd'].filter(label => record[label] !== undefined)
    if (given.length > 1) throw invalid(at, `expected one value, got ${given.join(' and ')}`)
    const [label] = given
    if (label === 'vb') return flagIn(record, at)
    if (label === 'vs' || label === 'vd') return textIn(record, label, at)
    const exact = record['v']
    // CBOR says integers beyond 2^53 too.
    if (typeof exact === 'string' && /^-?\d{16,20}$/.test(exact) && this.#value === undefined) return exact
    return added(this.#value, numberIn(record, 'v', at))
  }
}

/** 10 is RFC 8428; RFC 9100 adds 16 where secondary units occur. Others may mean anything. */
function checkLabels(record: Record<string, unknown>, at: string): void {
  const version = numberIn(record, 'bver', at) ?? 10
  if (version > 10 && version !== 26)
    throw new Failure('unsupported', `${at}.bver: expected 10 or 26, got ${version}`, { field: `${at}.bver` })
  const unknown = Object.keys(record).find(key => key.endsWith('_') && !KNOWN.has(key))
  if (unknown === undefined) return
  const label = unknown.slice(0, 100)
  throw new Failure('unsupported', `${at}.${label}: its sender says that this label must be understood`, { field: `${at}.${label}` })
}

function textIn(record: Record<string, unknown>, label: string, at: string): string | undefined {
  const value = record[label]
  if (value !== undefined && typeof value !== 'string') throw invalid(`${at}.${label}`, 'expected text')
  return value
}

function numberIn(record: Record<string, unknown>, label: string, at: string): number | undefined {
  const value = record[label]
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isFinite(value)) throw invalid(`${at}.${label}`, 'expected a finite number')
  return value
}

function flagIn(record: Record<string, unknown>, at: string): boolean {
  const value = record['vb']
  if (typeof value !== 'boolean') throw invalid(`${at}.vb`, 'expected true or false')
  return value
}

/** The missing one counts as zero, and both missing as missing. */
function added(base: number | undefined, own: number | undefined): number | undefined {
  if (base === undefined || own === undefined) return own ?? base
  return base + own
}

function sensedIn(resolved: Resolved | undefined, place: Place, options: Options, arrivedUs: number): Sensed[] {
  if (resolved === undefined) return []
  const { at, record: element, unit, value, sum } = resolved
  const { device, type } = named(resolved, place, options)
  if (device === '') throw invalid(`${at}.n`, 'missing: expected a name (n or bn) that says which device it is')
  const timeUs = timeOf(resolved, arrivedUs)
  const isRelative = timeUs !== undefined && (resolved.seconds ?? 0) < RELATIVE
  const { name, unit: known } = quantityOf(type ?? place.eventType, unit)
  const sensed: Sensed[] = []
  if (value !== undefined) sensed.push({ device, timeUs, isRelative, measure: { name, value, unit: known }, element })
  if (sum !== undefined) sensed.push({ device, timeUs, isRelative, measure: { name: `${name}.sum`, value: sum }, element })
  return sensed
}

/** Below 2^28 seconds it counts from now (RFC 8428, 4.5.3). */
const RELATIVE = 2 ** 28

function timeOf({ seconds, at }: Resolved, arrivedUs: number): number | undefined {
  if (seconds === undefined || seconds === 0) return undefined
  const sentUs = Math.round(seconds * 1e6)
  const timeUs = seconds < RELATIVE ? arrivedUs + sentUs : sentUs
  if (!Number.isSafeInteger(timeUs)) throw invalid(`${at}.t`, 'expected seconds since 1970, or from now')
  return timeUs
}

/** Of the kinds `mac` and `ow` and the like the fourth part is the device (RFC 9039). */
const DEVICE_URN = /^urn:dev:[^:]+:[^:_/]+$/

/** Its last part says what was measured. A name without parts is that of the device, or of the quantity where the topic names the device. */
function named(
  { baseName, baseDevice, name }: Resolved,
  place: Place,
  { device = 'split', separator }: Options,
): { device: string; type?: string } {
  if (device === 'whole' || DEVICE_URN.test(name)) return { device: place.device ?? deviceOf(name) }
  const cut =
    separator === undefined && baseDevice !== undefined && name.length > baseName.length
      ? ([baseDevice, name.slice(baseName.length)] as const)
      : cutOf(name, separator)
  const known = place.device ?? place.elseDevice
  if (cut === undefined) return known === undefined ? { device: deviceOf(name) } : { device: known, ...(name === '' ? {} : { type: name }) }
  const [before, after] = cut
  return { device: place.device ?? deviceOf(before), type: after }
}

const SEPARATED = /^(.*[^/:_])[/:_]+([^/:_]+)$/s

/** Undefined: none is there. */
function withoutSeparators(name: string): string | undefined {
  let to = name.length
  while (to > 0 && SEPARATORS.includes(name[to - 1] as string)) to--
  return to === name.length ? undefined : name.slice(0, to)
}

const SEPARATORS = '/:_'

function cutOf(name: string, separator: string | undefined): readonly [string, string] | undefined {
  if (separator !== undefined) {
    const at = name.lastIndexOf(separator)
    return at > 0 && at + separator.length < name.length ? [name.slice(0, at), name.slice(at + separator.length)] : undefined
  }
  const match = SEPARATED.exec(name)
  return match ? [match[1] as string, match[2] as string] : undefined
}

/** What a unit of the registry measures, where the name does not say it; those that are no units here have none. */
const BY_UNIT: Readonly<Record<string, readonly [name: string, unit?: string]>> = {
  Cel: ['temperature', '°C'],
  K: ['temperature', 'K'],
  '%RH': ['humidity', '%'],
  lx: ['illuminance', 'lx'],
  Pa: ['pressure', 'Pa'],
  bar: ['pressure', 'bar'],
  hPa: ['pressure', 'hPa'],
  V: ['voltage', 'V'],
  mV: ['voltage', 'mV'],
  A: ['current', 'A'],
  mA: ['current', 'mA'],
  W: ['power', 'W'],
  kW: ['power', 'kW'],
  J: ['energy', 'J'],
  Wh: ['energy', 'Wh'],
  kWh: ['energy', 'kWh'],
  VA: ['apparentPower', 'VA'],
  kVA: ['apparentPower', 'kVA'],
  var: ['reactivePower', 'var'],
  kvar: ['reactivePower', 'kvar'],
  Hz: ['frequency', 'Hz'],
  dB: ['soundLevel', 'dB'],
  dBm: ['signalLevel', 'dBm'],
  dBW: ['signalLevel', 'dBW'],
  m: ['distance', 'm'],
  kg: ['mass', 'kg'],
  g: ['mass', 'g'],
  m3: ['volume', 'm³'],
  l: ['volume', 'L'],
  'm/s': ['speed', 'm/s'],
  'm3/s': ['flow', 'm³/s'],
  'l/s': ['flow', 'L/s'],
  'S/m': ['conductivity', 'S/m'],
  'W/m2': ['irradiance', 'W/m²'],
  rad: ['angle', 'rad'],
  pH: ['pH'],
  lat: ['latitude'],
  lon: ['longitude'],
  '%EL': ['battery', '%'],
  EL: ['batteryLife', 's'],
  bpm: ['heartRate', 'bpm'],
  'beat/min': ['heartRate', 'beat/min'],
  count: ['count'],
  '/': ['ratio'],
  '%': ['percentage', '%'],
}

function quantityOf(type: string | undefined, unit: string | undefined): { name: string; unit: string | undefined } {
  const known = unit !== undefined && Object.hasOwn(BY_UNIT, unit) ? BY_UNIT[unit] : undefined
  return { name: type ?? known?.[0] ?? 'value', unit: known === undefined ? unit : known[1] }
}
