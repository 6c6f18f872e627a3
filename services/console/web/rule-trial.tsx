// A rule tried on what devices have sent: one device as a chart, all of them as figures; why it did or did not fire; how it would be calmer.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { TelltaleError } from '../../../packages/client/index.ts'
import { matchesLabels, parseLabelFilter } from '../../../packages/core/device.ts'
import { listWindows } from './api.ts'
import { bandsOf, type Progress, type Result, resultWords, runBacktest } from './backtest.ts'
import { type Json, listAt } from './draft.ts'
import type { Editor } from './editor.ts'
import { Explanation } from './explanation.tsx'
import type { Feed } from './feed.ts'
import { type DeviceRow, numericReadings } from './fleet.ts'
import { deviceIdOf, formatReading, formatTimeOfDay, unitOf } from './format.ts'
import { type FieldOf, fieldsOf, levelsOf, readingOf } from './level.ts'
import { refusal } from './refusal.ts'
import { columns, type Point, RANGES, type Range } from './series.ts'
import { Suggestions } from './suggestion.tsx'
import { type Band, drawTrial } from './trial-plot.ts'

type Props = {
  readonly feed: Feed
  readonly editor: Editor
  /** Undefined: it was never saved. */
  readonly name: string | undefined
  readonly now: number
  readonly themeVersion: number
}

const SETTLED_MS = 400
const MAX_DEVICES = 500
const FEW = 5

export function RuleTrial({ feed, editor, name, now, themeVersion }: Props) {
  const [choice, setChoice] = useState<string>()
  const [range, setRange] = useState<Range>(RANGES[1])
  useSelected(feed, editor.doc)
  const rows = selected(feed.fleet.rows(), editor.doc)
  const row = rows.find(({ id }) => id === choice) ?? rows[0]
  const [field] = fieldsOf(editor.doc['when'])
  const reading = row && readingIn(row, field)
  return (
    <section class="trial" aria-labelledby="trial">
      <div class="bar">
        <h2 id="trial">On a device</h2>
        {rows.length > 0 && (
          <label>
            <span class="spoken">Device</span>
            <select value={row?.id} onChange={event => setChoice(event.currentTarget.value)}>
              {rows.slice(0, MAX_DEVICES).map(({ id, name: called }) => (
                <option key={id} value={id}>
                  {called === id ? id : `${called} (${id})`}
                </option>
              ))}
            </select>
          </label>
        )}
        <span class="grow" />
        <fieldset class="range">
          <legend class="spoken">Range</legend>
          {RANGES.map(one => (
            <button key={one.name} type="button" aria-pressed={one === range} onClick={() => setRange(one)}>
              {one.name}
            </button>
          ))}
        </fieldset>
      </div>
      {row === undefined ? (
        <p class="empty quiet">No device that this page knows is selected by this rule.</p>
      ) : (
        <OneDevice
          key={row.id}
          feed={feed}
          editor={editor}
          row={row}
          reading={reading}
          range={range}
          now={now}
          themeVersion={themeVersion}
        />
      )}
      <AllDevices feed={feed} editor={editor} range={range} />
      {name !== undefined && row && <Explanation feed={feed} rule={name} device={row.id} isChanged={editor.isDirty} now={now} />}
      {name !== undefined && <Suggestions feed={feed} rule={name} editor={editor} />}
    </section>
  )
}

/** Of a large project the page holds a part: the server is asked for a few of those that the rule selects. */
function useSelected(feed: Feed, rule: Json): void {
  const select = JSON.stringify(rule['select'] ?? {})
  const { isPartial } = feed.roster
  useEffect(() => {
    if (!isPartial) return
    const timer = setTimeout(() => void lookFor(feed, JSON.parse(select) as Json), SETTLED_MS)
    return () => clearTimeout(timer)
  }, [feed, isPartial, select])
}

async function lookFor(feed: Feed, select: Json): Promise<void> {
  const texts = (key: string) => listAt(select, [key]).map(String)
  const query = {
    deviceTypes: texts('deviceTypes'),
    labelFilters: texts('labels'),
    deviceIds: texts('devices'),
    labelMatch: 'all' as const,
  }
  try {
    const { devices } = await feed.client.devices.list({ ...query, pageSize: FEW })
    for (const { name } of devices) await feed.roster.look(deviceIdOf(name))
  } catch (error) {
    // What is half typed selects nothing; the rule itself says what is wrong with it.
    if (!(error instanceof TelltaleError)) throw error
  }
}

