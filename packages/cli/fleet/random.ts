// Seeded randomness for the simulator: the same seed and name give the same numbers on every machine.

/** The next number, 0 ≤ n < 1. */
export type Random = () => number

/** sfc32 seeded through xmur3; `name` separates independent sequences under one seed. */
export function createRandom(seed: string, name: string): Random {
  const next = scramble(`${seed}\u0000${name}`)
  let [a, b, c, counter] = [next(), next(), next(), 1]
  const random = () => {
    const sum = (a + b + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum
    return (sum >>> 0) / 2 ** 32
  }
  for (let i = 0; i < 12; i++) random()
  return random
}

function scramble(text: string): () => number {
  let hash = 1779033703 ^ text.length
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 3432918353)
    hash = (hash << 13) | (hash >>> 19)
  }
  return () => {
    hash = Math.imul(hash ^ (hash >>> 16), 2246822507)
    hash = Math.imul(hash ^ (hash >>> 13), 3266489909)
    hash ^= hash >>> 16
    return hash | 0
  }
}

/** Standard normal (Box–Muller). */
export function gauss(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}

/** One step of an Ornstein–Uhlenbeck process (the continuous AR(1)): exact for any step, stationary deviation `sigma`. */
export function drift(value: number, sigma: number, tauS: number, stepS: number, random: Random): number {
  const kept = Math.exp(-stepS / tauS)
  return value * kept + sigma * Math.sqrt(1 - kept * kept) * gauss(random)
}

/** One step of a two-state chain with the given rates per second: exact for any step. */
export function flip(on: boolean, onPerS: number, offPerS: number, stepS: number, random: Random): boolean {
  const total = onPerS + offPerS
  if (total === 0) return on
  const settled = onPerS / total
  return random() < settled + ((on ? 1 : 0) - settled) * Math.exp(-total * stepS)
}
