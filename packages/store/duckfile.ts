// One DuckDB file: how it is opened, who may use which connection when, and how rows get into it fast. `duckdb.ts` is the store.
import type { DuckDBAppender, DuckDBConnection } from '@duckdb/node-api'
import { BIGINT, BOOLEAN, DOUBLE, DuckDBDataChunk, DuckDBInstance, INTEGER, VARCHAR } from '@duckdb/node-api'
import { Failure } from '../core/failure.ts'

/** What each version added to the one before: a file of any of them is brought to the last. */
const VERSIONS = [
  // A primary key would drop the speed to a fifth (limits.md), so identity is kept by the store. Series are numbered because three
  // strings a row cost more than all the rest of it. `field` is '' on the one row of an event that has no reading.
  `create table if not exists series (id integer, project varchar, device varchar, event_type varchar);
   create table if not exists entry
     (series integer, time bigint, event_id varchar, is_event boolean, field varchar, value double, frame varchar);`,
  // Rows are appended in the order of the log as a rule, so that DuckDB passes over most of a table that is asked for a part of it.
  `alter table entry add column log_ms bigint;
   alter table entry add column log_sub bigint;
   create table span (project varchar, after_ms bigint, after_seq bigint, to_ms bigint, to_seq bigint);`,
]
const ENTRY_TYPES = [INTEGER, BIGINT, VARCHAR, BOOLEAN, VARCHAR, DOUBLE, VARCHAR, BIGINT, BIGINT]
// A checkpoint rewrites the last row group, so rare ones are cheaper; this much log is replayed in well under a second.
const CHECKPOINT_THRESHOLD = '64MB'
const READERS = 2

export type DuckFile = {
  readonly instance: DuckDBInstance
  readonly writer: Lane
  readonly readers: readonly Lane[]
  /** For replays of the log's past, which may be many and long. */
  readonly replay: Lane
  /** For backtests. */
  readonly scan: Lane
  /** It must be opened again: after a failed commit or checkpoint (a full disk) DuckDB takes no more writes. */
  broken: boolean
  released: boolean
}

export async function openDuckFile(path: string, memoryLimitMb: number): Promise<DuckFile> {
  try {
    // One thread: DuckDB then works in the libuv thread of the call and leaves the other core alone.
    const options = { threads: '1', memory_limit: `${memoryLimitMb}MB`, checkpoint_threshold: CHECKPOINT_THRESHOLD }
    const instance = await DuckDBInstance.create(path, { ...options, enable_external_access: 'false' })
    const writer = new Lane(await instance.connect())
    // `closeDuckFile` does that, off the main thread.
    await writer.run(connection => connection.run('pragma disable_checkpoint_on_shutdown'))
    await writer.run(connection => migrate(connection, path))
    const readers: Lane[] = []
    for (let i = 0; i < READERS; i++) readers.push(new Lane(await instance.connect()))
    const replay = new Lane(await instance.connect())
    const scan = new Lane(await instance.connect())
    return { instance, writer, readers, replay, scan, broken: false, released: false }
  } catch (cause) {
    throw cannotOpen(path, cause)
  }
}

async function migrate(connection: DuckDBConnection, path: string): Promise<void> {
  await connection.run('begin')
  await connection.run('create table if not exists version (number integer)')
  const [[number]] = (await connection.runAndReadAll('select coalesce(max(number), 0) from version')).getRows() as [[number]]
  if (number > VERSIONS.length) throw new Failure('setup', `${path} was written by a newer Telltale: use that one`)
  for (const [i, sql] of VERSIONS.entries()) if (i >= number) await connection.run(`${sql} insert into version values (${i + 1});`)
  await connection.run('commit')
}

/** Rejects when the log could not be merged into the file, for want of space: nothing is lost by that, the next start reads it. */
export async function closeDuckFile(file: DuckFile): Promise<void> {
  if (file.released) return
  file.released = true
  try {
    if (!file.broken) await file.writer.run(connection => connection.run('checkpoint'))
  } finally {
    for (const lane of [...file.readers, file.replay, file.scan, file.writer]) await lane.close()
    file.instance.closeSync()
  }
}

