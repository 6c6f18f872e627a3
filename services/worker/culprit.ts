// Which events of some entries make a consumer throw: found by taking ever other parts of them.
import type { LogEntry, LogEvent } from '../../packages/log/entry.ts'

export type Culprit = { readonly event: LogEvent; readonly error: unknown }

type Placed = { readonly id: string; readonly event: LogEvent }

/**
 * What `take` gives for everything but the culprits. A culprit is the last event of the shortest beginning that throws, so that an
 * event which only throws after an earlier one is found too, and what is left in the end is known to go through. Rejects when
 * no event is to blame: when even none of them throws, or when a thing that all depend on `isAway`.
 */
export async function withoutCulprits<T>(
  entries: readonly LogEntry[],
  take: (entries: readonly LogEntry[]) => Promise<T>,
  isAway: (error: unknown) => boolean,
): Promise<{ readonly result: T; readonly culprits: readonly Culprit[] }> {
  let left: readonly Placed[] = entries.flatMap(({ id, events }) => events.map(event => ({ id, event })))
  const culprits: Culprit[] = []
  let good = 0
  let result: T = await take([])
  while (good < left.length) {
    const found = await firstBad(left, good, part => take(entriesOf(part)), isAway)
    if ('result' in found) {
      result = found.result
      break
    }
    const { event } = left[found.at] as Placed
    culprits.push({ event, error: found.error })
    left = left.toSpliced(found.at, 1)
    good = found.at
    // Everything that was left of it has been tried, but something else was taken since.
    if (good === left.length) result = await take(entriesOf(left))
  }
  return { result, culprits }
}

type Found<T> = { readonly result: T } | { readonly at: number; readonly error: unknown }

/** Doubles its steps from what is known to be good until one throws, then halves them. */
async function firstBad<T>(
  events: readonly Placed[],
  good: number,
  take: (events: readonly Placed[]) => Promise<T>,
  isAway: (error: unknown) => boolean,
): Promise<Found<T>> {
  let low = good
  let high = events.length + 1
  let error: unknown
  for (let step = 1; high - low > 1; ) {
    const end = high > events.length ? Math.min(low + step, events.length) : Math.floor((low + high) / 2)
    try {
      const result = await take(events.slice(0, end))
      if (end === events.length) return { result }
      low = end
      step *= 2
    } catch (thrown) {
      if (isAway(thrown)) throw thrown
      high = end
      error = thrown
    }
  }
  return { at: high - 1, error }
}

function entriesOf(events: readonly Placed[]): LogEntry[] {
  const byId = new Map<string, LogEvent[]>()
  for (const { id, event } of events) {
    const list = byId.get(id)
    if (list) list.push(event)
    else byId.set(id, [event])
  }
  return [...byId].map(([id, list]) => ({ id, events: list }))
}
