// Decoders of a project: which format takes which topics and content types; and what a sample would become.
import { randomUUID } from 'node:crypto'
import { Type } from 'typebox'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { callerIn, type HttpApp } from '../../../packages/runtime/http.ts'
import { pageIn } from '../../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery, ProjectId } from '../../../packages/runtime/schema.ts'
import type { DecoderRecord, Decoders } from '../../../packages/state/decoder.ts'
import type { DecoderMemory } from '../../../packages/state/decodermemory.ts'
import type { Format } from '../decode/format.ts'
import type { Catalog } from './catalog.ts'
import { DecoderAnswer, DecoderBody, decoderToJson, NewDecoderBody, readDecoder } from './decoderdocument.ts'
import { builtInMapping, type Mapping } from './mapping.ts'

export type DecoderRoutePorts = {
  readonly formats: ReadonlyMap<string, Format>
  readonly decoders: Decoders
  readonly catalog: Pick<Catalog, 'refresh'>
  readonly memory: Pick<DecoderMemory, 'forget'>
}

const project = ProjectId
const tags = ['decoders']
const All = Type.Object({ project })
export const OneDecoder = Type.Object({ project, decoder: Type.String({ maxLength: 100, examples: ['plant'] }) })
const FormatAnswer = Type.Object({
  name: Type.String(),
  version: Type.Integer(),
  title: Type.String(),
  topics: Type.Array(Type.String(), { description: 'that it takes in every project that says nothing else' }),
  contentTypes: Type.Array(Type.String()),
  options: Type.Unknown({ description: 'JSON Schema of its options' }),
})

export function addDecoderRoutes(app: HttpApp, ports: DecoderRoutePorts): void {
  addReading(app, ports)
  app.post(
    '/v2/projects/:project/decoders',
    {
      schema: {
        operationId: 'createDecoder',
        summary: 'Creates a decoder',
        tags,
        params: All,
        body: NewDecoderBody,
        response: { 200: DecoderAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'developer')
      const { name, ...body } = request.body
      return save(ports, project, await readDecoder(ports.formats, project, name, body), true)
    },
  )
  app.put(
    '/v2/projects/:project/decoders/:decoder',
    {
      schema: {
        operationId: 'putDecoder',
        summary: 'Creates or replaces a decoder, also a built-in one',
        tags,
        params: OneDecoder,
        body: DecoderBody,
        response: { 200: DecoderAnswer },
      },
    },
    async request => {
      const { project, decoder: name } = request.params
      callerIn(request, project, 'developer')
      return save(ports, project, await readDecoder(ports.formats, project, name, request.body), false)
    },
  )
  app.delete(
    '/v2/projects/:project/decoders/:decoder',
    { schema: { operationId: 'deleteDecoder', summary: 'Deletes a decoder', tags, params: OneDecoder, response: { 200: Empty } } },
    async request => {
      const { project, decoder: name } = request.params
      callerIn(request, project, 'developer')
      const before = await ports.decoders.decoders.find(project, name)
      if (!before && ports.formats.has(name))
        throw new Failure(
          'conflict',
          `decoder ${name} is built in: PUT it with "enabled": false to switch it off; DELETE after a PUT forgets what it remembers`,
          { field: 'decoder' },
        )
      await ports.decoders.decoders.remove(project, name)
      if (before) await forget(ports, project, before)
      await ports.catalog.refresh()
      return {}
    },
  )
}

function addReading(app: HttpApp, { formats, decoders }: DecoderRoutePorts): void {
  app.get(
    '/v2/formats',
    {
      schema: {
        operationId: 'listFormats',
        summary: 'Lists the formats that there are, with their options',
        tags,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('formats', FormatAnswer) },
      },
    },
    async request => {
      const { page, nextPageToken } = pageIn([...formats.values()], ({ name }) => name, request.query)
      const shown = page.map(({ name, version, title, topics, contentTypes, options }) => ({
        name,
        version,
        title,
        topics: [...topics],
        contentTypes: contentTypes.filter(type => type !== ''),
        options,
      }))
      return { formats: shown, nextPageToken }
    },
  )
  app.get(
    '/v2/projects/:project/decoders',
    {
      schema: {
        operationId: 'listDecoders',
        summary: 'Lists decoders, the built-in ones among them',
        tags,
        params: All,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('decoders', DecoderAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const own = await decoders.decoders.revisions(project)
      const { page, nextPageToken } = pageIn([...new Set([...own.keys(), ...formats.keys()])], name => name, request.query)
      const found = await decoders.decoders.some(
        project,
        page.filter(name => own.has(name)),
      )
      const shown = page.flatMap(name => mappingIn(found.get(name)?.document, formats.get(name)) ?? [])
      return { decoders: shown.map(one => decoderToJson(project, one)), nextPageToken }
    },
  )
  app.get(
    '/v2/projects/:project/decoders/:decoder',
    { schema: { operationId: 'getDecoder', summary: 'Gets a decoder', tags, params: OneDecoder, response: { 200: DecoderAnswer } } },
    async request => {
      const { project, decoder } = request.params
      callerIn(request, project)
      return decoderToJson(project, await mappingNamed({ formats, decoders }, project, decoder))
    },
  )
}

type Reading = Pick<DecoderRoutePorts, 'formats' | 'decoders'>

/** The project's own, or the one that comes with the format of its name. */
function mappingIn(own: DecoderRecord | undefined, format: Format | undefined): Mapping | undefined {
  if (own) return { ...own, builtIn: false }
  return format && builtInMapping(format)
}

/** Also one that is switched off. */
export async function mappingNamed(ports: Reading, project: string, name: string): Promise<Mapping> {
  const found = mappingIn(await ports.decoders.decoders.find(project, name), ports.formats.get(name))
  if (found) return found
  throw new Failure('not_found', `decoder ${name} does not exist in project ${project}`, { field: 'decoder' })
}

async function save(ports: DecoderRoutePorts, project: string, record: DecoderRecord, onlyNew: boolean) {
  const { name, format } = record
  const before = await ports.decoders.decoders.find(project, name)
  if (onlyNew && !before && ports.formats.has(name))
    throw invalid('name', `${name} is the name of a built-in decoder: PUT it to replace that`)
  const uid = before?.format === format ? before.uid : newUid(record)
  await ports.decoders.decoders.save(project, name, { ...record, uid }, onlyNew)
  if (before && before.format !== format) await forget(ports, project, before)
  // Other gateways see it within a second.
  await ports.catalog.refresh()
  return decoderToJson(project, { ...record, builtIn: false })
}

/** Of a format by whose name it is called, what is remembered is that of the built-in one. */
function newUid({ name, format }: DecoderRecord): string | undefined {
  return name === format ? undefined : randomUUID()
}

/** The built-in one that comes back begins anew as well. */
async function forget({ memory }: DecoderRoutePorts, project: string, { name, format, uid }: DecoderRecord): Promise<void> {
  await memory.forget({ project, decoder: name, format, uid })
}
