// The chart of one device's reading: history by windows, live readings folded in, a band from lowest to highest.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import type uPlot from 'uplot'
import { readingsOf } from '../../../packages/core/event.ts'
import { listWindows } from './api.ts'
import type { Feed } from './feed.ts'
import { type DeviceRow, labelText, type NumericReading, numericReadings } from './fleet.ts'
import { formatAge, formatReading, formatTimeOfDay, unitOf } from './format.ts'
import { openPlot } from './plot.ts'
import { addReading, columns, type Point, RANGES, type Range, summarise, trim } from './series.ts'

type Props = {
  readonly feed: Feed
  readonly row: DeviceRow
  readonly now: number
  readonly themeVersion: number
  readonly onClose: () => void
}

export function ChartPanel({ feed, row, now, themeVersion, onClose }: Props) {
  const [range, setRange] = useState<Range>(RANGES[0])
  const [choice, setChoice] = useState<string>()
  const readings = numericReadings(row)
  const reading = readings.find(one => keyOf(one) === choice) ?? readings[0]
  const heading = useRef<HTMLHeadingElement>(null)
  useLayoutEffect(() => heading.current?.focus(), [])
  useEffect(() => closeOnEscape(onClose), [onClose])
  return (
    <section class="chart" aria-labelledby="chart">
      <div class="bar">
        <h2 id="chart" ref={heading} tabIndex={-1}>
          {row.name}
        </h2>
        <p class="now" data-value>
          {row.latest?.text ?? '–'}
        </p>
        <p class="quiet">
          {row.latest && `${formatAge(now - row.latest.timeMs)} ago`}
          {row.id !== row.name && <span class="id"> {row.id}</span>}
          <span class="wide">{labelText(row) !== '' && ` · ${labelText(row)}`}</span>
        </p>
        <span class="grow" />
        {readings.length > 1 && <ReadingChoice readings={readings} value={reading && keyOf(reading)} onChange={setChoice} />}
        <RangeChoice value={range} onChange={setRange} />
        <button type="button" onClick={onClose}>
          Close
        </button>
      </div>
      {reading ? (
        <Plot
          key={`${keyOf(reading)} ${range.name} ${themeVersion}`}
          feed={feed}
          device={row.id}
          eventType={reading.eventType}
          field={reading.field}
          range={range}
          now={now}
        />
      ) : (
        <p class="empty">This device has sent no number that could be drawn.</p>
      )}
    </section>
  )
}

function closeOnEscape(close: () => void): () => void {
  const listener = (event: KeyboardEvent) => {
    if (event.key === 'Escape' && !event.defaultPrevented) close()
  }
  document.addEventListener('keydown', listener)
  return () => document.removeEventListener('keydown', listener)
}

function keyOf(reading: Pick<NumericReading, 'eventType' | 'field'>): string {
  return `${reading.eventType} ${reading.field}`
}

type ChoiceProps = {
  readonly readings: readonly NumericReading[]
  readonly value: string | undefined
  readonly onChange: (key: string) => void
}

function ReadingChoice({ readings, value, onChange }: ChoiceProps) {
  return (
    <label>
      <span class="spoken">Reading</span>
      <select value={value} onChange={event => onChange(event.currentTarget.value)}>
        {readings.map(one => (
          <option key={keyOf(one)} value={keyOf(one)}>
            {one.field === 'value' ? one.eventType : `${one.eventType} ${one.field}`}
          </option>
        ))}
      </select>
    </label>
  )
}

function RangeChoice({ value, onChange }: { value: Range; onChange: (range: Range) => void }) {
  return (
    <fieldset class="range">
      <legend class="spoken">Range</legend>
      {RANGES.map(range => (
        <button key={range.name} type="button" aria-pressed={range === value} onClick={() => onChange(range)}>
          {range.name}
        </button>
      ))}
    </fieldset>
  )
}

type PlotProps = {
  readonly feed: Feed
  readonly device: string
  readonly eventType: string
  readonly field: string
  readonly range: Range
  readonly now: number
}

type State = 'loading' | 'ready' | { readonly problem: string }

function Plot({ feed, device, eventType, field, range, now }: PlotProps) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const points = useRef<Point[]>([])
  const [state, setState] = useState<State>('loading')
  const [pointer, setPointer] = useState<number>()
  const unit = unitOf(eventType, field)

  useEffect(() => {
    if (!place.current) return
    const drawn = openPlot(place.current, {
      unit,
      columns: [[], [], [], []],
      span: () => [(feed.now() - range.spanMs) / 1000, feed.now() / 1000],
      onPointer: setPointer,
    })
    plot.current = drawn.plot
    return drawn.remove
  }, [feed, range, unit])

  useEffect(() => {
    const early: [number, number][] = []
    let loaded = false
    let stopped = false
    const stop = feed.listen(device, event => {
      if (event.eventType !== eventType) return
      const found = readingsOf(eventType, event.data).find(([name]) => name === field)
      if (!found) return
      const timeMs = Date.parse(event.timestamp)
      if (loaded) addReading(points.current, timeMs, found[1], range.liveMs)
      else early.push([timeMs, found[1]])
    })
    const toMs = feed.now()
    const span = { startTime: new Date(toMs - range.spanMs), endTime: new Date(toMs + range.windowMs) }
    listWindows(feed.client, device, { eventType, field, ...span, window: range.window })
      .then(windows => {
        if (stopped) return
        points.current = windows.map(({ startTime, count, mean, min, max }) => ({ timeMs: Date.parse(startTime), count, mean, min, max }))
        for (const [timeMs, value] of early) addReading(points.current, timeMs, value, range.liveMs)
        loaded = true
        setState('ready')
      })
      .catch((error: Error) => !stopped && setState({ problem: error.message }))
    return () => {
      stopped = true
      stop()
    }
  }, [feed, feed.generation, device, eventType, field, range])

  useEffect(() => {
    trim(points.current, feed.now() - range.spanMs)
    plot.current?.setData(columns(points.current, range.windowMs))
  })

  return (
    <>
      <p class="readout quiet" data-readout>
        {readout(state, points.current, pointer, range, unit, now)}
      </p>
      <div class="plot" ref={place} role="img" aria-label={`${eventType} ${field}, last ${range.name}`} />
    </>
  )
}

function readout(state: State, points: readonly Point[], pointer: number | undefined, range: Range, unit: string, now: number): string {
  if (state === 'loading') return 'Loading history…'
  if (state !== 'ready') return `History could not be loaded: ${state.problem}`
  const at = pointer === undefined ? undefined : points.find(point => point.timeMs === pointer)
  const shown = at ?? summarise(points)
  if (!shown) return `No readings in the last ${range.name}.`
  const when = at ? formatTimeOfDay(at.timeMs, now) : `Last ${range.name}`
  const words = [
    `mean ${formatReading(shown.mean, unit)}`,
    `lowest ${formatReading(shown.min, unit)}`,
    `highest ${formatReading(shown.max, unit)}`,
  ]
  return at && at.count === 1 ? `${when}: ${formatReading(at.mean, unit)}` : `${when}: ${words.join(', ')}`
}
