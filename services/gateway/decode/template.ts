// The templates of Home Assistant announcements, as far as they say where in a payload a value stands: `{{ value_json.a.b | float / 10 }}`.
// Parsed once, kept as JSON; whatever loops, or decides by more than whether something is there, is refused.
import { Failure } from '../../../packages/core/failure.ts'
import { isObject, jsonOf, scalarOf } from './text.ts'

/** A constant, the payload, a field of it, a filter, an operator on two of these, or one of these where others are there. */
export type Template =
  | { readonly is: 'constant'; readonly value: string | number }
  | { readonly is: 'text' }
  | { readonly is: 'path'; readonly keys: readonly (string | number)[] }
  | { readonly is: 'filter'; readonly name: string; readonly of: Template; readonly by?: string | number | undefined }
  | { readonly is: 'where'; readonly defined: readonly Template[]; readonly value: Template; readonly otherwise?: Template }
  | { readonly is: 'operator'; readonly sign: string; readonly left: Template; readonly right: Template }

const MAX_CHARS = 1000
const MAX_DEPTH = 16
const TOKEN = /\s*(\d+(?:\.\d+)?|[A-Za-z_]\w*|'[^'\\]*'|"[^"\\]*"|[.,()|[\]*/+-])/y
const FILTERS: ReadonlySet<string> = new Set([
  'float',
  'int',
  'round',
  'abs',
  'default',
  'is_defined',
  'string',
  'lower',
  'upper',
  'trim',
  'multiply',
])

/** @throws Failure `unsupported` that says what is not understood. */
export function parseTemplate(text: string): Template {
  const trimmed = text.trim()
  const isOne = trimmed.startsWith('{{') && trimmed.endsWith('}}') && !trimmed.slice(2, -2).includes('{{')
  if (text.length > MAX_CHARS || !isOne) throw notUnderstood(text)
  const parser = new Parser(tokensOf(trimmed.slice(2, -2).replaceAll(/^-|-$/g, ''), text), text)
  return parser.whole()
}

function notUnderstood(text: string): Failure {
  const expected = 'expected one such as {{ value_json.temperature | float }}: a path, filters and arithmetic'
  return new Failure('unsupported', `value_template: ${expected}, got ${JSON.stringify(text.slice(0, 200))}`, { field: 'value_template' })
}

function tokensOf(text: string, whole: string): string[] {
  const tokens: string[] = []
  const pattern = new RegExp(TOKEN)
  while (text.slice(pattern.lastIndex).trim() !== '') {
    const match = pattern.exec(text)
    if (!match) throw notUnderstood(whole)
    tokens.push(match[1] as string)
  }
  return tokens
}

/** By precedence: `+ -`, then `* /`, then filters, which bind the most. */
class Parser {
  readonly #tokens: readonly string[]
  readonly #text: string
  #at = 0
  #depth = 0

  constructor(tokens: readonly string[], text: string) {
    this.#tokens = tokens
    this.#text = text
  }

