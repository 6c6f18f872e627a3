// The quarantine: what was refused, why, and the bytes as they came.
import { Type } from 'typebox'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Quarantine } from '../../packages/state/quarantine.ts'

const MAX_PAGE = 1000
const ID = /^\d{1,15}-\d{1,19}$/
const One = Type.Object({ project: ProjectId, record: Type.String({ maxLength: 40, examples: ['1772433669104-0'] }) })
const RecordAnswer = Type.Object({
  id: Type.String(),
  time: Type.String(),
  source: Type.String({ description: 'the MQTT topic or HTTP route it came by' }),
  keyId: Type.String(),
  clientId: Type.String({ description: 'as the MQTT client calls itself' }),
  contentType: Type.String(),
  decoder: Type.Union([Type.Object({ name: Type.String(), format: Type.String(), version: Type.Integer() }), Type.Null()]),
  device: Type.String({ description: 'whose it is, where that is known' }),
  code: Type.String(),
  field: Type.String(),
  reason: Type.String(),
  size: Type.Integer({ description: 'of the payload, in bytes' }),
  payload: Type.String({ description: 'its first 1,024 bytes in lists' }),
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
  app.get(
    '/v2/projects/:project/quarantine/:record',
    {
      schema: {
        operationId: 'getQuarantineRecord',
        summary: 'Gets what was refused, with its whole payload',
        tags: ['events'],
        params: One,
        response: { 200: RecordAnswer },
      },
    },
    async request => {
      const { project, record } = request.params
      callerIn(request, project)
      const found = ID.test(record) ? await quarantine.find(project, record) : undefined
      if (!found) throw missing(project, record)
      return found.record
    },
  )
  app.delete(
    '/v2/projects/:project/quarantine/:record',
    {
      schema: {
        operationId: 'deleteQuarantineRecord',
        summary: 'Drops what was refused',
        tags: ['events'],
        params: One,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, record } = request.params
      callerIn(request, project, 'developer')
      if (!ID.test(record) || (await quarantine.remove(project, [record])) === 0) throw missing(project, record)
      return {}
    },
  )
}

function missing(project: string, record: string): Failure {
  return new Failure('not_found', `record ${record} does not exist in the quarantine of project ${project}`, { field: 'record' })
}
