// The admin calls of the Red5 dialect: clearing entries of the directory, the nodes, and the threshold at which more of them are wanted.
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { type Caller, covers, roleIn } from '../../../../packages/identity/identity.ts'
import type { Clearing, Directory } from '../../../../packages/state/directory.ts'
import { DEFAULT_THRESHOLD, NODE_KINDS, type Node, type NodeKind } from '../../../../packages/state/node.ts'
import { FIRST_ORGANIZATION } from '../../../../packages/state/organization.ts'
import type { Scope } from '../../../../packages/state/registry.ts'
import { flag, oneOf, type Query, wholeNumber } from './query.ts'
import { nodeRecord, thresholdRecord, type Version } from './shape.ts'

export type AdminCall = {
  readonly version: Version
  readonly method: string
  /** What stands behind `/admin/`, piece by piece. */
  readonly path: readonly string[]
  readonly query: Query
  readonly caller: Caller
}

/** What to answer, and where it was changed, if it was. */
export type AdminAnswer = { readonly body: object; readonly changed?: readonly Scope[] }

export async function answerAdmin(directory: Directory, call: AdminCall): Promise<AdminAnswer> {
  const { method, path } = call
  const [kind, name] = path
  if (kind === 'event' && path.length === 1 && method === 'DELETE') return clear(directory, call)
  if (kind === 'node' && name !== undefined && path.length === 2 && method === 'GET') return showNode(directory, call, name)
  if (kind === 'node' && name !== undefined && path.length === 2 && method === 'DELETE') return terminate(directory, call, name)
  if (kind === 'node' && name !== undefined && path[2] === 'stats' && path.length === 3 && method === 'GET')
    return showNode(directory, call, name)
  if (path.join('/') === 'alarm/scaleout/default' && (method === 'GET' || method === 'POST')) return threshold(directory, call)
  throw new Failure('not_found', `no route ${method} /admin/${path.join('/').slice(0, 200)}`)
}

/** Until 4.0 everything goes, and what is connected is back with the next heartbeat; since then it stays, unless it is to go for good. */
async function clear(directory: Directory, { version, query, caller }: AdminCall): Promise<AdminAnswer> {
  const projects = Object.keys(caller.roles).filter(project => covers(roleIn(caller, project), 'admin'))
  if (projects.length === 0) throw new Failure('forbidden', 'accessToken: expected that of an admin of a project')
  const since4: Clearing = flag(query, 'includeActive') ? 'connected' : 'idle'
  const count = await directory.clear(new Set(projects), version === '4.0' ? since4 : 'all')
  return { body: { count, timestamp: Date.now() }, changed: projects.map(project => `projects/${project}` as const) }
}

/** Nodes serve all projects: they are for those who run the installation. */
function requireOperator({ caller }: AdminCall): void {
  if (!caller.organizations?.includes(FIRST_ORGANIZATION))
    throw new Failure('forbidden', `accessToken: expected that of an admin of organization ${FIRST_ORGANIZATION}`)
}

async function showNode(directory: Directory, call: AdminCall, name: string): Promise<AdminAnswer> {
  requireOperator(call)
  return { body: nodeRecord(await findNode(directory, name)) }
}

/** The process itself goes on; it is stopped by whoever started it, when its connections have ended. */
async function terminate(directory: Directory, call: AdminCall, name: string): Promise<AdminAnswer> {
  requireOperator(call)
  const node = await findNode(directory, name)
  if (node.connections > 0 && !flag(call.query, 'force'))
    throw new Failure('conflict', `node ${name} has ${node.connections} connections: force=true sends nobody there any more nevertheless`)
  await directory.terminate(node.id)
  return { body: nodeRecord({ ...node, terminating: true }), changed: [`organizations/${FIRST_ORGANIZATION}`] }
}

/** By address, by id, or by the host alone where only one node has it. */
async function findNode(directory: Directory, name: string): Promise<Node> {
  const { nodes } = await directory.snapshot()
  const exact = nodes.filter(({ address, id }) => address === name || id === name)
  const found = exact.length > 0 ? exact : nodes.filter(({ address }) => address.replace(/:\d+$/, '') === name)
  const [one, another] = found
  if (!one) throw new Failure('not_found', `node ${name.slice(0, 200)} does not exist`)
  if (another) throw invalid('node', `several have this address, so name one by its identifier: ${found.map(({ id }) => id).join(', ')}`)
  return one
}

async function threshold(directory: Directory, call: AdminCall): Promise<AdminAnswer> {
  requireOperator(call)
  const kind = NODE_KINDS.find(one => one === oneOf(call.query, 'type'))
  if (!kind) throw invalid('type', 'expected edge or origin')
  if (call.method === 'GET') return { body: thresholdRecord(kind, await directory.threshold(kind)) }
  return setThreshold(directory, kind, wholeNumber(call.query, 'threshold', 100) ?? DEFAULT_THRESHOLD)
}

async function setThreshold(directory: Directory, kind: NodeKind, percent: number): Promise<AdminAnswer> {
  await directory.setThreshold(kind, percent)
  return { body: thresholdRecord(kind, percent), changed: [`organizations/${FIRST_ORGANIZATION}`] }
}
