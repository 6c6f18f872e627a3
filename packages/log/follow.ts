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
const READ_ENTRIES = 10
const RETRY_MS = 200

/** Follows from the newest entry at the time of the call, or from the entry after `from`. */
export async function follow(ports: FollowPorts, project: string, stream: Stream, from?: string): Promise<Follow> {
  let position = from ?? (await ports.log.last(project, stream))
  let stopped = false
  const redis = await ports.connect()
  const key = projectKey(project, stream)
  const run = async () => {
    while (!stopped)
      try {
        const [found] = (await redis.xread('COUNT', READ_ENTRIES, 'BLOCK', BLOCK_MS, 'STREAMS', key, position)) ?? []
        if (!found || stopped) continue
        const entries = found[1].map(([id, fields]) => parseEntry(id, fields))
        await ports.arrived(entries)
        position = entries.at(-1)?.id ?? position
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
