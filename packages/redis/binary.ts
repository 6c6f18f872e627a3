// Finds a Redis server program for embedded mode: the one named, the PATH, a copy fetched earlier, the distribution's own package.
import { execFile } from 'node:child_process'
import { delimiter, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { Failure } from '../core/failure.ts'
import { fetchedCommand, fetchRedis } from './fetch.ts'
import { codeOf } from './process.ts'

/** `command` is what to run, with what must stand before the server's own arguments. */
export type RedisBinary = { readonly command: readonly [string, ...string[]]; readonly version: string }

export type RedisSearch = {
  /** Where a fetched copy is kept. */
  readonly dir: string
  /** This program and no other. */
  readonly binary?: string | undefined
  /** Directories to look in, separated as in PATH; the process's own PATH when not given. */
  readonly path?: string | undefined
  /** One line for the operator while something takes seconds. */
  readonly progress: (text: string) => void
}

type Candidate = RedisBinary | { readonly unfit: string }

const run = promisify(execFile)
const NAMES = ['redis-server', 'valkey-server']
const MIN_VERSION = [6, 2] as const
export const MIN_VERSION_TEXT = MIN_VERSION.join('.')

const REMEDIES = `Install one, then start again:
  macOS           brew install redis
  Debian, Ubuntu  sudo apt-get install redis-server
  Alpine          apk add redis
  Fedora, RHEL    sudo dnf install redis
or set TELLTALE_REDIS_URL to a Redis server that is already running.`

/** Rejects with a `setup` failure that names the way out on each platform. */
export async function findRedis({ dir: given, binary, path, progress }: RedisSearch): Promise<RedisBinary> {
  // What is fetched runs in other directories than this process.
  const dir = resolve(given)
  if (binary !== undefined) return named(binary, await examine([binary]))
  const unfit: string[] = []
  for (const command of [...onPath(path), await fetchedCommand(dir)]) {
    if (command === undefined) continue
    const candidate = await examine(command)
    if ('version' in candidate) return candidate
    if (candidate.unfit !== '') unfit.push(candidate.unfit)
  }
  const fetched = await fetchRedis(dir, progress, async command => {
    const candidate = await examine(command)
    return 'unfit' in candidate ? candidate.unfit : undefined
  })
  if ('command' in fetched) {
    const candidate = await examine(fetched.command)
    if ('version' in candidate) return candidate
    unfit.push(candidate.unfit)
  } else unfit.push(fetched.unfit)
  throw missing(`No usable Redis server program (${unfit.join('; ')})`, 'cause' in fetched ? fetched.cause : undefined)
}

export function isSupported(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > MIN_VERSION[0] || (major === MIN_VERSION[0] && minor >= MIN_VERSION[1])
}

function onPath(path: string | undefined): [string][] {
  if (path === undefined) return NAMES.map(name => [name])
  return path
    .split(delimiter)
    .filter(dir => dir !== '')
    .flatMap(dir => NAMES.map((name): [string] => [join(dir, name)]))
}

/** Runs it, because a file that is there may be for another machine or lack a library. Not there at all: an empty reason. */
async function examine(command: readonly [string, ...string[]]): Promise<Candidate> {
  const [program, ...before] = command
  const shown = command.at(-1)
  try {
    const { stdout } = await run(program, [...before, '--version'], { timeout: 10_000 })
    const version = /v=(\d+\.\d+\S*)/.exec(stdout)?.[1]
    if (version === undefined) return { unfit: `${shown} does not say a version: ${stdout.trim().slice(0, 200)}` }
    if (!isSupported(version)) return { unfit: `${shown} is version ${version}; at least ${MIN_VERSION_TEXT} is needed` }
    return { command, version }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return { unfit: '' }
    return { unfit: `${shown} does not run: ${error instanceof Error ? error.message.trim().slice(0, 300) : String(error)}` }
  }
}

function named(binary: string, candidate: Candidate): RedisBinary {
  if ('version' in candidate) return candidate
  throw missing(`TELLTALE_REDIS_BINARY: ${candidate.unfit === '' ? `${binary} is not there` : candidate.unfit}`)
}

function missing(what: string, cause?: unknown): Failure {
  return new Failure('setup', `${what}.\n${REMEDIES}`, { cause })
}
