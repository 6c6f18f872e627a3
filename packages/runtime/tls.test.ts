// A port that speaks TLS, and who is on it when it stops.
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { makeCertificate } from '../../test/certificate.ts'
import { openLogger } from './logger.ts'
import { openTls } from './tls.ts'

it('stops at once also where somebody is connected who never shakes hands', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'telltale-tls-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const { certPath, keyPath } = await makeCertificate(dir, 'server')
  const pair = { cert: await readFile(certPath), key: await readFile(keyPath) }
  const certificates = { current: () => pair, follow: () => () => {}, look: () => {}, stop: () => {} }
  const settings = { certificates, host: '127.0.0.1', port: 0, project: 'p', take: () => expect.unreachable() }
  const port = await openTls(settings, openLogger('silent'))
  const silent = connect({ port: port.port, host: '127.0.0.1' })
  silent.on('error', () => silent.destroy())
  await once(silent, 'connect')
  const ended = once(silent, 'close')
  await port.stop(async () => {})
  await ended
}, 5000)
