// Who somebody is and what they may: keys, tokens and sessions, the same for MQTT and HTTP.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { formatTime } from '../core/time.ts'
import { Accounts, type Holder } from '../state/account.ts'
import { Credentials } from '../state/credential.ts'
import { Members, type Role } from '../state/member.ts'
import { readChanges, type Scope } from '../state/registry.ts'
import { deviceName, endOf, Keyring, type Known, lastsUntilMs, nobodysDigest } from './keyring.ts'
import { Otps } from './otp.ts'
import { type Lifetimes, type Pair, Pairs } from './pair.ts'
import type { Caller } from './role.ts'
import { deriveKey, Seal } from './seal.ts'
import { type Claims, COMPACT, checkAssertion, type Refusal, Tokens } from './token.ts'
import { type Ended, type Troubled, Watches } from './watch.ts'

export { REVOKED_WITHIN_MS } from './keyring.ts'
export type { Lifetimes, Pair } from './pair.ts'
export {
  type Caller,
  covers,
  isPartOf,
  mayActAs,
  ownProject,
  permissionsOf,
  ROLES,
  type Role,
  type RoleRecord,
  requireActAs,
  requireOrganization,
  requireRole,
  roleIn,
} from './role.ts'
export { isSecretKey, newSecret } from './seal.ts'
export type { Refusal } from './token.ts'
export type { Ended } from './watch.ts'

/** What a request shows; at most one of them is looked at, in this order. */
export type Shown = {
  /** The header: `Basic` with a key id and secret, or `Bearer` with an access token. */
  readonly authorization?: string | undefined
  /** An access token from the query, for clients that can set no header. */
  readonly token?: string | undefined
  /** A console session, from its cookie. */
  readonly session?: string | undefined
}

export type AccessToken = { readonly token: string; readonly seconds: number }

/** Somebody who came by a token of a pair, and the project that it is for: his own when not said. */
export type PairHolder = { readonly caller: Caller; readonly project: string | undefined }

const SESSION_SECONDS = 12 * 3600
const ACCESS_SECONDS = 3600

const BASIC = /^basic +([a-z0-9+/=_-]+)$/i
const BEARER = /^bearer +([a-z0-9._~+/=-]+)$/i

export class Identity {
  readonly #redis: Redis
  readonly #accounts: Accounts
  readonly #keys: Keyring
  readonly #seal: Seal
  readonly #sessions: Tokens
  readonly #access: Tokens
  readonly #otps: Otps
  readonly #pairs: Pairs
  readonly #watches: Watches
  #place = ''

  /**
   * @param secretKey any text of 32 or more characters; everything at rest is sealed with keys derived from it.
   * @param troubled is told of records that cannot be read, whose keys are therefore as revoked.
   * @throws Failure `setup` when the secret key is shorter.
   */
  constructor(redis: Redis, secretKey: string, troubled: Troubled = warn) {
    this.#redis = redis
    this.#accounts = new Accounts(redis)
    this.#otps = new Otps(redis)
    this.#seal = new Seal(secretKey)
    this.#sessions = new Tokens(deriveKey(secretKey, 'telltale console sessions'), 'console', SESSION_SECONDS)
    this.#access = new Tokens(deriveKey(secretKey, 'telltale access tokens'), 'telltale', ACCESS_SECONDS)
    this.#pairs = new Pairs(secretKey)
    this.#keys = new Keyring(this.#accounts, new Credentials(redis), this.#seal, secretKey)
    this.#watches = new Watches({ changed: () => this.#changed(), look: keyId => this.#keys.read(keyId), troubled })
  }

  async hasKeys(): Promise<boolean> {
    return this.#accounts.hasKeys()
  }

