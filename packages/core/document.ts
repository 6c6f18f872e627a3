// Rules as people keep them in files: YAML or JSON text to rules or to mistakes with line and column, and a rule to the text one would write.
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Document as NewDocument,
  type Node,
  type Pair,
  type ParsedNode,
  parseAllDocuments,
  visit,
} from 'yaml'
import { MAX_SHOWN_KEY, UNKNOWN } from './condition/input.ts'
import type { Schema } from './condition/kind.ts'
import { Failure } from './failure.ts'
import { findMistakes, parseRule, type Rule, ruleToJson } from './rule.ts'
import { ruleSchema } from './ruleschema.ts'

/** Where something stands in a text; both count from 1. */
export type Position = { readonly line: number; readonly column: number }

/** `field` as in a Failure: a path such as `when.threshold.above` or `notify[0]`; empty for the whole text. */
export type Mistake = Position & { readonly field: string; readonly message: string }

export type ParsedRule =
  | { readonly rule: Rule; readonly errors?: undefined }
  | { readonly rule?: undefined; readonly errors: readonly Mistake[] }

/** One object of a text; it means something only without errors. */
export type Piece = {
  readonly value: unknown
  readonly errors: readonly Mistake[]
  /** A mistake in its value, with the place of the field or of its nearest parent that is there. */
  locate(field: string, message: string): Mistake
}

const MAX_CHARS = 256 * 1024
const MAX_PIECES = 1000
const MAX_ERRORS = 20
const MAX_ALIASES = 100
/** The parser calls itself for every level. */
const MAX_NESTING = 32
const FLOW_COLUMNS = 110

/**
 * Every rule of a text, which may hold several documents, each of them a rule or a list of rules. YAML is 1.2, so `no` and `on` are
 * texts; JSON is YAML. Never throws for what stands in the text.
 */
export function parseDocuments(text: string): ParsedRule[] {
  const lineOf = new Map<string, number>()
  return readDocuments(text).map(piece => {
    const parsed = parsePiece(piece)
    if (parsed.rule === undefined) return parsed
    const { name } = parsed.rule
    const { line } = piece.locate('name', '')
    const earlier = lineOf.get(name)
    lineOf.set(name, earlier ?? line)
    return earlier === undefined
      ? parsed
      : { errors: [piece.locate('name', `name: expected another than that of the rule on line ${earlier}`)] }
  })
}

/** Every object of a text, whatever it is of. */
export function readDocuments(text: string): Piece[] {
  const refusal = refuse(text)
  if (refusal !== undefined) return [refused(refusal)]
  const lines = new LineCounter()
  // Its own check of double keys compares each with all others.
  const options = { version: '1.2', schema: 'core', uniqueKeys: false, prettyErrors: false, lineCounter: lines } as const
  const documents = parseAllDocuments<ParsedNode>(text, options)
  if ('empty' in documents) return []
  const pieces = documents.flatMap(document => piecesOf(document, lines))
  return pieces.length > MAX_PIECES ? [refused(`expected at most ${MAX_PIECES} rules in one text`)] : pieces
}

/** What parseRule makes the same rule of, but for its version: without defaults, in the order in which one thinks of a rule. */
export function ruleToYaml(rule: Rule): string {
  const { version: _, ...document } = withoutDefaults(JSON.parse(JSON.stringify(ruleToJson(rule))), ruleSchema) as {
    [key: string]: unknown
  }
  // Older readers of YAML take 07:00 for a number and no for false: such texts get quotes.
  const written = new NewDocument(document, { compat: 'yaml-1.1' })
  visit(written, { Collection: (_key, node, path) => (path.length > 2 && isShort(node) ? flow(node) : undefined) })
  return written.toString({ lineWidth: FLOW_COLUMNS, flowCollectionPadding: false })
}

function parsePiece(piece: Piece): ParsedRule {
  if (piece.errors.length > 0) return { errors: piece.errors }
  const failures = findMistakes(piece.value)
  if (failures.length === 0) return { rule: parseRule(piece.value) }
  return { errors: failures.slice(0, MAX_ERRORS).map(({ field = '', message }) => piece.locate(field, message)) }
}

/** What would cost too much to read. */
function refuse(text: string): string | undefined {
  if (text.length > MAX_CHARS) return `expected at most ${MAX_CHARS / 1024} KB of text`
  let open = 0
  let inLine = 0
  for (const lexeme of new Lexer().lex(text)) {
    if (lexeme === '[' || lexeme === '{') open++
    else if (lexeme === ']' || lexeme === '}') open--
    else if (lexeme === '-' || lexeme === '?') inLine++
    else if (lexeme.includes('\n')) inLine = 0
    if (open > MAX_NESTING || inLine > MAX_NESTING) return `expected at most ${MAX_NESTING} levels inside each other`
  }
  return undefined
}

function refused(message: string): Piece {
  const mistake = { field: '', message, line: 1, column: 1 }
  return { value: undefined, errors: [mistake], locate: (field, message) => ({ ...mistake, field, message }) }
}

function piecesOf(document: Document.Parsed<ParsedNode>, lines: LineCounter): Piece[] {
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line, column: col }
  }
  const errors = [...document.errors, ...document.warnings].map(({ message, pos }) => ({ field: '', message, ...at(pos[0]) }))
  const { contents } = document
  if (errors.length === 0 && (contents === null || (isScalar(contents) && contents.value === null))) return []
  const found = errors.length > 0 ? errors : doubleKeys(document).map(({ offset, ...mistake }) => ({ ...mistake, ...at(offset) }))
  const value = found.length > 0 ? undefined : plain(document)
  const locateFrom = (root: Node | null) => (field: string, message: string) => locate(document, root, at, field, message)
  if (value instanceof Failure)
    return [{ value: undefined, errors: [locateFrom(contents)('', value.message)], locate: locateFrom(contents) }]
  if (found.length > 0) return [{ value, errors: found.slice(0, MAX_ERRORS), locate: locateFrom(contents) }]
  if (!isSeq(contents)) return [{ value, errors: [], locate: locateFrom(contents) }]
  return contents.items.map((item, index) => ({ value: (value as unknown[])[index], errors: [], locate: locateFrom(item as Node) }))
}

