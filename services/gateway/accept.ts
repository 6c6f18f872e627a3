// Accept: the step that turns a valid event into a promise. Events gather for about a millisecond, one round trip appends them
// to their projects' logs, and only when Redis has them on disk is anybody told (P1: an ack means on disk).
import { Failure } from '../../packages/core/failure.ts'
import { indexLine } from '../../packages/log/entry.ts'
import type { AppendBatch, AppendOutcome } from '../../packages/log/log.ts'
import type { Incoming } from './decode/event.ts'

/** Called once per event: without an argument when it is safe, with the reason when it is not and should be sent again. */
export type Settled = (failure?: Failure) => void

export type AcceptPorts = {
  /** Appends in order; resolves when durable. */
  append(project: string, batch: AppendBatch): Promise<AppendOutcome>
  /** Makes sure that the devices exist before their first event is appended. */
  register(project: string, devices: Iterable<readonly [id: string, type: string]>): Promise<void>
  /** Wakes a consumer whom nobody had woken. */
  wake(project: string, consumer: string): void
  counted(accepted: number, duplicates: number): void
  /** Told why a batch could not be appended, once per batch. */
  failed(error: unknown): void
}

const TICK_MS = 1
/** What a batch takes. */
export const MAX_EVENTS = 500
export const MAX_BYTES = 1024 * 1024
/** Beyond this the sender is told to wait (P6). */
const MAX_WAITING = 100_000
const MAX_KNOWN_DEVICES = 1_000_000

const OVERFULL = new Failure('unavailable', 'too many events are waiting for the log', { retryAfterMs: 1000 })

type Batch = {
  index: string[]
  frames: string[]
  keys: string[]
  modes: string
  settled: Settled[]
  bytes: number
  fresh: Map<string, string>
}

export class Accept {
  readonly #ports: AcceptPorts
  readonly #open = new Map<string, Batch>()
  readonly #known = new Map<string, Set<string>>()
  readonly #flushing = new Set<Promise<void>>()
  #waiting = 0
  #timer: NodeJS.Timeout | undefined
  #refusal: Failure | undefined

  constructor(ports: AcceptPorts) {
    this.#ports = ports
  }

  get refusal(): Failure | undefined {
    return this.#refusal
  }

  /** While set, everything is refused with it: Redis is nearly full. */
  set refusal(failure: Failure | undefined) {
    this.#refusal = failure
  }

  /**
   * Takes one valid event. Events of one caller are appended in the order of the calls.
   * @param key content key; `suspect`: drop the event if the key was seen before, else only remember it.
   */
  add(event: Incoming, key: string, suspect: boolean, settled: Settled): void {
    const refusal = this.#refusal ?? (this.#waiting < MAX_WAITING ? undefined : OVERFULL)
    if (refusal) {
      settled(refusal)
      return
    }
    this.#waiting++
    const batch = this.#batch(event.project)
    batch.index.push(indexLine(event.device, event.eventType, event.timeUs))
    batch.frames.push(event.frame)
    batch.keys.push(key)
    batch.modes += suspect ? 'c' : 'a'
    batch.settled.push(settled)
    batch.bytes += event.frame.length
    this.#register(event, batch)
    if (batch.frames.length >= MAX_EVENTS || batch.bytes >= MAX_BYTES) this.#flush(event.project, batch)
    else this.#timer ??= setTimeout(() => this.#flushAll(), TICK_MS)
  }

  /** So many events are added to this project in the same tick: they are appended whole or not at all, unless they are more than a batch takes. */
  begin(project: string, events: number, bytes: number): void {
    const batch = this.#open.get(project)
    if (batch && (batch.frames.length + events > MAX_EVENTS || batch.bytes + bytes > MAX_BYTES)) this.#flush(project, batch)
  }

  /** Whether a device is registered, as far as this process knows. */
  knows(project: string, device: string): boolean {
    return this.#known.get(project)?.has(device) === true
  }

  /** Devices of these projects were removed: each is registered again with its next event. */
  forget(projects: readonly string[] | 'all'): void {
    if (projects === 'all') this.#known.clear()
    else for (const project of projects) this.#known.delete(project)
  }

  /** Resolves when everything taken so far is settled. */
  async drain(): Promise<void> {
    this.#flushAll()
    await Promise.all(this.#flushing)
  }

  #batch(project: string): Batch {
    let batch = this.#open.get(project)
    if (!batch) {
      batch = { index: [], frames: [], keys: [], modes: '', settled: [], bytes: 0, fresh: new Map() }
      this.#open.set(project, batch)
    }
    return batch
  }

  #register(event: Incoming, batch: Batch): void {
    if (!this.#known.get(event.project)?.has(event.device) && !batch.fresh.has(event.device)) batch.fresh.set(event.device, event.eventType)
  }

  #flushAll(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = undefined
    for (const [project, batch] of this.#open) this.#flush(project, batch)
  }

  #flush(project: string, batch: Batch): void {
    this.#open.delete(project)
    const flushing = this.#append(project, batch).finally(() => this.#flushing.delete(flushing))
    this.#flushing.add(flushing)
  }

  async #append(project: string, batch: Batch): Promise<void> {
    let failure: Failure | undefined
    try {
      dropRepeats(batch)
      // Both commands travel on one connection in this order, so the device is known wherever its event is.
      const registered = batch.fresh.size > 0 ? this.#ports.register(project, batch.fresh) : undefined
      const [outcome] = await Promise.all([this.#ports.append(project, batch), registered])
      this.#remember(project, batch.fresh.keys())
      const accepted = batch.frames.length - outcome.duplicates
      this.#ports.counted(accepted, batch.settled.length - accepted)
      for (const consumer of outcome.wake) this.#ports.wake(project, consumer)
    } catch (error) {
      this.#ports.failed(error)
      failure =
        error instanceof Failure ? error : new Failure('unavailable', 'the log cannot be written', { retryAfterMs: 1000, cause: error })
    }
    this.#waiting -= batch.settled.length
    for (const settled of batch.settled) settled(failure)
  }

  #remember(project: string, devices: Iterable<string>): void {
    const before = this.#known.get(project)
    const known = before && before.size < MAX_KNOWN_DEVICES ? before : new Set<string>()
    for (const device of devices) known.add(device)
    this.#known.set(project, known)
  }
}

/** Repeats within one batch: the log's check sees only earlier batches. */
function dropRepeats(batch: Batch): void {
  if (new Set(batch.keys).size === batch.keys.length) return
  const seen = new Set<string>()
  const keep = batch.keys.map((key, i) => !(batch.modes[i] === 'c' && seen.has(key)) && seen.add(key) !== undefined)
  batch.index = batch.index.filter((_, i) => keep[i])
  batch.frames = batch.frames.filter((_, i) => keep[i])
  batch.modes = Array.from(batch.modes)
    .filter((_, i) => keep[i])
    .join('')
  batch.keys = batch.keys.filter((_, i) => keep[i])
}
