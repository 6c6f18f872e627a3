// CEL, the language of expressions: checked when it is saved, bounded when it runs. With celmeter.ts the only file that knows the libraries for it.
import { Environment, EvaluationError, ParseError, TypeError as TypeMistake } from '@marcbachmann/cel-js'
import { RE2JS } from 're2js'
import type { Device } from '../device.ts'
import { Failure, invalid } from '../failure.ts'
import { isTree, Meter, nodesOf, TOO_MUCH, type Tree } from './celmeter.ts'
import { nearest } from './input.ts'
import { leastSize } from './pattern.ts'

/** `data`: what stands below the event type. */
export class CelEvent {
  readonly eventType: string
  readonly data: unknown
  readonly eventId: string
  private readonly timeUs: number

  constructor(eventType: string, data: unknown, timeUs: number, eventId: string) {
    this.eventType = eventType
    this.data = data
    this.timeUs = timeUs
    this.eventId = eventId
  }

  get timestamp(): Date {
    return new Date(this.timeUs / 1000)
  }
}

export class CelDevice {
  readonly id: string
  readonly type: string
  readonly labels: Device['labels']
  readonly productNumber: string

  constructor({ id, type, labels, productNumber }: Device) {
    this.id = id
    this.type = type
    this.labels = labels
    this.productNumber = productNumber
  }
}

export type CelVariables = {
  readonly event: CelEvent
  readonly device: CelDevice
  readonly reading: number | undefined
  readonly previous: CelEvent | null
}

export type Cel = {
  /** Whether it holds, or in words why that cannot be told. `share`: of what one rule may spend on an event. */
  run(variables: CelVariables, share: number): boolean | string
  /** What it reads, each from a variable on: `['event', 'data', 'value']`; a path ends where it is not plain names any more. */
  readonly paths: readonly (readonly string[])[]
  /** The only event types for which it can hold, when its text says so. */
  readonly eventTypes: readonly string[] | undefined
  /** How many parts its text has, and its patterns have steps: what it costs when no event is to blame. */
  readonly parts: number
  readonly patternSteps: number
}

const MAX_CHARS = 2000
const LIMITS = { maxAstNodes: 400, maxDepth: 24, maxListElements: 100, maxMapEntries: 100, maxCallArguments: 8 }
/** Of about 50 ns: one millisecond. */
const MAX_COST = 20_000
/** Of all expressions of a rule together, as MAX_COST is. */
export const MAX_PARTS = LIMITS.maxAstNodes
export const MAX_PATTERN_STEPS = 300
const MAX_PATTERN_CHARS = 200

const FIELDS: ReadonlyMap<string, readonly string[]> = new Map([
  ['event', ['eventType', 'data', 'timestamp', 'eventId']],
  ['previous', ['eventType', 'data', 'timestamp', 'eventId']],
  ['device', ['id', 'type', 'labels', 'productNumber']],
])
const VARIABLES = ['event', 'device', 'reading', 'previous']
const FUNCTIONS = 'has size abs int double string bool timestamp duration'.split(' ')
const METHODS = (
  'all exists exists_one map filter size contains startsWith endsWith matches lowerAscii upperAscii trim indexOf lastIndexOf substring ' +
  'split join getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours getMinutes getSeconds getMilliseconds'
).split(' ')

/** What an expression can name. */
type Scope = { readonly environment: Environment; readonly variables: readonly string[] }

const RULE: Scope = { environment: openEnvironment(), variables: VARIABLES }

function openEnvironment(): Environment {
  const event = { eventType: 'string', data: 'dyn', timestamp: 'google.protobuf.Timestamp', eventId: 'string' }
  const device = { id: 'string', type: 'string', labels: 'map<string, string>', productNumber: 'string' }
  const made = new Environment({ limits: LIMITS, homogeneousAggregateLiterals: false })
    .registerType('Event', { ctor: CelEvent, fields: event })
    .registerType('Device', { ctor: CelDevice, fields: device })
    .registerVariable('event', 'Event')
    .registerVariable('device', 'Device')
    .registerVariable('reading', 'double')
    // Null for the first one.
    .registerVariable('previous', 'dyn')
  return withArithmetic(made)
}

