// Deleting a rule: it asks first, and whether channels are told that its alarms are over.
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Feed } from './feed.ts'
import { refusal } from './refusal.ts'
import { hashOf } from './route.ts'
import { removeRule } from './rule-call.ts'

export function RuleRemoval({ feed, rule }: { readonly feed: Feed; readonly rule: string }) {
  const [open, setOpen] = useState(false)
  const [busy, setBusy] = useState(false)
  const [tell, setTell] = useState(false)
  const [problem, setProblem] = useState('')
  const first = useRef<HTMLInputElement>(null)
  const opener = useRef<HTMLButtonElement>(null)
  useLayoutEffect(() => first.current?.focus(), [open])
  const cancel = () => {
    setOpen(false)
    opener.current?.focus()
  }
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    setBusy(true)
    removeRule(feed, rule, tell)
      .then(
        () => {
          location.hash = hashOf({ part: 'rules' })
        },
        (error: Error) => setProblem(refusal('Not deleted', error)),
      )
      .finally(() => setBusy(false))
  }
  const left = [...feed.alarms.values()].filter(alarm => alarm.rule === rule && alarm.state !== 'cleared').length
  return (
    <>
      <button type="button" ref={opener} aria-expanded={open} onClick={() => setOpen(!open)}>
        Delete
      </button>
      {open && (
        <form
          class="line question"
          onSubmit={submit}
          onKeyDown={event => {
            if (event.key === 'Escape') cancel()
          }}
        >
          <span>
            Delete {rule}?{' '}
            {left === 0 ? 'It has no alarm now.' : `${left === 1 ? 'Its alarm is' : `Its ${left} alarms are`} cleared with it.`}
          </span>
          <label>
            <input ref={first} type="checkbox" checked={tell} onChange={event => setTell(event.currentTarget.checked)} /> Tell its channels
            that they are over
          </label>
          <button type="submit" class="danger" disabled={busy}>
            Delete it
          </button>
          <button type="button" class="plain" onClick={cancel}>
            Keep it
          </button>
          <p role="alert" class="problem">
            {problem}
          </p>
        </form>
      )}
    </>
  )
}
