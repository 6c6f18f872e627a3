// Roles: what each allows, and the questions whether somebody holds one. The table is the one that clients of the dialect know.
import { Failure } from '../core/failure.ts'
import type { Role } from '../state/member.ts'

export type { Role }

const RANK: Readonly<Record<Role, number>> = { user: 0, developer: 1, admin: 2 }

/** Somebody who proved who they are. */
export type Caller = {
  readonly keyId: string
  /** E-mail address of the service account. */
  readonly account: string
  /** Role by project; projects of organisations that it administers are among them. In no order: `07` and `7` do not keep any. */
  readonly roles: Readonly<Record<string, Role>>
  /** The account's own project; absent where it has no role in that. */
  readonly home?: string
  /** Organisations that it administers; none when absent. */
  readonly organizations?: readonly string[]
  /** Unix time at which a token or session ends; absent: a key, which lasts until it is revoked. */
  readonly expiresMs?: number
  /** Fingerprint of the secret by which it was proven: another one ends what was proven by this. */
  readonly proof?: string
  /** Id of the session. */
  readonly session?: string
  /** Proven by HTTP Basic, which can be switched off for the account. */
  readonly basic?: true
  /** Of a device that came by a credential or certificate of its own: it has no role anywhere, and may act as this device and its channels alone. */
  readonly device?: { readonly project: string; readonly id: string }
}

export type RoleName = 'project.user' | 'project.developer' | 'project.admin' | 'organization.admin'

export type RoleRecord = {
  readonly name: RoleName
  readonly displayName: string
  readonly description: string
  readonly permissions: readonly string[]
}

const USER = [
  'dataconnector.read',
  'device.read',
  'emulator.read',
  'membership.read',
  'project.read',
  'sensor.read',
  'serviceaccount.key.read',
  'serviceaccount.read',
]
const DEVELOPER = [
  ...USER,
  'dataconnector.create',
  'dataconnector.delete',
  'dataconnector.update',
  'device.update',
  'emulator.create',
  'emulator.delete',
  'emulator.update',
  'sensor.update',
]
const ADMIN = [
  ...DEVELOPER,
  'device.transfer',
  'membership.create',
  'membership.delete',
  'membership.update',
  'project.delete',
  'project.update',
  'serviceaccount.create',
  'serviceaccount.delete',
  'serviceaccount.key.create',
  'serviceaccount.key.delete',
  'serviceaccount.update',
]
const ORGANIZATION_ADMIN = [...ADMIN, 'organization.read', 'organization.update', 'project.create']

export const ROLES: readonly RoleRecord[] = [
  role('project.user', 'Project user', 'Sees everything in the project and changes nothing', USER),
  role('project.developer', 'Project developer', 'Publishes events, changes devices, rules and connectors', DEVELOPER),
  role('project.admin', 'Project admin', 'Also manages members, service accounts and the project itself', ADMIN),
  role('organization.admin', 'Organization admin', 'May do everything in all projects of the organization', ORGANIZATION_ADMIN),
]

function role(name: RoleName, displayName: string, description: string, permissions: readonly string[]): RoleRecord {
  return { name, displayName, description, permissions: permissions.toSorted() }
}

export function permissionsOf(name: RoleName): readonly string[] {
  return ROLES.find(one => one.name === name)?.permissions ?? []
}

/**
 * The project of a caller who names none: that of the account, or the only one; undefined where it could be one as well as another, of
 * which some may belong to somebody else.
 */
export function ownProject({ home, roles, device }: Pick<Caller, 'home' | 'roles' | 'device'>): string | undefined {
  if (device) return device.project
  if (home !== undefined && Object.hasOwn(roles, home)) return home
  const [only, another] = Object.keys(roles)
  return another === undefined ? only : undefined
}

/** Undefined for somebody who is no member. */
export function roleIn(caller: Caller, project: string): Role | undefined {
  return Object.hasOwn(caller.roles, project) ? caller.roles[project] : undefined
}

/** Whether the one role allows all that the other does. */
export function covers(held: Role | undefined, wanted: Role): boolean {
  return held !== undefined && RANK[held] >= RANK[wanted]
}

/** Whether the caller holds at least this role there. A project without any role is not found (hazard 36: tenants do not see each other). */
export function requireRole(caller: Caller, project: string, role: Role): void {
  const held = roleIn(caller, project)
  if (held === undefined) throw new Failure('not_found', `project ${project} does not exist`, { field: 'project' })
  if (!covers(held, role)) throw new Failure('forbidden', `this needs the role project.${role} in project ${project}`)
}

/**
 * Whether it is the device or one of its channels, `plug:1` of `plug`, which formats make of what one device sends. A channel is a part of its
 * device, whoever else has a credential for it.
 */
export function isPartOf(device: string, id: string): boolean {
  return id === device || (id.length > device.length + 1 && id.startsWith(device) && id[device.length] === ':')
}

/** Whether the caller may publish for this device: as its developer, or as this very device or the one that it is a channel of. */
export function mayActAs({ roles, device }: Pick<Caller, 'roles' | 'device'>, project: string, id: string): boolean {
  if (device) return device.project === project && isPartOf(device.id, id)
  return Object.hasOwn(roles, project) && covers(roles[project], 'developer')
}

/** As `requireRole`, for who publishes; of no device in particular when none is given. */
export function requireActAs(caller: Caller, project: string, id?: string): void {
  const { device } = caller
  if (!device) {
    requireRole(caller, project, 'developer')
    return
  }
  if (device.project !== project) throw new Failure('not_found', `project ${project} does not exist`, { field: 'project' })
  if (id !== undefined && !isPartOf(device.id, id))
    throw new Failure(
      'forbidden',
      `device ${device.id} publishes its own events and those of its channels, ${device.id}:…, and none of device ${id.slice(0, 100)}`,
      {
        field: 'device',
      },
    )
}

/** An organisation is known to its admins; to others it does not exist. */
export function requireOrganization(caller: Caller, organization: string): void {
  if (!caller.organizations?.includes(organization))
    throw new Failure('not_found', `organization ${organization} does not exist`, { field: 'organization' })
}
