// The REST gateway of Memphis.dev: tokens, stations to produce to and consume from, and failures in its three shapes (contracts.md 3).
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { Failure } from '../../../../packages/core/failure.ts'
import { type HttpApp, STATUS, sayWhen, toFailure } from '../../../../packages/runtime/http.ts'
import type { DialectPorts } from '../port.ts'
import { addTokenRoutes, callerBy } from './auth.ts'
import { addConsume } from './consume.ts'
import { addProduce } from './produce.ts'

export type MemphisPorts = Pick<DialectPorts, 'streams' | 'dispatch' | 'identity' | 'produced'>

export type MemphisSettings = {
  /** A station is made by the first who produces to it or consumes from it. */
  readonly createStations: boolean
  /** Content types that are not of the contract are 415 and not 400, and a batch has to be `application/json` to the letter. */
  readonly strictDialects: boolean
  /** `GET /` is answered here; not where the console's page is. */
  readonly root: boolean
}

export function addMemphis(app: HttpApp, ports: MemphisPorts, settings: MemphisSettings): void {
  void app.register(async (scope: HttpApp) => {
    scope.setErrorHandler((error: FastifyError, request, reply) => sendFailure(toFailure(error, request), request, reply))
    const open = { config: { open: true } } as const
    scope.get('/monitoring/status', open, async () => ({ status: 'ok' }))
    if (settings.root) scope.get('/', open, async () => ({ status: 'ok' }))
    // Any header of a request may become one of its messages, so pages elsewhere may send any.
    const preflight = { config: { open: true, cors: { allowedHeaders: null } } } as const
    scope.options('/stations/*', preflight, async () => '')
    addTokenRoutes(scope, ports.identity)
    const authenticate = (request: FastifyRequest) => callerBy(ports.identity, request)
    addProduce(scope, ports, settings, authenticate)
    addConsume(scope, ports, settings, authenticate)
  })
}

/** contracts.md 6.0: one shape where tokens are, and wherever they are wrong; another at the stations. */
function sendFailure(failure: Failure, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  sayWhen(failure, reply)
  if (failure.code === 'unauthenticated' || !request.url.startsWith('/stations/'))
    return reply.status(STATUS[failure.code]).send({ message: failure.message })
  return reply.status(statusOf(failure)).send({ error: failure.message, success: false })
}

/** There is no 404 in the contract, nor a 409: whatever is wrong with what was asked is 400. */
export function statusOf({ code }: Pick<Failure, 'code'>): number {
  return code === 'not_found' || code === 'conflict' ? 400 : STATUS[code]
}
