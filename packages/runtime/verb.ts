// Colon verbs: `devices:stream`, `devices/d1:publish`. The router cannot route them, so it sees `/+stream` (docs/decisions/0005).

const VERBS = [
  'ack',
  'acknowledge',
  'apply',
  'assign',
  'backtest',
  'batchUpdate',
  'claim',
  'clear',
  'comment',
  'explain',
  'getInviteUrl',
  'metrics',
  'nack',
  'preview',
  'publish',
  'pull',
  'replay',
  'reset',
  'shadow',
  'snooze',
  'stream',
  'suggest',
  'sync',
  'test',
  'transfer',
  'unacknowledge',
  'validate',
] as const
export type Verb = (typeof VERBS)[number]

/** A device's own name may hold colons, so only these are verbs. */
const VERB_URL = new RegExp(`^(/(?:emulator/)?v2(?:alpha)?/[^?]+):(${VERBS.join('|')})(\\?|$)`)

/** The route of a colon verb; `+` cannot stand in a name, so it meets no device. */
export function verb(path: string, name: Verb): string {
  return `${path}/+${name}`
}

/** To clients of Memphis an address is the same in any case, and with a slash at its end, but for the name of the station (contracts.md 3.a.2). */
const MEMPHIS_URL = /^\/(?:(auth|monitoring)|stations(\/[^/?]+)\/(produce|consume))\/([a-z]{1,20})\/?(?=\?|$)/i

/** The address as the router knows it. */
export function routedUrl(url: string): string {
  const routed = url.replace(VERB_URL, '$1/+$2$3')
  return routed.replace(MEMPHIS_URL, (_, group?: string, station = '', kind = '', last = '') =>
    group === undefined ? `/stations${station}${`/${kind}/${last}`.toLowerCase()}` : `/${group}/${last}`.toLowerCase(),
  )
}

/** A route as its callers know it. */
export function publicUrl(route: string): string {
  return route.replace(/\/\+(\w+)$/, ':$1')
}
