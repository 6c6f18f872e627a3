// The load of a run that lasts, and waiting for what comes of it.
import { setTimeout as pause } from 'node:timers/promises'
import type { KeepingPublisher } from './publisher.ts'

const TICK_MS = 5
const LOOK_MS = 10

/** @param rate events a second, of all together. */
export function startLoad(publishers: readonly KeepingPublisher[], rate: number): { stop(): void } {
  let lastMs = performance.now()
  let owed = 0
  const timer = setInterval(() => {
    const now = performance.now()
    owed += (rate * (now - lastMs)) / 1000 / publishers.length
    lastMs = now
    for (const publisher of publishers) publisher.send(Math.floor(owed))
    owed -= Math.floor(owed)
  }, TICK_MS)
  return { stop: () => clearInterval(timer) }
}

/** Rejects when it does not hold in time. */
export async function until(what: string, limitMs: number, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + limitMs
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${limitMs / 1000} s`)
    await pause(LOOK_MS)
  }
}
