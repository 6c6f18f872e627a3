// From events to answers: they wait a moment for company, go out in order and one request at a time, and again until there is an answer.
import type { Answer, Api } from './api.ts'
import { errorOf, TelltaleError, unreachable } from './error.ts'
import { Stamps } from './event.ts'
import { backoffMs, pause } from './pace.ts'

export type PublishSettings = {
  /** How long an event waits for others to share a request with; 5. */
  readonly lingerMs?: number
  /** Events in one request; 500. */
  readonly maxBatch?: number
  /** Bytes in one request; 1 MiB. */
  readonly maxBatchBytes?: number
  /** Events that are held without an answer; beyond it `publish` waits for room. 10,000. */
  readonly maxQueued?: number
  /** How long an event is sent again while nobody answers or the server is busy; 2 minutes. */
  readonly giveUpAfterMs?: number
  /** False: as long as nobody has ever answered, nobody is waited for. */
  readonly waitForServer?: boolean
}

/** What a sender may want to count. What it throws is an uncaught exception: the queue goes on. */
export type PublishWatch = {
  sent?(events: number): void
  retried?(events: number): void
  /** A request had no answer. */
  lost?(): void
}

/** Undefined: it is on the server's disk. */
export type Settled = (error: TelltaleError | undefined, tookMs: number) => void

type Waiting = { readonly line: string; readonly settled: Settled }

export class Publisher {
  readonly #api: Api
  readonly #settings: Required<PublishSettings>
  readonly #watch: PublishWatch
  readonly #stamps = new Stamps()
  readonly #stopped = new AbortController()
  readonly #roomless = new Set<() => void>()
  #queue: Waiting[] = []
  #taken = 0
  #answered = 0
  #flushing: { readonly upTo: number; readonly done: () => void }[] = []
  #running: Promise<void> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #turn: Promise<void> = Promise.resolve()
  #closed = false
  #answeredOnce = false

  constructor(api: Api, settings: PublishSettings = {}, watch: PublishWatch = {}) {
    this.#api = api
    const {
      lingerMs = 5,
      maxBatch = 500,
      maxBatchBytes = 1024 * 1024,
      maxQueued = 10_000,
      giveUpAfterMs = 120_000,
      waitForServer = true,
    } = settings
    this.#settings = { lingerMs, maxBatch, maxBatchBytes, maxQueued, giveUpAfterMs, waitForServer }
    this.#watch = watch
  }

