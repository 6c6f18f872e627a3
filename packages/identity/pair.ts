// Pairs of tokens, as clients of Memphis have them: one that lets in, and one that gets the next pair. Each kind is signed with a key of
// its own, so that neither passes for the other, and any process of the installation verifies both.
import { deriveKey } from './seal.ts'
import { type Claims, Tokens } from './token.ts'

/** What a client asks for; absent or not above 0: as long as is usual. */
export type Lifetimes = { readonly accessMinutes?: number | undefined; readonly refreshMinutes?: number | undefined }

export type Pair = {
  readonly access: string
  readonly refresh: string
  readonly accessSeconds: number
  readonly refreshSeconds: number
}

const ACCESS_MINUTES = 15
const REFRESH_MINUTES = 300
/** Ten years, for devices that cannot refresh: a token is worth no more than its key, and ends with it. */
const MAX_MINUTES = 10 * 366 * 24 * 60

export class Pairs {
  readonly #access: Tokens
  readonly #refresh: Tokens

  constructor(secretKey: string) {
    this.#access = new Tokens(deriveKey(secretKey, 'telltale memphis access tokens'), 'memphis', ACCESS_MINUTES * 60)
    this.#refresh = new Tokens(deriveKey(secretKey, 'telltale memphis refresh tokens'), 'memphis refresh', REFRESH_MINUTES * 60)
  }

  async sign({ keyId, proof, project }: Pick<Claims, 'keyId' | 'proof' | 'project'>, asked: Lifetimes): Promise<Pair> {
    const accessSeconds = secondsOf(asked.accessMinutes, ACCESS_MINUTES)
    const refreshSeconds = secondsOf(asked.refreshMinutes, REFRESH_MINUTES)
    const claims = { keyId, proof, project, id: '' }
    const renewableMs = Date.now() + (accessSeconds + refreshSeconds) * 1000
    const [access, refresh] = await Promise.all([
      this.#access.sign({ ...claims, renewableMs }, accessSeconds),
      this.#refresh.sign(claims, refreshSeconds),
    ])
    return { access, refresh, accessSeconds, refreshSeconds }
  }

  async verify(token: string): Promise<Claims | 'ended' | undefined> {
    const access = await this.#access.signed(token)
    return access && lasting(access, access.expiresMs)
  }

  /** Of what gets the next pair: a refresh token, or an access token until its refresh time after its end (contracts.md 7, row 15). */
  async verifyRenewable(token: string): Promise<Claims | 'ended' | undefined> {
    const refresh = await this.#refresh.signed(token)
    if (refresh) return lasting(refresh, refresh.expiresMs)
    const access = await this.#access.signed(token)
    return access && lasting(access, Math.max(access.expiresMs, access.renewableMs ?? 0))
  }
}

function lasting(claims: Claims, untilMs: number): Claims | 'ended' {
  return untilMs > Date.now() ? claims : 'ended'
}

function secondsOf(asked: number | undefined, usual: number): number {
  return (asked === undefined || asked <= 0 ? usual : Math.min(asked, MAX_MINUTES)) * 60
}
