// What the registry knows of a device, and which devices a selector picks.

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

export function matchesLabels(filters: readonly LabelFilter[], labels: Device['labels']): boolean {
  return filters.every(({ key, value }) => Object.hasOwn(labels, key) && (value === undefined || labels[key] === value))
}
