// The alarms: what is active first, in words and colour, each with a way to acknowledge it.
import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { Alarm } from '../../../packages/client/index.ts'
import { lastChange, orderAlarms, suppressionWords } from './alarm.ts'
import type { Feed } from './feed.ts'
import { deviceIdOf, formatAge, formatReading, formatTimeOfDay } from './format.ts'
import { hashOf } from './route.ts'

const MAX_CLEARED = 50

type Props = {
  readonly feed: Feed
  readonly now: number
  readonly nameOf: (device: string) => string
  readonly onOpen: (device: string) => void
}

export function AlarmList({ feed, now, nameOf, onOpen }: Props) {
  const ordered = useMemo(() => orderAlarms(feed.alarms), [feed.alarms])
  const open = ordered.filter(alarm => alarm.state !== 'cleared')
  const cleared = ordered.slice(open.length)
  const active = open.filter(alarm => alarm.state === 'active').length
  const item = (alarm: Alarm) => <AlarmItem key={alarm.alarmId} alarm={alarm} feed={feed} now={now} nameOf={nameOf} onOpen={onOpen} />
  return (
    <section class="alarms" aria-labelledby="alarms">
      <div class="bar">
        <h2 id="alarms" tabIndex={-1}>
          Alarms
        </h2>
        <p class="quiet">{feed.alarmsLoaded ? summary(ordered.length, active, open.length - active) : 'loading…'}</p>
      </div>
      {open.length > 0 && <ul>{open.map(item)}</ul>}
      {cleared.length > 0 && (
        <details>
          <summary>{cleared.length.toLocaleString('en')} cleared</summary>
          <ul>{cleared.slice(0, MAX_CLEARED).map(item)}</ul>
          {cleared.length > MAX_CLEARED && <p class="quiet">The newest {MAX_CLEARED} are shown.</p>}
        </details>
      )}
      {feed.moreAlarms && <p class="quiet">There are more alarms than this page loads.</p>}
    </section>
  )
}

function summary(all: number, active: number, pending: number): string {
  if (all === 0) return 'no alarms so far'
  const words = active === 0 ? 'none active' : `${active.toLocaleString('en')} active`
  return pending === 0 ? words : `${words}, ${pending.toLocaleString('en')} pending`
}

type ItemProps = Props & { readonly alarm: Alarm }

export function AlarmItem({ alarm, feed, now, nameOf, onOpen }: ItemProps) {
  const device = deviceIdOf(alarm.device)
  const changedMs = Date.parse(lastChange(alarm))
  const acknowledged = alarm.acknowledgement
  const suppressed = suppressionWords(alarm)
  const name = alarm.labels['name'] || nameOf(device)
  return (
    <li data-alarm={alarm.alarmId} data-state={alarm.state} data-severity={alarm.severity} data-acknowledged={acknowledged !== null}>
      <span class="severity">{alarm.severity}</span>
      <div class="what">
        <p class="message">
          {alarm.message || alarm.rule} {alarm.late && <span class="badge">found late</span>}
          {suppressed !== '' && <span class="badge">{suppressed}</span>}
        </p>
        <p class="quiet">
          {alarm.group ? (
            `${device} (${alarm.devices} in alarm)`
          ) : (
            <button type="button" class="link" onClick={() => onOpen(device)}>
              {name}
            </button>
          )}
          {!alarm.group && name !== device && <span class="id"> {device}</span>}
          {` · ${alarm.rule}${valueText(alarm)} · ${alarm.state} `}
          <time dateTime={lastChange(alarm)} title={lastChange(alarm)}>
            for {formatAge(now - changedMs)}
          </time>
          {alarm.assignee && ` · assigned to ${alarm.assignee.to}`}
        </p>
        {acknowledged && (
          <p class="quiet acknowledged">
            Acknowledged by {acknowledged.by} at {formatTimeOfDay(Date.parse(acknowledged.time), now)}
            {acknowledged.comment !== '' && `: ${acknowledged.comment}`}
          </p>
        )}
      </div>
      <div class="acknowledge">
        <a class="button" href={hashOf({ part: 'alarms', alarm: alarm.alarmId })} aria-label={`Details of ${alarm.message || alarm.rule}`}>
          Details
        </a>{' '}
        {alarm.state === 'active' && !acknowledged && <Acknowledge alarm={alarm} feed={feed} />}
      </div>
    </li>
  )
}

function valueText({ value, limit, unit }: Alarm): string {
  if (typeof value !== 'number') return typeof value === 'string' ? ` · ${value}` : ''
  const reading = formatReading(value, unit ?? '')
  return typeof limit === 'number' ? ` · ${reading} (limit ${formatReading(limit, unit ?? '')})` : ` · ${reading}`
}

function Acknowledge({ alarm, feed }: { alarm: Alarm; feed: Feed }) {
  const [open, setOpen] = useState(false)
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState('')
  const comment = useRef<HTMLInputElement>(null)
  const opener = useRef<HTMLButtonElement>(null)
  // Before the next paint, so that what is typed at once lands in the comment.
  useLayoutEffect(() => comment.current?.focus(), [open])
  const cancel = (event: KeyboardEvent) => {
    if (event.key !== 'Escape') return
    event.preventDefault()
    setOpen(false)
    opener.current?.focus()
  }
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    setBusy(true)
    feed.client.alarms
      .acknowledge(alarm.alarmId, comment.current?.value.trim() ?? '')
      .then(changed => {
        // The button is about to go, and the focus with it.
        opener.current?.closest('section')?.querySelector('h2')?.focus()
        feed.takeAlarms([changed], false)
      })
      .catch((error: Error) => setProblem(error.message))
      .finally(() => setBusy(false))
  }
  const id = `comment-${alarm.alarmId}`
  return (
    <>
      <button type="button" ref={opener} aria-expanded={open} onClick={() => setOpen(!open)}>
        Acknowledge
      </button>
      {open && (
        <form onSubmit={submit} onKeyDown={cancel}>
          <label for={id}>Comment (optional)</label>
          <input id={id} ref={comment} maxLength={500} />
          <button type="submit" class="primary" disabled={busy}>
            Confirm
          </button>
          <p role="alert" class="problem">
            {problem}
          </p>
        </form>
      )}
    </>
  )
}