function openScope(types: Readonly<Record<string, string>>): Scope {
  const environment = new Environment({ limits: LIMITS, homogeneousAggregateLiterals: false })
  for (const [name, type] of Object.entries(types)) environment.registerVariable(name, type)
  return { environment: withArithmetic(environment), variables: Object.keys(types) }
}

function withArithmetic(made: Environment): Environment {
  made
    .registerFunction('abs(double): double', { handler: (value: number) => Math.abs(value), async: false })
    .registerFunction('abs(int): int', { handler: (value: bigint) => (value < 0n ? -value : value), async: false })
  // Readings are doubles, and nobody writes `reading * 2.0`. CEL's own whole numbers stay whole among themselves.
  for (const [left, right] of ['double int', 'int double'].map(pair => pair.split(' '))) {
    made.registerOperator(`${left} + ${right}`, (a, b) => Number(a) + Number(b))
    made.registerOperator(`${left} - ${right}`, (a, b) => Number(a) - Number(b))
    made.registerOperator(`${left} * ${right}`, (a, b) => Number(a) * Number(b))
    made.registerOperator(`${left} / ${right}`, (a, b) => Number(a) / Number(b))
    made.registerOperator(`${left} % ${right}`, (a, b) => Number(a) % Number(b))
  }
  made.registerOperator('double == int', (a, b) => Number(a) === Number(b))
  made.registerOperator('double % double', (a, b) => a % b)
  return made
}

type Compiled = {
  readonly parsed: (variables: object) => unknown
  readonly type: string
  readonly meter: Meter
  readonly root: Tree
  readonly nodes: readonly Tree[]
  readonly patterns: ReadonlyMap<Tree, RE2JS>
}

/** Fails with the place in the text and the nearest valid name. */
export function compileCel(text: string, path: string): Cel {
  const { parsed, meter, root, nodes, patterns } = compile(text, path, RULE, ['bool', 'dyn'])
  const patternSteps = [...patterns.values()].reduce((sum, pattern) => sum + pattern.programSize(), 0)
  return {
    run: (variables, share) => {
      const found = run(parsed, meter, variables, share)
      if ('why' in found) return found.why
      return typeof found.value === 'boolean' ? found.value : 'the expression gives neither true nor false'
    },
    paths: pathsOf(nodes),
    eventTypes: eventTypesFor(root),
    parts: nodes.length,
    patternSteps,
  }
}

/** What came of an expression, as CEL has it: int is bigint. Or in words why nothing did. */
export type CelResult = { readonly value: unknown } | { readonly why: string }

const DECODER = openScope({ payload: 'dyn', text: 'string', topic: 'list<string>' })
const DECODER_EACH = openScope({ payload: 'dyn', text: 'string', topic: 'list<string>', item: 'dyn' })

/** What several runs together may still spend, each of them no more than a rule may on an event. */
export class CelBudget {
  left: number

  /** @param shares each as much as a rule may spend on an event. */
  constructor(shares: number) {
    this.left = shares * MAX_COST
  }

  /** Leaves so much for what comes later; what `spend` does not need of the rest is there again afterwards. */
  saving<T>(reserve: number, spend: () => T): T {
    this.left -= reserve
    const result = spend()
    this.left += reserve
    return result
  }
}

/**
 * Of a decoder: over the payload, and `item` where it is asked of each of a list. Fails as `compileCel` does.
 * @param types that it may give.
 */
export function compileDecoderCel(
  text: string,
  path: string,
  types: readonly string[],
  hasItem: boolean,
): (variables: object, budget: CelBudget) => CelResult {
  const { parsed, meter } = compile(text, path, hasItem ? DECODER_EACH : DECODER, [...types, 'dyn'])
  return (variables, budget) => {
    const before = Math.min(MAX_COST, budget.left)
    const result = run(parsed, meter, variables, before / MAX_COST)
    budget.left -= before - Math.max(0, meter.left)
    return result
  }
}

const MAX_PLAIN_DEPTH = 32

