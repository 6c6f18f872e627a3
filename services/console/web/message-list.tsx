// The messages of a stream, newest first; new ones come in at the top, older ones when they are asked for.
import { useCallback, useEffect, useState } from 'preact/hooks'
import { type Message, type MessageQuery, TelltaleError } from '../../../packages/client/index.ts'
import type { Feed } from './feed.ts'
import { formatBytes, formatTimeOfDay } from './format.ts'
import { preview, shownAs, VIEWS, type View, viewOf } from './payload.ts'

type Props = { readonly feed: Feed; readonly stream: string; readonly lastSeq: number; readonly now: number }

const PAGE = 50
const MAX_SHOWN = 1000

type Shown = { readonly messages: readonly Message[]; readonly older: boolean }

export function MessageList({ feed, stream, lastSeq, now }: Props) {
  const [shown, setShown] = useState<Shown>()
  const [until, setUntil] = useState('')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const newest = shown?.messages[0]?.seq ?? 0
  const oldest = shown?.messages.at(-1)?.seq

  const run = useCallback(
    (work: () => Promise<Shown>) => {
      setBusy(true)
      setProblem('')
      work()
        .then(setShown, (error: unknown) => {
          if (error instanceof TelltaleError && error.code === 'unauthenticated') feed.signedOut()
          else setProblem(error instanceof Error ? error.message : String(error))
        })
        .finally(() => setBusy(false))
    },
    [feed],
  )
  // What came since; when that is more than a page, the newest page takes the place of the others.
  useEffect(() => {
    if (busy || until !== '' || (shown !== undefined && newest >= lastSeq)) return
    run(async () => {
      const page = await load(feed, stream, { afterSeq: newest })
      if (shown === undefined || page.older) return page
      return { messages: [...page.messages, ...shown.messages].slice(0, MAX_SHOWN), older: shown.older }
    })
  }, [lastSeq, until, busy, shown === undefined])
  const showOlder = () => {
    run(async () => {
      const page = await load(feed, stream, { ...endOf(until), ...(oldest === undefined ? {} : { beforeSeq: oldest }) })
      return { messages: [...(shown?.messages ?? []), ...page.messages], older: page.older }
    })
  }
  const jump = (time: string) => {
    setUntil(time)
    setShown(undefined)
    if (time !== '') run(() => load(feed, stream, endOf(time)))
  }
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
          Published before <input type="datetime-local" value={until} onChange={event => jump(event.currentTarget.value)} />
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
      {shown?.older && shown.messages.length < MAX_SHOWN && (
        <p class="empty">
          <button type="button" disabled={busy} onClick={showOlder}>
            Show older
          </button>
        </p>
      )}
    </section>
  )
}

async function load({ client }: Feed, stream: string, query: MessageQuery): Promise<Shown> {
  const page = await client.streams.messages(stream, { ...query, pageSize: PAGE })
  return { messages: page.messages, older: page.nextPageToken !== '' }
}

/** As it was entered, in the time zone of the browser. */
function endOf(until: string): MessageQuery {
  const end = new Date(until)
  return until === '' || Number.isNaN(end.getTime()) ? {} : { endTime: end }
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
