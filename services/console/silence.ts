// Silences: made, looked at, changed and ended by people; of the alarms that they match nobody is told.
import { Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { isSilencedBy, parseSilence, type Silence, silenceStateAt, silenceToJson } from '../../packages/core/silence.ts'
import { formatTime } from '../../packages/core/time.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { encodeToken } from '../../packages/runtime/page.ts'
import { described, Empty, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { AlarmDocument, Alarms } from '../../packages/state/alarm.ts'
import { newSilenceId, type Silences } from '../../packages/state/silence.ts'
import { placeOf } from './alarm.ts'
import { AlarmAnswer } from './alarmschema.ts'

export type SilencePorts = {
  readonly silences: Silences
  readonly alarms: Pick<Alarms, 'list'>
  nowUs(): number
}

const Matcher = Type.Object({
  field: Type.String({ description: '`rule`, `device`, `severity` or `labels.KEY`' }),
  equals: Type.Optional(Type.String()),
  in: Type.Optional(Type.Array(Type.String())),
})
const Matchers = Type.Array(Matcher, { description: 'all must hold; each has one of `equals` and `in`' })
const matchers = [
  { field: 'rule', equals: 'freezer-too-warm' },
  { field: 'labels.kind', in: ['freezer', 'fridge'] },
]
const SilenceFields = {
  matchers: Matchers,
  reason: Type.String(),
  startTime: Type.String({ description: 'now unless said' }),
  endTime: Type.String({ description: 'at most a year after the start' }),
}
const State = Type.Union([Type.Literal('pending'), Type.Literal('active'), Type.Literal('expired')])
const answered = {
  name: Type.String(),
  id: Type.String(),
  author: Type.String({ description: 'who wrote it as it is' }),
  ...SilenceFields,
  state: State,
}
type SilenceDocument = ReturnType<typeof toJson>
const SilenceAnswer = Type.Unsafe<SilenceDocument>(Type.Object(answered))
const Matching = Type.Integer({ description: 'alarms that are not cleared and that it matches, if there are not too many to look at' })
const PreviewAnswer = Type.Object({ matching: Matching, alarms: Type.Array(AlarmAnswer, { description: 'the first 100 of them' }) })
const { endTime, ...optional } = SilenceFields
const SilenceBody = described(
  Type.Object(
    { ...Type.Partial(Type.Object(optional)).properties, endTime },
    {
      examples: [{ matchers, reason: 'defrosting', startTime: '2199-12-31T22:00:00Z', endTime: '2200-01-01T06:00:00Z' }],
    },
  ),
)
const PreviewBody = described(Type.Object({ matchers: Matchers }, { examples: [{ matchers }] }))
const project = ProjectId
const tags = ['silences']
const One = Type.Object({ project, silence: Type.String({ examples: ['cr3mq0gd2kq0f5m3n7c0'] }) })
const MAX_PAGE = 1000
const PREVIEWED = 100
/** Each look is at some thousands of alarms. */
const LOOKS = 5

export function addSilenceRoutes(app: HttpApp, ports: SilencePorts): void {
  addLooking(app, ports)
  addChanging(app, ports)
}

function addLooking(app: HttpApp, { silences, alarms, nowUs }: SilencePorts): void {
  app.get(
    '/v2/projects/:project/silences',
    {
      schema: {
        operationId: 'listSilences',
        summary: 'Lists silences, the one that begins last first; those that are over are kept for 30 days',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object({ state: Type.Optional(Type.Array(State)), ...PageQuery }),
        response: { 200: listOf('silences', SilenceAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const { state, pageSize = 100, pageToken } = request.query
      const from = Number(placeOf(pageToken))
      const all = (await silences.list(project)).filter(one => state === undefined || state.includes(silenceStateAt(one, nowUs())))
      const to = from + Math.min(pageSize, MAX_PAGE)
      const page = all.slice(from, to).map(one => toJson(project, one, nowUs()))
      return { silences: page, nextPageToken: to < all.length ? encodeToken(String(to)) : '' }
    },
  )
  app.get(
    '/v2/projects/:project/silences/:silence',
    {
      schema: {
        operationId: 'getSilence',
        summary: 'Gets a silence, with how many alarms it matches now',
        tags,
        params: One,
        response: { 200: Type.Unsafe<SilenceDocument & { matching: number }>(Type.Object({ ...answered, matching: Matching })) },
      },
    },
    async request => {
      const { project, silence } = request.params
      callerIn(request, project)
      const found = await silences.one(project, silence)
      return { ...toJson(project, found, nowUs()), matching: (await matchedBy(alarms, project, found)).length }
    },
  )
  app.post(
    verb('/v2/projects/:project/silences', 'preview'),
    {
      schema: {
        operationId: 'previewSilence',
        summary: 'Which alarms a silence would match now; nothing is made',
        tags,
        params: Type.Object({ project }),
        body: PreviewBody,
        response: { 200: PreviewAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const now = nowUs()
      const body = { ...(Object(request.body) as object), endTime: formatTime(now + 1) }
      const found = await matchedBy(alarms, project, parseSilence(body, '', '', now))
      return { matching: found.length, alarms: found.slice(0, PREVIEWED) }
    },
  )
}

function addChanging(app: HttpApp, { silences, nowUs }: SilencePorts): void {
  app.post(
    '/v2/projects/:project/silences',
    {
      schema: {
        operationId: 'createSilence',
        summary: 'Makes a silence: until its end nobody is told of the alarms that it matches; they go on as ever',
        tags,
        params: Type.Object({ project }),
        body: SilenceBody,
        response: { 200: SilenceAnswer },
      },
    },
    async request => {
      const { project } = request.params
      const { account } = callerIn(request, project, 'developer')
      const now = nowUs()
      const silence = toCome(parseSilence(request.body, newSilenceId(now), account, now), now)
      return toJson(project, await silences.save(project, silence, account, now), now)
    },
  )
  app.put(
    '/v2/projects/:project/silences/:silence',
    {
      schema: {
        operationId: 'putSilence',
        summary: 'Replaces a silence; its start stays unless said',
        tags,
        params: One,
        body: SilenceBody,
        response: { 200: SilenceAnswer },
      },
    },
    async request => {
      const { project, silence: id } = request.params
      const { account } = callerIn(request, project, 'developer')
      const now = nowUs()
      const { startUs } = await silences.one(project, id)
      const silence = toCome(parseSilence(request.body, id, account, startUs), now)
      return toJson(project, await silences.save(project, silence, account, now), now)
    },
  )
  app.delete(
    '/v2/projects/:project/silences/:silence',
    {
      schema: {
        operationId: 'deleteSilence',
        summary: 'Ends a silence now: of what is still active those who were not told are told',
        tags,
        params: One,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, silence } = request.params
      const { account } = callerIn(request, project, 'developer')
      await silences.remove(project, silence, account, nowUs())
      return {}
    },
  )
}

function toCome(silence: Silence, nowUs: number): Silence {
  if (silence.endUs <= nowUs) throw invalid('endTime', 'expected a time to come; DELETE ends a silence now')
  return silence
}

async function matchedBy(alarms: SilencePorts['alarms'], project: string, silence: Silence): Promise<AlarmDocument[]> {
  const found: AlarmDocument[] = []
  const wanted = (alarm: AlarmDocument) => alarm.state !== 'cleared' && isSilencedBy(silence, alarm)
  let after = ''
  for (let i = 0; i < LOOKS; i++) {
    const page = await alarms.list(project, { wanted }, after, MAX_PAGE)
    found.push(...page.alarms)
    after = page.next
    if (after === '') break
  }
  return found
}

function toJson(project: string, silence: Silence, nowUs: number) {
  return { name: `projects/${project}/silences/${silence.id}`, ...silenceToJson(silence, nowUs) }
}
