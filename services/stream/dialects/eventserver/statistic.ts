// What the Go server shows besides: consumers and how far behind they are, counts for charts, search (contracts.md 4.a.4). Names of fields
// are as its database gave them.
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { formatTime } from '../../../../packages/core/time.ts'
import type { DurableStreams, Ref, StreamStats } from '../../../../packages/log/durable/stream.ts'
import type { HttpApp } from '../../../../packages/runtime/http.ts'
import { homeOf } from '../home.ts'
import { noteChange } from '../stream.ts'
import { type Authenticate, checkUuid, type EventPorts, find, known, queried } from './event.ts'
import { type EventserverPorts, sendJson, sendText } from './eventserver.ts'

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
    if (!(await streams.names(stream)).some(({ name }) => name === params.event))
      throw new Failure('not_found', `no event ${params.event} in ${params.stream}`, { field: 'eventName' })
    noteChange(request, project, params.stream)
    await streams.setOffset(stream, consumer, params.event, offset)
    return sendText(reply, `successfully updated offset to ${offset} for consumer ${consumer}`)
  })
  app.get<StreamRoute>('/consumers/:stream', options, async request =>
    consumersOf(streams, await known(streams, homeOf(request, 'user'), request.params.stream)),
  )
  app.get<EventRoute>('/events/:event/payload', options, async (request, reply) => {
    const project = homeOf(request, 'user')
    const id = checkUuid(request.params.event, 'eventId')
    const { payload } = await findAnywhere(ports, project, id)
    return sendJson(reply, payload.toString('utf8'))
  })
  app.get('/stats/events-per-stream', options, async request => {
    const owned = await ownedIn(streams, homeOf(request, 'user'))
    const counts = owned.map(({ stream, stats }) => ({ label: stream.record.name, value: stats.lastSeq }))
    return counts.toSorted((a, b) => b.value - a.value).slice(0, TOP)
  })
  app.get('/stats/stream-data', options, async request => ranked(streams, await ownedIn(streams, homeOf(request, 'user'))))
  app.get('/stats/events-current-month', options, async request => {
    const owned = await ownedIn(streams, homeOf(request, 'user'))
    return monthOf(streams, owned, nowUs() / 1000)
  })
  app.post('/search', options, async request => {
    const project = homeOf(request, 'user')
    return search(streams, await ownedIn(streams, project), queried(request, '_q').toLowerCase())
  })
  app.post<StreamRoute>('/event-period-search/:stream', options, async request => {
    const project = homeOf(request, 'user')
    const { period } = request.query as { readonly period?: unknown }
    const periodMs = typeof period === 'string' && Object.hasOwn(PERIODS, period) ? PERIODS[period] : undefined
    if (periodMs === undefined) throw invalid('period', `expected ${Object.keys(PERIODS).join(', ')}`)
    return since(ports, await known(streams, project, request.params.stream), nowUs() / 1000 - periodMs)
  })
}

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

export type Owned = { readonly stream: Ref; readonly stats: StreamStats & { readonly owner: string } }

/** Streams of this dialect are those that belong to a producer. */
export async function ownedIn(streams: DurableStreams, project: string): Promise<Owned[]> {
  const records = await streams.list(project)
  const all = await Promise.all(
    records.map(async record => {
      const stream = { project, record }
      const stats = await streams.stats(stream)
      return stats.owner === undefined ? [] : [{ stream, stats: { ...stats, owner: stats.owner } }]
    }),
  )
  return all.flat()
}

async function consumersOf(streams: DurableStreams, stream: Ref): Promise<object[]> {
  const [offsets, names] = await Promise.all([streams.offsets(stream), streams.names(stream)])
  const last = new Map(names.map(one => [one.name, one.last]))
  return offsets.map(({ consumer, name, offset, movedAt }) => {
    const count = last.get(name) ?? 0
    const consumedPercentage = count === 0 ? 0 : Math.round((offset * 10_000) / count) / 100
    return { consumerId: consumer, offset, movedAt, eventName: name, consumedPercentage, behind: count - offset }
  })
}

/** An id says in which stream it is only to who has that. */
async function findAnywhere(ports: StatisticPorts, project: string, id: string) {
  const records = await ports.streams.list(project)
  const record = records.find(({ uid }) => ports.ids.parse(uid, id) !== undefined)
  if (!record) throw new Failure('not_found', `event ${id} does not exist`, { field: 'eventId' })
  return find(ports, { project, record }, id)
}

