// `:test` of decoders: what a sample would become, without anything being accepted, remembered or published.
import { type Static, Type } from 'typebox'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { callerIn, type HttpApp, verb } from '../../../packages/runtime/http.ts'
import { ProjectId } from '../../../packages/runtime/schema.ts'
import { shownIn } from '../../../packages/state/quarantine.ts'
import type { Clock } from '../decode/event.ts'
import { GROUP } from '../decode/format.ts'
import { mediaTypeOf } from '../http/forhttp.ts'
import type { IngestPorts } from '../ingest.ts'
import type { Catalog } from './catalog.ts'
import { formatNamed } from './decoderdocument.ts'
import { type DecoderRoutePorts, mappingNamed, OneDecoder } from './decoderroute.ts'
import { claimant, type Made, type RunPorts, runDecoder } from './decoderun.ts'
import type { Decoder } from './mapping.ts'
import { mounted } from './mapping.ts'
import { checkOptions, completed } from './option.ts'

export type DecoderTestPorts = Pick<DecoderRoutePorts, 'formats' | 'decoders'> & {
  readonly catalog: Pick<Catalog, 'of'>
  readonly run: RunPorts
  readonly screen: IngestPorts['screen']
  readonly clock: Clock
}

const Options = Type.Record(Type.String(), Type.Unknown(), { description: 'in the place of those of the decoder' })
const Sample = {
  topic: Type.Optional(Type.String({ maxLength: 2000 })),
  contentType: Type.Optional(Type.String({ maxLength: 200 })),
  payload: Type.Optional(Type.Unknown({ description: 'text as it is; anything else as its JSON' })),
  payloadBase64: Type.Optional(Type.String({ description: 'of payloads that are no text' })),
  options: Type.Optional(Options),
}
const SampleBody = Type.Object(Sample, { additionalProperties: false, examples: [{ topic: 'plant/line-3/temperature', payload: '21.5' }] })
const AnySampleBody = Type.Object(
  { ...Sample, format: Type.Optional(Type.String({ description: 'tries a format with `options`, before there is a decoder' })) },
  { additionalProperties: false, examples: [{ topic: 'plant/line-3/temperature', payload: '21.5' }] },
)
const TestAnswer = Type.Object({
  decoder: Type.String({ description: 'empty: a format alone' }),
  format: Type.String(),
  version: Type.Integer(),
  events: Type.Array(Type.Unknown()),
  errors: Type.Array(
    Type.Object({ index: Type.Optional(Type.Integer()), code: Type.String(), field: Type.String(), message: Type.String() }),
  ),
  replies: Type.Array(
    Type.Object({
      topic: Type.String(),
      payload: Type.String(),
      encoding: Type.Union([Type.Literal('utf8'), Type.Literal('base64')]),
    }),
  ),
  remembers: Type.Array(Type.String(), { description: 'what it would remember for later payloads' }),
})
const MAX_SHOWN = 1000
const tags = ['decoders']

type Body = Static<typeof SampleBody>

