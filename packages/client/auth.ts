// Who the program says it is: HTTP Basic, an access token of its own or exchanged for a signed assertion, or the console's cookie.
import { errorOf, TelltaleError, unreachable } from './error.ts'
import { within } from './pace.ts'

/** A service account's key, sent as HTTP Basic. */
export type BasicLogin = { readonly keyId: string; readonly secret: string; readonly auth?: 'basic' }
/**
 * A service account's key, exchanged for access tokens (OAuth 2, JWT bearer): the secret never leaves the program.
 * `email`: of the service account. `tokenUrl`: `/oauth2/token` of the same server unless said. `audience`: the `tokenUrl` unless said.
 */
export type TokenLogin = {
  readonly keyId: string
  readonly secret: string
  readonly auth: 'token'
  readonly email: string
  readonly tokenUrl?: string
  readonly audience?: string
}
/** An access token that somebody else got. */
export type GivenToken = { readonly token: string }
/** Asked for a token when there is none yet, and once more when the server refuses the last one. */
export type TokenSource = { readonly getToken: () => string | Promise<string> }
/** The console's cookie, of a page on the server's own origin. */
export type SessionLogin = { readonly auth: 'session' }

export type Login = BasicLogin | TokenLogin | GivenToken | TokenSource | SessionLogin

export interface Authority {
  headers(method: string): Promise<Readonly<Record<string, string>>>
  /** After a 401: forgets what was refused. True: `headers` may bring something better. */
  renew(): boolean
}

const TOKEN_TIMEOUT_MS = 10_000
const ASSERTION_SECONDS = 3600
const MAX_EARLY_MS = 60_000

export function authorityFor(url: string, login: Login): Authority {
  if ('token' in login) return fixed({ authorization: `Bearer ${login.token}` })
  if ('getToken' in login) return new Tokens(async () => ({ token: await login.getToken(), lifeMs: Number.POSITIVE_INFINITY }))
  if (login.auth === 'token') return new Tokens(() => exchange(login, login.tokenUrl ?? `${url}/oauth2/token`))
  if (login.auth === 'session') return session
  return fixed({ authorization: `Basic ${base64(new TextEncoder().encode(`${login.keyId}:${login.secret}`))}` })
}

function fixed(headers: Readonly<Record<string, string>>): Authority {
  return { headers: async () => headers, renew: () => false }
}

/** A cookie travels with forged requests too; this header does not. */
const session: Authority = {
  headers: async (method): Promise<Readonly<Record<string, string>>> => (method === 'GET' ? {} : { 'x-telltale-console': '1' }),
  renew: () => false,
}

type Token = { readonly token: string; readonly lifeMs: number }

class Tokens implements Authority {
  readonly #get: () => Promise<Token>
  #current: Promise<Token & { readonly untilMs: number }> | undefined

  constructor(get: () => Promise<Token>) {
    this.#get = get
  }

  async headers(): Promise<Readonly<Record<string, string>>> {
    let held = await this.#held()
    if (Date.now() >= held.untilMs) {
      this.#current = undefined
      held = await this.#held()
    }
    return { authorization: `Bearer ${held.token}` }
  }

  renew(): boolean {
    this.#current = undefined
    return true
  }

  /** Calls at the same time share one exchange; a failed one is not remembered. */
  #held() {
    const current = this.#current ?? this.#get().then(token => ({ ...token, untilMs: Date.now() + token.lifeMs - earlyMs(token.lifeMs) }))
    this.#current = current
    current.catch(() => {
      if (this.#current === current) this.#current = undefined
    })
    return current
  }
}

/** A token is replaced this long before it ends, so that no request meets the end on its way. */
function earlyMs(lifeMs: number): number {
  return Number.isFinite(lifeMs) ? Math.min(MAX_EARLY_MS, lifeMs / 10) : 0
}

/** RFC 7523: an assertion, signed with the key's secret, for an access token. */
async function exchange(login: TokenLogin, tokenUrl: string): Promise<Token> {
  const form = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
    assertion: await assertion(login, login.audience ?? tokenUrl),
  })
  const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }
  const { status, text } = await within(TOKEN_TIMEOUT_MS, undefined, async signal => {
    try {
      const response = await fetch(tokenUrl, { method: 'POST', headers, body: form.toString(), signal, redirect: 'error' })
      return { status: response.status, text: await response.text() }
    } catch (error) {
      throw unreachable(tokenUrl, error)
    }
  })
  const body = jsonOr(text)
  // The endpoint says 400 to a key that it does not know (RFC 6749 §5.2).
  if (status !== 200) throw errorOf(status === 400 ? 401 : status, body)
  const { access_token: token, expires_in: seconds } = Object(body) as Readonly<Record<string, unknown>>
  if (typeof token !== 'string' || typeof seconds !== 'number')
    throw new TelltaleError(0, `${tokenUrl} did not answer with an access token: is it a token endpoint?`)
  return { token, lifeMs: seconds * 1000 }
}

async function assertion({ keyId, secret, email }: TokenLogin, audience: string): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const header = { alg: 'HS256', kid: keyId, typ: 'JWT' }
  const claims = { iss: email, aud: audience, iat: now, exp: now + ASSERTION_SECONDS }
  const signed = [header, claims].map(part => base64url(new TextEncoder().encode(JSON.stringify(part)))).join('.')
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', new TextEncoder().encode(secret), algorithm, false, ['sign'])
  const signature = await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(signed))
  return `${signed}.${base64url(new Uint8Array(signature))}`
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
}

function base64url(bytes: Uint8Array): string {
  return base64(bytes).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

/** Parsed, or the text itself: a proxy's error page is shown as it is, the status decides. */
export function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
