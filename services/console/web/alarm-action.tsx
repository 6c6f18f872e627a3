// What a person does about an alarm: acknowledge, assign, comment, snooze; each with a word why.
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Alarm } from '../../../packages/client/index.ts'
import type { Feed } from './feed.ts'
import { refusal } from './refusal.ts'

type Props = { readonly feed: Feed; readonly alarm: Alarm; readonly account: string; readonly now: number; readonly onDone: () => void }
type Verb = 'acknowledge' | 'assign' | 'comment' | 'snooze'

const WORDS: { readonly [verb in Verb]: string } = { acknowledge: 'Acknowledge', assign: 'Assign', comment: 'Comment', snooze: 'Snooze' }
const SNOOZES = ['30m', '1h', '2h', '8h', '24h', '7d'] as const
const MAX_COMMENT = 2000

export function AlarmActions({ feed, alarm, account, onDone }: Props) {
  const [open, setOpen] = useState<Verb>()
  const [problem, setProblem] = useState('')
  const place = useRef<HTMLDivElement>(null)
  const isOpen = alarm.state !== 'cleared'
  const run = (work: Promise<Alarm>) =>
    work.then(
      changed => {
        feed.takeAlarms([changed], false, true)
        setOpen(undefined)
        setProblem('')
        onDone()
        place.current?.querySelector('button')?.focus()
      },
      (error: Error) => setProblem(refusal('Not done', error)),
    )
  const { alarms } = feed.client
  const button = (verb: Verb) => (
    <button
      type="button"
      aria-expanded={open === verb}
      class={verb === 'acknowledge' ? 'primary' : ''}
      onClick={() => setOpen(open === verb ? undefined : verb)}
    >
      {WORDS[verb]}
    </button>
  )
  return (
    <div class="actions" ref={place}>
      <p class="buttons">
        {isOpen && !alarm.acknowledgement && button('acknowledge')}
        {alarm.acknowledgement && (
          <button type="button" onClick={() => void run(alarms.unacknowledge(alarm.alarmId))}>
            Take the acknowledgement back
          </button>
        )}
        {isOpen && button('assign')}
        {isOpen && alarm.assignee?.to !== account && (
          <button type="button" onClick={() => void run(alarms.assign(alarm.alarmId, account))}>
            Take it
          </button>
        )}
        {button('comment')}
        {isOpen && !alarm.snooze && button('snooze')}
        {alarm.snooze && (
          <button type="button" onClick={() => void run(alarms.snooze(alarm.alarmId, { until: null }))}>
            End the snooze
          </button>
        )}
      </p>
      {open && (
        <ActionForm
          key={open}
          verb={open}
          account={account}
          onCancel={() => setOpen(undefined)}
          onSubmit={said => void run(act(feed, alarm, open, said))}
        />
      )}
      <p role="alert" class="problem">
        {problem}
      </p>
    </div>
  )
}

type Said = { readonly to: string; readonly long: string; readonly comment: string }

function act({ client: { alarms } }: Feed, { alarmId }: Alarm, verb: Verb, { to, long, comment }: Said): Promise<Alarm> {
  if (verb === 'acknowledge') return alarms.acknowledge(alarmId, comment)
  if (verb === 'assign') return alarms.assign(alarmId, to === '' ? null : to, comment)
  if (verb === 'snooze') return alarms.snooze(alarmId, { for: long }, comment)
  return alarms.comment(alarmId, comment)
}

type FormProps = { readonly verb: Verb; readonly account: string; readonly onCancel: () => void; readonly onSubmit: (said: Said) => void }

function ActionForm({ verb, account, onCancel, onSubmit }: FormProps) {
  const [to, setTo] = useState(account)
  const [long, setLong] = useState<string>('2h')
  const [comment, setComment] = useState('')
  const form = useRef<HTMLFormElement>(null)
  useLayoutEffect(() => form.current?.querySelector<HTMLElement>('input, select')?.focus(), [])
  return (
    <form
      class="line"
      ref={form}
      onSubmit={event => {
        event.preventDefault()
        onSubmit({ to: to.trim(), long: long.trim(), comment: comment.trim() })
      }}
      onKeyDown={event => {
        if (event.key === 'Escape') onCancel()
      }}
    >
      {verb === 'assign' && (
        <label>
          To{' '}
          <input value={to} maxLength={200} spellcheck={false} onInput={event => setTo(event.currentTarget.value)} placeholder="nobody" />
        </label>
      )}
      {verb === 'snooze' && (
        <label>
          For{' '}
          <select value={long} onChange={event => setLong(event.currentTarget.value)}>
            {SNOOZES.map(one => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
      )}
      <label>
        {verb === 'comment' ? 'Comment' : 'Comment (optional)'}{' '}
        <input
          value={comment}
          maxLength={MAX_COMMENT}
          required={verb === 'comment'}
          onInput={event => setComment(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="primary">
        Confirm
      </button>
      <button type="button" class="plain" onClick={onCancel}>
        Cancel
      </button>
    </form>
  )
}
