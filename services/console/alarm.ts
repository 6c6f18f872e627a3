// Alarms: listed, looked at, acknowledged.
import { Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { formatTime } from '../../packages/core/time.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { AlarmDocument, Alarms } from '../../packages/state/alarm.ts'

export type AlarmPorts = { readonly alarms: Alarms; nowUs(): number }

const AcknowledgeBody = Type.Object(
  { comment: Type.Optional(Type.String({ maxLength: 2000 })) },
  { additionalProperties: false, examples: [{ comment: 'door was open' }] },
)
const State = Type.Union([Type.Literal('pending'), Type.Literal('active'), Type.Literal('cleared')])
const AlarmAnswer = Type.Unsafe<AlarmDocument>(
  Type.Object({ alarmId: Type.String(), rule: Type.String(), device: Type.String(), state: State, severity: Type.String() }),
)
const project = ProjectId
const tags = ['alarms']
const One = Type.Object({ project, alarm: Type.String({ examples: ['aldv3cia0cfa8tqnocc0'] }) })
const MAX_PAGE = 1000

export function addAlarmRoutes(app: HttpApp, { alarms, nowUs }: AlarmPorts): void {
  app.get(
    '/v2/projects/:project/alarms',
    {
      schema: {
        operationId: 'listAlarms',
        summary: 'Lists alarms',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object({ state: Type.Optional(Type.Array(State)), ...PageQuery }),
        response: { 200: listOf('alarms', AlarmAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const { state, pageSize = 100, pageToken } = request.query
      const after = decodeToken(pageToken) ?? ''
      if (!/^\d{0,12}$/.test(after)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
      const page = await alarms.list(project, state && new Set(state), after, Math.min(pageSize, MAX_PAGE))
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
  app.post(
    verb('/v2/projects/:project/alarms/:alarm', 'acknowledge'),
    {
      schema: {
        operationId: 'acknowledgeAlarm',
        summary: 'Says that somebody has seen the alarm',
        tags,
        params: One,
        body: AcknowledgeBody,
        response: { 200: AlarmAnswer },
      },
    },
    async request => {
      const { project, alarm } = request.params
      const caller = callerIn(request, project, 'developer')
      return alarms.acknowledge(project, alarm, caller.account, request.body.comment ?? '', formatTime(nowUs()))
    },
  )
}