export function addDecoderTests(app: HttpApp, ports: DecoderTestPorts): void {
  app.post(
    verb('/v2/projects/:project/decoders', 'test'),
    {
      schema: {
        operationId: 'testDecoders',
        summary: 'Shows which decoder a sample goes to, and what it becomes',
        tags,
        params: Type.Object({ project: ProjectId }),
        body: AnySampleBody,
        response: { 200: TestAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'developer')
      const { format, ...body } = request.body
      const decoder = format === undefined ? await chosen(ports, project, body) : draft(ports, format, body)
      return test(ports, project, await withOptions(decoder, body), body)
    },
  )
  app.post(
    verb('/v2/projects/:project/decoders/:decoder', 'test'),
    {
      schema: {
        operationId: 'testDecoder',
        summary: 'Shows what a sample becomes by this decoder',
        tags,
        params: OneDecoder,
        body: SampleBody,
        response: { 200: TestAnswer },
      },
    },
    async request => {
      const { project, decoder: name } = request.params
      callerIn(request, project, 'developer')
      const mapping = await mappingNamed(ports, project, name)
      const format = formatNamed(ports.formats, mapping.format)
      const decoder = { mapping: { ...mapping, options: completed(format, mapping.options) }, format }
      return test(ports, project, await withOptions(decoder, request.body), request.body)
    },
  )
}

async function chosen(ports: DecoderTestPorts, project: string, { topic, contentType }: Body): Promise<Decoder> {
  const { mappings } = await ports.catalog.of(project)
  if (topic !== undefined) {
    const place = placeOf(topic, project)
    const found = mappings.ofTopic(place) ?? (await claimant(ports.run, mappings.claiming, project, place))
    if (found) return found
    throw new Failure('not_found', `no decoder takes topic ${JSON.stringify(topic.slice(0, 200))}`, { field: 'topic' })
  }
  if (contentType === undefined) throw invalid('topic', 'expected topic, contentType or format, got none of them')
  const found = mappings.ofContentType(mediaTypeOf(contentType))
  if (found) return found
  throw new Failure('not_found', `no decoder takes content type ${JSON.stringify(contentType)}`, { field: 'contentType' })
}

/** As `publish` has it. @throws Failure `invalid` for a topic that no decoder of the project is ever asked about. */
function placeOf(topic: string, project: string): string {
  const place = mounted(topic, project)
  if (place?.project === project) return place.topic
  const why = place ? `is one of project ${place.project}` : 'is for events, or other things, whatever decoders there are'
  throw invalid('topic', `expected a topic of the project’s own, such as plant/line-3; ${topic.slice(0, 200)} ${why}`)
}

function draft({ formats }: DecoderTestPorts, name: string, { options = {} }: Body): Decoder {
  const format = formatNamed(formats, name)
  return {
    mapping: { name: '', format: name, topics: [], contentTypes: [], options: completed(format, options), enabled: true, builtIn: false },
    format,
  }
}

async function withOptions(decoder: Decoder, { options }: Body): Promise<Decoder> {
  if (!options) return decoder
  await checkOptions(decoder.format, options)
  return { ...decoder, mapping: { ...decoder.mapping, options: completed(decoder.format, options) } }
}

async function test(ports: DecoderTestPorts, project: string, decoder: Decoder, body: Body) {
  const { mapping, format } = decoder
  const said = { decoder: mapping.name, format: format.name, version: format.version }
  const nothing = { events: [], replies: [], remembers: [] }
  const bytes = bytesOf(body)
  const topic = body.topic === undefined ? [] : placeOf(body.topic, project).split('/')
  try {
    const made = await runDecoder(ports.run, decoder, { project, bytes, topic, place: {} }, ports.clock)
    return { ...said, ...(await shown(ports, project, made)) }
  } catch (error) {
    if (!(error instanceof Failure) || error.code === 'unavailable') throw error
    return { ...said, ...nothing, errors: [{ code: error.code, field: error.field ?? '', message: error.message }] }
  }
}

async function shown(ports: DecoderTestPorts, project: string, { decoded, replies, draft }: Made) {
  const all = await ports.screen(project, decoded)
  return {
    events: all.flatMap(one => ('event' in one ? [JSON.parse(one.event.frame) as unknown] : [])).slice(0, MAX_SHOWN),
    errors: all
      .flatMap((one, index) =>
        'event' in one ? [] : [{ index, code: one.failure.code, field: one.failure.field ?? '', message: one.failure.message }],
      )
      .slice(0, MAX_SHOWN),
    replies: replies.slice(0, MAX_SHOWN).map(({ topic, payload }) => ({ topic, ...shownIn(payload) })),
    remembers: [...draft.changes.keys()].slice(0, MAX_SHOWN).map(key => key.replaceAll(GROUP, ' ')),
  }
}

function bytesOf({ payload, payloadBase64 }: Body): Buffer {
  if (payloadBase64 === undefined) {
    if (payload === undefined) throw invalid('payload', 'missing: expected payload or payloadBase64')
    return Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload))
  }
  if (payload !== undefined) throw invalid('payload', 'expected payload or payloadBase64, got both')
  const bytes = Buffer.from(payloadBase64, 'base64')
  const whole = bytes.toString('base64')
  // With or without what fills it up.
  if (payloadBase64 !== whole && payloadBase64 !== whole.replace(/={1,2}$/, '')) throw invalid('payloadBase64', 'expected base64')
  return bytes
}
