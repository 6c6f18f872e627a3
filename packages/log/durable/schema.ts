// A schema, opened: what a payload must look like to be appended. How long that takes is limited elsewhere (schemathread.ts).
import { Failure, invalid } from '../../core/failure.ts'
import { openJsonSchema } from './jsonschema.ts'
import { openProtobufSchema } from './protobuf.ts'
import type { Schema } from './record.ts'

/** What is wrong with a payload, in words; empty when nothing is. */
export type Verdict = readonly string[]

/** Throws `invalid` with field `schema` for a payload that does not fit; its message names every field that is missing or wrong. */
export type SchemaCheck = (payload: Buffer) => void

const MAX_DEFINITION_BYTES = 64 * 1024
const MAX_PROBLEMS = 20

/** Throws `invalid` with a field in `schema` for a definition that is none, and says where. */
export function openSchema(schema: Schema): SchemaCheck {
  const text = textOf(schema)
  const check = schema.type === 'json' ? openJsonSchema(text) : openProtobufSchema(text, schema.message)
  return payload => {
    const problems = check(payload)
    if (problems.length > 0) throw refused(problems)
  }
}

/** The definition alone. @throws Failure `invalid` when it is too long. */
export function textOf({ type, definition }: Schema): string {
  const text = type === 'json' ? jsonOf(definition) : definition
  if (Buffer.byteLength(text) > MAX_DEFINITION_BYTES) throw invalid('schema.definition', `expected at most ${MAX_DEFINITION_BYTES} bytes`)
  return text
}

function jsonOf(definition: unknown): string {
  if (typeof definition !== 'boolean' && (typeof definition !== 'object' || definition === null || Array.isArray(definition)))
    throw invalid('schema.definition', 'expected a JSON Schema: an object')
  try {
    return JSON.stringify(definition)
  } catch (cause) {
    throw new Failure('invalid', 'schema.definition: nested too deeply', { field: 'schema.definition', cause })
  }
}

function refused(problems: Verdict): Failure {
  const more = problems.length > MAX_PROBLEMS ? `; and ${problems.length - MAX_PROBLEMS} more` : ''
  const said = problems.slice(0, MAX_PROBLEMS).join('; ')
  return new Failure('invalid', `Schema validation has failed: ${said}${more}`, { field: 'schema' })
}
