// History: what the store kept of a device, as events or as readings, raw or by window (contracts.md 1.a.7).
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { checkEventType } from '../../packages/core/event.ts'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { checkTime, formatTime, parseDuration } from '../../packages/core/time.ts'
import { callerIn, type HttpApp, projectsOf } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { DeviceId, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Devices } from '../../packages/state/device.ts'
import type { EventPlace, EventRecord, RawReading, ReadingQuery, ReadingStore } from '../../packages/store/store.ts'

export type HistoryPorts = { readonly store: ReadingStore; readonly devices: Pick<Devices, 'get' | 'one'>; nowUs(): number }

const DAY_US = 86_400_000_000
const MAX_PAGE = 1000
const MAX_READINGS = 10_000

const One = Type.Object({ project: ProjectId, device: DeviceId })
const time = (description: string, example: string) =>
  Type.Optional(Type.String({ maxLength: 64, description: `RFC 3339, any offset; ${description}`, examples: [example] }))
const Range = {
  startTime: time('24 h before the end unless given', '2026-03-02T07:00:00+01:00'),
  endTime: time('not included; now unless given', '2026-03-02T07:00:00Z'),
}
const eventType = Type.String({ minLength: 1, maxLength: 64, examples: ['temperature'] })

const EventsQuery = Type.Object({
  eventTypes: Type.Optional(
    Type.Array(eventType, { maxItems: 100, description: 'only events of these types', examples: [['temperature']] }),
  ),
  ...Range,
  ...PageQuery,
})
const ReadingsQuery = Type.Object({
  eventType,
  field: Type.Optional(
    Type.String({ maxLength: 512, description: 'dotted path below the event type; `value` unless given', examples: ['value'] }),
  ),
  window: Type.Optional(
    Type.String({ maxLength: 32, description: 'aggregates by window instead of raw readings, from 1s on', examples: ['5m'] }),
  ),
  ...Range,
  ...PageQuery,
})

const TEMPERATURE = {
  eventId: 'c12bq5s0r5jg00a4f8pg',
  targetName: 'projects/default/devices/freezer-1',
  eventType: 'temperature',
  data: {
    temperature: {
      value: -18.4,
      updateTime: '2026-03-02T06:41:09.104000Z',
      samples: [{ value: -18.4, sampleTime: '2026-03-02T06:41:09.104000Z' }],
      isBackfilled: false,
    },
  },
  timestamp: '2026-03-02T06:41:09.104000Z',
}
const EventAnswer = Type.Object(
  {
    eventId: Type.String(),
    targetName: Type.String(),
    eventType: Type.String(),
    data: Type.Record(Type.String(), Type.Unknown(), { description: 'by event type' }),
    timestamp: Type.String(),
  },
  { examples: [TEMPERATURE] },
)
const ReadingAnswer = Type.Object(
  {
    timestamp: Type.Optional(Type.String()),
    eventId: Type.Optional(Type.String()),
    value: Type.Optional(Type.Number()),
    startTime: Type.Optional(Type.String({ description: 'of a window; windows are aligned to 1970' })),
    count: Type.Optional(Type.Integer()),
    mean: Type.Optional(Type.Number()),
    min: Type.Optional(Type.Number()),
    max: Type.Optional(Type.Number()),
  },
  {
    description: 'timestamp, eventId and value; with `window`: startTime, count, mean, min and max',
    examples: [
      { startTime: '2026-03-02T06:40:00.000000Z', count: 2, mean: -18.3, min: -18.4, max: -18.2 },
      { timestamp: '2026-03-02T06:41:09.104000Z', eventId: 'c12bq5s0r5jg00a4f8pg', value: -18.4 },
    ],
  },
)

export function addHistoryRoutes(app: HttpApp, ports: HistoryPorts): void {
  app.get(
    '/v2/projects/:project/devices/:device/events',
    {
      schema: {
        operationId: 'listEvents',
        summary: 'Lists stored events of a device, the newest first; project `-` looks for the device in all',
        tags: ['events'],
        params: One,
        querystring: EventsQuery,
        response: { 200: listOf('events', EventAnswer) },
      },
    },
    async request => {
      const { device } = request.params
      const name = await projectOf(ports.devices, request, request.params)
      const page = await events(ports, name, device, request.query)
      if (page.events.length === 0) await ports.devices.one(name, device)
      return page
    },
  )
  app.get(
    '/v2/projects/:project/devices/:device/readings',
    {
      schema: {
        operationId: 'listReadings',
        summary: 'Lists stored readings of a device, the oldest first, raw or by window',
        tags: ['events'],
        params: One,
        querystring: ReadingsQuery,
        response: { 200: listOf('readings', ReadingAnswer) },
      },
    },
    async request => {
      const { device } = request.params
      const name = await projectOf(ports.devices, request, request.params)
      const page = await readings(ports, name, device, request.query)
      if (page.readings.length === 0) await ports.devices.one(name, device)
      return page
    },
  )
}

