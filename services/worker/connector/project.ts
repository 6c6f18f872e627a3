// One project's connectors as they are pushed to: a tail of its log for all, and a pusher for each that is active.
import type { Follow, Follower } from '../../../packages/log/follow.ts'
import type { Log } from '../../../packages/log/log.ts'
import type { Outbound } from '../../../packages/outbound/outbound.ts'
import { newId } from '../../../packages/runtime/id.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { type Connector, type Connectors, consumerOf, type Task, type TaskName } from '../../../packages/state/connector.ts'
import { DeviceCache, type Devices } from '../../../packages/state/device.ts'
import type { ReadingStore } from '../../../packages/store/store.ts'
import { attempt, bodyOf, type Outcome, type Target } from './attempt.ts'
import { type Lane, LogLane } from './lane.ts'
import { type Item, Open } from './open.ts'
import { Pusher } from './push.ts'
import { SyncLane, type SyncPorts } from './sync.ts'
import { Tail } from './tail.ts'

export type ConnectorPorts = {
  readonly log: Log
  /** Has what was trimmed from the log. */
  readonly store: Pick<ReadingStore, 'past'>
  readonly connectors: Connectors
  readonly devices: Devices
  readonly outbound: Outbound
  readonly logger: Logger
  readonly sync: SyncPorts
  follow(project: string, follower: Follower): Promise<Follow>
  /** Opens what is sealed. */
  target(connector: Connector): Target
  attempted(ok: boolean): void
  /** For the audit: nobody asked for it. */
  disabled(project: string, connector: string): Promise<void>
  /** A connector without a success for this long is disabled; an event that is refused for this long is dropped. */
  readonly giveUpMs: number
}

type Pushed = { readonly text: string; readonly pusher: Pusher; readonly quiet: () => void }

export class ProjectPush {
  readonly #ports: ConnectorPorts
  readonly #project: string
  readonly #tail: Tail
  readonly #pushed = new Map<string, Pushed>()
  readonly #changed: () => void
  #following: Follow | undefined

  /** @param changed called when `update` should be called again. */
  constructor(ports: ConnectorPorts, project: string, changed: () => void) {
    this.#ports = ports
    this.#project = project
    this.#changed = changed
    this.#tail = new Tail(ports.log, ports.store, project, new DeviceCache(ports.devices, project))
  }

  /** Looks at what is wanted now, and makes it so. */
  async update(): Promise<void> {
    const active = (await this.#ports.connectors.list(this.#project)).filter(({ status }) => status === 'ACTIVE')
    const ids = new Set(active.map(({ id }) => id))
    for (const id of this.#pushed.keys()) if (!ids.has(id)) await this.#close(id)
    if (active.length === 0) return this.#unfollow()
    if (!this.#following) {
      this.#following = await this.#ports.follow(this.#project, {
        arrived: entries => this.#tail.arrived(entries),
        jumped: to => this.#tail.jumped(to),
      })
      this.#tail.begin(this.#following.position())
    }
    for (const connector of active) await this.#ensure(connector)
  }

  /** Pushes nothing any more. */
  async stop(): Promise<void> {
    await Promise.all([...this.#pushed.keys()].map(id => this.#close(id)))
    await this.#unfollow()
  }

  async #unfollow(): Promise<void> {
    await this.#following?.stop()
    this.#following = undefined
  }

  async #ensure(connector: Connector): Promise<void> {
    const { id } = connector
    const text = JSON.stringify(connector)
    const before = this.#pushed.get(id)
    if (before && before.text !== text) await this.#close(id)
    const { tasks, failing } = await this.#ports.connectors.progress(this.#project, id)
    // A receiver that is another one has not failed yet.
    const isOther = before !== undefined && targetOf(before.text) !== targetOf(text)
    const pusher = this.#pushed.get(id)?.pusher ?? (await this.#open(connector, text, isOther ? undefined : failing))
    for (const name of ['replay', 'sync'] as const) {
      const task = tasks[name]
      if (pusher && task && !task.done && !pusher.has(name, task.id)) this.#addTask(pusher, connector, name, task)
    }
  }

