// Labels of a device: what they may be, and what changed between two states of it.
import { type Device, isEmulated, VIRTUAL } from '../core/device.ts'
import { Failure, invalid } from '../core/failure.ts'

export type LabelChange = {
  readonly added: Readonly<Record<string, string>>
  readonly modified: Readonly<Record<string, string>>
  readonly removed: readonly string[]
}

const MAX_LABELS = 64
export const NO_CHANGE: LabelChange = { added: {}, modified: {}, removed: [] }

export function checkLabels({ id, labels }: Pick<Device, 'id' | 'labels'>): void {
  const keys = Object.keys(labels)
  if (keys.length > MAX_LABELS) throw new Failure('invalid', `labels: at most ${MAX_LABELS}, got ${keys.length}`, { field: 'labels' })
  for (const key of Object.keys(VIRTUAL))
    if (Object.hasOwn(labels, key) && !isEmulated(id)) throw invalid(`labels.${key}`, 'expected on devices of the emulator only')
  for (const key of keys) {
    if (key === '' || key.length > 128 || key.includes('=') || key === '__proto__')
      throw new Failure('invalid', `labels.${key}: expected a key of 1 to 128 characters without "="`, { field: `labels.${key}` })
    if ((labels[key] as string).length > 512)
      throw new Failure('invalid', `labels.${key}: expected a value of at most 512 characters`, { field: `labels.${key}` })
  }
}

export function difference(before: Device | undefined, after: Device | undefined): LabelChange {
  const old = new Map(Object.entries(before?.labels ?? {}))
  const fresh = Object.entries(after?.labels ?? {})
  const kept = new Set(fresh.map(([key]) => key))
  return {
    added: Object.fromEntries(fresh.filter(([key]) => !old.has(key))),
    modified: Object.fromEntries(fresh.filter(([key, value]) => old.has(key) && old.get(key) !== value)),
    removed: [...old.keys()].filter(key => !kept.has(key)),
  }
}

export function isEmpty({ added, modified, removed }: LabelChange): boolean {
  return removed.length === 0 && [added, modified].every(labels => Object.keys(labels).length === 0)
}
