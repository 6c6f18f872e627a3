// Protobuf as a schema: the bytes are walked beside the definition. Nothing is generated of it, and no message is built.
import { isUtf8 } from 'node:buffer'
import protobuf, { type Field, type Reader, type Type } from 'protobufjs'
import { Failure, invalid } from '../../core/failure.ts'
import type { Verdict } from './schema.ts'

const MAX_DEPTH = 64
const MAX_PROBLEMS = 100
const VARINT = 0
const I64 = 1
const LENGTH = 2
const GROUP = 3
const I32 = 5

/** How each scalar type stands in the bytes. */
export const WIRE_TYPES: Readonly<Record<string, number>> = {
  double: I64,
  float: I32,
  int32: VARINT,
  uint32: VARINT,
  sint32: VARINT,
  int64: VARINT,
  uint64: VARINT,
  sint64: VARINT,
  bool: VARINT,
  fixed32: I32,
  sfixed32: I32,
  fixed64: I64,
  sfixed64: I64,
  string: LENGTH,
  bytes: LENGTH,
}

/** @param text of a `.proto` file. @param message which of its messages, with its package. */
export function openProtobufSchema(text: string, message: string): (payload: Buffer) => Verdict {
  const type = openProtobufType(text, message, { definition: 'schema.definition', message: 'schema.message' })
  const shapes: Shapes = new Map()
  return payload => {
    const walk = new Walk(payload, shapes)
    try {
      walk.message(payload.length, type, '', 0)
    } catch (error) {
      return [...walk.problems, `not a message of type ${type.fullName.slice(1)}: ${(error as Error).message}`]
    }
    return walk.problems
  }
}

/** @param fields what the two are called where they come from. @throws Failure `invalid` with one of them. */
export function openProtobufType(text: string, message: string, fields: { readonly definition: string; readonly message: string }): Type {
  const refused = (field: string, cause: unknown) =>
    new Failure('invalid', `${field}: ${(cause as Error).message.slice(0, 300)}`, { field, cause })
  const root = new protobuf.Root()
  let parsed: protobuf.IParserResult
  try {
    parsed = protobuf.parse(text, root, { keepCase: true })
  } catch (cause) {
    throw refused(fields.definition, cause)
  }
  const common = [...new Set([...(parsed.imports ?? []), ...(parsed.weakImports ?? [])])].map(name => {
    const { nested } = protobuf.common.get(name) ?? {}
    if (!nested) throw invalid(fields.definition, `import ${JSON.stringify(name.slice(0, 100))}: expected everything in one file`)
    return nested
  })
  try {
    for (const nested of common) root.addJSON(nested)
    root.resolveAll()
  } catch (cause) {
    throw refused(fields.definition, cause)
  }
  try {
    return root.lookupType(message)
  } catch (cause) {
    throw refused(fields.message, cause)
  }
}

/** What is asked of a type again and again. */
type Shape = { readonly required: readonly Field[]; readonly entries: ReadonlyMap<Field, Type> }
type Shapes = Map<Type, Shape>

/** One payload, walked through. */
class Walk {
  readonly problems: string[] = []
  readonly #reader: Reader
  readonly #shapes: Shapes

  constructor(payload: Buffer, shapes: Shapes) {
    this.#reader = protobuf.Reader.create(payload)
    this.#shapes = shapes
  }

  /** A message from where the reader is up to `end`. What the definition does not know is left alone: it may be of a later version. */
  message(end: number, type: Type, path: string, depth: number): void {
    if (depth > MAX_DEPTH) throw new RangeError('nested too deeply')
    const reader = this.#reader
    const seen = new Set<number>()
    const { required, entries } = this.#shapeOf(type)
    while (reader.pos < end && this.problems.length < MAX_PROBLEMS) {
      const tag = reader.uint32()
      const number = tag >>> 3
      if (number === 0) throw new RangeError(`no field has the number 0, before byte ${reader.pos}`)
      seen.add(number)
      const field = type.fieldsById[number]
      if (field) this.#field(tag & 7, field, entries.get(field), path + field.name, depth)
      else reader.skipType(tag & 7)
    }
    if (reader.pos > end) throw new RangeError(`a field ends behind its message, at byte ${reader.pos}`)
    const missing = required.filter(({ id }) => !seen.has(id)).map(({ name }) => `'${path}${name}'`)
    if (missing.length > 0) this.problems.push(`missing properties: ${missing.join(', ')}`)
  }

  #shapeOf(type: Type): Shape {
    const known = this.#shapes.get(type)
    if (known) return known
    const maps = type.fieldsArray.filter(field => field instanceof protobuf.MapField)
    const shape = { required: type.fieldsArray.filter(({ required }) => required), entries: new Map(maps.map(map => [map, entryOf(map)])) }
    this.#shapes.set(type, shape)
    return shape
  }

  #field(wire: number, field: Field, entry: Type | undefined, path: string, depth: number): void {
    const expected = wireTypeOf(field)
    const packed = field.repeated && wire === LENGTH && expected !== LENGTH && expected !== GROUP
    if (wire !== expected && !packed) this.problems.push(`'${path}': must be ${field.type}`)
    if (wire !== LENGTH || (wire !== expected && !packed)) this.#reader.skipType(wire)
    else this.#content(field, entry, packed ? expected : undefined, path, depth)
  }

  /** What has a length before it. */
  #content(field: Field, entry: Type | undefined, packed: number | undefined, path: string, depth: number): void {
    const reader = this.#reader
    const length = reader.uint32()
    const end = reader.pos + length
    if (end > reader.len) throw new RangeError(`${path} ends behind the payload`)
    if (packed !== undefined) {
      while (reader.pos < end) reader.skipType(packed)
      if (reader.pos > end) throw new RangeError(`${path} has a value that ends behind it`)
      return
    }
    const inner = entry ?? field.resolvedType
    if (inner instanceof protobuf.Type) {
      this.message(end, inner, `${path}.`, depth + 1)
      return
    }
    if (field.type === 'string' && !isUtf8(reader.buf.subarray(reader.pos, end))) this.problems.push(`'${path}': must be UTF-8`)
    reader.pos = end
  }
}

function wireTypeOf(field: Field): number {
  if (field instanceof protobuf.MapField) return LENGTH
  if (field.resolvedType instanceof protobuf.Enum) return VARINT
  return WIRE_TYPES[field.type] ?? (field.delimited ? GROUP : LENGTH)
}

/** On the wire a map is a list of messages with a key and a value. */
function entryOf({ keyType, type, resolvedType }: protobuf.MapField): Type {
  const value = new protobuf.Field('value', 2, type)
  value.resolvedType = resolvedType
  value.resolved = true
  return new protobuf.Type('Entry').add(new protobuf.Field('key', 1, keyType)).add(value)
}
