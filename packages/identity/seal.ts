// Secrets at rest: AES-256-GCM with a key derived from the installation's secret key.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { Failure } from '../core/failure.ts'

const MIN_SECRET_KEY = 32

/** Whether it may seal an installation: from a shorter one, such as what is left of a file, everything could be derived by trying. */
export function isSecretKey(text: string): boolean {
  return text.length >= MIN_SECRET_KEY
}

/** A key of 256 bits for one purpose. */
export function deriveKey(secretKey: string, purpose: string): Buffer {
  if (!isSecretKey(secretKey))
    throw new Failure('setup', `TELLTALE_SECRET_KEY: expected at least ${MIN_SECRET_KEY} characters, got ${secretKey.length}`)
  return Buffer.from(hkdfSync('sha256', secretKey, '', purpose, 32))
}

/** 256 random bits in hexadecimal: no character that a shell or an option parser would take for its own. */
export function newSecret(): string {
  return randomBytes(32).toString('hex')
}

export class Seal {
  readonly #key: Buffer

  constructor(secretKey: string) {
    this.#key = deriveKey(secretKey, 'telltale secrets at rest')
  }

  /** Nonce, tag and text in base64url. */
  seal(text: string): string {
    const nonce = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce)
    const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
    return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64url')
  }

  unseal(sealed: string): string {
    const bytes = Buffer.from(sealed, 'base64url')
    try {
      // Without the length a tag cut to four bytes would do.
      const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, 12), { authTagLength: 16 })
      decipher.setAuthTag(bytes.subarray(12, 28))
      return decipher.update(bytes.subarray(28), undefined, 'utf8') + decipher.final('utf8')
    } catch (error) {
      throw new Failure('setup', 'TELLTALE_SECRET_KEY is not the one with which the stored secrets were sealed', { cause: error })
    }
  }
}
