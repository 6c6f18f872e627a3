// JSON Schema: drafts 7, 2019-09 and 2020-12. Ajv makes functions of them by code generation, which from version 7 on lets no text of a
// schema become code (https://ajv.js.org/codegen.html). `format` is an annotation, as 2020-12 has it.
import { Ajv, type ErrorObject, type Options, type ValidateFunction } from 'ajv'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { Failure, invalid } from '../../core/failure.ts'
import type { Verdict } from './schema.ts'

/** Ajv's optimizer takes the square of the number of properties. */
const OPTIONS: Options = { strict: false, logger: false, validateFormats: false, inlineRefs: false, code: { optimize: false } }
/** Of larger payloads only the first problem is looked for: of a million wrong elements each would be one. */
const MAX_THOROUGH_BYTES = 64 * 1024
/** Of larger definitions all problems are, always: what stops at the first is nested by properties, which V8 takes for ever to read. */
const MAX_QUICK_CHARS = 16 * 1024
const MAX_NAME_CHARS = 100
const MAX_NAMES = 50

const LATEST = 'https://json-schema.org/draft/2020-12/schema'
const DRAFTS = {
  'http://json-schema.org/draft-07/schema': Ajv,
  'https://json-schema.org/draft/2019-09/schema': Ajv2019,
  [LATEST]: Ajv2020,
} as const

/** @param text the definition. */
export function openJsonSchema(text: string): (payload: Buffer) => Verdict {
  const thorough = compiled(text, true)
  const quick = text.length > MAX_QUICK_CHARS ? thorough : compiled(text, false)
  return payload => {
    const parsed = parse(payload)
    if ('problem' in parsed) return [parsed.problem]
    try {
      const validate = payload.length > MAX_THOROUGH_BYTES ? quick : thorough
      return validate(parsed.value) ? [] : wordsOf(validate.errors)
    } catch (error) {
      if (error instanceof RangeError) return ['nested too deeply']
      throw error
    }
  }
}

/** Own instances: what one definition calls itself (`$id`) is not to be met by another. */
function compiled(text: string, allErrors: boolean): ValidateFunction {
  const definition = JSON.parse(text) as object | boolean
  const { $schema = LATEST, $async } = Object(definition) as { readonly $schema?: unknown; readonly $async?: unknown }
  const draft = typeof $schema === 'string' ? $schema.replace(/#$/, '') : ''
  if (!isKnown(draft)) throw invalid('schema.definition.$schema', `expected one of ${Object.keys(DRAFTS).join(', ')}`)
  if ($async !== undefined) throw invalid('schema.definition.$async', 'not a keyword of JSON Schema')
  const ajv = new DRAFTS[draft]({ ...OPTIONS, allErrors })
  try {
    checkDefinition(ajv, definition)
    return ajv.compile(definition)
  } catch (cause) {
    if (cause instanceof Failure) throw cause
    const why = cause instanceof RangeError ? 'nested too deeply' : (cause as Error).message.slice(0, 300)
    throw new Failure('invalid', `schema.definition: not a JSON Schema: ${why}`, { field: 'schema.definition', cause })
  }
}

function isKnown(draft: string): draft is keyof typeof DRAFTS {
  return Object.hasOwn(DRAFTS, draft)
}

/** The deepest problem says most. */
function checkDefinition(ajv: InstanceType<(typeof DRAFTS)[keyof typeof DRAFTS]>, definition: object | boolean): void {
  if (ajv.validateSchema(definition) === true) return
  const [problem] = (ajv.errors ?? []).toSorted((a, b) => b.instancePath.length - a.instancePath.length)
  if (problem) throw invalid(['schema.definition', ...partsOf(problem.instancePath)].join('.'), problem.message ?? 'not valid')
}

function parse(payload: Buffer): { readonly value: unknown } | { readonly problem: string } {
  try {
    return { value: JSON.parse(payload.toString('utf8')) as unknown }
  } catch (error) {
    return { problem: `not JSON: ${(error as Error).message.slice(0, 200)}` }
  }
}

/** `missing properties: 'celsius', 'place.room'`, then the others. */
function wordsOf(errors: readonly ErrorObject[] | null | undefined): Verdict {
  const missing: string[] = []
  const unknown: string[] = []
  const others: string[] = []
  for (const { keyword, instancePath, params, message = 'not valid' } of errors ?? []) {
    const place = partsOf(instancePath)
    const { missingProperty, additionalProperty, unevaluatedProperty, allowedValues } = params as {
      readonly [name: string]: string | undefined
    }
    const surplus = additionalProperty ?? unevaluatedProperty
    if (keyword === 'required') missing.push(quoted([...place, missingProperty ?? '']))
    else if (surplus !== undefined) unknown.push(quoted([...place, surplus]))
    else
      others.push(
        `${quoted(place)}: ${allowedValues === undefined ? message : `must be one of ${shortened(JSON.stringify(allowedValues))}`}`,
      )
  }
  return [...listed('missing properties', missing), ...listed('unknown properties', unknown), ...new Set(others)]
}

function listed(title: string, names: readonly string[]): string[] {
  return names.length === 0 ? [] : [`${title}: ${[...new Set(names)].slice(0, MAX_NAMES).join(', ')}`]
}

/** A JSON Pointer, as parts. */
function partsOf(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map(part => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function quoted(parts: readonly string[]): string {
  return parts.length === 0 ? 'the value' : `'${shortened(parts.join('.'))}'`
}

function shortened(text: string): string {
  return text.length > MAX_NAME_CHARS ? `${text.slice(0, MAX_NAME_CHARS)}…` : text
}
