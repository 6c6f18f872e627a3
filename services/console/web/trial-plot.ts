// The drawing of a rule over what a device has sent: its levels as lines, when it would have been active as bands. Text is the rule's own.
import type uPlot from 'uplot'
import { type Level, rangeOf } from './level.ts'
import { type Colour, colourOf, openPlot } from './plot.ts'
import type { Columns } from './series.ts'

/** From `sinceMs` it would have held, from `activeMs` to `endMs` it would have been active. */
export type Band = { readonly sinceMs: number; readonly activeMs: number; readonly endMs: number; readonly severity: string }

export type Drawing = {
  readonly fromMs: number
  readonly toMs: number
  readonly unit: string
  readonly columns: Columns
  readonly levels: readonly Level[]
  readonly bands: readonly Band[]
  readonly onPointer: (timeMs: number | undefined) => void
}

const LABEL_PX = 12

/** Fills its place and follows its size. Returns how to take it away. */
export function drawTrial(place: HTMLElement, drawing: Drawing): () => void {
  const { fromMs, toMs, unit, levels, columns, onPointer } = drawing
  const colour = colourOf(place)
  return openPlot(place, {
    unit,
    columns,
    span: () => [fromMs / 1000, toMs / 1000],
    onPointer,
    scales: { y: { range: (_plot, low, high) => rangeOf(low, high, levels) } },
    below: plot => drawBands(plot, drawing, colour),
    above: plot => drawLevels(plot, levels, colour),
  }).remove
}

function drawBands({ ctx, bbox, valToPos }: uPlot, { bands, fromMs, toMs }: Drawing, colour: Colour): void {
  const at = (ms: number) => valToPos(Math.min(Math.max(ms, fromMs), toMs) / 1000, 'x', true)
  ctx.save()
  for (const { sinceMs, activeMs, endMs, severity } of bands) {
    ctx.fillStyle = colour(toneOf(severity))
    ctx.globalAlpha = 0.12
    ctx.fillRect(at(sinceMs), bbox.top, at(activeMs) - at(sinceMs), bbox.height)
    ctx.globalAlpha = 0.3
    // A moment of it is to be seen as well.
    ctx.fillRect(at(activeMs), bbox.top, Math.max(at(endMs) - at(activeMs), devicePixelRatio), bbox.height)
  }
  ctx.restore()
}

/** Each with its label on a ground of its own, where no other label stands. */
function drawLevels({ ctx, bbox, valToPos }: uPlot, levels: readonly Level[], colour: Colour): void {
  const scale = devicePixelRatio
  const taken: { readonly y: number; readonly x: number }[] = []
  ctx.save()
  ctx.font = `600 ${LABEL_PX * scale}px system-ui, sans-serif`
  ctx.textBaseline = 'middle'
  ctx.textAlign = 'right'
  for (const { value, label, severity } of levels.toSorted((a, b) => b.value - a.value)) {
    const y = valToPos(value, 'y', true)
    ctx.strokeStyle = colour(toneOf(severity))
    ctx.lineWidth = 1.5 * scale
    ctx.setLineDash(severity === 'clear' ? [3 * scale, 4 * scale] : [7 * scale, 4 * scale])
    ctx.beginPath()
    ctx.moveTo(bbox.left, y)
    ctx.lineTo(bbox.left + bbox.width, y)
    ctx.stroke()
    const width = ctx.measureText(label).width + 10 * scale
    const beside = taken.filter(one => Math.abs(one.y - y) < (LABEL_PX + 5) * scale).map(({ x }) => x)
    const x = Math.min(bbox.left + bbox.width - 4 * scale, ...beside)
    taken.push({ y, x: x - width - 6 * scale })
    ctx.fillStyle = colour('--raised')
    ctx.fillRect(x - width, y - ((LABEL_PX + 5) * scale) / 2, width, (LABEL_PX + 5) * scale)
    ctx.fillStyle = colour(toneOf(severity))
    ctx.fillText(label, x - 5 * scale, y)
  }
  ctx.restore()
}

function toneOf(severity: string): string {
  return severity === 'critical' || severity === 'warning' ? `--${severity}` : severity === 'clear' ? '--good' : '--info'
}
