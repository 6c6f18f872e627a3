// Which part of the page is shown, as it stands in the address behind `#`: it can be linked to, and the browser's back button works.
export type Route = { readonly part: 'devices' } | { readonly part: 'streams'; readonly stream?: string }

export function parseRoute(hash: string): Route {
  const [, part, name] = /^#\/(\w+)(?:\/([^/]+))?$/.exec(hash) ?? []
  if (part !== 'streams') return { part: 'devices' }
  const stream = name === undefined ? undefined : decoded(name)
  return stream === undefined ? { part } : { part, stream }
}

export function hashOf(route: Route): string {
  if (route.part === 'devices') return '#/'
  return route.stream === undefined ? '#/streams' : `#/streams/${encodeURIComponent(route.stream)}`
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    // Somebody has typed it.
    return undefined
  }
}
