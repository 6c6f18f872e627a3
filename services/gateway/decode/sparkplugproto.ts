// The wire of Sparkplug B: its protobuf messages (Sparkplug 3.0, 6.4.1) and its types (6.4.16), as they are numbered there.
import protobuf from 'protobufjs'
import { Failure, invalid } from '../../../packages/core/failure.ts'

/** 64 bit integers as text: unsigned decimal. */
export type Scalars = {
  readonly intValue?: number
  readonly longValue?: string
  readonly floatValue?: number
  readonly doubleValue?: number
  readonly booleanValue?: boolean
  readonly stringValue?: string
}
export type PropertySet = { readonly keys?: readonly string[]; readonly values?: readonly Property[] }
export type Property = Scalars & { readonly type?: number; readonly isNull?: boolean }
export type DataSet = {
  readonly columns?: readonly string[]
  readonly types?: readonly number[]
  readonly rows?: readonly { readonly elements?: readonly Scalars[] }[]
}
export type Template = {
  readonly metrics?: readonly Metric[]
  readonly parameters?: readonly (Scalars & { readonly name?: string; readonly type?: number })[]
  readonly isDefinition?: boolean
}
export type Metric = Scalars & {
  readonly name?: string
  readonly alias?: string
  readonly timestamp?: string
  readonly datatype?: number
  readonly isHistorical?: boolean
  readonly isTransient?: boolean
  readonly isNull?: boolean
  readonly metadata?: { readonly fileName?: string; readonly contentType?: string }
  readonly properties?: PropertySet
  readonly bytesValue?: Buffer
  readonly datasetValue?: DataSet
  readonly templateValue?: Template
}
export type SparkplugPayload = { readonly timestamp?: string; readonly metrics?: readonly Metric[]; readonly seq?: string }

const SCALARS = ['uint32 int', 'uint64 long', 'float float', 'double double', 'bool boolean', 'string string'] as const

/** `['uint32 name', …]` numbered from `first`; `*` in front: repeated. */
function fields(first: number, ...list: readonly string[]): Record<string, protobuf.IField> {
  return Object.fromEntries(
    list.map((text, i) => {
      const [type, name] = text.replace('*', '').split(' ') as [string, string]
      const repeated = text.startsWith('*') ? { rule: 'repeated', options: { packed: false } } : {}
      return [name, { id: first + i, type, ...repeated }]
    }),
  )
}

/** The six plain values, and what else may stand in their place. */
function value(first: number, ...others: readonly string[]): Record<string, protobuf.IField> {
  return fields(first, ...SCALARS.map(text => `${text}Value`), ...others)
}

const MESSAGES: Readonly<Record<string, protobuf.IType>> = {
  Payload: { fields: fields(1, 'uint64 timestamp', '*Metric metrics', 'uint64 seq', 'string uuid', 'bytes body') },
  Metric: {
    fields: {
      ...fields(1, 'string name', 'uint64 alias', 'uint64 timestamp', 'uint32 datatype', 'bool isHistorical', 'bool isTransient'),
      ...fields(7, 'bool isNull', 'MetaData metadata', 'PropertySet properties'),
      ...value(10, 'bytes bytesValue', 'DataSet datasetValue', 'Template templateValue'),
    },
  },
  MetaData: {
    fields: {
      ...fields(1, 'bool isMultiPart', 'string contentType', 'uint64 size', 'uint64 seq', 'string fileName', 'string fileType'),
      ...fields(7, 'string md5', 'string description'),
    },
  },
  PropertySet: { fields: fields(1, '*string keys', '*PropertyValue values') },
  PropertySetList: { fields: fields(1, '*PropertySet propertyset') },
  PropertyValue: {
    fields: {
      ...fields(1, 'uint32 type', 'bool isNull'),
      ...value(3, 'PropertySet propertysetValue', 'PropertySetList propertysetsValue'),
    },
  },
  DataSet: { fields: fields(1, 'uint64 numOfColumns', '*string columns', '*uint32 types', '*Row rows') },
  Row: { fields: fields(1, '*DataSetValue elements') },
  DataSetValue: { fields: value(1) },
  Template: {
    fields: fields(1, 'string version', '*Metric metrics', '*Parameter parameters', 'string templateRef', 'bool isDefinition'),
  },
  Parameter: { fields: { ...fields(1, 'string name', 'uint32 type'), ...value(3) } },
}

/** Of this edition, so that a 0 is told from nothing, and text is UTF-8. */
const EDITION = '2023'
const nested = Object.fromEntries(Object.entries(MESSAGES).map(([name, message]) => [name, { ...message, edition: EDITION }]))
const PAYLOAD = protobuf.Root.fromJSON({ nested }).resolveAll().lookupType('Payload')

export const TYPES = {
  Int8: 1,
  Int16: 2,
  Int32: 3,
  Int64: 4,
  UInt8: 5,
  UInt16: 6,
  UInt32: 7,
  UInt64: 8,
  Float: 9,
  Double: 10,
  Boolean: 11,
  String: 12,
  DateTime: 13,
  Text: 14,
  UUID: 15,
  DataSet: 16,
  Bytes: 17,
  File: 18,
  Template: 19,
  PropertySet: 20,
  PropertySetList: 21,
  Int8Array: 22,
  Int16Array: 23,
  Int32Array: 24,
  Int64Array: 25,
  UInt8Array: 26,
  UInt16Array: 27,
  UInt32Array: 28,
  UInt64Array: 29,
  FloatArray: 30,
  DoubleArray: 31,
  BooleanArray: 32,
  StringArray: 33,
  DateTimeArray: 34,
} as const

/** Smaller ones cannot hold enough to be a danger. */
const LARGE_BYTES = 65_536
/** An empty one is two bytes on the wire, and a hundred here. */
const MAX_MESSAGES = 100_000
const MAX_DEPTH = 32

/** @throws Failure `invalid` or `too_large`. */
export function readPayload(bytes: Buffer): SparkplugPayload {
  try {
    if (bytes.length > LARGE_BYTES) countIn(protobuf.Reader.create(bytes), PAYLOAD, bytes.length, { messages: 0 }, 0)
    return PAYLOAD.toObject(PAYLOAD.decode(bytes), { longs: String, bytes: Buffer }) as SparkplugPayload
  } catch (error) {
    if (error instanceof Failure) throw error
    throw invalid('payload', `expected a Sparkplug B payload: ${(error as Error).message.slice(0, 200)}`)
  }
}

const LENGTH = 2

/** Before anything is built of them. */
function countIn(reader: protobuf.Reader, type: protobuf.Type, end: number, counted: { messages: number }, depth: number): void {
  if (++counted.messages > MAX_MESSAGES || depth > MAX_DEPTH)
    throw new Failure('too_large', `payload: at most ${MAX_MESSAGES} metrics, properties, rows and the like, ${MAX_DEPTH} levels deep`)
  while (reader.pos < end) {
    const tag = reader.uint32()
    const inner = (tag & 7) === LENGTH ? type.fieldsById[tag >>> 3]?.resolvedType : undefined
    if (!(inner instanceof protobuf.Type)) reader.skipType(tag & 7)
    else {
      const length = reader.uint32()
      countIn(reader, inner, Math.min(reader.pos + length, end), counted, depth + 1)
    }
  }
}

/** As an edge node writes it, or a host its commands. */
export function writePayload(payload: SparkplugPayload): Buffer {
  return Buffer.from(PAYLOAD.encode(PAYLOAD.fromObject(payload)).finish())
}
