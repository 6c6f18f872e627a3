// The quarantine: what was refused, why, and the bytes as they came.
import { Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Quarantine } from '../../packages/state/quarantine.ts'

const MAX_PAGE = 1000
const RecordAnswer = Type.Object({
  id: Type.String(),
  time: Type.String(),
  source: Type.String({ description: 'the MQTT topic or HTTP route it came by' }),
  keyId: Type.String(),
  field: Type.String(),
  reason: Type.String(),
  payload: Type.String(),
  encoding: Type.Union([Type.Literal('utf8'), Type.Literal('base64')]),
})

export function addQuarantineRoutes(app: HttpApp, quarantine: Quarantine): void {
  app.get(
    '/v2/projects/:project/quarantine',
    {
      schema: {
        operationId: 'listQuarantine',
        summary: 'Lists what was refused, the newest first',
        tags: ['events'],
        params: Type.Object({ project: ProjectId }),
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('quarantine', RecordAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const limit = Math.min(request.query.pageSize ?? 100, MAX_PAGE)
      const before = decodeToken(request.query.pageToken) ?? ''
      if (!/^(\d{1,15}-\d{1,19})?$/.test(before)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
      const records = await quarantine.list(project, before, limit)
      const last = records.length === limit ? records.at(-1) : undefined
      return { quarantine: records, nextPageToken: last ? encodeToken(last.id) : '' }
    },
  )
}
