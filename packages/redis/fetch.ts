// Debian and Ubuntu without root: the distribution's own Redis packages, unpacked into a directory of ours and nowhere else.
import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { codeOf } from './process.ts'

type Command = readonly [string, ...string[]]
export type Fetched = { readonly command: Command } | { readonly unfit: string; readonly cause: unknown }

const run = promisify(execFile)
const COPY = 'redis-server'
const WORK = 'fetching-'
const APT_TIMEOUT_MS = 180_000

// Read after the machine's own configuration, so that its proxies and mirrors hold but its hooks (which would run on the
// system's cache) do not. Without locks and sandbox user apt needs no root; signatures are checked as always.
const APT_CONF = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
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
 * `check` runs the copy and says what is wrong with it. Only a good copy gets its name, by rename: an interrupted download
 * leaves a working directory that the next attempt removes. The caller holds the data directory's lock.
 */
export async function fetchRedis(
  dir: string,
  progress: (text: string) => void,
  check: (command: Command) => Promise<string | undefined>,
): Promise<Fetched> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  for (const name of await readdir(dir)) if (name.startsWith(WORK)) await rm(join(dir, name), { recursive: true, force: true })
  const work = await mkdtemp(join(dir, WORK))
  try {
    progress(`no Redis server here: fetching the distribution's own package into ${dir} (once, a few seconds, no root)`)
    const root = await unpack(work, await download(work))
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

/** apt itself resolves which libraries this system lacks, under the names its release gives them. */
async function download(work: string): Promise<string[]> {
  const conf = join(work, 'apt.conf')
  const archives = join(work, 'cache', 'archives')
  await mkdir(join(archives, 'partial'), { recursive: true })
  await mkdir(join(work, 'lists', 'partial'), { recursive: true })
  await writeFile(conf, APT_CONF)
  const dirs = { 'Dir::State::Lists': 'lists', 'Dir::State::extended_states': 'extended_states', 'Dir::Cache': 'cache', 'Dir::Log': 'log' }
  const places = Object.entries(dirs).flatMap(([key, name]) => ['-o', `${key}=${join(work, name)}`])
  const options = { timeout: APT_TIMEOUT_MS, maxBuffer: 16 * 1024 * 1024 }
  const apt = (...args: string[]) => run('apt-get', ['-c', conf, ...places, '-q', '-y', ...args], options)
  await apt('update')
  // `redis-server` is a link into the package `redis-tools`, so both are named; --reinstall: also where they are installed already.
  await apt('install', '--download-only', '--reinstall', '--no-install-recommends', 'redis-server', 'redis-tools')
  return (await readdir(archives)).filter(name => name.endsWith('.deb')).map(name => join(archives, name))
}

async function unpack(work: string, packages: readonly string[]): Promise<string> {
  const root = join(work, 'root')
  for (const file of packages) await run('dpkg-deb', ['-x', file, root])
  const server = join(root, 'usr', 'bin', 'redis-server')
  if (!(await isThere(server))) await symlink('redis-check-rdb', server)
  return root
}

async function commandIn(root: string): Promise<Command> {
  const server = join(root, 'usr', 'bin', 'redis-server')
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
  if (codeOf(error) === 'ENOENT') return 'none on the PATH, and no apt-get to fetch one with'
  const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : ''
  return `none on the PATH, and fetching one failed: ${(said === '' ? String(error) : said).slice(-500)}`
}
