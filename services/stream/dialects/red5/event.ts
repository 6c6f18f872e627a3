// The event calls of the Red5 dialect: where a stream is to be published, where it can be followed, and which there are.
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import type { Directory, LiveStream, Snapshot } from '../../../../packages/state/directory.ts'
import { DEVICE_STREAM } from '../../../../packages/state/presence.ts'
import { choose } from './choose.ts'
import { type Lookup, parseLookup, type Query } from './query.ts'
import { endpoint, listed, type Place, type Version } from './shape.ts'

export type EventCall = {
  readonly version: Version
  /** What stands behind `/event/`, piece by piece. */
  readonly path: readonly string[]
  readonly query: Query
  /** Whether the caller may know of the project's streams. */
  sees(project: string): boolean
}

const MAX_NAME_CHARS = 255

/** `list` and its `stats` win over a scope of that name; a stream behind a scope may be called `stats`. */
export async function answerEvent(directory: Directory, call: EventCall): Promise<object> {
  const { version, path, query } = call
  const words = path.join('/')
  const snapshot = await directory.snapshot()
  if (words === 'list' || words === 'list/stats')
    return snapshot.streams.filter(({ project }) => call.sees(project)).map(stream => listed(version, stream, words !== 'list'))
  if (path.length > 2 && path.at(-1) === 'stats') return listed(version, live(snapshot, call, placeIn(path.slice(0, -1))), true)
  return lookUp(snapshot, call, placeIn(path), parseLookup(query))
}

function lookUp(snapshot: Snapshot, call: EventCall, place: Place, { action, region, strict, endpoints }: Lookup): object {
  if (action === 'subscribe') live(snapshot, call, place)
  // A publisher gets an answer whether its stream is there yet or not, so that tells nothing of what others have.
  const role = action === 'broadcast' && streamAt(place).stream === DEVICE_STREAM ? 'gateway' : 'stream'
  const nodes = choose(snapshot.nodes, { role, region, strict }, Math.random)
  if (nodes.length === 0)
    throw new Failure(
      'invalid',
      `no node${strict && region ? ` in ${region.isZone ? 'geozone' : 'region'} ${region.name}` : ''} has capacity`,
    )
  const answers = nodes.slice(0, endpoints).map(node => endpoint(call.version, place, node, action === 'broadcast' ? 'origin' : 'edge'))
  return endpoints > 1 ? answers : (answers[0] as object)
}

/** What somebody may not see is not there for them. */
function live(snapshot: Snapshot, call: EventCall, place: Place): LiveStream {
  const { project, stream } = streamAt(place)
  const found = call.sees(project) ? snapshot.find(project, stream) : undefined
  if (!found) throw new Failure('not_found', 'stream is not publishing')
  return found
}

/** The last piece is the stream, and all before it the scope (contracts.md 5.b.6). */
function placeIn(path: readonly string[]): Place {
  const name = path.at(-1)
  if (path.length < 2 || name === undefined) throw new Failure('not_found', 'expected /event/list or /event/{scope}/{stream}')
  if (path.some(piece => piece.length > MAX_NAME_CHARS))
    throw invalid('stream', `expected at most ${MAX_NAME_CHARS} characters in each part`)
  return { scope: path.slice(0, -1).join('/'), name }
}

function streamAt({ scope, name }: Place): Pick<LiveStream, 'project' | 'stream'> {
  const [project = '', ...more] = scope.split('/')
  return { project, stream: [...more, name].join('/') }
}