/** One to five stars, by how many streams have fewer events. */
async function ranked(streams: DurableStreams, owned: readonly Owned[]): Promise<object[]> {
  const order = owned.toSorted((a, b) => a.stats.lastSeq - b.stats.lastSeq)
  const rows = await Promise.all(
    order.map(async ({ stream, stats }, place) => {
      const offsets = await streams.offsets(stream)
      return {
        streamName: stream.record.name,
        eventsCount: stats.lastSeq,
        consumedEvents: offsets.reduce((sum, { offset }) => sum + offset, 0),
        ranking: '✭'.repeat(Math.ceil((5 * (place + 1)) / order.length)),
      }
    }),
  )
  return rows.toSorted((a, b) => (a.streamName < b.streamName ? 1 : -1))
}

/** Events of each day of this month, in UTC, and how many more or fewer than on the day before. */
async function monthOf(streams: DurableStreams, owned: readonly Owned[], nowMs: number): Promise<object[]> {
  const now = new Date(nowMs)
  const startOf = (day: number) => Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), day)
  const days = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 0)).getUTCDate()
  const counts = Array.from({ length: days }, () => 0)
  for (const { stream, stats } of owned) {
    const starts = Array.from({ length: now.getUTCDate() }, (_, i) => startOf(i + 1))
    const places = await Promise.all(starts.map(ms => streams.placeAt(stream, ms)))
    places.forEach((place, i) => {
      counts[i] = (counts[i] ?? 0) + (places[i + 1] ?? stats.lastSeq) - place
    })
  }
  return counts.map((eventcount, i) => ({
    date: new Date(startOf(i + 1)).toISOString().slice(0, 10),
    eventcount,
    progress: progressOf(eventcount - (counts[i - 1] ?? eventcount)),
  }))
}

function progressOf(more: number): string {
  return more === 0 ? '' : `${more < 0 ? '-' : '+'}${String(Math.abs(more)).padStart(3)}`
}

/** Names of events and of streams that hold the term; `url` is where they are read. */
async function search(streams: DurableStreams, owned: readonly Owned[], term: string): Promise<object[]> {
  const urlOf = (stream: string) => `/api/v1/streams/${encodeURIComponent(stream)}/events`
  const events = await Promise.all(
    owned.map(async ({ stream }) => {
      const stands = (await streams.names(stream)).filter(({ name }) => name.toLowerCase().includes(term))
      return stands.map(({ name }) => ({
        label: `${stream.record.name}/${name}`,
        category: 'events',
        url: `${urlOf(stream.record.name)}?eventName=${encodeURIComponent(name)}`,
      }))
    }),
  )
  const named = owned.filter(({ stream }) => stream.record.name.toLowerCase().includes(term))
  const found = [
    ...events.flat(),
    ...named.map(({ stream: { record } }) => ({ label: record.name, category: 'streams', url: urlOf(record.name) })),
  ]
  return found.slice(0, MAX_FOUND).map(one => ({ search_result: one }))
}

const MAX_FOUND = 1000
const AT_ONCE = 100

/** Newest first, each with the consumers that have acknowledged it. */
async function since({ streams, ids }: StatisticPorts, stream: Ref, sinceMs: number): Promise<object[]> {
  const offsets = await streams.offsets(stream)
  const found: object[] = []
  for (let before = Number.MAX_SAFE_INTEGER; found.length < MAX_FOUND; ) {
    const messages = await streams.readBack(stream, before, AT_ONCE)
    const recent = messages.filter(({ publishMs }) => publishMs >= sinceMs)
    for (const { seq, name, number = 0, publishMs } of recent) {
      const consumers = offsets.filter(one => one.name === name && one.offset >= number)
      found.push({
        eventId: ids.format(stream.record.uid, seq),
        eventName: name,
        createdAt: formatTime(publishMs * 1000),
        consumerids: consumers.map(({ consumer }) => consumer),
      })
    }
    if (recent.length < AT_ONCE) break
    before = messages.at(-1)?.seq ?? 0
  }
  return found.slice(0, MAX_FOUND)
}
