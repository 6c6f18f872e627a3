// What would make a rule calmer, from history: how many alarms fewer, and how much later they would come.
import { useState } from 'preact/hooks'
import { type Json, written } from './draft.ts'
import type { Editor } from './editor.ts'
import type { Feed } from './feed.ts'
import { formatNumber } from './format.ts'
import { refusal } from './refusal.ts'
import { rulePath } from './rule-call.ts'

type Figures = {
  readonly alarms: number
  readonly flaps: number
  readonly minutesInAlarm: number
  readonly addedDelay: { readonly median: string; readonly max: string }
  readonly missed: number
}
type Found = {
  readonly devices: readonly string[]
  readonly events: number
  readonly noise: number | null
  readonly present: Figures
  readonly suggestions: readonly { readonly words: string; readonly figures: Figures; readonly rule: Json }[]
}

type Props = { readonly feed: Feed; readonly rule: string; readonly editor: Editor }

export function Suggestions({ feed, rule, editor }: Props) {
  const [found, setFound] = useState<Found>()
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const ask = () => {
    setBusy(true)
    feed.client
      .request<Found>('POST', rulePath(feed, rule, ':suggest'), { body: {} })
      .then(
        answer => {
          setFound(answer)
          setProblem('')
        },
        (error: Error) => setProblem(refusal('No suggestion', error)),
      )
      .finally(() => setBusy(false))
  }
  return (
    <div class="suggestions">
      <p class="buttons">
        <button type="button" disabled={busy} onClick={ask}>
          {busy ? 'Looking at its last week…' : 'Make it calmer'}
        </button>
        {found && <span class="quiet">{presentWords(found)}</span>}
      </p>
      <p role="alert" class="problem">
        {problem}
      </p>
      {found && found.suggestions.length > 0 && (
        <ul>
          {found.suggestions.map(({ words, figures, rule: suggested }) => (
            <li key={words}>
              <div>
                <strong>{words}</strong>
                <p class="quiet">{costWords(figures, found.present)}</p>
              </div>
              <button type="button" onClick={() => take(editor, suggested)}>
                Use this
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  )
}

/** Into the form, not yet saved. */
function take(editor: Editor, suggested: Json): void {
  editor.mode = 'form'
  editor.replace(written(suggested))
  document.getElementById('rule')?.focus()
}

function presentWords({ present, suggestions, events }: Found): string {
  if (events === 0) return 'no history to learn from'
  const alarms = `${formatNumber(present.alarms)} ${present.alarms === 1 ? 'alarm' : 'alarms'}, ${formatNumber(present.flaps)} soon after another`
  return suggestions.length === 0 ? `${alarms}: nothing would make it better` : alarms
}

/** What is won, and what it costs. */
export function costWords(figures: Figures, present: Figures): string {
  const { addedDelay, missed } = figures
  return [
    `${formatNumber(figures.alarms)} alarms instead of ${formatNumber(present.alarms)}`,
    `${formatNumber(figures.flaps)} soon after another`,
    /^0+(ms|s|m|h|d)$/.test(addedDelay.max) ? 'none later' : `${addedDelay.median} later, at most ${addedDelay.max}`,
    missed === 0 ? 'none missed' : `${formatNumber(missed)} missed`,
  ].join(', ')
}
