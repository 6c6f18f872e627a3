// Dialects whose addresses name no project: which one a client of theirs works in, and as whom.
import type { FastifyRequest } from 'fastify'
import { Failure } from '../../../packages/core/failure.ts'
import { type Caller, ownProject, type Role, requireRole, roleIn } from '../../../packages/identity/identity.ts'

export type User = { readonly keyId: string; readonly project: string | undefined }

/** Nobody's. */
const NOBODY = ''

/** `key`; `key@project` for a project that is not the account's own; what follows `$` is an account of Memphis, of which there are none here. */
export function readUser(text: string): User {
  const [user = NOBODY] = text.split('$', 1)
  const at = user.indexOf('@')
  return at < 0 ? { keyId: user, project: undefined } : { keyId: user.slice(0, at), project: user.slice(at + 1) }
}

/** The caller as somebody of one project, his own unless said; undefined where he has no role: for him it does not exist. */
export function settle(caller: Caller, project: string | undefined): Caller | undefined {
  const home = project ?? ownProject(caller)
  const role = home === undefined ? undefined : roleIn(caller, home)
  return home === undefined || role === undefined ? undefined : { ...caller, roles: { [home]: role } }
}

/** The project of a settled caller, who holds at least this role in it. */
export function homeOf({ caller }: FastifyRequest, role: Role): string {
  const [home] = Object.keys(caller?.roles ?? {})
  if (!caller || home === undefined) throw new Failure('unauthenticated', 'credentials missing')
  requireRole(caller, home, role)
  return home
}
