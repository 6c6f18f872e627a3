// Who somebody is and what they may: keys, tokens and sessions, the same for MQTT and HTTP.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Redis } from 'ioredis'
import { formatTime } from '../core/time.ts'
import { Accounts, type Holder } from '../state/account.ts'
import { Members, type Role } from '../state/member.ts'
import { readChanges, type Scope } from '../state/registry.ts'
import { type Caller, covers } from './role.ts'
import { deriveKey, Seal } from './seal.ts'
import { checkAssertion, type Refusal, Tokens } from './token.ts'
import { type Ended, Watches } from './watch.ts'

export {
  type Caller,
  covers,
  permissionsOf,
  ROLES,
  type Role,
  type RoleRecord,
  requireOrganization,
  requireRole,
  roleIn,
} from './role.ts'
export { isSecretKey, newSecret } from './seal.ts'
export type { Refusal } from './token.ts'
export type { Ended } from './watch.ts'

type Cached = { readonly caller: Caller | undefined; readonly holder: Holder | undefined; readonly digest: Buffer; readonly readMs: number }

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

/** What was taken away works nowhere any longer after this time. */
export const REVOKED_WITHIN_MS = 1000
/** Redis may take the rest. */
const CACHE_MS = 800
const MAX_CACHED = 10_000
const SESSION_SECONDS = 12 * 3600
const ACCESS_SECONDS = 3600

const BASIC = /^basic +([a-z0-9+/=_-]+)$/i
const BEARER = /^bearer +([a-z0-9._~+/=-]+)$/i

export class Identity {
  readonly #redis: Redis
  readonly #accounts: Accounts
  readonly #seal: Seal
  readonly #sessions: Tokens
  readonly #access: Tokens
  readonly #watches: Watches
  #cache = new Map<string, Cached>()
  #place = ''

  /**
   * @param secretKey any text of 32 or more characters; everything at rest is sealed with keys derived from it.
   * @throws Failure `setup` when it is shorter.
   */
  constructor(redis: Redis, secretKey: string) {
    this.#redis = redis
    this.#accounts = new Accounts(redis)
    this.#seal = new Seal(secretKey)
    this.#sessions = new Tokens(deriveKey(secretKey, 'telltale console sessions'), 'console', SESSION_SECONDS)
    this.#access = new Tokens(deriveKey(secretKey, 'telltale access tokens'), 'telltale', ACCESS_SECONDS)
    this.#watches = new Watches({ changed: () => this.#changed(), look: async keyId => (await this.#read(keyId)).caller })
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
    await this.#accounts.putKey(key, held?.account.id)
    this.#cache.delete(keyId)
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

  /** For MQTT and the sign-in: undefined for an unknown key or a wrong secret, in the same time. */
  async verify(keyId: string, secret: string): Promise<Caller | undefined> {
    return (await this.#prove(keyId, secret))?.caller
  }

  /** Of hashes, so that neither the length nor the first difference of a secret shows in the time (hazard 21). */
  async #prove(keyId: string, secret: string): Promise<Cached | undefined> {
    const known = await this.#look(keyId)
    const given = createHash('sha256').update(secret).digest()
    return timingSafeEqual(given, known.digest) ? known : undefined
  }

  /** For HTTP: the caller by what a request shows; undefined when that is nothing, or wrong. */
  async authenticate({ authorization, token, session }: Shown): Promise<Caller | undefined> {
    if (authorization !== undefined) {
      const basic = BASIC.exec(authorization)
      if (basic) return this.#verifyBasic(basic[1] as string)
      const bearer = BEARER.exec(authorization)
      return bearer ? this.verifyToken(bearer[1] as string) : undefined
    }
    if (token !== undefined) return this.verifyToken(token)
    return session === undefined ? undefined : this.resumeSession(session)
  }

  async #verifyBasic(encoded: string): Promise<Caller | undefined> {
    const text = Buffer.from(encoded, 'base64').toString('utf8')
    const colon = text.indexOf(':')
    if (colon < 0) return undefined
    const known = await this.#prove(text.slice(0, colon), text.slice(colon + 1))
    return known?.holder?.account.enableBasicAuth ? known.caller : undefined
  }

