// Options of decoders: checked against what the format says it takes, when they are saved; whole when they are used.
import { Default } from 'typebox/value'
import { readObject } from '../../../packages/core/condition/input.ts'
import { invalid } from '../../../packages/core/failure.ts'
import { checkOf } from '../../../packages/runtime/schema.ts'
import type { Format } from '../decode/format.ts'

export type Options = Readonly<Record<string, unknown>>

const MAX_CHARS = 512 * 1024

/** With what they leave out. */
export function completed({ options }: Format, given: Options): Options {
  return Default(options, structuredClone(given)) as Options
}

/** @throws Failure `invalid` with the field in `options` and what was expected there. */
export async function checkOptions(format: Format, given: Options): Promise<void> {
  if (JSON.stringify(given).length > MAX_CHARS) throw invalid('options', `expected at most ${MAX_CHARS} characters`)
  const valid = Object.keys(format.options.properties)
  readObject(given, 'options', valid)
  const whole = completed(format, given)
  const checked = checkOf(format.options, 'options')(whole)
  if ('error' in checked) throw checked.error
  await format.check?.(whole)
}
