// The subscriptions of a stream: how far behind each is, and a way to put it elsewhere, which asks before it does.
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Subscription, SubscriptionPosition } from '../../../packages/client/index.ts'
import type { Feed } from './feed.ts'
import { formatAge, formatNumber } from './format.ts'

type Props = {
  readonly feed: Feed
  readonly stream: string
  readonly subscriptions: readonly Subscription[]
  readonly more: boolean
  readonly onChanged: () => void
}

export function SubscriptionTable({ feed, stream, subscriptions, more, onChanged }: Props) {
  const [open, setOpen] = useState<string>()
  const chosen = subscriptions.find(({ name }) => name === open)
  return (
    <section aria-labelledby="subscriptions">
      <div class="bar">
        <h2 id="subscriptions">Subscriptions</h2>
        <p class="quiet">{subscriptions.length === 0 ? 'none: messages wait for the first one' : subscriptions.length}</p>
      </div>
      {subscriptions.length > 0 && (
        <table class="plain">
          <thead>
            <tr>
              <th scope="col" class="name">
                Name
              </th>
              <th scope="col" class="number wide">
                Consumers
              </th>
              <th scope="col" class="number">
                Backlog
              </th>
              <th scope="col" class="number wide">
                Unacked
              </th>
              <th scope="col" class="number" title="Age of the oldest message that is not acked">
                Oldest
              </th>
              <th scope="col" class="number wide">
                Out/s
              </th>
              <th scope="col" class="action">
                <span class="spoken">What can be done</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {subscriptions.map(subscription => (
              <Row
                key={subscription.name}
                subscription={subscription}
                open={chosen === subscription}
                onReset={() => setOpen(chosen === subscription ? undefined : subscription.name)}
              />
            ))}
          </tbody>
        </table>
      )}
      {chosen && (
        <Reset
          key={chosen.name}
          feed={feed}
          stream={stream}
          subscription={chosen}
          onDone={() => {
            setOpen(undefined)
            onChanged()
          }}
        />
      )}
      {more && <p class="quiet">There are more subscriptions than this page loads.</p>}
    </section>
  )
}

type RowProps = { readonly subscription: Subscription; readonly open: boolean; readonly onReset: () => void }

function Row({ subscription: { name, type, stats, consumers }, open, onReset }: RowProps) {
  const trouble = [
    ...(stats.redeliveredCount > 0 ? [`${stats.redeliveredCount.toLocaleString('en')} redelivered`] : []),
    ...(stats.deadLetteredCount > 0 ? [`${stats.deadLetteredCount.toLocaleString('en')} dead-lettered`] : []),
  ]
  return (
    <tr data-subscription={name}>
      <th scope="row" class="name">
        {name}
        <span class="aside quiet">{[type.replace('_', '-'), ...trouble].join(' · ')}</span>
      </th>
      <td class="number wide" title={consumers.map(consumer => consumer.name || consumer.id).join(', ')}>
        {consumers.length}
      </td>
      <td class="number" data-backlog>
        {stats.backlogCount.toLocaleString('en')}
      </td>
      <td class="number wide">{stats.unackedCount.toLocaleString('en')}</td>
      <td class="number">{stats.backlogCount === 0 ? '–' : formatAge(stats.backlogAgeMs)}</td>
      <td class="number wide">{formatNumber(stats.deliveredPerSecond)}</td>
      <td class="action">
        <button type="button" aria-expanded={open} onClick={onReset}>
          Reset<span class="spoken"> {name}</span>
        </button>
      </td>
    </tr>
  )
}

const PLACES = [
  ['oldest', 'the oldest message'],
  ['latest', 'the next message, dropping the backlog'],
  ['time', 'messages published since'],
  ['seq', 'behind the place'],
] as const
type Place = (typeof PLACES)[number][0]

type ResetProps = { readonly feed: Feed; readonly stream: string; readonly subscription: Subscription; readonly onDone: () => void }

function Reset({ feed, stream, subscription, onDone }: ResetProps) {
  const [place, setPlace] = useState<Place>('oldest')
  const [detail, setDetail] = useState('')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const choice = useRef<HTMLSelectElement>(null)
  useLayoutEffect(() => choice.current?.focus(), [])
  const position = positionOf(place, detail)
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    if (position === undefined) {
      setProblem('Not reset: say from where.')
      return
    }
    setBusy(true)
    feed.client.streams.subscriptions
      .reset(stream, subscription.name, position)
      .then(onDone, (error: Error) => setProblem(`Not reset: ${error.message}`))
      .finally(() => setBusy(false))
  }
  return (
    <form class="line" onSubmit={submit}>
      <label>
        Reset {subscription.name} to{' '}
        <select
          ref={choice}
          value={place}
          onChange={event => {
            setPlace(event.currentTarget.value as Place)
            setDetail('')
          }}
        >
          {PLACES.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
      </label>
      {(place === 'time' || place === 'seq') && (
        <label>
          <span class="spoken">{place === 'time' ? 'Time' : 'Place'}</span>
          <input
            type={place === 'time' ? 'datetime-local' : 'number'}
            min={place === 'seq' ? 0 : undefined}
            step={1}
            required
            value={detail}
            onInput={event => setDetail(event.currentTarget.value)}
          />
        </label>
      )}
      <span>
        This is for all consumers of {subscription.name}, {subscription.consumers.length} now: messages may come again, or be passed over.
      </span>
      <button type="submit" class="primary" disabled={busy}>
        Reset it
      </button>
      <p role="alert" class="problem">
        {problem}
      </p>
    </form>
  )
}

function positionOf(place: Place, detail: string): SubscriptionPosition | undefined {
  if (place === 'oldest' || place === 'latest') return place
  if (place === 'seq') return /^\d{1,15}$/.test(detail) ? { afterSeq: Number(detail) } : undefined
  const ms = new Date(detail).getTime()
  return Number.isNaN(ms) ? undefined : { time: new Date(ms).toISOString() }
}
