// The reconnect storm: now and then every connection of the transport drops at once.
import type { Random } from './fleet/random.ts'
import type { Transport } from './transport/transport.ts'

const EVERY_MS = 1000

/** `chance` per second; undefined: never. */
export function startStorm(transport: Transport, chance: number | undefined, random: Random): { stop(): void } {
  if (chance === undefined) return { stop() {} }
  const timer = setInterval(() => {
    if (random() < chance) transport.disrupt()
  }, EVERY_MS)
  return { stop: () => clearInterval(timer) }
}
