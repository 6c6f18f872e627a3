// The store consumer: readings go to the reading store, whose writes are idempotent, and then its place moves.
import type { DeviceEvent } from '../../packages/core/event.ts'
import { Failure } from '../../packages/core/failure.ts'
import type { LogEntry } from '../../packages/log/entry.ts'
import type { CommitCommand } from '../../packages/log/log.ts'
import type { ReadingStore, StoreEvent } from '../../packages/store/store.ts'
import type { Consumer } from './drain.ts'

export function storeConsumer(store: ReadingStore, stored: (count: number) => void): Consumer {
  return {
    name: 'store',
    async take(project: string, entries: readonly LogEntry[]): Promise<CommitCommand[]> {
      const batch = entries.flatMap(entry => entry.events.map(event => toStore(project, event.device, event.timeUs, event.frame)))
      const outcome = await store.write(batch).catch(blameStore)
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
  if (error instanceof Failure) throw error
  throw new Failure('unavailable', `the reading store failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
}

function toStore(project: string, device: string, timeUs: number, frame: string): StoreEvent {
  const { eventId, eventType, data } = JSON.parse(frame) as DeviceEvent
  return { project, device, eventType, eventId, timeUs, frame, data }
}
