// Somebody else's definition at work: what it does ends after a limit, whatever it is (a pattern that backtracks for ever, references
// that multiply). V8 ends even a regular expression, but only in what runs by `vm`.
import vm from 'node:vm'

export class Limit {
  readonly #place = vm.createContext({ work: undefined as (() => unknown) | undefined })
  readonly #script = new vm.Script('work()')

  /** 30 µs a call; not for what waits. Undefined: it took too long. Throws what the work throws. */
  run<T>(ms: number, work: () => T): T | undefined {
    this.#place.work = work
    try {
      return this.#script.runInContext(this.#place, { timeout: Math.ceil(ms) }) as T
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
      return undefined
    } finally {
      this.#place.work = undefined
    }
  }
}