export function inUse(path: string, cause?: unknown): Failure {
  const message = `${path} is in use by another Telltale: stop that one, or set TELLTALE_DATA_DIR to another directory`
  return new Failure('setup', message, { cause })
}

function cannotOpen(path: string, cause: unknown): Failure {
  if (cause instanceof Failure) return cause
  const reason = cause instanceof Error ? cause.message : String(cause)
  if (reason.includes('Could not set lock')) return inUse(path, cause)
  return new Failure('setup', `cannot open the reading store ${path}, check TELLTALE_DATA_DIR: ${reason}`, { cause })
}

/** Work on one connection, one piece at a time: pieces that overlap there lose rows. */
export class Lane {
  readonly #connection: DuckDBConnection
  #last: Promise<unknown> = Promise.resolve()

  constructor(connection: DuckDBConnection) {
    this.#connection = connection
  }

  run<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    const turn = this.#last.then(() => work(this.#connection))
    // A failure belongs to whoever asked; the next piece of work runs either way.
    this.#last = Promise.allSettled([turn])
    return turn
  }

  async close(): Promise<void> {
    await this.#last
    this.#connection.closeSync()
  }
}

/** Commits what `work` did, or nothing of it. */
export function transact<T>(file: DuckFile, work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
  return file.writer.run(async connection => {
    await connection.run('begin')
    try {
      const result = await work(connection)
      await commit(file, connection)
      return result
    } catch (cause) {
      if (!file.broken) await connection.run('rollback')
      throw cause
    }
  })
}

async function commit(file: DuckFile, connection: DuckDBConnection): Promise<void> {
  try {
    await connection.run('commit')
  } catch (cause) {
    // After a full disk every further commit fails too, also when there is space again.
    file.broken = true
    throw cause
  }
}

/** Appends to a table within the running transaction. */
export async function append(
  connection: DuckDBConnection,
  table: string,
  fill: (appender: DuckDBAppender) => void | Promise<void>,
): Promise<void> {
  const appender = await connection.createAppender(table)
  try {
    await fill(appender)
  } catch (cause) {
    // Rows left in it would be appended whenever it is collected, in whatever transaction runs then.
    appender.clear()
    throw cause
  } finally {
    appender.closeSync()
  }
}

/** What all rows of an event begin with; `log` is its place there: entry id and index in two numbers that sort as the place does. */
export type EntryKey = { readonly series: number; readonly timeUs: bigint; readonly eventId: string; readonly log: LogNumbers | undefined }
export type LogNumbers = { readonly ms: bigint; readonly sub: bigint }

/** Rows of `entry` on their way in, column by column, in one chunk that is used again and again. */
export class EntryChunk {
  // The main thread is held for about 2 µs a row.
  static readonly maxRows = 1024
  readonly #chunk = DuckDBDataChunk.create(ENTRY_TYPES, EntryChunk.maxRows)
  readonly #columns = ENTRY_TYPES.map((_, column) => this.#chunk.getColumnVector(column))
  #rows = 0

  get full(): boolean {
    return this.#rows === EntryChunk.maxRows
  }

  add({ series, timeUs, eventId, log }: EntryKey, isEvent: boolean, field: string, value: number, frame: string): void {
    const row = this.#rows++
    const columns = this.#columns
    columns[0]?.setItem(row, series)
    columns[1]?.setItem(row, timeUs)
    columns[2]?.setItem(row, eventId)
    columns[3]?.setItem(row, isEvent)
    columns[4]?.setItem(row, field)
    columns[5]?.setItem(row, value)
    columns[6]?.setItem(row, frame)
    columns[7]?.setItem(row, log?.ms ?? null)
    columns[8]?.setItem(row, log?.sub ?? null)
  }

  /** Hands the rows over and is empty again. */
  moveTo(appender: DuckDBAppender): void {
    if (this.#rows === 0) return
    for (const column of this.#columns) column.flush()
    this.#chunk.rowCount = this.#rows
    appender.appendDataChunk(this.#chunk)
    this.clear()
  }

  clear(): void {
    this.#chunk.reset()
    this.#rows = 0
  }
}
