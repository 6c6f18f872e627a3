// Alarms: listed, looked at with what happened to them, and what people do about them: acknowledge, assign, comment, snooze.
import { type Static, type TObject, Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { checkTime, formatTime, parseDuration } from '../../packages/core/time.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Act, AlarmDocument, Alarms } from '../../packages/state/alarm.ts'
import { AlarmAnswer, AlarmId, FilterQuery, RecordAnswer, State, wantedBy } from './alarmschema.ts'

export type AlarmPorts = {
  readonly alarms: Alarms
  nowUs(): number
}

const Comment = Type.String({ maxLength: 2000 })
const AcknowledgeBody = Type.Object(
  { comment: Type.Optional(Comment) },
  { additionalProperties: false, examples: [{ comment: 'door was open' }] },
)
const NothingBody = Type.Object({}, { additionalProperties: false, examples: [{}] })
const AssignBody = Type.Object(
  {
    to: Type.Union([Type.String({ minLength: 1, maxLength: 254 }), Type.Null()], { description: 'as you call people; null: nobody' }),
    comment: Type.Optional(Comment),
  },
  { additionalProperties: false, examples: [{ to: 'kari@example.com', comment: 'yours tonight' }] },
)
const CommentBody = Type.Object(
  { comment: Type.String({ minLength: 1, maxLength: 2000 }) },
  { additionalProperties: false, examples: [{ comment: 'compressor is loud' }] },
)
const SnoozeBody = Type.Object(
  {
    for: Type.Optional(Type.String({ description: 'a duration such as 2h; 0s ends it' })),
    until: Type.Optional(Type.Union([Type.String({ description: 'RFC 3339' }), Type.Null()], { description: 'null ends it' })),
    comment: Type.Optional(Comment),
  },
  { additionalProperties: false, description: 'one of `for` and `until`', examples: [{ for: '2h', comment: 'the fitter is coming' }] },
)
const project = ProjectId
const tags = ['alarms']
const One = Type.Object({ project, alarm: AlarmId })
const MAX_PAGE = 1000
const MAX_SNOOZE_MS = 30 * 86_400_000

export function addAlarmRoutes(app: HttpApp, ports: AlarmPorts): void {
  addLooking(app, ports)
  addActing(app, ports)
}

function addLooking(app: HttpApp, { alarms }: AlarmPorts): void {
  app.get(
    '/v2/projects/:project/alarms',
    {
      schema: {
        operationId: 'listAlarms',
        summary: 'Lists alarms, most recently changed first',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object({ state: Type.Optional(Type.Array(State)), ...FilterQuery, ...PageQuery }),
        response: { 200: listOf('alarms', AlarmAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const { pageSize = 100, pageToken, startTime, ...filter } = request.query
      const sinceUs = startTime === undefined ? undefined : checkTime(startTime, 'startTime')
      const after = placeOf(pageToken)
      const page = await alarms.list(project, { wanted: wantedBy(filter), sinceUs }, after, Math.min(pageSize, MAX_PAGE))
      return { alarms: [...page.alarms], nextPageToken: page.next === '' ? '' : encodeToken(page.next) }
    },
  )
  app.get(
    '/v2/projects/:project/alarms/:alarm',
    { schema: { operationId: 'getAlarm', summary: 'Gets an alarm', tags, params: One, response: { 200: AlarmAnswer } } },
    async request => {
      const { project, alarm } = request.params
      callerIn(request, project)
      return alarms.one(project, alarm)
    },
  )
  app.get(
    '/v2/projects/:project/alarms/:alarm/history',
    {
      schema: {
        operationId: 'listAlarmHistory',
        summary: 'Lists what has happened to an alarm and what people did about it, newest first; at most the newest 1,000',
        tags,
        params: One,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('records', RecordAnswer) },
      },
    },
    async request => {
      const { project, alarm } = request.params
      callerIn(request, project)
      const { pageSize = 100, pageToken } = request.query
      return pageBack('records', await alarms.history(project, alarm), pageSize, pageToken)
    },
  )
}

/** Newest first, of records oldest first, before the number in the token. */
export function pageBack<Name extends string, T extends { readonly seq: number }>(
  name: Name,
  all: readonly T[],
  pageSize: number,
  pageToken: string | undefined,
) {
  const place = placeOf(pageToken)
  const before = place === '' ? Number.POSITIVE_INFINITY : Number(place)
  const left = all.filter(({ seq }) => seq < before).toReversed()
  const page = left.slice(0, Math.min(pageSize, MAX_PAGE))
  const last = left.length > page.length ? page.at(-1) : undefined
  return { [name]: page, nextPageToken: last ? encodeToken(String(last.seq)) : '' } as { [key in Name]: T[] } & { nextPageToken: string }
}

export function placeOf(pageToken: string | undefined): string {
  const place = decodeToken(pageToken) ?? ''
  if (!/^\d{0,15}$/.test(place)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
  return place
}

function addActing(app: HttpApp, { alarms, nowUs }: AlarmPorts): void {
  act('acknowledge', 'Says that somebody has seen this episode of the alarm', AcknowledgeBody, (project, id, said) =>
    alarms.acknowledge(project, id, said.by, said.comment, said.time),
  )
  act('unacknowledge', 'Takes an acknowledgement back', NothingBody, (project, id, said) => alarms.unacknowledge(project, id, said))
  act('assign', 'Says who takes care of this episode', AssignBody, (project, id, said, { to }) =>
    alarms.assign(project, id, said, to ?? ''),
  )
  act('comment', 'Adds a comment to the history of the alarm', CommentBody, (project, id, said) => alarms.comment(project, id, said))
  act('snooze', 'Lets nobody be told of this episode until a time; the alarm goes on as ever', SnoozeBody, (project, id, said, body) =>
    alarms.snooze(project, id, said, endOf(body, nowUs())),
  )

  function act<Body extends TObject>(
    name: 'acknowledge' | 'unacknowledge' | 'assign' | 'comment' | 'snooze',
    summary: string,
    body: Body,
    work: (project: string, id: string, said: Act, body: Static<Body>) => Promise<AlarmDocument>,
  ): void {
    app.post(
      verb('/v2/projects/:project/alarms/:alarm', name),
      { schema: { operationId: `${name}Alarm`, summary, tags, params: One, body, response: { 200: AlarmAnswer } } },
      async request => {
        const { project, alarm } = request.params as Static<typeof One>
        const { account } = callerIn(request, project, 'developer')
        const given = request.body as Static<Body> & { readonly comment?: string }
        return work(project, alarm, { by: account, time: formatTime(nowUs()), comment: given.comment ?? '' }, given)
      },
    )
  }
}

/** null: ends it. */
function endOf({ for: span, until }: Static<typeof SnoozeBody>, nowUs: number): string | null {
  if ((span === undefined) === (until === undefined)) throw invalid('body', 'expected one of "for" and "until"')
  if (until === null) return null
  if (span !== undefined) {
    const ms = parseDuration(span)
    if (ms === undefined || ms > MAX_SNOOZE_MS) throw invalid('for', 'expected a duration such as 30m or 2h, at most 30d; 0s ends it')
    return ms === 0 ? null : formatTime(nowUs + ms * 1000)
  }
  const untilUs = checkTime(until, 'until')
  if (untilUs <= nowUs || untilUs > nowUs + MAX_SNOOZE_MS * 1000)
    throw invalid('until', 'expected a time to come, within 30 days; null ends it')
  return formatTime(untilUs)
}
