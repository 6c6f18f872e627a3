// Which decoder takes the body of a request: the one that is asked for by name, else that of its content type, own ones before built-in ones.
import { Failure } from '../../packages/core/failure.ts'
import type { Catalog } from './catalog.ts'
import type { Decoder, Mappings } from './mapping.ts'

/**
 * @param contentType in lower case, without parameters.
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
  throw new Failure('unsupported', `content-type ${contentType}: expected one of ${[...new Set(known)].toSorted().join(', ')}`)
}
