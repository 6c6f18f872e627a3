// Code that people wrote for their own payloads, run apart: on a thread of its own, with limits of time and memory, in turn among projects.
// Whoever's code is slow waits for it himself; what never ends is stopped, and after the third time it rests.
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { durationWords } from '../../../packages/core/time.ts'
import type { Answer, Entry } from './sandboxruntime.ts'
import { type Outcome, SandboxThread } from './sandboxthread.ts'

type Code = { readonly text: string; readonly entry: Entry; strikes: number; firstStrikeMs: number; restUntilMs: number }
type Call = { readonly code: Code; readonly input: string; readonly limitMs: number; settle(answer: Answer | Failure): void }

/** `spentMs` is the time that its code had of late: who had least is next. */
type Line = { readonly project: string; readonly calls: Call[]; chars: number; spentMs: number }

export const DEFAULT_LIMIT_MS = 50
export const MAX_CODE_CHARS = 64 * 1024
const MAX_STRIKES = 3
const STRIKES_MS = 60_000
const REST_MS = 60_000
/** Of payloads that wait; beyond it producers are told to send again later. */
const MAX_WAITING_CHARS = 64 * 1024 * 1024
const MAX_WAITING_CHARS_OF_ONE = 16 * 1024 * 1024
const CALL_CHARS = 1024
const MAX_BATCH_CALLS = 100
const MAX_BATCH_CHARS = 256 * 1024
/** Of versions of code whose strikes are remembered; who is forgotten begins anew. */
const MAX_KNOWN = 1000

export class Sandbox {
  readonly #thread: SandboxThread
  /** By project and text. */
  readonly #codes = new Map<string, Code>()
  readonly #lines = new Map<string, Line>()
  #waitingChars = 0
  #isRunning = false

  constructor(thread = new SandboxThread()) {
    this.#thread = thread
  }

  /**
   * What the code makes of the input, as JSON has it.
   * @throws Failure `invalid` with field `code` and what the code did, `unavailable` when too much waits.
   */
  async run(project: string, text: string, entry: Entry, input: unknown, limitMs = DEFAULT_LIMIT_MS): Promise<unknown> {
    const answer = await this.#answer(project, text, entry, JSON.stringify(input), limitMs)
    if ('json' in answer) return JSON.parse(answer.json)
    throw invalid('code', answer.mistake)
  }

  /** Before it is kept. @throws Failure `invalid` that says where the mistake is. */
  async check(text: string, entry: Entry, field: string): Promise<void> {
    if (text.length > MAX_CODE_CHARS) throw invalid(field, `expected at most ${MAX_CODE_CHARS} characters`)
    const answer = await this.#answer('', text, entry, '', DEFAULT_LIMIT_MS)
    if ('mistake' in answer) throw invalid(field, answer.mistake)
  }

  async close(): Promise<void> {
    await this.#thread.close()
  }

  async #answer(project: string, text: string, entry: Entry, input: string, limitMs: number): Promise<Answer> {
    const code = this.#codeOf(project, text, entry)
    const restMs = code.restUntilMs - performance.now()
    if (restMs > 0) throw invalid('code', `took too much time or memory ${MAX_STRIKES} times and rests for ${durationWords(restMs)}`)
    const line = this.#lineOf(project)
    const chars = input.length + CALL_CHARS
    if (line.chars + chars > MAX_WAITING_CHARS_OF_ONE || this.#waitingChars + chars > MAX_WAITING_CHARS)
      throw new Failure('unavailable', 'too much is waiting to be decoded', { retryAfterMs: 1000 })
    line.chars += chars
    this.#waitingChars += chars
    const answer = await new Promise<Answer | Failure>(settle => {
      line.calls.push({ code, input, limitMs, settle })
      if (!this.#isRunning) void this.#run()
    })
    if (answer instanceof Failure) throw answer
    return answer
  }

  #codeOf(project: string, text: string, entry: Entry): Code {
    const key = `${project}\t${entry}\t${text}`
    const known = this.#codes.get(key)
    if (known) return known
    const [oldest] = this.#codes.keys()
    if (oldest !== undefined && this.#codes.size >= MAX_KNOWN) this.#codes.delete(oldest)
    const code = { text, entry, strikes: 0, firstStrikeMs: 0, restUntilMs: 0 }
    this.#codes.set(key, code)
    return code
  }

  /** Who comes new begins where the others are, not with all the time they had meanwhile. */
  #lineOf(project: string): Line {
    const known = this.#lines.get(project)
    if (known) return known
    const spentMs = Math.min(...[...this.#lines.values()].map(line => line.spentMs))
    const line = { project, calls: [], chars: 0, spentMs: Number.isFinite(spentMs) ? spentMs : 0 }
    this.#lines.set(project, line)
    return line
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    for (let line = this.#next(); line; line = this.#next()) {
      const startMs = performance.now()
      await this.#turn(line)
      line.spentMs += performance.now() - startMs
    }
    this.#isRunning = false
  }

  #next(): Line | undefined {
    let next: Line | undefined
    for (const line of this.#lines.values()) {
      if (line.calls.length === 0) this.#lines.delete(line.project)
      else if (next === undefined || line.spentMs < next.spentMs) next = line
    }
    return next
  }

  async #turn(line: Line): Promise<void> {
    const batch = batchOf(line.calls)
    const [{ code, limitMs }] = batch
    const script = { key: `${line.project}\t${code.entry}\t${code.text}`, code: code.text, entry: code.entry }
    let outcome: Outcome
    try {
      outcome = await this.#thread.run({ script, inputs: batch.map(({ input }) => input), limitMs })
    } catch (error) {
      this.#settle(line, 0, error instanceof Failure ? error : new Failure('unavailable', 'code cannot be run now', { cause: error }))
      return
    }
    const { answers, ended } = outcome
    if (ended) {
      this.#settle(line, Math.min(this.#thread.culprit, batch.length - 1), { mistake: `took longer than ${limitMs} ms`, isSpent: true })
      return
    }
    for (const answer of answers) this.#settle(line, 0, answer)
  }

  #settle(line: Line, index: number, answer: Answer | Failure): void {
    const [call] = line.calls.splice(index, 1)
    if (!call) return
    const chars = call.input.length + CALL_CHARS
    line.chars -= chars
    this.#waitingChars -= chars
    if ('mistake' in answer && answer.isSpent) this.#strike(line, call.code)
    call.settle(answer)
  }

  #strike(line: Line, code: Code): void {
    const nowMs = performance.now()
    if (nowMs - code.firstStrikeMs > STRIKES_MS) code.strikes = 0
    if (code.strikes++ === 0) code.firstStrikeMs = nowMs
    if (code.strikes < MAX_STRIKES) return
    code.strikes = 0
    // Nobody saves code that is at rest: to try again is what checking is for.
    if (line.project !== '') code.restUntilMs = nowMs + REST_MS
  }
}

/** From the front, those of one code. */
function batchOf(calls: readonly Call[]): readonly [Call, ...Call[]] {
  const [first, ...others] = calls.slice(0, MAX_BATCH_CALLS) as [Call, ...Call[]]
  let chars = first.input.length
  const end = others.findIndex(({ code, limitMs, input }) => {
    chars += input.length
    return code !== first.code || limitMs !== first.limitMs || chars > MAX_BATCH_CHARS
  })
  return [first, ...(end === -1 ? others : others.slice(0, end))]
}

/** Of this process: its thread is started by the first payload that needs it. */
export const sandbox = new Sandbox()
