// Pushing to one connector: takes events from its lanes, a bounded number at once, and commits how far it has come. What is under way or
// has failed is committed with the place, so the place moves on past it and a crash repeats only what was under way.
import type { CommitCommand, Log } from '../../../packages/log/log.ts'
import { AttemptCount } from '../../../packages/state/attempt.ts'
import { consumerOf, type Failing, openKey, progressKey, type TaskName } from '../../../packages/state/connector.ts'
import type { Outcome } from './attempt.ts'
import { Background } from './background.ts'
import { Circuit, retryMs } from './circuit.ts'
import type { Lane } from './lane.ts'
import type { Item, Open } from './open.ts'

export type PushPorts = {
  readonly log: Log
  readonly project: string
  /** Id of the connector. */
  readonly id: string
  readonly open: Open
  /** The live log, which has a `place` of its own among the log's consumers. */
  readonly live: Lane
  post(item: Item): Promise<Outcome>
  /** Nothing has succeeded for too long. Rejects when that could not be noted. */
  giveUp(detail: string): Promise<void>
  /** One event was refused for too long while others were taken; it is dropped. */
  dropped(item: Item, detail: string): void
  attempted(ok: boolean): void
  /** It cannot go on, because others have changed what it stands on, or Redis failed: it has stopped. */
  lost(reason: string): void
  nowMs(): number
  random(): number
  readonly giveUpMs: number
}

/** Attempts at once: a receiver that hangs holds no more. */
const PARALLEL = 10
/** Between two commits under load; alone, one follows its event at once. */
const COMMIT_EVERY_MS = 20
/** When nothing but the place has moved, which may be repeated for nothing. */
const COMMIT_PLACE_EVERY_MS = 1000
/** Answered and not committed: bounds what a crash repeats. */
const MAX_UNCOMMITTED = 200
/** A timer takes no more than some weeks; looking now and then does no harm. */
const MAX_SLEEP_MS = 60_000
/** How long stopping waits for answers; what is under way then is tried again by the next who pushes. */
const STOP_MS = 1000

export class Pusher {
  readonly #ports: PushPorts
  readonly #consumer: string
  readonly #circuit: Circuit
  readonly #counts = new AttemptCount()
  readonly #background = new Background()
  readonly #keys: { readonly open: string; readonly progress: string }
  readonly #underWay = new Set<Promise<void>>()
  #place: string
  #commits: number
  #uncommitted = 0
  #gaps = 0
  #savedFailing: string
  #detail: string
  #committing: Promise<void> | undefined
  #commitTimer: NodeJS.Timeout | undefined
  #commitAtMs = Infinity
  #committedMs = 0
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  /** @param place as committed. @param failing of an earlier life. */
  constructor(ports: PushPorts, place: string, failing: Failing | undefined) {
    const { project, id } = ports
    this.#ports = ports
    this.#consumer = consumerOf(id)
    this.#keys = { open: openKey(project, id), progress: progressKey(project, id) }
    this.#circuit = new Circuit(failing?.sinceMs)
    this.#detail = failing?.detail ?? ''
    this.#savedFailing = failing ? JSON.stringify(failing) : ''
    this.#place = place
    this.#commits = Number(place.split(' ').at(-1))
  }

  has(name: TaskName, id: string): boolean {
    return this.#background.has(name, id)
  }

  addTask(name: TaskName, id: string, lane: Lane, events: number): void {
    this.#background.add(name, id, lane, events)
    this.pump()
  }

  missed(): void {
    this.#gaps++
  }

