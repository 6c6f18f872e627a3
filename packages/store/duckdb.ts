// The reading store of a single machine: one DuckDB file. Each event is one row per reading; the first also carries the event.
import { resolve } from 'node:path'
import { setImmediate as othersGoFirst } from 'node:timers/promises'
import type { DuckDBAppender, DuckDBConnection, DuckDBValue } from '@duckdb/node-api'
import { listValue } from '@duckdb/node-api'
import { Failure } from '../core/failure.ts'
import type { DuckFile, Lane } from './duckfile.ts'
import { append, closeDuckFile, EntryChunk, inUse, openDuckFile, transact } from './duckfile.ts'
import type { KnownSpans } from './duckpast.ts'
import { completeSpan, Numbering, placedEvents, purgeEvents, storedSpans } from './duckpast.ts'
import { countEvents, scanEvents } from './duckscan.ts'
import type { Series } from './duckseries.ts'
import { admit, numberSeries, placeKnown, seriesKey, storedSeries, timeParameter } from './duckseries.ts'
import { escapeName, LONE_SURROGATE, storableReadings } from './name.ts'
import { pastOf } from './past.ts'
import type {
  EventQuery,
  EventRecord,
  LogSpan,
  Past,
  PastQuery,
  RawReading,
  ReadingQuery,
  ReadingStore,
  ScanColumns,
  ScanCount,
  ScanPage,
  ScanQuery,
  StoreEvent,
  WindowReading,
  WriteOutcome,
} from './store.ts'

export type DuckStoreSettings = {
  readonly path: string
  /** What DuckDB may use besides Node's own memory; 512 unless told. */
  readonly memoryLimitMb?: number
}

// Batches that wait for the running write share the next transaction, up to this many events.
const GROUP_EVENTS = 5000
const MAX_KNOWN_SERIES = 500_000
const UNSAFE_IN_FIELD = new RegExp(`%|${LONE_SURROGATE}`, 'g')
// DuckDB's file lock is one per process: it would let a second instance in this one open the same file, and spoil it.
const openPaths = new Set<string>()

/** Rejects with Failure `setup` when the file cannot be opened, for example because another process has it open. */
export async function openDuckStore({ path, memoryLimitMb = 512 }: DuckStoreSettings): Promise<ReadingStore> {
  const file = resolve(path)
  if (openPaths.has(file)) throw inUse(file)
  openPaths.add(file)
  const open = () => openDuckFile(file, memoryLimitMb)
  try {
    return new DuckStore(open, await open(), () => openPaths.delete(file))
  } catch (cause) {
    openPaths.delete(file)
    throw cause
  }
}

type Waiting = {
  readonly batch: readonly StoreEvent[]
  readonly span: LogSpan | undefined
  readonly resolve: (outcome: WriteOutcome) => void
  readonly reject: (cause: unknown) => void
}

class DuckStore implements ReadingStore {
  readonly #open: () => Promise<DuckFile>
  readonly #closed: () => void
  #file: DuckFile
  #reopening: Promise<DuckFile> | undefined
  #closing: Promise<void> | undefined
  readonly #waiting: Waiting[] = []
  #writing: Promise<void> = Promise.resolve()
  #reads = 0
  readonly #series = new Map<string, Series>()
  readonly #spans: KnownSpans = new Map()
  readonly #chunk = new EntryChunk()
  readonly #numbering = new Numbering()

  constructor(open: () => Promise<DuckFile>, file: DuckFile, closed: () => void) {
    this.#open = open
    this.#file = file
    this.#closed = closed
  }