/** Those of the page that the rule selects. */
function selected(rows: readonly DeviceRow[], rule: Json): DeviceRow[] {
  const types = listAt(rule, ['select', 'deviceTypes'])
  const ids = listAt(rule, ['select', 'devices'])
  const filters = listAt(rule, ['select', 'labels']).map(label => parseLabelFilter(String(label)))
  return rows.filter(
    row =>
      (types.length === 0 || types.includes(row.type)) &&
      (ids.length === 0 || ids.includes(row.id)) &&
      matchesLabels(filters, Object.fromEntries(row.labels)),
  )
}

/** What the rule compares; of one that compares nothing what the device is there for. */
function readingIn(row: DeviceRow, field: string | undefined): FieldOf | undefined {
  if (field !== undefined) return readingOf(field, [...row.reported.keys()])
  const [main] = numericReadings(row)
  return main && { eventType: main.eventType, field: main.field }
}

type DeviceProps = Omit<Props, 'name'> & { readonly row: DeviceRow; readonly reading: FieldOf | undefined; readonly range: Range }

function OneDevice({ feed, editor, row, reading, range, now, themeVersion }: DeviceProps) {
  const trial = useTrial(feed, editor, range, row.id)
  const [pointer, setPointer] = useState<number>()
  const points = usePoints(feed, row.id, reading, range)
  const place = useRef<HTMLDivElement>(null)
  const unit = reading ? unitOf(reading.eventType, reading.field) : ''
  const levels = useMemo(
    () => (reading ? levelsOf(editor.doc, `${reading.eventType}.${reading.field}`) : []),
    [editor.doc, reading?.eventType, reading?.field],
  )
  const bands = useMemo(() => (trial.result ? bandsOf(trial.result) : []), [trial.result])
  const { value } = points
  useEffect(() => {
    if (!place.current || !value) return
    const { fromMs, toMs } = value
    return drawTrial(place.current, {
      fromMs,
      toMs,
      unit,
      levels,
      bands,
      columns: columns(value.points, range.windowMs),
      onPointer: setPointer,
    })
  }, [value, unit, levels, bands, range, themeVersion])
  return (
    <>
      <p class="readout quiet" data-readout>
        {readout(points, pointer, bands, unit, now)}
      </p>
      <div
        class="plot"
        ref={place}
        role="img"
        aria-label={`${reading ? `${reading.eventType} ${reading.field}` : 'Readings'} of the last ${range.name}`}
      />
      <p class="trial-words" data-trial={trial.result ? trial.result.alarms.count : ''}>
        {trial.result ? `It would have been: ${resultWords(trial.result)}` : trial.words}
        {trial.isRunning && <Bar progress={trial.progress} onCancel={trial.cancel} />}
      </p>
    </>
  )
}

type Loaded = { readonly fromMs: number; readonly toMs: number; readonly points: readonly Point[] }
type Points = { readonly value?: Loaded; readonly problem?: string }

function usePoints(feed: Feed, device: string, reading: FieldOf | undefined, range: Range): Points {
  const [points, setPoints] = useState<Points>({})
  const { eventType, field } = reading ?? {}
  useEffect(() => {
    if (eventType === undefined || field === undefined) {
      setPoints({ problem: 'This device has sent no number that could be drawn.' })
      return
    }
    let stopped = false
    const toMs = feed.now()
    const fromMs = toMs - range.spanMs
    listWindows(feed.client, device, { eventType, field, startTime: new Date(fromMs), endTime: new Date(toMs), window: range.window }).then(
      windows => {
        const found = windows.map(({ startTime, ...rest }) => ({ timeMs: Date.parse(startTime), ...rest }))
        if (!stopped) setPoints({ value: { fromMs, toMs, points: found } })
      },
      (error: Error) => !stopped && setPoints({ problem: refusal('History could not be loaded', error) }),
    )
    return () => {
      stopped = true
    }
  }, [feed, feed.generation, device, eventType, field, range])
  return points
}

function readout({ value, problem }: Points, pointer: number | undefined, bands: readonly Band[], unit: string, now: number): string {
  if (problem !== undefined) return problem
  if (!value) return 'Loading history…'
  if (value.points.length === 0) return 'No readings in this range.'
  const at = value.points.find(({ timeMs }) => timeMs === pointer)
  if (!at) return 'Levels are dashed; it would have been pending where it is light, active where it is dark.'
  const band = bands.find(({ sinceMs, endMs }) => at.timeMs >= sinceMs && at.timeMs < endMs)
  const state = band === undefined ? '' : at.timeMs < band.activeMs ? ', pending' : `, active (${band.severity})`
  return `${formatTimeOfDay(at.timeMs, now)}: ${formatReading(at.mean, unit)}${state}`
}

