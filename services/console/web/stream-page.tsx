// The page of one durable stream: how it does, who consumes it, what is in it, and a message to try it with.
import { useCallback, useLayoutEffect, useRef } from 'preact/hooks'
import type { Stream, Subscription } from '../../../packages/client/index.ts'
import { DEVICES } from '../../../packages/core/stream.ts'
import type { Feed } from './feed.ts'
import { formatBytes, formatNumber, formatTimeOfDay } from './format.ts'
import { MessageForm } from './message-form.tsx'
import { MessageList } from './message-list.tsx'
import { usePolled } from './poll.ts'
import { hashOf } from './route.ts'
import { SubscriptionTable } from './subscription-table.tsx'

type Props = { readonly feed: Feed; readonly name: string; readonly now: number }
type Loaded = { readonly stream: Stream; readonly subscriptions: readonly Subscription[]; readonly moreSubscriptions: boolean }

const MAX_SUBSCRIPTIONS = 100

async function loadStream({ client }: Feed, name: string): Promise<Loaded> {
  const [stream, page] = await Promise.all([
    client.streams.get(name),
    client.streams.subscriptions.list(name, { pageSize: MAX_SUBSCRIPTIONS }),
  ])
  return { stream, subscriptions: page.subscriptions, moreSubscriptions: page.nextPageToken !== '' }
}

export function StreamPage({ feed, name, now }: Props) {
  const load = useCallback(() => loadStream(feed, name), [feed, name])
  const { value, failure, again } = usePolled(feed, load)
  const heading = useRef<HTMLHeadingElement>(null)
  useLayoutEffect(() => heading.current?.focus(), [])
  const gone = failure?.code === 'not_found'
  return (
    <>
      <section class="stream" aria-labelledby="stream">
        <p>
          <a href={hashOf({ part: 'streams' })}>All streams</a>
        </p>
        <div class="bar">
          <h2 id="stream" ref={heading} tabIndex={-1}>
            {name}
          </h2>
          <p class="quiet">{value ? value.stream.description : failure ? '' : 'loading…'}</p>
        </div>
        {failure && (
          <p role="alert" class="problem">
            {gone ? 'There is no such stream, or no more.' : `Could not be loaded: ${failure.message}`}
          </p>
        )}
        {value && !gone && <Facts stream={value.stream} now={now} />}
      </section>
      {value && !gone && (
        <>
          <SubscriptionTable
            feed={feed}
            stream={name}
            subscriptions={value.subscriptions}
            more={value.moreSubscriptions}
            onChanged={again}
          />
          {name !== DEVICES && <MessageForm feed={feed} stream={name} onAppended={again} />}
          <MessageList key={value.stream.createTime} feed={feed} stream={name} stats={value.stream.stats} now={now} />
        </>
      )}
    </>
  )
}

function Facts({
  stream: { stats, retention, schema, decoder, owner, createTime },
  now,
}: {
  readonly stream: Stream
  readonly now: number
}) {
  const kept = [
    ...(retention.maxAge === '0s' ? [] : [`for ${retention.maxAge}`]),
    ...(retention.maxBytes === 0 ? [] : [`up to ${formatBytes(retention.maxBytes)}`]),
    ...(retention.untilAcked ? ['until all subscriptions have acked'] : []),
  ]
  const facts: readonly (readonly [string, string])[] = [
    ['In', `${formatNumber(stats.messagesPerSecond)} messages/s, ${formatBytes(stats.bytesPerSecond)}/s`],
    [
      'Out',
      `${formatNumber(stats.deliveredPerSecond)} messages/s to ${stats.consumerCount} ${stats.consumerCount === 1 ? 'consumer' : 'consumers'}`,
    ],
    [
      'Holds',
      `${stats.messageCount.toLocaleString('en')} ${stats.messageCount === 1 ? 'message' : 'messages'}, ${formatBytes(stats.bytes)}`,
    ],
    ['Appended', `${stats.appendedCount.toLocaleString('en')} since ${formatTimeOfDay(Date.parse(createTime), now)}`],
    ['Kept', kept.length === 0 ? 'for ever' : kept.join(', ')],
    ['Schema', schema === null ? '' : schema.type === 'json' ? 'JSON Schema' : `protobuf ${schema.message}`],
    ['Decoder', decoder ?? ''],
    ['Owner', owner ?? ''],
  ]
  return (
    <dl class="facts">
      {facts
        .filter(([, text]) => text !== '')
        .map(([title, text]) => (
          <div key={title}>
            <dt>{title}</dt>
            <dd data-fact={title}>{text}</dd>
          </div>
        ))}
    </dl>
  )
}
