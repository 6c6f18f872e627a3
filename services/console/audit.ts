// The audit, for admins to read.
import { Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import { type Audit, isRecordId } from '../../packages/state/audit.ts'
import { administratorOf, MAX_PAGE, OrganizationId } from './organization.ts'

const AuditAnswer = Type.Object({
  id: Type.String(),
  time: Type.String(),
  keyId: Type.String(),
  account: Type.String({ description: 'e-mail address of the service account' }),
  method: Type.String(),
  path: Type.String(),
  resource: Type.String({ description: 'name of what was made or changed, where the answer said it' }),
  status: Type.Integer(),
  requestId: Type.String(),
})
const tags = ['audit']
const KINDS = [
  { word: 'Project', path: 'projects', id: ProjectId },
  { word: 'Organization', path: 'organizations', id: OrganizationId },
] as const

export function addAuditRoutes(app: HttpApp, audit: Audit): void {
  for (const kind of KINDS)
    app.get(
      `/v2/${kind.path}/:parent/audit`,
      {
        schema: {
          operationId: `list${kind.word}Audit`,
          summary: 'Lists who changed what, newest first; for admins',
          tags,
          params: Type.Object({ parent: kind.id }),
          querystring: Type.Object(PageQuery),
          response: { 200: listOf('records', AuditAnswer) },
        },
      },
      async request => {
        const { parent } = request.params
        if (kind.path === 'projects') callerIn(request, parent, 'admin')
        else administratorOf(request, parent)
        const { pageSize = MAX_PAGE, pageToken } = request.query
        const before = decodeToken(pageToken) ?? ''
        if (before !== '' && !isRecordId(before)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
        const limit = Math.min(pageSize, MAX_PAGE)
        const records = await audit.list(`${kind.path}/${parent}`, before, limit)
        const last = records.length === limit ? records.at(-1) : undefined
        return { records, nextPageToken: last ? encodeToken(last.id) : '' }
      },
    )
}