type Trial = {
  readonly result: Result | undefined
  readonly words: string
  readonly progress: Progress | undefined
  readonly isRunning: boolean
  readonly cancel: () => void
}

/** Run again a moment after each change, as long as it is a rule. */
function useTrial(feed: Feed, editor: Editor, range: Range, device: string): Trial {
  const [result, setResult] = useState<Result>()
  const [words, setWords] = useState('')
  const [progress, setProgress] = useState<Progress>()
  const [running, setRunning] = useState<AbortController>()
  const doc = triable(editor)
  const text = doc && JSON.stringify(doc)
  useEffect(() => {
    if (text === undefined) {
      setWords('What it would have done is shown when the rule is valid.')
      setResult(undefined)
      return
    }
    const stop = new AbortController()
    const start = () => {
      setRunning(stop)
      const toMs = feed.now()
      const span = { startTime: new Date(toMs - range.spanMs).toISOString(), endTime: new Date(toMs).toISOString() }
      runBacktest(feed, { rule: JSON.parse(text) as Json, ...span, devices: [device] }, setProgress, stop.signal)
        .then(
          found => setResult(found),
          (error: Error) => {
            setResult(undefined)
            setWords(stop.signal.aborted ? 'Stopped.' : refusal('Not tried', error))
          },
        )
        .finally(() => setRunning(before => (before === stop ? undefined : before)))
    }
    const timer = setTimeout(start, SETTLED_MS)
    return () => {
      clearTimeout(timer)
      stop.abort()
    }
  }, [feed, text, range, device])
  return { result, words, progress, isRunning: running !== undefined, cancel: () => running?.abort() }
}

/** A rule that lacks nothing but a name can be tried. */
function triable({ doc, isValid, problems, failure }: Editor): Json | undefined {
  if (isValid) return doc
  const onlyName = problems.length > 0 && problems.every(({ field }) => field === 'name')
  return onlyName && failure === undefined ? { ...doc, name: 'draft' } : undefined
}

function AllDevices({ feed, editor, range }: { readonly feed: Feed; readonly editor: Editor; readonly range: Range }) {
  const [running, setRunning] = useState<AbortController>()
  const [progress, setProgress] = useState<Progress>()
  const [result, setResult] = useState<Result>()
  const [problem, setProblem] = useState('')
  useEffect(() => () => running?.abort(), [running])
  const doc = triable(editor)
  const run = () => {
    if (!doc) return
    const stop = new AbortController()
    setRunning(stop)
    setProgress(undefined)
    setResult(undefined)
    setProblem('')
    const toMs = feed.now()
    const span = { startTime: new Date(toMs - range.spanMs).toISOString(), endTime: new Date(toMs).toISOString() }
    runBacktest(feed, { rule: doc, ...span }, setProgress, stop.signal)
      .then(setResult, (error: Error) => setProblem(stop.signal.aborted ? 'Stopped.' : refusal('Not tried', error)))
      .finally(() => setRunning(undefined))
  }
  return (
    <div class="all-devices">
      <p class="buttons">
        <button type="button" disabled={!doc || running !== undefined} onClick={run}>
          Try on all its devices, {range.name}
        </button>
        {running && <Bar progress={progress} onCancel={() => running.abort()} />}
        <span role="status">{result && resultWords(result)}</span>
      </p>
      <p role="alert" class="problem">
        {problem}
      </p>
      {result && result.worstDevices.length > 0 && (
        <ol class="worst">
          {result.worstDevices.slice(0, 5).map(({ device, alarms, minutesInAlarm }) => (
            <li key={device}>
              <bdi>{feed.fleet.row(device)?.name ?? device}</bdi>{' '}
              <span class="quiet">
                {alarms.toLocaleString('en')} {alarms === 1 ? 'alarm' : 'alarms'}, {Math.round(minutesInAlarm).toLocaleString('en')} min
              </span>
            </li>
          ))}
        </ol>
      )}
    </div>
  )
}

function Bar({ progress, onCancel }: { readonly progress: Progress | undefined; readonly onCancel: () => void }) {
  return (
    <span class="progress">
      <progress value={progress?.share} max={1} aria-label="How much of the history is done" />
      {progress && <span class="quiet">{progress.events.toLocaleString('en')} events</span>}
      <button type="button" class="plain" onClick={onCancel}>
        Cancel
      </button>
    </span>
  )
}
