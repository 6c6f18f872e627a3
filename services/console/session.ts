// Signing in to the console: a key and its secret once, then a cookie that scripts cannot read.
import { Type } from 'typebox'
import { Failure } from '../../packages/core/failure.ts'
import type { Caller, Identity } from '../../packages/identity/identity.ts'
import { guarded, type HttpApp, SESSION_COOKIE } from '../../packages/runtime/http.ts'

const Body = Type.Object(
  { keyId: Type.String({ maxLength: 200 }), secret: Type.String({ maxLength: 500 }) },
  { additionalProperties: false },
)

/** Anybody may send one. */
const MAX_LOGIN_BYTES = 4096

export function addSessionRoutes(app: HttpApp, identity: Identity): void {
  app.get('/console/session', async request => toJson(signedIn(request.caller)))
  const config = { open: true, limit: 'address' } as const
  app.post('/console/session', { config, bodyLimit: MAX_LOGIN_BYTES, schema: { body: Body } }, async (request, reply) => {
    const { keyId, secret } = request.body
    const caller = signedIn(await guarded(request, keyId, () => identity.verify(keyId, secret)))
    const { token, seconds } = await identity.startSession(caller)
    const secure = request.protocol === 'https'
    return reply
      .setCookie(SESSION_COOKIE, token, { httpOnly: true, sameSite: 'strict', secure, path: '/', maxAge: seconds })
      .send(toJson(caller))
  })
  app.delete('/console/session', { config: { open: true } }, async (request, reply) => {
    void reply.clearCookie(SESSION_COOKIE, { path: '/' })
    // Whoever kept the token has no use of it.
    await identity.endSession(request.cookies[SESSION_COOKIE] ?? '')
    return reply.send({})
  })
}

function signedIn(caller: Caller | undefined): Caller {
  if (!caller) throw new Failure('unauthenticated', 'this key id and secret do not belong together')
  return caller
}

function toJson({ keyId, account, roles }: Caller) {
  const projects = Object.keys(roles)
  return { keyId, account, project: projects[0] ?? '', projects }
}
