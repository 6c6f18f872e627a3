// The token endpoint: an assertion signed with the secret of a key is exchanged for an access token (RFC 7523, RFC 6749).
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { repeatedKey } from '../../packages/core/json.ts'
import type { AccessToken, Identity, Refusal } from '../../packages/identity/identity.ts'
import { guarded, type HttpApp } from '../../packages/runtime/http.ts'
import { described } from '../../packages/runtime/schema.ts'

export type TokenPorts = {
  readonly identity: Identity
  /** Addresses that assertions may be made for, besides loopback and the one of this machine that they came to. */
  readonly audiences: readonly string[]
}

export const TOKEN_PATH = '/oauth2/token'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
/** An assertion of 8 KiB, and as much again for everything else. */
const MAX_BYTES = 16 * 1024

/** Of the year 2026, and of a key that is nobody's: it shows what one looks like. */
const ASSERTION = [
  'eyJhbGciOiJIUzI1NiIsImtpZCI6ImNyMXRxMGdkMmtxMGY1bTNuNzhnIn0',
  'eyJpc3MiOiJjcjF0cTBnZDJrcTBmNW0zbjc4MEBkZWZhdWx0LnNlcnZpY2VhY2NvdW50LnRlbGx0YWxlIiwiYXVkIjoiaHR0cDovLzEyNy4wLjAuMTo4MDgwL29hdXRoMi90b2tlbiIsImlhdCI6MTc3MjQzNDgwMCwiZXhwIjoxNzcyNDM4NDAwfQ',
  'Wbht8W2Cp7LjN75vm0vSAgLlP9UcJlVfv-xpkoGGlHY',
].join('.')
const TokenBody = Type.Object({
  grant_type: Type.String({ examples: [JWT_BEARER] }),
  assertion: Type.String({
    description: 'a JWT, HS256 with the secret of a key: kid its id; iss, aud, iat, exp of at most an hour',
    examples: [ASSERTION],
  }),
})
const TokenAnswer = Type.Object({
  access_token: Type.String(),
  token_type: Type.Literal('Bearer'),
  expires_in: Type.Integer({ description: 'seconds' }),
})
const RefusalAnswer = Type.Object({
  error: Type.Union([Type.Literal('invalid_request'), Type.Literal('invalid_grant'), Type.Literal('unsupported_grant_type')]),
  error_description: Type.String({ description: 'begins with the cause: untrusted, signature, timing, audience, malformed' }),
})

export function addTokenRoute(app: HttpApp, ports: TokenPorts): void {
  app.post(
    TOKEN_PATH,
    {
      config: { open: true, raw: true, limit: 'address' },
      bodyLimit: MAX_BYTES,
      schema: {
        operationId: 'createToken',
        summary: 'Exchanges a signed assertion for an access token of one hour',
        tags: ['tokens'],
        consumes: ['application/x-www-form-urlencoded', 'application/json'],
        body: described(TokenBody),
        response: { 200: TokenAnswer, 400: RefusalAnswer },
      },
    },
    async (request, reply) => {
      const outcome = await exchange(ports, request)
      void reply.header('cache-control', 'no-store').header('pragma', 'no-cache')
      if ('error' in outcome) return reply.status(400).send({ error: outcome.error, error_description: outcome.description })
      return { access_token: outcome.token, token_type: 'Bearer' as const, expires_in: outcome.seconds }
    },
  )
}

async function exchange({ identity, audiences }: TokenPorts, request: FastifyRequest): Promise<AccessToken | Refusal> {
  const fields = fieldsOf(request.body)
  if ('error' in fields) return fields
  if (fields.grantType !== JWT_BEARER) return { error: 'unsupported_grant_type', description: `grant_type: expected ${JWT_BEARER}` }
  const { assertion } = fields
  return guarded(request, signerOf(assertion), () => identity.exchange(assertion, [...audiences, ...ownAddresses(request)]), isGuess)
}

/**
 * The caller says which host it sends to, so that counts only when it is us for sure: who was given an assertion for another server could
 * use it here otherwise. Behind a proxy the scheme that the client used is not known.
 */
function ownAddresses({ host, hostname, socket }: FastifyRequest): string[] {
  const name = hostname.replace(/^\[(.*)\]$/, '$1')
  const local = socket.localAddress?.replace(/^::ffff:/, '')
  if (name !== local && name !== 'localhost' && name !== '::1' && !/^127(\.\d{1,3}){3}$/.test(name)) return []
  return ['http', 'https'].map(scheme => `${scheme}://${host}${TOKEN_PATH}`)
}

/** A wrong clock or audience is a mistake of somebody who has the secret. */
function isGuess(outcome: AccessToken | Refusal): boolean {
  return 'error' in outcome && /^(signature|untrusted)/.test(outcome.description)
}

/** Whose key the assertion says has signed it; whether that is so is seen later. */
function signerOf(assertion: string): string {
  try {
    const { kid } = JSON.parse(Buffer.from(assertion.split('.', 1)[0] ?? '', 'base64url').toString('utf8')) as { kid?: unknown }
    return String(kid)
  } catch (error) {
    // A SyntaxError is of no JSON, a TypeError of `null`: it will be refused as what it is.
    if (error instanceof SyntaxError || error instanceof TypeError) return ''
    throw error
  }
}

type Fields = { readonly grantType: string; readonly assertion: string }

/** A form as RFC 6749 has it, or the same as JSON, whatever the content type says (contracts.md §0.3). */
function fieldsOf(body: unknown): Fields | Refusal {
  const text = Buffer.isBuffer(body) ? body.toString('utf8') : ''
  const form = text.trimStart().startsWith('{') ? fromJson(text) : new URLSearchParams(text)
  const [grantTypes, assertions] = [form?.getAll('grant_type') ?? [], form?.getAll('assertion') ?? []]
  const [grantType] = grantTypes
  const [assertion] = assertions
  if (grantTypes.length > 1 || assertions.length > 1 || grantType === undefined)
    return { error: 'invalid_request', description: 'grant_type and assertion: expected once each, as a form or as JSON' }
  return { grantType, assertion: assertion ?? '' }
}

function fromJson(text: string): URLSearchParams | undefined {
  try {
    const fields = Object.entries(JSON.parse(text) as object).filter(([, value]) => typeof value === 'string')
    if (repeatedKey(text) !== undefined) return undefined
    return new URLSearchParams(fields as [string, string][])
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
