// What could not be done, by name, and when to try it again: the sooner the rarer it fails.

const FIRST_MS = 100
const MAX_MS = 30_000
/** Who fails again only after this fails for the first time. */
const FORGET_MS = 60_000

type Failed = { readonly count: number; readonly untilMs: number; isDue: boolean }

export class Trouble {
  readonly #failed = new Map<string, Failed>()

  /** It is due again after 100 ms, 200 ms, 400 ms … 30 s. */
  add(name: string, nowMs = performance.now()): void {
    const before = this.#failed.get(name)
    const count = before && nowMs < before.untilMs + FORGET_MS ? before.count + 1 : 1
    const untilMs = nowMs + Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(count - 1, 20))
    this.#failed.set(name, { count, untilMs, isDue: false })
  }

  forget(name: string): void {
    this.#failed.delete(name)
  }

  /** Those whose time has come, once each. */
  due(nowMs: number): string[] {
    const due: string[] = []
    for (const [name, failed] of this.#failed) {
      if (nowMs >= failed.untilMs + FORGET_MS) this.#failed.delete(name)
      if (failed.isDue || nowMs < failed.untilMs) continue
      failed.isDue = true
      due.push(name)
    }
    return due
  }
}
