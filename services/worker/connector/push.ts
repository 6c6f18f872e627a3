// Pushing to one connector: takes events from its lanes, a bounded number at once, and commits how far it has come. What is under way or
// has failed is committed with the place, so the place moves on past it and a crash repeats only what was under way.
import type { CommitCommand, Log } from '../../../packages/log/log.ts'
import { AttemptCount } from '../../../packages/state/attempt.ts'
import { consumerOf, type Failing, openKey, progressKey, type TaskName } from '../../../packages/state/connector.ts'
import type { Outcome } from './attempt.ts'
import { Background } from './background.ts'
import { backoffMs, Circuit, retryMs } from './circuit.ts'
import { Filling } from './filling.ts'
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
  /** Stands for the receiver. */
  readonly target: string
  post(item: Item, signal: AbortSignal): Promise<Outcome>
  /** Nothing has succeeded for too long. Rejects when that could not be noted. */
  giveUp(detail: string): Promise<void>
  /** Events were refused for too long while others were taken, and are dropped; `item` is one of so many. */
  dropped(item: Item, detail: string, count: number): void
  attempted(ok: boolean): void
  /** It cannot go on, because others have changed what it stands on: it has stopped. */
  lost(reason: string): void
  /** A lane could not be read, or what was done not be noted; both will be tried again. */
  troubled(error: Error): void
  /** A clock that no one sets. */
  nowMs(): number
  /** What the clock on the wall says: for what others read, or the next life. */
  wallMs(): number
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
/** How long stopping waits for answers; what is under way then is broken off, and tried again by the next who pushes. */
const STOP_MS = 1000
/** Between attempts to note what was done, while Redis refuses to. */
const MAX_COMMIT_PAUSE_MS = 30_000
/** An event counts as refused, and not the receiver as broken, for so long after it has last taken one. */
const REFUSED_WITHIN_MS = 10 * 60_000
/** A receiver may refuse hundreds of events a second. */
const SAY_DROPPED_EVERY_MS = 10_000

type Commit = { readonly next: string; readonly commands: readonly CommitCommand[] }

export class Pusher {
  readonly #ports: PushPorts
  readonly #consumer: string
  readonly #circuit: Circuit
  readonly #counts = new AttemptCount()
  readonly #background = new Background()
  readonly #keys: { readonly open: string; readonly progress: string }
  readonly #filling = new Filling({ filled: () => this.pump(), troubled: error => this.#ports.troubled(error) })
  readonly #underWay = new Map<Promise<void>, AbortController>()
  #place: string
  #commits: number
  #uncommitted = 0
  #gaps = 0
  #dropped = 0
  #unsaidDrops = 0
  #saidDropsMs = -Infinity
  /** Undefined: whatever an earlier life left. */
  #savedFailing: string | undefined
  #detail: string
  /** What Redis would not take, and how often. */
  #unsaved: Commit | undefined
  #rejections = 0
  #committing: Promise<void> | undefined
  #commitTimer: NodeJS.Timeout | undefined
  #commitAtMs = Infinity
  #committedMs = 0
  #timer: NodeJS.Timeout | undefined
  #stopped = false
  #aborted = false

