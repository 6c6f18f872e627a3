// For tests of doors: a project without limits, schemas and decoders, and clocks that nobody looks at.
import { Failure } from '../../packages/core/failure.ts'
import { Catalog } from './catalog.ts'
import type { IngestPorts } from './ingest.ts'
import { Memories } from './memory.ts'
import type { PublishPorts } from './publishing.ts'

export const UNLIMITED: Pick<IngestPorts, 'budget' | 'clocks' | 'screen'> = {
  budget: { admits: () => true, ask: async () => undefined },
  screen: (_project, decoded) => decoded,
  clocks: { observe: () => {} },
}

/** No topic is a decoder's; asking what there is says that it cannot be read. */
export function undecoded(): Pick<PublishPorts, 'catalog' | 'run'> {
  const down = () => Promise.reject(new Failure('unavailable', 'there is no log'))
  return {
    catalog: new Catalog({ formats: new Map(), decoders: down, schemas: down, changes: down }),
    run: {
      memories: new Memories({ disk: { revision: down, load: down, save: down }, nowMs: () => 0, troubled: () => {} }),
      broke: () => {},
    },
  }
}
