// Keeps the fleet and the alarms of one project current: loads them, follows both streams, tells the page at most ten times a second.

import type { Alarm, GapEvent, TelltaleEvent } from '../../../packages/client/index.ts'
import type { DeviceEvent } from '../../../packages/core/event.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { type Alarms, announcement, mergeAlarms } from './alarm.ts'
import { openClient, readSession } from './api.ts'
import type { Fleet } from './fleet.ts'
import { deviceIdOf } from './format.ts'
import { type LinkState, Live, type LiveOptions } from './live.ts'
import { Roster } from './roster.ts'

const PING = '10s'
const PAGE = 100
const REDRAW_MS = 100
const MAX_ALARMS = 1000
const HIDDEN_MS = 30_000
const RATE_SECONDS = 5

export type DeviceListener = (event: DeviceEvent) => void
export type FeedOptions = { readonly project: string; readonly onChange: () => void; readonly onSignedOut: () => void }

export class Feed {
  readonly roster: Roster
  alarms: Alarms = new Map()
  moreAlarms = false
  alarmsLoaded = false
  problem = ''
  /** Grows when events may have been missed: what was drawn from them must be loaded again. */
  generation = 0
  spoken = ''
  /** Server time minus this browser's, from the last ping. */
  clockOffsetMs = 0
  readonly client
  readonly #options: FeedOptions
  readonly #live: readonly Pick<Live<unknown>, 'state' | 'lastFrameAt' | 'everLive' | 'pause' | 'resume' | 'close'>[]
  readonly #listeners = new Map<string, DeviceListener>()
  readonly #perSecond = new Map<number, number>()
  readonly #stop = new AbortController()
  #hideTimer: ReturnType<typeof setTimeout> | undefined
  #drawn = 0
  #frame: number | undefined

