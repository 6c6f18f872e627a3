// The table of rules: what each watches for, in words, and how many of its alarms are active now.
import { useCallback, useMemo, useState } from 'preact/hooks'
import { type Json, listAt, textAt, written } from './draft.ts'
import type { Feed } from './feed.ts'
import { usePolled } from './poll.ts'
import { refusal } from './refusal.ts'
import { hashOf, NEW_RULE } from './route.ts'
import { listRules, replaceRule } from './rule-call.ts'
import { conditionWords, formatted, selectWords, severityWords, timingWords } from './words.ts'

const PAGE = 1000
const STEP = 200
const EVERY_MS = 10_000

export function RuleTable({ feed }: { readonly feed: Feed }) {
  const load = useCallback(() => listRules(feed, PAGE), [feed])
  const { value, failure, again } = usePolled(feed, load, EVERY_MS)
  const [filter, setFilter] = useState('')
  const [limit, setLimit] = useState(STEP)
  const active = useMemo(() => countActive(feed), [feed.alarms])
  const words = filter.toLowerCase().split(/\s+/)
  const found = (value?.rules ?? []).filter(rule => words.every(word => searchText(rule).includes(word)))
  return (
    <section class="rules" aria-labelledby="rules">
      <div class="bar">
        <h2 id="rules">Rules</h2>
        <p class="quiet" data-shown>
          {value ? countText(found.length, value.nextPageToken !== '') : failure ? '' : 'loading…'}
        </p>
        <label class="filter">
          <span class="spoken">Filter rules</span>
          <input
            type="search"
            placeholder="Filter by name, condition or channel"
            value={filter}
            spellcheck={false}
            onInput={event => {
              setFilter(event.currentTarget.value)
              setLimit(STEP)
            }}
          />
        </label>
        <a class="button primary" href={hashOf({ part: 'rules', rule: NEW_RULE })}>
          New rule
        </a>
      </div>
      {failure && (
        <p role="alert" class="problem">
          {refusal('Rules could not be loaded', failure)}
        </p>
      )}
      {found.length > 0 && <Rows feed={feed} rules={found.slice(0, limit)} active={active} onChanged={again} />}
      {found.length > limit && (
        <p class="empty">
          <button type="button" onClick={() => setLimit(limit + STEP)}>
            Show more
          </button>
        </p>
      )}
      {value && value.rules.length > 0 && found.length === 0 && <p class="empty">No rule matches “{filter}”.</p>}
      {value?.rules.length === 0 && <FirstRule />}
      {value !== undefined && value.nextPageToken !== '' && <p class="quiet">There are more rules than this page loads.</p>}
    </section>
  )
}

function countText(shown: number, more: boolean): string {
  if (shown === 0) return 'none'
  return `${shown.toLocaleString('en')}${more ? ' or more' : ''}`
}

function searchText(rule: Json): string {
  return [
    textAt(rule, ['name']),
    textAt(rule, ['title']),
    conditionWords(rule['when']),
    severityWords(rule),
    selectWords(rule),
    ...listAt(rule, ['notify']),
  ]
    .join('\n')
    .toLowerCase()
}

function countActive(feed: Feed): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const { state, rule } of feed.alarms.values()) if (state === 'active') counts.set(rule, (counts.get(rule) ?? 0) + 1)
  return counts
}

type RowsProps = {
  readonly feed: Feed
  readonly rules: readonly Json[]
  readonly active: ReadonlyMap<string, number>
  readonly onChanged: () => void
}

function Rows({ feed, rules, active, onChanged }: RowsProps) {
  const [problem, setProblem] = useState('')
  const toggle = (rule: Json) => {
    replaceRule(feed, { ...written(rule), enabled: rule['enabled'] === false }, rule['version']).then(
      () => {
        setProblem('')
        onChanged()
      },
      (error: Error) => setProblem(refusal('Not changed', error)),
    )
  }
  return (
    <>
      <p role="alert" class="problem">
        {problem}
      </p>
      <table class="plain">
        <thead>
          <tr>
            <th scope="col" class="name">
              Rule
            </th>
            <th scope="col" class="severity-column">
              Severity
            </th>
            <th scope="col" class="channels wide">
              Channels
            </th>
            <th scope="col" class="number">
              Active
            </th>
            <th scope="col" class="number wide">
              Version
            </th>
            <th scope="col" class="action wide">
              <span class="spoken">What can be done</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {rules.map(rule => (
            <Row key={textAt(rule, ['name'])} rule={rule} active={active.get(textAt(rule, ['name'])) ?? 0} onToggle={() => toggle(rule)} />
          ))}
        </tbody>
      </table>
    </>
  )
}

type RowProps = { readonly rule: Json; readonly active: number; readonly onToggle: () => void }

function Row({ rule, active, onToggle }: RowProps) {
  const name = textAt(rule, ['name'])
  const enabled = rule['enabled'] !== false
  const about = [selectWords(rule), timingWords(rule)].filter(Boolean).join(' · ')
  return (
    <tr data-rule={name} data-enabled={enabled}>
      <th scope="row" class="name">
        <a href={hashOf({ part: 'rules', rule: name })}>{textAt(rule, ['title']) || name}</a>
        {!enabled && <span class="badge">disabled</span>}
        <span class="aside condition-words">{conditionWords(rule['when'])}</span>
        <span class="aside quiet">{about}</span>
      </th>
      <td class="severity-column" data-severity={gravest(rule)}>
        <span class="severity-words">{severityWords(rule)}</span>
      </td>
      <td class="channels wide quiet" title={listAt(rule, ['notify']).join(', ')}>
        {listAt(rule, ['notify']).join(', ') || 'nobody'}
      </td>
      <td class="number" data-active>
        {active === 0 ? '–' : <a href={hashOf({ part: 'alarms' })}>{active.toLocaleString('en')}</a>}
      </td>
      <td class="number wide">{formatted(rule['version'])}</td>
      <td class="action wide">
        <button type="button" onClick={onToggle} aria-label={`${enabled ? 'Disable' : 'Enable'} ${name}`}>
          {enabled ? 'Disable' : 'Enable'}
        </button>
      </td>
    </tr>
  )
}

function gravest(rule: Json): string {
  const last = listAt(rule, ['severity']).at(-1)
  return textAt(last ?? rule, ['severity']) || 'warning'
}

function FirstRule() {
  return (
    <div class="first-event">
      <p>
        A rule watches devices: a reading beyond a level, a device gone silent, a value that changes too fast. While what it watches for
        holds, there is an alarm, and its channels are told.
      </p>
      <p>
        <a class="button primary" href={hashOf({ part: 'rules', rule: NEW_RULE })}>
          Make the first rule
        </a>
      </p>
    </div>
  )
}
