// A protobuf message as the JSON value that says the same, read beside its definition: nothing is generated of a definition that somebody
// sent, and no number loses a digit. Bounded in depth and in values.
import { isUtf8 } from 'node:buffer'
import protobuf, { type Field, type Reader, type Type } from 'protobufjs'
import { invalid } from '../../../packages/core/failure.ts'
import { formatTime } from '../../../packages/core/time.ts'
import { WIRE_TYPES } from '../../../packages/log/durable/protobuf.ts'
import { short } from './cboritem.ts'

type Fields = Record<string, unknown>
type Typed = Pick<Field, 'type' | 'resolvedType'>
type Shape = { readonly fields: ReadonlyMap<number, Field>; readonly defaults: readonly (readonly [name: string, value: unknown])[] }

const MAX_DEPTH = 16
const MAX_VALUES = 20_000
/** An empty message takes two bytes, and all of its fields have values. */
const MAX_DEFAULTS = 200_000
const VARINT = 0
const LENGTH = 2

export class MessageReader {
  readonly #type: Type
  readonly #shapes = new Map<Type, Shape>()

  constructor(type: Type) {
    this.#type = type
  }

  /** @throws Failure `invalid` that names the field. */
  read(bytes: Buffer): Fields {
    const reading = new Reading(bytes, type => this.#shapeOf(type))
    try {
      return reading.message(bytes.length, this.#type, '', 0)
    } catch (error) {
      // That is a mistake of ours; all else is what the library says of the bytes, too.
      if (error instanceof TypeError) throw error
      throw invalid('payload', `not a message of type ${this.#type.fullName.slice(1)}: ${(error as Error).message}`)
    }
  }

  #shapeOf(type: Type): Shape {
    const known = this.#shapes.get(type)
    if (known) return known
    const fields = new Map(type.fieldsArray.map(field => [field.id, field]))
    const shape = { fields, defaults: type.fieldsArray.filter(hasDefault).map(field => [field.name, defaultOf(field)] as const) }
    this.#shapes.set(type, shape)
    return shape
  }
}

/** Those that are left out on the wire when they have it (proto3), so that 0 °C is not nothing. */
function hasDefault(field: Field): boolean {
  return !field.repeated && !(field instanceof protobuf.MapField) && !(field.resolvedType instanceof protobuf.Type) && !field.hasPresence
}

function defaultOf({ type, resolvedType }: Typed): unknown {
  if (resolvedType instanceof protobuf.Enum) return resolvedType.valuesById[0] ?? 0
  return type === 'string' || type === 'bytes' ? '' : type === 'bool' ? false : 0
}

/** One payload. */
class Reading {
  readonly #bytes: Buffer
  readonly #reader: Reader
  readonly #shapeOf: (type: Type) => Shape
  #values = 0
  #defaults = 0

  constructor(bytes: Buffer, shapeOf: (type: Type) => Shape) {
    this.#bytes = bytes
    this.#reader = protobuf.Reader.create(bytes)
    this.#shapeOf = shapeOf
  }

