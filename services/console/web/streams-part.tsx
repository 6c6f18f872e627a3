// Durable streams: the table of all, or the page of one.
import { useCallback, useState } from 'preact/hooks'
import type { Stream } from '../../../packages/client/index.ts'
import { DEVICES } from '../../../packages/core/stream.ts'
import type { Feed } from './feed.ts'
import { formatAge, formatBytes, formatNumber } from './format.ts'
import { usePolled } from './poll.ts'
import { hashOf } from './route.ts'
import { StreamPage } from './stream-page.tsx'

const PAGE = 100
const MAX_STREAMS = 500

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

type Listed = { readonly streams: readonly Stream[]; readonly more: boolean }

async function listStreams({ client }: Feed): Promise<Listed> {
  const streams: Stream[] = []
  for await (const page of client.streams.pages({ pageSize: PAGE })) {
    streams.push(...page)
    if (streams.length >= MAX_STREAMS) return { streams, more: true }
  }
  return { streams, more: false }
}

function StreamTable({ feed, project, keyId }: Omit<Props, 'stream' | 'now'>) {
  const load = useCallback(() => listStreams(feed), [feed])
  const { value, failure } = usePolled(feed, load)
  const [filter, setFilter] = useState('')
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean)
  const shown = (value?.streams ?? []).filter(({ name, description }) =>
    words.every(word => `${name} ${description}`.toLowerCase().includes(word)),
  )
  return (
    <section class="streams" aria-labelledby="streams">
      <div class="bar">
        <h2 id="streams">Streams</h2>
        <p class="quiet" data-shown>
          {value ? countText(shown.length, value) : failure ? '' : 'loading…'}
        </p>
        <label class="filter">
          <span class="spoken">Filter streams</span>
          <input
            type="search"
            placeholder="Filter by name"
            value={filter}
            spellcheck={false}
            onInput={event => setFilter(event.currentTarget.value)}
          />
        </label>
      </div>
      {failure && (
        <p role="alert" class="problem">
          Streams could not be loaded: {failure.message}
        </p>
      )}
      {value && value.streams.length > 0 && <Rows streams={shown} />}
      {value && value.streams.length > 0 && shown.length === 0 && <p class="empty">No stream matches “{filter}”.</p>}
      {value?.streams.every(({ name }) => name === DEVICES) && <FirstStream project={project} keyId={keyId} />}
      {value && <NewStream feed={feed} />}
    </section>
  )
}

function countText(shown: number, { streams, more }: Listed): string {
  if (streams.length === 0) return 'none yet'
  const all = `${streams.length.toLocaleString('en')}${more ? ' or more' : ''}`
  return shown === streams.length ? all : `showing ${shown.toLocaleString('en')} of ${all}`
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
        <a href={hashOf({ part: 'streams', stream: name })}>{name}</a>
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
