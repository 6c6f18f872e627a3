// Alarms: the list with its filters, or the page of one.
import './alarm.css'
import { useEffect, useMemo, useState } from 'preact/hooks'
import type { Alarm, Severity } from '../../../packages/client/index.ts'
import { type AlarmFilter, isWanted, OPEN_ALARMS, orderAlarms, queryOf } from './alarm.ts'
import { AlarmItem } from './alarm-list.tsx'
import { AlarmPage } from './alarm-page.tsx'
import type { Feed } from './feed.ts'
import { refusal } from './refusal.ts'
import { hashOf } from './route.ts'
import { SilenceSection } from './silence-section.tsx'

const STEP = 100

export type AlarmsProps = {
  readonly feed: Feed
  readonly alarm: string | undefined
  readonly silences: boolean
  /** Who looks. */
  readonly account: string
  readonly now: number
  readonly nameOf: (device: string) => string
  readonly onOpen: (device: string) => void
}

export function AlarmsPart(props: AlarmsProps) {
  if (props.alarm !== undefined) return <AlarmPage key={props.alarm} {...props} alarm={props.alarm} />
  return (
    <>
      <nav class="sub" aria-label="Alarms and silences">
        <a href={hashOf({ part: 'alarms' })} aria-current={props.silences ? undefined : 'page'}>
          Alarms
        </a>
        <a href={hashOf({ part: 'silences' })} aria-current={props.silences ? 'page' : undefined}>
          Silences
        </a>
      </nav>
      {props.silences ? <SilenceSection feed={props.feed} now={props.now} /> : <AllAlarms {...props} />}
    </>
  )
}

function AllAlarms({ feed, account, now, nameOf, onOpen }: AlarmsProps) {
  const [filter, setFilter] = useState<AlarmFilter>(OPEN_ALARMS)
  const [limit, setLimit] = useState(STEP)
  const problem = useOthers(feed, filter)
  const found = useMemo(() => orderAlarms(feed.alarms).filter(alarm => isWanted(alarm, filter)), [feed.alarms, filter])
  const rules = useMemo(() => [...new Set([...feed.alarms.values()].map(({ rule }) => rule))].sort(), [feed.alarms])
  const item = (alarm: Alarm) => <AlarmItem key={alarm.alarmId} alarm={alarm} feed={feed} now={now} nameOf={nameOf} onOpen={onOpen} />
  return (
    <section class="alarms all-alarms" aria-labelledby="all-alarms">
      <div class="bar">
        <h2 id="all-alarms" tabIndex={-1}>
          Alarms
        </h2>
        <p class="quiet" data-shown>
          {feed.alarmsLoaded ? (found.length === 0 ? 'none' : found.length.toLocaleString('en')) : 'loading…'}
        </p>
        <Filters filter={filter} rules={rules} account={account} onChange={setFilter} />
      </div>
      {problem !== '' && (
        <p role="alert" class="problem">
          {problem}
        </p>
      )}
      {found.length > 0 && <ul>{found.slice(0, limit).map(item)}</ul>}
      {found.length > limit && (
        <p class="empty">
          <button type="button" onClick={() => setLimit(limit + STEP)}>
            Show more
          </button>
        </p>
      )}
      {feed.alarmsLoaded && found.length === 0 && <Nothing feed={feed} onAll={() => setFilter({ ...OPEN_ALARMS, state: '' })} />}
    </section>
  )
}

/** The page holds the newest thousand: of a project with more, the server is asked for those that are wanted. */
function useOthers(feed: Feed, filter: AlarmFilter): string {
  const [problem, setProblem] = useState('')
  const partial = feed.moreAlarms
  useEffect(() => {
    if (!partial) return
    feed.client.alarms.list({ ...queryOf(filter), pageSize: 1000 }).then(
      ({ alarms }) => {
        feed.takeAlarms(alarms, false)
        setProblem('')
      },
      (error: Error) => setProblem(refusal('Alarms could not be searched', error)),
    )
  }, [feed, partial, filter])
  return problem
}

function Nothing({ feed, onAll }: { readonly feed: Feed; readonly onAll: () => void }) {
  if (feed.alarms.size === 0)
    return (
      <p class="empty">
        No alarms so far. They come from <a href={hashOf({ part: 'rules' })}>rules</a>.
      </p>
    )
  return (
    <p class="empty">
      No alarm is like that.{' '}
      <button type="button" class="link" onClick={onAll}>
        Show all {feed.alarms.size.toLocaleString('en')}
      </button>
    </p>
  )
}

const STATES = [
  ['open', 'active and pending'],
  ['active', 'active'],
  ['pending', 'pending'],
  ['cleared', 'cleared'],
  ['', 'any state'],
] as const
const SEVERITIES = [
  ['', 'any severity'],
  ['critical', 'critical'],
  ['warning', 'warning'],
  ['info', 'info'],
] as const

type FilterProps = {
  readonly filter: AlarmFilter
  readonly rules: readonly string[]
  readonly account: string
  readonly onChange: (filter: AlarmFilter) => void
}

function Filters({ filter, rules, account, onChange }: FilterProps) {
  const choice = (label: string, value: string, choices: readonly (readonly [string, string])[], take: (value: string) => AlarmFilter) => (
    <label>
      <span class="spoken">{label}</span>
      <select value={value} onChange={event => onChange(take(event.currentTarget.value))}>
        {choices.map(([one, text]) => (
          <option key={one} value={one}>
            {text}
          </option>
        ))}
      </select>
    </label>
  )
  return (
    <div class="filters">
      {choice('State', filter.state, STATES, state => ({ ...filter, state: state as AlarmFilter['state'] }))}
      {choice('Severity', filter.severity, SEVERITIES, severity => ({ ...filter, severity: severity as Severity | '' }))}
      {choice('Rule', filter.rule, [['', 'any rule'], ...rules.map(rule => [rule, rule] as const)], rule => ({ ...filter, rule }))}
      <label>
        <input
          type="checkbox"
          checked={filter.unacknowledged}
          onChange={event => onChange({ ...filter, unacknowledged: event.currentTarget.checked })}
        />{' '}
        unacknowledged
      </label>
      <label>
        <input
          type="checkbox"
          checked={filter.assignee !== ''}
          onChange={event => onChange({ ...filter, assignee: event.currentTarget.checked ? account : '' })}
        />{' '}
        mine
      </label>
    </div>
  )
}
