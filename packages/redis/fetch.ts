// Debian and Ubuntu without root: the distribution's own Redis packages, unpacked into a directory of ours and nowhere else.
import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { codeOf } from './process.ts'

type Command = readonly [string, ...string[]]
/** Runs a command and says what is wrong with it. */
type Check = (command: Command) => Promise<string | undefined>
export type Fetched = { readonly command: Command } | { readonly unfit: string; readonly cause: unknown }

const run = promisify(execFile)
const COPY = 'redis-server'
const SERVER = join('usr', 'bin', 'redis-server')
const WORK = 'fetching-'
const APT_TIMEOUT_MS = 180_000
const MAX_OUTPUT = 16 * 1024 * 1024

// Read after the machine's own configuration, so that its proxies and mirrors hold but its hooks (which would run on the
// system's cache) do not. Without locks and sandbox user apt needs no root; signatures are checked as always.
const APT_CONF = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Sandbox::User "";
Debug::NoLocking "true";
Acquire::Languages "none";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::Retries "1";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
`

/** The command of a copy fetched earlier, if there is one. */
export async function fetchedCommand(dir: string): Promise<Command | undefined> {
  const root = join(dir, COPY)
  return (await isThere(root)) ? commandIn(root) : undefined
}

/**
 * Only a good copy gets its name, by rename: an interrupted download leaves a working directory that the next attempt removes.
 * The caller holds the data directory's lock.
 */
export async function fetchRedis(dir: string, progress: (text: string) => void, check: Check): Promise<Fetched> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  for (const name of await readdir(dir)) if (name.startsWith(WORK)) await rm(join(dir, name), { recursive: true, force: true })
  const work = await mkdtemp(join(dir, WORK))
  try {
    progress(`no Redis server here: fetching the distribution's own package into ${dir} (once, a few seconds, no root)`)
    const root = await install(work, check)
    const unfit = await check(await commandIn(root))
    if (unfit !== undefined) return { unfit: unfit === '' ? 'the fetched package holds no server program' : unfit, cause: undefined }
    await rm(join(dir, COPY), { recursive: true, force: true })
    await rename(root, join(dir, COPY))
    return { command: await commandIn(join(dir, COPY)) }
  } catch (error) {
    return { unfit: reason(error), cause: error }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** By name and without apt's solver, which stops at anybody's unmet dependency. Returns the root of what was unpacked. */
async function install(work: string, check: Check): Promise<string> {
  const apt = await prepareApt(work)
  const update = await apt('apt-get', 'update')
  const fetch = async (names: readonly string[]) => {
    await apt('apt-get', 'download', ...names).catch((error: unknown) => {
      // Without a network `update` only warns; then the reason is there and not here.
      throw new Error(`${update.stderr.trim().slice(0, 300)} ${said(error)}`, { cause: error })
    })
    for (const name of await readdir(work)) if (name.endsWith('.deb')) await run('dpkg-deb', ['-x', join(work, name), root])
  }
  const root = join(work, 'root')
  // Where `redis-server` is a link into the package `redis-tools`, both are needed.
  await fetch(['redis-server', 'redis-tools'])
  if ((await check(await commandIn(root))) !== undefined)
    await fetch(librariesIn((await apt('apt-cache', 'depends', 'redis-server', 'redis-tools')).stdout))
  return root
}

async function prepareApt(work: string): Promise<(program: string, ...args: string[]) => Promise<{ stdout: string; stderr: string }>> {
  const conf = join(work, 'apt.conf')
  await mkdir(join(work, 'cache', 'archives', 'partial'), { recursive: true })
  await mkdir(join(work, 'lists', 'partial'), { recursive: true })
  await writeFile(conf, APT_CONF)
  const dirs = { 'Dir::State::Lists': 'lists', 'Dir::Cache': 'cache', 'Dir::Log': 'log' }
  const places = Object.entries(dirs).flatMap(([key, name]) => ['-o', `${key}=${join(work, name)}`])
  return (program, ...args) =>
    run(program, ['-c', conf, ...places, '-q', ...args], { cwd: work, timeout: APT_TIMEOUT_MS, maxBuffer: MAX_OUTPUT })
}

/** All the libraries it names, whatever this release calls them, but never the C library: that must be the system's own. */
function librariesIn(depends: string): string[] {
  const names = [...depends.matchAll(/^\s*(?:Pre)?Depends: (lib[a-z0-9.+-]+)/gm)].map(match => match[1] as string)
  return [...new Set(names)].filter(name => !name.startsWith('libc6'))
}

async function commandIn(root: string): Promise<Command> {
  const server = join(root, SERVER)
  const libraries = (await readdir(root, { recursive: true })).filter(name => /\.so(\.|$)/.test(name))
  const dirs = [...new Set(libraries.map(name => join(root, dirname(name))))]
  return dirs.length === 0 ? [server] : ['env', `LD_LIBRARY_PATH=${dirs.join(':')}`, server]
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
}

function reason(error: unknown): string {
  if (codeOf(error) === 'ENOENT' && error instanceof Error && 'syscall' in error && String(error.syscall).startsWith('spawn'))
    return 'none on the PATH, and no apt-get to fetch one with'
  return `none on the PATH, and fetching one failed: ${said(error)}`
}

function said(error: unknown): string {
  const text = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : ''
  return (text === '' ? String(error) : text).slice(0, 600)
}
