// What a gateway does once a second: it says that events are being received, and looks whether devices were removed, whether there is room for
// more, and what was changed elsewhere.
import type { Redis } from 'ioredis'
import type { Failure } from '../../packages/core/failure.ts'
import type { Logger } from '../../packages/runtime/logger.ts'
import type { Metrics } from '../../packages/runtime/metric.ts'
import { DeviceClocks } from '../../packages/state/deviceclock.ts'
import { Removals } from '../../packages/state/deviceremoval.ts'
import { Listening } from '../../packages/state/listening.ts'
import type { Accept } from './accept.ts'
import type { ClockWatch } from './check/clockwatch.ts'

export type BeatPorts = {
  readonly redis: Redis
  /** Why nothing more is taken now: Redis is nearly full. */
  refusal(): Failure | undefined
  readonly logger: Logger
  readonly metrics: Metrics
  readonly accept: Accept
  readonly clocks: ClockWatch
  connections(): number
  /** What else is looked at. */
  readonly refresh: readonly (() => Promise<void>)[]
}

const BEAT_MS = 1000

export function startBeat({ redis, refusal, logger, metrics, accept, clocks, connections, refresh }: BeatPorts): { stop(): Promise<void> } {
  const listening = new Listening(redis)
  const removals = new Removals(redis)
  const written = new DeviceClocks(redis)
  let running: Promise<void> | undefined
  let telling: Promise<void> | undefined
  let newest = 0
  const round = async () => {
    try {
      await listening.beat()
      const removed = await removals.since(newest)
      accept.forget(removed.projects)
      newest = removed.newest
      accept.refusal = refusal()
      // Each by itself: what one of them cannot do keeps none of the others from it.
      const done = await Promise.allSettled(refresh.map(one => one()))
      for (const one of done) if (one.status === 'rejected') throw one.reason
    } catch (error) {
      logger.warn({ reason: (error as Error).message }, 'log not reachable')
    }
    metrics.connections.set(connections())
    running = undefined
  }
  // There may be many wrong clocks, and nothing else waits for them.
  const tell = () =>
    tellClocks(clocks, written)
      .catch((error: Error) => logger.warn({ reason: error.message }, 'wrong clocks not written'))
      .finally(() => {
        telling = undefined
      })
  const timer = setInterval(() => {
    running ??= round()
    telling ??= tell()
  }, BEAT_MS)
  running = round()
  return {
    stop: async () => {
      clearInterval(timer)
      await Promise.all([running, telling])
    },
  }
}

/** Writes whose clock is wrong, and learns what others have found. */
async function tellClocks(watch: ClockWatch, clocks: DeviceClocks): Promise<void> {
  const untold = new Map(watch.take())
  try {
    for (const [project, changes] of untold) {
      await clocks.save(project, changes)
      untold.delete(project)
    }
  } finally {
    for (const [project, changes] of untold) watch.putBack(project, changes)
  }
  for (const project of watch.due(performance.now())) {
    const wrong = new Set<string>()
    for await (const some of clocks.all(project)) {
      watch.known(project, some)
      for (const device of some.keys()) wrong.add(device)
    }
    watch.knownAll(project, wrong)
  }
}
