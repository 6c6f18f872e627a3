// A decoder as people write it and are shown it: what is left out is filled in, what is wrong is refused by name.
import { type Static, Type } from 'typebox'
import { nearest } from '../../../packages/core/condition/input.ts'
import { checkDevice, checkEventType } from '../../../packages/core/event.ts'
import { invalid } from '../../../packages/core/failure.ts'
import type { DecoderRecord } from '../../../packages/state/decoder.ts'
import type { Format } from '../decode/format.ts'
import { builtInMapping, filledIn, type Mapping } from './mapping.ts'
import { checkOptions } from './option.ts'

const Options = Type.Record(Type.String(), Type.Unknown(), { description: 'as the format has them: GET /v2/formats' })
const Filter = Type.String({ maxLength: 500, description: 'topic filter with + and #, in the space of the project' })
const MediaType = Type.String({ maxLength: 200, description: 'content type of HTTP requests, without parameters' })
const template = 'where neither payload nor route says it; {2} stands for the second level of the topic'

export const DecoderBody = Type.Object(
  {
    format: Type.String({ maxLength: 64 }),
    topic: Type.Optional(Filter),
    topics: Type.Optional(Type.Array(Filter, { maxItems: 50 })),
    contentType: Type.Optional(MediaType),
    contentTypes: Type.Optional(Type.Array(MediaType, { maxItems: 50 })),
    options: Type.Optional(Options),
    enabled: Type.Optional(Type.Boolean()),
    device: Type.Optional(Type.String({ maxLength: 200, description: `device, ${template}` })),
    eventType: Type.Optional(Type.String({ maxLength: 200, description: `event type, ${template}` })),
  },
  {
    additionalProperties: false,
    examples: [{ format: 'json', topic: 'plant/+/temperature', device: '{2}', eventType: 'temperature' }],
  },
)
export const NewDecoderBody = Type.Object(
  { name: Type.String({ maxLength: 63 }), ...DecoderBody.properties },
  {
    additionalProperties: false,
    examples: [{ name: 'plant', format: 'json', topic: 'plant/+/temperature', device: '{2}', eventType: 'temperature' }],
  },
)
export const DecoderAnswer = Type.Object({
  name: Type.String(),
  resource: Type.String(),
  format: Type.String(),
  topics: Type.Array(Type.String()),
  contentTypes: Type.Array(Type.String()),
  options: Options,
  enabled: Type.Boolean(),
  device: Type.Optional(Type.String()),
  eventType: Type.Optional(Type.String()),
  builtIn: Type.Boolean({ description: 'comes with its format, until the project has one of this name' }),
})

const NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/
const MEDIA_TYPE = /^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+$/
const MAX_LEVELS = 32
/** Levels of `+`: with as many filters as a project may have, a publish is compared with them all in less than a millisecond. */
const MAX_OPEN = 8

type Formats = ReadonlyMap<string, Format>

/** @throws Failure `invalid` that names what is wrong, what was expected, and what may have been meant. */
export async function readDecoder(
  formats: Formats,
  project: string,
  name: string,
  body: Static<typeof DecoderBody>,
): Promise<DecoderRecord> {
  if (!NAME.test(name)) throw invalid('name', 'expected 1 to 63 characters of a-z 0-9 _ - that start with a letter or digit')
  const { options = {}, enabled = true, device, eventType } = body
  const format = formatNamed(formats, body.format)
  const topics = one('topic', body.topic, body.topics)
  const contentTypes = one('contentType', body.contentType, body.contentTypes)
  await checkOptions(format, options)
  if (device !== undefined) checkDevice(sampled(device, 'device'))
  if (eventType !== undefined) checkEventType(sampled(eventType, 'eventType'))
  // In the place of the built-in one it takes the same, unless it says what it takes.
  const standsFor = formats.get(name) === format && topics === undefined && contentTypes === undefined ? builtInMapping(format) : undefined
  return {
    name,
    format: format.name,
    topics: standsFor?.topics ?? (topics ?? []).map((topic, i) => readFilter(topic, project, `topics.${i}`)),
    contentTypes: standsFor?.contentTypes ?? (contentTypes ?? []).map((type, i) => readMediaType(type, `contentTypes.${i}`)),
    options,
    enabled,
    ...(device === undefined ? {} : { device }),
    ...(eventType === undefined ? {} : { eventType }),
  }
}

export function formatNamed(formats: Formats, name: string): Format {
  const format = formats.get(name)
  if (format) return format
  const near = nearest(name, [...formats.keys()])
  const hint = near === undefined ? '' : `did you mean "${near}"? `
  throw invalid('format', `there is no format ${JSON.stringify(name)}; ${hint}Valid: ${[...formats.keys()].sort().join(', ')}`)
}

/** The short way to say a list of one. */
function one(name: string, single: string | undefined, several: readonly string[] | undefined): readonly string[] | undefined {
  if (single !== undefined && several !== undefined) throw invalid(name, `expected ${name} or ${name}s, got both`)
  return single === undefined ? several : [single]
}

/** As it is with levels that could be there. */
function sampled(template: string, field: string): string {
  const text = filledIn(template, new Array<string>(MAX_LEVELS).fill('x'))
  if (text === undefined || /[{}]/.test(text))
    throw invalid(field, 'expected a text in which {1}, {2} and so on stand for levels of the topic')
  return text
}

/** The long form says the same of the project itself. */
function readFilter(given: string, project: string, field: string): string {
  const named = /^projects\/([^/]+)\/topics\//.exec(given)
  if (named && named[1] !== project) throw invalid(field, `expected a topic of project ${project}, got one of ${named[1]?.slice(0, 64)}`)
  const filter = named ? given.slice(named[0].length) : given
  const levels = filter.split('/')
  if (filter === '' || levels.length > MAX_LEVELS) throw invalid(field, `expected a topic filter of 1 to ${MAX_LEVELS} levels`)
  if (/^(\$|d\/|projects(\/|$))/.test(filter))
    throw invalid(field, 'expected a topic of the project’s own: those that begin with $, d/ or projects/ are for other things')
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f]/.test(filter)) throw invalid(field, 'control characters cannot stand in a topic')
  const open = levels.filter(level => level === '+').length
  if (open > MAX_OPEN) throw invalid(field, `expected at most ${MAX_OPEN} levels of +, got ${open}`)
  for (const [i, level] of levels.entries()) {
    if (level !== '+' && level !== '#' && /[+#]/.test(level)) throw invalid(field, '+ and # stand for whole levels')
    if (level === '#' && i < levels.length - 1) throw invalid(field, '# is the last level')
  }
  return filter
}

function readMediaType(given: string, field: string): string {
  const type = given.toLowerCase()
  if (!MEDIA_TYPE.test(type)) throw invalid(field, 'expected a content type without parameters, such as text/csv')
  return type
}

export function decoderToJson(project: string, mapping: Mapping) {
  const { name, format, topics, contentTypes, options, enabled, device, eventType, builtIn } = mapping
  return {
    name,
    resource: `projects/${project}/decoders/${name}`,
    format,
    topics: [...topics],
    contentTypes: [...contentTypes],
    options,
    enabled,
    ...(device === undefined ? {} : { device }),
    ...(eventType === undefined ? {} : { eventType }),
    builtIn,
  }
}
