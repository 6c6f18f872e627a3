// Alarms: listed, looked at, acknowledged.
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { invalid } from '../../packages/core/failure.ts'
import { formatTime } from '../../packages/core/time.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { encodeToken, pageSize, pageToken, type Query, several } from '../../packages/runtime/page.ts'
import type { Alarms } from '../../packages/state/alarm.ts'

export type AlarmPorts = { readonly alarms: Alarms; nowUs(): number }

type One = { Params: { project: string; alarm: string } }
type All = { Params: { project: string }; Querystring: Query }

const AcknowledgeBody = Type.Union([
  Type.Null(),
  Type.Object({ comment: Type.Optional(Type.String({ maxLength: 2000 })) }, { additionalProperties: false }),
])
const STATES: ReadonlySet<string> = new Set(['pending', 'active', 'cleared'])

export function addAlarmRoutes(app: HttpApp, { alarms, nowUs }: AlarmPorts): void {
  app.get<All>('/v2/projects/:project/alarms', async request => {
    const { project } = request.params
    callerIn(request, project)
    const states = statesOf(several(request.query, 'state'))
    const after = pageToken(request.query) ?? ''
    if (!/^\d{0,12}$/.test(after)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
    const page = await alarms.list(project, states, after, pageSize(request.query, 100, 1000))
    return { alarms: page.alarms, nextPageToken: page.next === '' ? '' : encodeToken(page.next) }
  })
  app.get<One>('/v2/projects/:project/alarms/:alarm', async request => {
    const { project, alarm } = request.params
    callerIn(request, project)
    return alarms.one(project, alarm)
  })
  app.post<One>(verb('/v2/projects/:project/alarms/:alarm', 'acknowledge'), async request => {
    const { project, alarm } = request.params
    const caller = callerIn(request, project, 'developer')
    if (!Value.Check(AcknowledgeBody, request.body ?? null))
      throw invalid('comment', 'expected {"comment": a text of at most 2000 characters}')
    const comment = (request.body as { comment?: string } | undefined)?.comment ?? ''
    return alarms.acknowledge(project, alarm, caller.account, comment, formatTime(nowUs()))
  })
}

function statesOf(names: readonly string[] | undefined): ReadonlySet<string> | undefined {
  for (const name of names ?? [])
    if (!STATES.has(name)) throw invalid('state', `expected pending, active or cleared, got ${name.slice(0, 50)}`)
  return names && new Set(names)
}
