// The thread of the sandbox; this file is both its ends. Code that neither ends nor lets itself be stopped is ended with its thread, and what
// waited behind it is run on the next one.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { Failure } from '../../../packages/core/failure.ts'
import { workMs, workOfThread } from './sandboxclock.ts'
import { type Answer, HARD_LIMIT_MS, SandboxRuntime, type Script } from './sandboxruntime.ts'

/** Payloads for one script, each as JSON. */
export type Batch = { readonly script: Script; readonly inputs: readonly string[]; readonly limitMs: number }

/** To the first inputs, as many as there was time for. `ended`: the next one took the thread with it. */
export type Outcome = { readonly answers: readonly Answer[]; readonly ended: boolean }

/** After this no further input of a batch is begun. */
const TURN_MS = 20
const WATCH_MS = 20
/** Work on one and the same input: more than the limit that code obeys. */
const MAX_WORK_MS = HARD_LIMIT_MS + WATCH_MS
/** Looks of the watchdog meanwhile. Counted where the system does not tell the work; and at last even code that waits has had its time. */
const MAX_LOOKS = MAX_WORK_MS / WATCH_MS
const MAX_IDLE_LOOKS = 500
/** No input is under way. */
const IDLE = -1
const MARK = 'telltale sandbox'
/** The stack is that of the interpreter, which says so of its own before this one ends. */
const LIMITS = { maxOldGenerationSizeMb: 64, stackSizeMb: 8 }

type Start = { readonly mark: string; readonly progress: Int32Array }
type Running = {
  readonly worker: Worker
  readonly ready: Promise<void>
  readonly progress: Int32Array
  readonly told: { work: string | undefined }
}

/** Started when it is needed, and anew when it has ended. At rest it keeps no process alive. */
export class SandboxThread {
  readonly #program: URL
  #running: Running | undefined
  #cause: unknown

  /** @param program this file, as something that Node runs. */
  constructor(program = new URL(import.meta.url)) {
    this.#program = program
  }

  /** One at a time. @throws Failure `unavailable` when no thread can be had. */
  async run(batch: Batch): Promise<Outcome> {
    const running = this.#start()
    running.worker.ref()
    await running.ready
    const { worker, progress } = running
    if (this.#running !== running) throw new Failure('unavailable', 'code cannot be run now', { retryAfterMs: 1000, cause: this.#cause })
    Atomics.store(progress, 0, IDLE)
    const watch = watchdog(running)
    return new Promise(resolve => {
      const settle = (outcome: Outcome) => {
        clearInterval(watch)
        worker.unref()
        worker.off('message', answered).off('exit', ended)
        resolve(outcome)
      }
      const answered = (answers: readonly Answer[]) => settle({ answers, ended: false })
      // What was answered before is lost with the thread, and asked again: code is a function of its input.
      // The next one starts at the expense of whoever ended this one.
      const ended = () => void this.#ready().then(() => settle({ answers: [], ended: true }))
      worker.on('message', answered).once('exit', ended)
      worker.postMessage(batch)
    })
  }

  /** Of the last batch: which of its inputs was under way when the thread ended. */
  get culprit(): number {
    return this.#ended
  }
  #ended = 0

  /** Whether one has been started that the next batch can have. */
  get isStarted(): boolean {
    return this.#running !== undefined
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#running?.worker.terminate()
  }
  #isClosed = false

  /** Whether it works is for the next batch to see. */
  async #ready(): Promise<void> {
    if (this.#isClosed) return
    const { worker, ready } = this.#start()
    worker.ref()
    await ready
    worker.unref()
  }

  #start(): Running {
    if (this.#running) return this.#running
    const progress = new Int32Array(new SharedArrayBuffer(4))
    const start: Start = { mark: MARK, progress }
    const worker = new Worker(this.#program, { workerData: start, resourceLimits: LIMITS, ...loaderOf(this.#program) })
    worker.unref()
    worker.on('error', error => {
      this.#cause = error
    })
    const told = { work: undefined as string | undefined }
    const ready = new Promise<void>(resolve => {
      worker.once('message', (work: string | undefined) => {
        told.work = work
        resolve()
      })
      worker.once('exit', () => {
        this.#ended = Math.max(0, Atomics.load(progress, 0))
        this.#running = undefined
        resolve()
      })
    })
    this.#running = { worker, ready, progress, told }
    return this.#running
  }
}

/** Of the sources, while this is developed: Node 20 cannot read them by itself, and the loader of the main thread is none of its threads. */
function loaderOf(program: URL): { readonly execArgv?: string[] } {
  if (!program.pathname.endsWith('.ts')) return {}
  const tsx = new URL('dist/esm/api/index.mjs', pathToFileURL(createRequire(program).resolve('tsx/package.json')))
  const text = `import { register } from ${JSON.stringify(tsx.href)}; register()`
  return { execArgv: ['--import', `data:text/javascript,${encodeURIComponent(text)}`] }
}

/** It also counts its own looks and no clock: when the machine has no time for this process, it has none for the watchdog either. */
function watchdog({ worker, progress, told }: Running): NodeJS.Timeout {
  let looks = 0
  let last = IDLE
  let startedMs: number | undefined
  const timer = setInterval(() => {
    const now = Atomics.load(progress, 0)
    const worked = told.work === undefined ? undefined : workMs(told.work)
    if (now === last && now !== IDLE) {
      looks++
      const isSpent = worked === undefined || startedMs === undefined ? looks > MAX_LOOKS : worked - startedMs > MAX_WORK_MS
      if (isSpent || looks > MAX_IDLE_LOOKS) void worker.terminate()
      return
    }
    last = now
    looks = 0
    startedMs = worked
  }, WATCH_MS)
  return timer.unref()
}

async function answersTo({ script, inputs, limitMs }: Batch, runtime: SandboxRuntime, progress: Int32Array): Promise<Answer[]> {
  const answers: Answer[] = []
  const lastStartMs = performance.now() + TURN_MS
  for (const [i, input] of inputs.entries()) {
    if (i > 0 && performance.now() > lastStartMs) break
    answers.push(await runtime.run(script, input, limitMs, () => Atomics.store(progress, 0, i)))
  }
  Atomics.store(progress, 0, IDLE)
  return answers
}

async function serve(progress: Int32Array): Promise<void> {
  const runtime = new SandboxRuntime()
  await runtime.load()
  parentPort?.on('message', (batch: Batch) => {
    void answersTo(batch, runtime, progress).then(answers => parentPort?.postMessage(answers))
  })
  parentPort?.postMessage(workOfThread())
}

const start = workerData as Start | null
if (start?.mark === MARK) await serve(start.progress)
