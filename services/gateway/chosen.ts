// Which format reads a body: the one that its content type stands for, or the one that is named.
import { Failure, invalid } from '../../packages/core/failure.ts'
import type { Format, Memory } from './decode/format.ts'
import { FORMATS } from './decode/formats.ts'

export type Chosen = {
  readonly format: Format
  readonly options: Readonly<Record<string, unknown>>
  readonly memory: Memory
}

export interface HttpDecoding {
  /**
   * @param contentType media type in lower case without its parameters; empty when there is none.
   * @param decoder the name that was asked for.
   * @throws Failure `unsupported` for a content type that nothing reads, `invalid` for a name that nothing has.
   */
  forHttp(project: string, contentType: string, decoder: string | undefined): Chosen | Promise<Chosen>
}

/** The format of a content type; JSON is what says nothing. */
export function formatOf(contentType: string): Format {
  const format = BY_TYPE.get(contentType)
  if (format) return format
  throw new Failure('unsupported', `content-type ${contentType.slice(0, 100)}: expected one of ${KNOWN}`, { field: 'header content-type' })
}

const BY_TYPE: ReadonlyMap<string, Format> = new Map(
  [...FORMATS.values()].flatMap(format => format.contentTypes.map(type => [type, format] as const)),
)
const KNOWN = [...FORMATS.values()].flatMap(({ contentTypes }) => contentTypes.find(type => type !== '') ?? []).join(', ')

/** What is built in, with nothing of it changed. */
export const builtIn: HttpDecoding = {
  forHttp: (_project, contentType, decoder) => {
    const format = decoder === undefined ? formatOf(contentType) : FORMATS.get(decoder)
    if (!format) throw invalid('decoder', `expected one of ${[...FORMATS.keys()].join(', ')}`)
    const known = new Map<string, unknown>()
    const set = (key: string, value: unknown) => void known.set(key, value)
    return { format, options: {}, memory: { get: key => known.get(key), set } }
  },
}

/** Of a header; RFC 9110 8.3.1 lets it be written in any case and with parameters behind it. */
export function mediaTypeOf(header: string | undefined): string {
  return (header ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}
