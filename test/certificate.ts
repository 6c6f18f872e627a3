// Certificates of one's own, as files: what the TLS ports are started with.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generate } from 'selfsigned'

export type TestCertificate = { readonly cert: string; readonly certPath: string; readonly keyPath: string }

const DAY_MS = 86_400_000

/** For `localhost`, also as clients of Macrometa call it; writes `{name}.cert.pem` and `{name}.key.pem`. */
export async function makeCertificate(dir: string, name: string, days = 365): Promise<TestCertificate> {
  const notAfterDate = new Date(Date.now() + days * DAY_MS)
  const notBeforeDate = new Date(Math.min(Date.now(), notAfterDate.getTime()) - 10 * DAY_MS)
  const pems = await generate([{ name: 'commonName', value: 'localhost' }], {
    keySize: 2048,
    algorithm: 'sha256',
    notBeforeDate,
    notAfterDate,
    extensions: [{ name: 'subjectAltName', altNames: ['localhost', 'api-localhost'].map(value => ({ type: 2, value })) }],
  })
  const certPath = join(dir, `${name}.cert.pem`)
  const keyPath = join(dir, `${name}.key.pem`)
  await writeFile(certPath, pems.cert)
  await writeFile(keyPath, pems.private)
  return { cert: pems.cert, certPath, keyPath }
}

export type TestAuthority = { readonly caPath: string; sign(name: DeviceName): Promise<Identification> }
/** Subject, and alternative names by their kind (2: DNS, 6: URI). */
export type DeviceName = { readonly cn?: string; readonly o?: string; readonly altNames?: readonly { type: 2 | 6; value: string }[] }
/** What a TLS client shows. */
export type Identification = { readonly cert: string; readonly key: string }

/** Signs the certificates of devices; writes `{name}.pem`. */
export async function makeAuthority(dir: string, name: string): Promise<TestAuthority> {
  const usual = { keyType: 'ec', algorithm: 'sha256', notBeforeDate: new Date(Date.now() - DAY_MS) } as const
  const pems = await generate([{ name: 'commonName', value: `Devices of ${name}` }], {
    ...usual,
    extensions: [
      { name: 'basicConstraints', cA: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true },
    ],
  })
  const caPath = join(dir, `${name}.pem`)
  await writeFile(caPath, pems.cert)
  return {
    caPath,
    sign: async ({ cn, o, altNames = [] }) => {
      const subject = [
        ...(cn === undefined ? [] : [{ name: 'commonName', value: cn }]),
        ...(o === undefined ? [] : [{ name: 'organizationName', value: o }]),
      ]
      const signed = await generate(subject, {
        ...usual,
        ca: { key: pems.private, cert: pems.cert },
        extensions: [
          { name: 'basicConstraints', cA: false },
          { name: 'extKeyUsage', clientAuth: true },
          ...(altNames.length === 0 ? [] : [{ name: 'subjectAltName' as const, altNames: [...altNames] }]),
        ],
      })
      return { cert: signed.cert, key: signed.private }
    },
  }
}
