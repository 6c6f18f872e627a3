// Latencies in microseconds, kept in 1 % steps: counting costs the same however many there are.

const STEPS_PER_E = 100
const BUCKETS = 2400

export type Latency = { readonly count: number; readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number }

export class Histogram {
  readonly #buckets = new Float64Array(BUCKETS)
  #count = 0
  #maxUs = 0

  add(us: number): void {
    this.#count++
    if (us > this.#maxUs) this.#maxUs = us
    const bucket = Math.min(BUCKETS - 1, Math.floor(Math.log(Math.max(us, 1)) * STEPS_PER_E))
    this.#buckets[bucket] = (this.#buckets[bucket] as number) + 1
  }

  summary(): Latency {
    return { count: this.#count, p50Ms: this.#at(0.5), p99Ms: this.#at(0.99), maxMs: rounded(this.#maxUs) }
  }

  #at(share: number): number {
    let left = this.#count * share
    for (let i = 0; i < BUCKETS; i++) {
      left -= this.#buckets[i] as number
      if (left <= 0 && this.#count > 0) return rounded(Math.min(this.#maxUs, Math.exp((i + 1) / STEPS_PER_E)))
    }
    return Number.NaN
  }
}

function rounded(us: number): number {
  return Math.round(us / 10) / 100
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
}