/** As JSON has it: whole numbers are numbers, times and durations text and seconds. Throws `invalid` for what is nested too deeply. */
export function plainOf(value: unknown, depth = 0): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth > MAX_PLAIN_DEPTH) throw invalid('result', `nested deeper than ${MAX_PLAIN_DEPTH} levels`)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Uint8Array) return btoa(String.fromCharCode(...value))
  if (Array.isArray(value)) return value.map(one => plainOf(one, depth + 1))
  const own: unknown = value.valueOf()
  if (typeof own === 'bigint') return plainOf(own)
  if (isDuration(value)) return Number(value.seconds) + value.nanos / 1e9
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plainOf(inner, depth + 1)]))
}

function isDuration(value: object): value is { seconds: bigint; nanos: number } {
  return 'seconds' in value && 'nanos' in value && typeof value.seconds === 'bigint'
}

function compile(text: string, path: string, scope: Scope, types: readonly string[]): Compiled {
  if (text.trim() === '' || text.length > MAX_CHARS) throw invalid(path, `expected an expression of 1 to ${MAX_CHARS} characters`)
  try {
    const parsed = scope.environment.parse(text)
    const root = parsed.ast as unknown as Tree
    const nodes = nodesOf(root)
    const patterns = new Map<Tree, RE2JS>()
    for (const node of nodes) checkNode(node, patterns, scope)
    const { valid, type = 'dyn', error } = parsed.check()
    if (!valid) throw error ?? new ParseError('cannot be understood')
    if (!types.some(one => type === one || type.startsWith(`${one}<`)))
      throw mistake(`gives a ${type}; expected ${expectedOf(types)}`, root)
    const meter = new Meter(patterns)
    for (const node of nodes) meter.attach(node)
    return { parsed, type, meter, root, nodes, patterns }
  } catch (error) {
    throw translated(error, text, path, scope)
  }
}

function expectedOf(types: readonly string[]): string {
  const words = types.filter(type => type !== 'dyn')
  return words.join() === 'bool' ? 'true or false' : words.join(' or ')
}

function run(parsed: (variables: object) => unknown, meter: Meter, variables: object, share: number): CelResult {
  meter.left = MAX_COST * share
  try {
    const value = parsed(variables)
    return meter.left < 0 ? { why: TOO_MUCH } : { value }
  } catch (error) {
    if (meter.left < 0) return { why: TOO_MUCH }
    // Whatever an event brings must not end the judging of others; what the library throws is an answer to this event.
    if (error instanceof EvaluationError || error instanceof TypeMistake) return { why: error.summary }
    return { why: error instanceof Error ? error.message : String(error) }
  }
}

/** What the library would take, but with worse words, or at a price. */
function checkNode(node: Tree, patterns: Map<Tree, RE2JS>, { variables, environment }: Scope): void {
  const { op, args } = node
  if (op === 'call') checkCall(node, args as [string, readonly Tree[]])
  if (op === 'rcall') checkMethod(node, args as [string, Tree, readonly Tree[]], patterns)
  if (op === 'comprehension') {
    const { iterVarName } = args as { iterVarName: string }
    if (variables.includes(iterVarName)) throw mistake(`"${iterVarName}" is taken; expected another name for each element`, node)
  }
  const [left, key] = Array.isArray(args) ? (args as unknown[]) : []
  const valid =
    environment === RULE.environment && op === '.' && isTree(left) && left.op === 'id' ? FIELDS.get(String(left.args)) : undefined
  if (valid !== undefined && !valid.includes(String(key))) throw mistake(unknownName(String(key), valid), node)
}

function checkCall(node: Tree, [name, given]: [string, readonly Tree[]]): void {
  if (!FUNCTIONS.includes(name)) throw mistake(unknownName(name, FUNCTIONS), node)
  if (name === 'duration' && given[0]?.op !== 'value') throw mistake('duration() needs a literal text such as "5m"', node)
}