  write(batch: readonly StoreEvent[], span?: LogSpan): Promise<WriteOutcome> {
    if (this.#closing) return Promise.reject(storeClosed())
    if (batch.length === 0 && !span) return Promise.resolve({ stored: 0, duplicates: 0 })
    return new Promise((resolve, reject) => {
      this.#waiting.push({ batch, span, resolve, reject })
      if (this.#waiting.length === 1) this.#writing = this.#writing.then(() => this.#writeWaiting())
    })
  }

  async #writeWaiting(): Promise<void> {
    while (this.#waiting.length > 0) await this.#writeGroup(this.#takeGroup())
  }

  #takeGroup(): Waiting[] {
    let count = 0
    let events = 0
    for (const { batch } of this.#waiting) {
      events += batch.length
      if (count > 0 && events > GROUP_EVENTS) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    try {
      const outcomes = await this.#transact(connection => this.#append(connection, group))
      for (const [i, { resolve }] of group.entries()) resolve(outcomes[i] as WriteOutcome)
    } catch (cause) {
      // One batch's fault is not its neighbours': each gets its own answer.
      if (group.length > 1) for (const one of group) await this.#writeGroup([one])
      else for (const { reject } of group) reject(cause)
    }
  }

  async #transact<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    const file = await this.#usable()
    try {
      return await transact(file, work)
    } catch (cause) {
      // What is remembered may speak of rows that were not kept. The file knows.
      this.#series.clear()
      this.#spans.clear()
      this.#chunk.clear()
      throw translated(file, cause)
    }
  }

  async #append(connection: DuckDBConnection, group: readonly Waiting[]): Promise<WriteOutcome[]> {
    const [first, ...others] = group.map(({ batch }) => batch)
    const events = others.length === 0 ? (first ?? []) : [first ?? [], ...others].flat()
    const series = await this.#seriesOf(connection, events)
    const { fresh, unplaced } = await admit(connection, events, series)
    await this.#appendFresh(connection, events, series, fresh)
    await placeKnown(connection, events, series, unplaced, this.#numbering)
    for (const { span } of group) if (span) await completeSpan(connection, this.#spans, span)
    let end = 0
    return group.map(({ batch }) => {
      end += batch.length
      const stored = fresh.subarray(end - batch.length, end).reduce((sum, one) => sum + one, 0)
      return { stored, duplicates: batch.length - stored }
    })
  }

  /** The series of each event, brought to memory where it is not. */
  async #seriesOf(connection: DuckDBConnection, events: readonly StoreEvent[]): Promise<Series[]> {
    if (this.#series.size > MAX_KNOWN_SERIES) this.#series.clear()
    const unknown = new Map<string, StoreEvent>()
    const keys = events.map(seriesKey)
    for (const [i, key] of keys.entries()) if (!this.#series.has(key)) unknown.set(key, events[i] as StoreEvent)
    if (unknown.size > 0) {
      const oldestUs = events.reduce((oldest, { timeUs }) => Math.min(oldest, timeUs), Number.POSITIVE_INFINITY)
      for (const [key, series] of await storedSeries(connection, unknown, oldestUs)) if (unknown.delete(key)) this.#series.set(key, series)
      for (const [key, series] of await numberSeries(connection, unknown)) this.#series.set(key, series)
    }
    return keys.map(key => this.#series.get(key) as Series)
  }

  async #appendFresh(
    connection: DuckDBConnection,
    events: readonly StoreEvent[],
    series: readonly Series[],
    fresh: Uint8Array,
  ): Promise<void> {
    if (!fresh.includes(1)) return
    await append(connection, 'entry', async appender => {
      for (let i = 0; i < events.length; i++) {
        if (fresh[i] === 0) continue
        if (this.#chunk.full) {
          this.#chunk.moveTo(appender)
          await othersGoFirst()
        }
        this.#appendEvent(appender, (series[i] as Series).id, events[i] as StoreEvent)
      }
      this.#chunk.moveTo(appender)
    })
  }

  #appendEvent(appender: DuckDBAppender, id: number, event: StoreEvent): void {
    const chunk = this.#chunk
    const readings = storableReadings(event)
    const { eventId, place } = event
    const key = { series: id, timeUs: BigInt(event.timeUs), eventId, log: place && this.#numbering.numbers(place) }
    if (readings.length === 0) chunk.add(key, true, '', 0, event.frame)
    for (let i = 0; i < readings.length; i++) {
      const [field, value] = readings[i] as [string, number]
      if (chunk.full) chunk.moveTo(appender)
      chunk.add(key, i === 0, escapeName(field, UNSAFE_IN_FIELD), value, i === 0 ? event.frame : '')
    }
  }

  async events({ project, device, eventTypes, fromUs, toUs, limit, after }: EventQuery): Promise<EventRecord[]> {
    if (eventTypes?.length === 0) return []
    const types = eventTypes === undefined ? null : listValue([...eventTypes])
    const { timeUs = toUs, eventId: afterId = '', eventType: afterType = '' } = after ?? {}
    const place = { afterTime: timeParameter(timeUs), afterId, afterType }
    const rows = await this.#read(
      `select e.time, e.event_id, s.event_type, e.frame, e.log_ms from entry e join series s on e.series = s.id
       where s.project = $project and s.device = $device and ($types is null or list_contains($types, s.event_type))
         and e.is_event and e.time >= $from and e.time < $to and e.time <= $afterTime
         and (e.time < $afterTime or e.event_id < $afterId or (e.event_id = $afterId and s.event_type < $afterType))
       order by e.time desc, e.event_id desc, s.event_type desc limit $limit`,
      { ...place, project, device, types, from: timeParameter(fromUs), to: timeParameter(toUs), limit },
    )
    return rows.map(([time, eventId, eventType, frame, ms]) => {
      const acceptedMs = ms === null ? undefined : Number(ms)
      return { timeUs: Number(time), eventId, eventType, frame, acceptedMs } as EventRecord
    })
  }

  async readings(query: ReadingQuery): Promise<RawReading[]> {
    const rows = await this.#read(
      `select e.time, e.event_id, e.value ${FROM_READINGS} and (e.time > $afterTime or (e.time = $afterTime and e.event_id > $afterId))
       order by e.time, e.event_id limit $limit`,
      {
        ...readingParameters(query),
        afterTime: timeParameter(query.after?.timeUs ?? query.fromUs - 1),
        afterId: query.after?.eventId ?? '',
      },
    )
    return rows.map(([time, eventId, value]) => ({ timeUs: Number(time), eventId, value }) as RawReading)
  }

  async windows(query: ReadingQuery & { readonly windowMs: number }): Promise<WindowReading[]> {
    const rows = await this.#read(
      `select e.time - ((e.time % $window) + $window) % $window as start, count(*), avg(e.value), min(e.value), max(e.value)
       ${FROM_READINGS} group by start order by start limit $limit`,
      { ...readingParameters(query), window: BigInt(Math.round(query.windowMs * 1000)) },
    )
    return rows.map(([start, count, mean, min, max]) => ({ startUs: Number(start), count: Number(count), mean, min, max }) as WindowReading)
  }

