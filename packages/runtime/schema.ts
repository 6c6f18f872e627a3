// What a route takes and gives, as TypeBox schemas: they check requests, give handlers their types, and become the OpenAPI document.
import { type TObject, type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { invalid } from '../core/failure.ts'

export const ProjectId = Type.String({ description: 'id of a project; where a route says so, `-` stands for all', examples: ['default'] })
export const DeviceId = Type.String({ maxLength: 128, examples: ['freezer-1'] })

export const PageQuery = {
  pageSize: Type.Optional(Type.Integer({ minimum: 1, description: 'entries at most; a page may hold fewer', examples: [10] })),
  pageToken: Type.Optional(
    Type.String({ maxLength: 4096, description: '`nextPageToken` of the page before; all other parameters as there' }),
  ),
}

/** Wherever there are `labelFilters`. */
export const LabelMatchParameter = Type.Optional(
  Type.Union([Type.Literal('all'), Type.Literal('any')], {
    description: '`all` label filters must hold, or `any` of them is enough; without it as `TELLTALE_LABEL_FILTERS` says',
    examples: ['any'],
  }),
)

/** Of routes that take no parameters. */
export const NoQuery = Type.Object({})

/** One page of a list: `nextPageToken` is empty on the last. */
export function listOf<Name extends string, Item extends TSchema>(name: Name, item: Item) {
  return Type.Object({ [name]: Type.Array(item), nextPageToken: Type.String() } as {
    [key in Name]: ReturnType<typeof Type.Array<Item>>
  } & { nextPageToken: ReturnType<typeof Type.String> })
}

export const Empty = Type.Object({}, { description: 'an empty object' })

export const ErrorBody = Type.Object(
  {
    error: Type.Union([Type.String(), Type.Object({ code: Type.Integer(), message: Type.String() })], {
      description: 'what is wrong and what was expected; an object on `:stream` routes',
    }),
    code: Type.Integer({ description: 'the HTTP status' }),
    help: Type.String(),
    field: Type.Optional(Type.String({ description: 'dotted path of the offending field' })),
  },
  { description: 'the request was refused' },
)

type Query = Readonly<Record<string, string | string[] | undefined>>
export type Checked = { readonly value: unknown } | { readonly error: Error }
export type Check = (value: unknown) => Checked

const BY_HANDLER = 'x-checked-by'

/** A body that the handler itself checks, with better words than a schema has; the schema describes it. */
export function described<Schema extends TSchema>(schema: Schema): ReturnType<typeof Type.Unsafe<unknown>> {
  return Type.Unsafe<unknown>({ ...schema, [BY_HANDLER]: 'handler' })
}

type WithExamples = {
  readonly examples?: readonly unknown[]
  readonly properties?: Readonly<Record<string, WithExamples>>
  readonly required?: readonly string[]
}

/** Of a whole value: its own, or put together from those of its fields; undefined when one that must be there has none. */
export function exampleOf(schema: unknown): unknown {
  const { examples, properties = {}, required = [] } = schema as WithExamples
  if (examples !== undefined) return examples[0]
  const known = Object.entries(properties).flatMap(([name, field]) => (field.examples ? [[name, field.examples[0]] as const] : []))
  const example = Object.fromEntries(known)
  return known.length > 0 && required.every(name => Object.hasOwn(example, name)) ? example : undefined
}

/** Checks what stands at `where` (`body`, `params`) of a request. */
export function checkOf(schema: TSchema, where: string): Check {
  if (BY_HANDLER in schema) return value => ({ value })
  const validator = Compile(schema)
  return given => {
    // Some clients send nothing where there is nothing to say (contracts.md §0.1).
    const value = given ?? {}
    if (validator.Check(value)) return { value }
    return { error: problemOf(validator.Errors(value), schema, where) }
  }
}

type Problem = ReturnType<ReturnType<typeof Compile>['Errors']>[number]

/** The deepest problem says most; that a closed object has a surplus field is said by its name. */
function problemOf(problems: readonly Problem[], schema: TSchema, where: string): Error {
  const said = withoutOthers(problems.filter(({ keyword }) => keyword !== 'boolean'))
  const [problem] = said.toSorted((a, b) => b.instancePath.length - a.instancePath.length)
  const parts = [where, ...(problem?.instancePath ?? '').split('/').filter(part => part !== '')]
  const { requiredProperties, additionalProperties } = (problem?.params ?? {}) as { [name: string]: readonly string[] | undefined }
  const [missing] = requiredProperties ?? []
  if (missing !== undefined) {
    const field = partOf(partOf(schema, ...(problem?.schemaPath ?? '').split('/').slice(1)), 'properties', missing)
    return invalid([...parts, missing].join('.'), `expected ${kindOf(field)}, but it is missing`)
  }
  if (additionalProperties) return invalid([...parts, additionalProperties[0]].join('.'), 'unknown field')
  const allowed = said.flatMap(({ keyword, instancePath, params }) =>
    keyword === 'const' && instancePath === problem?.instancePath ? [String((params as { allowedValue: unknown }).allowedValue)] : [],
  )
  return invalid(parts.join('.'), allowed.length > 0 ? `expected ${allowed.join(' or ')}` : (problem?.message ?? 'not valid'))
}

/**
 * Of a union whose objects say by a constant which they are: without the problems of all but the one that was meant, as far as it is known
 * which that was.
 */
function withoutOthers(problems: readonly Problem[]): readonly Problem[] {
  const others = new Set(problems.flatMap(({ keyword, schemaPath }) => (keyword === 'const' ? (CONSTANT.exec(schemaPath)?.[1] ?? []) : [])))
  const isOf = (branches: ReadonlySet<string>, { schemaPath }: Problem) => branches.has(BRANCH.exec(schemaPath)?.[0] ?? '')
  const isAnotherType = ({ keyword, schemaPath }: Problem) => keyword === 'type' && BRANCH.exec(schemaPath)?.[0] === schemaPath
  const meant = problems.filter(problem => BRANCH.test(problem.schemaPath) && !isAnotherType(problem) && !isOf(others, problem))
  return meant.length > 0 ? problems.filter(problem => !isOf(others, problem)) : problems
}

const BRANCH = /^.*\/anyOf\/\d+/
const CONSTANT = /^(.*\/anyOf\/\d+)\/properties\/[^/]+$/

/** Of a schema, as JSON Pointers name it; undefined where nothing is. */
function partOf(schema: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((part, name) => (Object(part) as Record<string, unknown>)[name], schema)
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'an array',
  object: 'an object',
}

function kindOf(schema: unknown): string {
  const {
    type = '',
    const: only,
    anyOf,
  } = Object(schema) as { type?: string; const?: string | number | boolean; anyOf?: readonly unknown[] }
  if (only !== undefined) return String(only)
  return anyOf ? [...new Set(anyOf.map(kindOf))].join(' or ') : (KINDS[type] ?? 'a value')
}

/** Of every route: an access token of clients that can set no header (contracts.md 1.a.3). */
const EVERYWHERE: ReadonlySet<string> = new Set(['token'])

type Parameter = { readonly type?: string; readonly items?: { readonly type?: string } }

/**
 * Reads a query as its schema says: both spellings of a name, mixed (contracts.md §0.8); arrays are repeated keys (§0.7); numbers and
 * booleans are converted (§0.6); a single value that is repeated and a parameter nobody knows are refused.
 */
export function queryReader(schema: TObject): Check {
  const parameters = schema.properties as unknown as Readonly<Record<string, Parameter>>
  const check = checkOf(schema, 'query')
  return query => {
    try {
      const checked = check(normalised(query as Query, parameters))
      return 'error' in checked ? { error: invalidParameter(checked.error) } : checked
    } catch (error) {
      return { error: error as Error }
    }
  }
}

/** `query.pageSize: must be >= 1` → `pageSize: …`: callers know their parameters by name alone. */
function invalidParameter(error: Error): Error {
  const [name = '', ...rest] = error.message.replace(/^query\.?/, '').split(': ')
  return invalid(name, rest.join(': '))
}

function normalised(query: Query, parameters: Readonly<Record<string, Parameter>>): Record<string, unknown> {
  const values: Record<string, unknown> = {}
  for (const [spelled, given] of Object.entries(query)) {
    const name = camel(spelled)
    const parameter = Object.hasOwn(parameters, name) ? parameters[name] : undefined
    const texts = [given ?? []].flat()
    if (parameter) values[name] = parameterValue(name, values[name], texts, parameter)
    else if (!EVERYWHERE.has(name))
      throw invalid(spelled.slice(0, 100), `unknown parameter; known here: ${Object.keys(parameters).join(', ') || 'none'}`)
  }
  return values
}

function parameterValue(name: string, before: unknown, texts: readonly string[], parameter: Parameter): unknown {
  if (parameter.type === 'array')
    return [...((before as unknown[] | undefined) ?? []), ...texts.map(text => convert(text, parameter.items))]
  if (before !== undefined || texts.length > 1) throw invalid(name, 'expected one value, got several')
  return convert(texts[0] as string, parameter)
}

/** A name as it is here, however it was spelled. */
export function camel(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

/** Text that is none of its type stays text, which the schema then refuses. */
function convert(text: string, parameter: Parameter | undefined): unknown {
  if ((parameter?.type === 'integer' || parameter?.type === 'number') && /^-?\d{1,15}(\.\d{1,15})?$/.test(text)) return Number(text)
  if (parameter?.type === 'boolean' && /^(true|false)$/i.test(text)) return text.toLowerCase() === 'true'
  return text
}
