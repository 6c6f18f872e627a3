// The calls the page makes to its own origin, through the client: with the session's cookie instead of a key.
import { Telltale, TelltaleError, type Window, type WindowQuery } from '../../../packages/client/index.ts'

/** `account`: who that is, as it stands in what people did with alarms. */
export type Session = { readonly keyId: string; readonly account: string; readonly project: string; readonly projects: readonly string[] }

export function openClient(project: string): Telltale {
  return new Telltale({ url: '', project, auth: 'session' })
}

const SESSION = '/console/session'

/** The session of this browser's cookie, or undefined when there is none. */
export async function readSession(): Promise<Session | undefined> {
  try {
    return await openClient('').request<Session>('GET', SESSION)
  } catch (error) {
    if (error instanceof TelltaleError && error.code === 'unauthenticated') return undefined
    throw error
  }
}

export function signIn(keyId: string, secret: string): Promise<Session> {
  return openClient('').request<Session>('POST', SESSION, { body: { keyId, secret } })
}

export async function signOut(): Promise<void> {
  await openClient('').request('DELETE', SESSION)
}

/** All windows of a span of time, which may be more than a page. */
export async function listWindows(client: Telltale, device: string, query: WindowQuery): Promise<Window[]> {
  const all: Window[] = []
  for await (const page of client.history.windowPages(device, query)) all.push(...page)
  return all
}