  /** Begins as many attempts as there may be; called when anything has changed. */
  pump(): void {
    const { nowMs, open } = this.#ports
    if (this.#stopped) return
    for (;;) {
      const now = nowMs()
      if (this.#underWay.size >= this.#circuit.limit(now, PARALLEL) || this.#uncommitted >= MAX_UNCOMMITTED) break
      const item = this.#circuit.down ? (this.#fresh(now) ?? open.due(now)) : (open.due(now) ?? this.#fresh(now))
      if (!item) break
      this.#start(item)
    }
    this.#look()
    this.#background.end(open)
    this.#sleep()
    this.#commitSoon()
  }

  /** Waits a moment for answers and commits. */
  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#halt()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise(resolve => {
      timer = setTimeout(resolve, STOP_MS)
    })
    await Promise.race([Promise.all(this.#underWay), late]).finally(() => clearTimeout(timer))
    await this.#committing
    await this.#commit()
  }

  /** One that was not tried before. */
  #fresh(now: number): Item | undefined {
    const { open, live } = this.#ports
    if (!open.hasRoom) return undefined
    // The background gets one of the places even while the live lane could use them all.
    const background = this.#background
    const item = background.isIdle ? (background.next(now) ?? live.next()) : (live.next() ?? background.next(now))
    if (item) open.begin(item)
    return item
  }

  #start(item: Item): void {
    this.#background.started(item)
    // What the receiver does is an outcome; anything else is a fault of ours, and the event is still open.
    const run = this.#run(item)
      .catch((error: Error) => this.#lose(error.message))
      .finally(() => {
        this.#underWay.delete(run)
        this.pump()
      })
    this.#underWay.add(run)
  }

  async #run(item: Item): Promise<void> {
    const { post, nowMs, open } = this.#ports
    const startedMs = nowMs()
    const outcome = await post(item)
    this.#counts.add(outcome.ok, outcome.ms)
    this.#ports.attempted(outcome.ok)
    this.#uncommitted++
    this.#background.settled(item, outcome.ok)
    if (!outcome.ok) this.#failed(item, startedMs, outcome)
    else {
      open.end(item)
      if (this.#circuit.succeeded()) open.hasten()
    }
  }

  #failed(item: Item, startedMs: number, { detail, retryAfterMs }: Outcome): void {
    const { nowMs, random, open, giveUpMs } = this.#ports
    const now = nowMs()
    this.#detail = detail
    this.#circuit.failed(startedMs, now, retryAfterMs, random())
    const firstMs = item.firstMs === 0 ? startedMs : item.firstMs
    const attempts = item.attempts + 1
    if (now - (this.#circuit.sinceMs ?? now) >= giveUpMs) this.#giveUp(detail)
    else if (now - firstMs >= giveUpMs) {
      open.end(item)
      this.#ports.dropped(item, detail)
      return
    }
    open.again({ ...item, attempts, firstMs, dueMs: now + retryMs(attempts, random()) })
  }

  #giveUp(detail: string): void {
    if (this.#stopped) return
    const { sinceMs = 0 } = this.#circuit
    this.#halt()
    const reason = `no attempt has succeeded since ${new Date(sinceMs).toISOString()}; the last one: ${detail}`
    this.#ports.giveUp(reason).then(
      () => this.#ports.lost('disabled'),
      (error: Error) => this.#ports.lost(error.message),
    )
  }

  #lose(reason: string): void {
    if (this.#stopped) return
    this.#halt()
    this.#ports.lost(reason)
  }

  #halt(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    clearTimeout(this.#commitTimer)
  }

  /** Lanes that run dry are filled. */
  #look(): void {
    if (!this.#ports.open.hasRoom) return
    for (const lane of [this.#ports.live, ...this.#background.lanes])
      if (lane.wantsMore())
        lane.fill().then(
          () => this.pump(),
          (error: Error) => this.#lose(error.message),
        )
  }

  /** Wakes for what is only due later. */
  #sleep(): void {
    clearTimeout(this.#timer)
    const { open, nowMs } = this.#ports
    const now = nowMs()
    const { untilMs } = this.#circuit
    const nextMs = this.#background.nextMs > now ? this.#background.nextMs : Infinity
    const wakeMs = untilMs > now ? untilMs : Math.min(open.nextDueMs, nextMs)
    if (wakeMs > now && Number.isFinite(wakeMs)) this.#timer = setTimeout(() => this.pump(), Math.min(MAX_SLEEP_MS, wakeMs - now + 1))
  }

  #commitSoon(): void {
    if (this.#committing || this.#stopped) return
    const settled = this.#uncommitted > 0 || this.#background.hasEnded
    if (!settled && !this.#moved()) return
    const atMs = this.#committedMs + (settled ? COMMIT_EVERY_MS : COMMIT_PLACE_EVERY_MS)
    if (atMs >= this.#commitAtMs) return
    clearTimeout(this.#commitTimer)
    const afterMs = atMs - this.#ports.nowMs()
    if (afterMs <= 0) {
      this.#commitNow()
      return
    }
    this.#commitAtMs = atMs
    this.#commitTimer = setTimeout(() => this.#commitNow(), afterMs)
  }

  #moved(): boolean {
    return `${this.#ports.live.place()} ${this.#commits}` !== this.#place || this.#background.hasMoved
  }

  #commitNow(): void {
    this.#commitAtMs = Infinity
    this.#committing = this.#commit()
      .catch((error: Error) => this.#lose(error.message))
      .finally(() => {
        this.#committing = undefined
        this.pump()
      })
  }

  async #commit(): Promise<void> {
    const { log, project, live, nowMs } = this.#ports
    const commands = this.#commands()
    this.#uncommitted = 0
    const next = `${live.place()} ${this.#commits + 1}`
    this.#committedMs = nowMs()
    if (!(await log.commit(project, this.#consumer, this.#place, next, commands))) {
      this.#lose('others push, or it was disabled')
      return
    }
    this.#place = next
    this.#commits++
  }

  #commands(): CommitCommand[] {
    const { open, project, id, nowMs } = this.#ports
    const { progress } = this.#keys
    const commands = [...open.take(this.#keys.open), ...this.#counts.take(project, id, nowMs()), ...this.#background.take(progress)]
    const { sinceMs } = this.#circuit
    const failing = sinceMs === undefined ? '' : JSON.stringify({ sinceMs, detail: this.#detail } satisfies Failing)
    if (failing !== this.#savedFailing)
      commands.push(failing === '' ? ['HDEL', progress, 'failing'] : ['HSET', progress, 'failing', failing])
    this.#savedFailing = failing
    if (this.#gaps > 0) commands.push(['HINCRBY', progress, 'gaps', this.#gaps])
    this.#gaps = 0
    return commands
  }
}
