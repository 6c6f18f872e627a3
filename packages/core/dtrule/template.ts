// Templates of messages as DT writes them, `$name is $celsius`, to ours and back (contracts.md 1.a.12).
import { invalid } from '../failure.ts'
import type { Message } from '../message.ts'

/** Of a rule that was made by that API and says no message: its name there is an id that nobody can read. */
export const TITLED_MESSAGE = '{{device.labels.name}}: {{title}} is {{state}}, {{reason}}'

const NAME = /\$([A-Za-z]+)/g
const DEVICE = 'device.labels.name'
/** What the value of a rule on this field is called. */
const VALUES: ReadonlyMap<string, string> = new Map([
  ['temperature.value', 'celsius'],
  ['humidity.relativeHumidity', 'relativeHumidity'],
])

/** @param field that the rule compares; undefined when it has none. */
export function templateFrom(text: string, field: string | undefined, path: string): string {
  const names = namesFor(field)
  return text.replace(NAME, (_, name: string) => {
    const ours = names.get(name)
    if (ours !== undefined) return `{{${ours}}}`
    throw invalid(path, `expected no "$${name.slice(0, 64)}"; valid in this rule: ${[...names.keys()].map(one => `$${one}`).join(', ')}`)
  })
}

/** Names that DT has not stay in braces. Null when it has a text that there would be a name. */
export function templateOf({ parts }: Message, field: string | undefined): string | null {
  const names = new Map([...namesFor(field)].map(([theirs, ours]) => [ours, theirs]))
  const isName = (text: string) => text.search(NAME) >= 0
  if (parts.some(part => 'literal' in part && isName(part.literal))) return null
  // A letter right behind a name would be taken for a part of it.
  const written = parts.map((part, index) => {
    if ('literal' in part) return part.literal
    const next = parts[index + 1]
    const theirs = next !== undefined && 'literal' in next && /^[A-Za-z]/.test(next.literal) ? undefined : names.get(part.name)
    return theirs === undefined ? `{{${part.name}}}` : `$${theirs}`
  })
  return written.join('')
}

function namesFor(field: string | undefined): ReadonlyMap<string, string> {
  const value = field === undefined ? undefined : VALUES.get(field)
  return new Map([['name', DEVICE], ...(value === undefined ? [] : [[value, 'value'] as const])])
}