  /**
   * Makes sure that this key exists with this secret, and its account with these roles: for the first account and for tests. An account
   * that is made here has HTTP Basic enabled, and belongs to the first of the projects.
   */
  async put(
    keyId: string,
    secret: string,
    email: string,
    roles: Readonly<Record<string, Role>>,
    organizations: readonly string[] = [],
  ): Promise<void> {
    const createTime = formatTime(Date.now() * 1000)
    const held = await this.#accounts.holder(keyId)
    const known = (await this.#accounts.findByEmail(email)) ?? held?.account
    const made = { id: keyId, project: Object.keys(roles)[0] ?? '', displayName: email, enableBasicAuth: true, createTime }
    const account = { ...made, ...known, email, updateTime: createTime }
    if (known?.email !== email) await this.#accounts.put(account, known?.email)
    await this.#grant(account.id, roles, organizations, createTime)
    const key = { id: keyId, account: account.id, secret: this.seal(secret), createTime: held?.key.createTime ?? createTime }
    if (held?.account.id !== account.id || !this.#holds(held, secret)) await this.#accounts.putKey(key, held?.account.id)
    this.#keys.forget([keyId])
  }

  /** What was sealed with another secret key is not this secret: so an installation that lost its key can be entered again. */
  #holds({ key }: Holder, secret: string): boolean {
    try {
      return this.unseal(key.secret) === secret
    } catch (error) {
      if (error instanceof Failure) return false
      throw error
    }
  }

  /** This is the key of the settings from now on; an earlier one of theirs is removed, with what is open by it. */
  async settleAdminKey(keyId: string): Promise<void> {
    await this.#accounts.settleAdminKey(keyId)
    this.forget()
  }

  async #grant(
    account: string,
    roles: Readonly<Record<string, Role>>,
    organizations: readonly string[],
    createTime: string,
  ): Promise<void> {
    const members = new Members(this.#redis)
    const held = await members.of(account)
    const wanted = [
      ...Object.entries(roles).map(([project, role]) => [`projects/${project}`, role] as const),
      ...organizations.map(organization => [`organizations/${organization}`, 'admin'] as const),
    ] as const
    for (const [scope, role] of wanted) if (held[scope] !== role) await members.put(scope as Scope, { account, role, createTime })
  }

  /**
   * For sign-ins, whether the account may use HTTP Basic or not: undefined for an unknown key or a wrong secret, in the same time, and for
   * devices, which sign in nowhere.
   */
  async verify(keyId: string, secret: string): Promise<Caller | undefined> {
    const known = await this.#prove(keyId, secret)
    return known?.holder && known.caller
  }

  /** For MQTT: as `verify`, and devices by their credentials. */
  async login(id: string, secret: string): Promise<Caller | undefined> {
    return (await this.#prove(id, secret))?.caller
  }

  /** A device whose certificate was verified; undefined when its project is none of this installation. */
  async certified(project: string, device: string): Promise<Caller | undefined> {
    return (await this.#keys.look(deviceName(project, device)))?.caller
  }

  /** Of hashes, so that neither the length nor the first difference of a secret shows in the time (hazard 21). */
  async #prove(keyId: string, secret: string): Promise<Known | undefined> {
    const known = await this.#keys.look(keyId)
    const given = createHash('sha256').update(secret).digest()
    return timingSafeEqual(given, known?.digest ?? nobodysDigest()) ? known : undefined
  }

  /**
   * For clients that have room for one text: an access token, a key's `keyId:secret`, or the bare secret of the installation's first key;
   * all other secrets cannot be looked up without their key id. It is tried only as what it looks like, so that guesses at the bare secret
   * cannot pass for something else where they are counted. Secrets count as HTTP Basic, which the account has to allow.
   */
  async authenticateText(text: string): Promise<Caller | undefined> {
    const kind = kindOfText(text)
    if (kind === 'token') return this.verifyToken(text)
    if (kind === 'key') return this.#verifyBasic(Buffer.from(text).toString('base64'))
    const adminKey = await this.#accounts.adminKey()
    return adminKey === undefined ? undefined : this.#verifyBasic(Buffer.from(`${adminKey}:${text}`).toString('base64'))
  }

  /**
   * For HTTP: the caller by what a request shows; undefined when that is nothing, or wrong.
   * @throws Failure `unauthenticated` for the right secret in HTTP Basic, when that is not enabled for the account; `forbidden` for the
   * right one of a device, unless `devices` are let in here.
   */
  async authenticate({ authorization, token, session }: Shown, devices = false): Promise<Caller | undefined> {
    if (authorization !== undefined) {
      const basic = BASIC.exec(authorization)
      if (basic) return this.#verifyBasic(basic[1] as string, devices)
      const bearer = BEARER.exec(authorization)
      return bearer ? this.verifyToken(bearer[1] as string) : undefined
    }
    if (token !== undefined) return this.verifyToken(token)
    return session === undefined ? undefined : this.resumeSession(session)
  }

  async #verifyBasic(encoded: string, devices = false): Promise<Caller | undefined> {
    const text = Buffer.from(encoded, 'base64').toString('utf8')
    const colon = text.indexOf(':')
    if (colon < 0) return undefined
    const known = await this.#prove(text.slice(0, colon), text.slice(colon + 1))
    if (!known) return undefined
    if (!known.holder && !devices)
      throw new Failure('forbidden', 'a device publishes events of its own and may do nothing else: use a key of a service account')
    if (!known.holder) return known.caller
    const { account } = known.holder
    // Said only to who knows the secret.
    if (!account.enableBasicAuth)
      throw new Failure(
        'unauthenticated',
        'Basic is not enabled for this service account: set its enableBasicAuth, or exchange an assertion for an access token',
      )
    return { ...known.caller, basic: true }
  }

  /** The caller of an access token whose key still exists, with the secret that it had. */
  async verifyToken(token: string): Promise<Caller | undefined> {
    return this.#holderOf(await this.#access.verify(token))
  }

  /** An access token for an assertion as RFC 7523 has it, signed with the secret of a key and made for one of these audiences. */
  async exchange(assertion: string, audiences: readonly string[]): Promise<AccessToken | Refusal> {
    const checked = await checkAssertion(assertion, audiences, async keyId => {
      const known = await this.#keys.look(keyId)
      if (!known?.holder) return undefined
      const { key, account } = known.holder
      return { secret: this.unseal(key.secret), names: [account.email, account.id], proof: known.caller.proof ?? '' }
    })
    return 'error' in checked ? checked : { token: await this.#access.sign({ ...checked, id: '' }), seconds: ACCESS_SECONDS }
  }

  /** An access token for a verified caller: of dialects whose clients sign in with a name and a password. */
  async startAccess({ keyId, proof = '' }: Caller, extra?: Readonly<Record<string, string>>): Promise<AccessToken> {
    return { token: await this.#access.sign({ keyId, proof, id: '' }, ACCESS_SECONDS, extra), seconds: ACCESS_SECONDS }
  }

  /** A password for the same caller that works once, within a minute, on any node. */
  async issueOtp(caller: Caller): Promise<string> {
    return this.#otps.issue(caller)
  }

  /** The caller that it was issued to, unless what they were proven by has ended. */
  async redeemOtp(otp: string): Promise<Caller | undefined> {
    const proven = await this.#otps.redeem(otp)
    if (!proven || (proven.expiresMs ?? Number.POSITIVE_INFINITY) <= Date.now()) return undefined
    const known = await this.#keys.look(proven.keyId)
    if (!known) return undefined
    const shown = { ...known.caller, ...proven }
    return endOf(shown, known) === undefined ? shown : undefined
  }

  /** A pair of tokens for a verified caller. */
  async startPair({ keyId, proof = '' }: Caller, project: string | undefined, asked: Lifetimes): Promise<Pair> {
    return this.#pairs.sign({ keyId, proof, project }, asked)
  }

  /**
   * Whose access token of a pair this is; like every token it ends with its key, and with the secret that the key had. `ended` is one that
   * was signed here: whoever shows it has not guessed, and may want the next.
   */
  async verifyPair(token: string): Promise<PairHolder | 'ended' | undefined> {
    return this.#pairHolder(await this.#pairs.verify(token))
  }

  /** Who may have the next pair for this token; `ended` as above. */
  async verifyRenewable(token: string): Promise<PairHolder | 'ended' | undefined> {
    return this.#pairHolder(await this.#pairs.verifyRenewable(token))
  }

  async #pairHolder(claims: Claims | 'ended' | undefined): Promise<PairHolder | 'ended' | undefined> {
    if (claims === undefined || claims === 'ended') return claims
    const caller = await this.#holderOf(claims)
    return caller ? { caller, project: claims.project } : 'ended'
  }

  /** A console session for a verified caller: a signed token that lasts 12 hours, unless it is ended. */
  async startSession({ keyId, proof = '' }: Caller): Promise<AccessToken> {
    return { token: await this.#sessions.sign({ keyId, proof, id: randomBytes(16).toString('base64url') }), seconds: SESSION_SECONDS }
  }

  /** The caller of a session that was not ended, whose key still exists, with the secret that it had. */
  async resumeSession(token: string): Promise<Caller | undefined> {
    return this.#holderOf(await this.#sessions.verify(token))
  }

  /** Nobody resumes it any more, and what is open by it ends. Anything that is no session is none afterwards. */
  async endSession(token: string): Promise<void> {
    const claims = await this.#sessions.verify(token)
    if (!claims || !(await this.#keys.look(claims.keyId))) return
    await this.#accounts.endSession(claims.keyId, claims.id, claims.expiresMs)
    this.#keys.forget([claims.keyId])
  }

  /**
   * Says within a second when what the caller may has become less than it was: the key or account removed, its secret changed, the session
   * ended, the token or session expired, HTTP Basic switched off for who came by it, or the role in this project (in any of its projects when
   * none is given) taken away or lowered. Says it once; returns what ends the watch.
   */
  watch(caller: Caller, ended: Ended, project?: string): () => void {
    return this.#watches.add(caller, ended, project)
  }

  /** What the caller may now, at most a second old; undefined when the key, its secret or the session is another, or what they came by expired. */
  async renew(caller: Caller): Promise<Caller | undefined> {
    const known = await this.#keys.look(caller.keyId)
    return endOf(caller, known) === undefined && lastsUntilMs(caller) > Date.now() ? known?.caller : undefined
  }

  async close(): Promise<void> {
    await this.#watches.close()
  }

  seal(text: string): string {
    return this.#seal.seal(text)
  }

  unseal(sealed: string): string {
    return this.#seal.unseal(sealed)
  }

  /** Forgets what this process knew, so that a change made here holds here at once. */
  forget(): void {
    this.#keys.forget('all')
  }

  async #holderOf(claims: Claims | undefined): Promise<Caller | undefined> {
    const known = claims && (await this.#keys.look(claims.keyId))
    if (!known) return undefined
    const { expiresMs, proof, id } = claims
    const shown = { ...known.caller, expiresMs, proof, ...(id === '' ? {} : { session: id }) }
    return endOf(shown, known) === undefined ? shown : undefined
  }

  async #changed(): Promise<ReadonlySet<string> | 'all'> {
    const { last, keys } = await readChanges(this.#redis, this.#place)
    this.#place = last
    this.#keys.forget(keys)
    return keys
  }
}

/** What `authenticateText` takes a text for: `secret` is the bare one of the first key. */
export function kindOfText(text: string): 'key' | 'token' | 'secret' {
  if (text.includes(':')) return 'key'
  return COMPACT.test(text) ? 'token' : 'secret'
}

function warn(error: Error): void {
  process.emitWarning(error)
}
