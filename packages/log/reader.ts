// One connection on which many streams are read at once: each is given what is new, and is left out while it is busy with that.
import type { Redis } from 'ioredis'

export type Row = [id: string, fields: string[]]

/** One stream that is read. */
export type Reading = {
  readonly key: string
  /** What comes after this entry is read next. */
  position(): string
  /** Takes what was found; resolves when it may be read again, with the characters of an entry on average, never 0. Never rejects. */
  take(rows: readonly Row[]): Promise<number>
  failed(error: Error): void
}

export type ReaderPorts = {
  readonly redis: Redis
  /** Ends the wait of another connection, if it waits. */
  unblock(clientId: number): Promise<void>
}

/** Each read names them all: more on one connection would make every read slower. */
const KEYS = 50
const BLOCK_MS = 2000
/** Entries of up to 1 MiB each come with one read, and many more while they are as small as most. */
const MIN_ENTRIES = 10
const MAX_ENTRIES = 500
const READ_CHARS = 1024 * 1024
const RETRY_MS = 200
/** Those who are done sooner are read on together. */
const TOGETHER_MS = 5
const RING_AGAIN_MS = 2

export class Reader {
  readonly #redis: Redis
  readonly #unblock: ReaderPorts['unblock']
  readonly #readings = new Map<string, Reading>()
  readonly #busy = new Set<Reading>()
  readonly #room: number
  #clientId: number | undefined
  #count = MIN_ENTRIES
  /** Those that the read under way leaves out are to be read as well. */
  #outdated = false
  #isReading = false
  #ringing = false
  #wake = () => {}
  #stopped = false

  constructor({ redis, unblock }: ReaderPorts) {
    this.#redis = redis
    this.#unblock = unblock
    // The streams of a Cluster lie on different servers.
    this.#room = redis.isCluster ? 1 : KEYS
    redis.on('close', () => {
      this.#clientId = undefined
    })
  }

  hasRoomFor(key: string): boolean {
    return !this.#stopped && this.#readings.size < this.#room && !this.#readings.has(key)
  }

  add(reading: Reading): void {
    this.#readings.set(reading.key, reading)
    if (this.#readings.size === 1) void this.#run()
    else this.#changed()
  }

  /** @returns whether it was the last; the connection is then closed. */
  remove(reading: Reading): boolean {
    this.#readings.delete(reading.key)
    if (this.#readings.size > 0) return false
    this.#stopped = true
    this.#redis.disconnect()
    this.#wake()
    return true
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const ready = [...this.#readings.values()].filter(reading => !this.#busy.has(reading))
      if (ready.length === 0) await this.#woken()
      else await this.#read(ready)
    }
  }

  #woken(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve
    })
  }

  async #read(ready: readonly Reading[]): Promise<void> {
    try {
      const found = await this.#find(ready)
      const taking = found.flatMap(([key, rows]) => this.#give(this.#readings.get(key), rows, found.length))
      // What is alone wakes the loop when it is done.
      if (taking.length > 0 && this.#readings.size > 1) await together(taking)
    } catch (error) {
      if (this.#stopped) return
      for (const reading of ready) reading.failed(error as Error)
      await new Promise(resolve => setTimeout(resolve, RETRY_MS))
    }
  }

  async #find(ready: readonly Reading[]): Promise<[key: string, rows: Row[]][]> {
    this.#clientId ??= await this.#redis.client('ID')
    this.#outdated = [...this.#readings.values()].some(reading => !this.#busy.has(reading) && !ready.includes(reading))
    if (this.#outdated) return []
    this.#isReading = true
    const names = [...ready.map(({ key }) => key), ...ready.map(reading => reading.position())]
    try {
      return (await this.#redis.xread('COUNT', this.#count, 'BLOCK', BLOCK_MS, 'STREAMS', ...names)) ?? []
    } finally {
      this.#isReading = false
    }
  }

  #give(reading: Reading | undefined, rows: readonly Row[], among: number): Promise<void>[] {
    if (!reading) return []
    this.#busy.add(reading)
    const taking = reading.take(rows).then(chars => {
      this.#busy.delete(reading)
      const count = Math.min(MAX_ENTRIES, Math.floor(READ_CHARS / chars / among))
      this.#count = Math.max(1, Math.floor(MIN_ENTRIES / among), count)
      this.#changed()
    })
    return [taking]
  }

  #changed(): void {
    this.#wake()
    if (!this.#isReading) return
    this.#outdated = true
    if (!this.#ringing) void this.#ring()
  }

  /** Until it is heard: the read may still be on its way to the server. */
  async #ring(): Promise<void> {
    this.#ringing = true
    try {
      while (this.#isReading && this.#outdated && !this.#stopped) {
        if (this.#clientId !== undefined) await this.#unblock(this.#clientId)
        await new Promise(resolve => setTimeout(resolve, RING_AGAIN_MS))
      }
    } catch (error) {
      for (const reading of this.#readings.values()) reading.failed(error as Error)
    } finally {
      this.#ringing = false
    }
  }
}

/** Those that take their time are not waited for. */
async function together(taking: readonly Promise<void>[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const enough = new Promise<void>(resolve => {
    timer = setTimeout(resolve, TOGETHER_MS)
  })
  await Promise.race([Promise.all(taking), enough])
  clearTimeout(timer)
}
