// expression: a condition in CEL over the event, its device, its reading and the event before.
import { checkEventType, type EventData, mainField } from '../event.ts'
import { invalid } from '../failure.ts'
import type { StepInput } from '../step.ts'
import { type Cel, CelDevice, CelEvent, compileCel } from './cel.ts'
import { TOO_MUCH } from './celmeter.ts'
import { type Field, fieldSchema, numberIn, parseField, readField, unitSchema } from './field.ts'
import { joinPath, readList, readObject, readString } from './input.ts'
import type { ConditionKind, Memory, Verdict } from './kind.ts'

export type Expression = {
  readonly kind: 'expression'
  readonly expression: string
  readonly eventTypes: readonly string[]
  /** As it was said; otherwise `reading` is the main field of each event type. */
  readonly field: Field | undefined
  readonly unit: string | undefined
  readonly cel: Compiled
}

type EventInput = Extract<StepInput, { kind: 'event' }>

/** Per event type what the expression reads of the last event. */
type ExpressionMemory = Memory & {
  readonly kind: 'expression'
  readonly previous: { readonly [eventType: string]: Previous }
  readonly over?: Over
}

/** So many events in a row were too much for the expression (`of`); from a number on it is not asked again before `untilUs`. */
type Over = { readonly of: string; readonly count: number; readonly untilUs?: number }

/** `data` is missing when it was too big to keep. */
type Previous = { readonly data?: unknown; readonly timeUs: number; readonly eventId: string }

const KEYS = ['expression', 'eventTypes', 'field', 'unit']
const MAX_EVENT_TYPES = 10
const MAX_PREVIOUS_CHARS = 2000
const MAX_OVER = 100
const PAUSE_US = 3_600_000_000

export const expression: ConditionKind<Expression, ExpressionMemory> = {
  name: 'expression',
  schema: {
    description: 'CEL that gives true or false; the text alone is enough when it compares event.eventType',
    examples: ['event.eventType == "temperature" && reading > 8.0 && device.labels.zone == "cold"'],
    anyOf: [
      { type: 'string', maxLength: 2000 },
      {
        type: 'object',
        additionalProperties: false,
        required: ['expression'],
        properties: {
          expression: {
            type: 'string',
            maxLength: 2000,
            description: 'reads event (eventType, data, timestamp, eventId), device (id, type, labels, productNumber), reading, previous',
            examples: ['previous != null && abs(reading - previous.data.value) > 5'],
          },
          eventTypes: { type: 'array', maxItems: MAX_EVENT_TYPES, items: { type: 'string' }, examples: [['temperature']] },
          field: { ...fieldSchema, description: 'what `reading` is; the main field of the event type when left out' },
          unit: {
            ...unitSchema,
            description: 'of `reading`, which is converted into it; event.data and previous.data are as they were sent',
          },
        },
      },
    ],
  },
  parse(input, path) {
    const fields = typeof input === 'string' ? { expression: input } : readObject(input, path, KEYS)
    const own = typeof input === 'string' ? path : joinPath(path, 'expression')
    const text = readString(fields['expression'], own, 2000)
    const field = fields['field'] === undefined ? undefined : parseField(fields['field'], joinPath(path, 'field'))
    const cel = compileCel(text, own)
    const eventTypes = parseEventTypes(fields['eventTypes'], joinPath(path, 'eventTypes')) ?? field?.eventTypes ?? cel.eventTypes
    if (eventTypes === undefined)
      throw invalid(path, 'expected { expression, eventTypes: [...] }, or a "field", or `event.eventType == "..."` in the expression')
    checkData(cel, eventTypes, own)
    const read = (type: string) => readField({ field: field?.text ?? `${type}.${mainField(type)}`, unit: fields['unit'] }, path)
    const readings = new Map(eventTypes.map(type => [type, read(type)]))
    const [unit] = [...readings.values()].map(one => one.unit)
    return { kind: 'expression', expression: text, eventTypes, field, unit, cel: new Compiled(text, cel, readings) }
  },
  toJson: ({ expression: text, eventTypes, field, unit }) => ({ expression: text, eventTypes, field: field?.text, unit }),
  eventTypes: condition => condition.eventTypes,
  unit: condition => condition.unit,
  worse: () => undefined,
  levels: () => [],
  judge: ({ cel }, memory, _held, input) =>
    input.kind === 'time' ? { holds: undefined, value: undefined, limit: undefined, memory } : cel.judge(memory, input),
  dueUs: () => Number.POSITIVE_INFINITY,
  describe({ expression: text }, { holds, value }) {
    const shown = text.trim().replaceAll(/\s+/g, ' ')
    if (holds === undefined) return value === undefined ? `nothing is known of ${shown}` : `cannot tell ${shown}: ${value}`
    return `${shown} is ${holds}${value === undefined ? '' : `, reading ${value}`}`
  },
  lasting: ({ expression: text }, holds, _cause, duration) => `${text.trim().replaceAll(/\s+/g, ' ')} has been ${holds} for ${duration}`,
  nearest: ({ expression: text }, { holds }, held) =>
    holds === undefined ? '' : `${text.trim().replaceAll(/\s+/g, ' ')} being ${held === undefined}`,
}

/** The expression ready to run; a part of a rule in which nothing is to compare or to write down. */
class Compiled {
  readonly #of: string
  readonly #cel: Cel
  readonly #readings: ReadonlyMap<string, Field>
  readonly #needsReading: boolean
  /** Below its data; undefined: it is not asked for. An empty path: all of it. */
  readonly #ofPrevious: readonly (readonly string[])[] | undefined
  #share = 1

