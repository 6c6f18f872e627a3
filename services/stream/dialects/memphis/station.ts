// A station is a durable stream of the caller's project.
import { DEFAULT_RETENTION } from '../../../../packages/log/durable/stream.ts'
import type { MemphisSettings } from './memphis.ts'

/** Messages stay for all groups that come later, acked or not. */
const SETTINGS = { retention: { ...DEFAULT_RETENTION, untilAcked: false } }

export function stationOf(project: string, name: string, { createStations }: Pick<MemphisSettings, 'createStations'>) {
  return { project, name, settings: createStations ? SETTINGS : undefined }
}
