// Which events a subscriber asked for (contracts.md 1.a.4).
import { type Device, type LabelFilter, type LabelMatch, matchesLabels } from '../../packages/core/device.ts'
import type { LogEvent } from '../../packages/log/entry.ts'

/** OR inside one list, AND between them; labels as `labelMatch` says. An undefined list asks for nothing. */
export type Filter = {
  readonly deviceIds: ReadonlySet<string> | undefined
  readonly deviceTypes: ReadonlySet<string> | undefined
  readonly eventTypes: ReadonlySet<string> | undefined
  readonly productNumbers: ReadonlySet<string> | undefined
  readonly labels: readonly LabelFilter[]
  readonly labelMatch: LabelMatch
}

/** Whether the registry must be asked to answer `matches`. */
export function needsDevice(filter: Filter): boolean {
  return filter.deviceTypes !== undefined || filter.productNumbers !== undefined || filter.labels.length > 0
}

export function matches(filter: Filter, event: LogEvent, device: Device | undefined): boolean {
  if (filter.eventTypes && !filter.eventTypes.has(event.eventType)) return false
  if (filter.deviceIds && !filter.deviceIds.has(event.device)) return false
  if (!needsDevice(filter)) return true
  if (!device) return false
  if (filter.deviceTypes && !filter.deviceTypes.has(device.type)) return false
  if (filter.productNumbers && !filter.productNumbers.has(device.productNumber)) return false
  return matchesLabels(filter.labels, device.labels, filter.labelMatch)
}
