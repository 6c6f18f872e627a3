// Following: one reader per project and process, which learns of each new entry as soon as it is on disk.
import type { Redis } from 'ioredis'
import { type LogEntry, parseEntry } from './entry.ts'
import { projectKey } from './key.ts'
import type { Log, Stream } from './log.ts'

export type Follow = {
  /** Everything up to this entry has been given to `arrived`. */
  position(): string
  stop(): Promise<void>
}

export type FollowPorts = {
  readonly log: Log
  /** A connection of its own, on which reading may block. */
  connect(): Promise<Redis>
  /** Given entries in order; the next read waits until it resolves. */
  arrived(entries: readonly LogEntry[]): Promise<void> | void
  /** Reading failed and is tried again. */
  troubled(error: Error): void
}

const BLOCK_MS = 2000
/** Entries of up to 1 MiB each come with one read, and many more while they are as small as most. */
const MIN_ENTRIES = 10
const MAX_ENTRIES = 500
const READ_CHARS = 1024 * 1024
const RETRY_MS = 200

/** Follows from the newest entry at the time of the call, or from the entry after `from`. */
export async function follow(ports: FollowPorts, project: string, stream: Stream, from?: string): Promise<Follow> {
  let position = from ?? (await ports.log.last(project, stream))
  let stopped = false
  const redis = await ports.connect()
  const key = projectKey(project, stream)
  let count = MIN_ENTRIES
  const run = async () => {
    while (!stopped)
      try {
        const [found] = (await redis.xread('COUNT', count, 'BLOCK', BLOCK_MS, 'STREAMS', key, position)) ?? []
        if (!found || stopped) continue
        const entries = found[1].map(([id, fields]) => parseEntry(id, fields))
        await ports.arrived(entries)
        position = entries.at(-1)?.id ?? position
        count = Math.max(MIN_ENTRIES, Math.min(MAX_ENTRIES, Math.floor(READ_CHARS / charsOf(entries))))
      } catch (error) {
        if (stopped) return
        ports.troubled(error as Error)
        await new Promise(resolve => setTimeout(resolve, RETRY_MS))
      }
  }
  const running = run()
  return {
    position: () => position,
    stop: async () => {
      stopped = true
      redis.disconnect()
      await running
    },
  }
}

/** Of an entry, on average; never 0. */
function charsOf(entries: readonly LogEntry[]): number {
  const chars = entries.reduce((sum, { events }) => sum + events.reduce((more, { frame }) => more + frame.length, 0), 0)
  return Math.max(1, chars / entries.length)
}
