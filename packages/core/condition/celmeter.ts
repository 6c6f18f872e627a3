// What an expression may cost: counted before the work is done, on the tree that the library made of the text.
import { type ASTNode, EvaluationError } from '@marcbachmann/cel-js'
import type { RE2JS } from 're2js'

type Evaluate = (evaluator: unknown, self: unknown, context: unknown) => unknown

/** What is known of a node of the library's tree. */
export type Tree = Omit<ASTNode, 'op' | 'args'> & {
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

const ERROR_COST = 400

/** What is said then. */
export const TOO_MUCH = 'the expression would take too long for this event'
const SPENT = new Error(TOO_MUCH)

/** Counts what work costs before it is done, so that no event can make an expression take longer than about a millisecond. */
export class Meter {
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
export function nodesOf(root: Tree): Tree[] {
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

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && 'op' in value && 'meta' in value
}
