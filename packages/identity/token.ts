// Signed tokens: ours (access tokens, console sessions) and the assertions that accounts sign with the secret of a key (RFC 7523).
// One algorithm, chosen here and never by the token; keys are looked up by id and never fetched (hazard 18).
import { createHash, createSecretKey, type KeyObject } from 'node:crypto'
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify, SignJWT } from 'jose'

const ALGORITHM = 'HS256'
/** Far more than a real one has. */
export const MAX_TOKEN_CHARS = 8192
/** Decoders are more lenient. */
export const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]*$/
/** Headers that offer a key, or ask to be understood: nobody who means well sends them here. */
const FOREIGN = ['jku', 'x5u', 'x5c', 'jwk', 'crit']
/** Between clocks, both ways. */
const LEEWAY_SECONDS = 60
const MAX_LIFETIME_SECONDS = 3600

export type Claims = {
  readonly keyId: string
  readonly expiresMs: number
  /** Of the secret that the key had (role.ts). */
  readonly proof: string
  /** Empty in tokens that are not ended one by one. */
  readonly id: string
  /** The one project that it is for, where that was said. */
  readonly project?: string | undefined
  /** Until when it may be exchanged for another one, though it has ended; absent: not at all. */
  readonly renewableMs?: number | undefined
}

/** A signature costs twenty times what its digest does, and a client shows the same token for an hour. */
const MAX_REMEMBERED = 10_000

/** Tokens of one kind that this installation signs for the holder of a key. */
export class Tokens {
  readonly #key: KeyObject
  readonly #audience: string
  readonly seconds: number
  #verified = new Map<string, Claims>()

  constructor(key: Buffer, audience: string, seconds: number) {
    this.#key = createSecretKey(key)
    this.#audience = audience
    this.seconds = seconds
  }

  /** @param extra claims that clients read and we do not. */
  async sign(
    { keyId, proof, id, project, renewableMs }: Omit<Claims, 'expiresMs'>,
    seconds = this.seconds,
    extra: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const nowSeconds = Math.floor(Date.now() / 1000)
    const claims = {
      ...extra,
      sub: keyId,
      aud: this.#audience,
      iat: nowSeconds,
      exp: nowSeconds + seconds,
      proof,
      ...(id === '' ? {} : { jti: id }),
      ...(project === undefined ? {} : { project }),
      ...(renewableMs === undefined ? {} : { renewable: Math.floor(renewableMs / 1000) }),
    }
    return new SignJWT(claims).setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' }).sign(this.#key)
  }

  /** Undefined for anything that is not a token of this kind, or not any more. */
  async verify(token: string): Promise<Claims | undefined> {
    const claims = await this.signed(token)
    return claims && claims.expiresMs > Date.now() ? claims : undefined
  }

