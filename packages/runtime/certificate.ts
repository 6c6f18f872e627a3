// The certificate of the TLS ports: read from PEM files, checked before anybody meets it, and read again when the files change.
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { unwatchFile, watchFile } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { Failure } from '../core/failure.ts'
import type { Logger } from './logger.ts'

/** What `tls` takes. */
export type Certificate = {
  readonly cert: Buffer
  readonly key: Buffer
  /** Those who sign clients' certificates; undefined: clients have none. */
  readonly ca?: Buffer
  /** What these have revoked. */
  readonly crl?: readonly Buffer[]
}

type File = { readonly setting: string; readonly path: string }
/** Settings and the files they name. */
export type CertificateFiles = { readonly cert: File; readonly key: File; readonly ca?: File }

/** A certificate that may be exchanged for another while it is used. */
export type Certificates = {
  current(): Certificate
  /** Tells of each exchange; returns what ends that. */
  follow(changed: (fresh: Certificate, before: Certificate) => void): () => void
  /** Looks at the files now. */
  look(): void
  stop(): void
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
  const authorities = files.ca === undefined ? {} : await readAuthorities(files.ca, nowMs)
  return { pair: { cert, key, ...authorities }, daysLeft: Math.floor(leftMs / DAY_MS) }
}

const BLOCK = /-----BEGIN (CERTIFICATE|X509 CRL)-----[^-]+-----END \1-----/g

/** One file holds all who sign, and what they have revoked. */
async function readAuthorities(file: File, nowMs: number): Promise<Pick<Certificate, 'ca' | 'crl'>> {
  const blocks = [...(await readPem(file)).toString('latin1').matchAll(BLOCK)].map(([block, kind]) => ({ block, kind }))
  const pems = blocks.filter(({ kind }) => kind === 'CERTIFICATE').map(({ block }) => block)
  const crl = blocks.filter(({ kind }) => kind === 'X509 CRL').map(({ block }) => Buffer.from(block))
  const what = 'PEM certificates of those who sign the certificates of devices (-----BEGIN CERTIFICATE-----)'
  const all = parse(file, what, () => pems.map(pem => new X509Certificate(pem)))
  const named = `${file.setting}: ${file.path}`
  if (all.length === 0) throw new Failure('setup', `${named}: expected ${what}`)
  const leaf = all.find(one => !one.ca)
  if (leaf) throw new Failure('setup', `${named}: ${leaf.subject.replaceAll('\n', ', ')} may not sign certificates (CA:FALSE)`)
  if (all.every(({ validTo }) => Date.parse(validTo) <= nowMs))
    throw new Failure('setup', `${named} expired on ${all[0]?.validTo}; renew it`)
  const ca = Buffer.from(`${pems.join('\n')}\n`)
  parse(file, 'certificates and revocation lists that TLS can use', () => createSecureContext({ ca, crl }))
  return crl.length === 0 ? { ca } : { ca, crl }
}

async function readPem({ setting, path }: File): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new Failure('setup', `${setting}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'})`, {
      cause: error,
    })
  }
}

function parse<T>({ setting, path }: File, what: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw new Failure('setup', `${setting}: ${path}: expected ${what}`, { cause: error })
  }
}

/**
 * Reads the files, and again whenever they change: what is wrong then (half exchanged, expired) is refused and the old one stays.
 * @throws Failure `setup` as `readCertificate`.
 */
export async function openCertificates(files: CertificateFiles, log: Logger): Promise<Certificates> {
  const first = await readCertificate(files, Date.now())
  warnOfExpiry(first.daysLeft, log)
  const followers = new Set<(fresh: Certificate, before: Certificate) => void>()
  let current: Certificate = first.pair
  const look = () => {
    readCertificate(files, Date.now()).then(
      ({ pair, daysLeft }) => {
        const before = current
        current = pair
        for (const changed of followers) changed(pair, before)
        log.info({ daysLeft }, 'certificate read again')
      },
      (error: Error) => log.warn({ reason: error.message }, 'certificate not exchanged'),
    )
  }
  const watch = startWatch(files, log, look)
  return {
    current: () => current,
    follow: changed => {
      followers.add(changed)
      return () => void followers.delete(changed)
    },
    look,
    stop: () => watch.stop(),
  }
}

function startWatch(files: CertificateFiles, log: Logger, look: () => void): { stop(): void } {
  const daily = () => {
    readCertificate(files, Date.now()).then(
      ({ daysLeft }) => warnOfExpiry(daysLeft, log),
      (error: Error) => log.warn({ reason: error.message }, 'certificate is no longer good'),
    )
  }
  const paths = [...new Set([files.cert, files.key, files.ca].flatMap(file => (file === undefined ? [] : [file.path])))]
  for (const path of paths) watchFile(path, { interval: LOOK_EVERY_MS, persistent: false }, look)
  const timer = setInterval(daily, DAY_MS).unref()
  return {
    stop: () => {
      clearInterval(timer)
      for (const path of paths) unwatchFile(path, look)
    },
  }
}

function warnOfExpiry(daysLeft: number, log: Logger): void {
  if (daysLeft * DAY_MS < SOON_MS) log.warn({ daysLeft }, 'certificate expires soon: renew it')
}
