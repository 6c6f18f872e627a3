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
