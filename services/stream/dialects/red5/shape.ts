// What the Red5 dialect answers, version by version: the same facts, differently written (contracts.md 5.a).
import type { Failure, FailureCode } from '../../../../packages/core/failure.ts'
import type { Refusal } from '../../../../packages/runtime/http.ts'
import type { LiveStream } from '../../../../packages/state/directory.ts'
import { kindOf, type Node, type NodeKind } from '../../../../packages/state/node.ts'

/** Clients have it in their programs; what is not said of one of them holds for all. */
export type Version = '1.0' | '2.0' | '3.0' | '3.1' | '4.0'

const VERSIONS: ReadonlySet<string> = new Set<Version>(['1.0', '2.0', '3.0', '3.1', '4.0'])

export function isVersion(text: string): text is Version {
  return VERSIONS.has(text)
}

/** A stream as these clients name it: the project is the scope, with what stands before the last slash of the stream's name. */
export type Place = { readonly scope: string; readonly name: string }

export function placeOf({ project, stream }: Pick<LiveStream, 'project' | 'stream'>): Place {
  const at = stream.lastIndexOf('/')
  return at < 0 ? { scope: project, name: stream } : { scope: `${project}/${stream.slice(0, at)}`, name: stream.slice(at + 1) }
}

/** What is not found is 404, what is away 503, too often 429; all else is 400: these clients know no other refusal. */
const STATUS: Readonly<Partial<Record<FailureCode, number>>> = { not_found: 404, too_many: 429, unavailable: 503, setup: 500 }

export function refuse({ code, message }: Failure): Refusal {
  return { status: STATUS[code] ?? 400, body: { errorMessage: message, timestamp: Date.now() } }
}

export function endpoint(version: Version, { scope, name }: Place, { address, region }: Node, type: NodeKind): object {
  const where = { serverAddress: address, region }
  return version === '4.0' ? { name, scope, ...where, type } : { name, scope: `/${scope}`, ...where }
}

export function listed(version: Version, stream: LiveStream, withStats: boolean): object {
  const entry = endpoint(version, placeOf(stream), stream.origin, 'origin')
  return withStats ? { ...entry, currentSubscribers: stream.followers, startTime: stream.sinceMs } : entry
}

export function nodeRecord(node: Node): object {
  const { id, region, address, capacity, connections, trafficMs, beatMs, terminating, roles } = node
  return {
    identifier: id,
    role: kindOf(node) ?? roles.join(','),
    availabilityZone: region,
    address,
    state: terminating ? 'terminating' : 'inservice',
    launchConfig: 'default',
    capacity,
    group: 'default',
    totalConnections: connections,
    parents: [],
    lastTrafficTime: trafficMs,
    lastPing: beatMs,
  }
}

export function thresholdRecord(kind: NodeKind, threshold: number): object {
  return {
    id: kind === 'edge' ? 1 : 2,
    type: 'SCALEOUTALARM',
    metric: 'CONNECTIONS',
    unit: 'PERCENTAGE',
    threshold,
    comparator: 'GREATERTHAN',
    targetType: 'GROUP',
  }
}
