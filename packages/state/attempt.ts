// How a connector's attempts went in the last three hours: a few counters per minute, which Redis forgets by itself.
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'
import type { CommitCommand } from '../log/log.ts'

export type AttemptSummary = {
  readonly successCount: number
  readonly errorCount: number
  /** 99 of 100 attempts took no longer, to about a tenth; 0 without any. */
  readonly latency99Ms: number
}

const MINUTE_MS = 60_000
const MINUTES = 180
const KEEP_SECONDS = (MINUTES + 5) * 60
/** Four buckets to a doubling, from 1 ms to a minute. */
const PER_DOUBLING = 4
const MAX_BUCKET = 63

/** Counts between two commits. */
export class AttemptCount {
  #counts = new Map<string, number>()

  add(ok: boolean, ms: number): void {
    this.#increase(ok ? 's' : 'e')
    this.#increase(`h${bucketOf(ms)}`)
  }

  /** What was counted since the last call, as writes. */
  take(project: string, connector: string, nowMs: number): CommitCommand[] {
    if (this.#counts.size === 0) return []
    const key = minuteKey(project, connector, Math.floor(nowMs / MINUTE_MS))
    const writes = [...this.#counts].map(([field, count]) => ['HINCRBY', key, field, count] as const)
    this.#counts = new Map()
    return [...writes, ['EXPIRE', key, KEEP_SECONDS]]
  }

  #increase(field: string): void {
    this.#counts.set(field, (this.#counts.get(field) ?? 0) + 1)
  }
}

export async function summarise(redis: Redis, project: string, connector: string, nowMs: number): Promise<AttemptSummary> {
  const minute = Math.floor(nowMs / MINUTE_MS)
  const pipeline = redis.pipeline()
  for (let i = 0; i < MINUTES; i++) pipeline.hgetall(minuteKey(project, connector, minute - i))
  const total = new Map<string, number>()
  for (const [error, row] of (await pipeline.exec()) ?? []) {
    if (error) throw error
    for (const [field, count] of Object.entries(row as Record<string, string>)) total.set(field, (total.get(field) ?? 0) + Number(count))
  }
  return { successCount: total.get('s') ?? 0, errorCount: total.get('e') ?? 0, latency99Ms: quantile(total, 0.99) }
}

function minuteKey(project: string, connector: string, minute: number): string {
  return projectKey(project, `push:${connector}:minute:${minute}`)
}

function bucketOf(ms: number): number {
  return Math.min(MAX_BUCKET, Math.max(0, Math.floor(Math.log2(Math.max(ms, 1)) * PER_DOUBLING)))
}

/** The middle, on its scale, of the bucket in which this share of the attempts ends. */
function quantile(total: ReadonlyMap<string, number>, share: number): number {
  const buckets = Array.from({ length: MAX_BUCKET + 1 }, (_, i) => total.get(`h${i}`) ?? 0)
  const rank = Math.ceil(buckets.reduce((sum, count) => sum + count, 0) * share)
  if (rank === 0) return 0
  let below = 0
  const found = buckets.findIndex(count => {
    below += count
    return below >= rank
  })
  return 2 ** ((found + 0.5) / PER_DOUBLING)
}
