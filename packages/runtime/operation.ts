// For whoever operates it: /healthz (the process lives), /readyz (it can do its work), /metrics (Prometheus).
import { Type } from 'typebox'
import type { HttpApp } from './http.ts'
import { METRICS_TYPE } from './metric.ts'

export type Check = {
  readonly name: string
  /** Without it the process is not ready; the others only show in the answer. */
  readonly vital: boolean
  /** Rejects when the thing is away. */
  run(): Promise<unknown>
}

const tags = ['operation']
const Health = Type.Object({ status: Type.Literal('ok') })
const Readiness = Type.Object(
  { status: Type.Union([Type.Literal('ready'), Type.Literal('not ready')]) },
  { additionalProperties: Type.Union([Type.Literal('ok'), Type.Literal('away')]), description: 'and, by its name, each thing it needs' },
)
const HEALTH = { operationId: 'getHealth', summary: 'Whether the process lives', tags, response: { 200: Health } }
const READINESS = {
  operationId: 'getReadiness',
  summary: 'Whether the process can do its work; 503 when it cannot',
  tags,
  response: { 200: Readiness, 503: Readiness },
}
const METRICS = {
  operationId: 'getMetrics',
  summary: 'Metrics in the text format of Prometheus',
  tags,
  produces: ['text/plain'],
  response: { 200: Type.String() },
}

const CHECK_MS = 2000
const GIVE_UP_MS = 30_000

export function addOperationRoutes(
  app: HttpApp,
  metrics: readonly (() => Promise<string>)[],
  checks: readonly Check[],
  started: () => boolean,
): void {
  app.get('/healthz', { config: { open: true }, schema: HEALTH }, async () => ({ status: 'ok' }) as const)
  const asking = checks.map(check => [check, watched(check, app.log)] as const)
  app.get('/readyz', { config: { open: true }, schema: READINESS }, async (_request, reply) => {
    const results = await Promise.all(asking.map(async ([check, ask]) => [check, await ask()] as const))
    const ready = started() && results.every(([{ vital }, found]) => !vital || found === 'ok')
    const status = ready ? 'ready' : 'not ready'
    const each = Object.fromEntries(results.map(([{ name }, found]) => [name, found]))
    return reply.status(ready ? 200 : 503).send({ status, ...each })
  })
  app.get('/metrics', { config: { open: true }, schema: METRICS }, async (_request, reply) => {
    const texts = await Promise.all(metrics.map(read => read()))
    return reply.type(METRICS_TYPE).send(texts.join('\n'))
  })
}

/** What strangers may know: the reason goes to the log. */
type Verdict = 'ok' | 'away'

/**
 * Asks once for all who want to know at the same time, so that calls do not pile up behind a thing that hangs. What has not answered for
 * long is given up, because its answer may be lost.
 */
function watched({ name, run }: Check, log: HttpApp['log']): () => Promise<Verdict> {
  let asked: { readonly answer: Promise<Verdict>; readonly atMs: number } | undefined
  let last: Verdict = 'ok'
  const say = (verdict: Verdict, reason: string): Verdict => {
    if (verdict !== last) log.warn({ check: name, reason }, verdict === 'ok' ? 'answers again' : 'away')
    last = verdict
    return verdict
  }
  const ask = (): Promise<Verdict> => {
    const nowMs = performance.now()
    if (asked && nowMs - asked.atMs < GIVE_UP_MS) return asked.answer
    const answer = run().then(
      () => say('ok', 'it answered'),
      (error: unknown) => say('away', error instanceof Error ? error.message : String(error)),
    )
    const mine = { answer, atMs: nowMs }
    asked = mine
    return answer.finally(() => {
      if (asked === mine) asked = undefined
    })
  }
  return async () => {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<Verdict>(resolve => {
      timer = setTimeout(() => resolve(say('away', `no answer in ${CHECK_MS} ms`)), CHECK_MS)
    })
    return Promise.race([ask(), late]).finally(() => clearTimeout(timer))
  }
}
