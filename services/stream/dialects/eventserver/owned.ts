// The streams of a project that are of this dialect, for what shows many of them at once: a few at a time, so that one request holds
// neither the memory nor the connection to Redis that all others share, and no longer than its client is there.
import { Failure } from '../../../../packages/core/failure.ts'
import type { DurableStreams, Ref } from '../../../../packages/log/durable/stream.ts'

export type Owned = { readonly stream: Ref; readonly owner: string; readonly last: number }

const AT_ONCE = 50
const MAX_LOOKED_INTO = 1000

/** Those that belong to a producer, by name. */
export async function ownedIn(streams: DurableStreams, project: string, gone: AbortSignal): Promise<Owned[]> {
  const records = await streams.made(project)
  const found = await each(records, gone, async record => {
    const stream = { project, record }
    const owner = await streams.owner(stream)
    return owner === undefined ? undefined : { stream, owner, last: await streams.last(stream) }
  })
  return found.filter(one => one !== undefined)
}

/** What is asked for of each costs more than its name and count: of many streams those with the most events, by name. */
export function largest(owned: readonly Owned[]): readonly Owned[] {
  if (owned.length <= MAX_LOOKED_INTO) return owned
  const chosen = new Set(owned.toSorted((a, b) => b.last - a.last).slice(0, MAX_LOOKED_INTO))
  return owned.filter(one => chosen.has(one))
}

/** In the same order; without those whose stream was removed meanwhile. */
export async function each<Item, Result>(
  items: readonly Item[],
  gone: AbortSignal,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  for (let at = 0; at < items.length; at += AT_ONCE) {
    checkThere(gone)
    const some = await Promise.all(items.slice(at, at + AT_ONCE).map(async item => resultOf(work(item))))
    results.push(...some.flat())
  }
  return results
}

async function resultOf<Result>(work: Promise<Result>): Promise<Result[]> {
  try {
    return [await work]
  } catch (error) {
    if (error instanceof Failure && error.code === 'not_found') return []
    throw error
  }
}

/** Nobody reads what becomes of it. */
export function checkThere(gone: AbortSignal): void {
  if (gone.aborted) throw new Failure('unavailable', 'the client has gone')
}
