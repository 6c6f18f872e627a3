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
}
type Media = {
  readonly schema: Schema & { readonly examples?: readonly unknown[] }
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

export function isStream({ path }: Pick<Operation, 'path'>): boolean {
  return path.endsWith(':stream')
}
