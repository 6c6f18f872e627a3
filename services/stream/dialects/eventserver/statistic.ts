// What the Go server shows besides: consumers and how far behind they are, counts for charts, search (contracts.md 4.a.4). Names of fields
// are as its database gave them.
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { formatTime } from '../../../../packages/core/time.ts'
import type { DurableStreams, Ref, StreamRecord } from '../../../../packages/log/durable/stream.ts'
import type { HttpApp } from '../../../../packages/runtime/http.ts'
import { goneOf } from '../gone.ts'
import { homeOf } from '../home.ts'
import { noteChange } from '../stream.ts'
import { type Authenticate, checkUuid, type EventPorts, find, known, queried } from './event.ts'
import { type EventserverPorts, sendJson, sendText } from './eventserver.ts'
import { checkThere, each, largest, type Owned, ownedIn } from './owned.ts'

type StatisticPorts = Pick<EventserverPorts, 'streams' | 'nowUs'> & Pick<EventPorts, 'ids'>

type Change = { readonly Params: { readonly stream: string; readonly consumer: string; readonly event: string; readonly offset: string } }
type StreamRoute = { readonly Params: { readonly stream: string } }
type EventRoute = { readonly Params: { readonly event: string } }

export function addStatisticRoutes(app: HttpApp, ports: StatisticPorts, authenticate: Authenticate): void {
  const { streams, nowUs } = ports
  // Nothing here has a body to look at; some send one that is none, or say that they send one.
  const options = { config: { raw: true, authenticate } } as const
  app.post<Change>('/:stream/:consumer/:event/change/:offset', options, async (request, reply) => {
    const project = homeOf(request, 'developer')
    const { params } = request
    const consumer = checkUuid(params.consumer, 'consumerId')
    if (!/^\d{1,15}$/.test(params.offset)) throw invalid('offset', 'expected a whole number from 0')
    const offset = Number(params.offset)
    const stream = await known(streams, project, params.stream)
    // An offset that nothing can be read from would be kept for ever.
    if ((await streams.nameLast(stream, params.event)) === 0)
      throw new Failure('not_found', `no event ${params.event} in ${params.stream}`, { field: 'eventName' })
    noteChange(request, project, params.stream)
    await streams.setOffset(stream, consumer, params.event, offset)
    return sendText(reply, `successfully updated offset to ${offset} for consumer ${consumer}`)
  })
  app.get<StreamRoute>('/consumers/:stream', options, async (request, reply) =>
    consumersOf(streams, await known(streams, homeOf(request, 'user'), request.params.stream), goneOf(reply)),
  )
  app.get<EventRoute>('/events/:event/payload', options, async (request, reply) => {
    const project = homeOf(request, 'user')
    const id = checkUuid(request.params.event, 'eventId')
    const { payload } = await findAnywhere(ports, project, id)
    return sendJson(reply, payload.toString('utf8'))
  })
  app.get('/stats/events-per-stream', options, async (request, reply) => {
    const owned = await ownedIn(streams, homeOf(request, 'user'), goneOf(reply))
    const counts = owned.map(({ stream, last }) => ({ label: stream.record.name, value: last }))
    return counts.toSorted((a, b) => b.value - a.value).slice(0, TOP)
  })
  app.get('/stats/stream-data', options, async (request, reply) => {
    const gone = goneOf(reply)
    return ranked(streams, largest(await ownedIn(streams, homeOf(request, 'user'), gone)), gone)
  })
  app.get('/stats/events-current-month', options, async (request, reply) => {
    const gone = goneOf(reply)
    return monthOf(streams, largest(await ownedIn(streams, homeOf(request, 'user'), gone)), nowUs() / 1000, gone)
  })
  app.post('/search', options, async (request, reply) => {
    const project = homeOf(request, 'user')
    const gone = goneOf(reply)
    const term = queried(request, '_q').toLowerCase()
    return search(streams, largest(await ownedIn(streams, project, gone)), term, gone)
  })
  app.post<StreamRoute>('/event-period-search/:stream', options, async (request, reply) => {
    const project = homeOf(request, 'user')
    const { period } = request.query as { readonly period?: unknown }
    const periodMs = typeof period === 'string' && Object.hasOwn(PERIODS, period) ? PERIODS[period] : undefined
    if (periodMs === undefined) throw invalid('period', `expected ${Object.keys(PERIODS).join(', ')}`)
    return since(ports, await known(streams, project, request.params.stream), nowUs() / 1000 - periodMs, goneOf(reply))
  })
}

/** An id is looked for in this many streams before others have their turn. */
const TRIED_AT_ONCE = 500
/** In a chart. */
const TOP = 10
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const PERIODS: Readonly<Record<string, number>> = {
  '6hour': 6 * HOUR_MS,
  '24hour': DAY_MS,
  '2day': 2 * DAY_MS,
  '7day': 7 * DAY_MS,
  '14day': 14 * DAY_MS,
  '1month': 31 * DAY_MS,
}

async function consumersOf(streams: DurableStreams, stream: Ref, gone: AbortSignal): Promise<object[]> {
  const offsets = await streams.offsets(stream)
  const names = [...new Set(offsets.map(({ name }) => name))]
  const last = new Map(await each(names, gone, async name => [name, await streams.nameLast(stream, name)] as const))
  return offsets.map(({ consumer, name, offset, movedAt }) => {
    const count = last.get(name) ?? 0
    const consumedPercentage = count === 0 ? 0 : Math.round((offset * 10_000) / count) / 100
    return { consumerId: consumer, offset, movedAt, eventName: name, consumedPercentage, behind: count - offset }
  })
}

