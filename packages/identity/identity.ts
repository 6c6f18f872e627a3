// Service accounts and their keys: who may do what in which project, the same for MQTT and HTTP.
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Redis } from 'ioredis'
import { jwtVerify, SignJWT } from 'jose'
import { Failure } from '../core/failure.ts'

export type Role = 'user' | 'developer' | 'admin'
const RANK: Readonly<Record<Role, number>> = { user: 0, developer: 1, admin: 2 }

/** Somebody who proved who they are. */
export type Caller = {
  readonly keyId: string
  readonly account: string
  /** Role by project. */
  readonly roles: Readonly<Record<string, Role>>
}

type StoredKey = { readonly account: string; readonly roles: Record<string, Role>; readonly secret: string }
type Cached = { readonly caller: Caller | undefined; readonly digest: Buffer; readonly readMs: number }

const KEYS = 't:accounts:keys'
/** A revoked key stops working within this time. */
const CACHE_MS = 1000
const MAX_CACHED = 10_000
const SESSION_HOURS = 12

export class Identity {
  readonly #redis: Redis
  readonly #sealing: Buffer
  readonly #signing: Buffer
  #cache = new Map<string, Cached>()

  /** @param secretKey any text of 32 or more characters; everything at rest is sealed with keys derived from it. */
  constructor(redis: Redis, secretKey: string) {
    this.#redis = redis
    this.#sealing = Buffer.from(hkdfSync('sha256', secretKey, '', 'telltale secrets at rest', 32))
    this.#signing = Buffer.from(hkdfSync('sha256', secretKey, '', 'telltale console sessions', 32))
  }

  async hasKeys(): Promise<boolean> {
    return (await this.#redis.hlen(KEYS)) > 0
  }

  /** Creates or replaces a key. */
  async put(keyId: string, secret: string, account: string, roles: Record<string, Role>): Promise<void> {
    const stored: StoredKey = { account, roles, secret: this.seal(secret) }
    await this.#redis.hset(KEYS, keyId, JSON.stringify(stored))
    this.#cache.delete(keyId)
  }

  /** Undefined for an unknown key or a wrong secret, in the same time. */
  async verify(keyId: string, secret: string): Promise<Caller | undefined> {
    const known = await this.#look(keyId)
    const given = createHash('sha256').update(secret).digest()
    return timingSafeEqual(given, known.digest) ? known.caller : undefined
  }

  /** A console session for a verified caller: a signed token that lasts 12 hours. */
  async startSession(caller: Caller): Promise<{ token: string; seconds: number }> {
    const token = await new SignJWT({})
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject(caller.keyId)
      .setAudience('console')
      .setIssuedAt()
      .setExpirationTime(`${SESSION_HOURS}h`)
      .sign(this.#signing)
    return { token, seconds: SESSION_HOURS * 3600 }
  }

  /** The caller of a session whose key still exists. */
  async resumeSession(token: string): Promise<Caller | undefined> {
    const subject = await jwtVerify(token, this.#signing, { algorithms: ['HS256'], audience: 'console' }).then(
      ({ payload }) => payload.sub,
      () => undefined,
    )
    return subject === undefined ? undefined : (await this.#look(subject)).caller
  }

  async #look(keyId: string): Promise<Cached> {
    const cached = this.#cache.get(keyId)
    if (cached && performance.now() - cached.readMs < CACHE_MS) return cached
    const row = await this.#redis.hget(KEYS, keyId)
    const fresh = row === null ? unknownKey() : this.#open(keyId, JSON.parse(row) as StoredKey)
    if (this.#cache.size >= MAX_CACHED) this.#cache = new Map()
    this.#cache.set(keyId, fresh)
    return fresh
  }

  #open(keyId: string, stored: StoredKey): Cached {
    const digest = createHash('sha256').update(this.unseal(stored.secret)).digest()
    return { caller: { keyId, account: stored.account, roles: stored.roles }, digest, readMs: performance.now() }
  }

  /** AES-256-GCM: nonce, tag and text in base64url. */
  seal(text: string): string {
    const nonce = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', this.#sealing, nonce)
    const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
    return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64url')
  }

  unseal(sealed: string): string {
    const bytes = Buffer.from(sealed, 'base64url')
    try {
      // Without the length a tag cut to four bytes would do.
      const decipher = createDecipheriv('aes-256-gcm', this.#sealing, bytes.subarray(0, 12), { authTagLength: 16 })
      decipher.setAuthTag(bytes.subarray(12, 28))
      return decipher.update(bytes.subarray(28), undefined, 'utf8') + decipher.final('utf8')
    } catch (error) {
      throw new Failure('setup', 'TELLTALE_SECRET_KEY is not the one with which the stored secrets were sealed', { cause: error })
    }
  }
}

/** Nobody's key: a random digest that no secret matches. */
function unknownKey(): Cached {
  return { caller: undefined, digest: randomBytes(32), readMs: performance.now() }
}

/** 256 random bits in hexadecimal: no character that a shell or an option parser would take for its own. */
export function newSecret(): string {
  return randomBytes(32).toString('hex')
}

/** Whether the caller holds at least this role there. A project without any role is not found (hazard 36: tenants do not see each other). */
export function requireRole(caller: Caller, project: string, role: Role): void {
  const held = Object.hasOwn(caller.roles, project) ? caller.roles[project] : undefined
  if (held === undefined) throw new Failure('not_found', `project ${project} does not exist`, { field: 'project' })
  if (RANK[held] < RANK[role]) throw new Failure('forbidden', `this needs the role project.${role} in project ${project}`)
}
