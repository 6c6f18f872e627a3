// Which node a client is sent to: in its region, or as near to that as there is one with room (contracts.md 5.b.3). Pure.
import { loadOf, type Node } from '../../../../packages/state/node.ts'

/** A zone is what the names of its regions begin with: `eu` has `eu-north-1` and `eu-west-1-a`. */
export type Region = { readonly name: string; readonly isZone: boolean }

export type Choice = {
  readonly role: 'gateway' | 'stream'
  /** Undefined: anywhere. */
  readonly region: Region | undefined
  /** In that region, or in one of that zone, or nowhere. */
  readonly strict: boolean
}

/** The best first; empty when none has room. @param random from 0 to 1: equals take turns. */
export function choose(nodes: readonly Node[], { role, region, strict }: Choice, random: () => number): Node[] {
  const ranked = nodes
    .filter(node => node.roles.includes(role) && !node.terminating && loadOf(node) < 1)
    .map(node => ({ node, nearness: region === undefined ? 0 : nearness(node.region, region), load: loadOf(node), turn: random() }))
  const allowed = strict && region !== undefined ? ranked.filter(({ nearness }) => nearness === WITHIN) : ranked
  return allowed.sort((a, b) => b.nearness - a.nearness || a.load - b.load || a.turn - b.turn).map(({ node }) => node)
}

const WITHIN = Number.MAX_SAFE_INTEGER

/**
 * How many parts of the wanted name it begins with: `eu-north-1` is nearer to `eu-north-2` than to `eu-west-1`. All regions of a zone are
 * as near; beside the very region those are not that begin with its name.
 */
function nearness(region: string, { name, isZone }: Region): number {
  if (region.toLowerCase() === name.toLowerCase()) return WITHIN
  const [parts, wanted] = [region, name].map(text => text.toLowerCase().split('-')) as [string[], string[]]
  const differs = wanted.findIndex((part, i) => part !== parts[i])
  if (differs >= 0) return differs
  return isZone ? WITHIN : wanted.length
}
