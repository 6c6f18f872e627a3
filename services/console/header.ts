// Headers that people may add to what is sent in their name to receivers: webhooks of alarms, pushed events.
import { invalid } from '../../packages/core/failure.ts'

const HEADER_NAME = /^[A-Za-z0-9-]{1,64}$/
const HEADER_VALUE = /^[\x20-\x7e]{0,1000}$/
/** By these receivers know what is ours. */
const RESERVED = /^(webhook-|proxy-|x-dt-signature$)/

/** Set by us, or of the connection and not of the request. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  'content-type',
  'content-length',
  'host',
  'user-agent',
  'connection',
  'keep-alive',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'expect',
])

/** @param field where they stand in the request. */
export function checkHeaders(headers: Readonly<Record<string, string>>, field: string): void {
  const seen = new Set<string>()
  for (const [name, value] of Object.entries(headers)) {
    const lower = name.toLowerCase()
    const twice = seen.has(lower)
    seen.add(lower)
    if (!HEADER_NAME.test(name) || RESERVED.test(lower) || OWN_HEADERS.has(lower) || twice)
      throw invalid(`${field}.${name}`, 'not a header that may be set here')
    if (!HEADER_VALUE.test(value)) throw invalid(`${field}.${name}`, 'expected at most 1000 printable ASCII characters')
  }
}
