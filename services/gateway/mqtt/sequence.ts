// The publishes of one connection, one after the other: they are worked on in their order also where one of them waits for something, and
// answered in their order whichever of them is safe first [MQTT-4.6.0-2]. Makes no promise for what need not wait.
export type Done = (error?: Error | null) => void

type Answer = { readonly done: Done; outcome: Error | null | undefined }

/** Returns a promise when the next may not begin yet. It does not throw or reject: what breaks is told by its answer. */
export type Work = () => Promise<void> | undefined

/** More are not kept waiting. */
const MAX_WAITING = 1000

export class Sequence {
  readonly #answers: Answer[] = []
  #waiting: Work[] = []
  #isBusy = false

  /** Is `done` when all before it are. */
  answer(done: Done): Done {
    const answer: Answer = { done, outcome: undefined }
    this.#answers.push(answer)
    return error => {
      answer.outcome = error ?? null
      this.#release()
    }
  }

  /** False: too many wait, and it will not be done. */
  work(work: Work): boolean {
    if (this.#isBusy) {
      if (this.#waiting.length >= MAX_WAITING) return false
      this.#waiting.push(work)
    } else this.#run(work)
    return true
  }

  #run(work: Work): void {
    const running = work()
    if (!running) return
    this.#isBusy = true
    const next = () => this.#next()
    // Should it reject all the same, what waits has nothing to do with it.
    void running.then(next, next)
  }

  #next(): void {
    this.#isBusy = false
    const waiting = this.#waiting
    this.#waiting = []
    for (const [i, work] of waiting.entries()) {
      this.#run(work)
      if (this.#isBusy) {
        this.#waiting = [...waiting.slice(i + 1), ...this.#waiting]
        return
      }
    }
  }

  #release(): void {
    for (let [first] = this.#answers; first?.outcome !== undefined; [first] = this.#answers) {
      this.#answers.shift()
      first.done(first.outcome)
    }
  }
}
