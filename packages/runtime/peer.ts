// Who stands at the other end of a TLS connection: the device that its certificate names. TLS has verified the certificate; here it is read.
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { PeerCertificate, TLSSocket } from 'node:tls'
import { checkDevice } from '../core/event.ts'
import { Failure } from '../core/failure.ts'

export type PeerDevice = { readonly project: string; readonly id: string }

const PATH = /(?:^|[/:])projects\/([^/]+)\/devices\/([^/]+)$/
/** What Node makes of subject alternative names: `DNS:a, URI:"b, c"`, in quotes what could be read in two ways (CVE-2021-44532). */
const NAMES = /(?:^|, )(DNS|URI|[^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)/g

/**
 * The device that a certificate is for: by a URI `…/projects/{project}/devices/{device}` among its alternative names, else by its common
 * name or, without one, its only DNS name; then the project is its organisation, or this one where it has none.
 * @throws Failure `invalid` for one that names no device, or several.
 */
export function deviceOf(certificate: Pick<PeerCertificate, 'subject' | 'subjectaltname'>, home: string): PeerDevice {
  const names = namesOf(certificate.subjectaltname ?? '')
  const paths = names.filter(({ kind, name }) => kind === 'URI' && PATH.test(name))
  if (paths.length > 1) throw new Failure('invalid', 'client certificate: expected one URI of a device among its names, got several')
  const [, project, device] = PATH.exec(paths[0]?.name ?? '') ?? []
  if (project !== undefined && device !== undefined) return checked(decoded(project), decoded(device))
  // Given twice a field is an array, which Node's types do not say.
  const { CN, O } = (certificate.subject ?? {}) as { readonly CN?: string | string[]; readonly O?: string | string[] }
  const hosts = names.filter(({ kind }) => kind === 'DNS').map(({ name }) => name)
  const id = CN ?? (hosts.length === 1 ? hosts[0] : undefined)
  if (typeof id !== 'string')
    throw new Failure('invalid', 'client certificate: expected the device as common name (CN), or as its only DNS name')
  if (Array.isArray(O)) throw new Failure('invalid', 'client certificate: expected the project as organisation (O), got several')
  return checked(O === undefined || O === '' ? home : O, id)
}

function checked(project: string, id: string): PeerDevice {
  checkDevice(id, 'client certificate')
  // Its project is looked up; this is what could be none, in the form in which it is looked up.
  if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(project))
    throw new Failure('invalid', 'client certificate: expected the id of a project as organisation (O), or none', { field: 'project' })
  return { project, id }
}

function namesOf(text: string): { readonly kind: string; readonly name: string }[] {
  return [...text.matchAll(NAMES)].map(([, kind = '', name = '']) => ({
    kind,
    name: name.startsWith('"') ? String(JSON.parse(name)) : name,
  }))
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch (error) {
    throw new Failure('invalid', 'client certificate: its URI is not encoded as RFC 3986 has it', { cause: error })
  }
}

/** Beside the socket: of HTTP/2 requests show only a proxy of it. */
const DEVICE = Symbol('device')
type Known = { [DEVICE]?: PeerDevice }

export function rememberDevice(socket: TLSSocket, device: PeerDevice): void {
  ;(socket as Known)[DEVICE] = device
}

/** The device by whose certificate this connection was made, if there was one; of HTTP/2 a connection that is gone is undefined. */
export function deviceAt(socket: object | undefined): PeerDevice | undefined {
  return (socket as Known | undefined)?.[DEVICE]
}

/**
 * Whose certificate the sender of a request has. A browser shows it with the requests of any site's pages too: from those of others it counts
 * for nothing (hazard 35).
 */
export function deviceAsking({ socket, headers }: Pick<IncomingMessage, 'socket' | 'headers'>): PeerDevice | undefined {
  return headers.origin === undefined || isOwnOrigin(headers) ? deviceAt(socket) : undefined
}

/** Whether a request comes from a page of this very host. */
export function isOwnOrigin({ origin = '', host }: Pick<IncomingHttpHeaders, 'origin' | 'host'>): boolean {
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase()
}