  /** The caller of an access token whose key still exists. */
  async verifyToken(token: string): Promise<Caller | undefined> {
    return this.#holderOf(await this.#access.verify(token))
  }

  /** An access token for an assertion as RFC 7523 has it, signed with the secret of a key and made for one of these audiences. */
  async exchange(assertion: string, audiences: readonly string[]): Promise<AccessToken | Refusal> {
    const checked = await checkAssertion(assertion, audiences, async keyId => {
      const { holder } = await this.#look(keyId)
      return holder && { secret: this.unseal(holder.key.secret), names: [holder.account.email, holder.account.id] }
    })
    return 'error' in checked ? checked : { token: await this.#access.sign(checked.keyId), seconds: ACCESS_SECONDS }
  }

  /** A console session for a verified caller: a signed token that lasts 12 hours. */
  async startSession(caller: Caller): Promise<AccessToken> {
    return { token: await this.#sessions.sign(caller.keyId), seconds: SESSION_SECONDS }
  }

  /** The caller of a session whose key still exists. */
  async resumeSession(token: string): Promise<Caller | undefined> {
    return this.#holderOf(await this.#sessions.verify(token))
  }

  /**
   * Says within a second when what the caller may has become less than it was: the key or account removed, or the role in this project
   * (in any of its projects when none is given) taken away or lowered. Says it once; returns what ends the watch.
   */
  watch(caller: Caller, ended: Ended, project?: string): () => void {
    return this.#watches.add(caller, ended, project)
  }

  /** What the caller may now, at most a second old; undefined when the key is gone. */
  async renew({ keyId }: Caller): Promise<Caller | undefined> {
    return (await this.#look(keyId)).caller
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
    this.#cache = new Map()
  }

  async #holderOf(claims: { readonly keyId: string; readonly expiresMs: number } | undefined): Promise<Caller | undefined> {
    const caller = claims && (await this.#look(claims.keyId)).caller
    return caller && { ...caller, expiresMs: claims.expiresMs }
  }

  async #look(keyId: string): Promise<Cached> {
    const cached = this.#cache.get(keyId)
    if (cached && performance.now() - cached.readMs < CACHE_MS) return cached
    return this.#read(keyId)
  }

  async #read(keyId: string): Promise<Cached> {
    // Before the answer: what is read is at least this fresh.
    const readMs = performance.now()
    const holder = await this.#accounts.holder(keyId)
    const fresh = holder ? { ...this.#open(holder), readMs } : { caller: undefined, holder, digest: randomBytes(32), readMs }
    if (this.#cache.size >= MAX_CACHED) this.#cache = new Map()
    this.#cache.set(keyId, fresh)
    return fresh
  }

  #open(holder: Holder): Omit<Cached, 'readMs'> {
    const digest = createHash('sha256').update(this.unseal(holder.key.secret)).digest()
    return { caller: callerOf(holder), holder, digest }
  }

  async #changed(): Promise<ReadonlySet<string> | 'all'> {
    const { last, keys } = await readChanges(this.#redis, this.#place)
    this.#place = last
    if (keys === 'all') this.forget()
    else for (const keyId of keys) this.#cache.delete(keyId)
    return keys
  }
}

function callerOf({ key, account, grants }: Holder): Caller {
  const roles = new Map<string, Role>()
  const organizations: string[] = []
  const home = grants.find(([scope]) => scope === `projects/${account.project}`)
  for (const [scope, role] of home ? [home, ...grants] : grants) {
    const [kind, id = ''] = scope.split('/')
    if (kind === 'organizations') organizations.push(id)
    else if (!covers(roles.get(id), role as Role)) roles.set(id, role as Role)
  }
  return { keyId: key.id, account: account.email, roles: Object.fromEntries(roles), ...(organizations.length > 0 ? { organizations } : {}) }
}
