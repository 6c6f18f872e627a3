// JSON Schemas of event types, managed by people.
import { Type } from 'typebox'
import { checkEventType } from '../../../packages/core/event.ts'
import type { Schema } from '../../../packages/log/durable/record.ts'
import { callerIn, type HttpApp } from '../../../packages/runtime/http.ts'
import { pageIn } from '../../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery, ProjectId } from '../../../packages/runtime/schema.ts'
import type { Decoders } from '../../../packages/state/decoder.ts'
import type { Catalog } from '../decoder/catalog.ts'

export type SchemaRoutePorts = {
  readonly decoders: Pick<Decoders, 'schemas'>
  readonly catalog: Pick<Catalog, 'refresh'>
  check(project: string, schema: Schema, payloads: readonly Buffer[]): Promise<void>
}

const project = ProjectId
const tags = ['decoders']
const One = Type.Object({ project, eventType: Type.String({ maxLength: 64, examples: ['pump'] }) })
const Definition = Type.Record(Type.String(), Type.Unknown(), {
  description: 'JSON Schema (draft 7, 2019-09 or 2020-12) of what stands in `data` under the event type, as it is sent',
  examples: [{ type: 'object', properties: { rpm: { type: 'number', minimum: 0 } }, required: ['rpm'] }],
})
const SchemaAnswer = Type.Object({ name: Type.String(), eventType: Type.String(), schema: Definition })

export function addSchemaRoutes(app: HttpApp, { decoders, catalog, check }: SchemaRoutePorts): void {
  const { schemas } = decoders
  app.get(
    '/v2/projects/:project/schemas',
    {
      schema: {
        operationId: 'listEventSchemas',
        summary: 'Lists the schemas of event types',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('schemas', SchemaAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const names = [...(await schemas.revisions(project)).keys()]
      const { page, nextPageToken } = pageIn(names, eventType => eventType, request.query)
      const found = [...(await schemas.some(project, page))]
      return { schemas: found.map(([eventType, { document }]) => toJson(project, eventType, document.definition)), nextPageToken }
    },
  )
  app.get(
    '/v2/projects/:project/schemas/:eventType',
    {
      schema: {
        operationId: 'getEventSchema',
        summary: 'Gets the schema of an event type',
        tags,
        params: One,
        response: { 200: SchemaAnswer },
      },
    },
    async request => {
      const { project, eventType } = request.params
      callerIn(request, project)
      const { definition } = await schemas.one(project, eventType)
      return toJson(project, eventType, definition)
    },
  )
  app.put(
    '/v2/projects/:project/schemas/:eventType',
    {
      schema: {
        operationId: 'putEventSchema',
        summary: 'Creates or replaces the schema of an event type: what does not fit is quarantined',
        tags,
        params: One,
        body: Definition,
        response: { 200: SchemaAnswer },
      },
    },
    async request => {
      const { project, eventType } = request.params
      callerIn(request, project, 'developer')
      checkEventType(eventType)
      await check(project, { type: 'json', definition: request.body }, [])
      await schemas.save(project, eventType, { definition: request.body })
      await catalog.refresh()
      return toJson(project, eventType, request.body)
    },
  )
  app.delete(
    '/v2/projects/:project/schemas/:eventType',
    {
      schema: {
        operationId: 'deleteEventSchema',
        summary: 'Deletes the schema of an event type',
        tags,
        params: One,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, eventType } = request.params
      callerIn(request, project, 'developer')
      await schemas.remove(project, eventType)
      await catalog.refresh()
      return {}
    },
  )
}

function toJson(project: string, eventType: string, definition: unknown) {
  return { name: `projects/${project}/schemas/${eventType}`, eventType, schema: definition as Record<string, unknown> }
}