  /** @param place as committed. @param failing of an earlier life. */
  constructor(ports: PushPorts, place: string, failing: Failing | undefined) {
    const { project, id } = ports
    this.#ports = ports
    this.#consumer = consumerOf(id)
    this.#keys = { open: openKey(project, id), progress: progressKey(project, id) }
    this.#circuit = new Circuit(failing && failing.sinceMs - this.#aheadMs())
    this.#detail = failing?.detail ?? ''
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
    let now = nowMs()
    for (; this.#rejections === 0; now = nowMs()) {
      if (this.#underWay.size >= this.#circuit.limit(now, PARALLEL) || this.#uncommitted >= MAX_UNCOMMITTED) break
      const item = this.#circuit.down ? (this.#fresh(now) ?? open.due(now)) : (open.due(now) ?? this.#fresh(now))
      const next = item ?? open.dueRefused()
      if (!next) break
      this.#start(next)
    }
    this.#look()
    this.#background.end(open)
    this.#sleep(now)
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
    await Promise.race([Promise.all(this.#underWay.keys()), late]).finally(() => clearTimeout(timer))
    this.#abort()
    await Promise.all(this.#underWay.keys())
    await this.#committing
    await this.#commit()
  }

  /** What is under way ends without an outcome. */
  #abort(): void {
    this.#aborted = true
    for (const controller of this.#underWay.values()) controller.abort()
  }

  /** One that was not tried before. */
  #fresh(now: number): Item | undefined {
    const { open } = this.#ports
    if (!open.hasRoom && !open.canMakeRoom) return undefined
    const item = this.#unopened(now)
    if (!item) return undefined
    while (!open.hasRoom && open.canMakeRoom) this.#drop(open.makeRoom())
    open.begin(item)
    return item
  }

  #unopened(now: number): Item | undefined {
    const { open, live } = this.#ports
    // The background gets one of the places even while the live lane could use them all.
    const background = this.#background
    for (;;) {
      const item = background.isIdle ? (background.next(now) ?? live.next()) : (live.next() ?? background.next(now))
      // A replay may come to what an earlier one has left open.
      if (!item || !open.has(item.key)) return item
    }
  }

  #start(item: Item): void {
    this.#background.started(item)
    // What the receiver does is an outcome; anything else is a fault of ours, and the event is still open.
    const controller = new AbortController()
    const run = this.#run(item, controller.signal)
      .catch((error: Error) => this.#lose(error.message))
      .finally(() => {
        this.#underWay.delete(run)
        this.pump()
      })
    this.#underWay.set(run, controller)
  }

  async #run(item: Item, signal: AbortSignal): Promise<void> {
    const { post, nowMs, open } = this.#ports
    const startedMs = nowMs()
    const outcome = await post(item, signal)
    if (this.#aborted) return
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

  #failed(item: Item, startedMs: number, outcome: Outcome): void {
    const { nowMs, random, open, giveUpMs } = this.#ports
    const now = nowMs()
    this.#detail = outcome.detail
    this.#judge(startedMs, now, outcome)
    const failingMs = now - (this.#circuit.sinceMs ?? now)
    const firstMs = item.firstMs ?? startedMs
    const attempts = item.attempts + 1
    const refused = item.refused + (outcome.refused && failingMs < REFUSED_WITHIN_MS ? 1 : 0)
    if (failingMs >= giveUpMs) this.#giveUp(outcome.detail)
    else if (now - firstMs >= giveUpMs) {
      open.end(item)
      this.#drop(item)
      return
    }
    open.again({ ...item, attempts, refused, firstMs, dueMs: now + retryMs(attempts, random()) })
  }

  /** What a failure says of the receiver. */
  #judge(startedMs: number, now: number, { refused, retryAfterMs }: Outcome): void {
    if (!refused) this.#circuit.failed(startedMs, now, retryAfterMs, this.#ports.random())
    else if (this.#circuit.refused(now, retryAfterMs)) this.#ports.open.hasten()
  }

  #drop(item: Item | undefined): void {
    if (!item) return
    this.#dropped++
    this.#unsaidDrops++
    const now = this.#ports.nowMs()
    if (now - this.#saidDropsMs < SAY_DROPPED_EVERY_MS) return
    this.#ports.dropped(item, this.#detail, this.#unsaidDrops)
    this.#saidDropsMs = now
    this.#unsaidDrops = 0
  }

  #giveUp(detail: string): void {
    if (this.#stopped) return
    const { sinceMs = 0 } = this.#circuit
    this.#halt()
    this.#abort()
    const reason = `no attempt has succeeded since ${new Date(sinceMs + this.#aheadMs()).toISOString()}; the last one: ${detail}`
    this.#ports.giveUp(reason).then(
      () => this.#ports.lost('disabled'),
      (error: Error) => this.#ports.lost(error.message),
    )
  }

  #lose(reason: string): void {
    if (this.#stopped) return
    this.#halt()
    this.#abort()
    this.#ports.lost(reason)
  }

  #halt(): void {
    this.#stopped = true
    this.#filling.stop()
    clearTimeout(this.#timer)
    clearTimeout(this.#commitTimer)
  }

  /** Lanes that run dry are filled. */
  #look(): void {
    const { open } = this.#ports
    if (!open.hasRoom && !open.canMakeRoom) return
    this.#filling.fill([this.#ports.live, ...this.#background.lanes])
  }

  /** Wakes for what is only due later than at this last look. Than now would be too late: what has become due since then, nobody has seen. */
  #sleep(now: number): void {
    clearTimeout(this.#timer)
    const { open } = this.#ports
    const { untilMs } = this.#circuit
    const nextMs = this.#background.nextMs > now ? this.#background.nextMs : Infinity
    const wakeMs = untilMs > now ? untilMs : Math.min(open.nextDueMs, nextMs)
    if (wakeMs > now && Number.isFinite(wakeMs)) this.#timer = setTimeout(() => this.pump(), Math.min(MAX_SLEEP_MS, wakeMs - now + 1))
  }

  #commitSoon(): void {
    if (this.#committing || this.#stopped) return
    const settled = this.#uncommitted > 0 || this.#background.hasEnded || this.#unsaved !== undefined
    if (!settled && !this.#moved()) return
    if (this.#rejections > 0 && this.#commitAtMs < Infinity) return
    const atMs = this.#committedMs + this.#pauseMs(settled)
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

  /** Between the last commit and the next. */
  #pauseMs(settled: boolean): number {
    if (this.#rejections > 0) return backoffMs(this.#rejections, MAX_COMMIT_PAUSE_MS, this.#ports.random())
    return settled ? COMMIT_EVERY_MS : COMMIT_PLACE_EVERY_MS
  }

  #moved(): boolean {
    return `${this.#ports.live.place()} ${this.#commits}` !== this.#place || this.#background.hasMoved
  }

  #commitNow(): void {
    this.#commitAtMs = Infinity
    this.#committing = this.#commit()
      .catch((error: Error) => {
        // Redis is full, or cannot write: nothing more is posted until it has noted what was.
        this.#rejections++
        this.#ports.troubled(error)
      })
      .finally(() => {
        this.#committing = undefined
        this.pump()
      })
  }

  async #commit(): Promise<void> {
    const { log, project, nowMs } = this.#ports
    const commit = this.#unsaved ?? this.#prepared()
    this.#unsaved = commit
    this.#committedMs = nowMs()
    const done = await log.commit(project, this.#consumer, this.#place, commit.next, commit.commands)
    this.#unsaved = undefined
    this.#rejections = 0
    if (!done) {
      this.#lose('others push, or it was disabled')
      return
    }
    this.#place = commit.next
    this.#commits++
  }

  #prepared(): Commit {
    const commands = this.#commands()
    this.#uncommitted = 0
    return { next: `${this.#ports.live.place()} ${this.#commits + 1}`, commands }
  }

  #commands(): CommitCommand[] {
    const { open, project, id, wallMs } = this.#ports
    const { progress } = this.#keys
    const opened = open.take(this.#keys.open, this.#aheadMs())
    const commands = [...opened, ...this.#counts.take(project, id, wallMs()), ...this.#background.take(progress)]
    const failing = this.#failing()
    if (failing !== this.#savedFailing)
      commands.push(failing === '' ? ['HDEL', progress, 'failing'] : ['HSET', progress, 'failing', failing])
    this.#savedFailing = failing
    if (this.#gaps > 0) commands.push(['HINCRBY', progress, 'gaps', this.#gaps])
    if (this.#dropped > 0) commands.push(['HINCRBY', progress, 'dropped', this.#dropped])
    this.#gaps = 0
    this.#dropped = 0
    return commands
  }

  #failing(): string {
    const { sinceMs } = this.#circuit
    if (sinceMs === undefined) return ''
    const failing: Failing = { sinceMs: Math.round(sinceMs + this.#aheadMs()), detail: this.#detail, target: this.#ports.target }
    return JSON.stringify(failing)
  }

  /** By how much the wall's clock is ahead of this process' own, as far as is known now. */
  #aheadMs(): number {
    return this.#ports.wallMs() - this.#ports.nowMs()
  }
}
