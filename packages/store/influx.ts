// The reading store in InfluxDB: measurement = event type, tags = project and device, one point per event with its frame in `_event`.
import { Failure } from '../core/failure.ts'
import { parseTime } from '../core/time.ts'
import type { InfluxSeries, InfluxSettings } from './influxclient.ts'
import { BadLines, InfluxClient } from './influxclient.ts'
import { copyLine, forgetSpans, formatPlace, readPast, spanLine } from './influxpast.ts'
import { countEvents, scanEvents } from './influxscan.ts'
import type { Series } from './influxslot.ts'
import { slotsOf } from './influxslot.ts'
import { boundary, fieldIdentifier, identifier, lineOf, linePrefix, literal } from './line.ts'
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
import { RefusedEvents } from './store.ts'

const MAX_KNOWN_SERIES = 500_000
// Well below InfluxDB's max-body-size of 25 MB, also when every character takes three bytes.
const MAX_BODY_CHARS = 6_000_000

/** Rejects with Failure `setup` when a setting is wrong. The server need not be there yet. */
export async function openInfluxStore(settings: InfluxSettings): Promise<ReadingStore> {
  return new InfluxStore(new InfluxClient(settings))
}

type Range = { readonly fromUs: number; readonly toUs: number }
type Row = { readonly eventType: string; readonly timeUs: number; readonly values: readonly unknown[] }
type Selection = { readonly fields: string; readonly from: string; readonly where: string }

