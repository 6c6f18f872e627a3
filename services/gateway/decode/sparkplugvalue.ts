// What a Sparkplug metric says, by its type: numbers as JSON has them, beyond 2^53 as text, so that no digit is lost.
import { isUtf8 } from 'node:buffer'
import { invalid } from '../../../packages/core/failure.ts'
import { formatTime } from '../../../packages/core/time.ts'
import { exact, short } from './cboritem.ts'
import { type DataSet, type Metric, type PropertySet, type Scalars, type Template, TYPES } from './sparkplugproto.ts'

export type Plain = number | string | boolean
export type Value = Plain | readonly unknown[] | Readonly<Record<string, unknown>>

const MAX_DEPTH = 8

/** Of what is in one event, elsewhere too. */
const MAX_COUNT = 256

function checkCount(count: number, name: string): void {
  if (count > MAX_COUNT) throw invalid(name, `at most ${MAX_COUNT} elements, got ${Math.floor(count)}`)
}

/** Undefined: it has none. `type`: as its birth said. @throws Failure `invalid` that names the metric. */
export function valueIn(metric: Metric, type: number | undefined, name: string, depth = 0): Value | undefined {
  if (metric.isNull === true) return undefined
  const { datasetValue, templateValue, bytesValue } = metric
  if (datasetValue) return datasetIn(datasetValue, name)
  if (templateValue) return templateIn(templateValue, name, depth)
  if (bytesValue) return arrayIn(bytesValue, type, name) ?? bytesValue.toString('base64url')
  return scalarIn(metric, type, name)
}

/** A type that nobody said, or that is none, leaves it as it is on the wire. */
export function scalarIn(from: Scalars, type: number | undefined, name: string): Plain | undefined {
  const { intValue, longValue, floatValue, doubleValue, booleanValue, stringValue } = from
  if (booleanValue !== undefined) return booleanValue
  if (stringValue !== undefined) return stringValue
  if (doubleValue !== undefined) return doubleValue
  if (floatValue !== undefined) return short(floatValue)
  if (longValue !== undefined) return integer(BigInt(longValue), type, name)
  if (intValue !== undefined) return integer(BigInt(intValue), type, name)
  return undefined
}

const SIGNED_BITS: Readonly<Record<number, number>> = { [TYPES.Int8]: 8, [TYPES.Int16]: 16, [TYPES.Int32]: 32, [TYPES.Int64]: 64 }

/** Negative ones stand there in two's complement (Sparkplug 3.0, 6.4.16), in 32 bits or in as many as the type has. */
function integer(value: bigint, type: number | undefined, name: string): Plain {
  if (type === TYPES.DateTime) return dateTime(value, name)
  if (type === TYPES.Boolean) return value !== 0n
  const bits = type === undefined ? undefined : SIGNED_BITS[type]
  return exact(bits === undefined ? value : BigInt.asIntN(bits, value))
}

function dateTime(ms: bigint, name: string): string {
  const timeUs = Number(BigInt.asIntN(64, ms)) * 1000
  if (!Number.isSafeInteger(timeUs)) throw invalid(name, 'expected milliseconds since 1970')
  return formatTime(timeUs)
}

type Element = readonly [bytes: number, read: (bytes: Buffer, at: number) => number | bigint]
const ELEMENTS: Readonly<Record<number, Element>> = {
  [TYPES.Int8Array]: [1, (bytes, at) => bytes.readInt8(at)],
  [TYPES.Int16Array]: [2, (bytes, at) => bytes.readInt16LE(at)],
  [TYPES.Int32Array]: [4, (bytes, at) => bytes.readInt32LE(at)],
  [TYPES.Int64Array]: [8, (bytes, at) => bytes.readBigInt64LE(at)],
  [TYPES.UInt8Array]: [1, (bytes, at) => bytes.readUInt8(at)],
  [TYPES.UInt16Array]: [2, (bytes, at) => bytes.readUInt16LE(at)],
  [TYPES.UInt32Array]: [4, (bytes, at) => bytes.readUInt32LE(at)],
  [TYPES.UInt64Array]: [8, (bytes, at) => bytes.readBigUInt64LE(at)],
  [TYPES.FloatArray]: [4, (bytes, at) => short(bytes.readFloatLE(at))],
  [TYPES.DoubleArray]: [8, (bytes, at) => bytes.readDoubleLE(at)],
  [TYPES.DateTimeArray]: [8, (bytes, at) => bytes.readBigInt64LE(at)],
}

