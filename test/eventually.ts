// Waiting in tests: for a condition, with a limit, never for a time.
import { setTimeout as pause } from 'node:timers/promises'

const POLL_MS = 20

/** Looks until nothing is thrown; the last thing thrown comes out when the limit is reached. */
export async function eventually<T>(look: () => T | Promise<T>, limitMs = 10_000): Promise<T> {
  const deadline = performance.now() + limitMs
  for (;;) {
    try {
      return await look()
    } catch (error) {
      if (performance.now() > deadline) throw error
    }
    await pause(POLL_MS)
  }
}

/** Looks until it is true. */
export function until(what: string, look: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  return eventually(async () => {
    if (!(await look())) throw new Error(`not within ${limitMs} ms: ${what}`)
  }, limitMs)
}