class InfluxStore implements ReadingStore {
  readonly #client: InfluxClient
  readonly #series = new Map<string, Series>()
  readonly #running = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  constructor(client: InfluxClient) {
    this.#client = client
  }

  write(batch: readonly StoreEvent[], span?: LogSpan): Promise<WriteOutcome> {
    return this.#run(async () => {
      const series = this.#seriesOf(batch)
      const { slots, places, duplicates, refused } = await slotsOf(this.#client, batch, series)
      const lines: string[] = []
      const events: StoreEvent[] = []
      for (let i = 0; i < batch.length; i++) {
        const slot = slots[i] as number
        if (slot < 0) continue
        const event = batch[i] as StoreEvent
        const place = places.get(i) ?? (event.place && formatPlace(event.place))
        lines.push(lineOf((series[i] as Series).prefix, event, slot, place))
        events.push(event)
      }
      for (const [start, end] of bodies(lines)) await this.#send(lines.slice(start, end), events.slice(start, end), refused)
      const isRefused = new Set(refused.map(({ event }) => event))
      // Only an event's first place has its copy.
      await this.#copy(
        batch.filter((event, i) => slots[i] !== -1 && !isRefused.has(event) && !isElsewhere(event, places.get(i))),
        span,
      )
      if (refused.length > 0) throw refusal(refused)
      return { stored: batch.length - duplicates, duplicates }
    })
  }

  #seriesOf(batch: readonly StoreEvent[]): Series[] {
    if (this.#series.size > MAX_KNOWN_SERIES) this.#series.clear()
    return batch.map(event => {
      const key = `${event.project} ${event.eventType} ${event.device}`
      const known = this.#series.get(key)
      if (known) return known
      const { project, eventType, device } = event
      const series: Series = { project, eventType, device, prefix: linePrefix(event), newestUs: undefined }
      this.#series.set(key, series)
      return series
    })
  }

  /** Sends the lines; where some are at fault, halves find them, so that all others are stored. */
  async #send(lines: string[], events: readonly StoreEvent[], refused: { event: StoreEvent; reason: string }[]): Promise<void> {
    try {
      await this.#client.write(lines)
    } catch (cause) {
      if (!(cause instanceof BadLines)) throw cause
      if (lines.length === 1) {
        refused.push({ event: events[0] as StoreEvent, reason: cause.message })
        return
      }
      const half = lines.length >> 1
      await this.#send(lines.slice(0, half), events.slice(0, half), refused)
      await this.#send(lines.slice(half), events.slice(half), refused)
    }
  }

  /** The log's past is written when everything in it is stored; what it says is complete comes last. */
  async #copy(events: readonly StoreEvent[], span: LogSpan | undefined): Promise<void> {
    const lines = events.flatMap(event => (event.place ? [copyLine(event, event.place)] : []))
    if (span) lines.push(spanLine(span))
    for (const [start, end] of bodies(lines)) await this.#client.write(lines.slice(start, end))
  }

  past(query: PastQuery): Promise<Past> {
    return this.#run(async () => {
      const { found, spans } = await readPast(this.#client, query)
      return pastOf(query, found, spans)
    })
  }

  events({ project, device, eventTypes, fromUs, toUs, limit, after }: EventQuery): Promise<EventRecord[]> {
    return this.#run(async () => {
      if (limit < 1 || eventTypes?.length === 0) return []
      const from = eventTypes === undefined ? '/.*/' : eventTypes.map(identifier).join(',')
      const selection = { fields: '"_id","_event","_place"', from, where: ofDevice(project, device) }
      const rows = await this.#rows(selection, { fromUs, toUs: Math.min(toUs, after?.timeUs ?? toUs) }, 'DESC', limit)
      // The place itself may lie amid events of its microsecond.
      if (after && after.timeUs >= fromUs && after.timeUs < toUs)
        rows.push(...(await this.#microseconds([{ selection, timeUs: after.timeUs }])))
      const records = rows.map(
        ({ eventType, timeUs, values: [, eventId, frame, place] }) =>
          ({ timeUs, eventId, eventType, frame, acceptedMs: acceptedMsOf(place) }) as EventRecord,
      )
      const { timeUs, eventId, eventType = '' } = after ?? { timeUs: Number.POSITIVE_INFINITY, eventId: '' }
      const place = { timeUs, eventId, eventType }
      return records
        .filter(record => compare(record, place) < 0)
        .sort((a, b) => compare(b, a))
        .slice(0, limit)
    })
  }

  readings(query: ReadingQuery): Promise<RawReading[]> {
    return this.#run(async () => {
      if (query.limit < 1) return []
      const value = fieldIdentifier(query.field)
      // The comparison leaves out events without this reading.
      const where = `${ofDevice(query.project, query.device)} AND (${value} >= 0 OR ${value} < 0)`
      const { after, fromUs, toUs, limit } = query
      const selection = { fields: `"_id",${value}`, from: identifier(query.eventType), where }
      const rows = await this.#rows(selection, { fromUs: Math.max(fromUs, after ? after.timeUs + 1 : fromUs), toUs }, 'ASC', limit)
      // The place itself may lie amid readings of its microsecond.
      if (after && after.timeUs >= fromUs && after.timeUs < toUs)
        rows.push(...(await this.#microseconds([{ selection, timeUs: after.timeUs }])))
      const readings = rows.map(({ timeUs, values: [, eventId, reading] }) => ({ timeUs, eventId, value: reading }) as RawReading)
      return readings
        .filter(({ timeUs, eventId }) => !after || compare({ timeUs, eventId }, { timeUs: after.timeUs, eventId: after.eventId }) > 0)
        .sort(compare)
        .slice(0, limit)
    })
  }

  windows({
    project,
    device,
    eventType,
    field,
    fromUs,
    toUs,
    limit,
    windowMs,
  }: ReadingQuery & { readonly windowMs: number }): Promise<WindowReading[]> {
    return this.#run(async () => {
      if (limit < 1) return []
      const value = fieldIdentifier(field)
      const [series = []] = await this.#client.query([
        `SELECT count(${value}),mean(${value}),min(${value}),max(${value}) FROM ${identifier(eventType)} WHERE ${ofDevice(project, device)}
         AND ${within({ fromUs, toUs })} GROUP BY time(${Math.round(windowMs * 1000)}u) fill(none) LIMIT ${limit}`,
      ])
      return (series[0]?.values ?? []).map(
        ([time, count, mean, min, max]) => ({ startUs: timeOf(time), count, mean, min, max }) as WindowReading,
      )
    })
  }

  counts({ windowUs, ...query }: ScanQuery & { readonly windowUs: number }): Promise<ScanCount[]> {
    return this.#run(() => countEvents(this.#client, query, windowUs))
  }

  scan(query: ScanPage): Promise<ScanColumns> {
    return this.#run(() => scanEvents(this.#client, query))
  }

  purge(project: string, beforeUs: number): Promise<void> {
    return this.#run(async () => {
      await forgetSpans(this.#client, project, Math.ceil(beforeUs / 1000))
      await this.#client.query([`DELETE FROM /.*/ WHERE "project" = ${literal(project)} AND time < ${boundary(beforeUs)}`])
    })
  }

  ping(): Promise<void> {
    return this.#run(() => this.#client.ping())
  }

  close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#running).then(() => this.#client.close())
    return this.#closing
  }

  #run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing) return Promise.reject(new Failure('unavailable', 'the reading store is closed'))
    const running = work()
    this.#running.add(running)
    const done = () => this.#running.delete(running)
    running.then(done, done)
    return running
  }

  /**
   * The first `limit` rows of each measurement, in no order within a microsecond. Where the limit cuts through a microsecond all
   * of it is answered: InfluxDB orders it by slot, and callers by event id.
   */
  async #rows(selection: Selection, range: Range, order: 'ASC' | 'DESC', limit: number): Promise<Row[]> {
    const { fields, from, where } = selection
    const [series = []] = await this.#client.query([
      `SELECT ${fields} FROM ${from} WHERE ${where} AND ${within(range)} ORDER BY time ${order} LIMIT ${limit + 1}`,
    ])
    const found: Row[] = []
    const cut: { selection: Selection; timeUs: number }[] = []
    for (const measurement of series) {
      const rows = rowsOf(measurement)
      const last = rows[limit - 1]
      if (rows.length <= limit || last === undefined) found.push(...rows)
      else if (rows[limit]?.timeUs !== last.timeUs) found.push(...rows.slice(0, limit))
      else {
        found.push(...rows.filter(({ timeUs }) => timeUs !== last.timeUs))
        cut.push({ selection: { fields, from: identifier(measurement.name), where }, timeUs: last.timeUs })
      }
    }
    return cut.length === 0 ? found : [...found, ...(await this.#microseconds(cut))]
  }

  async #microseconds(places: readonly { readonly selection: Selection; readonly timeUs: number }[]): Promise<Row[]> {
    const statements = places.map(({ selection: { fields, from, where }, timeUs }) => {
      const range = within({ fromUs: timeUs, toUs: timeUs + 1 })
      return `SELECT ${fields} FROM ${from} WHERE ${where} AND ${range}`
    })
    return (await this.#client.query(statements)).flat().flatMap(rowsOf)
  }
}

