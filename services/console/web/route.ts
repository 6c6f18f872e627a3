// Which part of the page is shown, as it stands in the address behind `#`: it can be linked to, and the browser's back button works.
export type Route =
  | { readonly part: 'devices' }
  | { readonly part: 'alarms'; readonly alarm?: string }
  | { readonly part: 'silences' }
  | { readonly part: 'rules'; readonly rule?: string; readonly copyOf?: string }
  | { readonly part: 'streams'; readonly stream?: string }

/** In the place of a rule's name, for one that has none yet: no name begins like this. */
export const NEW_RULE = '~new'

export function parseRoute(hash: string): Route {
  const [, part, first, second] = /^#\/(\w+)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(hash) ?? []
  const name = first === undefined ? undefined : decoded(first)
  if (second !== undefined && part !== 'rules') return { part: 'devices' }
  if (part === 'silences') return { part }
  if (part === 'alarms') return name === undefined ? { part } : { part, alarm: name }
  if (part === 'streams') return name === undefined ? { part } : { part, stream: name }
  if (part !== 'rules') return { part: 'devices' }
  const copyOf = second === undefined ? undefined : decoded(second)
  return { part, ...(name === undefined ? {} : { rule: name }), ...(copyOf === undefined ? {} : { copyOf }) }
}

export function hashOf(route: Route): string {
  if (route.part === 'devices') return '#/'
  return ['#', route.part, ...namesIn(route).map(encodeURIComponent)].join('/')
}

function namesIn(route: Route): string[] {
  const names = [
    'alarm' in route ? route.alarm : undefined,
    'stream' in route ? route.stream : undefined,
    'rule' in route ? route.rule : undefined,
    'copyOf' in route ? route.copyOf : undefined,
  ]
  return names.filter(name => name !== undefined)
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    // Somebody has typed it.
    return undefined
  }
}