  async #open(connector: Connector, text: string, failing: { sinceMs: number; detail: string } | undefined): Promise<Pusher | undefined> {
    const { log, connectors } = this.#ports
    const { id } = connector
    const place = await log.place(this.#project, consumerOf(id))
    // Disabled a moment ago.
    if (place === '') return undefined
    const open = new Open(await connectors.open(this.#project, id))
    const live = this.#logLane(connector, 'l', undefined, place.slice(0, place.lastIndexOf(' ')), () => pusher.missed())
    const target = this.#ports.target(connector)
    const post = (item: Item) => this.#post(connector, target, item)
    const lost = (reason: string) => this.#lost(id, pusher, reason)
    const pusher = new Pusher({ ...this.#pushPorts(connector), open, live, post, lost }, place, failing)
    const quiet = this.#tail.onArrival(() => {
      live.ring()
      pusher.pump()
    })
    this.#pushed.set(id, { text, pusher, quiet })
    pusher.pump()
    return pusher
  }

  #pushPorts(connector: Connector) {
    const { log, connectors, logger, attempted, disabled, giveUpMs } = this.#ports
    const project = this.#project
    const { id } = connector
    return {
      log,
      project,
      id,
      giveUp: async (detail: string) => {
        const disable = (before: Connector): Connector => (before.status === 'ACTIVE' ? { ...before, status: 'SYSTEM_DISABLED' } : before)
        await connectors.change(project, id, disable, '')
        await disabled(project, id)
        logger.warn({ project, dataconnector: id, detail }, 'data connector disabled')
      },
      dropped: ({ key, device, firstMs }: Item, detail: string) =>
        logger.warn({ project, dataconnector: id, event: key, device, firstMs, detail }, 'event not pushed'),
      attempted,
      troubled: (error: Error) => logger.warn({ project, dataconnector: id, reason: error.message }, 'events not read'),
      nowMs: Date.now,
      random: Math.random,
      giveUpMs,
    }
  }

  #lost(id: string, pusher: Pusher, reason: string): void {
    this.#ports.logger.debug({ project: this.#project, dataconnector: id, reason }, 'data connector let go')
    const pushed = this.#pushed.get(id)
    if (pushed?.pusher !== pusher) return
    pushed.quiet()
    this.#pushed.delete(id)
    this.#changed()
  }

  #addTask(pusher: Pusher, connector: Connector, name: TaskName, { id, range, place, events }: Task): void {
    const wants = wantsOf(connector)
    const lane: Lane = range
      ? this.#logLane(connector, 'r', range.until, place === '' ? range.after : place, () => pusher.missed())
      : new SyncLane(this.#ports.sync, this.#project, wants, place)
    pusher.addTask(name, id, lane, events)
  }

  #logLane(connector: Connector, prefix: 'l' | 'r', until: string | undefined, place: string, count: () => void): LogLane {
    const { logger } = this.#ports
    const missed = (after: string, to: string) => {
      count()
      logger.warn({ project: this.#project, dataconnector: connector.id, after, to }, 'events were gone before they could be pushed')
    }
    return new LogLane({ prefix, until, wants: wantsOf(connector), read: after => this.#tail.read(after), missed }, place)
  }

  async #post(connector: Connector, target: Target, { device, frame }: Item): Promise<Outcome> {
    if (!this.#tail.devices.get(device)) await this.#tail.devices.load([device])
    const body = bodyOf(this.#project, connector, device, this.#tail.devices.get(device), frame)
    return attempt(this.#ports.outbound, target, body, Date.now(), newId())
  }

  async #close(id: string): Promise<void> {
    const pushed = this.#pushed.get(id)
    if (!pushed) return
    this.#pushed.delete(id)
    pushed.quiet()
    await pushed.pusher.stop()
  }
}

function wantsOf({ events }: Connector): (eventType: string) => boolean {
  const wanted = new Set(events)
  return eventType => wanted.size === 0 || wanted.has(eventType)
}

function targetOf(text: string): string {
  const { url, headers, signatureSecret } = JSON.parse(text) as Connector
  return `${url} ${headers} ${signatureSecret}`
}
