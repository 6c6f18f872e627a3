// Consuming from a station: one batch a request, acked before it is answered, so that nothing comes twice (contracts.md 3.a.6).
import type { FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import type { Caller } from '../../../../packages/identity/identity.ts'
import type { HttpApp } from '../../../../packages/runtime/http.ts'
import { goneWith } from '../gone.ts'
import { homeOf } from '../home.ts'
import { withStream } from '../stream.ts'
import { unauthorized } from './auth.ts'
import { type Fetch, fetchBatch } from './batch.ts'
import { type Fields, fieldsOf, integerOf, textOf } from './body.ts'
import type { MemphisPorts, MemphisSettings } from './memphis.ts'
import { stationOf } from './station.ts'

const MAX_BYTES = 16 * 1024
/** Of every group that was given: so that it meets none of a client of another kind. */
const SUFFIX = 'rest-gateway'
const MAX_BATCH = 5000
const MAX_WAIT_MS = 60_000
/** Requests of one key that wait here at the same time. */
const MAX_WAITING = 1000

type Route = { readonly Params: { readonly station: string } }

export function addConsume(
  app: HttpApp,
  { streams, dispatch, identity }: Pick<MemphisPorts, 'streams' | 'dispatch' | 'identity'>,
  settings: Pick<MemphisSettings, 'createStations'>,
  authenticate: (request: FastifyRequest) => Promise<Caller>,
): void {
  const waiting = new Waiting()
  // The server does not close before all requests are answered.
  app.addHook('preClose', async () => waiting.end())
  const options = { config: { raw: true, limit: 'ingest', authenticate }, bodyLimit: MAX_BYTES } as const
  app.post<Route>('/stations/:station/consume/batch', options, async (request, reply) => {
    const project = homeOf(request, 'developer')
    const wanted = wantedBy(request.body)
    const caller = request.caller as Caller
    const wait = waiting.enter(caller.keyId)
    // What it was given goes back.
    goneWith(reply, wait)
    let revoked = false
    const unwatch = identity.watch(
      caller,
      () => {
        revoked = true
        wait.abort()
      },
      project,
    )
    try {
      const messages = await withStream(streams, request, stationOf(project, request.params.station, settings), station =>
        fetchBatch(dispatch, station, wanted, wait.signal),
      )
      if (revoked && messages.length === 0) throw unauthorized()
      return messages.map(({ payload, properties }) => ({ message: payload.toString('utf8'), headers: properties }))
    } finally {
      unwatch()
      waiting.leave(caller.keyId, wait)
    }
  })
}

function wantedBy(body: unknown): Fetch {
  const fields = parsed(body)
  const name = textOf(fields, 'consumer_name')
  if (name === undefined) throw new Failure('invalid', 'Consumer name is required', { field: 'consumer_name' })
  const group = textOf(fields, 'consumer_group')
  return {
    name,
    group: group === undefined ? SUFFIX : `${group}-${SUFFIX}`,
    size: within(fields, 'batch_size', 10, MAX_BATCH),
    waitMs: within(fields, 'batch_max_wait_time_ms', 5000, MAX_WAIT_MS),
  }
}

function parsed(body: unknown): Fields {
  try {
    return fieldsOf(body)
  } catch (error) {
    if (error instanceof Failure) throw new Failure('invalid', 'Invalid request body', { field: 'body', cause: error })
    throw error
  }
}

/** 0 is as good as nothing. */
function within(fields: Fields, name: string, usual: number, most: number): number {
  const value = integerOf(fields, name) ?? 0
  if (value < 0 || value > most) throw invalid(name, `expected 1 to ${most}`)
  return value === 0 ? usual : value
}

/** Who waits, by key. */
class Waiting {
  readonly #waits = new Map<string, Set<AbortController>>()

  enter(keyId: string): AbortController {
    const waits = this.#waits.get(keyId) ?? new Set()
    if (waits.size >= MAX_WAITING) throw new Failure('too_many', `at most ${MAX_WAITING} batches of one key may be waited for`)
    const wait = new AbortController()
    this.#waits.set(keyId, waits.add(wait))
    return wait
  }

  leave(keyId: string, wait: AbortController): void {
    const waits = this.#waits.get(keyId)
    waits?.delete(wait)
    if (waits?.size === 0) this.#waits.delete(keyId)
  }

  /** All get an empty batch, and what was for them waits in the queue. */
  end(): void {
    for (const waits of this.#waits.values()) for (const wait of waits) wait.abort()
  }
}