  message(end: number, type: Type, path: string, depth: number): Fields {
    if (depth > MAX_DEPTH) throw new RangeError(`${path} is nested deeper than ${MAX_DEPTH} levels`)
    const { fields, defaults } = this.#shapeOf(type)
    const found = Object.create(null) as Fields
    for (const [name, value] of defaults) found[name] = value
    this.#defaults += defaults.length
    if (this.#defaults > MAX_DEFAULTS) throw new RangeError(`its messages leave more than ${MAX_DEFAULTS} fields out`)
    const reader = this.#reader
    while (reader.pos < end) {
      const tag = reader.uint32()
      const field = fields.get(tag >>> 3)
      // It may be of a later version.
      if (!field) reader.skipType(tag & 7)
      else this.#field(found, field, tag & 7, path === '' ? field.name : `${path}.${field.name}`, depth)
    }
    if (reader.pos > end) throw new RangeError(`a field ends behind its message, at byte ${reader.pos}`)
    return found
  }

  #field(found: Fields, field: Field, wire: number, path: string, depth: number): void {
    if (field instanceof protobuf.MapField) {
      found[field.name] ??= Object.create(null)
      this.#entry(found[field.name] as Fields, field, wire, path, depth)
    } else if (!field.repeated) found[field.name] = this.#value(field, wire, path, depth)
    else {
      found[field.name] ??= []
      const list = found[field.name] as unknown[]
      if (wire === LENGTH && wireOf(field) !== LENGTH) this.#packed(list, field, path)
      else list.push(this.#value(field, wire, path, depth))
    }
  }

  #packed(list: unknown[], field: Field, path: string): void {
    const end = this.#end(path)
    while (this.#reader.pos < end) list.push(this.#value(field, wireOf(field), path, 0))
    if (this.#reader.pos > end) throw new RangeError(`${path} has a value that ends behind it`)
  }

  #entry(entries: Fields, field: protobuf.MapField, wire: number, path: string, depth: number): void {
    expectWire(wire, LENGTH, path)
    this.#count()
    const end = this.#end(path)
    let key = ''
    let value: unknown = field.resolvedType instanceof protobuf.Type ? {} : defaultOf(field)
    while (this.#reader.pos < end) {
      const tag = this.#reader.uint32()
      if (tag >>> 3 === 1) key = String(this.#scalar(field.keyType, tag & 7, path))
      else if (tag >>> 3 === 2) value = this.#value(field, tag & 7, path, depth)
      else this.#reader.skipType(tag & 7)
    }
    if (this.#reader.pos > end) throw new RangeError(`${path} has an entry that ends behind it`)
    entries[key] = value
  }

  #count(): void {
    if (++this.#values > MAX_VALUES) throw new RangeError(`it has more than ${MAX_VALUES} values`)
  }

  /** Where what has a length ends. */
  #end(path: string): number {
    const length = this.#reader.uint32()
    const end = this.#reader.pos + length
    if (end > this.#bytes.length) throw new RangeError(`${path} ends behind the payload`)
    return end
  }

  #value(field: Typed, wire: number, path: string, depth: number): unknown {
    this.#count()
    const { resolvedType, type } = field
    if (resolvedType instanceof protobuf.Enum) {
      expectWire(wire, VARINT, path)
      const number = this.#reader.int32()
      return resolvedType.valuesById[number] ?? number
    }
    if (!(resolvedType instanceof protobuf.Type)) return this.#scalar(type, wire, path)
    expectWire(wire, LENGTH, path)
    const found = this.message(this.#end(path), resolvedType, path, depth + 1)
    return resolvedType.fullName === '.google.protobuf.Timestamp' ? timeOf(found, path) : found
  }

  #scalar(type: string, wire: number, path: string): unknown {
    expectWire(wire, WIRE_TYPES[type] ?? -1, path)
    const reader = this.#reader
    switch (type) {
      case 'double':
        return reader.double()
      case 'float':
        // The shortest decimal that it stands for: 21.3, not 21.299999237060547.
        return short(reader.float())
      case 'int32':
        return reader.int32()
      case 'uint32':
        return reader.uint32()
      case 'sint32':
        return reader.sint32()
      case 'fixed32':
        return reader.fixed32()
      case 'sfixed32':
        return reader.sfixed32()
      case 'bool':
        return reader.bool()
      case 'string':
        return this.#text(path)
      case 'bytes':
        return this.#slice(path).toString('base64')
      default:
        return exact(this.#integer64(type, path))
    }
  }

  #text(path: string): string {
    const slice = this.#slice(path)
    if (!isUtf8(slice)) throw new RangeError(`${path} is not UTF-8`)
    return slice.toString()
  }

  #slice(path: string): Buffer {
    const end = this.#end(path)
    const slice = this.#bytes.subarray(this.#reader.pos, end)
    this.#reader.pos = end
    return slice
  }

  #integer64(type: string, path: string): bigint {
    if (type === 'fixed64' || type === 'sfixed64') {
      const at = this.#reader.pos
      if (at + 8 > this.#bytes.length) throw new RangeError(`${path} ends behind the payload`)
      this.#reader.pos = at + 8
      return type === 'fixed64' ? this.#bytes.readBigUInt64LE(at) : this.#bytes.readBigInt64LE(at)
    }
    const raw = this.#varint(path)
    if (type === 'uint64') return raw
    return type === 'int64' ? BigInt.asIntN(64, raw) : (raw >> 1n) ^ -(raw & 1n)
  }

  #varint(path: string): bigint {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#reader.pos++]
      if (byte === undefined) throw new RangeError(`${path} ends behind the payload`)
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asUintN(64, value)
    }
    throw new RangeError(`${path} is longer than a number can be`)
  }
}

function wireOf({ type, resolvedType }: Typed): number {
  return resolvedType instanceof protobuf.Enum ? VARINT : (WIRE_TYPES[type] ?? LENGTH)
}

function expectWire(wire: number, expected: number, path: string): void {
  if (wire !== expected) throw new RangeError(`${path} is of another type`)
}

/** As text where a number would lose digits. */
function exact(value: bigint): number | string {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : String(value)
}

function timeOf({ seconds, nanos }: Fields, path: string): string {
  const timeUs = Number(seconds) * 1_000_000 + Math.floor(Number(nanos) / 1000)
  if (!Number.isSafeInteger(timeUs)) throw new RangeError(`${path} is a time that cannot be kept`)
  return formatTime(timeUs)
}
