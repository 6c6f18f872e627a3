// Somebody else's definition at work in our process: what it does ends after a limit, whatever it is (a pattern that backtracks for ever,
// references that multiply). V8 ends even a regular expression, but only in what runs by `vm`.
import vm from 'node:vm'
import { Failure } from '../../core/failure.ts'

/** After that a definition rests, so that a thousand such payloads cost little more than one. */
const REST_FACTOR = 20

/** 30 µs a call. Not for what waits. */
export class Limit {
  readonly #limitMs: number
  readonly #place = vm.createContext({ work: undefined as (() => unknown) | undefined })
  readonly #script = new vm.Script('work()')
  #restUntilMs = 0

  constructor(limitMs: number) {
    this.#limitMs = limitMs
  }

  /** Undefined: it took too long. Throws what the work throws, and `unavailable` while it rests after that. */
  run<T>(work: () => T): T | undefined {
    const restMs = this.#restUntilMs - performance.now()
    if (restMs > 0)
      throw new Failure('unavailable', 'the schema of this stream takes too long to check', { retryAfterMs: Math.ceil(restMs) })
    this.#place.work = work
    try {
      return this.#script.runInContext(this.#place, { timeout: this.#limitMs }) as T
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
      this.#restUntilMs = performance.now() + this.#limitMs * REST_FACTOR
      return undefined
    } finally {
      this.#place.work = undefined
    }
  }
}