/** An id says in which stream it is only to who has that. */
async function findAnywhere(ports: StatisticPorts, project: string, id: string) {
  const records = await ports.streams.made(project)
  let record: StreamRecord | undefined
  for (let at = 0; at < records.length && !record; at += TRIED_AT_ONCE) {
    // Others have their turn.
    if (at > 0) await new Promise(resolve => setImmediate(resolve))
    record = records.slice(at, at + TRIED_AT_ONCE).find(({ uid }) => ports.ids.parse(uid, id) !== undefined)
  }
  if (!record) throw new Failure('not_found', `event ${id} does not exist`, { field: 'eventId' })
  return find(ports, { project, record }, id)
}

/** One to five stars, by how many streams have fewer events. */
async function ranked(streams: DurableStreams, owned: readonly Owned[], gone: AbortSignal): Promise<object[]> {
  const order = owned.toSorted((a, b) => a.last - b.last).map((one, place) => ({ ...one, place }))
  const rows = await each(order, gone, async ({ stream, last, place }) => {
    const offsets = await streams.offsets(stream)
    return {
      streamName: stream.record.name,
      eventsCount: last,
      consumedEvents: offsets.reduce((sum, { offset }) => sum + offset, 0),
      ranking: '✭'.repeat(Math.ceil((5 * (place + 1)) / order.length)),
    }
  })
  return rows.toSorted((a, b) => (a.streamName < b.streamName ? 1 : -1))
}

/** Events of each day of this month, in UTC, and how many more or fewer than on the day before. */
async function monthOf(streams: DurableStreams, owned: readonly Owned[], nowMs: number, gone: AbortSignal): Promise<object[]> {
  const now = new Date(nowMs)
  const startOf = (day: number) => Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), day)
  const days = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 0)).getUTCDate()
  const counts = Array.from({ length: days }, () => 0)
  const starts = Array.from({ length: now.getUTCDate() }, (_, i) => startOf(i + 1))
  await each(owned, gone, async ({ stream, last }) => {
    const places = await placesOf(streams, stream, starts, last)
    places.forEach((place, i) => {
      counts[i] = (counts[i] ?? 0) + (places[i + 1] ?? last) - place
    })
  })
  return counts.map((eventcount, i) => ({
    date: new Date(startOf(i + 1)).toISOString().slice(0, 10),
    eventcount,
    progress: progressOf(eventcount - (counts[i - 1] ?? eventcount)),
  }))
}

/** One after the other; and nothing is looked for behind the end. */
async function placesOf(streams: DurableStreams, stream: Ref, starts: readonly number[], last: number): Promise<number[]> {
  const places: number[] = []
  for (const ms of starts) places.push((places.at(-1) ?? 0) >= last ? last : Math.min(last, await streams.placeAt(stream, ms)))
  return places
}

function progressOf(more: number): string {
  return more === 0 ? '' : `${more < 0 ? '-' : '+'}${String(Math.abs(more)).padStart(3)}`
}

/** Names of events and of streams that hold the term; `url` is where they are read. */
async function search(streams: DurableStreams, owned: readonly Owned[], term: string, gone: AbortSignal): Promise<object[]> {
  const urlOf = (stream: string) => `/api/v1/streams/${encodeURIComponent(stream)}/events`
  const events: object[] = []
  for (const { stream } of owned) {
    if (events.length >= MAX_FOUND) break
    checkThere(gone)
    const stands = (await streams.names(stream)).filter(({ name }) => name.toLowerCase().includes(term))
    for (const { name } of stands)
      events.push({
        label: `${stream.record.name}/${name}`,
        category: 'events',
        url: `${urlOf(stream.record.name)}?eventName=${encodeURIComponent(name)}`,
      })
  }
  const named = owned.filter(({ stream }) => stream.record.name.toLowerCase().includes(term))
  const found = [
    ...events,
    ...named.map(({ stream: { record } }) => ({ label: record.name, category: 'streams', url: urlOf(record.name) })),
  ]
  return found.slice(0, MAX_FOUND).map(one => ({ search_result: one }))
}

const MAX_FOUND = 1000
/** The core reads as many of them as are not too large together. */
const AT_ONCE = 100
const MAX_READ_BYTES = 64 * 1024 * 1024

/** Newest first, each with the consumers that have acknowledged it; as many as there is time to read. */
async function since({ streams, ids }: StatisticPorts, stream: Ref, sinceMs: number, gone: AbortSignal): Promise<object[]> {
  const offsets = await streams.offsets(stream)
  const found: object[] = []
  let bytes = 0
  for (let before = Number.MAX_SAFE_INTEGER; found.length < MAX_FOUND && bytes < MAX_READ_BYTES; ) {
    checkThere(gone)
    const messages = await streams.readBack(stream, before, AT_ONCE)
    const recent = messages.filter(({ publishMs }) => publishMs >= sinceMs)
    bytes += messages.reduce((sum, { payload }) => sum + payload.length, 0)
    for (const { seq, name, number = 0, publishMs } of recent) {
      const consumers = offsets.filter(one => one.name === name && one.offset >= number)
      found.push({
        eventId: ids.format(stream.record.uid, seq),
        eventName: name,
        createdAt: formatTime(publishMs * 1000),
        consumerids: consumers.map(({ consumer }) => consumer),
      })
    }
    if (recent.length === 0 || recent.length < messages.length) break
    before = messages.at(-1)?.seq ?? 0
  }
  return found.slice(0, MAX_FOUND)
}
