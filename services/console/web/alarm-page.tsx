// The page of one alarm: what it is and why, what people do about it, what has happened to it, and who was told.
import { useCallback, useLayoutEffect, useRef } from 'preact/hooks'
import type { Alarm, AlarmReceipt, AlarmRecord } from '../../../packages/client/index.ts'
import { lastChange, suppressionWords } from './alarm.ts'
import { AlarmActions } from './alarm-action.tsx'
import { History, Receipts } from './alarm-history.tsx'
import type { AlarmsProps } from './alarms-part.tsx'
import type { Feed } from './feed.ts'
import { deviceIdOf, formatAge, formatNumber, formatReading, formatTimeOfDay } from './format.ts'
import { usePolled } from './poll.ts'
import { refusal } from './refusal.ts'
import { hashOf } from './route.ts'

type Loaded = { readonly alarm: Alarm; readonly records: readonly AlarmRecord[]; readonly receipts: readonly AlarmReceipt[] }
type Props = AlarmsProps & { readonly alarm: string }

const PAGE = 100

async function loadAlarm(feed: Feed, id: string): Promise<Loaded> {
  const { alarms } = feed.client
  const [alarm, history, receipts] = await Promise.all([
    alarms.get(id),
    alarms.history(id, { pageSize: PAGE }),
    alarms.receipts(id, { pageSize: PAGE }),
  ])
  feed.takeAlarms([alarm], false, true)
  return { alarm, records: history.records, receipts: receipts.receipts }
}

export function AlarmPage({ feed, alarm: id, account, now, nameOf, onOpen }: Props) {
  const load = useCallback(() => loadAlarm(feed, id), [feed, id])
  const { value, failure, again } = usePolled(feed, load)
  const heading = useRef<HTMLHeadingElement>(null)
  useLayoutEffect(() => heading.current?.focus(), [])
  // The stream is faster than the next question.
  const known = feed.alarms.get(id)
  const alarm = known && (!value || known.version >= value.alarm.version) ? known : value?.alarm
  const problem =
    failure && (failure.code === 'not_found' ? 'There is no such alarm, or no more.' : refusal('Could not be loaded', failure))
  return (
    <>
      <section class="alarm" aria-labelledby="alarm">
        <p class="crumb">
          <a href={hashOf({ part: 'alarms' })}>All alarms</a>
        </p>
        <h2 id="alarm" ref={heading} tabIndex={-1}>
          {alarm ? alarm.message || alarm.rule : 'Alarm'}
        </h2>
        {problem && (
          <p role="alert" class="problem">
            {problem}
          </p>
        )}
        {!alarm && !failure && <p class="quiet">loading…</p>}
        {alarm && <About alarm={alarm} now={now} nameOf={nameOf} onOpen={onOpen} />}
        {alarm && <AlarmActions feed={feed} alarm={alarm} account={account} now={now} onDone={again} />}
      </section>
      {value && <History records={value.records} alarm={value.alarm} now={now} />}
      {value && <Receipts receipts={value.receipts} now={now} />}
    </>
  )
}

type AboutProps = Pick<Props, 'now' | 'nameOf' | 'onOpen'> & { readonly alarm: Alarm }

function About({ alarm, now, nameOf, onOpen }: AboutProps) {
  const device = deviceIdOf(alarm.device)
  const name = alarm.labels['name'] || nameOf(device)
  const suppressed = suppressionWords(alarm)
  return (
    <>
      <p class="state-line" data-state={alarm.state} data-severity={alarm.severity}>
        <span class="severity">{alarm.severity}</span> <strong data-alarm-state>{alarm.state}</strong> for{' '}
        {formatAge(now - Date.parse(lastChange(alarm)))}
        {alarm.late && <span class="badge">found late</span>}
        {suppressed !== '' && <span class="badge">{suppressed}: nobody is told</span>}
      </p>
      <p class="reason" data-reason>
        {alarm.reason}
      </p>
      <dl class="facts">
        <Fact title={alarm.group ? 'Group' : 'Device'}>
          {alarm.group ? (
            `${device} (${formatNumber(alarm.devices)} in alarm)`
          ) : (
            <>
              <button type="button" class="link" onClick={() => onOpen(device)}>
                {name}
              </button>
              {name !== device && <span class="id"> {device}</span>}
            </>
          )}
        </Fact>
        <Fact title="Rule">
          <a href={hashOf({ part: 'rules', rule: alarm.rule })}>{alarm.rule}</a>, version {alarm.ruleVersion}
        </Fact>
        <Fact title="Value">{valueText(alarm.value, alarm.unit)}</Fact>
        <Fact title="Limit">{valueText(alarm.limit, alarm.unit)}</Fact>
        <Fact title="Began to hold">{timeText(alarm.since, now)}</Fact>
        <Fact title="Active since">{timeText(alarm.activeSince, now)}</Fact>
        <Fact title="Cleared">{timeText(alarm.clearedAt, now)}</Fact>
        <Fact title="Episode">{alarm.episode}</Fact>
        <Fact title="Acknowledged">
          {alarm.acknowledgement &&
            `by ${alarm.acknowledgement.by}, ${timeText(alarm.acknowledgement.time, now)}${alarm.acknowledgement.comment === '' ? '' : `: ${alarm.acknowledgement.comment}`}`}
        </Fact>
        <Fact title="Assigned to">{alarm.assignee && `${alarm.assignee.to}, by ${alarm.assignee.by}`}</Fact>
        <Fact title="Snoozed until">{alarm.snooze && `${timeText(alarm.snooze.until, now)}, by ${alarm.snooze.by}`}</Fact>
      </dl>
    </>
  )
}

function Fact({ title, children }: { readonly title: string; readonly children: preact.ComponentChildren }) {
  if (children === '' || children === null || children === undefined) return null
  return (
    <div>
      <dt>{title}</dt>
      <dd data-fact={title}>{children}</dd>
    </div>
  )
}

function valueText(value: number | string | null, unit: string | null): string {
  return typeof value === 'number' ? formatReading(value, unit ?? '') : (value ?? '')
}

function timeText(time: string | null, now: number): string {
  return time === null ? '' : formatTimeOfDay(Date.parse(time), now)
}
