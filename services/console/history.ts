// History: what the store kept of a device, as events or as readings, raw or by window.
import { checkEventType } from '../../packages/core/event.ts'
import { invalid } from '../../packages/core/failure.ts'
import { formatTime, parseDuration, parseTime } from '../../packages/core/time.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { encodeToken, pageSize, pageToken, type Query, several, single } from '../../packages/runtime/page.ts'
import type { EventPlace, ReadingQuery, ReadingStore } from '../../packages/store/store.ts'

export type HistoryPorts = { readonly store: ReadingStore; nowUs(): number }

type Route = { Params: { project: string; device: string }; Querystring: Query }

const DAY_US = 86_400_000_000
const MAX_PAGE = 1000
const MAX_READINGS = 10_000

export function addHistoryRoutes(app: HttpApp, { store, nowUs }: HistoryPorts): void {
  app.get<Route>('/v2/projects/:project/devices/:device/events', async request => {
    const { project, device } = request.params
    callerIn(request, project)
    const limit = pageSize(request.query, 100, MAX_PAGE)
    const eventTypes = several(request.query, 'eventTypes')?.map(type => checkEventType(type, 'eventTypes'))
    const range = rangeOf(request.query, nowUs())
    const after = placeOf(pageToken(request.query))
    const found = await store.events({ project, device, eventTypes, ...range, limit, after })
    const last = found.length === limit ? found.at(-1) : undefined
    return {
      events: found.map(({ frame }) => JSON.parse(frame) as unknown),
      nextPageToken: last ? encodeToken(`${last.timeUs} ${last.eventType} ${last.eventId}`) : '',
    }
  })
  app.get<Route>('/v2/projects/:project/devices/:device/readings', async request => {
    const { project, device } = request.params
    callerIn(request, project)
    const query = readingQuery(project, device, request.query, nowUs())
    const windowMs = windowOf(single(request.query, 'window'))
    return windowMs === undefined ? rawReadings(store, query) : windowReadings(store, query, windowMs)
  })
}

function readingQuery(project: string, device: string, query: Query, now: number): ReadingQuery {
  const eventType = single(query, 'eventType')
  if (eventType === undefined) throw invalid('eventType', 'expected the event type of the readings, such as temperature')
  checkEventType(eventType)
  const range = rangeOf(query, now)
  const from = pageToken(query)
  const fromUs = from === undefined ? range.fromUs : Number(from)
  if (!Number.isSafeInteger(fromUs)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
  return {
    project,
    device,
    eventType,
    field: single(query, 'field') ?? 'value',
    ...range,
    fromUs,
    limit: pageSize(query, 1000, MAX_READINGS),
  }
}

/** One more than a page is read: its time is where the next page starts, after all readings of the time before. */
async function rawReadings(store: ReadingStore, query: ReadingQuery) {
  const found = await store.readings({ ...query, limit: query.limit + 1 })
  const cut = pageEnd(
    found.map(({ timeUs }) => timeUs),
    query.limit,
  )
  const page = found.slice(0, cut.count)
  return {
    readings: page.map(({ timeUs, value, eventId }) => ({ timestamp: formatTime(timeUs), value, eventId })),
    nextPageToken: cut.token,
  }
}

/** Pages end between two times, so that a page may start at a time: readings of one time stay together. */
function pageEnd(times: readonly number[], limit: number): { count: number; token: string } {
  if (times.length <= limit) return { count: times.length, token: '' }
  const next = times[limit] as number
  const first = times.indexOf(next)
  const count = first === 0 ? limit : first
  return { count, token: encodeToken(String(first === 0 ? next + 1 : next)) }
}

async function windowReadings(store: ReadingStore, query: ReadingQuery, windowMs: number) {
  const found = await store.windows({ ...query, limit: query.limit + 1, windowMs })
  const page = found.slice(0, query.limit)
  const next = found[query.limit]
  return {
    readings: page.map(({ startUs, count, mean, min, max }) => ({ startTime: formatTime(startUs), count, mean, min, max })),
    nextPageToken: next ? encodeToken(String(next.startUs)) : '',
  }
}

function windowOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = parseDuration(text)
  if (ms === undefined || ms < 1000 || !Number.isInteger(ms))
    throw invalid('window', `expected a duration of at least 1s such as 5m, got ${text}`)
  return ms
}

/** The last 24 hours unless said otherwise (contracts.md 1.a.7). */
function rangeOf(query: Query, now: number): { fromUs: number; toUs: number } {
  const toUs = timeOf(query, 'endTime') ?? now + 1
  const fromUs = timeOf(query, 'startTime') ?? toUs - DAY_US
  if (fromUs > toUs) throw invalid('startTime', 'expected a time before endTime')
  return { fromUs, toUs }
}

function timeOf(query: Query, name: string): number | undefined {
  const text = single(query, name)
  if (text === undefined) return undefined
  const timeUs = parseTime(text)
  if (timeUs === undefined) throw invalid(name, `expected an RFC 3339 time such as 2026-01-31T12:00:00Z, got ${text.slice(0, 100)}`)
  return timeUs
}

function placeOf(token: string | undefined): EventPlace | undefined {
  if (token === undefined) return undefined
  const [time, eventType, eventId] = token.split(' ')
  const timeUs = Number(time)
  if (time === '' || eventType === undefined || eventId === undefined || !Number.isSafeInteger(timeUs))
    throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
  return { timeUs, eventType, eventId }
}
