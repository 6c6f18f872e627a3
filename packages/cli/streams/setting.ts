// What a stream is made with, from options and the file of a schema.
import { readFileSync } from 'node:fs'
import type { StreamSettings } from '../../client/index.ts'
import { Failure, invalid } from '../../core/failure.ts'

export type SettingOptions = {
  readonly description?: string
  readonly maxAge?: string
  readonly maxBytes?: number
  readonly keepAcked?: boolean
  readonly schema?: string
  readonly message?: string
  readonly decoder?: string
}

export function settingsOf({ description, maxAge, maxBytes, keepAcked, schema, message, decoder }: SettingOptions): StreamSettings {
  const retention = {
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(keepAcked === undefined ? {} : { untilAcked: false }),
  }
  if (message !== undefined && schema === undefined) throw invalid('--message', 'expected with --schema')
  return {
    ...(description === undefined ? {} : { description }),
    ...(Object.keys(retention).length === 0 ? {} : { retention }),
    ...(schema === undefined ? {} : { schema: schemaIn(schema, message) }),
    ...(decoder === undefined ? {} : { decoder }),
  }
}

function schemaIn(path: string, message: string | undefined): NonNullable<StreamSettings['schema']> {
  const text = readFile(path)
  if (message !== undefined) return { type: 'protobuf', definition: text, message }
  try {
    return { type: 'json', definition: JSON.parse(text) as unknown }
  } catch (cause) {
    throw new Failure('invalid', `--schema: ${path} is not JSON; a .proto needs --message`, { field: '--schema', cause })
  }
}

function readFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new Failure('invalid', `--schema: cannot read ${path}: ${(cause as Error).message}`, { field: '--schema', cause })
  }
}
