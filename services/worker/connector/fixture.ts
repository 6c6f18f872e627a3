// One project with data connectors on a real Redis, pushed to a real receiver: what the tests of this folder share.
import { onTestFinished } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import { DurableStreams } from '../../../packages/log/durable/stream.ts'
import { batchOf, freshProject, type TestRedis } from '../../../packages/log/fixture.ts'
import { Followers } from '../../../packages/log/follow.ts'
import { Log } from '../../../packages/log/log.ts'
import { Outbound } from '../../../packages/outbound/outbound.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { type Connector, Connectors, type Progress } from '../../../packages/state/connector.ts'
import { Devices } from '../../../packages/state/device.ts'
import { type PushReceiver, startPushReceiver } from '../../../test/pushed.ts'
import { type ConnectorPorts, ProjectPush } from './project.ts'

export type Bench = {
  readonly project: string
  readonly log: Log
  readonly connectors: Connectors
  readonly streams: DurableStreams
  readonly receiver: PushReceiver
  readonly ports: ConnectorPorts
  /** What pushes; `update` is not called by itself. */
  readonly push: ProjectPush
  /** How often it asked for that. */
  troubles(): number
  followers(): number
  /** Connectors that were disabled by nobody. */
  readonly disabled: string[]
  connector(id: string, more?: Partial<Connector>): Promise<Connector>
  change(id: string, more: Partial<Connector>): Promise<Connector>
  /** Appends one entry of events with these ids. */
  append(ids: readonly string[], eventType?: string): Promise<string>
  progress(id: string): Promise<Progress>
}

const NO_STORE: ConnectorPorts['store'] = { past: async ({ to }) => ({ events: [], next: { entryId: to, index: 999_999 } }) }

export async function openBench(server: TestRedis, more: Partial<ConnectorPorts> = {}): Promise<Bench> {
  const { redis } = server
  const [project, log, connectors, outbound] = [freshProject(), new Log(redis, []), new Connectors(redis), new Outbound('all')]
  const receiver = await startPushReceiver()
  const check = async (_: string, __: unknown, { length }: readonly Buffer[]) => {
    if (length > 0) throw new Failure('invalid', 'not so', { field: 'schema' })
  }
  const streams = new DurableStreams(redis, { check })
  const disabled: string[] = []
  let [troubles, followers] = [0, 0]
  const following = new Followers({ log, connect: () => server.connect(), troubled: () => undefined })
  const ports: ConnectorPorts = {
    log,
    store: NO_STORE,
    connectors,
    devices: new Devices(redis),
    outbound,
    logger: openLogger('silent'),
    sync: { devices: async () => [], reported: async () => [], stored: async () => undefined },
    async follow(of, follower) {
      const { position, stop } = await following.follow(of, 'log', follower)
      followers++
      const stopOnce = async () => {
        followers--
        await stop()
      }
      return { position, stop: stopOnce }
    },
    target: ({ url, headers, signatureSecret }) => ({ url: new URL(url), secret: signatureSecret, headers: JSON.parse(headers) }),
    attempted: () => undefined,
    append: async (of, stream, messages, move) =>
      streams.appendMoving({ project: of, record: await streams.get(of, stream) }, messages, move),
    isFed: async () => false,
    disabled: async (_, id) => void disabled.push(id),
    giveUpMs: 60_000,
    ...more,
  }
  const push = new ProjectPush(ports, project, () => troubles++)
  onTestFinished(async () => {
    await push.stop()
    await outbound.close()
    await receiver.stop()
  })
  return {
    project,
    log,
    connectors,
    streams,
    receiver,
    ports,
    push,
    disabled,
    troubles: () => troubles,
    followers: () => followers,
    async connector(id, given = {}) {
      const nothing = { displayName: '', events: [], labels: [], headers: '{}', signatureSecret: '' }
      const connector: Connector = { id, status: 'ACTIVE', url: `${receiver.url}/${id}`, ...nothing, ...given }
      await connectors.create(project, connector, await log.last(project))
      return connector
    },
    async change(id, given) {
      const last = await log.last(project)
      const changed = connectors.change(project, id, before => ({ ...before, ...given }), last)
      // Nobody else says that it was seen; what pushes is told by the test.
      const { version } = await connectors.changes(0)
      await connectors.seen({ project, version: version + 10 })
      return changed
    },
    async append(ids, eventType = 'temperature') {
      const { entryId } = await log.append(
        project,
        batchOf(
          project,
          ids.map(id => ({ device: 'd', eventType, timeUs: 1, id })),
        ),
      )
      return entryId ?? ''
    },
    progress: async id => connectors.progress(project, await connectors.one(project, id)),
  }
}

export function ids(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}-${i}`)
}
