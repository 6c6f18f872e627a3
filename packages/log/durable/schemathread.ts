// The thread on which schemas are opened and payloads checked against them, one call after the other; this file is both its ends. What a
// definition does there holds nobody else up, and when it neither ends nor lets itself be ended, the thread is ended with it.
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { Failure, type FailureCode } from '../../core/failure.ts'
import { Limit } from './limit.ts'
import type { Schema } from './record.ts'
import { openSchema, type SchemaCheck } from './schema.ts'

export type Job = {
  /** Of the schema. */
  readonly id: number
  /** The schema as JSON, for a thread that has not opened it. */
  readonly text: string | undefined
  /** Payloads, one behind the other. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Of the payloads of each call. */
  readonly calls: readonly (readonly number[])[]
  /** Schemas that are not needed any more. */
  readonly drop: readonly number[]
}

/** To a call. Nothing said: everything fits. `part`: what took too long, or was refused. */
export type Answer = {
  readonly part?: 'definition' | 'payload'
  readonly isLate?: boolean
  readonly refusal?: { readonly code: FailureCode; readonly message: string; readonly field: string | undefined }
  /** A mistake of ours. */
  readonly error?: string
}

export const OPEN_MS = 2000
const CHECK_MS = 250
/** An ordinary schema takes a tenth of it. */
const BYTES_PER_MS = 10_000
/** After this no further call of a group is begun. */
const GROUP_MS = 50
/** What does not end by itself in time is ended so much later. */
const GRACE_MS = 1000
const MARK = 'telltale schemas'
const LIMITS = { maxOldGenerationSizeMb: 256 }

/** For all payloads of a call. */
export function checkMs(bytes: number): number {
  return CHECK_MS + Math.ceil(bytes / BYTES_PER_MS)
}

type Running = { readonly worker: Worker; readonly ready: Promise<void>; readonly number: number }

/** Its thread is started when it is needed, and anew when it has ended. It keeps no process alive. */
export class SchemaThread {
  readonly #program: URL
  #running: Running | undefined
  #count = 0
  #cause: Error | undefined

  /** @param program this file, as something that Node runs. */
  constructor(program = new URL(import.meta.url)) {
    this.#program = program
  }

  /** Counts the threads: what was opened on one is not open on the next. */
  get number(): number {
    return this.#start().number
  }

  /** One at a time. Resolves with the answers to the first calls, as many as there was time for, at least one. @throws Failure `unavailable` when the thread ended over it. */
  async run(job: Job): Promise<Answer[]> {
    const { worker, ready } = this.#start()
    await ready
    const limitMs = OPEN_MS + GROUP_MS + checkMs(job.bytes.length) + GRACE_MS
    // What has answered meanwhile is heard first.
    const timer = setTimeout(() => setImmediate(() => void worker.terminate()), limitMs)
    return new Promise((resolve, reject) => {
      const settled = () => {
        clearTimeout(timer)
        worker.off('message', answered).off('exit', ended)
      }
      const answered = (answers: Answer[]) => {
        settled()
        resolve(answers)
      }
      const ended = () => {
        settled()
        reject(new Failure('unavailable', 'the check of a schema was ended', { retryAfterMs: 1000, cause: this.#cause }))
      }
      worker.on('message', answered).once('exit', ended)
      if (this.#running?.worker === worker) worker.postMessage(job, [job.bytes.buffer])
      else ended()
    })
  }

  async close(): Promise<void> {
    await this.#running?.worker.terminate()
  }

  #start(): Running {
    if (this.#running) return this.#running
    const worker = new Worker(this.#program, { workerData: MARK, resourceLimits: LIMITS })
    worker.unref()
    this.#cause = undefined
    worker.on('error', error => {
      this.#cause = error as Error
    })
    const ready = new Promise<void>(resolve => {
      worker.once('message', () => resolve())
      worker.once('exit', () => {
        this.#running = undefined
        resolve()
      })
    })
    this.#running = { worker, ready, number: ++this.#count }
    return this.#running
  }
}

class Checks {
  readonly #limit = new Limit()
  readonly #opened = new Map<number, SchemaCheck>()

  answer({ id, text, bytes, calls, drop }: Job): Answer[] {
    for (const one of drop) this.#opened.delete(one)
    const check = this.#opened.get(id) ?? this.#open(id, text ?? '')
    return typeof check === 'function' ? this.#answers(check, bytes, calls) : [check]
  }

  #open(id: number, text: string): SchemaCheck | Answer {
    const answer = this.#limit.run(OPEN_MS, () =>
      answerOf('definition', () => {
        this.#opened.set(id, openSchema(JSON.parse(text) as Schema))
      }),
    )
    return this.#opened.get(id) ?? answer ?? { part: 'definition', isLate: true }
  }

  /** All in one go, for a limit costs more than most checks; what comes late in it has as much time as what comes first. */
  #answers(check: SchemaCheck, bytes: Uint8Array<ArrayBuffer>, calls: Job['calls']): Answer[] {
    const answers: Answer[] = []
    const lastStartMs = performance.now() + GROUP_MS
    let at = 0
    const work = () => {
      for (const lengths of calls) {
        const payloads = payloadsOf(bytes, at, lengths)
        at = lengths.reduce((sum, length) => sum + length, at)
        answers.push(answerOf('payload', () => payloads.forEach(check)))
        if (performance.now() > lastStartMs) break
      }
      return true
    }
    const isDone = this.#limit.run(GROUP_MS + checkMs(bytes.length), work)
    return isDone ? answers : [...answers, { part: 'payload', isLate: true }]
  }
}

function answerOf(part: 'definition' | 'payload', work: () => void): Answer {
  try {
    work()
    return {}
  } catch (error) {
    if (!(error instanceof Failure)) return { part, error: (error as Error).stack ?? String(error) }
    return { part, refusal: { code: error.code, message: error.message, field: error.field } }
  }
}

function payloadsOf(bytes: Uint8Array<ArrayBuffer>, from: number, lengths: readonly number[]): Buffer[] {
  let at = from
  return lengths.map(length => {
    at += length
    return Buffer.from(bytes.buffer, at - length, length)
  })
}

if (workerData === MARK) {
  const checks = new Checks()
  parentPort?.on('message', (job: Job) => parentPort?.postMessage(checks.answer(job)))
  parentPort?.postMessage([] satisfies Answer[])
}
