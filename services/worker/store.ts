// The store consumer: readings go to the reading store, whose writes are idempotent, and then its place moves.
import type { DeviceEvent } from '../../packages/core/event.ts'
import { Failure } from '../../packages/core/failure.ts'
import type { LogEntry, LogEvent } from '../../packages/log/entry.ts'
import type { CommitCommand } from '../../packages/log/log.ts'
import type { LogPlace, ReadingStore, StoreEvent } from '../../packages/store/store.ts'
import type { Consumer, Read } from './drain.ts'

export function storeConsumer(store: ReadingStore, stored: (count: number) => void): Consumer {
  return {
    name: 'store',
    async take(project: string, entries: readonly LogEntry[], read: Read): Promise<CommitCommand[]> {
      const placeOf = entries === read.entries ? undefined : placesIn(read.entries)
      const batch = entries.flatMap(({ id, events }) =>
        events.map((event, index) => toStore(project, event, placeOf?.get(event) ?? { entryId: id, index })),
      )
      const span = { project, after: read.after, to: read.entries.at(-1)?.id ?? read.after }
      const outcome = await store.write(batch, span).catch(blameStore)
      stored(outcome.stored)
      return []
    },
    forget() {
      // Nothing is remembered between calls.
    },
  }
}

/** Only what the store refuses is an event's fault; anything else it throws must not send good events to the quarantine. */
function blameStore(error: unknown): never {
  if (error instanceof Failure && error.code === 'invalid') throw error
  throw new Failure('unavailable', `the reading store failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
}

/** Where the events stand, also those of an entry of which others were taken out. */
function placesIn(entries: readonly LogEntry[]): Map<LogEvent, LogPlace> {
  return new Map(entries.flatMap(({ id, events }) => events.map((event, index) => [event, { entryId: id, index }] as const)))
}

function toStore(project: string, { device, timeUs, frame }: LogEvent, place: LogPlace): StoreEvent {
  const { eventId, eventType, data } = JSON.parse(frame) as DeviceEvent
  return { project, device, eventType, eventId, timeUs, frame, data, place }
}
