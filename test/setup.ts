// Run once before all tests: what every Telltale that they start needs, the built program and a Redis server program.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { findRedis } from '../packages/redis/index.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** For TELLTALE_REDIS_BINARY. */
    redisBinary: string
  }
}

const BUILT = 'dist/services/main.js'
/** The client’s, among the sources: written after the server, it would ask for a build each time. */
const BUILD_OUTPUT = /[\\/]dist[\\/]/
/** Kept from run to run: a fetched copy is a few megabytes. */
const KEPT = join(tmpdir(), `telltale-test-redis-${process.getuid?.() ?? 'any'}`)

export default async function setup(project: TestProject): Promise<void> {
  build()
  await mkdir(KEPT, { recursive: true, mode: 0o700 })
  const { command } = await findRedis({ dir: KEPT, progress: text => console.warn(text) })
  project.provide('redisBinary', command.length === 1 ? command[0] : await oneProgram(command))
}

/** What is tested is what is shipped. `npm run check` has built before; after an edit, or in a fresh checkout, it is done here. */
function build(): void {
  if (existsSync(BUILT) && statSync(BUILT).mtimeMs > newestSourceMs()) return
  const { status, stderr } = spawnSync('npm', ['run', 'build'], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`npm run build failed:\n${stderr}`)
}

function newestSourceMs(): number {
  const sources = ['packages', 'services'].flatMap(folder =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => join(folder, name)),
  )
  return Math.max(
    ...sources.filter(path => /\.(ts|tsx|css|html)$/.test(path) && !BUILD_OUTPUT.test(path)).map(path => statSync(path).mtimeMs),
  )
}

/** A fetched server is run through its own loader: the setting names one program, so this one says the whole command. */
async function oneProgram(command: readonly string[]): Promise<string> {
  const path = join(KEPT, 'redis-server.sh')
  await writeFile(path, `#!/bin/sh\nexec ${command.map(part => `'${part}'`).join(' ')} "$@"\n`, { mode: 0o700 })
  return path
}
