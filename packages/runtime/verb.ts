// Colon verbs: `devices:stream`, `devices/d1:publish`. The router cannot route them, so it sees `/+stream` (docs/decisions/0005).

const VERBS = [
  'ack',
  'acknowledge',
  'batchUpdate',
  'claim',
  'clear',
  'getInviteUrl',
  'metrics',
  'nack',
  'publish',
  'pull',
  'replay',
  'reset',
  'stream',
  'sync',
  'test',
  'transfer',
] as const
export type Verb = (typeof VERBS)[number]

/** A device's own name may hold colons, so only these are verbs. */
const VERB_URL = new RegExp(`^(/(?:emulator/)?v2(?:alpha)?/[^?]+):(${VERBS.join('|')})(\\?|$)`)

/** The route of a colon verb; `+` cannot stand in a name, so it meets no device. */
export function verb(path: string, name: Verb): string {
  return `${path}/+${name}`
}

/** The address as the router knows it. */
export function routedUrl(url: string): string {
  return url.replace(VERB_URL, '$1/+$2$3')
}

/** A route as its callers know it. */
export function publicUrl(route: string): string {
  return route.replace(/\/\+(\w+)$/, ':$1')
}
