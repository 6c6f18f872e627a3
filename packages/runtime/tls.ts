// A port that speaks TLS, for whatever is spoken in it: certificates are exchanged under way, and those of clients are verified and read.
import type { Socket } from 'node:net'
import { createServer, type PeerCertificate, type Server, type TLSSocket } from 'node:tls'
import type { Certificate, Certificates } from './certificate.ts'
import type { Logger } from './logger.ts'
import { deviceOf, rememberDevice } from './peer.ts'

export type TlsPort = {
  readonly port: number
  /** Takes no more connections, waits for `drained`, and cuts off what is left. */
  stop(drained: () => Promise<unknown>): Promise<void>
}

export type TlsSettings = {
  readonly certificates: Certificates
  readonly host: string
  readonly port: number
  /** Of devices whose certificate does not say theirs. */
  readonly project: string
  readonly alpn?: readonly string[]
  readonly highWaterMark?: number
  /** Who has said all may still listen. */
  readonly allowHalfOpen?: boolean
  /** Sockets that have shaken hands. */
  take(socket: TLSSocket): void
}

const HANDSHAKE_MS = 10_000
/** A client's certificate ends while it is connected: looked for this often. */
const LOOK_EVERY_MS = 60_000

/** Rejects with the error of `listen`. */
export async function openTls({ certificates, host, port, project, alpn, take, ...more }: TlsSettings, log: Logger): Promise<TlsPort> {
  const sockets = new Set<Socket>()
  const known = new Map<TLSSocket, number>()
  const server = createServer(
    {
      ...contextOf(certificates.current()),
      // Whoever has none is asked for other credentials: what is given and not good is refused below.
      requestCert: certificates.current().ca !== undefined,
      rejectUnauthorized: false,
      handshakeTimeout: HANDSHAKE_MS,
      noDelay: true,
      allowHalfOpen: more.allowHalfOpen === true,
      ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
      ...(more.highWaterMark === undefined ? {} : { highWaterMark: more.highWaterMark }),
    },
    socket => {
      const endMs = admit(socket, project, log)
      if (endMs === undefined) return
      if (endMs < Number.POSITIVE_INFINITY) {
        known.set(socket, endMs)
        socket.once('close', () => known.delete(socket))
      }
      take(socket)
    },
  )
  // Also those that have not shaken hands: the server waits for all of them when it closes.
  server.on('connection', socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  // A client that gives up, or that does not speak TLS: nothing of ours is wrong.
  server.on('tlsClientError', (error, socket) => {
    log.debug({ reason: error.message }, 'tls client refused')
    socket.destroy()
  })
  await listen(server, host, port)
  const unfollow = certificates.follow((fresh, before) => {
    server.setSecureContext(contextOf(fresh))
    // Who may not come any more is not known by looking; who may is back at once.
    if (!sameAuthorities(fresh, before)) for (const socket of known.keys()) socket.destroy()
  })
  const timer = setInterval(() => endExpired(known, Date.now()), LOOK_EVERY_MS).unref()
  return {
    port: (server.address() as { port: number }).port,
    stop: async drained => {
      unfollow()
      clearInterval(timer)
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      await drained()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

function contextOf({ cert, key, ca, crl = [] }: Certificate) {
  return { cert, key, minVersion: 'TLSv1.2' as const, ...(ca === undefined ? {} : { ca }), ...(crl.length === 0 ? {} : { crl: [...crl] }) }
}

/**
 * A certificate that is given has to be good; one that names no device is no identity, and its client may still show a key.
 * @returns when it ends, or undefined: the connection has ended.
 */
function admit(socket: TLSSocket, project: string, log: Logger): number | undefined {
  socket.on('error', error => log.debug({ reason: error.message }, 'tls connection broke'))
  // Once: it is made anew each time. Of a socket that was destroyed there is none any more, whatever its type says.
  const certificate = socket.getPeerCertificate() as PeerCertificate | null
  if (certificate === null || Object.keys(certificate).length === 0) return Number.POSITIVE_INFINITY
  if (!socket.authorized) {
    log.info({ address: socket.remoteAddress, reason: String(socket.authorizationError) }, 'client certificate refused')
    socket.destroy()
    return undefined
  }
  try {
    rememberDevice(socket, deviceOf(certificate, project))
  } catch (error) {
    log.info({ address: socket.remoteAddress, reason: (error as Error).message }, 'client certificate names no device')
  }
  return Date.parse(certificate.valid_to)
}

function sameAuthorities(fresh: Certificate, before: Certificate): boolean {
  const bytes = ({ ca, crl = [] }: Certificate) => Buffer.concat([ca ?? Buffer.alloc(0), ...crl])
  return bytes(fresh).equals(bytes(before))
}

function endExpired(sockets: ReadonlyMap<TLSSocket, number>, nowMs: number): void {
  for (const [socket, endMs] of sockets) if (endMs <= nowMs) socket.destroy()
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
