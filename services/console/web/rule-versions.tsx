// The versions of a rule: who saved which when, what two of them say differently, and a way back to an old one.
import { useCallback, useEffect, useState } from 'preact/hooks'
import { differences, type Json, written } from './draft.ts'
import type { Feed } from './feed.ts'
import { formatTimeOfDay } from './format.ts'
import { refusal } from './refusal.ts'
import { listVersions, type Version } from './rule-call.ts'
import { formatted } from './words.ts'

type Props = {
  readonly feed: Feed
  readonly rule: string
  /** The current one: it is asked again when it changes. */
  readonly version: unknown
  readonly now: number
  readonly onRestore: (rule: Json) => void
}

export function RuleVersions({ feed, rule, version, now, onRestore }: Props) {
  const [versions, setVersions] = useState<readonly Version[]>([])
  const [problem, setProblem] = useState('')
  const [pair, setPair] = useState<readonly [from?: number, to?: number]>([])
  const load = useCallback(() => listVersions(feed, rule), [feed, rule, version])
  useEffect(() => {
    load().then(
      found => {
        setVersions(found)
        setPair([found[1]?.version, found[0]?.version])
        setProblem('')
      },
      (error: Error) => setProblem(refusal('Versions could not be loaded', error)),
    )
  }, [load])
  const [from, to] = pair.map(number => versions.find(one => one.version === number))
  return (
    <section class="versions" aria-labelledby="versions">
      <details>
        <summary>
          <h2 id="versions">Versions</h2> <span class="quiet">{versions.length === 0 ? '' : versions.length}</span>
        </summary>
        <p role="alert" class="problem">
          {problem}
        </p>
        <ol reversed>
          {versions.map(one => (
            <li key={one.version} data-version={one.version}>
              <span class="key">{one.version}</span>
              <span>{one.by || 'somebody'}</span>
              <time dateTime={one.time} class="quiet">
                {one.time ? formatTimeOfDay(Date.parse(one.time), now) : ''}
              </time>
              <span class="quiet">{one.rule === null ? 'deleted' : ''}</span>
              <span class="grow" />
              {one.rule !== null && one.version !== version && (
                <button type="button" class="plain" onClick={() => one.rule && onRestore(one.rule)}>
                  Edit this one<span class="spoken"> (version {one.version})</span>
                </button>
              )}
            </li>
          ))}
        </ol>
        {versions.length > 1 && (
          <>
            <p class="line">
              <VersionChoice label="Between" versions={versions} value={pair[0]} onChange={number => setPair([number, pair[1]])} />
              <VersionChoice label="and" versions={versions} value={pair[1]} onChange={number => setPair([pair[0], number])} />
            </p>
            {from && to && <Differences from={from} to={to} />}
          </>
        )}
      </details>
    </section>
  )
}

type ChoiceProps = {
  readonly label: string
  readonly versions: readonly Version[]
  readonly value: number | undefined
  readonly onChange: (version: number) => void
}

function VersionChoice({ label, versions, value, onChange }: ChoiceProps) {
  return (
    <label>
      {label}{' '}
      <select value={value} onChange={event => onChange(Number(event.currentTarget.value))}>
        {versions.map(({ version }) => (
          <option key={version} value={version}>
            version {version}
          </option>
        ))}
      </select>
    </label>
  )
}

function Differences({ from, to }: { readonly from: Version; readonly to: Version }) {
  const found = differences(written(from.rule ?? {}), written(to.rule ?? {}))
  if (found.length === 0) return <p class="quiet">They say the same.</p>
  return (
    <table class="plain differences">
      <thead>
        <tr>
          <th scope="col" class="name">
            Field
          </th>
          <th scope="col">Version {from.version}</th>
          <th scope="col">Version {to.version}</th>
        </tr>
      </thead>
      <tbody>
        {found.map(({ path, from: before, to: after }) => (
          <tr key={path} data-difference={path}>
            <th scope="row" class="name">
              {path}
            </th>
            <td>
              <del>{said(before)}</del>
            </td>
            <td>
              <ins>{said(after)}</ins>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

function said(value: unknown): string {
  return value === undefined ? '' : Array.isArray(value) && value.length === 0 ? 'none' : formatted(value)
}
