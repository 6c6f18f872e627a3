// eventserver: events of one producer per stream, numbered by name, which consumers get in order and acknowledge one by one; answers are
// JSON texts (contracts.md 4).
import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Failure } from '../../../../packages/core/failure.ts'
import type { Caller, Identity } from '../../../../packages/identity/identity.ts'
import { guarded, type HttpApp, STATUS, sayWhen, toFailure } from '../../../../packages/runtime/http.ts'
import { readUser, settle } from '../home.ts'
import type { DialectPorts } from '../port.ts'
import { addEventRoutes } from './event.ts'
import { EventIds } from './id.ts'
import { addMetrics } from './metric.ts'
import { addStatisticRoutes } from './statistic.ts'

export type EventserverPorts = Pick<DialectPorts, 'streams' | 'identity' | 'cursorKey' | 'nowUs' | 'produced'>

export type EventserverSettings = {
  /** Bodies have to say that they are `application/json` in UTF-8, and acknowledgements that they are forms. */
  readonly strictDialects: boolean
}

const PREFIX = '/api/v1'

export function addEventserver(app: HttpApp, ports: EventserverPorts, settings: EventserverSettings): void {
  void app.register(
    async (scope: HttpApp) => {
      scope.setErrorHandler((error: FastifyError, request, reply) => sendFailure(toFailure(error, request), reply))
      scope.setNotFoundHandler((_request, reply) => sendFailure(new Failure('not_found', 'no such route'), reply))
      scope.get('/health', { config: { open: true } }, async () => ({ status: 'OK' }))
      const authenticate = (request: FastifyRequest) => callerBy(ports.identity, request)
      const ids = new EventIds(ports.cursorKey)
      addEventRoutes(scope, { ...ports, ids }, settings, authenticate)
      addStatisticRoutes(scope, { ...ports, ids }, authenticate)
      addMetrics(scope, ports.streams, authenticate)
    },
    { prefix: PREFIX },
  )
}

function sendFailure(failure: Failure, reply: FastifyReply): FastifyReply {
  sayWhen(failure, reply)
  if (failure.code === 'unauthenticated') reply.header('www-authenticate', 'Basic realm="telltale"')
  const [status, text] = answerTo(failure)
  return sendText(reply.status(status), text)
}

/** Whatever is not found is just that; who is not let in learns why only when he knows the secret. */
function answerTo({ code, field, message }: Failure): [status: number, text: string] {
  if (code === 'conflict' && field === 'owner') return [423, 'Locked - Second writers not allowed']
  const status = STATUS[code]
  const name = STATUS_CODES[status] ?? ''
  return [status, code === 'not_found' || message === name ? name : `${name} - ${message}`]
}

/** A JSON text, quoted. */
export function sendText(reply: FastifyReply, text: string): FastifyReply {
  return sendJson(reply, JSON.stringify(text))
}

export function sendJson(reply: FastifyReply, json: string): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(json)
}

const TAIL_CHARS = 40

/** HTTP Basic as everywhere, or an access token; the user may be `key@project`. */
async function callerBy(identity: Identity, request: FastifyRequest): Promise<Caller> {
  const { authorization = '' } = request.headers
  const basic = /^basic +([a-z0-9+/=_-]+)$/i.exec(authorization)?.[1]
  const [user = '', ...secret] = basic === undefined ? [] : Buffer.from(basic, 'base64').toString('utf8').split(':')
  const { keyId, project } = readUser(user)
  const shown = basic === undefined ? authorization : `Basic ${Buffer.from([keyId, ...secret].join(':')).toString('base64')}`
  const claim = basic === undefined ? authorization.slice(-TAIL_CHARS) : keyId
  const known = authorization === '' ? undefined : await guarded(request, claim, () => identity.authenticate({ authorization: shown }))
  const caller = known && settle(known, project)
  if (!caller) throw new Failure('unauthenticated', 'Unauthorized')
  return caller
}
