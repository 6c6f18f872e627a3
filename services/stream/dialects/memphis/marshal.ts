// JSON as Go's encoding/json writes it: elements of a batch become messages by being parsed and written again (contracts.md 3.a.5).
import { invalid } from '../../../../packages/core/failure.ts'

const MAX_DEPTH = 1000

const ESCAPED = /[<>&\u2028\u2029]/g
const SURROGATE = /[\ud800-\udfff]/

/** The same bytes as `json.Marshal` gives for what `json.Unmarshal` made of the text: keys sorted, no space, safe within HTML. */
export function marshal(value: unknown, depth = 0): string {
  if (depth > MAX_DEPTH) throw invalid('body', `nested more than ${MAX_DEPTH} deep`)
  if (typeof value === 'string') return quoted(value)
  if (typeof value === 'number') return numeral(value)
  if (Array.isArray(value)) return `[${value.map(one => marshal(one, depth + 1)).join(',')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  const fields = value as Readonly<Record<string, unknown>>
  return `{${sorted(Object.keys(fields))
    .map(key => `${quoted(key)}:${marshal(fields[key], depth + 1)}`)
    .join(',')}}`
}

function quoted(text: string): string {
  // Half of a pair is no character there.
  return JSON.stringify(SURROGATE.test(text) ? Buffer.from(text).toString() : text).replace(
    ESCAPED,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** All are of 64 bits there, and written by the same rule as here but for the sign of zero. */
function numeral(value: number): string {
  if (!Number.isFinite(value)) throw invalid('body', 'a number is larger than 64 bits of floating point hold')
  return Object.is(value, -0) ? '-0' : String(value)
}

/** By bytes; of text beyond the 16 bits of a character the order here is another. */
function sorted(keys: readonly string[]): string[] {
  if (!keys.some(key => SURROGATE.test(key))) return keys.toSorted()
  return keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}
