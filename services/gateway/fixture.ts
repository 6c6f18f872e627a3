// For tests of doors: a project without limits and schemas, and clocks that nobody looks at.
import type { IngestPorts } from './ingest.ts'

export const UNLIMITED: Pick<IngestPorts, 'budget' | 'clocks' | 'screen'> = {
  budget: { admits: () => true, ask: async () => undefined },
  screen: (_project, decoded) => decoded,
  clocks: { observe: () => {} },
}
