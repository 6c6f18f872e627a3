// The data directory belongs to one living process: taken before anything in it is opened, released after everything is closed.
import { mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure } from '../core/failure.ts'
import { codeOf, identify, isAlive } from './process.ts'

export type DirectoryLock = { release(): Promise<void> }

const PREFIX = 'telltale.lock-'
const LOCK_NAME = /^telltale\.lock-(\d+)-(.+)$/
const ATTEMPTS = 6
const PAUSE_MS = 40

/**
 * Creates the directory (0700) if missing. A second living instance, a file in its place or a directory that cannot be written
 * are refused with a `setup` failure; the lock of a killed process is taken over, also when its pid is in use again.
 * The lock knows processes of this machine (and container) only: see `startRedis` for a directory shared between containers.
 */
export async function lockDirectory(dir: string): Promise<DirectoryLock> {
  const path = resolve(dir)
  const { pid, started } = identify(process.pid)
  const mine = join(path, `${PREFIX}${pid}-${started}`)
  await usable(path, () => makeDirectory(path))
  for (let attempt = 1; ; attempt++) {
    const holder = await claim(path, mine)
    if (holder === undefined) return { release: () => rm(mine, { force: true }) }
    if (holder === pid || attempt === ATTEMPTS) throw inUse(path, holder)
    // Of two that start together both may have stepped back: try again out of step.
    await delay(PAUSE_MS * (0.5 + Math.random()))
  }
}

/**
 * Announce, then look: every holder has a file of its own, so of two starters at least the later sees the other, and removing
 * a dead one's file can never remove a living one's (no check-then-act on a shared name). Returns the pid of a living holder.
 */
async function claim(dir: string, mine: string): Promise<number | undefined> {
  if (!(await announce(dir, mine))) return process.pid
  const holder = await livingHolder(dir, mine)
  if (holder !== undefined) await rm(mine, { force: true })
  return holder
}

async function announce(dir: string, mine: string): Promise<boolean> {
  try {
    const file = await open(mine, 'wx', 0o600)
    await file.close()
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw unusable(dir, error)
  }
}

async function livingHolder(dir: string, mine: string): Promise<number | undefined> {
  for (const name of await usable(dir, () => readdir(dir))) {
    const match = LOCK_NAME.exec(name)
    const path = join(dir, name)
    if (match === null || path === mine) continue
    const pid = Number(match[1])
    if (isAlive({ pid, started: match[2] as string })) return pid
    await rm(path, { force: true })
  }
  return undefined
}

/** With those above it. Node's own way never ends where a directory that is there takes none and says ENOENT, as /proc does. */
async function makeDirectory(path: string): Promise<void> {
  if ((await makeOne(path)) === 'there') return
  await makeDirectory(dirname(path))
  if ((await makeOne(path)) === 'missing') throw Object.assign(new Error(`${path} cannot be made`), { code: 'ENOENT' })
}

/** `missing`: the one above it. */
async function makeOne(path: string): Promise<'there' | 'missing'> {
  try {
    await mkdir(path, { mode: 0o700 })
    return 'there'
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && dirname(path) !== path) return 'missing'
    if (codeOf(error) === 'ENOTDIR' || !(await stat(path)).isDirectory()) throw error
    return 'there'
  }
}

async function usable<T>(dir: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    throw unusable(dir, error)
  }
}

function inUse(dir: string, pid: number): Failure {
  return new Failure(
    'setup',
    `TELLTALE_DATA_DIR ${dir}: already in use by process ${pid}. Stop that one (kill ${pid}), or give this one a directory of its own.`,
  )
}

const REMEDIES: Readonly<Record<string, string>> = {
  ENOTDIR: 'it is a file, or lies below one. Name a directory.',
  EEXIST: 'it is a file, not a directory. Name a directory, or move the file away.',
  EACCES: `it cannot be written by user ${process.getuid?.() ?? 'running this'}. Change its owner (chown), or name another directory.`,
  EPERM: `it cannot be written by user ${process.getuid?.() ?? 'running this'}. Change its owner (chown), or name another directory.`,
  EROFS: 'it lies on a read-only file system. Name another directory, or mount it writable.',
  ENOSPC: 'its disk is full. Make room, or name a directory on another disk.',
  ENOENT: 'it cannot be created there. Name another directory.',
}

function unusable(dir: string, error: unknown): Failure {
  const code = codeOf(error) ?? ''
  const remedy = REMEDIES[code] ?? `it cannot be used (${error instanceof Error ? error.message : String(error)}). Name another directory.`
  return new Failure('setup', `TELLTALE_DATA_DIR ${dir}: ${remedy}`, { cause: error })
}
