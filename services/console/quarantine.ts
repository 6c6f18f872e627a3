// The quarantine: what was refused, why, and the bytes as they came.

import { invalid } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { encodeToken, pageSize, pageToken, type Query } from '../../packages/runtime/page.ts'
import type { Quarantine } from '../../packages/state/quarantine.ts'

type Route = { Params: { project: string }; Querystring: Query }

export function addQuarantineRoutes(app: HttpApp, quarantine: Quarantine): void {
  app.get<Route>('/v2/projects/:project/quarantine', async request => {
    const { project } = request.params
    callerIn(request, project)
    const limit = pageSize(request.query, 100, 1000)
    const before = pageToken(request.query) ?? ''
    if (!/^(\d{1,15}-\d{1,19})?$/.test(before)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
    const records = await quarantine.list(project, before, limit)
    const last = records.length === limit ? records.at(-1) : undefined
    return { quarantine: records, nextPageToken: last ? encodeToken(last.id) : '' }
  })
}