  whole(): Template {
    const template = this.#conditional()
    if (this.#at < this.#tokens.length) throw notUnderstood(this.#text)
    return template
  }

  /**
   * `x if y is defined and z is defined else 0`. A constant behind `else` is for a display that must show something: here what is not there is
   * no reading. Anything else there is another place of the value.
   */
  #conditional(): Template {
    const value = this.#operators(0)
    if (!this.#is('if')) return value
    const defined: Template[] = []
    do {
      this.#next()
      defined.push(this.#filtered())
      this.#expect('is')
      this.#expect('defined')
    } while (this.#is('and') && defined.length < MAX_DEPTH)
    const otherwise = this.#is('else') ? this.#otherwise() : undefined
    return otherwise ? { is: 'where', defined, value, otherwise } : { is: 'where', defined, value }
  }

  /** Undefined: a constant. */
  #otherwise(): Template | undefined {
    this.#next()
    if (++this.#depth > MAX_DEPTH) throw notUnderstood(this.#text)
    const isNegative = this.#is('-')
    if (isNegative) this.#next()
    if (this.#is('true', 'false', 'none', 'True', 'False', 'None')) return void this.#next()
    const template = this.#conditional()
    this.#depth--
    if (isConstant(template)) return undefined
    if (isNegative) throw notUnderstood(this.#text)
    return template
  }

  #operators(level: 0 | 1): Template {
    if (++this.#depth > MAX_DEPTH) throw notUnderstood(this.#text)
    const signs = level === 0 ? ['+', '-'] : ['*', '/']
    const next = () => (level === 0 ? this.#operators(1) : this.#filtered())
    let left = next()
    for (let count = 0; this.#is(...signs); count++) {
      if (count > MAX_DEPTH) throw notUnderstood(this.#text)
      left = { is: 'operator', sign: this.#next(), left, right: next() }
    }
    this.#depth--
    return left
  }

  #filtered(): Template {
    let template = this.#factor()
    for (let count = 0; this.#is('|'); count++) {
      this.#next()
      const name = this.#next()
      if (!FILTERS.has(name) || count > MAX_DEPTH) throw notUnderstood(this.#text)
      template = { is: 'filter', name, of: template, by: this.#is('(') ? this.#argument() : undefined }
    }
    return template
  }

  #argument(): string | number | undefined {
    this.#next()
    if (this.#is(')')) return void this.#next()
    const isNegative = this.#is('-')
    if (isNegative) this.#next()
    const value = this.#constant(this.#next())
    this.#expect(')')
    return isNegative && typeof value === 'number' ? -value : value
  }

  #factor(): Template {
    const token = this.#next()
    if (token === '(') {
      const inner = this.#operators(0)
      this.#expect(')')
      return inner
    }
    if ((token === 'float' || token === 'int') && this.#is('(')) return this.#called(token)
    if (token === 'value') return { is: 'text' }
    if (token === 'value_json') return { is: 'path', keys: this.#keys() }
    return { is: 'constant', value: this.#constant(token) }
  }

  /** `float(x)` is `x | float`, and `float(x, 0)` is `x | float(0)`. */
  #called(name: string): Template {
    this.#next()
    const of = this.#operators(0)
    if (this.#is(',')) return { is: 'filter', name, of, by: this.#argument() }
    this.#expect(')')
    return { is: 'filter', name, of }
  }

  #keys(): (string | number)[] {
    const keys: (string | number)[] = []
    while (this.#is('.', '[')) {
      if (this.#next() === '.') {
        const name = this.#next()
        if (!/^\w+$/.test(name)) throw notUnderstood(this.#text)
        keys.push(name)
        continue
      }
      keys.push(this.#constant(this.#next()))
      this.#expect(']')
    }
    return keys
  }

  #constant(token: string): string | number {
    if (/^\d/.test(token)) return Number(token)
    if (/^['"]/.test(token)) return token.slice(1, -1)
    throw notUnderstood(this.#text)
  }

  #is(...tokens: readonly string[]): boolean {
    return tokens.includes(this.#tokens[this.#at] ?? '')
  }

  #next(): string {
    const token = this.#tokens[this.#at++]
    if (token === undefined) throw notUnderstood(this.#text)
    return token
  }

  #expect(token: string): void {
    if (this.#next() !== token) throw notUnderstood(this.#text)
  }
}

function isConstant(template: Template): boolean {
  if (template.is === 'filter') return isConstant(template.of)
  if (template.is === 'operator') return isConstant(template.left) && isConstant(template.right)
  return template.is === 'constant'
}

/** A payload that many templates ask: its JSON is parsed once, and only when one of them wants it. */
export class Rendering {
  readonly #text: string
  #json: { readonly value: unknown } | undefined

  constructor(text: string) {
    this.#text = text
  }

  /** Undefined: there is no such field, or no number where one is needed. @throws Failure `invalid` where JSON was expected. */
  render(template: Template): unknown {
    if (template.is === 'constant') return template.value
    if (template.is === 'text') return scalarOf(this.#text)
    if (template.is === 'path') return this.#field(template.keys)
    if (template.is === 'where') return this.#where(template)
    if (template.is === 'filter') return filtered(template.name, this.render(template.of), template.by)
    return operated(template.sign, numberOf(this.render(template.left)), numberOf(this.render(template.right)))
  }

  #where({ defined, value, otherwise }: Template & { readonly is: 'where' }): unknown {
    if (defined.every(one => this.render(one) !== undefined)) return this.render(value)
    return otherwise && this.render(otherwise)
  }

  #field(keys: readonly (string | number)[]): unknown {
    this.#json ??= { value: jsonOf(this.#text) }
    let value = this.#json.value
    for (const key of keys) {
      if (Array.isArray(value)) value = typeof key === 'number' ? value[key] : undefined
      else value = isObject(value) && Object.hasOwn(value, key) ? value[String(key)] : undefined
    }
    return value ?? undefined
  }
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === 'string' ? scalarOf(value) : value
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined
}

function operated(sign: string, left: number | undefined, right: number | undefined): number | undefined {
  if (left === undefined || right === undefined) return undefined
  const result = sign === '+' ? left + right : sign === '-' ? left - right : sign === '*' ? left * right : left / right
  // Freed of what binary fractions add: 231 * 0.1.
  return Number.isFinite(result) ? Number(result.toPrecision(14)) : undefined
}

const MAX_PLACES = 15

function filtered(name: string, value: unknown, by: string | number | undefined): unknown {
  if (name === 'default') return value ?? by
  if (value === undefined || name === 'is_defined') return value
  if (name === 'string') return String(scalar(value))
  if (name === 'lower') return String(scalar(value)).toLowerCase()
  if (name === 'upper') return String(scalar(value)).toUpperCase()
  if (name === 'trim') return String(scalar(value)).trim()
  return calculated(name, numberOf(value) ?? (name === 'float' || name === 'int' ? numberOf(by) : undefined), by)
}

function calculated(name: string, number: number | undefined, by: string | number | undefined): number | undefined {
  if (number === undefined) return undefined
  if (name === 'int') return Math.trunc(number)
  if (name === 'abs') return Math.abs(number)
  if (name === 'multiply') return operated('*', number, numberOf(by))
  if (name === 'round') return Number(number.toFixed(Math.min(Math.max(Number(by ?? 0), 0), MAX_PLACES)))
  return number
}

function scalar(value: unknown): string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : ''
}
