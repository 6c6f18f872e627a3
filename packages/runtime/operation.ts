// For whoever operates it: /healthz (the process lives), /readyz (it can do its work), /metrics (Prometheus).
import type { HttpApp } from './http.ts'
import { METRICS_TYPE } from './metric.ts'

export type Check = {
  readonly name: string
  /** Without it the process is not ready; the others only show in the answer. */
  readonly vital: boolean
  /** Rejects when the thing is away. */
  run(): Promise<unknown>
}

const CHECK_MS = 2000

export function addOperationRoutes(
  app: HttpApp,
  metrics: readonly (() => Promise<string>)[],
  checks: readonly Check[],
  started: () => boolean,
): void {
  app.get('/healthz', { config: { open: true } }, async () => ({ status: 'ok' }))
  app.get('/readyz', { config: { open: true } }, async (_request, reply) => {
    const results = await Promise.all(checks.map(async check => [check, await verdict(check)] as const))
    const ready = started() && results.every(([{ vital }, found]) => !vital || found === 'ok')
    const body = { status: ready ? 'ready' : 'not ready', ...Object.fromEntries(results.map(([{ name }, found]) => [name, found])) }
    return reply.status(ready ? 200 : 503).send(body)
  })
  app.get('/metrics', { config: { open: true } }, async (_request, reply) => {
    const texts = await Promise.all(metrics.map(read => read()))
    return reply.type(METRICS_TYPE).send(texts.join('\n'))
  })
}

async function verdict(check: Check): Promise<string> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<string>(resolve => {
    timer = setTimeout(() => resolve('no answer'), CHECK_MS)
  })
  const found = check.run().then(
    () => 'ok',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )
  return Promise.race([found, late]).finally(() => clearTimeout(timer))
}
