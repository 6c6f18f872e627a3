// One-time passwords: for clients whose WebSockets can carry no header. Whoever has a key asks for one and shows it within a minute; any node
// takes it, once.
import { createHash, randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import type { Caller } from './role.ts'

const LIFETIME_MS = 60_000
/** 32 random bytes in base64url; nothing else is looked for. */
const OTP = /^[\w-]{43}$/

/** By what the caller was proven: what has ended since is found out when it is shown. */
export type Proven = Pick<Caller, 'keyId' | 'proof' | 'expiresMs' | 'basic'>

export class Otps {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  async issue({ keyId, proof, expiresMs, basic }: Proven): Promise<string> {
    const otp = randomBytes(32).toString('base64url')
    await this.#redis.set(keyOf(otp), JSON.stringify({ keyId, proof, expiresMs, basic }), 'PX', LIFETIME_MS)
    return otp
  }

  /** Undefined for one that was never issued, is over, or was shown before. */
  async redeem(otp: string): Promise<Proven | undefined> {
    if (!OTP.test(otp)) return undefined
    const found = await this.#redis.getdel(keyOf(otp))
    return found === null ? undefined : (JSON.parse(found) as Proven)
  }
}

/** What is found in Redis opens nothing. */
function keyOf(otp: string): string {
  return `t:otp:${createHash('sha256').update(otp).digest('base64url')}`
}
