// What keeps the store busy is done for a project one after the other: those who come meanwhile wait.
import { Failure } from '../../packages/core/failure.ts'

/** More of them would wait for longer than anybody does. */
const MOST_WAITING = 20
const RETRY_AFTER_MS = 5000

export class OneByOne {
  readonly #byProject = new Map<string, { last: Promise<unknown>; waiting: number }>()

  async within<T>(project: string, work: () => Promise<T>): Promise<T> {
    const line = this.#byProject.get(project) ?? { last: Promise.resolve(), waiting: 0 }
    if (line.waiting >= MOST_WAITING)
      throw new Failure('too_many', `${MOST_WAITING} such requests of project ${project} are under way: wait for them`, {
        retryAfterMs: RETRY_AFTER_MS,
      })
    line.waiting++
    this.#byProject.set(project, line)
    const mine = line.last.then(work)
    // How it ends is for who asked; the next one only waits for that.
    line.last = Promise.allSettled([mine])
    try {
      return await mine
    } finally {
      if (--line.waiting === 0) this.#byProject.delete(project)
    }
  }
}
