// Waiting that ends early when it is told to, and how long to wait before trying again.

/** Resolves after `ms`, or as soon as the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted || ms <= 0) return Promise.resolve()
  return new Promise(resolve => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}

/** Before attempt `attempt` (1, 2, …) of something that failed: 0.25 s doubling to 5 s, with half of it random. */
export function backoffMs(attempt: number): number {
  const ceilingMs = Math.min(5000, 250 * 2 ** (attempt - 1))
  return ceilingMs * (0.5 + Math.random() / 2)
}

/** Runs `work` under a signal that is aborted with `stopped` or after `limitMs` (reason: TimeoutError). */
export async function within<T>(limitMs: number, stopped: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  // Not AbortSignal.any: on Node 20 a timeout inside it can be collected before it fires.
  const both = new AbortController()
  const stop = () => both.abort(stopped?.reason)
  const timer = setTimeout(() => both.abort(new DOMException('timed out', 'TimeoutError')), limitMs)
  if (stopped?.aborted === true) stop()
  stopped?.addEventListener('abort', stop)
  try {
    return await work(both.signal)
  } finally {
    clearTimeout(timer)
    stopped?.removeEventListener('abort', stop)
  }
}

/** What `work` comes to, or the signal's reason as soon as it is aborted: for work that knows of no signal. */
export function unless<T>(stopped: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (stopped === undefined) return work
  return new Promise((resolve, reject) => {
    const stop = () => reject(stopped.reason as Error)
    if (stopped.aborted) stop()
    stopped.addEventListener('abort', stop)
    work.then(resolve, reject).finally(() => stopped.removeEventListener('abort', stop))
  })
}

/** Seconds, or an HTTP date. */
export function retryAfterMs(header: string | null): number | undefined {
  if (header === null) return undefined
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
