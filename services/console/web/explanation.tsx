// Why a rule did, or did not, fire on a device: in the engine's own words.
import { useEffect, useState } from 'preact/hooks'
import type { Feed } from './feed.ts'
import { formatTimeOfDay } from './format.ts'
import { refusal } from './refusal.ts'
import { rulePath } from './rule-call.ts'
import { formatted } from './words.ts'

type Explained = {
  readonly phase: string
  readonly words: readonly string[]
  readonly nearest: string
  readonly values: readonly {
    readonly time: string
    readonly eventId: string
    readonly value: unknown
    readonly holds: boolean | null
    readonly reason: string
  }[]
}

type Props = { readonly feed: Feed; readonly rule: string; readonly device: string; readonly isChanged: boolean; readonly now: number }

export function Explanation({ feed, rule, device, isChanged, now }: Props) {
  const [at, setAt] = useState('')
  const [found, setFound] = useState<Explained>()
  const [problem, setProblem] = useState('')
  useEffect(() => setFound(undefined), [device])
  const ask = (event: SubmitEvent) => {
    event.preventDefault()
    const query = { device, ...(at === '' ? {} : { time: new Date(at) }) }
    feed.client.request<Explained>('GET', rulePath(feed, rule, ':explain'), { query }).then(
      explained => {
        setFound(explained)
        setProblem('')
      },
      (error: Error) => setProblem(refusal('Not explained', error)),
    )
  }
  return (
    <div class="explanation">
      <form class="line" onSubmit={ask}>
        <h3>Why, or why not?</h3>
        <label>
          At (empty: now) <input type="datetime-local" step={1} value={at} onInput={event => setAt(event.currentTarget.value)} />
        </label>
        <button type="submit">Explain</button>
        {isChanged && <span class="quiet">as it is saved</span>}
      </form>
      <p role="alert" class="problem">
        {problem}
      </p>
      {found && (
        <>
          <div data-explanation={found.phase}>
            {found.words.map(words => (
              <p key={words}>{words}</p>
            ))}
          </div>
          {found.values.length > 0 && (
            <details>
              <summary>What it saw</summary>
              <ul class="seen">
                {found.values.map(({ time, eventId, value, holds, reason }) => (
                  <li key={eventId}>
                    <time dateTime={time}>{formatTimeOfDay(Date.parse(time), now)}</time> {value === null ? '' : formatted(value)}{' '}
                    <span class="quiet">
                      {holds === null ? '' : holds ? 'holds: ' : 'does not hold: '}
                      {reason}
                    </span>
                  </li>
                ))}
              </ul>
            </details>
          )}
        </>
      )}
    </div>
  )
}