function checkMethod(node: Tree, [name, , given]: [string, Tree, readonly Tree[]], patterns: Map<Tree, RE2JS>): void {
  if (!METHODS.includes(name)) throw mistake(unknownName(name, METHODS), node)
  if (name.startsWith('get') && given.length > 0) throw mistake(`${name}() is of UTC here; for local time give the rule a schedule`, node)
  if (name !== 'matches') return
  const [pattern] = given
  if (pattern?.op !== 'value' || typeof pattern.args !== 'string') throw mistake('matches() needs a literal pattern', node)
  patterns.set(pattern, compilePattern(pattern.args, pattern))
}

/** The library takes a second for what these limits refuse. */
function compilePattern(pattern: string, node: Tree): RE2JS {
  if (pattern.length > MAX_PATTERN_CHARS) throw mistake(`expected a pattern of at most ${MAX_PATTERN_CHARS} characters`, node)
  const tooBig = 'this pattern is too big; expected fewer repetitions'
  if (leastSize(pattern) > MAX_PATTERN_STEPS) throw mistake(tooBig, node)
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(pattern)
  } catch (error) {
    throw mistake(error instanceof Error ? error.message : 'is no pattern', node)
  }
  if (compiled.programSize() > MAX_PATTERN_STEPS) throw mistake(tooBig, node)
  return compiled
}

function mistake(message: string, { pos, end }: Tree): ParseError {
  return new ParseError({ message, range: { start: pos, end } })
}

function unknownName(name: string, valid: readonly string[]): string {
  const near = nearest(name, valid)
  return `${name} is unknown here; ${near === undefined ? '' : `did you mean "${near}"? `}Valid: ${valid.join(', ')}`
}

function pathsOf(nodes: readonly Tree[]): string[][] {
  // `event.data` within `event.data.value` is read on the way only.
  const inner = new Set(nodes.flatMap(({ op, args }) => (op === '.' ? [(args as [Tree])[0]] : [])))
  const paths = nodes.filter(node => !inner.has(node)).map(pathOf)
  return paths.filter(path => path !== undefined).filter(([variable]) => VARIABLES.includes(variable as string))
}

function pathOf({ op, args }: Tree): string[] | undefined {
  if (op === 'id') return [String(args)]
  if (op !== '.') return undefined
  const [left, key] = args as [Tree, string]
  const path = pathOf(left)
  return path === undefined ? undefined : [...path, key]
}

/** `event.eventType == "a"` or `event.eventType in ["a", "b"]`, where everything else hangs on it. */
function eventTypesFor({ op, args }: Tree): string[] | undefined {
  const [left, right] = Array.isArray(args) ? (args as Tree[]) : []
  if (left === undefined || right === undefined) return undefined
  if (op === '==' || op === 'in') return pathOf(left)?.join('.') === 'event.eventType' ? textsOf(op, right) : undefined
  if (op !== '&&' && op !== '||') return undefined
  const [a, b] = [eventTypesFor(left), eventTypesFor(right)]
  if (a === undefined || b === undefined) return op === '&&' ? (a ?? b) : undefined
  return op === '&&' ? a.filter(type => b.includes(type)) : [...new Set([...a, ...b])]
}

function textsOf(op: '==' | 'in', right: Tree): string[] | undefined {
  const named = op === '==' ? [right] : right.op === 'list' ? (right.args as Tree[]) : []
  const texts = named.map(({ op: kind, args }) => (kind === 'value' ? args : undefined)).filter(text => typeof text === 'string')
  return texts.length === named.length && texts.length > 0 ? texts : undefined
}

function translated(error: unknown, text: string, path: string, { variables }: Scope): Error {
  if (!(error instanceof ParseError || error instanceof TypeMistake)) return error instanceof Error ? error : new Error(String(error))
  const offset = Math.min(error.range?.start ?? 0, text.length)
  const lines = text.slice(0, offset).split('\n')
  const place = `${lines.length > 1 ? `line ${lines.length}, ` : ''}column ${(lines.at(-1) as string).length + 1}`
  const near = text.slice(offset, offset + 20).split('\n')[0]
  const unknown = /^Unknown variable: (\w+)/.exec(error.summary)?.[1]
  const words = unknown === undefined ? error.summary : unknownName(unknown, variables)
  return new Failure('invalid', `${path}: ${words} (${place}${near === '' ? '' : `, at \`${near}\``})`, { field: path, cause: error })
}