  /** Takes its place in the queue when there is room. Order: of the calls. */
  put(lines: readonly string[], settled: (index: number, error: TelltaleError | undefined) => void): void {
    const feed = async () => {
      for (const [index, line] of lines.entries()) {
        while (this.#taken - this.#answered >= this.#settings.maxQueued && !this.#closed)
          await new Promise<void>(resolve => this.#roomless.add(resolve))
        this.add(line, error => settled(index, error))
      }
    }
    this.#turn = this.#turn.then(feed)
  }

  /** Takes its place at once: the caller keeps count. */
  add(line: string, settled: Settled): void {
    if (this.#closed) {
      settled(closedError(), 0)
      return
    }
    this.#taken++
    this.#queue.push({ line, settled })
    if (this.#running !== undefined) return
    if (this.#queue.length >= this.#settings.maxBatch) this.#start()
    else this.#timer ??= setTimeout(() => this.#start(), this.#settings.lingerMs)
  }

  /** Resolves when everything that was taken before has its answer. */
  async flush(): Promise<void> {
    await this.#turn
    if (this.#answered === this.#taken) return
    this.#start()
    const upTo = this.#taken
    await new Promise<void>(done => this.#flushing.push({ upTo, done }))
  }

  /** Takes no more, and gives what is held this long; what has no answer then is settled as unavailable. Idempotent. */
  async close(limitMs: number): Promise<void> {
    const timer = setTimeout(() => this.#stop(), limitMs)
    if (limitMs === 0) this.#stop()
    await this.flush()
    clearTimeout(timer)
    this.#stop()
  }

  #stop(): void {
    this.#closed = true
    this.#stopped.abort()
    this.#wake()
  }

  #start(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#running ??= this.#drain()
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) await this.#deliver(this.#next())
    this.#running = undefined
  }

  #next(): readonly Waiting[] {
    const { maxBatch, maxBatchBytes } = this.#settings
    let bytes = 0
    let count = 0
    for (; count < Math.min(maxBatch, this.#queue.length); count++) {
      // Lines are ASCII: characters are bytes.
      bytes += (this.#queue[count]?.line.length ?? 0) + 1
      if (count > 0 && bytes > maxBatchBytes) break
    }
    const batch = this.#queue.splice(0, count)
    apart(() => this.#watch.sent?.(batch.length))
    return batch
  }

  /** Until there is an answer for each event of the batch, or there is no sense in asking again. */
  async #deliver(batch: readonly Waiting[]): Promise<void> {
    const request = { key: this.#stamps.id(), text: batch.map(({ line }) => `${line}\n`).join('') }
    const startedMs = Date.now()
    for (let attempt = 1; !this.#stopped.signal.aborted; attempt++) {
      if (attempt > 1) apart(() => this.#watch.retried?.(batch.length))
      const answer = await this.#post(request)
      if (answer.status === 413 && batch.length > 1) return this.#halve(batch)
      const waitMs = answer.retryAfterMs ?? backoffMs(attempt)
      const leftMs = startedMs + this.#settings.giveUpAfterMs - Date.now()
      if (!this.#isLater(answer) || waitMs > leftMs) return this.#settle(batch, verdict(answer, batch.length), startedMs)
      await pause(waitMs, this.#stopped.signal)
    }
    this.#settle(batch, closedError, startedMs)
  }

  /** Whether asking again may bring another answer. */
  #isLater(answer: Answer | TelltaleError): boolean {
    const { status } = answer
    if (status === 0) return this.#answeredOnce || this.#settings.waitForServer
    // A token endpoint that refuses is an error as well, and final.
    return status === 408 || status === 429 || status >= 500
  }

  async #post({ key, text }: { readonly key: string; readonly text: string }): Promise<Answer | TelltaleError> {
    try {
      const body = { type: 'application/x-ndjson', text } as const
      const headers = { 'idempotency-key': key }
      const answer = await this.#api.call('POST', this.#api.path('events'), { body, headers, signal: this.#stopped.signal })
      this.#answeredOnce = true
      return answer
    } catch (error) {
      if (!this.#stopped.signal.aborted) apart(() => this.#watch.lost?.())
      // Nobody waits for this promise: whatever went wrong, the events get an answer.
      return error instanceof TelltaleError ? error : unreachable(this.#api.url, error)
    }
  }

  async #halve(batch: readonly Waiting[]): Promise<void> {
    const half = batch.length >> 1
    apart(() => this.#watch.retried?.(batch.length))
    await this.#deliver(batch.slice(0, half))
    await this.#deliver(batch.slice(half))
  }

  #settle(batch: readonly Waiting[], errorAt: (index: number) => TelltaleError | undefined, startedMs: number): void {
    const tookMs = Date.now() - startedMs
    this.#answered += batch.length
    for (const [index, { settled }] of batch.entries()) apart(() => settled(errorAt(index), tookMs))
    this.#wake()
    for (const { upTo, done } of this.#flushing) if (upTo <= this.#answered) done()
    this.#flushing = this.#flushing.filter(({ upTo }) => upTo > this.#answered)
  }

  #wake(): void {
    const waiting = [...this.#roomless]
    this.#roomless.clear()
    for (const go of waiting) go()
  }
}

/** Runs what is the program's own: its mistake is not to cost other events their answer. */
function apart(call: () => void): void {
  try {
    call()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

function closedError(): TelltaleError {
  return new TelltaleError(
    0,
    'closed before there was an answer: it may have arrived, and publishing it again with its eventId is harmless',
  )
}

/** What became of each event: 200 and 207 account for all of them, and so does a 400 of which nothing was valid. */
function verdict(answer: Answer | TelltaleError, events: number): (index: number) => TelltaleError | undefined {
  if (answer instanceof TelltaleError) return () => answer
  const { status, body } = answer
  const { accepted, rejected, errors } = Object(body) as Readonly<Record<string, unknown>>
  const counted = Number(accepted) + Number(rejected)
  if (status !== 200 && status !== 207 && !(status === 400 && counted > 0)) return () => errorOf(status, body, answer.retryAfterMs)
  if (counted !== events) {
    const said = Number.isNaN(counted) ? 0 : counted
    return () => new TelltaleError(0, `the server accounted for ${said} of ${events} events: is it a Telltale server?`)
  }
  const listed = new Map((Array.isArray(errors) ? errors : []).map((one: { readonly index?: unknown }) => [one.index, errorOf(400, one)]))
  // A server may list fewer reasons than it refused events; then nobody knows which of the others it kept.
  const rest = Number(rejected) > listed.size ? new TelltaleError(400, 'no reason given') : undefined
  return index => listed.get(index) ?? rest
}
