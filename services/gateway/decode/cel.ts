// Payloads that are JSON or text, decoded by expressions in CEL: one for each part of an event. They are checked when the mapping is saved and
// cost a bounded time.
import { type Static, Type } from 'typebox'
import { CelBudget, type CelResult, compileDecoderCel, plainOf } from '../../../packages/core/condition/cel.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { Compiled } from './compiled.ts'
import { decodeElements, Room } from './element.ts'
import type { Clock, Decoded } from './event.ts'
import type { Format, Payload } from './format.ts'
import { isObject, textOf as jsonText } from './json.ts'
import { textOf } from './text.ts'

const expression = (description: string, example: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 2000, description, examples: [example] }))

const Options = Type.Object(
  {
    each: expression('a list: the other expressions are asked for each `item` of it', 'payload.sensors'),
    when: expression('whether there is an event', 'payload.kind == "reading"'),
    device: expression('id of the device', 'topic[1]'),
    eventType: expression('event type', '"temperature"'),
    data: Type.String({
      minLength: 1,
      maxLength: 2000,
      description: 'the value, or a map with all fields',
      examples: ['payload.t / 10.0', '{"value": payload.t, "raw": payload.raw}'],
    }),
    unit: expression('unit of the value', '"°F"'),
    timestamp: expression('event time', 'payload.time'),
    eventId: expression('id by which the event is known again', 'payload.id'),
  },
  { additionalProperties: false },
)
type Options = Static<typeof Options>
type Part = Exclude<keyof Options, 'each'>
type Run = ReturnType<typeof compileDecoderCel>
type Opened = { readonly each: Run | undefined; readonly parts: ReadonlyMap<Part, Run> }

/** What each may give, as CEL calls it. */
const TYPES: Readonly<Record<Part, readonly string[]>> = {
  when: ['bool'],
  device: ['string', 'int'],
  eventType: ['string'],
  data: ['map', 'double', 'int', 'uint', 'string', 'bool'],
  unit: ['string'],
  timestamp: ['string', 'int', 'double', 'google.protobuf.Timestamp'],
  eventId: ['string', 'int'],
}
const MAX_ITEMS = 1000
/** Each expression may cost a millisecond; all of a payload together twenty times as much. */
const MAX_SHARES = 20

const opened = new Compiled<Opened>(options => open(options as Options))

export const cel: Format = {
  name: 'cel',
  version: 1,
  title: 'Your own expressions in CEL over JSON or text',
  options: Options,
  topics: [],
  contentTypes: [],
  check: options => void opened.of(options),
  decode: (payload, clock) => ({ decoded: decode(payload, clock) }),
}

function open(options: Options): Opened {
  const { each } = options
  const parts = (Object.keys(TYPES) as Part[]).flatMap(part => {
    const text = options[part]
    return text === undefined ? [] : [[part, compileDecoderCel(text, `options.${part}`, TYPES[part], each !== undefined)] as const]
  })
  return { each: each === undefined ? undefined : compileDecoderCel(each, 'options.each', ['list'], false), parts: new Map(parts) }
}

function decode({ bytes, topic, place, options }: Payload, clock: Clock): Decoded[] {
  const { each, parts } = opened.of(options)
  const text = textOf(bytes)
  const variables = { payload: jsonIn(text), text, topic }
  const room = new Room(bytes)
  const budget = new CelBudget(MAX_SHARES)
  const decodeBy = (all: object) => decodeElements(elementBy(parts, all, budget, room), 'the expressions', place, clock)
  if (!each) return decodeBy(variables)
  const items = resultOf(each(variables, budget), 'each')
  if (!Array.isArray(items)) throw invalid('each', `expected a list, got ${jsonText(plainOf(items)).slice(0, 80)}`)
  if (items.length > MAX_ITEMS) throw new Failure('too_large', `each: at most ${MAX_ITEMS} items, got ${items.length}`)
  // Of what there is, half is for each item the same.
  const least = budget.left / items.length / 2
  return items.flatMap((item: unknown, i) =>
    budget.saving(least * (items.length - 1 - i), () => decodedOf(() => decodeBy({ ...variables, item }), item, room)),
  )
}

/** An item that fails harms no other, unless all of them together are too much. */
function decodedOf(decodeItem: () => Decoded[], item: unknown, room: Room): Decoded[] {
  try {
    return decodeItem()
  } catch (error) {
    if (!(error instanceof Failure) || room.isFull) throw error
    room.take(item)
    return [{ failure: error, element: jsonText(plainOf(item)) }]
  }
}

/** Null: there is no event. */
function elementBy(parts: ReadonlyMap<Part, Run>, variables: object, budget: CelBudget, room: Room): unknown {
  const element: Record<string, unknown> = {}
  for (const [part, run] of parts) {
    const value = resultOf(run(variables, budget), part)
    room.take(value)
    if (part === 'when') {
      if (typeof value !== 'boolean') throw invalid('when', 'the expression gives neither true nor false')
      if (!value) return null
      continue
    }
    const plain = plainOf(value)
    element[part === 'data' && !isObject(plain) ? 'value' : part] = plain
  }
  return element
}

function resultOf(result: CelResult, part: string): unknown {
  if ('why' in result) throw invalid(part, result.why)
  return result.value
}

/** Null for text that is none. */
function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}
