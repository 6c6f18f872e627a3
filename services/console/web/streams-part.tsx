// Durable streams: the table of all, or the page of one.
import { useCallback, useEffect, useState } from 'preact/hooks'
import type { Stream } from '../../../packages/client/index.ts'
import { DEVICES } from '../../../packages/core/stream.ts'
import type { Feed } from './feed.ts'
import { formatAge, formatBytes, formatNumber } from './format.ts'
import { usePolled } from './poll.ts'
import { hashOf } from './route.ts'
import { StreamPage } from './stream-page.tsx'

const PAGE = 100
/** Each is asked for again every two seconds. */
const MAX_PAGES = 5
const FILTER_AFTER_MS = 300

type Props = {
  readonly feed: Feed
  readonly project: string
  readonly keyId: string
  readonly stream: string | undefined
  readonly now: number
}

export function StreamsPart({ feed, project, keyId, stream, now }: Props) {
  if (stream !== undefined) return <StreamPage key={stream} feed={feed} name={stream} now={now} />
  return <StreamTable feed={feed} project={project} keyId={keyId} />
}

type Listed = { readonly query: string; readonly streams: readonly Stream[]; readonly more: boolean }

/** Only what is shown: a project may have thousands. */
async function listStreams({ client }: Feed, query: string, pages: number): Promise<Listed> {
  const streams: Stream[] = []
  let pageToken: string | undefined
  for (let page = 0; page < pages && pageToken !== ''; page++) {
    const found = await client.streams.list({ pageSize: PAGE, query, ...(pageToken === undefined ? {} : { pageToken }) })
    streams.push(...found.streams)
    pageToken = found.nextPageToken
  }
  return { query, streams, more: pageToken !== '' }
}

/** What was typed last, when nothing more is typed. */
function useSettled(text: string): string {
  const [settled, setSettled] = useState(text)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), FILTER_AFTER_MS)
    return () => clearTimeout(timer)
  }, [text])
  return settled
}

function StreamTable({ feed, project, keyId }: Omit<Props, 'stream' | 'now'>) {
  const [filter, setFilter] = useState('')
  const [pages, setPages] = useState(1)
  const query = useSettled(filter)
  const load = useCallback(() => listStreams(feed, query, pages), [feed, query, pages])
  const { value, failure } = usePolled(feed, load)
  const words = filter.toLowerCase().split(/\s+/)
  const shown = (value?.streams ?? []).filter(({ name }) => words.every(word => name.toLowerCase().includes(word)))
  return (
    <section class="streams" aria-labelledby="streams">
      <div class="bar">
        <h2 id="streams">Streams</h2>
        <p class="quiet" data-shown>
          {value ? countText(shown.length, value.more) : failure ? '' : 'loading…'}
        </p>
        <label class="filter">
          <span class="spoken">Filter streams</span>
          <input
            type="search"
            placeholder="Filter by name"
            value={filter}
            maxLength={200}
            spellcheck={false}
            onInput={event => {
              setFilter(event.currentTarget.value)
              setPages(1)
            }}
          />
        </label>
      </div>
      {failure && (
        <p role="alert" class="problem">
          Streams could not be loaded: {failure.message}
        </p>
      )}
      {shown.length > 0 && <Rows streams={shown} />}
      {value?.query === filter && shown.length === 0 && <p class="empty">No stream matches “{filter}”.</p>}
      {value?.more && pages < MAX_PAGES && (
        <p class="empty">
          <button type="button" onClick={() => setPages(pages + 1)}>
            Show more
          </button>
        </p>
      )}
      {value?.query === '' && value.streams.every(({ name }) => name === DEVICES) && <FirstStream project={project} keyId={keyId} />}
      {value && <NewStream feed={feed} />}
    </section>
  )
}

function countText(shown: number, more: boolean): string {
  if (shown === 0) return 'none'
  return `${shown.toLocaleString('en')}${more ? ' or more' : ''}`
}

function Rows({ streams }: { readonly streams: readonly Stream[] }) {
  return (
    <table class="plain">
      <thead>
        <tr>
          <th scope="col" class="name">
            Name
          </th>
          <th scope="col" class="number wide">
            Messages
          </th>
          <th scope="col" class="number wide">
            Size
          </th>
          <th scope="col" class="number">
            In/s
          </th>
          <th scope="col" class="number wide">
            Out/s
          </th>
          <th scope="col" class="number wide">
            Consumers
          </th>
          <th scope="col" class="number">
            Backlog
          </th>
          <th scope="col" class="number" title="Age of the oldest message that is not acked">
            Oldest
          </th>
        </tr>
      </thead>
      <tbody>
        {streams.map(stream => (
          <Row key={stream.name} stream={stream} />
        ))}
      </tbody>
    </table>
  )
}

function Row({ stream: { name, description, stats } }: { readonly stream: Stream }) {
  return (
    <tr data-stream={name}>
      <th scope="row" class="name">
        <a class="cut" title={name} href={hashOf({ part: 'streams', stream: name })}>
          {name}
        </a>
        {description !== '' && <span class="aside quiet">{description}</span>}
      </th>
      <td class="number wide">{stats.messageCount.toLocaleString('en')}</td>
      <td class="number wide">{formatBytes(stats.bytes)}</td>
      <td class="number">{formatNumber(stats.messagesPerSecond)}</td>
      <td class="number wide">{formatNumber(stats.deliveredPerSecond)}</td>
      <td class="number wide">{stats.consumerCount}</td>
      <td class="number">{stats.backlogCount.toLocaleString('en')}</td>
      <td class="number">{stats.backlogCount === 0 ? '–' : formatAge(stats.backlogAgeMs)}</td>
    </tr>
  )
}

function FirstStream({ project, keyId }: { readonly project: string; readonly keyId: string }) {
  return (
    <div class="first-event">
      <p>
        A durable stream keeps messages until every subscription has acked them. Producers get an answer when a message is on disk. Make one
        below, or over HTTP (you will be asked for the secret):
      </p>
      <pre>
        <code>{`curl -u '${keyId}' -d '{"name":"plant-a"}' ${location.origin}/v2/projects/${project}/streams`}</code>
      </pre>
    </div>
  )
}

function NewStream({ feed }: { readonly feed: Feed }) {
  const [name, setName] = useState('')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    setBusy(true)
    feed.client.streams
      .create(name.trim())
      .then(
        made => {
          location.hash = hashOf({ part: 'streams', stream: made.name })
        },
        (error: Error) => setProblem(error.message),
      )
      .finally(() => setBusy(false))
  }
  return (
    <form class="line" onSubmit={submit}>
      <label for="new-stream">New stream</label>
      <input
        id="new-stream"
        value={name}
        required
        maxLength={255}
        spellcheck={false}
        autocapitalize="off"
        onInput={event => setName(event.currentTarget.value)}
      />
      <button type="submit" disabled={busy}>
        Create
      </button>
      <p role="alert" class="problem">
        {problem !== '' && `Not created: ${problem}`}
      </p>
    </form>
  )
}
