// What would make a rule calmer, from history: how many alarms fewer, and how much later they would come.
import { useState } from 'preact/hooks'
import type { Json } from './draft.ts'
import type { Editor } from './editor.ts'
import type { Feed } from './feed.ts'
import { refusal } from './refusal.ts'
import { rulePath } from './rule-call.ts'

type Props = { readonly feed: Feed; readonly rule: string; readonly editor: Editor }

export function Suggestions({ feed, rule }: Props) {
  const [found, setFound] = useState<Json>()
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const ask = () => {
    setBusy(true)
    feed.client
      .request<Json>('POST', rulePath(feed, rule, ':suggest'), { body: {} })
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
          {busy ? 'Looking at its history…' : 'Make it calmer'}
        </button>
      </p>
      <p role="alert" class="problem">
        {problem}
      </p>
      {found && <pre>{JSON.stringify(found, null, 2)}</pre>}
    </div>
  )
}