function plain(document: Document.Parsed<ParsedNode>): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES })
  } catch (error) {
    if (error instanceof ReferenceError) return new Failure('invalid', 'expected fewer aliases (*name)', { cause: error })
    throw error
  }
}

function doubleKeys(document: Document.Parsed<ParsedNode>): { field: string; message: string; offset: number }[] {
  const found: { field: string; message: string; offset: number }[] = []
  visit(document, {
    Map(_key, map, ancestors) {
      const keys = new Set<string>()
      for (const { key } of map.items as Pair<Node, Node | null>[]) {
        const text = keyText(key)
        if (keys.has(text)) {
          const field = [...ancestors, map].reduce((path, node, index, nodes) => below(path, node, nodes[index + 1]), '')
          found.push({ ...doubleKey(field === '' ? text : `${field}.${text}`), offset: offsetOf(key) })
        }
        keys.add(text)
      }
    },
  })
  return found
}

function doubleKey(field: string): { field: string; message: string } {
  return { field, message: `${field}: stands here twice` }
}

/** The path of an inner node, given that of the outer. */
function below(path: string, outer: unknown, inner: unknown): string {
  if (isSeq(outer)) return `${path}[${outer.items.indexOf(inner)}]`
  if (!isMap(outer) || inner === undefined) return path
  const key = keyText((inner as Pair<Node, Node | null>).key)
  return path === '' ? key : `${path}.${key}`
}

function locate(document: Document.Parsed, root: Node | null, at: (offset: number) => Position, field: string, message: string): Mistake {
  let node = root
  let key: Node | undefined
  let rest = field
  while (rest !== '') {
    const step = stepInto(isAlias(node) ? node.resolve(document) : node, rest)
    if (step === undefined) break
    ;({ node, key, rest } = step)
  }
  // What a block holds stands below; what is missing in it is missing at its key.
  const atKey =
    key !== undefined && (rest !== '' || message.includes(UNKNOWN) || node === null || (isCollection(node) && node.flow !== true))
  const place = at(offsetOf(atKey ? key : node))
  return { field, message: `${message}${rest === '' ? quotesFor(node, message) : ''}`, ...place }
}

/** A number or `true` where a text is wanted was most likely meant as one. */
function quotesFor(node: Node | null | undefined, message: string): string {
  if (!isScalar(node) || typeof node.value === 'string' || !node.source || !/expected (a text|1 to)/.test(message)) return ''
  return `, so in quotes: "${node.source}"`
}

type Place = { readonly node: Node | null; readonly key: Node | undefined; readonly rest: string }

/** One key or index of a path further; keys may themselves hold dots, and long ones are cut where they are refused. */
function stepInto(node: Node | null | undefined, path: string): Place | undefined {
  const text = path.replace(/^\./, '')
  if (isSeq(node)) {
    const index = /^\[(\d+)\]/.exec(text)
    const item = index === null ? undefined : (node.items[Number(index[1])] as Node | undefined)
    return index === null || item === undefined ? undefined : { node: item, key: undefined, rest: text.slice(index[0].length) }
  }
  if (!isMap<Node, Node | null>(node)) return undefined
  const fits = node.items.filter(({ key }) => {
    const name = keyText(key).slice(0, MAX_SHOWN_KEY)
    return text.startsWith(name) && ['', '.', '['].includes(text.charAt(name.length))
  })
  const [pair] = fits.sort((a, b) => keyText(b.key).length - keyText(a.key).length)
  if (pair === undefined) return undefined
  return { node: pair.value, key: pair.key, rest: text.slice(Math.min(MAX_SHOWN_KEY, keyText(pair.key).length)) }
}

function keyText(key: Node): string {
  return isScalar<string | number | boolean | null>(key) ? String(key.value ?? '') : key.toString()
}

function offsetOf(node: Node | null | undefined): number {
  return node?.range?.[0] ?? 0
}

/** Whatever the schema says is taken anyway. */
function withoutDefaults(value: unknown, schema: Schema): unknown {
  const { $ref, properties, items } = schema as { $ref?: string; properties?: { [key: string]: Schema }; items?: Schema }
  if ($ref !== undefined)
    return withoutDefaults(value, (ruleSchema.$defs as { [name: string]: Schema })[$ref.slice('#/$defs/'.length)] ?? {})
  if (Array.isArray(value)) return items === undefined ? value : value.map(item => withoutDefaults(item, items))
  if (typeof value !== 'object' || value === null || properties === undefined) return value
  const left = Object.entries(value).flatMap(([key, inner]) => {
    const own = properties[key] ?? {}
    return JSON.stringify(inner) === JSON.stringify(own.default) ? [] : [[key, withoutDefaults(inner, own)] as const]
  })
  return Object.fromEntries(left)
}

/** Scalars side by side on a line; what holds them stands below each other. */
function isShort(node: Node): boolean {
  if (!isCollection(node)) return false
  const values = node.items.map(item => (isScalar(item) ? item : (item as Pair<Node, Node | null>).value))
  return values.every(value => isScalar(value) && !(typeof value.value === 'string' && value.value.includes('\n')))
}

function flow(node: Node): void {
  if (isCollection(node)) node.flow = true
}
