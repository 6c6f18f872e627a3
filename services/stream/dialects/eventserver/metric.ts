// The series of the original in the text format of Prometheus, of the caller's project only (contracts.md 4.a.4). The page of the whole
// installation, /metrics, is for its operator and names no project's streams.
import type { DurableStreams } from '../../../../packages/log/durable/stream.ts'
import type { HttpApp } from '../../../../packages/runtime/http.ts'
import { METRICS_TYPE } from '../../../../packages/runtime/metric.ts'
import { goneOf } from '../gone.ts'
import { homeOf } from '../home.ts'
import type { Authenticate } from './event.ts'
import { each, largest, ownedIn } from './owned.ts'

type Labels = Readonly<Record<string, string>>
type Sample = readonly [labels: Labels, value: number]

export function addMetrics(app: HttpApp, streams: DurableStreams, authenticate: Authenticate): void {
  app.get('/metrics', { config: { authenticate } }, async (request, reply) => {
    const gone = goneOf(reply)
    const owned = await ownedIn(streams, homeOf(request, 'user'), gone)
    const named = await each(largest(owned), gone, async ({ stream, owner, last }) => {
      const offsets = await streams.offsets(stream)
      return { streamName: stream.record.name, owner, last, offsets }
    })
    const text = [
      series('streams_total', 'gauge', 'Streams', [[{}, owned.length]]),
      series('producers_total', 'gauge', 'Producers', [[{}, new Set(owned.map(({ owner }) => owner)).size]]),
      series(
        'events_total',
        'counter',
        'Events in a stream',
        named.map(({ owner, streamName, last }) => [{ producerId: owner, streamName }, last]),
      ),
      series(
        'consumers_total',
        'gauge',
        'Consumers of a stream',
        named.map(one => [{ streamName: one.streamName }, new Set(one.offsets.map(({ consumer }) => consumer)).size]),
      ),
      series(
        'consumer_offset_total',
        'gauge',
        'Events of a name that a consumer has acknowledged',
        named.flatMap(one =>
          one.offsets.map(
            ({ consumer, name, offset }): Sample => [{ consumerId: consumer, eventName: name, streamName: one.streamName }, offset],
          ),
        ),
      ),
    ].join('')
    return reply.type(METRICS_TYPE).send(text)
  })
}

function series(name: string, type: 'gauge' | 'counter', help: string, samples: readonly Sample[]): string {
  const lines = samples.map(([labels, value]) => `${name}${labelsOf(labels)} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}

function labelsOf(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
