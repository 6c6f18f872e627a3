// Following: who follows a stream learns of each new entry as soon as it is on disk.
import type { Redis } from 'ioredis'
import { compareIds, type LogEntry, parseEntry } from './entry.ts'
import { projectKey } from './key.ts'
import type { Log, Stream } from './log.ts'
import { Reader, type Reading, type Row } from './reader.ts'

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

export type FollowPorts = {
  readonly log: Pick<Log, 'last' | 'trimmed' | 'unblock'>
  /** A connection of its own, on which reading may block. */
  connect(): Promise<Redis>
  /** A project cannot be followed, for another reason than before; it is tried again. */
  troubled(error: Error, project: string): void
  /** Between two tries; 200. */
  readonly retryMs?: number
}

const RETRY_MS = 200
const STUCK_AFTER = 50

/** Follows many streams over few connections: as many as are needed, each for as long as it is. */
export class Followers {
  readonly #ports: FollowPorts
  readonly #readers = new Set<Reader>()
  /** One after the other, so that those who come together share a connection. */
  #entering: Promise<unknown> = Promise.resolve()

  constructor(ports: FollowPorts) {
    this.#ports = ports
  }

  /** Follows from the newest entry at the time of the call, or from the entry after `from`. */
  async follow(project: string, stream: Stream, follower: Follower, from?: string): Promise<Follow> {
    const start = from ?? (await this.#ports.log.last(project, stream))
    const following = new Following(this.#ports, project, stream, follower, start)
    const reader = await this.#enter(following)
    return {
      position: () => following.position(),
      stop: async () => {
        if (reader.remove(following)) this.#readers.delete(reader)
        await following.stop()
      },
    }
  }

  #enter(following: Following): Promise<Reader> {
    const entering = this.#entering.then(async () => {
      const reader = [...this.#readers].find(one => one.hasRoomFor(following.key)) ?? (await this.#open())
      reader.add(following)
      return reader
    })
    // Whoever called is told; the next one tries on its own.
    this.#entering = Promise.allSettled([entering])
    return entering
  }

  async #open(): Promise<Reader> {
    const { connect, log } = this.#ports
    const reader = new Reader({ redis: await connect(), unblock: clientId => log.unblock(clientId) })
    this.#readers.add(reader)
    return reader
  }
}

class Following implements Reading {
  readonly key: string
  readonly #ports: FollowPorts
  readonly #project: string
  readonly #stream: Stream
  readonly #follower: Follower
  readonly #failures: Failures
  #position: string
  #stopped = false
  #taking: Promise<number> | undefined

  constructor(ports: FollowPorts, project: string, stream: Stream, follower: Follower, from: string) {
    this.key = projectKey(project, stream)
    this.#ports = ports
    this.#project = project
    this.#stream = stream
    this.#follower = follower
    this.#failures = new Failures(error => ports.troubled(error, project), follower)
    this.#position = from
  }

  position(): string {
    return this.#position
  }

  take(rows: readonly Row[]): Promise<number> {
    this.#taking = this.#take(rows)
    return this.#taking
  }

  failed(error: Error): void {
    if (!this.#stopped) this.#failures.add(error, this.#position)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#taking
  }

  async #take(rows: readonly Row[]): Promise<number> {
    if (this.#stopped) return 1
    try {
      const entries = rows.map(([id, fields]) => parseEntry(id, fields))
      await this.#give(entries)
      this.#failures.over()
      return charsOf(entries)
    } catch (error) {
      this.failed(error as Error)
      if (!this.#stopped) await new Promise(resolve => setTimeout(resolve, this.#ports.retryMs ?? RETRY_MS))
      return 1
    }
  }

  async #give(entries: readonly LogEntry[]): Promise<void> {
    // Asked after reading: what was gone then is gone now. In between more may have gone; that counts as gone, too.
    const trimmed = await this.#ports.log.trimmed(this.#project, this.#stream)
    const isJump = compareIds(this.#position, trimmed) < 0
    if (this.#stopped) return
    if (isJump) {
      await this.#follower.jumped(trimmed)
      this.#position = trimmed
    }
    const due = isJump ? entries.filter(({ id }) => compareIds(id, trimmed) > 0) : entries
    if (due.length > 0) await this.#follower.arrived(due)
    this.#position = due.at(-1)?.id ?? this.#position
  }
}

/** Says each reason once, and what does not pass again and again. */
class Failures {
  readonly #troubled: (error: Error) => void
  readonly #follower: Follower
  #reason = ''
  #at = ''
  #times = 0

  constructor(troubled: (error: Error) => void, follower: Follower) {
    this.#troubled = troubled
    this.#follower = follower
  }

  add(error: Error, at: string): void {
    if (error.message !== this.#reason) this.#troubled(error)
    if (error.message !== this.#reason || at !== this.#at) this.#times = 0
    this.#reason = error.message
    this.#at = at
    if (++this.#times % STUCK_AFTER === 0) this.#follower.stuck?.(error)
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
