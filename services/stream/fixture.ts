// A hub on a real log for tests, and a sink that keeps what it is given.
import { onTestFinished } from 'vitest'
import type { TestRedis } from '../../packages/log/fixture.ts'
import { Followers } from '../../packages/log/follow.ts'
import type { Log } from '../../packages/log/log.ts'
import type { Devices } from '../../packages/state/device.ts'
import { DeviceCache } from '../../packages/state/devicecache.ts'
import { type Cursor, Frames } from './frame.ts'
import { Hub, type HubPorts } from './hub.ts'
import { Past } from './past.ts'
import type { ByteSink } from './sink.ts'
import { Turns } from './turn.ts'

type Line = { readonly result: { readonly event: { readonly eventId: string; readonly eventType: string }; readonly cursor?: string } }

/** Keeps what it is given; a slow one is full at random and drains a little later. */
export class KeepingSink implements ByteSink {
  readonly format = 'ndjson' as const
  readonly lines: Line[] = []
  closed = false
  full = false

  write(chunk: Buffer): void {
    const lines = chunk.toString().trim().split('\n')
    if (!this.closed) this.lines.push(...lines.map(line => JSON.parse(line) as Line))
  }

  async drained(): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    this.full = false
  }

  gap(after: Cursor | string, to: string): void {
    this.lines.push({ result: { event: { eventId: `gap ${typeof after === 'string' ? after : after.entryId} ${to}`, eventType: 'gap' } } })
  }

  end(): void {
    this.closed = true
  }

  get events(): string[] {
    return this.lines.map(({ result }) => result.event.eventId)
  }

  get cursor(): string | undefined {
    return this.lines.findLast(({ result }) => result.cursor !== undefined)?.result.cursor
  }
}

export async function openTestHub(server: TestRedis, log: Log, devices: Devices, project: string, change: Partial<HubPorts> = {}) {
  const frames = new Frames(project, 'event', { nowUs: () => 0, newId: () => 'own' }, 'key')
  const past = new Past(log, project, 'log', { log: new Turns(2), store: new Turns(2) })
  const hub = new Hub({
    frames,
    devices: new DeviceCache(devices, project),
    toldOfChanges: true,
    read: (after, upTo, reader) => past.read(after, upTo, reader),
    follow: follower => new Followers({ log, connect: () => server.connect(), troubled: () => {} }).follow(project, 'log', follower),
    delivered: () => {},
    troubled: error => {
      throw error
    },
    ...change,
  })
  await hub.start()
  onTestFinished(() => hub.stop())
  return { hub, frames }
}