  constructor(text: string, cel: Cel, readings: ReadonlyMap<string, Field>) {
    this.#of = signOf(text)
    this.#cel = cel
    this.#readings = readings
    this.#needsReading = cel.paths.some(([variable]) => variable === 'reading')
    const previous = cel.paths.filter(([variable]) => variable === 'previous')
    this.#ofPrevious = previous.length === 0 ? undefined : previous.flatMap(([, key, ...path]) => (key === 'data' ? [path] : []))
  }

  get cost(): Pick<Cel, 'parts' | 'patternSteps'> {
    return this.#cel
  }

  /** As one of so many in a rule that is just being parsed: together they may spend what one may. */
  shareWith(count: number): void {
    this.#share = 1 / count
  }

  judge(memory: ExpressionMemory | undefined, input: EventInput): Verdict {
    const field = this.#readings.get(input.eventType)
    const found = field === undefined ? undefined : numberIn(field, input.eventType, input.data)
    const reading = typeof found === 'number' ? found : undefined
    const kept = this.#ofPrevious === undefined ? memory : this.#remember(memory, input)
    if (this.#needsReading && reading === undefined) {
      const words = `${field?.text} is ${found === undefined ? 'missing' : `${found}, not a number`}`
      return { holds: undefined, value: words, limit: undefined, memory: kept }
    }
    const over = memory?.over?.of === this.#of ? memory.over : undefined
    if (over?.untilUs !== undefined && input.timeUs < over.untilUs)
      return { holds: undefined, value: PAUSED, limit: undefined, memory: kept }
    const told = this.#run(memory, input, reading)
    if (told === TOO_MUCH) return this.#refused(kept, over?.count ?? 0, input.timeUs)
    const value = typeof told === 'string' ? told : reading
    return { holds: typeof told === 'string' ? undefined : told, value, limit: undefined, memory: withoutOver(kept) }
  }

  #refused(kept: ExpressionMemory | undefined, before: number, timeUs: number): Verdict {
    const count = Math.min(before + 1, MAX_OVER)
    const over = { of: this.#of, count, ...(count === MAX_OVER ? { untilUs: timeUs + PAUSE_US } : {}) }
    const value = count === MAX_OVER ? PAUSED : TOO_MUCH
    const memory: ExpressionMemory = { kind: 'expression', previous: kept?.previous ?? {}, over }
    return { holds: undefined, value, limit: undefined, memory }
  }

  #run(memory: ExpressionMemory | undefined, { eventType, data, timeUs, eventId, device }: EventInput, reading: number | undefined) {
    const before = memory && Object.hasOwn(memory.previous, eventType) ? memory.previous[eventType] : undefined
    const variables = {
      event: new CelEvent(eventType, Object.hasOwn(data, eventType) ? data[eventType] : undefined, timeUs, eventId),
      device: new CelDevice(device),
      reading,
      previous: before === undefined ? null : new CelEvent(eventType, before.data, before.timeUs, before.eventId),
    }
    return this.#cel.run(variables, this.#share)
  }

  #remember(memory: ExpressionMemory | undefined, { eventType, data, timeUs, eventId }: EventInput): ExpressionMemory {
    const inner = Object.hasOwn(data, eventType) ? data[eventType] : undefined
    const kept = pruned(inner, this.#ofPrevious ?? [])
    const fits = (JSON.stringify(kept) ?? '').length <= MAX_PREVIOUS_CHARS
    const previous = { ...memory?.previous, [eventType]: { data: fits ? kept : undefined, timeUs, eventId } }
    return memory?.over === undefined ? { kind: 'expression', previous } : { kind: 'expression', previous, over: memory.over }
  }
}

const PAUSED = `the expression would have taken too long for ${MAX_OVER} events in a row: paused for this device for 1h, or until it is edited`

function withoutOver(memory: ExpressionMemory | undefined): ExpressionMemory | undefined {
  if (memory?.over === undefined) return memory
  const { kind, previous } = memory
  return Object.keys(previous).length === 0 ? undefined : { kind, previous }
}

/** Tells an expression from the one that an edit made of it. */
function signOf(text: string): string {
  let sign = 0
  for (let i = 0; i < text.length; i++) sign = (Math.imul(sign, 31) + text.charCodeAt(i)) | 0
  return `${text.length}:${(sign >>> 0).toString(36)}`
}

/** Only what stands on these paths. */
function pruned(value: unknown, paths: readonly (readonly string[])[]): unknown {
  if (paths.length === 0) return undefined
  if (paths.some(path => path.length === 0) || typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const keys = [...new Set(paths.map(([key]) => key as string))].filter(key => Object.hasOwn(value, key))
  return Object.fromEntries(
    keys.map(key => [
      key,
      pruned(
        (value as EventData)[key],
        paths.filter(([first]) => first === key).map(path => path.slice(1)),
      ),
    ]),
  )
}

function parseEventTypes(input: unknown, path: string): readonly string[] | undefined {
  if (input === undefined) return undefined
  const types = readList(input, path, checkEventType)
  if (types.length === 0 || types.length > MAX_EVENT_TYPES) throw invalid(path, `expected 1 to ${MAX_EVENT_TYPES} event types`)
  return types
}

/** On the wire `data` holds the event type as its key; here it is what stands below. */
function checkData({ paths }: Cel, eventTypes: readonly string[], path: string): void {
  for (const [variable, key, type, ...rest] of paths)
    if ((variable === 'event' || variable === 'previous') && key === 'data' && type !== undefined && eventTypes.includes(type))
      throw invalid(path, `"${variable}.data" is what stands below "${type}" already; expected ${[variable, 'data', ...rest].join('.')}`)
}
