// For tests of doors: a project without limits, and clocks that nobody looks at.
import type { IngestPorts } from './ingest.ts'

export const UNLIMITED: Pick<IngestPorts, 'budget' | 'clocks'> = {
  budget: { admits: () => true, ask: async () => undefined },
  clocks: { observe: () => {} },
}
