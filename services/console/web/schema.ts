// The JSON Schema of rules, as the form reads it: which conditions there are, and which fields each has.
import { isObject, type Json } from './draft.ts'

export type FieldKind =
  | 'text'
  | 'number'
  | 'flag'
  | 'choice'
  | 'scalar'
  | 'list'
  | 'numbers'
  | 'group'
  | 'groups'
  | 'condition'
  | 'conditions'
  | 'json'

export type FieldSchema = {
  readonly name: string
  readonly kind: FieldKind
  readonly required: boolean
  readonly description: string
  readonly example: string
  /** Of a choice; of a text some of what it may be. */
  readonly choices: readonly string[]
  /** Of a group, or of each in a list of groups. */
  readonly fields: readonly FieldSchema[]
}

export type ConditionSchema = {
  readonly name: string
  readonly description: string
  readonly kind: FieldKind
  readonly fields: readonly FieldSchema[]
}

const MAX_DEPTH = 4

/** The conditions of the schema, in its order. */
export function conditionsIn(root: Json): ConditionSchema[] {
  const properties = isObject(root['properties']) ? root['properties'] : {}
  const when = resolve(root, properties['when'])
  const branches = branchesOf(root, when)
  const all = [when, ...branches].flatMap(one => (isObject(one['properties']) ? Object.entries(one['properties']) : []))
  return [...new Map(all)].map(([name, schema]) => {
    const own = resolve(root, schema)
    // A condition that may be a bare text as well has its fields in a branch.
    const full = isObject(own['properties']) ? own : (branchesOf(root, own).find(one => isObject(one['properties'])) ?? own)
    return { name, description: textOf(own['description']), kind: kindOf(root, own, when), fields: fieldsOf(root, full, when, 0) }
  })
}

function fieldsOf(root: Json, schema: Json, condition: Json, depth: number): FieldSchema[] {
  if (depth > MAX_DEPTH || !isObject(schema['properties'])) return []
  const required = listOf(schema['required'])
  return Object.entries(schema['properties']).map(([name, raw]) => {
    const own = resolve(root, raw)
    const kind = kindOf(root, own, condition)
    const inside = kind === 'groups' ? resolve(root, own['items']) : own
    return {
      name,
      kind,
      required: required.includes(name),
      description: textOf(ownWords(raw) ?? own['description']),
      example: exampleOf(own),
      choices: kind === 'choice' ? choicesOf(root, own) : suggestionsOf(root, own),
      fields: kind === 'group' || kind === 'groups' ? fieldsOf(root, inside, condition, depth + 1) : [],
    }
  })
}

function kindOf(root: Json, schema: Json, condition: Json): FieldKind {
  if (isSame(schema, condition)) return 'condition'
  if (schema['type'] === 'array') {
    const items = resolve(root, schema['items'])
    if (isSame(items, condition)) return 'conditions'
    if (items['type'] === 'number' || items['type'] === 'integer') return 'numbers'
    return items['type'] === 'object' ? 'groups' : 'list'
  }
  const types = typesOf(root, schema)
  if (choicesOf(root, schema).length > 0) return 'choice'
  if (types.length > 1 && types.every(type => SCALARS.includes(type))) return 'scalar'
  const [type] = types
  return types.length === 1 && type !== undefined ? (KINDS[type] ?? 'json') : 'json'
}

const SCALARS = ['string', 'number', 'integer', 'boolean']
const KINDS: { readonly [type: string]: FieldKind } = {
  string: 'text',
  number: 'number',
  integer: 'number',
  boolean: 'flag',
  object: 'group',
}

function typesOf(root: Json, schema: Json): string[] {
  const own = typeof schema['type'] === 'string' ? [schema['type']] : listOf(schema['type']).map(textOf)
  const branches = branchesOf(root, schema).flatMap(one => typesOf(root, one))
  return [...new Set([...own, ...branches])]
}

function choicesOf(root: Json, schema: Json): string[] {
  const constant = schema['const']
  const branches = branchesOf(root, schema)
  const own = typeof constant === 'string' ? [constant] : listOf(schema['enum']).map(String)
  if (branches.length > 0 && branches.every(one => 'const' in one || 'enum' in one)) return branches.flatMap(one => choicesOf(root, one))
  return own
}

function branchesOf(root: Json, schema: Json): Json[] {
  return [...listOf(schema['oneOf']), ...listOf(schema['anyOf'])].map(one => resolve(root, one))
}

/** Some of what a text may be, where it may be something else too. */
function suggestionsOf(root: Json, schema: Json): string[] {
  return branchesOf(root, schema).flatMap(one => choicesOf(root, one))
}

function resolve(root: Json, schema: unknown): Json {
  if (!isObject(schema)) return {}
  const ref = schema['$ref']
  if (typeof ref !== 'string' || !ref.startsWith('#')) return schema
  let found: unknown = root
  for (const key of ref.slice(1).split('/').filter(Boolean)) found = isObject(found) ? found[key] : undefined
  return isObject(found) ? found : {}
}

/** `$ref` may have its own words beside it. */
function ownWords(schema: unknown): unknown {
  return isObject(schema) ? schema['description'] : undefined
}

function isSame(a: Json, b: Json): boolean {
  return a === b || (Object.keys(a).length > 0 && a['$id'] !== undefined && a['$id'] === b['$id'])
}

function exampleOf(schema: Json): string {
  const [first] = listOf(schema['examples'])
  const shown = first ?? schema['default']
  if (Array.isArray(shown)) return shown.join(', ')
  return shown === undefined ? '' : typeof shown === 'string' ? shown : JSON.stringify(shown)
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : []
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
