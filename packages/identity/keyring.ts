// What this process knows of keys and who holds them, at most a second old: every proof, token, session and watch asks here.
import { createHash, createHmac, randomBytes } from 'node:crypto'
import type { Accounts, EndedSessions, Holder } from '../state/account.ts'
import { type Credentials, isCredentialId } from '../state/credential.ts'
import { type Caller, covers, type Role } from './role.ts'
import { deriveKey, type Seal } from './seal.ts'

/** What was taken away works nowhere any longer after this time. */
export const REVOKED_WITHIN_MS = 1000
/** Redis may take the rest. */
const CACHE_MS = 800
const MAX_KNOWN = 10_000
/** Ids that nobody has: anybody may send any number of them, and pushes out only his own. */
const MAX_UNKNOWN = 1000
/** Every id that was ever made or could be set; nothing else is looked for. */
const KEY_ID = /^[A-Za-z0-9_-]{1,64}$/
/** A device that came by a certificate has no key: its name stands for one, and can be none. */
const DEVICE_NAME = /^projects\/([^/]+)\/devices\/([^/]+)$/

export function deviceName(project: string, id: string): string {
  return `projects/${project}/devices/${id}`
}

/** `holder`: of a key; a device has none. */
export type Known = { readonly caller: Caller; readonly holder: Holder | undefined; readonly digest: Buffer }
type Read = { readonly known: Known | undefined; readonly readMs: number }

export class Keyring {
  readonly #accounts: Accounts
  readonly #credentials: Credentials
  readonly #seal: Seal
  readonly #proving: Buffer
  #known = new Map<string, Read>()
  #unknown = new Map<string, Read>()

  constructor(accounts: Accounts, credentials: Credentials, seal: Seal, secretKey: string) {
    this.#accounts = accounts
    this.#credentials = credentials
    this.#seal = seal
    this.#proving = deriveKey(secretKey, 'telltale key proofs')
  }

  async look(keyId: string): Promise<Known | undefined> {
    const cached = this.#known.get(keyId) ?? this.#unknown.get(keyId)
    return cached && performance.now() - cached.readMs < CACHE_MS ? cached.known : this.read(keyId)
  }

  /** Past the cache. */
  async read(keyId: string): Promise<Known | undefined> {
    const [, project, device] = DEVICE_NAME.exec(keyId) ?? []
    if (project === undefined && !KEY_ID.test(keyId)) return undefined
    // Before the answer: what is read is at least this fresh.
    const readMs = performance.now()
    const known = project === undefined ? await this.#find(keyId) : await this.#certified(keyId, project, device as string)
    this.forget([keyId])
    if (known) keep(this.#known, MAX_KNOWN, keyId, { known, readMs })
    else keep(this.#unknown, MAX_UNKNOWN, keyId, { known, readMs })
    return known
  }

  forget(keys: Iterable<string> | 'all'): void {
    if (keys === 'all') {
      this.#known = new Map()
      this.#unknown = new Map()
      return
    }
    for (const keyId of keys) {
      this.#known.delete(keyId)
      this.#unknown.delete(keyId)
    }
  }

  async #find(id: string): Promise<Known | undefined> {
    const credential = isCredentialId(id) ? await this.#credentials.holder(id) : undefined
    if (credential) {
      const { project, device, secret } = credential
      const { digest, proof } = this.#open(secret)
      return { caller: { ...deviceCaller(id, project, device), proof }, holder: undefined, digest }
    }
    // A key of the settings may look like a credential.
    const holder = await this.#accounts.holder(id)
    if (!holder) return undefined
    const { digest, proof } = this.#open(holder.key.secret)
    return { caller: callerOf(holder, proof), holder, digest }
  }

  /** By its certificate, which TLS has verified: nobody proves to be it by a secret. */
  async #certified(name: string, project: string, device: string): Promise<Known | undefined> {
    if (!(await this.#credentials.isOpen(project))) return undefined
    return { caller: deviceCaller(name, project, device), holder: undefined, digest: nobodysDigest() }
  }

  #open(sealed: string): { readonly digest: Buffer; readonly proof: string } {
    const secret = this.#seal.unseal(sealed)
    const digest = createHash('sha256').update(secret).digest()
    // Stands in tokens, which travel: made with a key, so that nobody tries secrets on it.
    const proof = createHmac('sha256', this.#proving).update(secret).digest('base64url').slice(0, 22)
    return { digest, proof }
  }
}

function keep(map: Map<string, Read>, max: number, keyId: string, read: Read): void {
  const [oldest] = map.size >= max ? map.keys() : []
  if (oldest !== undefined) map.delete(oldest)
  map.set(keyId, read)
}

/** A token may be used until it expires, not until the very moment. */
const EXPIRY_GRACE_MS = 1000

/** Unix time. Infinity: never. */
export function lastsUntilMs({ expiresMs }: Caller): number {
  return expiresMs === undefined ? Number.POSITIVE_INFINITY : expiresMs + EXPIRY_GRACE_MS
}

/** Why what was proven then does not hold any more, whatever it was allowed, however long it lasts; undefined when it does. */
export function endOf({ proof, session, expiresMs = 0, basic }: Caller, now: Known | undefined): string | undefined {
  if (!now) return 'the key was revoked'
  if (proof !== undefined && proof !== now.caller.proof) return 'the key has another secret'
  if (!now.holder) return undefined
  if (basic && !now.holder.account.enableBasicAuth) return 'HTTP Basic was switched off for the service account'
  return session !== undefined && isEnded(now.holder.ended, session, expiresMs) ? 'the session was ended' : undefined
}

function isEnded({ ids, allUntilMs }: EndedSessions, session: string, expiresMs: number): boolean {
  return ids.has(session) || expiresMs <= allUntilMs
}

/** For a digest that has to be there when nobody's is: no secret matches it. */
export function nobodysDigest(): Buffer {
  return randomBytes(32)
}

function deviceCaller(keyId: string, project: string, id: string): Caller {
  return { keyId, account: deviceName(project, id), roles: {}, device: { project, id } }
}

function callerOf({ key, account, grants }: Holder, proof: string): Caller {
  const roles = new Map<string, Role>()
  const organizations: string[] = []
  for (const [scope, role] of grants) {
    const [kind, id = ''] = scope.split('/')
    if (kind === 'organizations') organizations.push(id)
    else if (!covers(roles.get(id), role as Role)) roles.set(id, role as Role)
  }
  const home = roles.has(account.project) ? { home: account.project } : {}
  const caller = { keyId: key.id, account: account.email, roles: Object.fromEntries(roles), ...home, proof }
  return organizations.length > 0 ? { ...caller, organizations } : caller
}
