// Keeps the fleet and the alarms of one project current: loads them, follows both streams, tells the page at most ten times a second.

import type { Alarm, GapEvent, TelltaleEvent } from '../../../packages/client/index.ts'
import type { DeviceEvent } from '../../../packages/core/event.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { type Alarms, announcement, mergeAlarms } from './alarm.ts'
import { openClient, readSession } from './api.ts'
import { Fleet } from './fleet.ts'
import { deviceIdOf } from './format.ts'
import { type LinkState, Live, type LiveOptions } from './live.ts'

const PING = '10s'
const PAGE = 100
const REDRAW_MS = 100
const MAX_ALARMS = 1000
const FETCH_SINGLY = 10
const FETCH_AFTER_MS = 300
const RELOAD_EVERY_MS = 5000
const HIDDEN_MS = 30_000
const RATE_SECONDS = 5

export type DeviceListener = (event: DeviceEvent) => void
export type FeedOptions = { readonly project: string; readonly onChange: () => void; readonly onSignedOut: () => void }

export class Feed {
  readonly fleet = new Fleet()
  alarms: Alarms = new Map()
  moreAlarms = false
  loaded = false
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
  readonly #unknown = new Set<string>()
  readonly #perSecond = new Map<number, number>()
  readonly #stop = new AbortController()
  #fetchTimer: ReturnType<typeof setTimeout> | undefined
  #hideTimer: ReturnType<typeof setTimeout> | undefined
  #drawn = 0
  #frame: number | undefined
  #loading = false
  #loadedAt = 0

  constructor(options: FeedOptions) {
    this.#options = options
    const client = openClient(options.project)
    this.client = client
    const events = {
      open: (how: Parameters<LiveOptions<TelltaleEvent>['open']>[0]) => client.stream(how),
      onItem: (item: TelltaleEvent | GapEvent) => this.#takeEvent(item),
    }
    const alarms = {
      open: (how: Parameters<LiveOptions<Alarm>['open']>[0]) => client.alarms.stream(how),
      onItem: (item: Alarm | GapEvent) => this.#takeAlarm(item),
    }
    this.#live = [
      new Live({ ...this.#following(() => this.#loadDevices()), ...events }),
      new Live({ ...this.#following(() => this.#loadAlarms()), ...alarms }),
    ]
    const { signal } = this.#stop
    addEventListener('online', () => this.#wake(), { signal })
    addEventListener('offline', () => this.changed(), { signal })
    document.addEventListener('visibilitychange', () => this.#visibility(), { signal })
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

  takeAlarms(alarms: readonly Alarm[], speak: boolean): void {
    const merged = mergeAlarms(this.alarms, alarms)
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
    clearTimeout(this.#fetchTimer)
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
      probe: () => this.#probe(load),
    }
  }

  async #probe(load: () => Promise<void>): Promise<void> {
    try {
      if (!(await readSession())) this.#options.onSignedOut()
      // A page whose stream is refused still shows what there is.
      else if (!this.loaded || !this.alarmsLoaded) await load()
    } catch (error) {
      // Not reached: the stream's own state says so.
      if (!(error instanceof Failure)) throw error
    }
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
      this.#again(() => this.#loadDevices())
      return
    }
    const second = Math.floor(Date.now() / 1000)
    this.#perSecond.set(second, (this.#perSecond.get(second) ?? 0) + 1)
    const id = deviceIdOf(event.targetName)
    if (!this.fleet.putEvent(event)) this.#askFor(id)
    this.#listeners.get(id)?.(event)
    this.changed()
  }

  #askFor(id: string): void {
    this.#unknown.add(id)
    this.#fetchTimer ??= setTimeout(() => void this.#fetchUnknown(), FETCH_AFTER_MS)
  }

  /** A few devices are fetched one by one; for many the list is cheaper, but not again and again. */
  async #fetchUnknown(): Promise<void> {
    const ids = [...this.#unknown]
    const many = ids.length > FETCH_SINGLY
    const waitMs = this.#loadedAt + RELOAD_EVERY_MS - Date.now()
    if (this.#loading || (many && waitMs > 0)) {
      this.#fetchTimer = setTimeout(() => void this.#fetchUnknown(), Math.max(waitMs, FETCH_AFTER_MS))
      return
    }
    this.#fetchTimer = undefined
    this.#unknown.clear()
    if (many) await this.#loadDevices()
    else
      await this.#guard(async () =>
        (await Promise.all(ids.map(id => this.client.devices.get(id)))).map(device => this.fleet.putDevice(device)),
      )
    this.changed()
  }

  async #loadDevices(): Promise<void> {
    if (this.#loading) return
    this.#loading = true
    // A device that appears in the stream while the list is read may not be on it.
    const seen = new Set<string>()
    const before = this.fleet.rows().map(row => row.id)
    const done = await this.#guard(async () => {
      for await (const devices of this.client.devices.pages({ pageSize: PAGE })) {
        for (const device of devices) {
          this.fleet.putDevice(device)
          seen.add(deviceIdOf(device.name))
        }
        this.changed()
      }
    })
    this.#loading = false
    this.#loadedAt = Date.now()
    if (done) this.fleet.forget(before.filter(id => !seen.has(id)))
    this.loaded ||= done
    this.changed()
  }

  async #loadAlarms(): Promise<void> {
    const done = await this.#guard(async () => {
      const alarms: Alarm[] = []
      this.moreAlarms = false
      for await (const page of this.client.alarms.pages({ pageSize: PAGE })) {
        this.moreAlarms = alarms.length + page.length > MAX_ALARMS
        alarms.push(...page)
        if (this.moreAlarms) break
      }
      this.takeAlarms(alarms, this.alarmsLoaded)
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
