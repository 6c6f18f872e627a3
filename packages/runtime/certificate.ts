// The certificate of the TLS ports: read from PEM files, checked before anybody meets it, and read again when the files change.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { unwatchFile, watchFile } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { Failure } from '../core/failure.ts'
import type { Logger } from './logger.ts'

/** What `tls` takes. */
export type Certificate = { readonly cert: Buffer; readonly key: Buffer }

/** Two settings and the files they name. */
export type CertificateFiles = {
  readonly cert: { readonly setting: string; readonly path: string }
  readonly key: { readonly setting: string; readonly path: string }
}

const DAY_MS = 86_400_000
/** Warned of from here on: time enough for a person to act. */
const SOON_MS = 14 * DAY_MS
/** By looking, not by notification: orchestrators exchange such files by moving links. */
const LOOK_EVERY_MS = 2000

/** @throws Failure `setup` naming the setting: a file that is missing, not PEM, expired, or a key of another certificate. */
export async function readCertificate(files: CertificateFiles, nowMs: number): Promise<{ pair: Certificate; daysLeft: number }> {
  const [cert, key] = await Promise.all([readPem(files.cert), readPem(files.key)])
  const certificate = parse(files.cert, 'a PEM certificate (-----BEGIN CERTIFICATE-----)', () => new X509Certificate(cert))
  const privateKey: KeyObject = parse(files.key, 'a PEM private key without passphrase (-----BEGIN PRIVATE KEY-----)', () =>
    createPrivateKey(key),
  )
  const named = `${files.cert.setting}: ${files.cert.path}`
  if (!certificate.checkPrivateKey(privateKey))
    throw new Failure('setup', `${files.key.setting}: ${files.key.path} is not the key of the certificate in ${files.cert.path}`)
  const leftMs = Date.parse(certificate.validTo) - nowMs
  if (leftMs <= 0) throw new Failure('setup', `${named} expired on ${certificate.validTo}; renew it`)
  if (Date.parse(certificate.validFrom) > nowMs)
    throw new Failure('setup', `${named} is valid only from ${certificate.validFrom} on; look at this machine's clock`)
  parse(files.cert, 'a certificate that TLS can use', () => createSecureContext({ cert, key }))
  return { pair: { cert, key }, daysLeft: Math.floor(leftMs / DAY_MS) }
}

async function readPem({ setting, path }: { setting: string; path: string }): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new Failure('setup', `${setting}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'})`, {
      cause: error,
    })
  }
}

function parse<T>({ setting, path }: { setting: string; path: string }, what: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw new Failure('setup', `${setting}: ${path}: expected ${what}`, { cause: error })
  }
}

/** Hands over each new pair; one that is wrong (half exchanged, expired) is refused and the old one stays. */
export function watchCertificate(files: CertificateFiles, log: Logger, changed: (pair: Certificate) => void): { stop(): void } {
  const look = () => {
    readCertificate(files, Date.now()).then(
      ({ pair, daysLeft }) => {
        changed(pair)
        log.info({ daysLeft }, 'certificate read again')
      },
      (error: Error) => log.warn({ reason: error.message }, 'certificate not exchanged'),
    )
  }
  const daily = () => {
    readCertificate(files, Date.now()).then(
      ({ daysLeft }) => warnOfExpiry(daysLeft, log),
      (error: Error) => log.warn({ reason: error.message }, 'certificate is no longer good'),
    )
  }
  const paths = [...new Set([files.cert.path, files.key.path])]
  for (const path of paths) watchFile(path, { interval: LOOK_EVERY_MS, persistent: false }, look)
  const timer = setInterval(daily, DAY_MS).unref()
  return {
    stop: () => {
      clearInterval(timer)
      for (const path of paths) unwatchFile(path, look)
    },
  }
}

export function warnOfExpiry(daysLeft: number, log: Logger): void {
  if (daysLeft * DAY_MS < SOON_MS) log.warn({ daysLeft }, 'certificate expires soon: renew it')
}
