// Which process is which across restarts: a pid alone says nothing once it has been reused. Used by the lock and the orphan check.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'

/** `started` is opaque, differs between two processes that had the same pid, and is safe in a file name. */
export type ProcessIdentity = { readonly pid: number; readonly started: string }

type Look = { readonly started: string; readonly dead: boolean }

export function identify(pid: number): ProcessIdentity {
  return { pid, started: look(pid)?.started ?? 'unknown' }
}

/** True when unsure (for example /proc hides other users' processes): sharing a directory is worse than refusing it. */
export function isAlive(identity: ProcessIdentity): boolean {
  if (!exists(identity.pid)) return false
  const now = look(identity.pid)
  if (now === undefined) return exists(identity.pid)
  return !now.dead && (now.started === identity.started || identity.started === 'unknown')
}

/** Does nothing when the process has gone meanwhile. */
export function signal({ pid }: ProcessIdentity, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error
  }
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return false
    if (codeOf(error) === 'EPERM') return true
    throw error
  }
}

function look(pid: number): Look | undefined {
  return existsSync('/proc/self/stat') ? lookInProc(pid) : lookWithPs(pid)
}

function lookInProc(pid: number): Look | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`)
  if (stat === undefined) return undefined
  // The second field is the command in parentheses and may itself hold spaces and parentheses: count from its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const boot = readIfThere('/proc/sys/kernel/random/boot_id')?.slice(0, 8) ?? ''
  // A zombie holds nothing; in a container whose first process does not reap, it stays one for ever.
  return { started: `${boot}.${fields[19]}`, dead: fields[0] === 'Z' || fields[0] === 'X' }
}

function lookWithPs(pid: number): Look | undefined {
  try {
    const env = { PATH: '/bin:/usr/bin', LC_ALL: 'C', TZ: 'UTC' }
    const asked = execFileSync('ps', ['-o', 'state=', '-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env, stdio: 'pipe' })
    const [state, ...started] = asked.trim().split(/\s+/)
    return { started: started.join('.').replaceAll(':', '.'), dead: state?.startsWith('Z') ?? false }
  } catch (error) {
    // ps exits 1 when there is no such process, and may be missing altogether.
    if (error instanceof Error) return undefined
    throw error
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(codeOf(error) ?? '')) return undefined
    throw error
  }
}