  constructor(options: FeedOptions) {
    this.#options = options
    const client = openClient(options.project)
    this.client = client
    this.roster = new Roster({ client, guard: work => this.#guard(work), changed: () => this.changed() })
    const events = {
      open: (how: Parameters<LiveOptions<TelltaleEvent>['open']>[0]) => client.stream(how),
      onItem: (item: TelltaleEvent | GapEvent) => this.#takeEvent(item),
    }
    const alarms = {
      open: (how: Parameters<LiveOptions<Alarm>['open']>[0]) => client.alarms.stream(how),
      onItem: (item: Alarm | GapEvent) => this.#takeAlarm(item),
    }
    this.#live = [
      new Live({ ...this.#following(() => this.roster.load()), ...events }),
      new Live({ ...this.#following(() => this.#loadAlarms()), ...alarms }),
    ]
    const { signal } = this.#stop
    addEventListener('online', () => this.#wake(), { signal })
    addEventListener('offline', () => this.changed(), { signal })
    document.addEventListener('visibilitychange', () => this.#visibility(), { signal })
  }

  get fleet(): Fleet {
    return this.roster.fleet
  }

  get project(): string {
    return this.#options.project
  }

  now(): number {
    return Date.now() + this.clockOffsetMs
  }

  /** The worse of the two streams. */
  link(): { state: LinkState; silentMs: number; everLive: boolean } {
    const states = this.#live.map(live => live.state(navigator.onLine))
    const state = (['offline', 'reconnecting'] as const).find(worse => states.includes(worse)) ?? 'live'
    const silentMs = Date.now() - Math.min(...this.#live.map(live => live.lastFrameAt))
    return { state, silentMs, everLive: this.#live.every(live => live.everLive) }
  }

  /** Events per second over the last full seconds. */
  rate(): number {
    const second = Math.floor(Date.now() / 1000)
    let events = 0
    for (const [at, count] of this.#perSecond) {
      if (at < second - RATE_SECONDS) this.#perSecond.delete(at)
      else if (at < second) events += count
    }
    return events / RATE_SECONDS
  }

  /** Events of one device as they come. One listener a device. Returns how to stop. */
  listen(device: string, listener: DeviceListener): () => void {
    this.#listeners.set(device, listener)
    return () => this.#listeners.delete(device)
  }

  /** For calls besides its own. */
  signedOut(): void {
    this.#options.onSignedOut()
  }

  /** `asked`: just now, for these. */
  takeAlarms(alarms: readonly Alarm[], speak: boolean, asked = false): void {
    const merged = mergeAlarms(this.alarms, alarms, asked)
    this.alarms = merged.alarms
    if (speak && merged.raised.length > 0) this.spoken = announcement(merged.raised)
    this.changed()
  }

  /** Asks for a redraw with the next animation frame that is 100 ms after the last. */
  changed(): void {
    if (this.#frame !== undefined || this.#stop.signal.aborted) return
    this.#frame = requestAnimationFrame(() => this.#draw())
  }

  close(): void {
    this.#stop.abort()
    for (const live of this.#live) live.close()
    void this.client.close()
    this.roster.close()
    clearTimeout(this.#hideTimer)
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame)
  }

  #draw(): void {
    this.#frame = undefined
    const now = performance.now()
    if (now - this.#drawn < REDRAW_MS) {
      this.changed()
      return
    }
    this.#drawn = now
    this.#options.onChange()
  }

  #following(load: () => Promise<void>): Omit<LiveOptions<never>, 'open' | 'onItem'> {
    return {
      ping: PING,
      onPing: timestamp => {
        this.clockOffsetMs = Date.parse(timestamp) - Date.now()
      },
      onFresh: () => this.#again(load),
      onLink: () => this.changed(),
      onFault: error => this.#fault(error),
      probe: () => this.#probe(load),
    }
  }

  async #probe(load: () => Promise<void>): Promise<void> {
    try {
      if (!(await readSession())) this.#options.onSignedOut()
      // A page whose stream is refused still shows what there is.
      else if (!this.roster.loaded || !this.alarmsLoaded) await load()
    } catch (error) {
      // Not reached: the stream's own state says so.
      if (!(error instanceof Failure)) throw error
    }
  }

  /** The page goes on; what is wrong with it stands in it, and in the browser's own log. */
  #fault(error: unknown): void {
    this.problem = `this page made a mistake: ${error instanceof Error ? error.message : String(error)}`
    reportError(error)
    this.changed()
  }

  #again(load: () => Promise<void>): void {
    this.generation += 1
    void load()
  }

  #takeAlarm(item: Alarm | GapEvent): void {
    if ('eventType' in item) this.#again(() => this.#loadAlarms())
    else this.takeAlarms([item], true)
  }

  #takeEvent(event: TelltaleEvent | GapEvent): void {
    if (event.eventType === 'gap') {
      this.#again(() => this.roster.load())
      return
    }
    const second = Math.floor(Date.now() / 1000)
    this.#perSecond.set(second, (this.#perSecond.get(second) ?? 0) + 1)
    const id = deviceIdOf(event.targetName)
    this.roster.putEvent(event)
    this.#listeners.get(id)?.(event)
    this.changed()
  }

  async #loadAlarms(): Promise<void> {
    const done = await this.#guard(async () => {
      const alarms: Alarm[] = []
      const before = this.alarms
      this.moreAlarms = false
      for await (const page of this.client.alarms.pages({ pageSize: PAGE })) {
        this.moreAlarms = alarms.length + page.length > MAX_ALARMS
        alarms.push(...page)
        if (this.moreAlarms) break
      }
      // What changed while the list was read is newer than the list, though its version may be the same.
      const [still, moved] = [true, false].map(same =>
        alarms.filter(({ alarmId: id }) => (before.get(id) === this.alarms.get(id)) === same),
      )
      this.takeAlarms(moved ?? [], this.alarmsLoaded)
      this.takeAlarms(still ?? [], this.alarmsLoaded, true)
    })
    this.alarmsLoaded ||= done
    this.changed()
  }

  /** Runs a call whose failure a person should read; false when it failed. */
  async #guard(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work()
      this.problem = ''
      return true
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      if (error.code === 'unauthenticated') this.#options.onSignedOut()
      else this.problem = error.message
      return false
    }
  }

  #wake(): void {
    for (const live of this.#live) live.resume()
    this.changed()
  }

  // A browser opens six connections to one origin: two streams in each of three forgotten tabs would block the fourth.
  #visibility(): void {
    clearTimeout(this.#hideTimer)
    if (document.hidden) this.#hideTimer = setTimeout(() => this.#pause(), HIDDEN_MS)
    else this.#wake()
  }

  #pause(): void {
    for (const live of this.#live) live.pause()
  }
}
