// The signature of a pushed event: a JWT over checksums of the exact bytes, which receivers recompute (contracts.md 1.a.9).
import { createHash, createHmac } from 'node:crypto'

const LIFETIME_SECONDS = 3600
const HEADER = base64url({ alg: 'HS256', typ: 'JWT' })

/** @param jti of this attempt. */
export function sign(body: string, secret: string, nowMs: number, jti: string): string {
  const iat = Math.floor(nowMs / 1000)
  const checksums = { checksum: digest('sha1', body), checksum_sha256: digest('sha256', body) }
  const signed = `${HEADER}.${base64url({ ...checksums, iat, exp: iat + LIFETIME_SECONDS, jti })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

function digest(algorithm: 'sha1' | 'sha256', body: string): string {
  return createHash(algorithm).update(body).digest('hex')
}

function base64url(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
