// One project's connectors as they are pushed to: a tail of its log for all, and a pusher for each that is active.

import { DEVICES } from '../../../packages/core/stream.ts'
import type { NewMessage } from '../../../packages/log/durable/message.ts'
import type { Follow, Follower } from '../../../packages/log/follow.ts'
import type { Log, Move } from '../../../packages/log/log.ts'
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
import type { Devices } from '../../../packages/state/device.ts'
import { DeviceCache } from '../../../packages/state/devicecache.ts'
import { FEED } from '../../../packages/state/feed.ts'
import type { ReadingStore } from '../../../packages/store/store.ts'
import { attempt, bodyOf, type Outcome, type Target } from './attempt.ts'
import { Copier } from './copy.ts'
import { type Carrier, type Lane, LogLane } from './lane.ts'
import { messageOf } from './message.ts'
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
  /** Into this durable stream, see copy.ts. */
  append(project: string, stream: string, messages: readonly NewMessage[], move: Move): Promise<boolean>
  /** Whether somebody needs the device events as a durable stream. */
  isFed(project: string): Promise<boolean>
  /** For the audit: nobody asked for it. */
  disabled(project: string, connector: string): Promise<void>
  /** A connector without a success for this long is disabled; an event that is refused for this long is dropped. */
  readonly giveUpMs: number
}

/** `none`: it has no connectors. `idle`: none is active. `partly`: not all that are could be opened. */
export type Pushing = 'none' | 'idle' | 'active' | 'partly'

type Pushed = { readonly text: string; readonly carrier: Carrier; readonly quiet: () => void }

/** Copies everything into the stream that every project has; see packages/state/feed.ts. */
const FEEDING: Connector = {
  id: FEED,
  displayName: '',
  status: 'ACTIVE',
  events: [],
  labels: [],
  url: '',
  headers: '',
  signatureSecret: '',
  stream: DEVICES,
}

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
    const isFed = await this.#ports.isFed(this.#project)
    const active = [...all.filter(({ status }) => status === 'ACTIVE'), ...(isFed ? [FEEDING] : [])]
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
    const carrier = this.#pushed.get(id)?.carrier ?? (await this.#open(connector, failing))
    for (const name of ['replay', 'sync'] as const) {
      const task = tasks[name]
      if (carrier && task && !task.done && !carrier.has(name, task.id)) this.#addTask(carrier, connector, name, task)
    }
  }

  async #open(connector: Connector, failing: Failing | undefined): Promise<Carrier | undefined> {
    const { id } = connector
    const place = await this.#ports.log.place(this.#project, consumerOf(id))
    // Disabled a moment ago.
    if (place === '') return undefined
    const live = this.#logLane(connector, 'l', undefined, place.slice(0, place.lastIndexOf(' ')), () => carrier.missed())
    const ports = { ...this.#carrierPorts(connector), live, lost: (reason: string) => this.#lost(id, carrier, reason) }
    const { stream } = connector
    const carrier =
      stream === undefined
        ? new Pusher({ ...ports, ...(await this.#pushPorts(connector)) }, place, failing)
        : new Copier({ ...ports, ...this.#copyPorts(connector, stream) }, place, failing)
    const quiet = this.#tail.onArrival(() => {
      live.ring()
      carrier.pump()
    })
    this.#pushed.set(id, { text: textOf(connector), carrier, quiet })
    carrier.pump()
    return carrier
  }

  #carrierPorts(connector: Connector) {
    const { log, logger, attempted } = this.#ports
    const project = this.#project
    const { id } = connector
    return {
      log,
      project,
      id,
      target: targetOf(connector),
      attempted,
      troubled: (error: Error) => logger.warn({ project, dataconnector: id, reason: error.message }, 'data connector waits'),
      nowMs: () => performance.now(),
      wallMs: () => Date.now(),
      random: Math.random,
    }
  }

  async #pushPorts(connector: Connector) {
    const { connectors, logger, giveUpMs } = this.#ports
    const project = this.#project
    const { id } = connector
    const target = this.#ports.target(connector)
    return {
      open: new Open(await connectors.open(project, id), Date.now() - performance.now()),
      post: (item: Item, signal: AbortSignal) => this.#post(connector, target, item, signal),
      giveUp: (detail: string) => this.#giveUp(connector, detail),
      dropped: ({ key, device }: Item, detail: string, count: number) =>
        logger.warn({ project, dataconnector: id, event: key, device, detail, count }, 'events not pushed'),
      giveUpMs,
    }
  }

  #copyPorts(connector: Connector, stream: string) {
    return {
      message: async ({ device, frame }: Item) =>
        messageOf(connector, device, connector.labels.length === 0 ? undefined : await this.#tail.device(device), frame),
      append: (messages: readonly NewMessage[], move: Move) => this.#ports.append(this.#project, stream, messages, move),
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

  #lost(id: string, carrier: Carrier, reason: string): void {
    this.#ports.logger.debug({ project: this.#project, dataconnector: id, reason }, 'data connector let go')
    const pushed = this.#pushed.get(id)
    if (pushed?.carrier !== carrier) return
    pushed.quiet()
    this.#pushed.delete(id)
    this.#troubled()
  }

  #addTask(carrier: Carrier, connector: Connector, name: TaskName, { id, range, place, events }: Task): void {
    const wants = wantsOf(connector)
    const lane: Lane = range
      ? this.#logLane(connector, 'r', range.until, place === '' ? range.after : place, () => carrier.missed())
      : new SyncLane(this.#ports.sync, this.#project, wants, devices => this.#tail.meet(devices), place)
    carrier.addTask(name, id, lane, events)
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
    await pushed.carrier.stop()
  }
}

function wantsOf({ events }: Connector): (eventType: string) => boolean {
  const wanted = new Set(events)
  return eventType => wanted.size === 0 || wanted.has(eventType)
}

function textOf(connector: Connector): string {
  return JSON.stringify(connector)
}