  /** Of a token of this kind that was signed here, ended or not. */
  async signed(token: string): Promise<Claims | undefined> {
    if (token.length > MAX_TOKEN_CHARS || !COMPACT.test(token)) return undefined
    const digest = createHash('sha256').update(token).digest('base64')
    const known = this.#verified.get(digest)
    if (known) return known
    const claims = await this.#claims(token)
    if (!claims) return undefined
    if (this.#verified.size >= MAX_REMEMBERED) this.#verified = new Map()
    this.#verified.set(digest, claims)
    return claims
  }

  async #claims(token: string): Promise<Claims | undefined> {
    // `exp` has to be there, and is compared by who asks: so that what has ended is not verified again and again.
    const options = { algorithms: [ALGORITHM], audience: this.#audience, requiredClaims: ['exp'], currentDate: new Date(0) }
    const payload = await jwtVerify(token, this.#key, options).then(
      verified => (isForeign(verified.protectedHeader) ? undefined : verified.payload),
      () => undefined,
    )
    const { sub, exp, proof, jti = '', project, renewable } = payload ?? {}
    if (sub === undefined || exp === undefined || typeof proof !== 'string') return undefined
    return {
      keyId: sub,
      expiresMs: exp * 1000,
      proof,
      id: jti,
      project: typeof project === 'string' ? project : undefined,
      renewableMs: typeof renewable === 'number' ? renewable * 1000 : undefined,
    }
  }
}

/** RFC 6749 5.2: why no token is given. */
export type Refusal = {
  readonly error: 'invalid_request' | 'invalid_grant' | 'unsupported_grant_type'
  readonly description: string
}

/** Whose key this is, and what it may be issued by. */
export type Issuer = { readonly secret: string; readonly names: readonly string[]; readonly proof: string }

/**
 * The id of the key that signed and the proof of its secret, or why the assertion is not taken. Descriptions begin with the cause: `untrusted`, `signature`,
 * `timing` or `audience`; nothing of the assertion is repeated in them.
 */
export async function checkAssertion(
  assertion: string,
  audiences: readonly string[],
  issuerOf: (keyId: string) => Promise<Issuer | undefined>,
): Promise<Pick<Claims, 'keyId' | 'proof'> | Refusal> {
  if (assertion.length > MAX_TOKEN_CHARS) return refuse('invalid_request', `assertion: at most ${MAX_TOKEN_CHARS} characters`)
  const keyId = signerOf(assertion)
  if (typeof keyId !== 'string') return keyId
  const issuer = await issuerOf(keyId)
  if (!issuer) return refuse('invalid_grant', 'untrusted: kid is not the id of a key')
  const options = { algorithms: [ALGORITHM], audience: [...audiences], clockTolerance: LEEWAY_SECONDS, requiredClaims: ['exp', 'iat'] }
  const verified = await jwtVerify(assertion, Buffer.from(issuer.secret, 'utf8'), options).then(
    ({ payload }) => problemOf(payload, issuer),
    (error: unknown) => reasonOf(error),
  )
  return verified ?? { keyId, proof: issuer.proof }
}

function isForeign(header: object): boolean {
  return FOREIGN.some(name => Object.hasOwn(header, name))
}

function refuse(error: Refusal['error'], description: string): Refusal {
  return { error, description }
}

function signerOf(assertion: string): string | Refusal {
  if (!COMPACT.test(assertion)) return refuse('invalid_grant', 'malformed: assertion has to be a JWT')
  try {
    const header = decodeProtectedHeader(assertion)
    if (isForeign(header)) return refuse('invalid_grant', `malformed: the header has to be without ${FOREIGN.join(', ')}`)
    const { alg, kid } = header
    if (alg !== ALGORITHM) return refuse('invalid_grant', `signature: alg has to be ${ALGORITHM}`)
    if (typeof kid !== 'string' || kid === '' || kid.length > 200)
      return refuse('invalid_grant', 'untrusted: kid has to be the id of a key')
    return kid
  } catch (error) {
    if (error instanceof TypeError) return refuse('invalid_grant', 'malformed: the header has to be JSON')
    throw error
  }
}

/** What jose leaves to the application. */
function problemOf({ iss, iat = 0, exp = 0 }: JWTPayload, { names }: Issuer): Refusal | undefined {
  if (typeof iss !== 'string' || !names.includes(iss))
    return refuse('invalid_grant', 'untrusted: iss has to be the e-mail address of the service account')
  if (iat > Date.now() / 1000 + LEEWAY_SECONDS) return refuse('invalid_grant', 'timing: iat is in the future')
  if (exp - iat > MAX_LIFETIME_SECONDS + LEEWAY_SECONDS) return refuse('invalid_grant', 'timing: exp is more than an hour after iat')
  return undefined
}

const TIMES: ReadonlySet<string> = new Set(['exp', 'iat', 'nbf'])

function reasonOf(error: unknown): Refusal {
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return refuse('invalid_grant', 'signature: it does not fit the secret of the key')
  if (error instanceof errors.JWTExpired) return refuse('invalid_grant', 'timing: exp is in the past')
  if (error instanceof errors.JWTClaimValidationFailed) return claimRefusal(error)
  // Not a JWS, not JSON, another algorithm.
  if (error instanceof errors.JOSEError) return refuse('invalid_grant', 'malformed: assertion has to be a JWT')
  throw error
}

function claimRefusal({ claim, reason }: errors.JWTClaimValidationFailed): Refusal {
  if (claim === 'aud') return refuse('invalid_grant', 'audience: aud has to be the address of this token endpoint')
  if (!TIMES.has(claim)) return refuse('invalid_grant', 'malformed: a claim is not as RFC 7519 has it')
  if (reason === 'missing') return refuse('invalid_grant', `timing: ${claim} is missing`)
  return refuse('invalid_grant', claim === 'nbf' ? 'timing: nbf is in the future' : `timing: ${claim} has to be a number of seconds`)
}
