// Which node a client is sent to: in its region, or as near to that as there is one with room (contracts.md 5.b.3). Pure.
import { loadOf, type Node } from '../../../../packages/state/node.ts'

export type Choice = {
  readonly role: 'gateway' | 'stream'
  /** Undefined: anywhere. */
  readonly region: string | undefined
  /** In that region or nowhere. */
  readonly strict: boolean
}

/** The best first; empty when none has room. @param random from 0 to 1: equals take turns. */
export function choose(nodes: readonly Node[], { role, region, strict }: Choice, random: () => number): Node[] {
  const ranked = nodes
    .filter(node => node.roles.includes(role) && !node.terminating && loadOf(node) < 1)
    .map(node => ({ node, nearness: region === undefined ? 0 : nearness(node.region, region), load: loadOf(node), turn: random() }))
  const allowed = strict && region !== undefined ? ranked.filter(({ nearness }) => nearness === EXACT) : ranked
  return allowed.sort((a, b) => b.nearness - a.nearness || a.load - b.load || a.turn - b.turn).map(({ node }) => node)
}

const EXACT = Number.MAX_SAFE_INTEGER

/** How many parts of the name they share from the left: `eu-north-1` is nearer to `eu-north-2` than to `eu-west-1`. */
function nearness(region: string, wanted: string): number {
  if (region.toLowerCase() === wanted.toLowerCase()) return EXACT
  const parts = region.toLowerCase().split('-')
  const differs = wanted
    .toLowerCase()
    .split('-')
    .findIndex((part, i) => part !== parts[i])
  return differs < 0 ? parts.length : differs
}
