// The log's past in the DuckDB file: an event's place as two numbers on its rows, and the spans of each project's log that are complete.
import type { DuckDBConnection, DuckDBValue } from '@duckdb/node-api'
import type { LogNumbers } from './duckfile.ts'
import { timeParameter } from './duckseries.ts'
import type { EntryId, Span } from './past.ts'
import { compareEntries, entryIdOf } from './past.ts'
import type { LogPlace, LogSpan, PastEvent, PastQuery } from './store.ts'
import { LAST_INDEX } from './store.ts'

/** An entry has at most 1,000 events. */
const INDEXES = 1024

/** Places as numbers. Events of one entry follow each other, so most of the work was done for the one before. */
export class Numbering {
  #entryId = ''
  #ms = 0n
  #firstSub = 0

  numbers({ entryId, index }: LogPlace): LogNumbers {
    if (entryId !== this.#entryId) {
      const { ms, seq } = entryIdOf(entryId)
      this.#entryId = entryId
      this.#ms = BigInt(ms)
      this.#firstSub = seq * INDEXES
    }
    return { ms: this.#ms, sub: BigInt(this.#firstSub + index) }
  }
}

/** The newest span of each project, as the file has it. */
export type KnownSpans = Map<string, Span>

/** Notes that the log is complete in a span: as a rule it goes on where the last one ended, and that grows. */
export async function completeSpan(connection: DuckDBConnection, known: KnownSpans, { project, after, to }: LogSpan): Promise<void> {
  const span = { after: entryIdOf(after), to: entryIdOf(to) }
  const continues = (one: Span | undefined) => one && compareEntries(one.after, span.after) <= 0 && compareEntries(span.after, one.to) <= 0
  let last = known.get(project)
  if (!continues(last)) last = (await storedSpans(connection, project)).find(continues)
  if (!last) {
    const values = { project, ...numbersOf(span) }
    await connection.run('insert into span values ($project, $afterMs, $afterSeq, $toMs, $toSeq)', values)
    known.set(project, span)
    return
  }
  if (compareEntries(last.to, span.to) >= 0) return
  const grown = { after: last.after, to: span.to }
  await connection.run(
    'update span set to_ms = $toMs, to_seq = $toSeq where project = $project and after_ms = $afterMs and after_seq = $afterSeq',
    { project, ...numbersOf(grown) },
  )
  known.set(project, grown)
}

export async function storedSpans(connection: DuckDBConnection, project: string): Promise<Span[]> {
  const found = await connection.runAndReadAll('select after_ms, after_seq, to_ms, to_seq from span where project = $project', { project })
  return (found.getRows() as [bigint, bigint, bigint, bigint][]).map(([afterMs, afterSeq, toMs, toSeq]) => ({
    after: { ms: Number(afterMs), seq: Number(afterSeq) },
    to: { ms: Number(toMs), seq: Number(toSeq) },
  }))
}

/** The first events after a place. */
export async function placedEvents(connection: DuckDBConnection, { project, after, to, limit }: PastQuery): Promise<PastEvent[]> {
  const from = entryIdOf(after.entryId)
  const end = entryIdOf(to)
  const found = await connection.runAndReadAll(
    `select e.log_ms, e.log_sub, s.device, s.event_type, e.time, e.frame from entry e join series s on e.series = s.id
     where s.project = $project and e.is_event and e.log_ms >= $fromMs and e.log_ms <= $toMs
       and (e.log_ms > $fromMs or e.log_sub > $fromSub) and (e.log_ms < $toMs or e.log_sub <= $toSub)
     order by e.log_ms, e.log_sub limit $limit`,
    {
      project,
      fromMs: BigInt(from.ms),
      fromSub: subOf(from, after.index),
      toMs: BigInt(end.ms),
      toSub: subOf(end, LAST_INDEX),
      limit,
    },
  )
  return (found.getRows() as [bigint, bigint, string, string, bigint, string][]).map(([ms, sub, device, eventType, time, frame]) => ({
    place: placeOf(Number(ms), Number(sub)),
    device,
    eventType,
    timeUs: Number(time),
    frame,
  }))
}

function placeOf(ms: number, sub: number): LogPlace {
  const index = sub % INDEXES
  return { entryId: `${ms}-${(sub - index) / INDEXES}`, index }
}

function subOf({ seq }: EntryId, index: number): bigint {
  return BigInt(seq) * BigInt(INDEXES) + BigInt(Math.min(index, INDEXES - 1))
}

/** Deletes what is older; a place lives on while its acceptance is not, because late data would else tear holes into the log's past. */
export async function purgeEvents(connection: DuckDBConnection, project: string, beforeUs: number): Promise<void> {
  const old = `time < $before and (log_ms is null or log_ms < $beforeMs) and series in (select id from series where project = $project)`
  const parameters = { project, before: timeParameter(beforeUs), beforeMs: timeParameter(beforeUs / 1000) }
  const found = await connection.runAndReadAll(
    `select log_ms, log_sub from entry where ${old} and log_ms is not null order by log_ms desc, log_sub desc limit 1`,
    parameters,
  )
  const [last] = found.getRows() as [bigint, bigint][]
  if (last) await forgetSpans(connection, project, entryIdOf(placeOf(Number(last[0]), Number(last[1])).entryId))
  await connection.run(`delete from entry where ${old}`, parameters)
}

/** Takes back what spans say of everything up to and with an entry. */
async function forgetSpans(connection: DuckDBConnection, project: string, last: EntryId): Promise<void> {
  const parameters = { project, ms: BigInt(last.ms), seq: BigInt(last.seq) }
  await connection.run('delete from span where project = $project and (to_ms, to_seq) <= ($ms, $seq)', parameters)
  await connection.run(
    'update span set after_ms = $ms, after_seq = $seq where project = $project and (after_ms, after_seq) < ($ms, $seq)',
    parameters,
  )
}

function numbersOf({ after, to }: Span): Record<string, DuckDBValue> {
  return { afterMs: BigInt(after.ms), afterSeq: BigInt(after.seq), toMs: BigInt(to.ms), toSeq: BigInt(to.seq) }
}
