// Which decoder takes the body of a request: the one that is asked for by name, else that of its content type, own ones before built-in ones.
import { Failure } from '../../../packages/core/failure.ts'
import type { Again } from '../../../packages/state/quarantine.ts'
import type { Clock, Place } from '../decode/event.ts'
import type { Catalog } from '../decoder/catalog.ts'
import { type Made, type RunPorts, runDecoder, type Told } from '../decoder/decoderun.ts'
import type { Decoder, Mappings } from '../decoder/mapping.ts'
import type { Source } from '../ingest.ts'

/** Of a header; RFC 9110 8.3.1 lets it be written in any case and with parameters behind it. */
export function mediaTypeOf(header: string | undefined): string {
  return (header ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

/**
 * @param contentType as `mediaTypeOf` has it.
 * @throws Failure `not_found` for a name, `unsupported` for a content type; also as a rejection.
 */
export function forHttp(
  { catalog }: { readonly catalog: Pick<Catalog, 'of'> },
  project: string,
  contentType: string,
  decoder: string | undefined,
): Decoder | Promise<Decoder> {
  const known = catalog.of(project)
  if (known instanceof Promise) return known.then(({ mappings }) => choose(mappings, contentType, decoder))
  return choose(known.mappings, contentType, decoder)
}

function choose(mappings: Mappings, contentType: string, decoder: string | undefined): Decoder {
  if (decoder !== undefined) return mappings.named(decoder)
  const found = mappings.ofContentType(contentType)
  if (found) return found
  const known = mappings.all.flatMap(({ mapping }) => mapping.contentTypes).filter(type => type !== '')
  const expected = [...new Set(known)].toSorted().join(', ')
  throw new Failure('unsupported', `content-type ${contentType.slice(0, 100)}: expected one of ${expected}`, {
    field: 'header content-type',
  })
}

export type Body = {
  readonly project: string
  readonly bytes: Buffer
  readonly place: Omit<Place, 'project'>
  readonly contentType: string
  /** Decoder that was asked for by name. */
  readonly asked: string | undefined
  /** What else it takes to decode it again. */
  readonly again: Pick<Again, 'format' | 'options' | 'sender'>
}

/** What the quarantine keeps beside a body that is refused, so that it can be decoded again. */
export function sourceOfBody(
  { mapping, format }: Decoder,
  { place: { device, eventType }, contentType, asked, again }: Omit<Body, 'bytes'>,
): Pick<Source, 'decoder' | 'contentType' | 'again' | 'separable'> {
  return {
    decoder: { name: mapping.name, format: format.name, version: format.version },
    contentType,
    again: { place: { device, eventType }, ...(asked === undefined ? {} : { asked }), ...again },
    separable: format.separable === true,
  }
}

export type BodyPorts = {
  readonly run: RunPorts
  readonly clock: Clock
}

/** As `runDecoder`. @throws Failure when nothing in it can be read. */
export async function decodeBody(
  { run, clock }: BodyPorts,
  decoder: Decoder,
  { project, bytes, place, again }: Body,
  told?: (made: Made) => Told['hold'],
): Promise<Told> {
  return runDecoder(run, decoder, { project, bytes, topic: [], place, sender: again.sender }, clock, told)
}
