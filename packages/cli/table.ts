// Tables for people: columns as wide as they have to be, numbers to the right, ages and sizes short.
import { type Palette, printable } from './terminal.ts'

export type Cell = string | number

const MAX_CHARS = 60
const NUMBER = new Intl.NumberFormat('en', { maximumFractionDigits: 1 })

/** One line each; the headings first. */
export function tableLines(headings: readonly string[], rows: readonly (readonly Cell[])[], palette: Palette): string[] {
  const texts = rows.map(row => row.map(textOf))
  const widths = headings.map((heading, i) => Math.max(heading.length, ...texts.map(row => (row[i] ?? '').length)))
  const isNumber = headings.map((_, i) => rows.every(row => typeof row[i] === 'number') && rows.length > 0)
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (isNumber[i] ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd()
  return [palette.dim(line(headings)), ...texts.map(line)]
}

function textOf(cell: Cell): string {
  if (typeof cell === 'number') return NUMBER.format(cell)
  const text = printable(cell)
  return text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS - 1)}…` : text
}

const AGES = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
] as const

/** In its largest unit: `14 s`, `3 min`, `5 d`; '–' for none. */
export function ageText(ms: number): string {
  const [size, unit] = AGES.find(([least]) => ms >= least) ?? [1000, 's']
  return ms <= 0 ? '–' : `${Math.floor(ms / size)} ${unit}`
}

export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const step = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10))
  return `${NUMBER.format(bytes / 1024 ** step)} ${units[step] ?? ''}`
}
