// CEL, the language of expressions: checked when it is saved, bounded when it runs. The only file that knows the libraries for it.
import { type ASTNode, Environment, EvaluationError, ParseError, TypeError as TypeMistake } from '@marcbachmann/cel-js'
import { RE2JS } from 're2js'
import type { Device } from '../device.ts'
import { Failure, invalid } from '../failure.ts'
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

type Evaluate = (evaluator: unknown, self: unknown, context: unknown) => unknown

/** What is known of a node of the library's tree. */
type Tree = Omit<ASTNode, 'op' | 'args'> & {
  readonly op: string
  readonly args: unknown
  readonly pos: number
  readonly end: number
  readonly meta: {
    readonly evaluate: Evaluate
    readonly alternate?: Tree
    readonly macro?: { readonly evaluate: (evaluator: unknown, macro: unknown, context: unknown) => unknown }
  }
  evaluate: Evaluate
  handle?: (...given: unknown[]) => unknown
}

const MAX_CHARS = 2000
const LIMITS = { maxAstNodes: 400, maxDepth: 24, maxListElements: 100, maxMapEntries: 100, maxCallArguments: 8 }
/** Of about 50 ns: one millisecond. */
const MAX_COST = 20_000
const ERROR_COST = 400
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

const environment = openEnvironment()

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

/** Fails with the place in the text and the nearest valid name. */
export function compileCel(text: string, path: string): Cel {
  if (text.trim() === '' || text.length > MAX_CHARS) throw invalid(path, `expected an expression of 1 to ${MAX_CHARS} characters`)
  try {
    const parsed = environment.parse(text)
    const root = parsed.ast as unknown as Tree
    const nodes = nodesOf(root)
    const patterns = new Map<Tree, RE2JS>()
    for (const node of nodes) checkNode(node, patterns)
    const { valid, type, error } = parsed.check()
    if (!valid) throw error ?? new ParseError('cannot be understood')
    if (type !== 'bool' && type !== 'dyn') throw mistake(`gives a ${type}; expected true or false`, root)
    const meter = new Meter(patterns)
    for (const node of nodes) meter.attach(node)
    const patternSteps = [...patterns.values()].reduce((sum, pattern) => sum + pattern.programSize(), 0)
    return {
      run: (variables, share) => run(parsed, meter, variables, share),
      paths: pathsOf(nodes),
      eventTypes: eventTypesFor(root),
      parts: nodes.length,
      patternSteps,
    }
  } catch (error) {
    throw translated(error, text, path)
  }
}

function run(parsed: (variables: CelVariables) => unknown, meter: Meter, variables: CelVariables, share: number): boolean | string {
  meter.left = MAX_COST * share
  try {
    const found = parsed(variables)
    if (meter.left < 0) return TOO_MUCH
    return typeof found === 'boolean' ? found : 'the expression gives neither true nor false'
  } catch (error) {
    if (meter.left < 0) return TOO_MUCH
    // Whatever an event brings must not end the judging of others; what the library throws is an answer to this event.
    if (error instanceof EvaluationError || error instanceof TypeMistake) return error.summary
    return error instanceof Error ? error.message : String(error)
  }
}

/** Also what `run` gives then. */
export const TOO_MUCH = 'the expression would take too long for this event'
const SPENT = new Error(TOO_MUCH)

/** Counts what work costs before it is done, so that no event can make an expression take longer than about a millisecond. */
class Meter {
  left = 0
  private readonly patterns: ReadonlyMap<Tree, RE2JS>

  constructor(patterns: ReadonlyMap<Tree, RE2JS>) {
    this.patterns = patterns
  }

  charge(cost: number): void {
    this.left -= cost
    if (this.left < 0) throw SPENT
  }

  /** Only what may cost more than a step: loops, and whatever goes through texts and lists. */
  attach(node: Tree): void {
    const { handle: inner, op } = node
    if (op === '||' || op === '&&') this.guard((node.args as readonly [Tree])[0])
    if (inner === undefined) return
    if (op === 'comprehension') this.attachLoop(node, inner)
    else if (op === '+' || op === '==' || op === '!=' || op === 'in') {
      node.handle = (left, right, ...more) => {
        if (typeof left !== 'number' || typeof right !== 'number') this.charge(this.weigh(left) + this.weigh(right))
        return inner(left, right, ...more)
      }
    } else if (op === 'rcall') this.attachMethod(node, inner)
    else if (op === 'call') {
      node.handle = (given, ...more) => {
        this.charge(this.weigh(given))
        return inner(given, ...more)
      }
    }
  }

