// Keeps the fleet and the alarms of one project current: loads them, follows both streams, tells the page at most ten times a second.

import type { DeviceEvent } from '../../../packages/core/event.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { type Alarm, type Alarms, announcement, mergeAlarms } from './alarm.ts'
import { getDevice, listAlarms, listDevices, projectPath, readSession } from './api.ts'
import { Fleet } from './fleet.ts'
import { deviceIdOf } from './format.ts'
import { type Frame, type LinkState, Live } from './live.ts'

const PING_MS = 10_000
const GRACE_MS = 2000
const RETRY_MS = 500
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
  readonly #options: FeedOptions
  readonly #live: readonly Live[]
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
    this.#live = [this.#follow('devices:stream', () => this.#loadDevices()), this.#follow('alarms:stream', () => this.#loadAlarms())]
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

  #follow(path: string, load: () => Promise<void>): Live {
    return new Live({
      url: `${projectPath(this.#options.project)}/${path}`,
      pingMs: PING_MS,
      graceMs: GRACE_MS,
      retryMs: RETRY_MS,
      openSource: url => new EventSource(url),
      onFrame: frame => this.#take(frame, load),
      onFresh: () => this.#again(load),
      onLink: () => this.changed(),
      probe: () => this.#probe(load),
    })
  }

  async #probe(load: () => Promise<void>): Promise<'signed-in' | 'signed-out' | 'unreachable'> {
    try {
      if (await readSession()) {
        // A page whose stream is refused still shows what there is.
        if (!this.loaded || !this.alarmsLoaded) await load()
        return 'signed-in'
      }
    } catch (error) {
      if (error instanceof Failure) return 'unreachable'
      throw error
    }
    this.#options.onSignedOut()
    return 'signed-out'
  }

  #take(frame: Frame, load: () => Promise<void>): void {
    if (frame.kind === 'event') this.#takeEvent(frame.event)
    else if (frame.kind === 'alarm') this.takeAlarms([frame.alarm], true)
    else if (frame.kind === 'gap') this.#again(load)
    else if (frame.kind === 'ping') this.clockOffsetMs = Date.parse(frame.timestamp) - Date.now()
  }

  #again(load: () => Promise<void>): void {
    this.generation += 1
    void load()
  }

  #takeEvent(event: DeviceEvent): void {
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
        (await Promise.all(ids.map(id => getDevice(this.#options.project, id)))).map(d => this.fleet.putDevice(d)),
      )
    this.changed()
  }

  async #loadDevices(): Promise<void> {
    if (this.#loading) return
    this.#loading = true
    // A device that appears in the stream while the list is read may not be on it.
    const seen = new Set<string>()
    const before = this.fleet.rows().map(row => row.id)
    const done = await this.#guard(() =>
      listDevices(this.#options.project, devices => {
        for (const device of devices) {
          this.fleet.putDevice(device)
          seen.add(deviceIdOf(device.name))
        }
        this.changed()
      }),
    )
    this.#loading = false
    this.#loadedAt = Date.now()
    if (done) this.fleet.forget(before.filter(id => !seen.has(id)))
    this.loaded ||= done
    this.changed()
  }

  async #loadAlarms(): Promise<void> {
    const done = await this.#guard(async () => {
      const { alarms, more } = await listAlarms(this.#options.project, MAX_ALARMS)
      this.moreAlarms = more
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
