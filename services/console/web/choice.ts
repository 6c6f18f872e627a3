// What the form of a rule offers: what the devices of the page are, have and send.
import { type DeviceRow, numericReadings } from './fleet.ts'

export type Offered = {
  readonly eventTypes: readonly string[]
  readonly fields: readonly string[]
  readonly deviceTypes: readonly string[]
  readonly labels: readonly string[]
  readonly labelKeys: readonly string[]
  readonly devices: readonly string[]
}

/** Each list with what is most common first. */
export function choicesOf(rows: readonly DeviceRow[]): Offered {
  const labels = rows.flatMap(row => [...row.labels].filter(([key]) => key !== 'name'))
  return {
    eventTypes: common(rows.flatMap(row => [...row.reported.keys()])),
    fields: common(rows.flatMap(row => numericReadings(row).map(({ eventType, field }) => `${eventType}.${field}`))),
    deviceTypes: common(rows.map(row => row.type)),
    labels: common(labels.map(([key, value]) => (value === '' ? key : `${key}=${value}`))),
    labelKeys: common(labels.map(([key]) => key)),
    devices: rows.map(row => row.id),
  }
}

function common(all: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const one of all) counts.set(one, (counts.get(one) ?? 0) + 1)
  return [...counts].sort((a, b) => b[1] - a[1]).map(([one]) => one)
}
