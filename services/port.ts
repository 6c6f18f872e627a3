// The ports that one process binds, each with what can be wrong with it named by its setting.
import { Failure } from '../packages/core/failure.ts'
import { type Certificates, openCertificates } from '../packages/runtime/certificate.ts'
import type { HttpApp } from '../packages/runtime/http.ts'
import type { Lifecycle } from '../packages/runtime/lifecycle.ts'
import type { Logger } from '../packages/runtime/logger.ts'
import { deviceAt } from '../packages/runtime/peer.ts'
import { openSecure } from '../packages/runtime/secure.ts'
import { openTls } from '../packages/runtime/tls.ts'
import type { Config } from './config.ts'
import type { GatewayDoor } from './gateway/gateway.ts'

/** Undefined when no port speaks TLS. */
export async function openTlsCertificates({ tls }: Config, logger: Logger, lifecycle: Lifecycle): Promise<Certificates | undefined> {
  if (tls.cert === '') return undefined
  const files = {
    cert: { setting: 'TELLTALE_TLS_CERT', path: tls.cert },
    key: { setting: 'TELLTALE_TLS_KEY', path: tls.key },
    ...(tls.ca === '' ? {} : { ca: { setting: 'TELLTALE_TLS_CA', path: tls.ca } }),
  }
  const certificates = await openCertificates(files, logger)
  lifecycle.started('certificates', async () => certificates.stop())
  return certificates
}

export async function listen(app: HttpApp, { host, httpPort }: Config, lifecycle: Lifecycle): Promise<number> {
  lifecycle.started('http', () => app.close())
  await app.listen({ host, port: httpPort }).catch(portTaken(httpPort, 'TELLTALE_HTTP_PORT'))
  return (app.server.address() as { port: number }).port
}

export async function listenSecurely(
  app: HttpApp,
  { host, httpsPort, project }: Config,
  certificates: Certificates | undefined,
  logger: Logger,
  lifecycle: Lifecycle,
): Promise<number | undefined> {
  if (httpsPort === undefined || !certificates) return undefined
  const settings = { host, port: httpsPort, project }
  const secure = await openSecure(app, certificates, settings, logger).catch(portTaken(httpsPort, 'TELLTALE_HTTPS_PORT'))
  lifecycle.started('https', () => secure.stop())
  return secure.port
}

export async function listenMqtts(
  door: GatewayDoor,
  { host, mqttsPort, project }: Config,
  certificates: Certificates | undefined,
  logger: Logger,
  lifecycle: Lifecycle,
): Promise<number | undefined> {
  if (mqttsPort === undefined || !certificates) return undefined
  const take = (socket: Parameters<GatewayDoor['take']>[0] & { readonly remoteAddress?: string | undefined }) =>
    door.take(socket, { address: socket.remoteAddress ?? '', device: deviceAt(socket) })
  const settings = { certificates, host, port: mqttsPort, project, highWaterMark: door.socketBytes, allowHalfOpen: true, take }
  const tls = await openTls(settings, logger).catch(portTaken(mqttsPort, 'TELLTALE_MQTTS_PORT'))
  // What has been taken is answered before its connection ends.
  lifecycle.started('mqtts', () => tls.stop(() => door.drain()))
  return tls.port
}

export function portTaken(port: number, setting: string): (error: NodeJS.ErrnoException) => never {
  return error => {
    if (error.code === 'EADDRINUSE')
      throw new Failure('setup', `${setting}: port ${port} is in use by another program; stop that, or set ${setting} to a free one`)
    if (error.code === 'EACCES')
      throw new Failure('setup', `${setting}: port ${port} needs more rights than this user has; set ${setting} to one above 1023`)
    if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND')
      throw new Failure('setup', 'TELLTALE_HOST: this machine has no such address; 127.0.0.1 or 0.0.0.0 always work')
    throw error
  }
}