/** With `-`, the one of the caller's in which the device is. One that was removed, or moved away, has its past where it was. */
async function projectOf(devices: Pick<Devices, 'get'>, request: FastifyRequest, { project, device }: Static<typeof One>): Promise<string> {
  if (project !== '-') {
    callerIn(request, project)
    return project
  }
  for (const name of projectsOf(request)) if ((await devices.get(name, [device]))[0]) return name
  throw new Failure('not_found', `device ${device} does not exist in any of your projects`, { field: 'device' })
}

async function events({ store, nowUs }: HistoryPorts, project: string, device: string, query: Static<typeof EventsQuery>) {
  for (const type of query.eventTypes ?? []) checkEventType(type, 'eventTypes')
  const limit = Math.min(query.pageSize ?? 100, MAX_PAGE)
  const page = placeIn(query.pageToken)
  const range = rangeOf(query, nowUs(), page)
  // One more than a page tells whether there is a next one.
  const found = await store.events({ project, device, eventTypes: query.eventTypes, ...range, limit: limit + 1, after: page?.after })
  return {
    events: found.slice(0, limit).map(({ frame }) => JSON.parse(frame) as Static<typeof EventAnswer>),
    nextPageToken: found.length > limit ? tokenOf(range, found[limit - 1]) : '',
  }
}

async function readings({ store, nowUs }: HistoryPorts, project: string, device: string, query: Static<typeof ReadingsQuery>) {
  checkEventType(query.eventType)
  const limit = Math.min(query.pageSize ?? 1000, MAX_READINGS)
  const page = placeIn(query.pageToken)
  const range = rangeOf(query, nowUs(), page)
  const { eventType: type, field = 'value' } = query
  const asked: ReadingQuery = { project, device, eventType: type, field, ...range, limit: limit + 1, after: page?.after }
  const windowMs = windowOf(query.window)
  if (windowMs !== undefined) return windows(store, asked, windowMs, limit)
  const found = await store.readings(asked)
  return {
    readings: found.slice(0, limit).map(({ timeUs, value, eventId }) => ({ timestamp: formatTime(timeUs), value, eventId })),
    nextPageToken: found.length > limit ? tokenOf(range, found[limit - 1]) : '',
  }
}

/** A page starts at a window, so that its place needs no id. */
async function windows(store: ReadingStore, { after, ...asked }: ReadingQuery, windowMs: number, limit: number) {
  const found = await store.windows({ ...asked, fromUs: Math.max(asked.fromUs, after?.timeUs ?? asked.fromUs), windowMs })
  const next = found[limit]
  return {
    readings: found
      .slice(0, limit)
      .map(({ startUs, count, mean, min, max }) => ({ startTime: formatTime(startUs), count, mean, min, max })),
    nextPageToken: next ? tokenOf(asked, { timeUs: next.startUs, eventId: '' }) : '',
  }
}

function windowOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = parseDuration(text)
  if (ms === undefined || ms < 1000 || !Number.isInteger(ms))
    throw invalid('window', `expected a duration of at least 1s such as 5m, got ${text}`)
  return ms
}

type Range = { readonly fromUs: number; readonly toUs: number }
type Page = { readonly range: Range; readonly after: EventPlace }

/** The last 24 hours unless said otherwise (contracts.md 1.a.7); what a default was is kept from page to page. */
function rangeOf({ startTime, endTime }: { startTime?: string; endTime?: string }, now: number, page: Page | undefined): Range {
  const toUs = timeOf('endTime', endTime) ?? page?.range.toUs ?? now + 1
  const fromUs = timeOf('startTime', startTime) ?? page?.range.fromUs ?? toUs - DAY_US
  if (fromUs > toUs) throw invalid('startTime', 'expected a time before endTime')
  return { fromUs, toUs }
}

function timeOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  // A plus that nobody escaped is a space in a query.
  return checkTime(text.replace(/ (?=\d\d:\d\d$)/, '+'), name)
}

function tokenOf({ fromUs, toUs }: Range, last: EventRecord | RawReading | EventPlace | undefined): string {
  if (!last) return ''
  const eventTypeOf = 'eventType' in last ? (last.eventType ?? '') : ''
  return encodeToken([fromUs, toUs, last.timeUs, eventTypeOf, last.eventId].join(' '))
}

function placeIn(token: string | undefined): Page | undefined {
  const text = decodeToken(token)
  if (text === undefined) return undefined
  const [, from, to, at, type = '', eventId = ''] =
    /^(-?\d{1,16}) (-?\d{1,16}) (-?\d{1,16}) ([\w.-]{0,64}) ([\x21-\x7e]{0,64})$/.exec(text) ?? []
  const [fromUs, toUs, timeUs] = [Number(from), Number(to), Number(at)]
  if (![fromUs, toUs, timeUs].every(Number.isSafeInteger)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
  return { range: { fromUs, toUs }, after: { timeUs, eventId, eventType: type } }
}
