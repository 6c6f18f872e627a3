// The server's OpenAPI document as tests use it: its operations, their examples, and whether an answer is what they promise.
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { Telltale } from './world.ts'

export type Schema = {
  readonly type?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly additionalProperties?: Schema | boolean
  readonly minimum?: number
  readonly maximum?: number
  readonly maxLength?: number
  readonly examples?: readonly unknown[]
}
type Media = {
  readonly schema: Schema
  readonly example?: unknown
  readonly examples?: Examples
}
type Examples = Readonly<Record<string, { readonly value: unknown }>>
export type Parameter = {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required: boolean
  readonly schema: Schema
  readonly example?: unknown
  readonly examples?: Examples
}
type Content = { readonly content?: Readonly<Record<string, Media>> }
export type Operation = {
  readonly operationId: string
  readonly method: string
  readonly path: string
  readonly parameters: readonly Parameter[]
  readonly requestBody?: Content & { readonly required?: boolean }
  readonly responses: Readonly<Record<string, Content>>
}
export type Document = { readonly paths: Readonly<Record<string, Readonly<Record<string, Omit<Operation, 'method' | 'path'>>>>> }

export async function documentOf(telltale: Telltale): Promise<Document> {
  const { status, json } = await telltale.http('/openapi.json')
  if (status !== 200) throw new Error(`/openapi.json: ${status}`)
  return json as Document
}

export function operationsOf({ paths }: Document): Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      ...operation,
      method: method.toUpperCase(),
      path,
      parameters: operation.parameters ?? [],
    })),
  )
}

export function bodySchema({ requestBody }: Operation): Schema | undefined {
  return media(requestBody)?.schema
}

function media(content: Content | undefined): Media | undefined {
  return Object.values(content?.content ?? {})[0]
}

const ajv = new Ajv2020({ strict: false, allErrors: true })

/** What is wrong with an answer, by what the operation promises for this status; empty when nothing is. */
export function breaches({ responses }: Operation, status: number, body: unknown): string {
  const promised = responses[String(status)] ?? responses['default']
  const schema = media(promised)?.schema
  if (!schema) return `no answer with status ${status} is promised`
  return ajv.validate(schema, body) ? '' : ajv.errorsText()
}

/** The documented body, for each content type in which it may be sent. */
export function bodyExamples({ requestBody }: Operation): [type: string, example: unknown][] {
  return Object.entries(requestBody?.content ?? {}).map(([type, { example }]) => [type, example])
}

/** Where an answer has other fields than the documented answers, there and inside; empty when nowhere. */
export function unlikeExample({ responses }: Operation, status: number, body: unknown): string {
  const promised = media(responses[String(status)])
  if (!promised) return ''
  const { schema, example } = promised
  return unlike(example === undefined ? schema : { ...schema, examples: [example] }, body, 'answer').join('; ')
}

function unlike(schema: Schema, value: unknown, place: string): string[] {
  if (Array.isArray(value)) return value.flatMap((item, i) => unlike(schema.items ?? {}, item, `${place}.${i}`))
  if (typeof value !== 'object' || value === null) return []
  const examples = (schema.examples ?? []).map(one => shapeOf(one, schema))
  const found = shapeOf(value, schema)
  const here = examples.length === 0 || examples.includes(found) ? [] : [`${place}: has ${found}, documented is ${examples.join(' or ')}`]
  const inside = Object.entries(schema.properties ?? {}).flatMap(([name, field]) =>
    unlike(field, (value as Record<string, unknown>)[name], `${place}.${name}`),
  )
  return [...here, ...inside]
}

/** The fields of a value and of what is in it, in order. People choose the keys of labels, so those of a record of texts are not counted. */
function shapeOf(value: unknown, schema: Schema = {}): string {
  if (Array.isArray(value)) return value.length === 0 ? '[]' : `[${shapeOf(value[0], schema.items)}]`
  if (typeof value !== 'object' || value === null) return ''
  if (typeof schema.additionalProperties === 'object' && schema.additionalProperties.type === 'string') return '{…}'
  const fields = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([name, field]) => `${name}${shapeOf(field, schema.properties?.[name])}`).join(',')}}`
}

/** Examples anywhere in the document that their own schema refuses. */
export function exampleBreaches(document: Document): string[] {
  return breachesIn(document, 'document')
}

function breachesIn(node: unknown, place: string): string[] {
  if (typeof node !== 'object' || node === null) return []
  const { schema = node, example, examples } = node as { schema?: Schema; example?: unknown; examples?: unknown }
  const all = [...(example === undefined ? [] : [example]), ...(Array.isArray(examples) ? (examples as unknown[]) : [])]
  const here = all.filter(one => !ajv.validate(schema, one)).map(one => `${place}: ${JSON.stringify(one)}: ${ajv.errorsText()}`)
  // A field may be called `examples`, and what stands in an example is no schema.
  const inside = Object.entries(node).filter(([name]) => name !== 'example' && name !== 'examples')
  return [...here, ...inside.flatMap(([name, inner]) => breachesIn(inner, `${place}.${name}`))]
}

export function isStream({ path }: Pick<Operation, 'path'>): boolean {
  return path.endsWith(':stream')
}