  past(query: PastQuery): Promise<Past> {
    return this.#ask(async connection => {
      // After the events: what is purged in between is then said to be gone.
      const events = await placedEvents(connection, query)
      return pastOf(query, events, await storedSpans(connection, query.project))
    }, 'replay')
  }

  counts({ windowUs, ...query }: ScanQuery & { readonly windowUs: number }): Promise<ScanCount[]> {
    return this.#ask(connection => countEvents(connection, query, windowUs), 'scan')
  }

  scan(query: ScanPage): Promise<ScanColumns> {
    return this.#ask(connection => scanEvents(connection, query, field => escapeName(field, UNSAFE_IN_FIELD)), 'scan')
  }

  async purge(project: string, beforeUs: number): Promise<void> {
    if (this.#closing) throw storeClosed()
    await this.#transact(connection => {
      this.#spans.delete(project)
      return purgeEvents(connection, project, beforeUs)
    })
  }

  async ping(): Promise<void> {
    await this.#read('select 1', {})
  }

  #read(sql: string, parameters: Record<string, DuckDBValue>): Promise<DuckDBValue[][]> {
    return this.#ask(async connection => (await connection.runAndReadAll(sql, parameters)).getRows())
  }

  async #ask<T>(question: (connection: DuckDBConnection) => Promise<T>, lane?: 'replay' | 'scan'): Promise<T> {
    if (this.#closing) throw storeClosed()
    const file = await this.#usable()
    const reader = lane ? file[lane] : (file.readers[this.#reads++ % file.readers.length] as Lane)
    try {
      return await reader.run(question)
    } catch (cause) {
      throw translated(file, cause)
    }
  }

  /** The open file, opened anew when DuckDB has given it up. */
  async #usable(): Promise<DuckFile> {
    if (!this.#file.broken) return this.#file
    this.#reopening ??= this.#reopen().finally(() => {
      this.#reopening = undefined
    })
    return this.#reopening
  }

  async #reopen(): Promise<DuckFile> {
    try {
      await closeDuckFile(this.#file)
      this.#file = await this.#open()
      return this.#file
    } catch (cause) {
      throw new Failure('unavailable', 'the reading store broke and cannot be opened again', { cause })
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#shut()
    return this.#closing
  }

  async #shut(): Promise<void> {
    try {
      await this.#writing
      await this.#reopening
      await closeDuckFile(this.#file)
    } catch (cause) {
      throw translated(this.#file, cause)
    } finally {
      this.#closed()
    }
  }
}

const FROM_READINGS = `from entry e join series s on e.series = s.id
  where s.project = $project and s.device = $device and s.event_type = $type and e.field = $field and e.time >= $from and e.time < $to`

function readingParameters({ project, device, eventType, field, fromUs, toUs, limit }: ReadingQuery): Record<string, DuckDBValue> {
  const range = { from: timeParameter(fromUs), to: timeParameter(toUs), limit }
  return { project, device, type: eventType, field: escapeName(field, UNSAFE_IN_FIELD), ...range }
}

function storeClosed(): Failure {
  return new Failure('unavailable', 'the reading store is closed')
}

function translated(file: DuckFile, cause: unknown): unknown {
  if (cause instanceof Failure || cause instanceof TypeError || cause instanceof RangeError) return cause
  const reason = cause instanceof Error ? cause.message : String(cause)
  if (/^(FATAL|INTERNAL)/.test(reason)) file.broken = true
  return new Failure('unavailable', `the reading store does not work: ${reason}`, { cause })
}
