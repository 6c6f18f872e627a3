// The messages of a stream, newest first; new ones come in at the top, older ones when they are asked for.
import { useEffect, useMemo, useReducer, useState } from 'preact/hooks'
import type { Message, Stream } from '../../../packages/client/index.ts'
import type { Feed } from './feed.ts'
import { formatBytes, formatTimeOfDay } from './format.ts'
import { MAX_HELD, Messages } from './message.ts'
import { preview, shownAs, VIEWS, type View, viewOf } from './payload.ts'

/** `stats`: others with each poll, also when nothing in them changed. */
type Props = { readonly feed: Feed; readonly stream: string; readonly stats: Stream['stats']; readonly now: number }

export function MessageList({ feed, stream, stats, now }: Props) {
  const [, redraw] = useReducer((drawn: number) => drawn + 1, 0)
  const messages = useMemo(
    () => new Messages({ client: feed.client, stream, changed: () => redraw(undefined), signedOut: () => feed.signedOut() }),
    [feed, stream],
  )
  useEffect(() => void messages.follow(stats.lastSeq), [messages, stats])
  const { held: shown, until, problem, isBusy } = messages
  return (
    <section class="messages" aria-labelledby="messages">
      <div class="bar">
        <h2 id="messages">Messages</h2>
        <p class="quiet" data-shown>
          {shown === undefined
            ? 'loading…'
            : shown.messages.length === 0
              ? 'none'
              : `showing ${shown.messages.length.toLocaleString('en')}, newest first`}
        </p>
        <label class="filter">
          Published before <input type="datetime-local" value={until} onChange={event => void messages.jump(event.currentTarget.value)} />
        </label>
      </div>
      {problem !== '' && (
        <p role="alert" class="problem">
          Messages could not be loaded: {problem}
        </p>
      )}
      {shown?.messages.length === 0 && (
        <p class="empty">
          {until === '' ? 'No message is kept here. Append one above.' : 'No message that is kept was published before that.'}
        </p>
      )}
      {shown && shown.messages.length > 0 && (
        <ul>
          {shown.messages.map(message => (
            <Item key={message.seq} message={message} now={now} />
          ))}
        </ul>
      )}
      {shown?.older && shown.messages.length < MAX_HELD && (
        <p class="empty">
          <button type="button" disabled={isBusy} onClick={() => void messages.showOlder()}>
            Show older
          </button>
        </p>
      )}
    </section>
  )
}

function Item({ message, now }: { readonly message: Message; readonly now: number }) {
  const [open, setOpen] = useState(false)
  const { seq, publishTime, key, properties, name, size } = message
  const aside = [...(name === null ? [] : [name]), ...Object.entries(properties).map(([property, value]) => `${property}=${value}`)]
  return (
    <li data-message={seq}>
      <details onToggle={event => setOpen(event.currentTarget.open)}>
        <summary>
          <span class="place">{seq}</span>
          <time dateTime={publishTime} title={publishTime}>
            {formatTimeOfDay(Date.parse(publishTime), now)}
          </time>
          {key !== null && <span class="key">{key}</span>}
          <span class="preview">{preview(message)}</span>
          {aside.length > 0 && <span class="aside">{aside.join(' · ')}</span>}
          <span class="size wide">{formatBytes(size)}</span>
        </summary>
        {open && <Content message={message} />}
      </details>
    </li>
  )
}

function Content({ message }: { readonly message: Message }) {
  const [view, setView] = useState<View>(viewOf(message))
  const { messageId, publishTime, eventTime, producer, name, number, key, properties } = message
  const facts: readonly (readonly [string, string])[] = [
    ['Message id', messageId],
    ['Published', publishTime],
    ['Happened', eventTime ?? ''],
    ['Producer', producer ?? ''],
    ['Name', name === null ? '' : `${name}, number ${number ?? 0}`],
    ['Key', key ?? ''],
    ...Object.entries(properties).map(([property, value]) => [`Property ${property}`, value] as const),
  ]
  return (
    <div class="content">
      <fieldset class="range">
        <legend class="spoken">Show the payload as</legend>
        {VIEWS.map(one => (
          <button key={one} type="button" aria-pressed={view === one} onClick={() => setView(one)}>
            {one}
          </button>
        ))}
      </fieldset>
      <pre>
        <code>{shownAs(view, message)}</code>
      </pre>
      <dl class="facts">
        {facts
          .filter(([, text]) => text !== '')
          .map(([title, text]) => (
            <div key={title}>
              <dt>{title}</dt>
              <dd>{text}</dd>
            </div>
          ))}
      </dl>
    </div>
  )
}
