// `quarantine:replay`: what was refused, once more.
import { Type } from 'typebox'
import { invalid } from '../../../packages/core/failure.ts'
import { checkTime } from '../../../packages/core/time.ts'
import { callerIn, type HttpApp, verb } from '../../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../../packages/runtime/page.ts'
import { ProjectId } from '../../../packages/runtime/schema.ts'
import { type ReplayPorts, replay } from './replay.ts'

const ID = /^\d{1,15}-\d{1,19}$/
const Time = (description: string) => Type.Optional(Type.String({ maxLength: 40, description }))
const ReplayBody = Type.Object(
  {
    ids: Type.Optional(Type.Array(Type.String(), { maxItems: 100, description: 'these alone' })),
    decoder: Type.Optional(Type.String({ maxLength: 100, description: 'that refused it' })),
    source: Type.Optional(Type.String({ maxLength: 2000, description: 'the MQTT topic or HTTP route it came by' })),
    after: Time('refused at this time or later'),
    before: Time('refused earlier than this'),
    dryRun: Type.Optional(Type.Boolean({ description: 'says what would become of it, and changes nothing' })),
    pageToken: Type.Optional(Type.String({ maxLength: 200, description: '`nextPageToken` of the call before' })),
  },
  { additionalProperties: false, examples: [{ decoder: 'plant', dryRun: true }] },
)
const ReplayAnswer = Type.Object({
  records: Type.Integer({ description: 'looked at' }),
  accepted: Type.Integer({ description: 'events' }),
  learned: Type.Integer({ description: 'records that became no events: announcements, whose decoder knows now what they tell' }),
  refused: Type.Integer({ description: 'records that stay' }),
  errors: Type.Array(
    Type.Object({ id: Type.String(), source: Type.String(), code: Type.String(), field: Type.String(), message: Type.String() }),
  ),
  nextPageToken: Type.String({ description: 'empty when all was looked at' }),
})

export function addReplayRoute(app: HttpApp, ports: ReplayPorts): void {
  app.post(
    verb('/v2/projects/:project/quarantine', 'replay'),
    {
      schema: {
        operationId: 'replayQuarantine',
        summary: 'Decodes once more what was refused; what is accepted leaves the quarantine',
        tags: ['events'],
        params: Type.Object({ project: ProjectId }),
        body: ReplayBody,
        response: { 200: ReplayAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'developer')
      const { ids, decoder, source, before, after, dryRun = false, pageToken } = request.body
      const wrong = ids?.findIndex(id => !ID.test(id)) ?? -1
      if (wrong >= 0) throw invalid(`ids.${wrong}`, 'expected the id of a quarantined record')
      const from = decodeToken(pageToken) ?? ''
      if (from !== '' && !ID.test(from)) throw invalid('pageToken', 'expected the nextPageToken of an earlier call')
      const selection = { ids, decoder, source, from, afterMs: msOf(after, 'after'), beforeMs: msOf(before, 'before') }
      const { next, ...replayed } = await replay(ports, project, selection, dryRun)
      return { ...replayed, nextPageToken: next === undefined ? '' : encodeToken(next) }
    },
  )
}

function msOf(time: string | undefined, field: string): number | undefined {
  return time === undefined ? undefined : Math.floor(checkTime(time, field) / 1000)
}
