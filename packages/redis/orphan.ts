// A Redis left over from a killed run may still be writing in the directory: it is ended before a new one starts there.
import { writeFileSync } from 'node:fs'
import { readFile, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure } from '../core/failure.ts'
import type { Log } from './log.ts'
import { probe } from './probe.ts'
import { codeOf, identify, isAlive, type ProcessIdentity, signal } from './process.ts'

/** Who runs which server: left in the directory as long as the server may be running. */
type RunNote = { readonly server: ProcessIdentity; readonly owner: ProcessIdentity; readonly socket: string }

const NOTE = 'running.json'
const END_LIMIT_MS = 15_000
const KILL_LIMIT_MS = 5_000
const POLL_MS = 20

/** Written at once after the spawn, so synchronously: the time in which a crash leaves an unknown server is microseconds. */
export function leaveNote(dir: string, server: ProcessIdentity, socket: string): void {
  const note: RunNote = { server, owner: identify(process.pid), socket }
  writeFileSync(join(dir, NOTE), JSON.stringify(note), { mode: 0o600 })
}

export async function removeNote(dir: string): Promise<void> {
  await rm(join(dir, NOTE), { force: true })
}

/** Refuses while the process that started the server lives: only a server without its owner is an orphan. */
export async function endOrphan(dir: string, socket: string, log: Log): Promise<void> {
  const note = await readNote(dir)
  if (note !== undefined && isAlive(note.owner))
    throw new Failure('setup', `TELLTALE_DATA_DIR: ${dir} is in use by process ${note.owner.pid}. Stop that one, or use another directory.`)
  if (note !== undefined && isAlive(note.server)) await end(note.server, dir, log)
  await socketFree(dir, socket)
  if (note !== undefined && note.socket !== socket) await removePrivateSocket(note.socket)
}

/** Of a directory too long for a socket: the run that made the short one was killed before it could take it away. */
async function removePrivateSocket(socket: string): Promise<void> {
  await rm(socket, { force: true })
  await rmdir(dirname(socket)).catch(unlessMissing)
}

function unlessMissing(error: unknown): void {
  if (codeOf(error) !== 'ENOENT') throw error
}

async function end(server: ProcessIdentity, dir: string, log: Log): Promise<void> {
  log.warn({ pid: server.pid, dir }, 'redis of an earlier run is still writing, waiting for it to end')
  signal(server, 'SIGTERM')
  if (await within(END_LIMIT_MS, () => !isAlive(server))) return
  log.warn({ pid: server.pid, dir }, 'redis of an earlier run does not end, killing it')
  signal(server, 'SIGKILL')
  if (await within(KILL_LIMIT_MS, () => !isAlive(server))) return
  throw new Failure(
    'setup',
    `TELLTALE_DATA_DIR: process ${server.pid} (an earlier Redis) holds ${dir} and cannot be killed. End it by hand.`,
  )
}

/**
 * Somebody answers whom our note does not explain: perhaps a server in another container on the same volume, whose pid would
 * mean another process here. So it is waited for, and never signalled.
 */
async function socketFree(dir: string, socket: string): Promise<void> {
  if (await within(END_LIMIT_MS, async () => (await probe(socket)).state === 'away')) return
  throw new Failure(
    'setup',
    `TELLTALE_DATA_DIR: another Redis, perhaps of another container, is using ${dir}. Stop it, or use another directory.`,
  )
}

async function within(limitMs: number, done: () => boolean | Promise<boolean>): Promise<boolean> {
  const deadline = performance.now() + limitMs
  while (!(await done())) {
    if (performance.now() > deadline) return false
    await delay(POLL_MS)
  }
  return true
}

/** A note cut short by a crash of the machine names nobody who could still be running. */
async function readNote(dir: string): Promise<RunNote | undefined> {
  try {
    return JSON.parse(await readFile(join(dir, NOTE), 'utf8')) as RunNote
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined
    throw error
  }
}
