// What the registry knows of a device, and which devices a selector picks.

import { invalid } from './failure.ts'

export type Device = {
  readonly id: string
  /** `temperature`, `contact` …: of the first event unless set. */
  readonly type: string
  readonly labels: { readonly [key: string]: string }
  readonly productNumber: string
}

/** `key` (present) or `key=value` (equal); `key=` counts as `key` (contracts.md §7.2). */
export type LabelFilter = { readonly key: string; readonly value: string | undefined }

export function parseLabelFilter(text: string): LabelFilter {
  const at = text.indexOf('=')
  if (at < 0) return { key: text, value: undefined }
  const value = text.slice(at + 1)
  return { key: text.slice(0, at), value: value === '' ? undefined : value }
}

/** What several label filters mean together (contracts.md §7.1): all must hold, or any of them is enough. */
export const LABEL_MATCHES = ['all', 'any'] as const
export type LabelMatch = (typeof LABEL_MATCHES)[number]

/** No filters ask for nothing, in either sense. */
export function matchesLabels(filters: readonly LabelFilter[], labels: Device['labels'], match: LabelMatch = 'all'): boolean {
  const holds = ({ key, value }: LabelFilter) => Object.hasOwn(labels, key) && (value === undefined || labels[key] === value)
  return match === 'all' || filters.length === 0 ? filters.every(holds) : filters.some(holds)
}

const EMULATED = /^emu[0-9a-v]{20}$/

/** Devices of the emulator are known by their id (contracts.md 1.a.2). */
export function isEmulated(id: string): boolean {
  return EMULATED.test(id)
}

/** A label of the system: this device is emulated (contracts.md 1.a.6). */
export const VIRTUAL = { 'virtual-sensor': '' } as const

/** The types that the emulator knows (contracts.md 1.a.5); devices that are there may have any other. */
const TYPES: readonly string[] =
  'temperature proximity touch humidity proximityCounter touchCounter waterDetector ccon co2 motion deskOccupancy contact'.split(' ')

export function checkDeviceType(type: string, field = 'type'): string {
  if (!TYPES.includes(type)) throw invalid(field, `expected one of ${TYPES.join(', ')}, got ${type}`)
  return type
}
