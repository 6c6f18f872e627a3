// The names of decoders: each makes device events of the messages of a durable stream (services/gateway/decode/decoder.ts).
import { invalid } from './failure.ts'

/** `json`: a value, the data of an event, a whole event, or an array of them. `ndjson`: one event per line. */
export const DECODERS = ['json', 'ndjson'] as const
export type DecoderName = (typeof DECODERS)[number]

export function isDecoder(name: string): name is DecoderName {
  return (DECODERS as readonly string[]).includes(name)
}

export function checkDecoder(name: string, field = 'decoder'): DecoderName {
  if (!isDecoder(name)) throw invalid(field, `expected ${DECODERS.join(' or ')}, got ${JSON.stringify(name.slice(0, 100))}`)
  return name
}