function arrayIn(bytes: Buffer, type: number | undefined, name: string): readonly Plain[] | undefined {
  if (type === undefined) return undefined
  if (type === TYPES.BooleanArray) return booleansIn(bytes, name)
  if (type === TYPES.StringArray) return stringsIn(bytes, name)
  const element = ELEMENTS[type]
  if (element === undefined) return undefined
  const [size, read] = element
  checkCount(bytes.length / size, name)
  if (bytes.length % size !== 0) throw invalid(name, `expected an array of ${size} bytes each, got ${bytes.length} bytes`)
  return Array.from({ length: bytes.length / size }, (_, i) => {
    const value = read(bytes, i * size)
    if (type === TYPES.DateTimeArray) return dateTime(value as bigint, name)
    return typeof value === 'bigint' ? exact(value) : value
  })
}

/** Their number in four bytes, then a bit for each, the highest first. */
function booleansIn(bytes: Buffer, name: string): readonly boolean[] {
  const count = bytes.length < 4 ? -1 : bytes.readUInt32LE()
  if (count < 0 || Math.ceil(count / 8) !== bytes.length - 4) throw invalid(name, 'expected a count in four bytes and a bit for each')
  checkCount(count, name)
  return Array.from({ length: count }, (_, i) => (((bytes[4 + (i >> 3)] as number) >> (7 - (i & 7))) & 1) === 1)
}

/** A zero byte ends each. */
function stringsIn(bytes: Buffer, name: string): readonly string[] {
  if (!isUtf8(bytes)) throw invalid(name, 'expected UTF-8 text')
  const texts = bytes.toString().split('\0', MAX_COUNT + 2)
  if (texts.at(-1) === '') texts.pop()
  checkCount(texts.length, name)
  return texts
}

function datasetIn({ columns = [], types = [], rows = [] }: DataSet, name: string): Value {
  checkCount(Math.max(columns.length, rows.length), name)
  return { columns, rows: rows.map(({ elements = [] }) => elements.map((one, i) => scalarIn(one, types[i], name) ?? null)) }
}

/** Its members are fields. */
function templateIn({ metrics = [], parameters = [] }: Template, name: string, depth: number): Value {
  if (depth === MAX_DEPTH) throw invalid(name, `templates in templates, deeper than ${MAX_DEPTH} levels`)
  checkCount(Math.max(metrics.length, parameters.length), name)
  const fields: Record<string, unknown> = {}
  for (const one of metrics) setField(fields, one.name, valueIn(one, one.datatype, name, depth + 1), name)
  const given: Record<string, unknown> = {}
  for (const one of parameters) setField(given, one.name, scalarIn(one, one.type, name), name)
  return Object.keys(given).length === 0 ? fields : { ...fields, parameters: given }
}

function setField(fields: Record<string, unknown>, field: string | undefined, value: unknown, name: string): void {
  if (value === undefined || field === undefined || field === '') return
  if (field === '__proto__' || Object.hasOwn(fields, field))
    throw invalid(name, `${field.slice(0, 100)} is given twice, or is not a field name`)
  fields[field] = value
}

/** Of the first of these names. */
export function propertyIn({ keys = [], values = [] }: PropertySet, ...names: readonly string[]): Plain | undefined {
  const at = keys.findIndex(key => names.includes(key.toLowerCase()))
  const property = values[at]
  return property === undefined || property.isNull === true ? undefined : scalarIn(property, property.type, 'properties')
}
