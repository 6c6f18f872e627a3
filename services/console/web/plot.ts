// A plot of readings over time that fills its place and follows its size. No text from a device goes in: uPlot gets numbers and units only.
import uPlot from 'uplot'
import { formatReading } from './format.ts'
import type { Columns } from './series.ts'
import { timeMarks } from './timemark.ts'

export type Colour = (name: string) => string

type Asked = {
  readonly unit: string
  readonly columns: Columns
  /** In seconds, asked for at each drawing. */
  readonly span: () => [from: number, to: number]
  readonly onPointer: (timeMs: number | undefined) => void
  readonly scales?: uPlot.Scales
  /** What is drawn below and above the readings. */
  readonly below?: (plot: uPlot) => void
  readonly above?: (plot: uPlot) => void
}

export function colourOf(place: HTMLElement): Colour {
  return name => getComputedStyle(place).getPropertyValue(name).trim()
}

/** `remove` takes it away. */
export function openPlot(place: HTMLElement, { unit, columns, span, onPointer, scales, below, above }: Asked) {
  const colour = colourOf(place)
  const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line'), width: 1 }, ticks: { stroke: colour('--line'), width: 1 } }
  const size = () => ({ width: place.clientWidth, height: place.clientHeight })
  const plot = new uPlot(
    {
      ...size(),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true, range: span }, ...scales },
      axes: [
        { ...axis, values: timeMarks },
        { ...axis, size: 64, values: (_plot, marks) => marks.map(mark => formatReading(mark, unit)) },
      ],
      series: [
        {},
        { stroke: 'transparent', points: { show: false } },
        { stroke: 'transparent', points: { show: false } },
        { stroke: colour('--accent'), width: 1.5, points: { size: 4 } },
      ],
      bands: [{ series: [1, 2], fill: colour('--band') }],
      hooks: {
        drawClear: below ? [below] : [],
        draw: above ? [above] : [],
        setCursor: [
          drawn => {
            const seconds = drawn.cursor.idx == null ? undefined : drawn.data[0][drawn.cursor.idx]
            onPointer(seconds === undefined ? undefined : Math.round(seconds * 1000))
          },
        ],
      },
    },
    columns,
    place,
  )
  const observer = new ResizeObserver(() => plot.setSize(size()))
  observer.observe(place)
  return {
    plot,
    remove: () => {
      observer.disconnect()
      plot.destroy()
    },
  }
}
