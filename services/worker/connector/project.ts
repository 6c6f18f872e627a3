// One project's connectors as they are pushed to: a tail of its log for all, and a pusher for each that is active.
import type { Follow, Follower } from '../../../packages/log/follow.ts'
import type { Log } from '../../../packages/log/log.ts'
import type { Outbound } from '../../../packages/outbound/outbound.ts'
import { newId } from '../../../packages/runtime/id.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import {
  type Connector,
  type Connectors,
  consumerOf,
  type Failing,
  type Task,
  type TaskName,
  targetOf,
} from '../../../packages/state/connector.ts'
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

/** `none`: it has no connectors. `idle`: none is active. `partly`: not all that are could be opened. */
export type Pushing = 'none' | 'idle' | 'active' | 'partly'

type Pushed = { readonly text: string; readonly pusher: Pusher; readonly quiet: () => void }

export class ProjectPush {
  readonly #ports: ConnectorPorts
  readonly #project: string
  readonly #tail: Tail
  readonly #pushed = new Map<string, Pushed>()
  readonly #troubled: () => void
  #following: Follow | undefined

  /** @param troubled called when `update` should be called again. */
  constructor(ports: ConnectorPorts, project: string, troubled: () => void) {
    this.#ports = ports
    this.#project = project
    this.#troubled = troubled
    this.#tail = new Tail(ports.log, ports.store, project, () => new DeviceCache(ports.devices, project))
  }

  /** Looks at what is wanted now, and makes it so: first of all, what is not wanted any more ends. */
  async update(): Promise<Pushing> {
    const all = await this.#ports.connectors.list(this.#project)
    const active = all.filter(({ status }) => status === 'ACTIVE')
    const texts = new Map(active.map(connector => [connector.id, textOf(connector)]))
    await this.#close([...this.#pushed].filter(([id, { text }]) => texts.get(id) !== text).map(([id]) => id))
    if (active.length === 0) {
      await this.#unfollow()
      return all.length === 0 ? 'none' : 'idle'
    }
    if (!this.#following) {
      this.#following = await this.#ports.follow(this.#project, {
        arrived: entries => this.#tail.arrived(entries),
        jumped: to => this.#tail.jumped(to),
      })
      this.#tail.begin(this.#following.position())
    }
    const isOpen = await Promise.all(active.map(connector => this.#try(connector)))
    return isOpen.every(Boolean) ? 'active' : 'partly'
  }

  /** Pushes nothing any more. */
  async stop(): Promise<void> {
    try {
      await this.#close([...this.#pushed.keys()])
    } finally {
      await this.#unfollow()
    }
  }

  async #unfollow(): Promise<void> {
    await this.#following?.stop()
    this.#following = undefined
  }

  /** What is wrong with one connector is no reason to push nothing for the others. */
  async #try(connector: Connector): Promise<boolean> {
    try {
      await this.#ensure(connector)
      return true
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#ports.logger.warn({ project: this.#project, dataconnector: connector.id, reason }, 'data connector not opened')
      return false
    }
  }

  async #ensure(connector: Connector): Promise<void> {
    const { id } = connector
    const { tasks, failing } = await this.#ports.connectors.progress(this.#project, connector)
    const pusher = this.#pushed.get(id)?.pusher ?? (await this.#open(connector, failing))
    for (const name of ['replay', 'sync'] as const) {
      const task = tasks[name]
      if (pusher && task && !task.done && !pusher.has(name, task.id)) this.#addTask(pusher, connector, name, task)
    }
  }

  async #open(connector: Connector, failing: Failing | undefined): Promise<Pusher | undefined> {
    const { log, connectors } = this.#ports
    const { id } = connector
    const place = await log.place(this.#project, consumerOf(id))
    // Disabled a moment ago.
    if (place === '') return undefined
    const open = new Open(await connectors.open(this.#project, id), Date.now() - performance.now())
    const live = this.#logLane(connector, 'l', undefined, place.slice(0, place.lastIndexOf(' ')), () => pusher.missed())
    const target = this.#ports.target(connector)
    const post = (item: Item, signal: AbortSignal) => this.#post(connector, target, item, signal)
    const lost = (reason: string) => this.#lost(id, pusher, reason)
    const pusher = new Pusher({ ...this.#pushPorts(connector), open, live, post, lost }, place, failing)
    const quiet = this.#tail.onArrival(() => {
      live.ring()
      pusher.pump()
    })
    this.#pushed.set(id, { text: textOf(connector), pusher, quiet })
    pusher.pump()
    return pusher
  }

  #pushPorts(connector: Connector) {
    const { log, logger, attempted, giveUpMs } = this.#ports
    const project = this.#project
    const { id } = connector
    return {
      log,
      project,
      id,
      target: targetOf(connector),
      giveUp: (detail: string) => this.#giveUp(connector, detail),
      dropped: ({ key, device }: Item, detail: string, count: number) =>
        logger.warn({ project, dataconnector: id, event: key, device, detail, count }, 'events not pushed'),
      attempted,
      troubled: (error: Error) => logger.warn({ project, dataconnector: id, reason: error.message }, 'data connector waits'),
      nowMs: () => performance.now(),
      wallMs: () => Date.now(),
      random: Math.random,
      giveUpMs,
    }
  }

  /** Unless somebody was faster to disable it, or to name another receiver, of which nothing is known. */
  async #giveUp(connector: Connector, detail: string): Promise<void> {
    const { connectors, disabled, logger } = this.#ports
    const { id } = connector
    const isIt = (one: Connector) => one.status === 'ACTIVE' && targetOf(one) === targetOf(connector)
    const found: Connector[] = []
    await connectors.change(
      this.#project,
      id,
      before => {
        found.push(before)
        return isIt(before) ? { ...before, status: 'SYSTEM_DISABLED' } : before
      },
      '',
    )
    if (!found.slice(-1).every(isIt)) return
    await disabled(this.#project, id)
    logger.warn({ project: this.#project, dataconnector: id, detail }, 'data connector disabled')
  }

  #lost(id: string, pusher: Pusher, reason: string): void {
    this.#ports.logger.debug({ project: this.#project, dataconnector: id, reason }, 'data connector let go')
    const pushed = this.#pushed.get(id)
    if (pushed?.pusher !== pusher) return
    pushed.quiet()
    this.#pushed.delete(id)
    this.#troubled()
  }

  #addTask(pusher: Pusher, connector: Connector, name: TaskName, { id, range, place, events }: Task): void {
    const wants = wantsOf(connector)
    const lane: Lane = range
      ? this.#logLane(connector, 'r', range.until, place === '' ? range.after : place, () => pusher.missed())
      : new SyncLane(this.#ports.sync, this.#project, wants, devices => this.#tail.meet(devices), place)
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

  async #post(connector: Connector, target: Target, { device, frame }: Item, signal: AbortSignal): Promise<Outcome> {
    const body = bodyOf(this.#project, connector, device, await this.#tail.device(device), frame)
    return attempt(this.#ports.outbound, target, body, Date.now(), newId(), signal)
  }

  /** All at once, and all of them even if one could not note its last answers. */
  async #close(ids: readonly string[]): Promise<void> {
    const closed = await Promise.allSettled(ids.map(id => this.#closeOne(id)))
    const failed = closed.find(({ status }) => status === 'rejected')
    if (failed?.status === 'rejected') throw failed.reason
  }

  async #closeOne(id: string): Promise<void> {
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

function textOf(connector: Connector): string {
  return JSON.stringify(connector)
}
