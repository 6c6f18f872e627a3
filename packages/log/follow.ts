// Following: one reader per project and process, which learns of each new entry as soon as it is on disk.
import type { Redis } from 'ioredis'
import { compareIds, type LogEntry, parseEntry } from './entry.ts'
import { projectKey } from './key.ts'
import type { Log, Stream } from './log.ts'

export type Follow = {
  /** Everything up to this entry has been given to `arrived`, or `jumped` over. */
  position(): string
  stop(): Promise<void>
}

/** Who follows is given everything in order; the next read waits until what was called resolves. */
export type Follower = {
  arrived(entries: readonly LogEntry[]): Promise<void> | void
  /**
   * This process was frozen, or cut off from Redis, for longer than the log is kept: what lies between the position and this entry, and
   * the entry itself, will not arrive.
   */
  jumped(to: string): Promise<void> | void
  /** At one place it has failed again and again, for the same reason; it is still tried. */
  stuck?(error: Error): void
}

export type FollowPorts = Follower & {
  readonly log: Pick<Log, 'last' | 'trimmed'>
  /** A connection of its own, on which reading may block. */
  connect(): Promise<Redis>
  /** It fails, for another reason than before; it is tried again. */
  troubled(error: Error): void
  /** Between two tries; 200. */
  readonly retryMs?: number
}

const BLOCK_MS = 2000
/** Entries of up to 1 MiB each come with one read, and many more while they are as small as most. */
const MIN_ENTRIES = 10
const MAX_ENTRIES = 500
const READ_CHARS = 1024 * 1024
const RETRY_MS = 200
const STUCK_AFTER = 50

/** Follows from the newest entry at the time of the call, or from the entry after `from`. */
export async function follow(ports: FollowPorts, project: string, stream: Stream, from?: string): Promise<Follow> {
  let position = from ?? (await ports.log.last(project, stream))
  let stopped = false
  const redis = await ports.connect()
  const key = projectKey(project, stream)
  const failures = new Failures(ports)
  let count = MIN_ENTRIES
  const step = async () => {
    const [found] = (await redis.xread('COUNT', count, 'BLOCK', BLOCK_MS, 'STREAMS', key, position)) ?? []
    if (!found || stopped) return
    let entries = found[1].map(([id, fields]) => parseEntry(id, fields))
    // Asked after reading: what was gone then is gone now. In between more may have gone; that counts as gone, too.
    const trimmed = await ports.log.trimmed(project, stream)
    if (compareIds(position, trimmed) < 0) {
      await ports.jumped(trimmed)
      position = trimmed
      entries = entries.filter(({ id }) => compareIds(id, trimmed) > 0)
    }
    if (entries.length === 0) return
    await ports.arrived(entries)
    position = entries.at(-1)?.id ?? position
    count = Math.max(MIN_ENTRIES, Math.min(MAX_ENTRIES, Math.floor(READ_CHARS / charsOf(entries))))
  }
  const run = async () => {
    while (!stopped)
      try {
        await step()
        failures.over()
      } catch (error) {
        if (stopped) return
        failures.add(error as Error, position)
        await new Promise(resolve => setTimeout(resolve, ports.retryMs ?? RETRY_MS))
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

/** Says each reason once, and what does not pass again and again. */
class Failures {
  readonly #ports: Pick<FollowPorts, 'troubled' | 'stuck'>
  #reason = ''
  #at = ''
  #times = 0

  constructor(ports: Pick<FollowPorts, 'troubled' | 'stuck'>) {
    this.#ports = ports
  }

  add(error: Error, at: string): void {
    if (error.message !== this.#reason) this.#ports.troubled(error)
    if (error.message !== this.#reason || at !== this.#at) this.#times = 0
    this.#reason = error.message
    this.#at = at
    if (++this.#times % STUCK_AFTER === 0) this.#ports.stuck?.(error)
  }

  over(): void {
    this.#reason = ''
    this.#times = 0
  }
}

/** Of an entry, on average; never 0. */
function charsOf(entries: readonly LogEntry[]): number {
  const chars = entries.reduce((sum, { events }) => sum + events.reduce((more, { frame }) => more + frame.length, 0), 0)
  return Math.max(1, chars / entries.length)
}