function acceptedMsOf(place: unknown): number | undefined {
  return typeof place === 'string' ? Number.parseInt(place, 10) : undefined
}

function isElsewhere(event: StoreEvent, place: string | undefined): boolean {
  return place !== undefined && event.place !== undefined && formatPlace(event.place) !== place
}

function* bodies(lines: readonly string[]): Generator<[start: number, end: number]> {
  let start = 0
  let chars = 0
  for (let i = 0; i < lines.length; i++) {
    const { length } = lines[i] as string
    if (i > start && chars + length > MAX_BODY_CHARS) {
      yield [start, i]
      start = i
      chars = 0
    }
    chars += length + 1
  }
  if (start < lines.length) yield [start, lines.length]
}

function ofDevice(project: string, device: string): string {
  return `"project" = ${literal(project)} AND "device" = ${literal(device)}`
}

function within({ fromUs, toUs }: Range): string {
  return `time >= ${boundary(fromUs)} AND time < ${boundary(toUs)}`
}

function rowsOf({ name, values }: InfluxSeries): Row[] {
  return values.map(row => ({ eventType: name, timeUs: timeOf(row[0]), values: row }))
}

function timeOf(time: unknown): number {
  const timeUs = parseTime(String(time))
  if (timeUs === undefined) throw new Error(`InfluxDB answered with the time ${String(time)}`)
  return timeUs
}

type Place = { readonly timeUs: number; readonly eventId: string; readonly eventType?: string | undefined }

function compare(a: Place, b: Place): number {
  if (a.timeUs !== b.timeUs) return a.timeUs - b.timeUs
  if (a.eventId !== b.eventId) return a.eventId < b.eventId ? -1 : 1
  const [first = '', second = ''] = [a.eventType, b.eventType]
  return first < second ? -1 : first > second ? 1 : 0
}

function refusal(refused: readonly { readonly event: StoreEvent; readonly reason: string }[]): Failure {
  const message = `InfluxDB refuses ${refused.length} of the events, the first because of: ${refused[0]?.reason ?? ''}`
  return new Failure('invalid', message, {
    cause: new RefusedEvents(
      message,
      refused.map(({ event }) => event),
    ),
  })
}