  private attachLoop(node: Tree, inner: NonNullable<Tree['handle']>): void {
    const args = node.args as { readonly step: Tree; condition?: (found: unknown) => boolean }
    const { condition } = args
    const nodes = nodesOf(args.step).length + 2
    node.handle = (items, ...more) => {
      this.charge((Array.isArray(items) ? items.length : Object.keys(items ?? {}).length) * nodes)
      return inner(items, ...more)
    }
    args.condition = found => this.left >= 0 && (condition === undefined || condition(found))
    this.guard(args.step)
  }

  /** all(), exists(), || and && go on after an error, and to make one costs more than most that is not one. */
  private guard(node: Tree): void {
    const { alternate, macro, evaluate } = node.meta
    const inner: Evaluate =
      alternate !== undefined
        ? (evaluator, _, context) => alternate.evaluate(evaluator, alternate, context)
        : macro !== undefined
          ? (evaluator, _, context) => macro.evaluate(evaluator, macro, context)
          : evaluate
    node.evaluate = (evaluator, self, context) => {
      try {
        return inner(evaluator, self, context)
      } catch (error) {
        this.left -= ERROR_COST
        throw error
      }
    }
  }

  private attachMethod(node: Tree, inner: NonNullable<Tree['handle']>): void {
    const [name, , given] = node.args as readonly [string, Tree, readonly Tree[]]
    const pattern = given[0] && this.patterns.get(given[0])
    if (pattern) {
      const program = pattern.programSize()
      node.handle = found => {
        const [text] = found as [unknown]
        if (typeof text !== 'string') throw new EvaluationError('matches() needs a text')
        this.charge(2 * text.length * program)
        return pattern.matcher(text).find()
      }
      return
    }
    node.handle = (found, ...more) => {
      const [text, needle] = found as readonly [unknown, unknown]
      // To look for a text in another may compare each place of one with all of the other.
      const product = typeof text === 'string' && typeof needle === 'string' ? (text.length * needle.length) / 64 : 0
      const pieces = name === 'split' && typeof text === 'string' ? text.length / 4 : 0
      this.charge(product + pieces + this.weigh(found))
      return inner(found, ...more)
    }
  }

  /** What going through a value costs; stops when there is no more to spend. */
  private weigh(value: unknown): number {
    if (typeof value === 'string') return value.length / 16
    if (typeof value !== 'object' || value === null) return 0
    let sum = 1
    for (const inner of Object.values(value)) {
      sum += 1 + this.weigh(inner)
      if (sum > this.left) break
    }
    return sum
  }
}

/** Every node that may be evaluated, the outer before the inner. */
function nodesOf(root: Tree): Tree[] {
  const found: Tree[] = []
  const open: unknown[] = [root]
  while (open.length > 0) {
    const next = open.pop()
    if (Array.isArray(next)) open.push(...next)
    else if (isTree(next)) {
      found.push(next)
      open.push(next.meta.alternate ?? next.args)
    } else if (typeof next === 'object' && next !== null && 'iterable' in next && 'step' in next) open.push(next.iterable, next.step)
  }
  return found
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && 'op' in value && 'meta' in value
}

/** What the library would take, but with worse words, or at a price. */
function checkNode(node: Tree, patterns: Map<Tree, RE2JS>): void {
  const { op, args } = node
  if (op === 'call') checkCall(node, args as [string, readonly Tree[]])
  if (op === 'rcall') checkMethod(node, args as [string, Tree, readonly Tree[]], patterns)
  if (op === 'comprehension') {
    const { iterVarName } = args as { iterVarName: string }
    if (VARIABLES.includes(iterVarName)) throw mistake(`"${iterVarName}" is taken; expected another name for each element`, node)
  }
  const [left, key] = Array.isArray(args) ? (args as unknown[]) : []
  const valid = op === '.' && isTree(left) && left.op === 'id' ? FIELDS.get(String(left.args)) : undefined
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

function translated(error: unknown, text: string, path: string): Error {
  if (!(error instanceof ParseError || error instanceof TypeMistake)) return error instanceof Error ? error : new Error(String(error))
  const offset = Math.min(error.range?.start ?? 0, text.length)
  const lines = text.slice(0, offset).split('\n')
  const place = `${lines.length > 1 ? `line ${lines.length}, ` : ''}column ${(lines.at(-1) as string).length + 1}`
  const near = text.slice(offset, offset + 20).split('\n')[0]
  const unknown = /^Unknown variable: (\w+)/.exec(error.summary)?.[1]
  const words = unknown === undefined ? error.summary : unknownName(unknown, VARIABLES)
  return new Failure('invalid', `${path}: ${words} (${place}${near === '' ? '' : `, at \`${near}\``})`, { field: path, cause: error })
}
