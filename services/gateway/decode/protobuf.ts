// Payloads that are protobuf messages, by a definition that the user uploads, and paths to what an event needs.
import protobuf, { type Type as MessageType } from 'protobufjs'
import { type Static, Type } from 'typebox'
import { nearest } from '../../../packages/core/condition/input.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { openProtobufType } from '../../../packages/log/durable/protobuf.ts'
import { Compiled } from './compiled.ts'
import { decodeElements, Room } from './element.ts'
import type { Clock, Decoded } from './event.ts'
import type { Format, Payload } from './format.ts'
import { isObject } from './json.ts'
import { eventTypeOf } from './measure.ts'
import { MessageReader } from './protobufmessage.ts'

const MAX_SCHEMA_BYTES = 64 * 1024
/** Reading a definition takes the square of them. */
const MAX_FIELDS = 1000
const path = (description: string, example: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: `${description}: the path of a field`, examples: [example] }))

const Options = Type.Object(
  {
    schema: Type.String({
      minLength: 1,
      maxLength: MAX_SCHEMA_BYTES,
      description: 'text of a .proto file',
      examples: ['syntax = "proto3"; message Reading { string id = 1; double celsius = 2; }'],
    }),
    message: Type.String({ minLength: 1, maxLength: 200, description: 'which of its messages, with its package', examples: ['Reading'] }),
    each: path('a repeated field: each of its messages is an event, and the other paths begin there or at the top', 'readings'),
    device: path('id of the device', 'id'),
    eventType: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 64,
        description: 'event type; the name of the message when left out',
        examples: ['temperature'],
      }),
    ),
    data: path('a message with all fields of the event; everything when left out', 'values'),
    value: path('the value of the event, in place of data', 'celsius'),
    unit: Type.Optional(Type.String({ minLength: 1, maxLength: 40, description: 'unit of the value', examples: ['°F'] })),
    timestamp: path('event time', 'time'),
    eventId: path('id by which the event is known again', 'sequence'),
  },
  { additionalProperties: false },
)
type Options = Static<typeof Options>
type Opened = { readonly reader: MessageReader; readonly type: MessageType; readonly options: Options }

const PATHS = ['device', 'data', 'value', 'timestamp', 'eventId'] as const
const MAX_ITEMS = 10_000

const opened = new Compiled<Opened>(options => open(options as Options))

export const protobufFormat: Format = {
  name: 'protobuf',
  version: 1,
  title: 'Protobuf messages of your own schema',
  options: Options,
  topics: [],
  contentTypes: [],
  check: options => void opened.of(options),
  decode: (payload, clock) => ({ decoded: decode(payload, clock) }),
}

function open(options: Options): Opened {
  const { schema, message, each, data, value } = options
  if (Buffer.byteLength(schema) > MAX_SCHEMA_BYTES) throw invalid('options.schema', `expected at most ${MAX_SCHEMA_BYTES} bytes`)
  const fields = schema.match(/=\s*\d/g)?.length ?? 0
  if (fields > MAX_FIELDS) throw invalid('options.schema', `expected at most ${MAX_FIELDS} fields, got ${fields}`)
  if (data !== undefined && value !== undefined) throw invalid('options.value', 'expected data or value, not both')
  const type = openProtobufType(schema, message, { definition: 'options.schema', message: 'options.message' })
  const item = each === undefined ? undefined : itemOf(type, each)
  for (const name of PATHS) {
    const wanted = options[name]
    if (wanted !== undefined) checkPath(type, item, wanted, `options.${name}`)
  }
  return { reader: new MessageReader(type), type: item ?? type, options }
}

function itemOf(type: MessageType, each: string): MessageType {
  const field = fieldAt(type, each.split('.'), 'options.each')
  if (field.repeated && field.resolvedType instanceof protobuf.Type) return field.resolvedType
  throw invalid('options.each', `expected a repeated field of messages, got ${field.repeated ? 'repeated ' : ''}${field.type}`)
}

/** Of an item first, as it is looked for. */
function checkPath(type: MessageType, item: MessageType | undefined, fields: string, option: string): void {
  const names = fields.split('.')
  const start = item && Object.hasOwn(item.fields, names[0] as string) ? item : type
  const field = fieldAt(start, names, option)
  if (field.repeated) throw invalid(option, `expected one value, got repeated ${field.type}; each is for those`)
}

function fieldAt(start: MessageType, names: readonly string[], option: string): protobuf.Field {
  let type: protobuf.ReflectionObject | null = start
  let field: protobuf.Field | undefined
  for (const name of names) {
    if (!(type instanceof protobuf.Type)) throw invalid(option, `${field?.name ?? ''} has no fields`)
    const fields: Readonly<Record<string, protobuf.Field>> = type.fields
    field = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (!field) throw unknownField(name, type, option)
    type = field.resolvedType
  }
  return field as protobuf.Field
}

function unknownField(name: string, { fullName, fields }: MessageType, option: string): Failure {
  const valid = Object.keys(fields)
  const near = nearest(name, valid)
  const hint = near === undefined ? '' : ` did you mean "${near}"?`
  return invalid(option, `${fullName.slice(1)} has no field ${name.slice(0, 64)};${hint} Valid: ${valid.slice(0, 50).join(', ')}`)
}

function decode({ bytes, place, options }: Payload, clock: Clock): Decoded[] {
  const { reader, type, options: own } = opened.of(options)
  const message = reader.read(bytes)
  const by = `message ${type.name}`
  const eventType = own.eventType ?? place.eventType ?? eventTypeOf(type.name.charAt(0).toLowerCase() + type.name.slice(1))
  if (own.each === undefined) return decodeElements(elementOf([message], message, own, eventType), by, place, clock)
  const items = at([message], own.each) ?? []
  if (!Array.isArray(items)) throw invalid('each', 'expected a list')
  if (items.length > MAX_ITEMS) throw new Failure('too_large', `each: at most ${MAX_ITEMS} events`)
  const room = new Room(bytes)
  const elements = items.map(item => {
    const element = elementOf([item, message], item, own, eventType)
    room.take(element)
    return element
  })
  return decodeElements(elements, by, place, clock)
}

function elementOf(from: readonly unknown[], whole: unknown, own: Options, eventType: string): Record<string, unknown> {
  const element: Record<string, unknown> = { eventType }
  for (const name of PATHS) {
    const fields = own[name]
    const value = fields === undefined ? undefined : at(from, fields)
    if (value !== undefined) element[name] = name === 'data' ? { [eventType]: value } : value
    // Zero is not said, and no time, id or device.
    if ((value === 0 || value === '') && name !== 'value') delete element[name]
  }
  if (own.value !== undefined && own.unit !== undefined) element['unit'] = own.unit
  if (own.value === undefined && own.data === undefined) element['data'] = { [eventType]: whole }
  return element
}

/** In the first that has it. */
function at(from: readonly unknown[], fields: string): unknown {
  const names = fields.split('.')
  for (const start of from) {
    let value: unknown = start
    for (const name of names) value = isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined
    if (value !== undefined) return value
  }
  return undefined
}
